"""Eq. 9 word for word: what the kernels are tested against."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import networks


@partial(jax.jit, static_argnums=(0, 1))
def draw(network, dims, seed=0):
    """Random numbers everywhere, biases that start at zero included."""
    if isinstance(network, networks.INR):
        theta = networks.init(network, jax.random.key(seed), dims)
    else:
        theta = dict(network.init(jax.random.key(seed), jnp.zeros((1, dims))))
    leaves, tree = jax.tree.flatten(theta["params"])
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    moved = [
        x + 0.1 * jax.random.normal(k, x.shape, x.dtype) * (jnp.abs(x).max() + 0.1)
        for x, k in zip(leaves, keys, strict=True)
    ]
    return {**theta, "params": jax.tree.unflatten(tree, moved)}


def coordinates(dims, count, seed):
    return jax.random.uniform(jax.random.key(seed), (count, dims))


def jacobian(network, theta, r):
    """∇θ f(r), (N, C, parameters), in float64 whatever theta is."""
    with jax.enable_x64(True):
        theta, r = double((theta, r))
        run = lambda params: network.apply({**theta, "params": params}, r)
        leaves = jax.tree.leaves(jax.jit(jax.jacrev(run))(theta["params"]))
        return np.concatenate([np.reshape(x, (*x.shape[:2], -1)) for x in leaves], axis=-1)


def double(tree):
    wide = lambda x: jnp.complex128 if jnp.iscomplexobj(x) else jnp.float64
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), wide(x)), tree)


def explicit(network, theta, r1, r2):
    """Eq. 9 word for word, the mean over the outputs; of complex numbers both parts."""
    J1, J2 = (jacobian(network, theta, r) for r in (r1, r2))
    return np.einsum("ncp,mcp->nm", J1, J2.conj()).real / J1.shape[1]


def error(a, b):
    return np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b)
