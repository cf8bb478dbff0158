"""Four kinds of pictures, to learn a start from and to try it on: what carries over to what?

    faces         `faces.load`: other people for training than for testing
    photographs   squares of coffee, rocket and coins; tested on camera and chelsea
    textures      squares of brick, grass and gravel: their upper halves; tested on the lower ones
    noise         random phases, amplitudes that fall as 1/|k| as photographs' do: nothing in it

The astronaut is left out: it has a face. All pictures come with scikit-image. Each is brought to a
mean of 0.5 and a standard deviation of 0.2, so that plain grey has 14 dB on every one of them.

>>> load("textures", size=16, training=6, testing=3).testing.shape
(3, 16, 16, 1)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inrlib import faces
from inrlib.pictures import grey, picture, resize

__all__ = ["KINDS", "Pictures", "load", "noise", "squares"]


class Pictures(NamedTuple):
    """Grey pictures of one kind, mean 0.5 and standard deviation 0.2 each.

    Attributes:
      training: what a start may see.
      testing: what is kept from it.
    """

    training: Float[np.ndarray, "M size size 1"]
    testing: Float[np.ndarray, "V size size 1"]


_PHOTOGRAPHS = ("coffee", "rocket", "coins"), ("camera", "chelsea")
_TEXTURES = ("brick", "grass", "gravel")
_FLAT = 0.03  # the standard deviation below which a square shows nothing

KINDS = ("faces", "photographs", "textures", "noise")
"""Their names."""


def load(
    kind: str, size: int = 24, training: int = 32, testing: int = 8, seed: int = 0
) -> Pictures:
    """Pictures of one kind; those for testing come from other people, photographs or places.

    Args:
      kind: one of `KINDS`.
      size: side in pixels.
      training, testing: how many; of faces there are at most 80 and 20.
      seed: of the squares and of the noise.

    Raises:
      ValueError: another kind, or numbers that are too small or too large.
    """
    if kind not in KINDS:
        raise ValueError(f"kinds: kind={kind!r}; choose one of {', '.join(KINDS)}.")
    if size < 4 or min(training, testing) < 1:
        raise ValueError(
            f"kinds: size={size} must be at least 4 pixels, training={training} and "
            f"testing={testing} at least 1."
        )
    rng, counts = np.random.default_rng(seed), (training, testing)
    if kind == "faces":
        parts = faces.load(size=size, training=training, validation=testing)
    elif kind == "noise":
        parts = [noise(count, size, rng) for count in counts]
    elif kind == "photographs":
        whole = [[grey(picture(name)) for name in part] for part in _PHOTOGRAPHS]
        parts = [squares(*one, size, rng) for one in zip(whole, counts, strict=True)]
    else:
        whole = [np.array_split(grey(picture(name)), 2) for name in _TEXTURES]
        halves = zip(zip(*whole, strict=True), counts, strict=True)
        parts = [squares(half, count, size, rng) for half, count in halves]
    return Pictures(*map(_standard, parts))


def squares(
    pictures: Sequence[Float[np.ndarray, "_ _ 1"]], count: int, size: int, rng: np.random.Generator
) -> Float[np.ndarray, "{count} {size} {size} 1"]:
    """Random squares, of the pictures in turn, two to five times as large as `size`, then reduced.

    A square that is as good as flat is drawn again; the hundredth is taken as it is.
    """
    found = []
    for place in range(count):
        pixels = pictures[place % len(pictures)]
        for _ in range(100):
            side = min(*pixels.shape[:2], int(rng.integers(2 * size, 5 * size + 1)))
            top, left = (int(rng.integers(extent - side + 1)) for extent in pixels.shape[:2])
            square = pixels[top : top + side, left : left + side]
            if square.std() > _FLAT:
                break
        found.append(resize(square, size))
    return np.stack(found)


def noise(
    count: int, size: int, rng: np.random.Generator
) -> Float[np.ndarray, "{count} {size} {size} 1"]:
    """Pink noise: a white spectrum divided by |k|, without its mean."""
    k = np.fft.fftfreq(size) * size
    distance = np.hypot(k[:, None], k)
    distance[0, 0] = np.inf
    white = np.fft.fft2(rng.normal(size=(count, size, size)))
    return np.fft.ifft2(white / distance).real[..., None]


def _standard(pictures: Float[np.ndarray, "M H W 1"]) -> Float[np.ndarray, "M H W 1"]:
    axes = (1, 2, 3)
    centred = pictures - pictures.mean(axes, keepdims=True)
    return 0.5 + 0.2 * centred / centred.std(axes, keepdims=True)
