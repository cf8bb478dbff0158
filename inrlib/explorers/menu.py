"""Signals in the adviser's frame: a menu, and files of the reader's own.

>>> torus = MENU["torus"]()
>>> torus.shape, torus.spacing
((16, 16, 16), 0.125)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from inrlib import signals

SIDE = 64
"""Pixels a side of a picture."""

_COUNT, _RATE = 4096, 8000
"""Samples of anything; of a sound in a second."""


class Signal(NamedTuple):
    """A signal of about 4,096 samples, in the adviser's frame.

    Attributes:
      r: coordinates (N, D); the longest axis is [−1, 1).
      g: one channel (N, 1), from 0 to 1.
      shape: of a grid; None for scattered samples.
      unit: of the reader's coordinates, and how many of them our unit is worth.
    """

    r: np.ndarray
    g: np.ndarray
    shape: tuple[int, ...] | None
    unit: tuple[str, float]

    @property
    def spacing(self) -> float:
        """Between neighbouring samples; of scattered ones, what it would be on a grid."""
        count, dims = self.r.shape
        if self.shape:
            return 2 / max(self.shape)
        return float((np.prod(np.ptp(self.r, axis=0)) / count) ** (1 / dims))


def _framed(r, g, shape, unit: str) -> Signal:
    """Coordinates and values brought into the frame; channels are averaged."""
    r, g = np.asarray(r, np.float64), np.asarray(g, np.float64).mean(axis=1, keepdims=True)
    if np.ptp(g) == 0:
        raise ValueError("signal: the mean of its channels is constant; take another.")
    half = np.ptp(r, axis=0).max() / 2
    half *= 1 + 1 / (max(shape) - 1) if shape else 1
    r = (r - r.min(axis=0)) / half - 1
    g = (g - g.min()) / np.ptp(g)
    return Signal(r.astype(np.float32), g.astype(np.float32), shape, (unit, half))


def _picture(pixels: np.ndarray) -> Signal:
    pixels = signals.resize(pixels, SIDE)
    r = SIDE * np.asarray(signals.grid(pixels.shape[:2]))
    return _framed(r, pixels.reshape(SIDE**2, -1), pixels.shape[:2], "pixel")


def _sound(values: np.ndarray, rate: int) -> Signal:
    """Half a second around the loudest place, at 8,000 samples a second."""
    values = values.mean(axis=1)
    factor = min(_RATE, rate)
    width = min(len(values), -(-_COUNT * rate // factor))
    energy = np.concatenate([[0], np.cumsum(values**2)])
    start = int(np.argmax(energy[width:] - energy[:-width]))
    values = resample_poly(values[start : start + width], factor, rate)[:_COUNT]
    return _framed(np.arange(len(values))[:, None] / factor, values[:, None], (len(values),), "s")


def _volume(values: np.ndarray) -> Signal:
    """16×16×16, each the mean of the block that it stands for."""
    for axis in range(3):
        parts = np.array_split(values, min(16, values.shape[axis]), axis=axis)
        values = np.stack([part.mean(axis=axis) for part in parts], axis=axis)
    shape = values.shape[:3]
    r = np.indices(shape).reshape(3, -1).T
    return _framed(r, values.reshape(len(r), -1), shape, "block")


def _scattered(r: np.ndarray, g: np.ndarray, unit: str = "unit") -> Signal:
    if r.shape[1] > 3:
        raise ValueError(f"table: {r.shape[1]} coordinates; the adviser looks at most at three.")
    if len(r) < 32:
        raise ValueError(f"table: {len(r)} samples; give the adviser at least 32.")
    few = np.random.default_rng(0).permutation(len(r))[:_COUNT]
    few = few[np.argsort(r[few, 0], kind="stable")]
    return _framed(r[few], g[few], None, unit)


def _bell() -> Signal:
    """The partials of a church bell, as multiples of its prime: Lehr, “Partials of bell” (1986)."""
    t = np.arange(_COUNT) / _RATE
    partials = ((0.5, 0.6, 1), (1, 1, 2), (1.2, 0.9, 3), (1.5, 0.5, 4), (2, 1, 4), (3, 0.5, 7))
    waves = [a * np.exp(-d * t) * np.sin(2 * np.pi * 440 * f * t) for f, a, d in partials]
    return _framed(t[:, None], sum(waves)[:, None], (_COUNT,), "s")


def _recording(name: str) -> Signal:
    r, g = map(np.asarray, signals.recording(name))
    if r.shape[1] == 1:
        return _framed(r[:_COUNT], g[:_COUNT, :1], (min(len(r), _COUNT),), "s")
    shape = (344, 403) if name == "terrain" else (256, 256)
    return _picture((g / g.max()).reshape(shape)[: min(shape), : min(shape)])


def _torus() -> Signal:
    r = signals.grid((16,) * 3, -1, 1)
    return _framed(r, signals.distance("torus", r), (16,) * 3, "unit")


def _wells() -> Signal:
    r, g = map(np.asarray, signals.recording("terrain"))
    few = np.random.default_rng(0).permutation(len(r))[:1000]
    return _scattered(r[few], g[few], "arc second")


MENU: dict[str, Callable[[], Signal]] = {
    "camera": lambda: _picture(signals.picture("camera", SIDE)),
    "text": lambda: _picture(signals.picture("text", SIDE)),
    "gravel": lambda: _picture(signals.picture("gravel", SIDE)),
    "head": partial(_recording, "head"),
    "terrain": partial(_recording, "terrain"),
    "bell": _bell,
    "nerve cell": partial(_recording, "membrane"),
    "EEG": partial(_recording, "eeg"),
    "torus": _torus,
    "a thousand heights": _wells,
}


def read(name: str, content: bytes) -> Signal:
    """A file of the reader's own, by its ending: sound, volume, scattered samples or picture.

    Raises:
      ValueError: what `signals.sound`, `volume`, `table` or `picture` says of it.
    """
    ending = name.lower().rpartition(".")[2]
    if ending == "wav":
        return _sound(*signals.sound(content))
    if ending in ("csv", "txt", "tsv") or (
        ending in ("npy", "npz") and signals.holds_table(content)
    ):
        return _scattered(*signals.table(content))
    if ending in ("npy", "npz"):
        return _volume(signals.volume(content))
    return _picture(signals.picture(content, SIDE, smallest=16))
