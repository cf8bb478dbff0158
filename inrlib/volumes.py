"""Signals in three dimensions, and where their atoms point.

A shape is a signed distance d or an occupancy, 1 inside and 0 outside, on [−1, 1)³. How fast an
atom changes, and along which directions, is in its structure tensor

    S(φ) = E[∇φ ∇φᵀ] / (4π² E[φ²]),     in (cycles per unit)²:

the root of S_dd is the band along axis d, and for a plane wave S is k kᵀ with its frequency k.

>>> volume("sphere, occupancy", 16).shape
(16, 16, 16)
"""

import numpy as np
from jaxtyping import Array, Float

from inrlib import signals

__all__ = ["SIGNALS", "alignment", "anisotropy", "bands", "resized", "structure", "volume"]

SIGNALS = (
    "sphere, distance",
    "sphere, occupancy",
    "torus, distance",
    "torus, occupancy",
    "gyroid, distance",
    "gyroid, occupancy",
    "head",
)
"""Names that `volume` knows."""

Functions = Float[Array | np.ndarray, "N K"]
Tensors = Float[np.ndarray, "*K D D"]


def volume(name: str, side: int) -> Float[np.ndarray, "S S S"]:
    """A signal on side³ voxels of [−1, 1)³.

    An occupancy is measured in 3³ places of every voxel, so that its rim is soft by a voxel. "head"
    is the one section by magnetic resonance that matplotlib carries, as a thin slab along the first
    axis: a section has a thickness, over which its weight is a Gaussian, here of standard deviation
    1/4.

    Args:
      name: one of `SIGNALS`.
      side: voxels a side.

    Raises:
      ValueError: another name, or side < 1.
    """
    if name not in SIGNALS:
        raise ValueError(f"volume: name={name!r} is not one of {'; '.join(SIGNALS)}.")
    if name == "head":
        section = signals.resize(np.asarray(signals.recording("head")[1]).reshape(256, 256), side)
        depth = np.asarray(signals.grid(side, -1, 1))
        return np.exp(-(depth[:, :, None] ** 2) / (2 * 0.25**2)) * section[None, ..., 0]
    shape, kind = name.split(", ")
    if kind == "distance":
        return np.asarray(signals.distance(shape, signals.grid((side,) * 3, -1, 1))).reshape(
            (side,) * 3
        )
    # Three places an axis around each voxel's own.
    step = 2 / (3 * side)
    finer = (np.indices((3 * side,) * 3).reshape(3, -1).T - 1) * step - 1
    if shape == "gyroid":  # its sign needs no distance
        r = 2 * np.pi * finer
        inside = (np.sin(r) * np.cos(np.roll(r, -1, axis=1))).sum(axis=1) < 0
    else:
        inside = np.asarray(signals.distance(shape, finer))[:, 0] < 0
    return inside.reshape((side, 3) * 3).mean(axis=(1, 3, 5))


def resized(values: Float[np.ndarray, "D H W C"], side: int) -> Float[np.ndarray, "S S S"]:
    """Any volume on side³ voxels: the mean of its channels, linear between its voxels.

    Where there are more voxels than that along an axis, each is the mean of a block first.

    Raises:
      ValueError: a volume whose mean over the channels is constant.
    """
    values = np.asarray(values, np.float64).mean(axis=-1)
    for axis in range(3):
        values = np.moveaxis(values, axis, 0)
        if len(values) > side:
            values = np.stack([part.mean(axis=0) for part in np.array_split(values, side)])
        elif len(values) < side:
            place = np.linspace(0, len(values) - 1, side)
            below = np.minimum(place.astype(int), len(values) - 2)
            share = (place - below)[:, None, None]
            values = (1 - share) * values[below] + share * values[below + 1]
        values = np.moveaxis(values, 0, axis)
    if np.ptp(values) == 0:
        raise ValueError("volume: the mean of its channels is constant; take another.")
    return values


def structure(functions: Functions, shape: tuple[int, ...], length: float = 1.0) -> Tensors:
    """S(φ) of each function, from differences of neighbours.

    Args:
      functions: one a column, on a grid of `shape`.
      shape: samples along each axis, at least two.
      length: of every axis; bands are in cycles per unit of it.

    Raises:
      ValueError: a grid of another size.
    """
    functions = np.asarray(functions, np.float64)
    if np.prod(shape) != len(functions) or min(shape) < 2:
        raise ValueError(f"structure: shape={shape} must hold {len(functions)}, 2 or more an axis.")
    pictures = functions.T.reshape(-1, *shape)
    axes = tuple(range(1, len(shape) + 1))
    steps = [length / side for side in shape]
    slopes = np.stack(np.gradient(pictures, *steps, axis=axes), axis=1)
    slopes = slopes.reshape(len(pictures), len(shape), -1) / (2 * np.pi)
    energy = np.maximum((functions**2).sum(axis=0), 1e-30)
    return slopes @ np.swapaxes(slopes, 1, 2) / energy[:, None, None]


def bands(S: Tensors) -> Float[np.ndarray, "*K D"]:
    """The band along each axis, √S_dd, in cycles per unit."""
    return np.sqrt(np.diagonal(S, axis1=-2, axis2=-1))


def anisotropy(S: Tensors) -> Float[np.ndarray, "*K"]:
    """The largest over the smallest band of any direction, √(μ_max/μ_min), μ eigenvalues of S.

    Of the sum of S over a kernel's atoms it is 1 if the kernel has the symmetries of the cube.
    """
    mu = np.linalg.eigvalsh(S)
    smallest = np.maximum(mu[..., 0], 1e-30 + 1e-12 * mu[..., -1])
    return np.asarray(np.sqrt(mu[..., -1] / smallest))


def alignment(S: Tensors) -> Float[np.ndarray, "*K"]:
    """The share of the axis that has most of a function's change, max S_dd / tr S.

    1 for a function of one coordinate, 1/D for one that changes alike along all axes.
    """
    own = np.diagonal(S, axis1=-2, axis2=-1)
    return np.asarray(own.max(axis=-1) / np.maximum(own.sum(axis=-1), 1e-30))
