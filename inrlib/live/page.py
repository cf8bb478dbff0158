"""What an explorer leaves in a page without a kernel: stored pictures under a slider.

>>> slide("x", ["1", "2"], 0, 100, [b"one", b"two"], ["x = 1: low", "x = 2: high"]).count("<img")
2
"""

import base64
import html
from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from inrlib.live.canvas import DENSITY, thin

__all__ = ["slide", "small_enough"]

STAGES = ((DENSITY, 80), (DENSITY, 60), (1, 80), (1, 50))
"""Density and quality, best first: the first that fits is taken."""

SLIDE = (
    "const pictures = this.closest('figure').querySelectorAll('img'); "
    "pictures.forEach((picture, n) => picture.hidden = n != this.value); "
    "const value = this.dataset.values.split(' ')[this.value]; "
    "this.nextElementSibling.textContent = value; this.setAttribute('aria-valuetext', value)"
)


def small_enough(pictures: Sequence[Image.Image], limit: int) -> list[bytes]:
    """The pictures as WebP, together at most `limit` bytes; for it the quality is lowered.

    Raises:
      ValueError: too many pictures for the limit.
    """
    for density, quality in STAGES:
        images = [_webp(thin(picture, density), quality) for picture in pictures]
        if sum(map(len, images)) <= limit:
            return images
    raise ValueError(f"frames: {len(images)} pictures exceed {limit} bytes; ask for fewer.")


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format="webp", quality=quality, method=2)
    return buffer.getvalue()


def slide(
    label: str,
    values: Sequence[str],
    first: int,
    width: int,
    images: Sequence[bytes],
    alts: Sequence[str],
) -> str:
    """HTML of a slider over stored pictures: all that moves is in the slider's own attribute.

    Args:
      label: of the slider.
      values: its positions as text.
      first: the index of the one that is shown first.
      width: in the page's pixels.
      images: one WebP a position.
      alts: what is seen, in words, one a position.
    """
    pictures = "".join(
        f'<img {"" if n == first else "hidden "}alt="{html.escape(words)}" '
        f'style="max-width: 100%; width: {width}px" '
        f'src="data:image/webp;base64,{base64.b64encode(image).decode()}">'
        for n, (words, image) in enumerate(zip(alts, images, strict=True))
    )
    return (
        f'<figure style="margin: 0"><label>{html.escape(label)} '
        f'<input type="range" min="0" max="{len(images) - 1}" value="{first}" '
        f'aria-valuetext="{values[first]}" data-values="{" ".join(values)}" '
        f'style="width: 20em; vertical-align: middle" '
        f'oninput="{SLIDE}"> <output>{values[first]}</output></label><div>{pictures}</div></figure>'
    )
