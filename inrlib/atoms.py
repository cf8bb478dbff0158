"""Eqs. 10 and 11: the eigenfunctions of the NTK as the atoms of a dictionary.

    Θ(r1, r2) = Σ_i λ_i φ_i(r1) φ_i(r2)

The φ_i are what the network learns easily, in the order of λ_i: a signal's energy on those of large
eigenvalue says how fast.

Conventions. ⟨φ, g⟩ = E_r[φ(r) g(r)] is the mean over the grid, as below Eq. 10: eigenfunctions
have mean square 1 and λ_i are the eigenvalues of Θ/N, so neither depends on how fine the grid is.
Eq. 67 sums instead and takes φ of length 1: its φ are ours divided by √N, its λ ours times N, and
the energy concentration is the same.

>>> import jax
>>> from inrlib import networks, ntk, signals
>>> network, r = networks.SIREN((16,), mapping_width=8), signals.grid((8, 8))
>>> theta = networks.init(network, jax.random.key(0), dims=2)
>>> eigen = eigenfunctions(ntk.gram(network, theta, r), k=3)
>>> eigen.functions.shape
(64, 3)
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jaxtyping import Array, Float, Shaped

from inrlib import krylov, spectra
from inrlib.ntk import Matvec, check_memory

__all__ = [
    "Eigen", "align", "alignment", "centroids", "eigenfunctions", "energy_by_number",
    "energy_concentration", "energy_from_products", "inner_products", "kernel_norm", "leading",
    "swapped", "taught",
]  # fmt: skip


class Eigen(NamedTuple):
    """The leading eigenvalues and eigenfunctions of a kernel on a grid of N samples.

    Attributes:
      values: λ_0 ≥ λ_1 ≥ …, the eigenvalues of Θ/N.
      functions: φ_i at the grid's samples, one a column, E[φ_i φ_j] = δ_ij.
      residuals: |Θφ_i/N − λ_i φ_i| / λ_0, how far each is from being one; zeros where all of them
        were computed at once.
    """

    values: Float[Array, " K"]
    functions: Float[Array, "N K"]
    residuals: Float[Array, " K"]


def eigenfunctions(
    K: Float[Array, "N N"], k: int | None = None, previous: Eigen | None = None
) -> Eigen:
    """Eigenfunctions of a Gram matrix: all of them, or the leading k.

        Θ φ_i / N = λ_i φ_i,     E[φ_i φ_j] = δ_ij

    All of them are one dense decomposition, not traced: on a CPU LAPACK's divide and conquer
    through SciPy, three times as fast as XLA's. The leading k are `leading`.

    Args:
      K: Θ from `ntk.gram`, symmetric. In float32 eigenvalues below about 1e-6 λ_0 are rounding.
      k: how many; None for all.
      previous: the frame before: its signs and order are kept, see `align`.

    Raises:
      ValueError: a matrix that is not square and real, has numbers that are not finite, or does not
        fit into memory; otherwise as `leading`.
    """
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"eigenfunctions: K is {K.dtype} of shape {K.shape}; it must be square and real, in "
            "float32 or float64, as gram(network, theta, r)."
        )
    if k is not None:
        return leading(partial(_product, jnp.asarray(K)), len(K), k, previous=previous)
    check_memory("eigenfunctions", 3 * len(K), len(K), 1, K.dtype.itemsize)
    if not jnp.isfinite(K).all():
        raise ValueError("eigenfunctions: K has entries that are NaN or infinite; lower ω0.")
    if jax.default_backend() == "cpu":
        values, vectors = scipy.linalg.eigh(np.asarray(K), driver="evd", check_finite=False)
    else:
        values, vectors = jnp.linalg.eigh(K)
    values, vectors = jnp.asarray(values)[::-1], jnp.asarray(vectors)[:, ::-1]
    eigen = Eigen(values / len(K), vectors * len(K) ** 0.5, jnp.zeros_like(values))
    return align(eigen, previous)


def _product(matrix, V):
    return matrix @ V.astype(matrix.dtype)


def leading(
    apply: Matvec,
    samples: int,
    k: int = 10,
    *,
    steps: int = 5,
    spare: int = 6,
    previous: Eigen | None = None,
) -> Eigen:
    """The leading k eigenfunctions from products with Θ alone, by block Krylov (`krylov.subspace`).

    Rounds follow one another until no residual is above 1e-4. So λ_i is within 1e-4 λ_0 of an
    eigenvalue, and φ_i within 1e-2 of its subspace where that lies 1e-2 λ_0 away from the others.

    Args:
      apply: V ↦ ΘV, such as `operator` or the product with a Gram matrix.
      samples: N.
      k, spare: how many eigenfunctions, and columns in the block beyond them.
      steps: of the first round; 0 sees first whether `previous` is good enough.
      previous: the frame before. Its eigenfunctions start the block, its signs and order are kept.

    Returns:
      An `Eigen` of k eigenfunctions. May be jitted.

    Raises:
      ValueError: k, steps or spare out of range; a residual that stays above 1e-4, as it does if Θ
        is not symmetric or not finite. In a traced function that eigenfunction is NaN instead.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"leading: k={k} must lie between 1 and the number of samples {samples}.")
    if steps < (previous is None) or spare < 0:
        raise ValueError(f"leading: steps={steps} and spare={spare} must be at least 1 and 0.")
    parts = (apply.func, *apply.args) if isinstance(apply, partial) else (apply,)
    apply = jax.tree_util.Partial(*parts)  # arrays in it are arguments of the compiled function
    width = k + spare
    dtype = jax.eval_shape(apply, jax.ShapeDtypeStruct((samples, width), jnp.float32)).dtype
    V = fresh = jax.random.normal(jax.random.key(0), (samples, width), dtype)
    more = min(2, steps) or 2
    if samples <= width * (max(steps, more) + 1):  # so few that the span would be all of them
        V, steps, more = jnp.eye(samples, dtype=dtype), 0, 0
    elif previous is not None:  # an eigenfunction that it did not find starts anew
        found = jnp.isfinite(previous.functions).all(axis=0)
        V = V.at[:, :k].set(jnp.where(found, previous.functions.astype(dtype), V[:, :k]))
    vectors, values, residuals = krylov.subspace(apply, V, fresh / samples**0.5, k, steps, more)
    right = lambda part: jnp.where(residuals <= krylov.TOLERANCE, part, jnp.nan)
    eigen = Eigen(right(values / samples), right(vectors * samples**0.5), residuals)
    if not isinstance(worst := residuals.max(), jax.core.Tracer) and not worst <= krylov.TOLERANCE:
        raise ValueError(
            f"leading: a residual of {worst:.0e} λ0 remains; apply must be the product with one "
            "symmetric matrix of finite numbers."
        )
    return align(eigen, previous)


def align(eigen: Eigen, previous: Eigen | None = None, closeness: float = 0.05) -> Eigen:
    """The same eigenfunctions with the signs and the order of the frame before.

    An eigenfunction's sign is free, and two whose eigenvalues cross change places: under a slider
    both would flicker. Here neighbours whose eigenvalues differ by less than `closeness` are
    swapped where that fits `previous` better, and every sign is chosen so that ⟨φ_i, φ_i^prev⟩ ≥ 0.
    Without a previous frame, or where an eigenfunction of it is NaN, the entry of largest magnitude
    is positive.

    Raises:
      ValueError: a previous frame on another grid or of another number of eigenfunctions.
    """
    functions = eigen.functions
    if previous is None:
        return eigen._replace(functions=functions * _upright(functions))
    if previous.functions.shape != functions.shape:
        raise ValueError(
            f"align: previous has shape {previous.functions.shape} and this frame "
            f"{functions.shape}; pass previous=None when the grid changes."
        )
    return _align(eigen, previous.functions, closeness)


def _upright(functions):
    """Signs that make the entry of largest magnitude positive."""
    largest = jnp.argmax(jnp.abs(functions), axis=0)
    return jnp.sign(jnp.take_along_axis(functions, largest[None], axis=0))[0]


@jax.jit
def _align(eigen, previous, closeness):
    overlap = jnp.abs(eigen.functions.T @ previous)

    def visit(i, order):
        a, b = order[i], order[i + 1]
        close = eigen.values[i] - eigen.values[i + 1] < closeness * eigen.values[i]
        better = overlap[a, i] + overlap[b, i + 1] < overlap[b, i] + overlap[a, i + 1]
        swapped = order.at[i].set(b).at[i + 1].set(a)
        return jnp.where(close & better, swapped, order)

    count = len(eigen.values)
    order = lax.fori_loop(0, count - 1, visit, jnp.arange(count))
    values, functions, residuals = eigen.values[order], eigen.functions[:, order], eigen.residuals
    along = jnp.sum(functions * previous, axis=0)
    signs = jnp.where(jnp.isnan(along), _upright(functions), jnp.where(along < 0, -1, 1))
    return Eigen(values, functions * signs.astype(functions.dtype), residuals[order])


# --- What the dictionary says about a signal ---------------------------------------------------


@jax.default_matmul_precision("highest")
def inner_products(eigen: Eigen, g: Float[Array | np.ndarray, "N M"]) -> Float[Array, "K M"]:
    """⟨φ_i, g⟩ = E_r[φ_i(r) g(r)] of M signals, one a column.

    Raises:
      ValueError: signals on another grid.
    """
    if g.ndim != 2 or len(g) != len(eigen.functions):
        raise ValueError(f"g: shape={g.shape} must be (N, M), N={len(eigen.functions)} samples.")
    return eigen.functions.T @ g / len(g)


def energy_concentration(
    eigen: Eigen, g: Float[Array | np.ndarray, "N M"], thresholds: Float[Array | np.ndarray, " T"]
) -> Float[Array, " T"]:
    """Eq. 11: the share of the signals' energy in eigenfunctions of large eigenvalue.

        E(λ) = 1/M Σ_m Σ_{λ_i/λ_0 ≥ λ} |⟨φ_i, g_m⟩|² / ⟨g_m, g_m⟩

    It lies between 0 and 1. (Printed, Eq. 11 has the square of ⟨g, g⟩; the paper's curves do not.)
    Figures 4 and 11 take the mean off each image first, and so should a caller.

    Args:
      eigen: from `eigenfunctions`; all of them, or as many as lie above the lowest threshold.
      g: M signals, one a column.
      thresholds: λ, in units of the largest eigenvalue.

    Raises:
      ValueError: signals on another grid, or one that is zero.
    """
    energy = inner_products(eigen, g) ** 2
    total = jnp.mean(g**2, axis=0)
    _check_not_zero(total)
    share = jnp.mean(energy / total, axis=1)
    above = eigen.values.clip(0) / eigen.values.max() >= jnp.asarray(thresholds)[:, None]
    return jnp.where(above, share, 0).sum(axis=1)


def _check_not_zero(total):
    if not isinstance(total, jax.core.Tracer) and not (total > 0).all():
        raise ValueError("g has a signal that is zero; leave it out.")


def energy_by_number(eigen: Eigen, g: Float[Array | np.ndarray, "N M"]) -> Float[Array, " K"]:
    """The share of the signals' energy in the first n eigenfunctions, n = 1, 2, …, K.

    Eq. 11 counts those whose λ_i is near λ_0, however many they are: a kernel that is the identity
    has all energy above any threshold. By number it has n/N.
    """
    total = jnp.mean(g**2, axis=0)
    _check_not_zero(total)
    share = jnp.mean(inner_products(eigen, g) ** 2 / total, axis=1)
    return jnp.cumsum(share[jnp.argsort(-eigen.values)])  # `align` may have swapped neighbours


@jax.default_matmul_precision("highest")
def alignment(eigen: Eigen, g: Float[Array | np.ndarray, "N M"]) -> Float[Array, " M"]:
    """How much a kernel is like the one that knows nothing but g (Cristianini et al. 2001).

        A(Θ, g) = ⟨Θ, g gᵀ⟩_F / (‖Θ‖_F ‖g‖²) = Σ_i λ_i ⟨φ_i, g⟩² / (⟨g, g⟩ √(Σ_i λ_i²))

    It is 1 for Θ = g gᵀ and 1/√N for the identity, whatever g is. Without ‖Θ‖_F below the line the
    identity would be the best of all kernels with λ_0 = 1.

    Args:
      eigen: all eigenfunctions.
      g: M signals, one a column.
    """
    total = jnp.mean(g**2, axis=0)
    _check_not_zero(total)
    return eigen.values @ inner_products(eigen, g) ** 2 / (total * jnp.linalg.norm(eigen.values))


def swapped(values_of: Eigen, functions_of: Eigen) -> Eigen:
    """The kernel with the eigenvalues of one and the eigenfunctions of another, in their order.

    Raises:
      ValueError: eigenfunctions on another grid, or of another number.
    """
    if values_of.functions.shape != functions_of.functions.shape:
        raise ValueError(
            f"swapped: eigenfunctions of shape {values_of.functions.shape} and "
            f"{functions_of.functions.shape}; take both on one grid, and as many."
        )
    return functions_of._replace(values=values_of.values)


@partial(jax.jit, static_argnames="steps")
def taught(
    eigen: Eigen,
    g: Float[Array | np.ndarray, "N M"],
    seen: Shaped[Array | np.ndarray, " S"],
    steps: int,
    first: Float[Array | np.ndarray, "*any"] | float = 0.0,
) -> Float[Array, "T N M"]:
    """Gradient descent with a kernel that stays as it is (Eq. 8), on some samples of the grid.

        f ← f + Σ_i (λ_i/λ_0) φ_i E_seen[φ_i (g − f)]

    That is a step of 1/λ_0 on half the mean square.

    Args:
      eigen: all eigenfunctions of the kernel.
      g: M signals, one a column.
      seen: the indices of the samples that are seen.
      steps: how many.
      first: f before the first step, a number or as g.

    Returns f after 0, 1, …, steps of them.
    """
    Phi, ratio = eigen.functions, eigen.values.clip(0) / eigen.values.max()

    def step(f, _):
        with jax.default_matmul_precision("highest"):
            toward = Phi[seen].T @ (g - f)[seen] / len(seen)
            f = f + Phi @ (ratio[:, None] * toward)
        return f, f

    first = jnp.broadcast_to(jnp.asarray(first, Phi.dtype), g.shape)
    return jnp.concatenate([first[None], jax.lax.scan(step, first, length=steps)[1]])


def energy_from_products(
    apply: Matvec,
    g: Float[Array | np.ndarray, "N M"],
    thresholds: Float[Array | np.ndarray, " T"],
    largest: float | Array,
    *,
    steps: int = 48,
) -> Float[Array, " T"]:
    """Eq. 11, the whole curve, from products with Θ alone.

    `krylov.quadrature` gives points with weights: eigenvalues far apart are points of their own;
    where they lie close the curve climbs in small steps around the exact one, off by at most one
    point's weight. A slider can have that; all N eigenfunctions take far too long.

    Args:
      apply: V ↦ ΘV, such as `operator` or the product with a Gram matrix.
      g: M signals, one a column.
      thresholds: λ, in units of the largest eigenvalue.
      largest: the largest eigenvalue, as `leading` returns it; g alone may not see it.
      steps: more of them, finer steps.

    Raises:
      ValueError: steps out of range, or a signal that is zero.
    """
    if not 1 <= steps <= len(g):
        raise ValueError(f"energy_from_products: steps={steps} must lie between 1 and {len(g)}.")
    _check_not_zero(jnp.sum(g**2, axis=0))

    with jax.default_matmul_precision("highest"):
        measure = lambda one: krylov.quadrature(apply, one, steps)
        values, weights = jax.vmap(measure, in_axes=1)(g)
    above = values.clip(0) / len(g) / largest >= jnp.asarray(thresholds)[:, None, None]
    return jnp.mean(jnp.sum(jnp.where(above, weights, 0), axis=-1), axis=-1)


def kernel_norm(
    eigen: Eigen, g: Float[Array | np.ndarray, "N M"], cutoff: float | Array = 1e-6
) -> Float[Array, " M"]:
    """Eq. 10: ‖g‖²_Θ = Σ_i |⟨φ_i, g⟩|² / λ_i, how hard g is to learn.

    A finite network's kernel has eigenvalues down to rounding, where a picture always has some
    energy: the sum would be noise. So λ_i counts as at least cutoff · λ_0. A network that is
    trained for a finite time does not see those eigenfunctions either.

    Args:
      eigen: all eigenfunctions.
      g: M signals, one a column.
      cutoff: the smallest eigenvalue that counts, in units of the largest.
    """
    floor = cutoff * eigen.values.max()
    energy = inner_products(eigen, g) ** 2
    return jnp.sum(energy / jnp.maximum(eigen.values, floor)[:, None], axis=0)


def centroids(
    functions: Float[Array | np.ndarray, "N K"], shape: tuple[int, ...]
) -> Float[Array, " K"]:
    """Spectral centroid of each eigenfunction, in cycles per grid length (`spectra.centroid`).

    Args:
      functions: one a column, on a grid of `shape`.
      shape: (H, W), or (N,) for a line.

    Raises:
      ValueError: a grid of another size or of more than two axes.
    """
    if len(shape) > 2 or np.prod(shape) != (N := len(functions)):
        raise ValueError(f"centroids: shape={shape} must be (H, W) or (N,) and hold {N}.")
    pictures = functions.T.reshape(-1, *shape, *((1,) * (3 - len(shape))))
    return jax.vmap(lambda picture: spectra.centroid(spectra.centred(picture)))(pictures)
