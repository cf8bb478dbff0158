"""What is represented: coordinate grids and signals, made here, recorded, or brought by a reader.

An implicit neural representation maps a coordinate r ∈ R^D to a value g(r) ∈ R^C. Here a signal is
always a pair of arrays: coordinates (N, D) and values (N, C), N = the number of samples. Pictures
keep their shape (height, width, channels) until `samples` flattens them.

>>> r, g = samples(picture("coffee", size=32))
>>> r.shape, g.shape
((1024, 2), (1024, 3))
"""

import gzip
import re
from collections.abc import Sequence
from importlib.util import find_spec
from operator import index
from pathlib import Path
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped
from scipy.spatial import cKDTree

from inrlib.files import sound, table, volume
from inrlib.moved import moved
from inrlib.pictures import PICTURES, check_picture, grey, picture, resize

__all__ = [
    "PICTURES",
    "RECORDINGS",
    "band",
    "check_picture",
    "distance",
    "grey",
    "grid",
    "holds_table",
    "picture",
    "read",
    "recording",
    "resize",
    "samples",
    "sound",
    "table",
    "tone",
    "volume",
]

RECORDINGS = ("eeg", "head", "membrane", "terrain")
"""Names of the recordings that matplotlib carries in its package: no download."""

__getattr__ = moved(__name__, faces="inrlib.faces.load", Faces="inrlib.faces.Faces")

_WAVES = 512


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


def band(
    low: float, high: float, r: Float[Array | np.ndarray, "N D"], key: Array
) -> Float[Array | np.ndarray, "N 1"]:
    """Noise of a known band: g(r) = √(2/M) Σ_m cos(2π k_m · r + φ_m), M = 512, low ≤ |k_m| ≤ high.

    The k_m are uniform in that interval, ring or shell, the phases φ_m in [0, 2π): the mean is 0,
    the variance 1, and the power density flat within the band (random Fourier features of such a
    spectrum: Rahimi and Recht 2007). Computed in float64, returned as r comes.

    Args:
      low, high: the ends of the band in cycles per unit of r.
      r: coordinates (N, D), on a grid or not.
      key: a JAX random key; the same key always gives the same noise.

    Raises:
      ValueError: not 0 ≤ low < high, or an end that is not finite.
    """
    if not (0 <= low < high and np.isfinite(high)):
        raise ValueError(f"band: low={low} and high={high} must be finite, with 0 ≤ low < high.")
    dims, keys = r.shape[1], jax.random.split(key, 3)
    radius = np.asarray(jax.random.uniform(keys[0], (_WAVES, 1)), np.float64)
    radius = (low**dims + radius * (high**dims - low**dims)) ** (1 / dims)
    direction = np.asarray(jax.random.normal(keys[1], (_WAVES, dims)), np.float64)
    k = radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    phi = 2 * np.pi * np.asarray(jax.random.uniform(keys[2], (_WAVES,)), np.float64)
    turns, g = 2 * np.pi * np.asarray(r, np.float64), 0.0
    for wave, phase in zip(k, phi, strict=True):  # one at a time: all of them would fill the memory
        g += np.cos(turns @ wave + phase)
    g = (np.sqrt(2 / _WAVES) * g[:, None]).astype(r.dtype)
    return jnp.asarray(g) if isinstance(r, jax.Array) else g


def distance(shape: str, r: Float[Array | np.ndarray, "N 3"]) -> Float[Array, "N 1"]:
    """The signed distance to a surface in three dimensions, negative inside.

    - "sphere" of radius 1/2: d(r) = |r| − 1/2
    - "torus" around the third axis, of radii 1/2 and 1/5: d(r) = |(|(r_1, r_2)| − 1/2, r_3)| − 1/5

    - "gyroid" of period 1, Σ sin 2πr_i cos 2πr_{i+1} = 0 (Schoen 1970): no closed form; the nearest
      point of the surface is looked for, in float64

    The first two lie within [−1, 1)³, and |∇d| = 1 wherever d has a gradient.

    Args:
      shape: "sphere", "torus" or "gyroid".
      r: coordinates (N, 3); d has their unit.

    Raises:
      ValueError: another shape.
    """
    r = jnp.asarray(r)
    if shape == "sphere":
        return jnp.linalg.norm(r, axis=1, keepdims=True) - 0.5
    if shape == "torus":
        across = jnp.linalg.norm(r[:, :2], axis=1, keepdims=True) - 0.5
        return jnp.hypot(across, r[:, 2:]) - 0.2
    if shape == "gyroid":
        return jnp.asarray(_from_gyroid(np.asarray(r, np.float64)), r.dtype)
    raise ValueError(f"distance: shape={shape!r} is not known; take sphere, torus or gyroid.")


def _gyroid(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F (N, 1) and ∇F (N, 3)."""
    s, c = np.sin(2 * np.pi * r), np.cos(2 * np.pi * r)
    slope = 2 * np.pi * (c * np.roll(c, -1, axis=1) - s * np.roll(s, 1, axis=1))
    return (s * np.roll(c, -1, axis=1)).sum(axis=1, keepdims=True), slope


def _from_gyroid(r: np.ndarray) -> np.ndarray:
    """The nearest of many points of the surface, slid along it until the way is at right angles."""

    def down(p):
        F, slope = _gyroid(p)
        return p - F * slope / np.maximum((slope**2).sum(axis=1, keepdims=True), 1e-3)

    cell = np.asarray(grid((40,) * 3), np.float64)
    for _ in range(8):
        cell = down(cell)
    cell = cell[np.abs(_gyroid(cell)[0][:, 0]) < 1e-9] % 1 % 1
    nearest = cell[cKDTree(cell, boxsize=1).query(r % 1 % 1)[1]]
    p = r - ((r - nearest + 0.5) % 1 - 0.5)
    for _ in range(20):
        normal = _gyroid(p)[1]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        way = r - p
        p = down(p + (way - (way * normal).sum(axis=1, keepdims=True) * normal) / 2)
    return np.sign(_gyroid(r)[0]) * np.linalg.norm(r - p, axis=1, keepdims=True)


def recording(name: str) -> tuple[Float[Array, "N D"], Float[Array, "N C"]]:
    """A measured signal among the sample data of matplotlib: coordinates and values, float32.

    | name | r | g |
    | --- | --- | --- |
    | "eeg" | time in s: 800 samples at 80 Hz | electroencephalogram, 4 channels, unit unknown |
    | "head" | row and column in [0, 1): 256×256 | magnetic resonance of a head, of its largest |
    | "membrane" | time in s: 12,000 samples at 2,000 Hz | potential of a nerve cell in mV |
    | "terrain" | south and east in arc seconds: 344×403, 3″ apart | height of the ground in m |

    Rates and units are those of matplotlib's own examples; the terrain is the Jacksboro fault in
    Tennessee. matplotlib is not imported.

    Args:
      name: one of `RECORDINGS`.

    Raises:
      ValueError: another name.
      FileNotFoundError: matplotlib is not installed, or does not carry this recording.
    """
    if name not in RECORDINGS:
        raise ValueError(f"recording: name={name!r} is not one of {', '.join(RECORDINGS)}.")
    if name == "eeg":
        g = np.fromfile(_carried(name, "eeg.dat"), "<f8").reshape(-1, 4)
        r = np.arange(len(g))[:, None] / 80
    elif name == "membrane":
        g = 100 * np.fromfile(_carried(name, "membrane.dat"), "<f4")[:, None]
        r = np.arange(len(g))[:, None] / 2000
    elif name == "terrain":
        with np.load(_carried(name, "jacksboro_fault_dem.npz")) as archive:
            height = archive["elevation"]
        r, g = 3 * np.indices(height.shape).reshape(2, -1).T, height.reshape(-1, 1)
    else:
        with gzip.open(_carried(name, "s1045.ima.gz")) as file:
            g = np.frombuffer(file.read(), "<u2")[:, None]
        r, g = grid((256, 256)), g / g.max()
    return jnp.asarray(r, jnp.float32), jnp.asarray(g, jnp.float32)


def _carried(name: str, file: str) -> Path:
    """Where matplotlib keeps a file; it is found, not imported: computing needs no front end."""
    matplotlib = find_spec("matplotlib")
    if matplotlib is None or matplotlib.origin is None:
        raise FileNotFoundError(
            f"recording: {name!r} comes with matplotlib, which is not installed; install it."
        )
    path = Path(matplotlib.origin).parent / "mpl-data" / "sample_data" / file
    if not path.is_file():
        raise FileNotFoundError(
            f"recording: {name!r} is not carried by this version of matplotlib; install the pinned "
            "one."
        )
    return path


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


def read(source: str | Path, size: int = 64) -> tuple[Float[Array, "N D"], Float[Array, "N C"]]:
    """Any file as coordinates and values, by its ending.

    A picture at size×size on [−1, 1)²; a sound in seconds; a volume on a grid whose longest side is
    [−1, 1); a table as it stands.

    Args:
      source: the path of a .wav, .npy, .npz, .csv, .tsv or .txt file, or of a picture; or one of
        `PICTURES`.
      size: pixels a side of a picture.

    Raises:
      FileNotFoundError: no such file.
      ValueError: what `sound`, `volume`, `table` or `picture` says of it.
    """
    ending = Path(source).suffix.lower()
    arrays = ending in (".npy", ".npz") and Path(source).is_file()
    if ending == ".wav":
        g, rate = sound(source)
        r = np.arange(len(g))[:, None] / rate
    elif ending in (".csv", ".tsv", ".txt") or (arrays and holds_table(_head(source))):
        r, g = table(source)
    elif ending in (".npy", ".npz"):
        values = volume(source)
        sides = values.shape[:3]
        r = np.indices(sides).reshape(3, -1).T * (2 / max(sides)) - 1
        g = values.reshape(len(r), -1)
    else:
        return samples(picture(source, size))
    return jnp.asarray(r, jnp.float32), jnp.asarray(g, jnp.float32)


def _head(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(256)


def holds_table(content: bytes) -> bool:
    """Whether a NumPy file has an array r, or an array of at most two axes."""
    header = content[:256]
    return b"r.npy" in header or re.search(rb"'shape': \(\d+, ?\d*\)", header) is not None
