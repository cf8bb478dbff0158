"""What a reader brings beside pictures: sounds, volumes, and samples scattered anywhere.

A file is judged by its header before memory is taken, and nothing in it is ever executed: no
pickles. Whatever is wrong with it is said in one sentence that begins with "sound:", "volume:" or
"table:".

>>> file = BytesIO()
>>> wavfile.write(file, 8000, np.array([0, 16384, -32768], np.int16))
>>> values, rate = sound(file.getvalue())
>>> values[:, 0], rate
(array([ 0. ,  0.5, -1. ]), 8000)
"""

import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BytesIO, StringIO
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.io import wavfile

__all__ = ["LARGEST", "sound", "table", "volume"]

LARGEST = 2**27
"""Numbers that a file may hold at most: a volume of 512³, 50 minutes of sound, 1 GiB as float64."""

_MAGIC, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


def sound(source: str | Path | bytes) -> tuple[Float[np.ndarray, "N C"], int]:
    """The samples of a WAV file in [−1, 1], and its rate.

    Whole numbers are divided by their largest magnitude (8 bits are unsigned around 128). Floats
    are taken as they are; where they are louder than 1, all are divided by the loudest.

    Args:
      source: the path of a WAV file, or its bytes: PCM of 8, 16, 24 or 32 bits, or float.

    Returns:
      values (N, C), a column for each channel, and the rate in Hz: sample n is heard at n / rate s.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no WAV file, a compressed, truncated or silent one, one without samples or rate,
        NaN or infinite values, or more than `LARGEST` samples.
    """
    remedy = "give a WAV file of PCM or float samples"
    with _opened(source, "sound", remedy) as (file, name):
        _check_wav(file, name, remedy)
        file.seek(0)
        with _decoding("sound", name, remedy), warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that hold no sound
            rate, values = wavfile.read(file)
    values = values.reshape(len(values), -1)
    if values.dtype == np.uint8:
        values = (values - 128.0) / 128
    elif values.dtype.kind == "i":
        values = values / (np.iinfo(values.dtype).max + 1.0)
    values = _checked(values, "sound", name)
    return values / max(1.0, np.abs(values).max()), int(rate)


def _check_wav(file: BufferedIOBase, name: str, remedy: str) -> None:
    """Refuses by what the chunks' headers say (Multimedia Programming Interface 1.0, IBM 1991)."""
    whole = file.seek(0, 2)
    file.seek(0)
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise ValueError(f"sound: {name} is no WAV file; {remedy}.")
    form, found = None, False
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        place = file.tell()
        if kind == b"fmt " and len(start := file.read(min(length, 16))) == 16:
            form = struct.unpack("<HHIIHH", start)
        elif kind == b"data" and form is not None:
            _check_samples(form, length, whole - place, f"sound: {name}", remedy)
            found = True
        file.seek(place + length + length % 2)
    if not found:
        raise ValueError(f"sound: {name} ends before its samples begin; {remedy}.")


def _check_samples(form: tuple, length: int, there: int, name: str, remedy: str) -> None:
    """Refuses samples of this format, of `length` bytes by the header, `there` in the file."""
    code, channels, rate, _, block, _ = form
    if code not in (_PCM, _FLOAT, _EXTENSIBLE):
        raise ValueError(f"{name} is compressed (format {code}); {remedy}.")
    if 0 in (channels, rate, block):
        raise ValueError(
            f"{name} has {channels} channels of {block} bytes at {rate} Hz, of which none may be "
            "0; save it anew."
        )
    if (samples := length // block * channels) > LARGEST:
        raise ValueError(f"{name} has {samples:,} samples; cut out at most {LARGEST:,}.")
    if length > there:
        raise ValueError(
            f"{name} ends after {there:,} of {length:,} bytes of samples; save it anew."
        )
    if length < block:
        raise ValueError(f"{name} has no samples; record it anew.")


def volume(source: str | Path | bytes) -> Float[np.ndarray, "D H W C"]:
    """A volume from NumPy's own files, as float64.

    Bytes are divided by 255 and a mask becomes 0 and 1, as in a picture; other numbers stay as they
    are, in whatever unit they have.

    Args:
      source: the path of an .npy file, or of an .npz with one array, or its bytes. The array is
        (depth, height, width) or (depth, height, width, channels).

    Raises:
      FileNotFoundError: no such file.
      ValueError: no such array, a pickle, other numbers than real ones, other axes, a constant, NaN
        or infinite values, or more than `LARGEST` numbers.
    """
    remedy = "give an .npy file of (depth, height, width[, channels])"
    with _opened(source, "volume", remedy) as (file, name):
        arrays = _arrays(file, "volume", name, remedy)
        if len(arrays) != 1:
            raise ValueError(
                f"volume: {name} holds {len(arrays)} arrays ({_few(arrays)}); save the one alone."
            )
        ((_, read),) = arrays.items()
        values = read(_check_axes)
    white = 255 if values.dtype == np.uint8 else 1
    values = values if values.ndim == 4 else values[..., None]
    return _checked(values, "volume", name) / white


def _check_axes(shape: tuple[int, ...]) -> None:
    """Refuses what is no volume."""
    if len(shape) not in (3, 4) or min(shape[:3]) < 2:
        raise ValueError(
            f"volume: shape={shape} must be (depth, height, width[, channels]), at least 2×2×2."
        )
    if len(shape) == 4 and shape[0] <= 4 < shape[-1]:
        raise ValueError(
            f"volume: shape={shape} has its channels first; use np.moveaxis(values, 0, -1)."
        )
    if len(shape) == 3 and shape[-1] in (3, 4) and min(shape[:2]) > 4:
        raise ValueError(
            f"volume: shape={shape} looks like a colour picture; save that as PNG, or say that it "
            "is a volume by a fourth axis, values[..., None]."
        )


def table(
    source: str | Path | bytes, dims: int | None = None
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "N C"]]:
    """Scattered samples: where they were taken, and what was found there.

    Coordinates and values keep their units. A place may be named twice, with different values: that
    is noise, and a fit goes between them.

    Args:
      source: the path of a file, or its bytes: an .npz with arrays r (N, D) and g (N, C), or an
        .npy or a text file (numbers between commas or blanks, names in the first line if you like)
        whose columns are the coordinates, then the values.
      dims: D, how many of the columns are coordinates; None means all but the last. An .npz says so
        itself.

    Returns:
      r (N, D) and g (N, C), float64.

    Raises:
      FileNotFoundError: no such file.
      ValueError: none of these files, a pickle, fewer than two samples, other numbers than real
        ones, NaN or infinite values, a constant coordinate, constant values, or too many numbers.
    """
    remedy = "give an .npz with r and g, or columns of numbers as .npy or .csv"
    with _opened(source, "table", remedy) as (file, name):
        start = file.read(6)
        if start[:4] == _ZIP:
            arrays = _arrays(file, "table", name, remedy)
            if set(arrays) != {"r", "g"}:
                raise ValueError(f"table: {name} holds {_few(arrays)}; {remedy}.")
            r, g = (_columns(arrays[key](), key) for key in "rg")
        else:
            if start == _MAGIC:
                rows = _arrays(file, "table", name, remedy)[""]()
            else:
                rows = _text(file, name, remedy)
            r, g = _split(_columns(rows, name), dims)
    if len(r) != len(g) or len(r) < 2:
        raise ValueError(
            f"table: {len(r)} coordinates and {len(g)} values; give two samples or more, each with "
            "both."
        )
    r, g = (_checked(part, "table", name) for part in (r, g))
    if (still := np.flatnonzero(np.ptp(r, axis=0) == 0)).size:
        raise ValueError(
            f"table: coordinate {still[0]}, counted from 0, is the same for all samples; leave it "
            "out."
        )
    return r, g


def _columns(rows: np.ndarray, name: str) -> np.ndarray:
    """A list of numbers is one column."""
    if rows.ndim not in (1, 2):
        raise ValueError(f"table: {name} has shape={rows.shape}; give rows and columns.")
    return rows if rows.ndim == 2 else rows[:, None]


def _split(rows: np.ndarray, dims: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and values."""
    dims = rows.shape[1] - 1 if dims is None else dims
    if not 1 <= dims < rows.shape[1]:
        raise ValueError(
            f"table: dims={dims} of {rows.shape[1]} columns; say how many of them are coordinates, "
            "at least 1, and leave at least one for the values."
        )
    return rows[:, :dims], rows[:, dims:]


def _text(file: BufferedIOBase, name: str, remedy: str) -> np.ndarray:
    """Numbers between commas or blanks; a first line that begins with no number names them."""
    if (size := file.seek(0, 2)) > LARGEST:
        raise ValueError(f"table: {name} is a text of {size:,} bytes; save it as .npy.")
    file.seek(0)
    with _decoding("table", name, remedy), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no rows: said below
        text = file.read().decode("utf-8-sig")
        named = re.match(r"\s*[^\s\d.+#-]", text) is not None
        comma = "," if "," in text else None
        rows = np.loadtxt(StringIO(text.lstrip()), delimiter=comma, skiprows=int(named), ndmin=2)
        if not rows.size:
            raise ValueError("it has no rows of numbers")
    return rows


def _arrays(
    file: BufferedIOBase, what: str, name: str, remedy: str
) -> dict[str, Callable[..., np.ndarray]]:
    """What reads each array of an .npz by its name, or that of an .npy by the name ""."""
    file.seek(0)
    start = file.read(6)
    if start == _MAGIC:
        return {"": partial(_array, lambda: file, what, name, remedy)}
    if start[:4] != _ZIP:
        raise ValueError(f"{what}: {name} is neither .npy nor .npz; {remedy}.")
    with _decoding(what, name, remedy):
        archive = zipfile.ZipFile(file)
    return {
        inner.removesuffix(".npy"): partial(
            _array, partial(archive.open, inner), what, f"{inner} in {name}", remedy
        )
        for inner in archive.namelist()
    }


def _array(
    opens: Callable[[], BufferedIOBase],
    what: str,
    name: str,
    remedy: str,
    check: Callable[[tuple[int, ...]], None] = lambda shape: None,
) -> np.ndarray:
    """The array of an .npy stream, once its header has been found in order."""
    with _decoding(what, name, remedy):
        stream = opens()
        stream.seek(0)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("a version for names that are no plain text")
        header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError(
            f"{what}: {name} holds Python objects, which are never loaded; save plain numbers."
        )
    if dtype.kind not in "biuf":
        raise ValueError(f"{what}: {name} holds dtype={dtype}; save real numbers.")
    if any(size < 1 for size in shape):
        raise ValueError(f"{what}: {name} has shape={shape}, which holds no numbers.")
    if (count := np.prod([int(size) for size in shape], dtype=object)) > LARGEST:
        raise ValueError(
            f"{what}: {name} has {count:,} numbers; save a coarser copy, or a part, of at most "
            f"{LARGEST:,}."
        )
    check(shape)
    with _decoding(what, name, remedy):
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)


@contextmanager
def _opened(
    source: str | Path | bytes, what: str, remedy: str
) -> Iterator[tuple[BufferedIOBase, str]]:
    """The file, to be read, and what it is called."""
    if not isinstance(source, str | Path | bytes):
        raise ValueError(
            f"{what}: source is of type {type(source).__name__}; give the path of a file or its "
            "bytes."
        )
    if isinstance(source, bytes):
        yield BytesIO(source), "the file"
        return
    if not Path(source).is_file():
        raise FileNotFoundError(f"{what}: source={str(source)!r} is no file; {remedy}.")
    with Path(source).open("rb") as file:
        yield file, Path(source).name


@contextmanager
def _decoding(what: str, name: str, remedy: str) -> Iterator[None]:
    """Whatever a decoder raises at a damaged file becomes one sentence."""
    try:
        yield
    except Exception as error:
        told = isinstance(error, ValueError | OSError | zipfile.BadZipFile)
        why = f" ({str(error).partition(chr(10))[0].rstrip('. ')})" if told else ""
        raise ValueError(f"{what}: {name} cannot be read{why}; {remedy}.") from error


def _checked(values: np.ndarray, what: str, name: str) -> np.ndarray:
    """Finite float64 that are not all the same."""
    values = values.astype(np.float64)
    if (count := int((~np.isfinite(values)).sum())) > 0:
        raise ValueError(
            f"{what}: {count} numbers of {name} are NaN or infinite; replace them first."
        )
    if np.ptp(values) == 0:
        raise ValueError(f"{what}: all of {name} has one value; there is nothing to represent.")
    return values


def _few(names: dict) -> str:
    """The first names of an archive, in words."""
    listed = ", ".join(list(names)[:5]) or "nothing"
    return listed + (", …" if len(names) > 5 else "")
