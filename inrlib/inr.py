"""Eq. 1: one architecture, many families.

    z⁰ = γ(r) = sin(Ω r + φ)                          the mapping
    zˡ = ρ(Wˡ zˡ⁻¹ + bˡ),      ℓ = 1 … L−1            an ordinary perceptron behind it
    f(r) = Wᴸ zᴸ⁻¹ + bᴸ

A family says where Ω comes from and what ρ is; `networks` holds them. A network is a Flax module:
static, without numbers. All its numbers sit in a pytree `theta` with two collections,

    theta["params"]   what training moves,
    theta["fixed"]    what it does not: ω0, σ, f0, and a mapping that is not trainable.

So `network.apply(theta, r)` is a pure function of arrays. A slider changes a leaf of `theta` with
`tune`, and nothing is compiled again; `jax.vmap` over `theta` trains many settings at once. Which
leaf that is, a family says itself: its `knob`.

>>> from inrlib.networks import SIREN
>>> network = SIREN((16,), mapping_width=8)
>>> theta = init(network, jax.random.key(0), dims=1, omega0=30.0)
>>> network.apply(tune(theta, omega0=60.0), jnp.zeros((5, 1))).shape
(5, 1)
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inrlib.sine import sine

__all__ = ["INR", "Knob", "Theta", "families", "frequencies", "function", "init", "tune"]

Theta = Mapping[str, Any]
"""The numbers of a network: {"params": …, "fixed": …}."""


class Knob(NamedTuple):
    """The one number of a mapping that a reader moves; `tune` and every slider read it here.

    Attributes:
      name: in theta and as an argument.
      symbol, unit: in a label.
      usual: the start, for pictures of about 64 pixels a side on [−1, 1).
      low, high: a slider's ends.
      zero: whether 0 is allowed; less never is.
    """

    name: str
    symbol: str
    unit: str
    usual: float
    low: float
    high: float
    zero: bool = False

    def of_nyquist(self, value: float, spacing: float) -> float:
        """The value as a share of the Nyquist frequency 1/(2 spacing) of samples on a grid."""
        cycles = value / (2 * np.pi) if self.unit.startswith("rad") else value
        return 2 * spacing * cycles


class INR(nn.Module):
    """Eq. 1 with the mapping left open; a family says what `phases` is.

    A family with a `knob` of its own is in every explorer of families, under its `label`.

    Attributes:
      widths: F_1 … F_{L−1}, the hidden layers behind the mapping.
      outputs: C, the channels of the signal.
      offset: a constant added to the output (the meta-learning experiments use 0.5).
    """

    widths: tuple[int, ...] = (256, 256, 256)
    outputs: int = 1
    offset: float = 0.0

    label = "INR"
    knob = None

    @classmethod
    def sized(cls, width: int, depth: int, outputs: int = 1, **options) -> "INR":
        """A network of this family with `depth` hidden layers and a mapping as wide as they are."""
        return cls((width,) * depth, outputs, **options)

    def setup(self):
        self.hidden = [self.dense(width) for width in self.widths]
        self.readout = self.dense(self.outputs)

    def dense(self, features: int) -> nn.Dense:
        """A layer Wz + b with this family's initialisation."""
        return nn.Dense(features)

    def activation(self, v: Float[Array, "*N F"]) -> Float[Array, "*N F"]:
        """ρ, element by element."""
        return nn.relu(v)

    def phases(self, r: Float[Array, "*N D"]) -> Float[Array, "*N T"]:
        """Ω r + φ, in radians."""
        raise NotImplementedError

    def mapping(self, r: Float[Array, "*N D"]) -> Float[Array, "*N T"]:
        """γ(r) = sin(Ω r + φ)."""
        return sine(self.phases(r))

    def features(self, r: Float[Array, "*N D"]) -> Float[Array, "*N F"]:
        """z^(L−1), the last hidden layer: what the linear readout combines."""
        z = self.mapping(r)
        for layer in self.hidden:
            z = self.activation(layer(z))
        return z

    def __call__(self, r: Float[Array, "*N D"]) -> Float[Array, "*N C"]:
        """f(r)."""
        return self.readout(self.features(r)) + self.offset

    def _setting(self, trainable: bool = False) -> Array:
        """The knob's number: moved by a slider, and by training only if trainable."""
        usual = lambda *_: jnp.float32(self.knob.usual)
        if trainable:
            return self.param(self.knob.name, usual)
        return self.variable("fixed", self.knob.name, usual).value


def init(
    network: INR, key: Array, dims: int, dtype: Any = jnp.float32, **settings: float | Array
) -> Theta:
    """Random numbers for a network: θ0.

    Args:
      network: one of the families of this module.
      key: a JAX random key; the same key always gives the same draw.
      dims: D, the number of coordinates.
      dtype: float32, or float64 where a theorem is checked (needs jax_enable_x64).
      settings: ω0, σ or f0 by name: `omega0=60.0`, `sigma=10.0`, `f0=0.5`.

    Returns:
      theta, a pytree {"params": …, "fixed": …}. The function may be vmapped over key and settings.

    Raises:
      ValueError: as `tune`; dims < 1.
    """
    if dims < 1:
        raise ValueError(f"init: dims={dims} must be at least 1 coordinate.")
    theta = network.init(key, jnp.zeros((1, dims), dtype))
    theta = {"params": {}, "fixed": {}} | dict(theta)
    return tune(jax.tree.map(lambda leaf: leaf.astype(dtype), theta), **settings)


def tune(theta: Theta, **settings: float | Array) -> Theta:
    """A copy of `theta` with other settings, everything else untouched.

    Args:
      theta: from `init`.
      settings: the family's knob by name: omega0 (rad per unit of r, > 0), sigma (cycles per unit,
        ≥ 0), f0 (cycles per unit, > 0), as numbers or as traced arrays.

    Raises:
      ValueError: a value out of range, or a setting that this network does not have.
    """
    theta = {collection: dict(leaves) for collection, leaves in theta.items()}
    knobs = {family.knob.name: family.knob for family in families().values()}
    homes = {name: leaves for leaves in theta.values() for name in leaves if name in knobs}
    for name, value in settings.items():
        if name not in homes:
            known = ", ".join(homes) or "none"
            raise ValueError(f"{name}={value} is no setting of this network, which has: {known}.")
        _check_setting(knobs[name], value)
        old, value = homes[name][name], jnp.asarray(value)
        shape = jnp.broadcast_shapes(old.shape, value.shape)
        homes[name][name] = jnp.broadcast_to(value, shape).astype(old.dtype)
    return theta


def _check_setting(knob: Knob, value: float | Array) -> None:
    if isinstance(value, jax.core.Tracer):
        return  # the numbers are not known while a function is being traced
    value = np.asarray(value)
    bad = ~(np.isfinite(value) & (value >= 0 if knob.zero else value > 0))
    if bad.any():
        bound = "at least 0" if knob.zero else "greater than 0"
        raise ValueError(f"{knob.name}={value[bad].flat[0]} must be a finite number {bound}.")


def families() -> dict[str, type[INR]]:
    """Every family with a knob of its own, by label; a reader's own subclasses too."""

    def below(family):
        for child in family.__subclasses__():
            yield child
            yield from below(child)

    return {family.label: family for family in below(INR) if "knob" in vars(family)}


def function(network: nn.Module, theta: Theta) -> Callable[[Any, Array], Array]:
    """The network as a function (params, r) → f(r) of what training moves; the rest is theta's."""
    rest = {collection: leaves for collection, leaves in theta.items() if collection != "params"}
    return lambda params, r: network.apply({**rest, "params": params}, r)


def frequencies(
    network: INR, theta: Theta, dims: int
) -> tuple[Float[Array, "T D"], Float[Array, " T"]]:
    """The mapping's Ω (rad per unit of r) and φ (rad): γ(r) = sin(Ω r + φ).

    The phases are affine in r, so their derivative at the origin is Ω, exactly.

    Raises:
      ValueError: a network whose mapping is not sinusoidal (a plain MLP).
    """
    if type(network).phases is INR.phases:
        raise ValueError(f"network: {network.label} has no mapping frequencies; take SIREN or FFN.")
    origin = jnp.zeros(dims, jax.tree.leaves(theta)[0].dtype)
    phases = lambda r: network.apply(theta, r, method="phases")
    return jax.jacfwd(phases)(origin), phases(origin)
