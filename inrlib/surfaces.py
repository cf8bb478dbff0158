"""A surface in space as a picture, without a GPU: marching cubes, and a z-buffer in NumPy.

>>> r = np.stack(np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij"))
>>> picture(np.linalg.norm(r, axis=0), [(0.6, (0.8, 0.4, 0.0))], size=64).shape
(64, 64, 3)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from skimage.measure import marching_cubes

__all__ = ["picture"]

_LIGHT = np.array([-0.35, -0.8, 0.49])
"""Where the light comes from, seen from the camera: left, in front, above."""

_TILT = 25.0
"""Degrees by which the camera looks down."""

_WIDE = 3.3
"""Side of the picture in units of half a cube's side, so that the cube fits at any turn."""


def picture(
    values: Float[np.ndarray, "X Y Z"],
    levels: Sequence[tuple[float, tuple[float, float, float]]],
    turn: float = 30.0,
    size: int = 220,
) -> Float[np.ndarray, "{size} {size} 3"]:
    """Surfaces of constant value within the cube's edges, shaded by their slope.

    Each triangle of marching cubes (Lorensen and Cline 1987; Lewiner's variant) is drawn as a few
    points, and of all points that fall on a pixel the nearest is seen.

    Args:
      values: on a grid; the third axis points up.
      levels: a value and a colour (red, green, blue) for each surface. One that the values do not
        reach is left out.
      turn: of the cube around the third axis, in degrees.
      size: pixels a side.

    Returns:
      Red, green and blue in [0, 1] on white.
    """
    rotation = _rotation(turn)
    points, colours = _edges()
    parts = [(points @ rotation.T, colours)]
    for level, colour in levels:
        if values.min() < level < values.max():
            parts.append(_surface(values, level, colour, rotation, size))
    points, colours = (np.concatenate(part) for part in zip(*parts, strict=True))
    scale = size / _WIDE
    column = np.clip((size / 2 + scale * points[:, 0]).astype(int), 0, size - 1)
    row = np.clip((size / 2 - scale * points[:, 2]).astype(int), 0, size - 1)
    order = np.argsort(-points[:, 1], kind="stable")  # far ones first: near ones paint over them
    canvas = np.ones((size * size, 3))
    canvas[(row * size + column)[order]] = colours[order]
    return canvas.reshape(size, size, 3)


def _rotation(turn: float) -> np.ndarray:
    """To the camera's axes: right, away, up."""
    a, b = np.deg2rad([turn, _TILT])
    around = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    down = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return down @ around


def _surface(values, level, colour, rotation, size) -> tuple[np.ndarray, np.ndarray]:
    """Points of one surface, turned, and their shaded colours."""
    vertices, faces, *_ = marching_cubes(np.array(values, np.float32), level)
    vertices = (2 * vertices / (np.array(values.shape) - 1) - 1) @ rotation.T
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    normals *= -np.sign(normals[:, [1]] + 1e-12)  # both sides are lit: the one that is seen
    light = 0.35 + 0.65 * np.maximum(normals @ _LIGHT, 0)
    # As many points on a triangle as leave no pixel out; its longest side is a voxel's diagonal.
    parts = int(np.ceil(3**0.5 * 2 / (min(values.shape) - 1) * size / _WIDE)) + 2
    i, j = np.meshgrid(np.arange(parts), np.arange(parts), indexing="ij")
    inside = i + j < parts
    weights = np.stack([i, j, parts - 1 - i - j], axis=-1)[inside] / (parts - 1)
    points = (weights @ corners).reshape(-1, 3)
    colours = np.repeat(light[:, None] * np.array(colour), len(weights), axis=0)
    return points, colours


def _edges(samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Points of the cube's edges, in grey."""
    along = np.linspace(-1, 1, samples)
    lines = []
    for axis in range(3):
        for one in (-1, 1):
            for other in (-1, 1):
                line = np.empty((samples, 3))
                line[:, axis], line[:, (axis + 1) % 3], line[:, (axis + 2) % 3] = along, one, other
                lines.append(line)
    points = np.concatenate(lines)
    return points, np.full((len(points), 3), 0.65)
