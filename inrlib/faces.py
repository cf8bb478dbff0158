"""Photographs of faces, the images of Section 5: the hundred that scikit-image carries, or CelebA.

>>> training, validation = load(size=16)
>>> training.shape, validation.shape
((80, 16, 16, 1), (20, 16, 16, 1))
"""

import os
import zipfile
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
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
) -> Faces:
    """Photographs of faces: the hundred that scikit-image carries, or CelebA.

    Without a source: the faces of scikit-image's `lfw_subset` (25×25, from Labeled Faces in the
    Wild), resized; 80 for training, 20 for validation, no download.

    With a source: CelebA (Liu et al. 2015) in its official layout, processed as by the paper's
    authors: luma, centre crop to 178×178, resized with anti-aliasing. The result is kept in `cache`
    and read from there the next time.

    Args:
      source: the folder or the zip archive with the aligned images (`img_align_celeba`), with
        `list_eval_partition.txt` in it, beside it, or beside its folder.
      size: side in pixels.
      training, validation: how many, the first of each list; by default 80 and 20, of CelebA 1000
        and 100.
      cache: a folder; by default the user's cache directory.

    Raises:
      FileNotFoundError: no such data, with what to download and where to put it.
      ValueError: size < 1, or fewer images than asked for.
    """
    if size < 1:
        raise ValueError(f"faces: size={size} must be at least 1 pixel.")
    if source is None:
        pixels = np.stack([resize(face, size) for face in data.lfw_subset()[:100]])
        return _take(pixels[:80], pixels[80:], training or 80, validation or 20)
    training, validation = training or 1000, validation or 100
    names, read, stamp = _celeba(Path(source))
    chosen = _take(names[0], names[1], training, validation)
    key = sha256(repr((stamp, size, training, validation)).encode()).hexdigest()[:16]
    path = cache_folder(cache) / f"celeba-{key}.npz"
    if not path.is_file():
        ready = [np.stack([_face(read(name), size) for name in part]) for part in chosen]
        path.parent.mkdir(parents=True, exist_ok=True)
        half_written = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(half_written, training=ready[0], validation=ready[1])
        half_written.replace(path)
    with np.load(path) as kept:
        return Faces(*(kept[part].astype(np.float64) for part in Faces._fields))


def _take(first, second, training: int, validation: int) -> Faces:
    for name, there, asked in (("training", first, training), ("validation", second, validation)):
        if not 1 <= asked <= len(there):
            raise ValueError(f"faces: {name}={asked}, but there are {len(there)} such images.")
    return Faces(first[:training], second[:validation])


def _face(content: bytes, size: int) -> np.ndarray:
    """One image of CelebA (218×178): luma, centred square, resized; float32 for the file."""
    with Image.open(BytesIO(content)) as image:
        pixels = grey(np.asarray(image.convert("RGB")))
    side = min(pixels.shape[:2])
    top, left = ((extent - side) // 2 for extent in pixels.shape[:2])
    return resize(pixels[top : top + side, left : left + side], size).astype(np.float32)


def cache_folder(cache: str | Path | None) -> Path:
    """Where downloads and prepared data are kept: `cache`, or the user's cache directory."""
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "inrlib"


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
    if path is not None:
        text = path.read_text(encoding="ascii")
    elif lists[0].name in inside:
        text = read(lists[0].name).decode("ascii")
    else:
        raise FileNotFoundError(
            f"faces: no list_eval_partition.txt beside {str(source)!r}; {_CELEBA}"
        )
    rows = [line.split() for line in text.splitlines() if line.strip()]
    there = (lambda name: (images / name).is_file()) if images is not None else inside.__contains__
    names = [[name for name, part in rows if part == number and there(name)] for number in "01"]
    place = images if images is not None else archive
    return names, read, (str(place.resolve()), place.stat().st_mtime_ns, text)
