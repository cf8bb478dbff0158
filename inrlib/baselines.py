"""What a network must beat: a plain grid and a truncated Fourier series with as many numbers.

Both are fitted by least squares, in closed form: no step size, no training, no draw. Neither has
more numbers than the samples can settle; a network of many more weights does not make them worse.

>>> r = np.linspace(0, 1, 50)[:, None]
>>> f = linear_grid(r, 3 * r + 1, parameters=20)
>>> np.round(f(np.array([[0.25]])), 2)
array([[1.75]])
"""

from collections.abc import Callable
from itertools import product

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy import linalg, sparse
from scipy.sparse.linalg import cg

from inrlib.networks import Theta

__all__ = ["fourier_series", "linear_grid", "parameters"]

Samples = Float[Array | np.ndarray, "N D"]
Values = Float[Array | np.ndarray, "N C"]
Fitted = Callable[[Float[Array | np.ndarray, "M D"]], Float[np.ndarray, "M C"]]
"""A function of coordinates (M, D)."""


def parameters(theta: Theta) -> int:
    """How many numbers training moves."""
    return sum(leaf.size for leaf in jax.tree.leaves(theta["params"]))


def linear_grid(r: Samples, g: Values, parameters: int, smooth: float = 0.03) -> Fitted:
    """Values on a regular grid, multilinear between its nodes.

        argmin_x Σ_n |f_x(r_n) − g_n|² + smooth · Σ_edges |x_i − x_j|²,

    f_x the interpolation of the node values x. The second sum only settles nodes that no sample
    touches. The grid spans the samples, with equally many nodes along each axis; coordinates beyond
    it are moved to its rim.

    Args:
      r, g: samples (N, D) and (N, C).
      parameters: how many numbers the grid may have; it takes no more than N nodes.
      smooth: the weight of the second sum.

    Raises:
      ValueError: too few parameters for two nodes an axis, or coordinates that are all the same.
    """
    r, g, low, extent = _prepared("linear_grid", r, g)
    dims, budget = r.shape[1], min(parameters // g.shape[1], len(r))
    side = int(budget ** (1 / dims) + 1e-9)
    if side < 2:
        raise ValueError(
            f"linear_grid: parameters={parameters} and {len(r)} samples are too few for two nodes "
            f"along each of {dims} axes."
        )

    def weights(at: np.ndarray) -> sparse.csr_array:
        """The interpolation as a matrix (M, nodes), 2^D numbers a row."""
        place = ((at - low) / extent).clip(0, 1) * (side - 1)
        cell = np.minimum(place.astype(int), side - 2)
        rows, columns, parts = [], [], []
        for corner in product((0, 1), repeat=dims):
            rest = np.where(corner, place - cell, 1 - (place - cell))
            columns.append(np.ravel_multi_index((cell + corner).T, (side,) * dims))
            parts.append(rest.prod(axis=1))
            rows.append(np.arange(len(at)))
        entries = (np.concatenate(parts), (np.concatenate(rows), np.concatenate(columns)))
        return sparse.csr_array(entries, shape=(len(at), side**dims))

    A = weights(r)
    system = (A.T @ A + smooth * _edges(side, dims)).tocsr()
    x = np.stack([cg(system, A.T @ column, rtol=1e-8, maxiter=5000)[0] for column in g.T], axis=1)
    return lambda at: weights(np.asarray(at, np.float64)) @ x


def _edges(side: int, dims: int) -> sparse.csr_array:
    """Σ over neighbouring nodes of |x_i − x_j|², as a matrix."""
    step = sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(side - 1, side))
    one, eye = step.T @ step, sparse.eye_array(side)
    total = sparse.csr_array((side**dims, side**dims))
    for axis in range(dims):
        term = sparse.eye_array(1)
        for other in range(dims):
            term = sparse.kron(term, one if other == axis else eye)
        total = total + term
    return sparse.csr_array(total)


def fourier_series(r: Samples, g: Values, parameters: int, ridge: float = 1e-3) -> Fitted:
    """The lowest terms of a Fourier series, in order of |k|.

        f(r) = Σ_k a_k cos(2π k·r/P) + b_k sin(2π k·r/P),      k ∈ Z^D, one of each pair ±k

    with a and b by least squares, and (ridge · s₀)² |(a, b)|² added, s₀ the largest singular value.
    P is the samples' extent plus the mean distance of neighbouring coordinates, axis by axis: a
    grid on [low, high) has period high − low.

    Args:
      r, g: samples (N, D) and (N, C).
      parameters: how many numbers the series may have; it takes no more than N/2 terms.
      ridge: as above.

    Raises:
      ValueError: too few parameters for one number a channel, or coordinates all the same.
    """
    r, g, low, extent = _prepared("fourier_series", r, g)
    dims, terms = r.shape[1], min(parameters // g.shape[1], len(r) // 2)
    if terms < 1:
        raise ValueError(f"fourier_series: parameters={parameters} are too few for one term.")
    sides = np.array([len(np.unique(axis)) for axis in r.T])
    period = extent * (1 + 1 / (sides - 1))
    k = _lowest((terms - 1) // 2, dims)

    def waves(at: np.ndarray) -> np.ndarray:
        v = 2 * np.pi * ((np.asarray(at, np.float64) - low) / period) @ k.T
        return np.concatenate([np.ones((len(v), 1)), np.cos(v), np.sin(v)], axis=1)

    Z = waves(r)
    gram = Z.T @ Z
    largest = linalg.eigh(gram, eigvals_only=True, subset_by_index=[len(gram) - 1] * 2)[0]
    gram[np.diag_indices_from(gram)] += ridge**2 * largest
    x = linalg.solve(gram, Z.T @ g, assume_a="pos")
    return lambda at: waves(at) @ x


def _lowest(count: int, dims: int) -> np.ndarray:
    """The `count` whole vectors of least length, one of each pair ±k, without zero."""
    reach = int(np.ceil((2 * count + 1) ** (1 / dims))) + 1  # the cube of this side holds the ball
    k = np.array(list(product(range(-reach, reach + 1), repeat=dims)))
    first = np.array([next((n for n in row if n), 0) for row in k])
    k = k[first > 0]
    return k[np.argsort((k**2).sum(axis=1), kind="stable")[:count]].astype(np.float64)


def _prepared(
    name: str, r: Samples, g: Values
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples as float64, and the box that they fill."""
    r, g = np.asarray(r, np.float64), np.asarray(g, np.float64)
    if len(r) != len(g):
        raise ValueError(f"{name}: {len(r)} coordinates and {len(g)} values do not fit.")
    low, extent = r.min(axis=0), np.ptp(r, axis=0)
    if not (extent > 0).all():
        raise ValueError(f"{name}: all samples have the same coordinate; leave that axis out.")
    return r, g, low, extent
