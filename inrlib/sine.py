"""sin x in float32, many times as fast as XLA's on a CPU: half of a SIREN's training time.

>>> import jax.numpy as jnp
>>> bool(abs(sine(jnp.float32(1.0)) - 0.84147098) < 2e-7)
True
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

__all__ = ["sine"]

_SIN = (0.9999999999829693, -0.1666666661691729, 0.008333330977504048,
        -0.00019840861553271298, 2.752528712864687e-06, -2.388949844032159e-08)  # fmt: skip
_COS = (0.9999999997799048, -0.49999999356956465, 0.04166663620892959,
        -0.0013888360842554655, 2.4760135517302034e-05, -2.605107635680926e-07)  # fmt: skip
_PI = (3.140625, 9.67502593994140625e-4, 1.509957990978376e-7)


def sine(x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """sin x, in float32 by a polynomial that vectorises, where `jnp.sin` on a CPU does not.

    With k = round(x/π) and y = x − kπ, subtracted in three parts (Cody and Waite 1980), it is
    (−1)^k y p(y²), p of degree 5 fitted on |y| ≤ π/2; its derivative is a cosine made likewise.
    Absolute error of both below 2e-7 for |x| ≤ 8192, below 5e-7 for any finite x, which is brought
    into [−π, π] first. Other precisions go to `jnp.sin`.
    """
    return _sin(_small(x)) if x.dtype == jnp.float32 else jnp.sin(x)


@jax.custom_jvp
@partial(jax.jit, inline=True)  # outside `jit`, a branch or a loop is compiled at every call
def _small(x):
    """x less a multiple of 2π where |x| > 8192."""

    def reduce(x):
        return jnp.where(jnp.abs(x) > 8192, jnp.arctan2(jnp.sin(x), jnp.cos(x)), x)

    # On a CPU a loop of no turn where no x is large: `vmap` would make a `cond` take both branches.
    # On a GPU a loop would wait for the host.
    is_any_large = lambda x: (jnp.abs(x) > 8192).any()
    return lax.platform_dependent(
        x, cpu=lambda x: lax.while_loop(is_any_large, reduce, x), default=reduce
    )


_small.defjvp(lambda x, dx: (_small(*x), *dx))


@jax.custom_jvp
@partial(jax.jit, inline=True)
def _sin(x):
    y, is_even = _reduce(x)
    return jnp.where(is_even, y, -y) * _polynomial(_SIN, y * y)


@jax.custom_jvp
@partial(jax.jit, inline=True)
def _cos(x):
    y, is_even = _reduce(x)
    value = _polynomial(_COS, y * y)
    return jnp.where(is_even, value, -value)


# Told its derivative, a backward pass keeps x alone and not every step of the polynomial.
_sin.defjvp(lambda x, dx: (_sin(*x), _cos(*x) * dx[0]))
_cos.defjvp(lambda x, dx: (_cos(*x), -_sin(*x) * dx[0]))


def _reduce(x):
    """x less the nearest multiple of π, and whether that multiple is even."""
    k = jnp.round(x * np.float32(1 / np.pi))
    for part in _PI:
        x = x - k * np.float32(part)
    return x, jnp.floor(k / 2) * 2 == k


def _polynomial(coefficients, u):
    p = jnp.float32(0)
    for coefficient in reversed(coefficients):
        p = p * u + np.float32(coefficient)
    return p
