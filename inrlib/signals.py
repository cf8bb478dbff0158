"""What is represented: coordinate grids, tones and pictures.

An implicit neural representation maps a coordinate r ∈ R^D to a value g(r) ∈ R^C. Here a signal is
always a pair of arrays: coordinates (N, D) and values (N, C), N = the number of samples. Pictures
keep their shape (height, width, channels) until `samples` flattens them.

>>> r, g = samples(picture("coffee", size=32))
>>> r.shape, g.shape
((1024, 2), (1024, 3))
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from operator import index
from pathlib import Path
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from skimage import data, transform

from inrlib.moved import moved

__all__ = [
    "PICTURES",
    "check_picture",
    "grey",
    "grid",
    "picture",
    "resize",
    "samples",
    "tone",
]

PICTURES = ("astronaut", "camera", "chelsea", "coffee")
"""Names of the photographs that scikit-image carries in its package: no download."""

__getattr__ = moved(__name__, faces="inrlib.faces.load", Faces="inrlib.faces.Faces")

_LUMA = (0.299, 0.587, 0.114)
_LARGEST_SIDE = 8192
_DEPTHS = (8, 10, 12, 14, 16)
_PROFILED = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""The mode of pixels that a profile of each colour space speaks of."""


def grid(
    shape: SupportsIndex | Sequence[SupportsIndex], low: float = 0.0, high: float = 1.0
) -> Float[Array, "N D"]:
    """Evenly spaced coordinates on [low, high)^D, the end point excluded.

    The excluded end makes the grid periodic: sample n is at low + (high − low) n / size, so a
    sinusoid of k periods falls exactly into bin k of the DFT.

    Args:
      shape: samples along each axis; the first axis varies slowest. An integer means one axis.
      low, high: the interval, the same for every axis. The paper uses [−1, 1) for the pictures of
        Section 4 and [0, 1) elsewhere.

    Returns:
      Coordinates (N, D), N = the product of `shape`; float32, or float64 under `jax.enable_x64`.

    Raises:
      ValueError: an axis without samples, a size that is no whole number, or high ≤ low.
    """
    try:
        shape = tuple(map(index, shape if np.ndim(shape) else (shape,)))
    except TypeError as error:
        raise ValueError(f"grid: shape={shape!r} must be whole numbers.") from error
    if not shape or any(size < 1 for size in shape):
        raise ValueError(f"grid: shape={shape} needs at least one sample along every axis.")
    if not low < high:
        raise ValueError(f"grid: low={low} must be smaller than high={high}.")
    axes = [low + (high - low) * np.arange(size) / size for size in shape]
    r = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)
    return jnp.asarray(r)


def tone(frequency: float, r: Float[Array | np.ndarray, "N 1"]) -> Float[Array | np.ndarray, "N 1"]:
    """The pure tone g(r) = sin(2π f r) of Section 4.2, computed in float64, returned as r comes.

    Args:
      frequency: f in Hz, that is cycles per unit of r.
      r: coordinates (N, 1).

    Raises:
      ValueError: a frequency that is negative or not finite.
    """
    if not (np.isfinite(frequency) and frequency >= 0):
        raise ValueError(f"tone: frequency={frequency} must be a finite number of Hz, at least 0.")
    g = np.sin(2 * np.pi * frequency * np.asarray(r, np.float64)).astype(r.dtype)
    return jnp.asarray(g) if isinstance(r, jax.Array) else g


def picture(
    source: str | Path | bytes = "astronaut", size: int | None = None, smallest: int = 1
) -> Float[np.ndarray, "S S 3"]:
    """A colour picture with values in [0, 1], cropped to a centred square.

    Files are read as a browser shows them: upright, in sRGB where they carry a colour profile (one
    that cannot be read is passed over), on white where they are transparent, the first frame of
    several. White is 2ᵇ − 1 with b = 8, 10, 12, 14 or 16, the least that holds the brightest of 16
    bits: cameras and microscopes store 12 bits in 16.

    Args:
      source: one of `PICTURES`, the path of an image file that Pillow can read, or its bytes.
      size: side of the square in pixels after resizing; None keeps the shorter side.
      smallest: pixels that the shorter side must have at least.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is no picture, is larger than 8192 pixels a side, or is too small;
        pixels without a white level.
    """
    if not isinstance(source, str | Path | bytes):
        raise ValueError(
            f"picture: source is of type {type(source).__name__}; give a name, a path or a file's "
            "bytes. An array of pixels is a picture already: use resize or samples."
        )
    pixels = getattr(data, source)() if source in PICTURES else _read(source, size, smallest)
    pixels = np.asarray(pixels, dtype=np.float64) / 255
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    side = min(pixels.shape[:2])
    top, left = ((extent - side) // 2 for extent in pixels.shape[:2])
    square = pixels[top : top + side, left : left + side, :3]
    return square if size is None else resize(square, size)


def _read(source: str | Path | bytes, size: int | None, smallest: int) -> np.ndarray:
    """The file's pixels as bytes; no more of them than `resize` to this size has use for."""
    name = "the file" if isinstance(source, bytes) else Path(source).name
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(
            f"picture: source={str(source)!r} is neither a file nor one of {', '.join(PICTURES)}; "
            "give one of these names or the path of a PNG or JPEG."
        )
    with _decoding(name):
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source)
    with image:
        if max(image.size) > _LARGEST_SIDE:
            raise ValueError(
                f"picture: {name} has {image.size[0]}×{image.size[1]} pixels; make it at "
                f"most {_LARGEST_SIDE} pixels a side."
            )
        if min(image.size) < smallest:
            raise ValueError(
                f"picture: its shorter side has {min(image.size)} pixels; take a picture of "
                f"at least {smallest}×{smallest}."
            )
        stored = str(image.tile)  # before it is loaded: Pillow's name for how pixels are stored
        with _decoding(name):
            image.load()
            upright = ImageOps.exif_transpose(image)
        upright = _to_bytes(upright, image.format, stored)
        with _decoding(name):
            upright = _on_white(upright, image.info.get("icc_profile"))
    if size is not None and min(upright.size) > 8 * size:
        # The low-pass filter would take seconds on all pixels of a photograph.
        upright = ImageOps.fit(upright, (8 * size, 8 * size), Image.Resampling.BOX)
    return np.asarray(upright)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever a decoder raises at a damaged file becomes one sentence."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"picture: {name} has far too many pixels; make it at most {_LARGEST_SIDE} pixels a "
            "side."
        ) from error
    except Exception as error:
        why = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise ValueError(
            f"picture: {name} cannot be read as a picture{why}; give a PNG or JPEG."
        ) from error


def _to_bytes(image: Image.Image, container: str | None, stored: str) -> Image.Image:
    """The image with 8 bits a channel."""
    if image.mode.startswith("I;16") or (image.mode == "I" and container == "PPM"):
        deep = np.asarray(image).astype(np.int64)  # Pillow would clip them
        white = next(2**bits - 1 for bits in _DEPTHS if deep.max() < 2**bits or bits == 16)
        return Image.fromarray((deep * 255 / white).clip(0, 255).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"picture: its pixels are of mode {image.mode}, without a white level; save it with 8 "
            "or 16 bits a channel."
        )
    if ";16" in stored and max(high for _, high in _extrema(image)) < 64:
        raise ValueError(  # Pillow keeps the upper 8 of 16 bits of a colour
            "picture: its 16 bits a colour hold 14 or fewer, of which too little could be read; "
            "save it with 8 bits a colour, or brightened to the whole range."
        )
    return image


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    """The smallest and largest value of each channel but alpha."""
    bands = zip(image.getbands(), image.split(), strict=True)
    return [band.getextrema() for name, band in bands if name != "A"]


def _on_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    """sRGB, on white where the image is transparent."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("LA", "La", "1"):
        image = image.convert("L")
    elif image.mode not in _PROFILED.values():
        image = image.convert("RGB")
    image = _to_srgb(image, profile)
    if alpha is None:
        return image
    return Image.composite(image, Image.new("RGB", image.size, "white"), alpha)


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """As the profile says; as Pillow does where there is none, or none that can be used."""
    source = BytesIO(icc) if icc else ImageCms.createProfile("LAB") if image.mode == "LAB" else None
    if source is None:
        return image.convert("RGB")
    try:
        profile = ImageCms.ImageCmsProfile(source)
        mode = _PROFILED.get(profile.profile.xcolor_space)
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode == image.mode:
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        pass  # what cannot be read says nothing
    return image.convert("RGB")


def check_picture(
    pixels: Shaped[Array | np.ndarray, "H W *C"], channels: int | None = None
) -> Float[np.ndarray, "H W _"]:
    """The picture as float64 (H, W, C), or a clear error.

    Args:
      pixels: (H, W) or (H, W, C) with values in [0, 1] to a rounding of 1e-6, unsigned bytes in
        [0, 255], or a mask of booleans.
      channels: C that is asked for; None takes what comes.

    Raises:
      ValueError: wrong shape, wrong number of channels, values out of range or not finite.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype == np.uint8:
        pixels = pixels / 255
    elif pixels.dtype != bool and not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(
            f"pixels: dtype={pixels.dtype} is neither float nor uint8; divide by the white level."
        )
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or min(pixels.shape) < 1:
        raise ValueError(f"pixels: shape={pixels.shape} must be (height, width[, channels]).")
    if pixels.shape[0] <= 4 < pixels.shape[-1]:
        raise ValueError(
            f"pixels: shape={pixels.shape} has its channels first; use np.moveaxis(pixels, 0, -1)."
        )
    if channels is not None and pixels.shape[-1] != channels:
        found = pixels.shape[-1]
        spare = f"leave out alpha, pixels[..., :{channels}]"
        remedy = {1: "repeat the grey channel", channels + 1: spare}.get(found, "use signals.grey")
        raise ValueError(f"pixels: {found} channels where {channels} are due; {remedy}.")
    if not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).sum())
        raise ValueError(f"pixels: {count} values are NaN or infinite; replace them first.")
    if pixels.min() < -1e-6 or pixels.max() > 1 + 1e-6:
        raise ValueError(
            f"pixels: values span [{pixels.min():.3g}, {pixels.max():.3g}]; rescale them to [0, 1]."
        )
    return pixels.astype(np.float64).clip(0, 1)


def grey(pixels: Shaped[Array | np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 1"]:
    """Luma 0.299 R + 0.587 G + 0.114 B of a colour picture (ITU-R BT.601).

    Raises:
      ValueError: anything that `check_picture` refuses, and a picture that is not RGB.
    """
    return check_picture(pixels, channels=3) @ np.asarray(_LUMA)[:, None]


def resize(
    pixels: Shaped[Array | np.ndarray, "H W *C"], size: int
) -> Float[np.ndarray, "{size} {size} _"]:
    """The picture at size×size, low-pass filtered before it is sampled down.

    Raises:
      ValueError: size < 1, or anything that `check_picture` refuses.
    """
    if size < 1:
        raise ValueError(f"resize: size={size} must be at least 1 pixel.")
    pixels = check_picture(pixels)
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.clip(transform.resize(pixels, (size, size), anti_aliasing=True), 0, 1)


def samples(
    pixels: Shaped[Array | np.ndarray, "H W *C"], low: float = -1.0, high: float = 1.0
) -> tuple[Float[Array, "N 2"], Float[Array, "N _"]]:
    """A picture as coordinates and values, float32: what a network is fitted to.

    Args:
      pixels: (H, W, C), rows first: r = (row, column).
      low, high: the interval of each coordinate, end point excluded.

    Raises:
      ValueError: anything that `check_picture` refuses.
    """
    pixels = check_picture(pixels)
    g = jnp.asarray(pixels.reshape(-1, pixels.shape[-1]), jnp.float32)
    return grid(pixels.shape[:2], low, high), g
