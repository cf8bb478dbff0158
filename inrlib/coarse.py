"""The kernel of a fine grid from its values at a few nodes: Gauss quadrature of the grid itself.

The leading atoms of a network are smooth, or it would not learn anything between samples. So the
kernel on a grid of N samples hardly holds more than the kernel at M < N well-placed nodes,

    Θ ≈ A Θ_c Aᵀ,     Θ_c (M, M) at the nodes, A (N, M) interpolation, a product over the axes.

The nodes of an axis are those of the Gauss quadrature with respect to its n equally spaced samples:
the zeros of the discrete Chebyshev polynomial p_m, from the Jacobi matrix of its recurrence (Golub
and Welsch 1969),

    b_j² = j² (n² − j²) / (4 (4j² − 1)).

With them Aᵀ A / N is exactly the diagonal of the weights w. So √w Θ_c √w has the eigenvalues of
A Θ_c Aᵀ / N, and A u / √w are its eigenfunctions. With as many nodes as samples the nodes are the
samples.

`leading` carries the eigenfunctions u of √w Θ_c √w to the samples by the kernel itself, not by
interpolation: in the space of features (`products`) they are Ψ_cᵀ √w u / √λ, and one sweep over the
samples gives their values there, the best combinations of these (Rayleigh and Ritz), and at a few
samples the residual with all samples in the sum.

>>> import jax
>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((16,), mapping_width=8), signals.grid((32, 32))
>>> theta = networks.init(network, jax.random.key(0), dims=2)
>>> leading(network, theta, r, (32, 32), k=3, nodes=100).functions.shape
(1024, 3)
"""

from functools import partial, reduce
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.linalg import eigh_tridiagonal

from inrlib import atoms, devices, layers, ntk, products
from inrlib.atoms import Eigen
from inrlib.devices import SPLIT, WHOLE
from inrlib.inr import Theta
from inrlib.ntk import Matvec

__all__ = ["Coarse", "coarsen", "leading", "missed", "product"]

_PROBES = 64
"""Random samples of the grid, at which residuals are measured."""


_SMALL = 1e-6
"""Eigenvalues below this share of the largest are rounding."""

_CHUNK = 1024
"""Samples at a time, so that memory does not grow with them."""


class Coarse(NamedTuple):
    """A grid's nodes.

    Attributes:
      r: their coordinates.
      weights: of the quadrature; they add up to 1.
      axes: for each axis the interpolation from its nodes to its samples.
      probes: indices of random samples of the grid.
    """

    r: Float[Array, "M D"]
    weights: Float[Array, " M"]
    axes: tuple[Array, ...]
    probes: Int[Array, " S"]

    @property
    def samples(self) -> int:
        """N."""
        return int(np.prod([len(axis) for axis in self.axes]))

    def to_samples(self, values: Float[Array, "M K"]) -> Float[Array, "N K"]:
        """A V: values at the nodes, interpolated."""
        return _along(self.axes, values)

    def to_nodes(self, values: Float[Array, "N K"]) -> Float[Array, "M K"]:
        """Aᵀ V; of a function divided by N w, its values at the nodes, if it has that few."""
        return _along(tuple(axis.T for axis in self.axes), values)


def _along(axes: tuple[Array, ...], values: Array) -> Array:
    columns = values.shape[1]
    values = values.reshape(*(axis.shape[1] for axis in axes), columns)
    with jax.default_matmul_precision("highest"):
        for axis in axes:  # the first axis goes to the end, behind all others
            values = jnp.tensordot(values, axis, axes=(0, 1))
    return values.reshape(columns, -1).T


def coarsen(r: Float[Array | np.ndarray, "N D"], shape: tuple[int, ...], nodes: int) -> Coarse:
    """The nodes of a grid, as many along each axis as `nodes` in all allow.

    Args:
      r: coordinates of a regular grid, such as `signals.grid` makes; the first axis slowest.
      shape: its samples along each axis.
      nodes: M at most.

    Raises:
      ValueError: coordinates that are no regular grid of that shape; nodes < 1.
    """
    axes = _axes(r, shape)
    if nodes < 1:
        raise ValueError(f"coarsen: nodes={nodes} must be at least 1.")
    sides = (np.minimum(side, shape) for side in range(1, max(shape) + 1))
    *_, counts = (some for some in sides if np.prod(some) <= nodes)
    parts = [_gauss(axis, int(count)) for axis, count in zip(axes, counts, strict=True)]
    outer = lambda a, b: (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:-1], -1)
    probes = np.random.default_rng(0).permutation(len(r))[:_PROBES]
    r_nodes = np.stack(np.meshgrid(*(x for x, *_ in parts), indexing="ij"), axis=-1)
    ours = partial(jnp.asarray, dtype=jnp.asarray(r).dtype)
    return Coarse(
        ours(r_nodes.reshape(-1, len(shape))),
        ours(reduce(outer, [w for _, w, _ in parts])),
        tuple(ours(A) for *_, A in parts),
        jnp.asarray(probes, jnp.int32),
    )


def _axes(r, shape) -> list[np.ndarray]:
    """The coordinates along each axis, once they are known to be a regular grid."""
    grid = np.asarray(r, np.float64)
    if grid.ndim != 2 or grid.shape != (np.prod(shape), len(shape)):
        raise ValueError(f"coarsen: r has shape {grid.shape}, which is no grid of shape {shape}.")
    grid = grid.reshape(*shape, len(shape))
    corner = (0,) * len(shape)
    axes = [grid[(*corner[:d], slice(None), *corner[d + 1 :], d)] for d in range(len(shape))]
    whole = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    even = [np.linspace(axis[0], axis[-1], len(axis)) for axis in axes]
    extent = max(np.ptp(grid), 1e-30)
    if np.abs(whole - grid).max() > 1e-5 * extent or any(
        np.abs(a - b).max() > 1e-5 * extent for a, b in zip(axes, even, strict=True)
    ):
        raise ValueError(
            f"coarsen: r is no regular grid of shape {shape} with the first axis slowest; take "
            "atoms.leading(ntk.operator(network, theta, r), len(r))."
        )
    return axes


def _gauss(x: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """m nodes, their weights, and the interpolation (n, m) from them to the samples x."""
    n, j = len(x), np.arange(1, m)
    if m == n:
        return x, np.full(n, 1 / n), np.eye(n)
    b = np.sqrt(j**2 * (n**2 - j**2) / (4 * (4 * j**2 - 1.0)))
    nodes, Q = eigh_tridiagonal(np.zeros(m), b)  # in steps from the middle
    steps = np.arange(n) - (n - 1) / 2
    P = [np.ones(n)]  # orthonormal polynomials on the samples, made orthogonal twice
    for _ in j:
        p = steps * P[-1]
        for _ in range(2):
            p = p - np.mean(np.array(P) * p, axis=1) @ np.array(P)
        P.append(p / np.sqrt(np.mean(p**2)))
    signs = np.sign(Q[0])  # so that Q_jl = p_j(node l) √w_l, with p_0 = 1
    return (
        (x[0] + x[-1]) / 2 + nodes * (x[1] - x[0]),
        Q[0] ** 2,
        np.array(P).T @ (Q * np.abs(Q[0]) * signs),
    )


# --- The kernel ----------------------------------------------------------------------------------


def product(K: Float[Array, "M M"], grid: Coarse) -> Matvec:
    """V ↦ A Θ_c Aᵀ V, for `atoms.leading` and `atoms.energy_from_products`.

    Args:
      K: Θ_c, from `ntk.gram` at the nodes.
    """
    return jax.tree_util.Partial(_product, K, grid)


def _product(K, grid, V):
    return grid.to_samples(K @ grid.to_nodes(V.astype(K.dtype)))


def missed(
    network: nn.Module, theta: Theta, r: Float[Array, "N D"], grid: Coarse, eigen: Eigen
) -> Float[Array, " K"]:
    """How far eigenfunctions of `product` are from those of Θ: residuals, from random samples r.

        |Σ_m w_m Θ(r, r_m) φ(r_m) − λ φ(r)| / λ_0,      root mean square over the r

    The integral is left to the quadrature, which is exact for polynomials of twice the degree that
    interpolation is. With all samples in the sum, as in `leading`, it takes longer.
    """
    at_nodes = grid.to_nodes(eigen.functions) / grid.samples
    rows = ntk.gram(network, theta, r[grid.probes], grid.r)
    image = jnp.matmul(rows, at_nodes, precision="highest")
    miss = image - eigen.functions[grid.probes] * eigen.values
    return jnp.sqrt(jnp.mean(miss**2, axis=0)) / eigen.values.max()


def leading(
    network: nn.Module,
    theta: Theta,
    r: Float[Array, "N D"],
    shape: tuple[int, ...],
    k: int = 10,
    *,
    nodes: int = 1000,
    tolerance: float = 1e-3,
    previous: Eigen | None = None,
) -> Eigen:
    """The leading k eigenfunctions on a regular grid, by its nodes where these are enough.

    Where no residual is above `tolerance` they are the nodes', carried to the samples. Else they
    are the start of `atoms.leading` with the kernel itself. Either way they come with residuals;
    the former from 64 samples at random, with a standard error of about a tenth. An eigenvalue of
    Θ/N lies within λ_0 times its residual, and an eigenfunction turns by the residual over its gap.

    Args:
      network, theta: as `ntk.operator`.
      r, shape, nodes: as `coarsen`; 1000 are 10 along each of three axes.
      k: how many.
      tolerance: of the residuals, in units of λ_0. 0 always takes the kernel itself, ∞ never.
      previous: the frame before. It is where the iteration starts, its signs and order are kept.

    Returns:
      An `Eigen`. May be jitted, with r known.

    Raises:
      ValueError: as `coarsen`, `ntk.operator` and `atoms.leading`.
    """
    grid = coarsen(r, shape, nodes)
    if not 1 <= k <= len(grid.r):
        raise ValueError(
            f"leading: k={k} must lie between 1 and the number of nodes {len(grid.r)}."
        )
    apply, r = ntk.operator(network, theta, r), jnp.asarray(r)
    eigen = _by_nodes(network, k, theta, r, grid, previous)
    good = (eigen.residuals <= tolerance).all()
    exact = lambda: atoms.leading(apply, len(r), k, steps=0, previous=eigen)
    if isinstance(good, jax.core.Tracer):
        return lax.cond(good, lambda: eigen, exact)
    return eigen if good else exact()


@partial(jax.jit, static_argnums=(0, 1))
def _by_nodes(network, k, theta, r, grid, previous) -> Eigen:
    """The nodes' eigenfunctions, carried to the samples."""
    K = ntk.gram(network, theta, grid.r)
    root, M = jnp.sqrt(grid.weights)[:, None], len(K)
    before = previous
    if previous is not None:  # its projection on the interpolants
        at_nodes = grid.to_nodes(previous.functions.astype(K.dtype)) / root * (M**0.5 / len(r))
        before = previous._replace(functions=at_nodes)
    weighted = jax.tree_util.Partial(jnp.matmul, root * K * root.T)
    eigen = atoms.leading(weighted, M, k, previous=before)
    values, u = eigen.values * M, eigen.functions / M**0.5
    some = jnp.sqrt(jnp.maximum(values, _SMALL * values.max()))
    U = products.pull(network, theta, grid.r, root * u / some)
    return atoms.align(_ritz(network, theta, r, U, grid.probes), previous)


def _ritz(network, theta, r, U, probes) -> Eigen:
    """The best combinations of Ψ U, and their residuals at the probes: once through all samples."""
    N, mesh = len(r), devices.several()
    chunk = devices.share(N, _CHUNK, devices.size(mesh))
    fill = -N % (chunk * devices.size(mesh))
    chunks = jnp.pad(r, ((0, fill), (0, 0))).reshape(-1, chunk, r.shape[1])
    inside = (jnp.arange(N + fill) < N).reshape(-1, chunk, 1)
    there = products.factors(network, theta, r[probes])
    alone = not layers.rest(network, theta, r)[1]

    def look(image, some):
        r_some, inside = some
        here = products.factors(network, theta, r_some)
        F = jnp.where(inside, products.push(network, theta, r_some, U, here), 0)
        rows = _rows(there, here) if alone else ntk.gram(network, theta, r[probes], r_some)
        return image + jnp.matmul(rows, F, precision="highest"), F

    k = jax.tree.leaves(U)[0].shape[1]
    nothing = jnp.zeros((len(probes), k), r.dtype)

    def sweep(chunks, inside):
        image, F = lax.scan(look, nothing, (chunks, inside))
        return devices.summed(mesh, image), devices.gathered(mesh, F)

    image, F = devices.each(mesh, sweep, (SPLIT, SPLIT), (WHOLE, WHOLE))(chunks, inside)
    F = F.reshape(-1, k)[:N]
    with jax.default_matmul_precision("highest"):
        values, mix = jnp.linalg.eigh(F.T @ F / N)
        values, mix = values[::-1], mix[:, ::-1]
        seen = values > _SMALL * values[0]  # else nothing is known of that direction
        mix = mix / jnp.sqrt(jnp.where(seen, values, 1))
        F, image = F @ mix, image @ mix
    miss = image / N - F[probes] * values
    residuals = jnp.sqrt(jnp.mean(miss**2, axis=0)) / values[0]
    return Eigen(values, F, jnp.where(seen, residuals, jnp.inf))


def _rows(one, two) -> Array:
    """Θ between two sets of samples, from their factors."""
    with jax.default_matmul_precision("highest"):
        pairs = zip(one, two, strict=True)
        return sum(jnp.real((a @ z.conj().T) * (b @ d.conj().T)) for (a, b), (z, d) in pairs)
