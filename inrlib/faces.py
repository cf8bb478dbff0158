"""Photographs of faces, the images of Section 5: the hundred that scikit-image carries, or CelebA.

>>> training, validation = load(size=16)
>>> training.shape, validation.shape
((80, 16, 16, 1), (20, 16, 16, 1))
"""

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image
from skimage import data

from inrlib.signals import grey, resize

__all__ = ["Faces", "cache_folder", "load"]


class Faces(NamedTuple):
    """Grey photographs of faces with values in [0, 1].

    Attributes:
      training: what meta-learning sees.
      validation: what is kept from it, and what Figures 4, 10 and 11 look at.
    """

    training: Float[np.ndarray, "M size size 1"]
    validation: Float[np.ndarray, "V size size 1"]


def load(
    source: str | Path | None = None,
    size: int = 64,
    training: int | None = None,
    validation: int | None = None,
    cache: str | Path | None = None,
    or_embedded: bool = False,
) -> Faces:
    """Photographs of faces: the hundred that scikit-image carries, or CelebA.

    Without a source: the faces of scikit-image's `lfw_subset` (25×25, from Labeled Faces in the
    Wild), resized; 80 for training, 20 for validation, no download.

    With a source: CelebA (Liu et al. 2015) in its official layout, processed as by the paper's
    authors: luma, centre crop to 178×178, resized with anti-aliasing. The result is kept in `cache`
    where that can be written, and read from there the next time.

    Args:
      source: the folder or the zip archive with the aligned images (`img_align_celeba`), with
        `list_eval_partition.txt` in it, beside it, or beside its folder.
      size: side in pixels.
      training, validation: how many, the first of each list; by default 80 and 20, of CelebA 1000
        and 100.
      cache: a folder; by default the user's cache directory.
      or_embedded: where CelebA is not at `source`, a warning says so, and scikit-image's faces take
        its place: as many as were asked for, or all that there are.

    Raises:
      FileNotFoundError: no such data, with what to download and where to put it.
      ValueError: size < 1, fewer images than asked for, or a damaged one, which is named.
    """
    if size < 1:
        raise ValueError(f"faces: size={size} must be at least 1 pixel.")
    if source is None:
        pixels = np.stack([resize(face, size) for face in data.lfw_subset()[:100]])
        return Faces(*_take(pixels[:80], pixels[80:], training, validation, (80, 20)))
    try:
        names, read, stamp = _celeba(Path(source))
    except FileNotFoundError as error:
        if not or_embedded:
            raise
        warnings.warn(f"{error} They are taken now, {size}×{size}.", stacklevel=2)
        return load(None, size, min(training or 80, 80), min(validation or 20, 20))
    chosen = _take(*names, training, validation, (1000, 100))
    key = sha256(repr((stamp, size, *map(len, chosen))).encode()).hexdigest()[:16]
    path = cache_folder(cache) / f"celeba-{key}.npz"
    parts = _kept(path)
    if parts is None:
        parts = [np.stack([_face(read, name, size) for name in part]) for part in chosen]
        _keep(path, parts)
    return Faces(*(part.astype(np.float64) for part in parts))


def _take(
    first: Sequence[str] | np.ndarray,
    second: Sequence[str] | np.ndarray,
    training: int | None,
    validation: int | None,
    usual: tuple[int, int],
) -> list[Sequence[str] | np.ndarray]:
    taken = []
    for name, there, asked, default in zip(
        Faces._fields, (first, second), (training, validation), usual, strict=True
    ):
        asked = default if asked is None else asked
        if not 1 <= asked <= len(there):
            raise ValueError(f"faces: {name}={asked}, but there are {len(there)} such images.")
        taken.append(there[:asked])
    return taken


def _kept(path: Path) -> list[np.ndarray] | None:
    """What `_keep` wrote; None where there is nothing, or nothing that can be read."""
    try:
        with np.load(path) as kept:
            return [kept[part] for part in Faces._fields]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _keep(path: Path, parts: list[np.ndarray]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half_written = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(half_written, **dict(zip(Faces._fields, parts, strict=True)))
        half_written.replace(path)
    except OSError:
        pass  # a disk that is full or read-only: the next time takes as long


def _face(
    read: Callable[[str], bytes], name: str, size: int
) -> Float32[np.ndarray, "{size} {size} 1"]:
    """One image of CelebA (218×178): luma, centred square, resized; float32 for the file."""
    try:
        with Image.open(BytesIO(read(name))) as image:
            pixels = grey(np.asarray(image.convert("RGB")))
    except Exception as error:  # a damaged file can raise anything in a decoder
        raise ValueError(
            f"faces: {name} cannot be read ({error}); download or unpack it again."
        ) from error
    side = min(pixels.shape[:2])
    top, left = ((extent - side) // 2 for extent in pixels.shape[:2])
    return resize(pixels[top : top + side, left : left + side], size).astype(np.float32)


def cache_folder(cache: str | Path | None) -> Path:
    """Where downloads and prepared data are kept: `cache`, or the user's cache directory.

    That is $XDG_CACHE_HOME, where it is an absolute path, or ~/.cache; and where neither is there
    and can be written (no home, a read-only disk), a folder for this user among the temporary ones.
    """
    if cache is not None:
        return Path(cache)
    folders = [Path(os.environ.get("XDG_CACHE_HOME", ""))]
    with suppress(RuntimeError):  # no HOME, and a user that the system does not know
        folders.append(Path.home() / ".cache")
    for folder in folders:
        if folder.is_absolute() and _writable(folder):
            return folder / "inrlib"
    return Path(gettempdir()) / f"inrlib-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def _writable(folder: Path) -> bool:
    """Whether `inrlib` in this folder can be written, or made."""
    nearest = next(place for place in (folder / "inrlib", *folder.parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


_CELEBA = (
    "download img_align_celeba.zip and list_eval_partition.txt from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html into one folder and give that folder, or "
    "leave source out for the faces that scikit-image carries."
)


def _celeba(source: Path) -> tuple[list[list[str]], Callable[[str], bytes], tuple]:
    """The training and validation images' names, a function that reads one, and a fingerprint."""
    folder = source.parent if source.is_file() else source
    images = next((d for d in (source / "img_align_celeba", source) if any(d.glob("*.jpg"))), None)
    archive = source if source.is_file() else source / "img_align_celeba.zip"
    if images is None and not zipfile.is_zipfile(archive):
        raise FileNotFoundError(f"faces: no CelebA images at {str(source)!r}; {_CELEBA}")
    if images is not None:
        read, inside = (lambda name: (images / name).read_bytes()), {}
    else:
        opened = zipfile.ZipFile(archive)
        inside = {Path(entry).name: entry for entry in opened.namelist()}
        read = lambda name: opened.read(inside[name])
    lists = [place / "list_eval_partition.txt" for place in (folder, folder.parent)]
    path = next(filter(Path.is_file, lists), None)
    if path is None and lists[0].name not in inside:
        raise FileNotFoundError(
            f"faces: no list_eval_partition.txt beside {str(source)!r}; {_CELEBA}"
        )
    listing = path.read_bytes() if path is not None else read(lists[0].name)
    there = (lambda name: (images / name).is_file()) if images is not None else inside.__contains__
    rows = _rows(listing)
    names = [[name for name, part in rows if part == number and there(name)] for number in "01"]
    place = images if images is not None else archive
    return names, read, (str(place.resolve()), place.stat().st_mtime_ns, listing)


def _rows(listing: bytes) -> list[list[str]]:
    """The pairs of a file's name and 0, 1 or 2."""
    text = listing.decode("utf-8-sig", "replace")  # some editors put a mark at the beginning
    rows = [line.split() for line in text.splitlines() if line.strip()]
    bad = next((row for row in rows if len(row) != 2 or row[1] not in ("0", "1", "2")), None)
    if bad is not None:
        raise ValueError(
            f"faces: {' '.join(bad)[:60]!r} in list_eval_partition.txt is no name with 0, 1 or 2; "
            "download it again."
        )
    return rows
