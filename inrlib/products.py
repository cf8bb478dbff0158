"""V ↦ ΘV from the layers' factors: no matrix Θ, no Jacobian, and no pass through the network for
each column of V.

With the features ψ(r) = z(r) δ(r)ᵀ of every layer, Θ(r1, r2) = Σ_layers ⟨ψ(r1), ψ(r2)⟩, so

    Θ V = Ψ (Ψᵀ V),     U = Ψᵀ V = Σ_n z_n δ_nᵀ V_n,     (Ψ U)_n = z_nᵀ U δ_n:

one matrix product a layer and column in each direction, half of what a vector-Jacobian and a
Jacobian-vector product take. Parameters that are in no layer go that longer way.

>>> import jax
>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((8,), mapping_width=8), signals.grid(6)
>>> theta = networks.init(network, jax.random.key(0), dims=1)
>>> product(network, 4, None, theta, r, jnp.ones((6, 2))).shape
(6, 2)
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Inexact

from inrlib import devices, layers
from inrlib.devices import SPLIT, WHOLE
from inrlib.inr import Theta

__all__ = ["factors", "product", "pull", "push"]


@partial(jax.jit, static_argnums=(0, 1, 2))
def product(
    network: nn.Module,
    chunk: int,
    mesh: Mesh | None,
    theta: Theta,
    r: Float[Array, "N D"],
    V: Float[Array, "N K"],
) -> Float[Array, "N K"]:
    """Θ V = Ψ (Ψᵀ V); with several outputs by trace, as `ntk.gram`.

    Args:
      network, theta, r: checked before, as `ntk.operator` does.
      chunk: samples at a time, so that memory does not grow with N.
      mesh: devices over which the samples are split. Each sums its own into a U, U is summed over
        all, and each multiplies by its own; only U and the columns of the result move.
    """
    count, columns = V.shape
    dtype = jax.eval_shape(network.apply, theta, r[:1]).dtype
    # Samples that fill the last chunk up, and the last device; their V is zero.
    fill = -count % (chunk * devices.size(mesh))
    r = jnp.concatenate([r, jnp.broadcast_to(r[:1], (fill, r.shape[1]))])
    V = jnp.concatenate([V.astype(dtype), jnp.zeros((fill, columns), dtype)])
    r, V = r.reshape(-1, chunk, r.shape[1]), V.reshape(-1, chunk, columns)
    nothing = jax.tree.map(
        jnp.zeros_like, jax.eval_shape(partial(pull, network, theta), r[0], V[0])
    )

    def there_and_back(theta, r, V):
        add = lambda U, rV: (jax.tree.map(jnp.add, U, pull(network, theta, *rV)), None)
        U = devices.summed(mesh, lax.scan(add, nothing, (r, V))[0])
        return devices.gathered(mesh, lax.map(lambda r: push(network, theta, r, U), r))

    run = devices.each(mesh, there_and_back, (WHOLE, SPLIT, SPLIT), WHOLE)
    return run(theta, r, V).reshape(-1, columns)[:count]


def pull(
    network: nn.Module, theta: Theta, r: Float[Array, "N D"], V: Float[Array, "N K"]
) -> tuple[list[Array], list[Array]]:
    """U = Ψᵀ V: (F, K, G) for every layer, and (K, C, …) for every other parameter."""
    rest, numbers = layers.rest(network, theta, r)
    with jax.default_matmul_precision("highest"):
        own = [_pull(*layer, V) for layer in factors(network, theta, r)]
        if not numbers:
            return own, []
        f, back = jax.vjp(lambda numbers: rest(numbers, r), numbers)
        channels = jnp.eye(f.shape[1], dtype=f.dtype)
        (others,) = jax.vmap(jax.vmap(back))(jnp.einsum("nk,cd->kcnd", V, channels))
        return own, [part / f.shape[1] ** 0.5 for part in others]


def push(
    network: nn.Module,
    theta: Theta,
    r: Float[Array, "N D"],
    U: tuple[list[Array], list[Array]],
    known: list[tuple[Array, Array]] | None = None,
) -> Float[Array, "N K"]:
    """Ψ U, of what `pull` returns; `known` are the `factors` at r, if the caller has them."""
    rest, numbers = layers.rest(network, theta, r)
    own, others = U
    known = factors(network, theta, r) if known is None else known
    with jax.default_matmul_precision("highest"):
        sums = sum(_push(*pair) for pair in zip(known, own, strict=True))
        if not numbers:
            return sums
        along = lambda U: jax.jvp(lambda numbers: rest(numbers, r), (numbers,), (U,))[1]
        changes = jax.vmap(jax.vmap(along))(others)
        return sums + jnp.einsum("kcnc->nk", changes) / changes.shape[1] ** 0.5


def factors(
    network: nn.Module, theta: Theta, r: Float[Array, "N D"]
) -> list[tuple[Inexact[Array, "N F"], Inexact[Array, "N G"]]]:
    """(Z, Δ) of every layer, as `layers.factors`; a bias is one more input, which is 1."""
    some, _ = layers.factors(network, theta, r, with_columns=False)
    ones = lambda Z: jnp.concatenate([Z, jnp.ones_like(Z[:, :1])], axis=1)
    return [(ones(a.Z) if a.bias else a.Z, a.delta) for a in some]


def _pull(Z: Array, delta: Array, V: Array) -> Array:
    """U_fkg = Σ_n conj(z_nf δ_ng) V_nk."""
    weighted = jnp.conj(Z)[:, :, None] * V[:, None, :].astype(Z.dtype)
    return (weighted.reshape(len(Z), -1).T @ jnp.conj(delta)).reshape(*weighted.shape[1:], -1)


def _push(factors: tuple[Array, Array], U: Array) -> Array:
    """Re Σ_fg z_nf U_fkg δ_ng."""
    Z, delta = factors
    along = (Z @ U.reshape(len(U), -1)).reshape(len(Z), *U.shape[1:])
    return jnp.real(jnp.sum(along * delta[:, None, :], axis=2))
