"""What families are made of: pairs of waves, layers that are kept or normalised, tables, a draw.

>>> draw = uniform(lambda fan_in: 1 / fan_in)(jax.random.key(0), (4, 1000))
>>> bool(0.24 < draw.max() <= 0.25)
True
"""

from collections.abc import Callable
from itertools import product

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import PrecisionLike
from jax import lax
from jaxtyping import Array, Float, Inexact

__all__ = ["Dense", "FixedDense", "Fourier", "Norm", "Table", "uniform"]


class Fourier:
    """Mappings [sin v, cos v] of phases v(r): φ alternates between 0 and π/2."""

    def waves(self, r: Float[Array | np.ndarray, "*N D"]) -> Float[Array, "*N half"]:
        """v(r)."""
        raise NotImplementedError

    def phases(self, r):
        v = self.waves(r)
        return jnp.concatenate([v, v + jnp.pi / 2], axis=-1)


class Dense(nn.Dense):
    """Flax's dense layer in all of float32's digits.

    A GPU's own precision keeps ten bits: a coordinate would be known to 1/1024, and a phase of
    ω0 = 300 to a third of a radian.
    """

    precision: PrecisionLike = lax.Precision.HIGHEST


class FixedDense(Dense):
    """A dense layer that training leaves alone: its numbers go to theta["fixed"]."""

    def param(self, name, init_fn, *args, **kwargs):
        draw = lambda: init_fn(self.make_rng("params"), *args, **kwargs)
        return self.variable("fixed", name, draw).value


class Norm(nn.Module):
    """v ↦ s (v − m)/√(σ² + 10⁻⁵) + t; of complex v, σ² = mean |v − m|².

    Attributes:
      over: "layer", over the units of a sample; or "batch", fixed numbers for each unit, which are
        measured when their collection is mutable.
      start: s at the draw.
    """

    over: str
    start: float

    @nn.compact
    def __call__(self, v: Inexact[Array, "*N F"]) -> Inexact[Array, "*N F"]:
        units, square = v.shape[-1:], lambda x: jnp.real(x * jnp.conj(x))
        real = jnp.real(v).dtype
        scale = self.param("scale", nn.initializers.constant(self.start), units, real)
        shift = self.param("shift", nn.initializers.zeros, units, v.dtype)
        mean = v.mean(-1, keepdims=True)
        variance = square(v - mean).mean(-1, keepdims=True)
        if self.over == "batch":
            m = self.variable("fixed", "mean", jnp.zeros, units, v.dtype)
            square_m = self.variable("fixed", "variance", jnp.ones, units, real)
            if self.is_mutable_collection("fixed") and not self.is_initializing():  # `calibrate`
                m.value = v.mean(0)
                square_m.value = square(v - m.value).mean(0)
            mean, variance = m.value, square_m.value
        factor = scale / jnp.sqrt(variance + 1e-5)
        return (v - mean) * factor.astype(v.dtype) + shift


class Table(nn.Module):
    """Numbers at the nodes of a grid that repeats after `side` nodes, linear between them."""

    side: int
    entries: int

    @nn.compact
    def __call__(self, place: Float[Array | np.ndarray, "*N D"]) -> Float[Array, "*N F"]:
        shape = (self.side,) * place.shape[-1] + (self.entries,)
        table = self.param("table", uniform(1e-4), shape)
        below = jnp.floor(place)
        beyond, node, z = place - below, below.astype(jnp.int32), 0.0
        for corner in product((False, True), repeat=place.shape[-1]):
            near = jnp.where(np.array(corner), beyond, 1 - beyond).prod(-1, keepdims=True)
            where = (node + np.array(corner, np.int32)) % self.side
            z = z + near * table[tuple(jnp.moveaxis(where, -1, 0))]
        return z


def uniform(bound: Callable[[int], float] | float) -> Callable:
    """Initialiser U(−b, b), of complex numbers for both parts; b may depend on the fan-in."""

    def draw(key, shape, dtype=jnp.float32):
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return jax.lax.complex(*(draw(key, shape) for key in jax.random.split(key)))
        limit = bound(shape[0]) if callable(bound) else bound
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw
