"""Krylov subspaces: what a few products with a symmetric matrix tell about its spectrum.

>>> matrix = jnp.diag(jnp.arange(9.0))
>>> points, weights = quadrature(partial(jnp.matmul, matrix), jnp.ones(9), steps=9)
>>> float(jnp.round(points @ weights, 3))  # the mean of 0, 1, …, 8
4.0
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

__all__ = ["TOLERANCE", "quadrature", "subspace"]

TOLERANCE, _ROUNDS = 1e-4, 500


@partial(jax.jit, static_argnums=(3, 4, 5))
def subspace(
    apply: Callable[[Array], Array],
    V: Float[Array, "N columns"],
    fresh: Float[Array, "N width"],
    k: int,
    steps: int,
    more: int = 2,
) -> tuple[Float[Array, "N k"], Float[Array, " k"], Float[Array, " k"]]:
    """The leading k eigenvectors (Golub and Underwood 1977; Musco and Musco 2015): the span of

        V, ΘV, Θ²V, …, Θ^steps V,

    orthonormalised block after block, holds them more exactly than any single power; the best
    combinations in it (Rayleigh and Ritz) are returned. A product with sixteen vectors takes hardly
    longer than one with one. Hence neither ARPACK, which multiplies vector by vector, nor JAX's
    LOBPCG, which stops after its first step in float32.

    Where a residual is above `TOLERANCE` afterwards, as it is for a flat spectrum, rounds of two
    steps (`more`) from the best combinations follow.

    Args:
      apply: V ↦ ΘV, a pytree (`jax.tree_util.Partial`).
      V: the block that it starts from.
      fresh: random columns of length about 1, for blocks that are spent.
      k, steps: as `atoms.leading`.
      more: steps of each round after the first; 0 for no such round.

    Returns:
      Eigenvectors of length 1, their eigenvalues, and the residuals in units of the largest; after
      `_ROUNDS` rounds these may be above `TOLERANCE`.
    """
    unfinished = lambda residuals: (residuals[:k] > TOLERANCE).any()
    with jax.default_matmul_precision("highest"):
        V = jnp.linalg.qr(V)[0]
        state = _round(apply, V, apply(V), fresh, steps)
        if more:
            _, state = lax.while_loop(
                lambda s: unfinished(s[1][-1]) & (s[0] < _ROUNDS),
                lambda s: (s[0] + 1, _round(apply, *s[1][:2], fresh, more)),
                (0, state),
            )
    vectors, _, values, residuals = (part[..., :k] for part in state)
    return vectors, values, residuals


def _round(apply, V, image, fresh, steps):
    """The best combinations of V, ΘV, …, Θ^steps V, as many as V has columns, and their images."""
    width, basis = V.shape[1], V
    for _ in range(steps):
        fresh = jnp.roll(fresh, 1, axis=0)
        V = _orthonormal(image[:, -width:], basis, fresh)
        basis = jnp.concatenate([basis, V], axis=1)
        image = jnp.concatenate([image, apply(V)], axis=1)
    values, mix = jnp.linalg.eigh(_symmetric(basis.T @ image))
    values, mix = values[::-1][:width], mix[:, ::-1][:, :width]
    vectors, image = basis @ mix, image @ mix
    largest = jnp.maximum(jnp.abs(values).max(), jnp.finfo(values.dtype).tiny)
    return vectors, image, values, jnp.linalg.norm(image - vectors * values, axis=0) / largest


def _orthonormal(V, basis, fresh):
    """An orthonormal block of V's columns without their share in the basis.

    One pass leaves rounding behind, a second is enough (Kahan) unless a column was nothing but
    rounding inside the basis, as it is where Θ has fewer directions than that. Then the second
    pass takes most of it away again, which tells, and a fresh random column comes in its place.
    """
    outside = lambda V: jnp.linalg.qr(V - basis @ (basis.T @ V))
    V, R = outside(outside(V)[0])
    spent = jnp.abs(jnp.diagonal(R)) < 0.5
    renew = lambda V: outside(jnp.where(spent, fresh, V))[0]
    return lax.cond(spent.any(), renew, lambda V: V, V)


def _symmetric(matrix):
    return (matrix + matrix.T) / 2


def quadrature(
    apply: Callable[[Array], Array], g: Float[Array, " N"], steps: int
) -> tuple[Float[Array, " steps"], Float[Array, " steps"]]:
    """A vector's share of energy per eigenvalue.

    It is a measure on the line. Lanczos, started at g, gives its Gauss quadrature (Golub and Welsch
    1969): `steps` points with weights.

    Args:
      apply: V ↦ ΘV for a block (N, 1).
      g: not zero.
      steps: at most N.

    Returns:
      Points on the line of eigenvalues, and weights that add up to 1.
    """

    def step(i, state):
        basis, image, q = state
        w = apply(q[:, None])[:, 0]
        basis, image = basis.at[:, i].set(q), image.at[:, i].set(w)
        once = w - basis @ (basis.T @ w)
        twice = once - basis @ (basis.T @ once)
        norm, before = jnp.linalg.norm(twice), jnp.linalg.norm(once)
        q = twice / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)
        return basis, image, jnp.where(norm < before / 2, 0, q)  # as in `_orthonormal`

    empty = jnp.zeros((len(g), steps), g.dtype)
    basis, image, _ = lax.fori_loop(0, steps, step, (empty, empty, g / jnp.linalg.norm(g)))
    values, mix = jnp.linalg.eigh(_symmetric(basis.T @ image))
    return values, mix[0] ** 2
