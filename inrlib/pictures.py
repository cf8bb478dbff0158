"""Pictures a reader brings, and those at hand: read, checked, resized.

A picture is an array (height, width, channels) with values in [0, 1].

>>> picture("coffee", size=32).shape
(32, 32, 3)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Shaped
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from skimage import data, transform

__all__ = ["PICTURES", "check_picture", "grey", "picture", "resize"]

PICTURES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
"""Names of the photographs that scikit-image carries in its package: no download."""

_LUMA = (0.299, 0.587, 0.114)
_LARGEST_SIDE = 8192
_DEPTHS = (8, 10, 12, 14, 16)
_PROFILED = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""The mode of pixels that a profile of each colour space speaks of."""


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
