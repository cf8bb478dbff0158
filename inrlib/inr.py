"""Eq. 1: one architecture, many families.

    z⁰ = γ(r) = sin(Ω r + φ)                          the mapping
    zˡ = ρ(Wˡ zˡ⁻¹ + bˡ),      ℓ = 1 … L−1            an ordinary perceptron behind it
    f(r) = Wᴸ zᴸ⁻¹ + bᴸ

A family says where Ω comes from and what ρ is; `networks` and `related` hold them. A network is a
Flax module: static, without numbers. All its numbers sit in a pytree `theta` with two collections,

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, NamedTuple, SupportsIndex

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from inrlib.blocks import Dense, Norm
from inrlib.sine import sine

__all__ = [
    "INR",
    "Knob",
    "Theta",
    "calibrate",
    "families",
    "frequencies",
    "function",
    "init",
    "tune",
]

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
        """The value as a share of the Nyquist frequency 1/(2 spacing) of samples on a grid.

        Two cells of a grid are a period. A blur σ, in units, stands for the frequency 1/(2πσ), of
        which it leaves exp(−½).
        """
        if self.unit == "units":
            return spacing / (np.pi * value) if value else np.inf
        periods = {"rad": 1 / (2 * np.pi), "cells": 1 / 2, "cycles": 1}
        return 2 * spacing * value * periods[self.unit.split()[0]]


_OMEGA0 = Knob("omega0", "ω0", "rad per unit", 30.0, 3, 300)
_SIGMA = Knob("sigma", "σ", "cycles per unit", 3.0, 0.1, 30, zero=True)
_F0 = Knob("f0", "f0", "cycles per unit", 0.5, 0.25, 4)
"""Knobs of more than one family; one name always means one thing."""

_NORMS = ("", "layer", "batch")


class INR(nn.Module):
    """Eq. 1 with the mapping left open; a family says what `phases` is.

    A family with a `knob` of its own is in every explorer of families, under its `label`.

    Attributes:
      widths: F_1 … F_{L−1}, the hidden layers behind the mapping; kept as a tuple.
      outputs: C, the channels of the signal.
      offset: a constant added to the output (the meta-learning experiments use 0.5).
      norm: "layer" or "batch" normalises v = W z + b of every layer behind the mapping,
        v ↦ s (v − m)/√(σ² + 10⁻⁵) + t with s and t trained. "layer" (Ba et al. 2016): m and σ² are
        those of one sample's units. "batch" (Ioffe and Szegedy 2015): those of one unit over
        samples, fixed numbers that `calibrate` measures; before that they are 0 and 1. s starts at
        1/`gain`, so that what goes into the sine of a SIREN starts with variance 1, and not 30².
      alpha: `init` draws all matrices but the readout's α times as large (Yeom et al. 2025,
        arXiv 2410.04779). In the mapping that is the same as α times the knob.

    Raises:
      ValueError: a size that is no whole number above 0, another number but the offset that is not
        finite and above 0, another norm, or an array as an attribute.
    """

    widths: Sequence[SupportsIndex] = (256, 256, 256)
    outputs: int = 1
    offset: float = 0.0
    norm: str = ""
    alpha: float = 1.0

    label = "INR"
    knob = None

    def __post_init__(self):
        if np.ndim(self.widths) != 1:
            raise ValueError(f"widths={self.widths} must be a tuple: (256, 256) for two layers.")
        self.widths = tuple(_whole("widths", width) for width in self.widths)
        for field in fields(self):
            if field.type is int:
                setattr(self, field.name, _whole(field.name, getattr(self, field.name)))
            elif field.compare and field.name != "parent":  # of a network inside another module
                _check_hashable(field.name, getattr(self, field.name))
            if field.type is float and field.name != "offset":
                _check_positive(field.name, getattr(self, field.name))
        _check_choice("norm", self.norm, _NORMS)
        super().__post_init__()

    @classmethod
    def sized(cls, width: int, depth: int, outputs: int = 1, **options) -> "INR":
        """A network of this family with `depth` hidden layers and a mapping as wide as they are."""
        if hasattr(cls, "mapping_width"):
            options = {"mapping_width": width} | options
        return cls((width,) * depth, outputs, **options)

    def setup(self):
        fan_ins = (getattr(self, "mapping_width", 0), *self.widths)
        self.hidden = [self.dense(*sizes) for sizes in zip(self.widths, fan_ins, strict=False)]
        self.readout = self.last(self.outputs, fan_ins[-1])
        self.norms = [Norm(self.norm, 1 / self.gain) for _ in self.widths if self.norm]

    @property
    def gain(self) -> float:
        """What ρ multiplies its argument by."""
        return getattr(self, "hidden_omega0", 1.0)

    def dense(self, features: int, fan_in: int) -> Dense:
        """A layer Wz + b with this family's initialisation; fan_in is 0 where it is not known."""
        return Dense(features)

    def last(self, features: int, fan_in: int) -> Dense:
        """The readout, a layer like all others unless a family says otherwise."""
        return self.dense(features, fan_in)

    def before(self, layer: int, z: Inexact[Array, "*N F"]) -> Inexact[Array, "*N G"]:
        """v = W z + b of a hidden layer, normalised if there is a norm."""
        v = self.hidden[layer](z)
        return self.norms[layer](v) if self.norm else v

    def activation(self, v: Float[Array | np.ndarray, "*N F"]) -> Float[Array, "*N F"]:
        """ρ, element by element."""
        return nn.relu(v)

    def phases(self, r: Float[Array | np.ndarray, "*N D"]) -> Float[Array, "*N T"]:
        """Ω r + φ, in radians."""
        raise NotImplementedError

    def mapping(self, r: Float[Array | np.ndarray, "*N D"]) -> Float[Array | np.ndarray, "*N T"]:
        """γ(r) = sin(Ω r + φ)."""
        return sine(self.phases(r))

    def features(self, r: Float[Array | np.ndarray, "*N D"]) -> Inexact[Array | np.ndarray, "*N F"]:
        """z^(L−1), the last hidden layer: what the linear readout combines."""
        z = self.mapping(r)
        for layer in range(len(self.widths)):
            z = self.activation(self.before(layer, jnp.asarray(z)))
        return z

    def __call__(self, r: Float[Array | np.ndarray, "*N D"]) -> Float[Array, "*N C"]:
        """f(r)."""
        return self.readout(self.features(r)) + self.offset

    def _setting(self, knob: Knob | None = None, trainable: bool = False) -> Array:
        """A knob's number: moved by a slider, and by training only if trainable."""
        knob = knob or self.knob
        usual = lambda *_: jnp.float32(knob.usual)
        if trainable:
            return self.param(knob.name, usual)
        return self.variable("fixed", knob.name, usual).value


def _whole(name: str, value: Any) -> int:
    """The size as a plain integer: NumPy's are taken, booleans and floats are not."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")
    return int(value)


def _check_positive(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and np.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} must be a finite number greater than 0.")


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}.")


def _check_hashable(name: str, value: Any) -> None:
    """A network is static: compiled programs are found again by its hash."""
    try:
        hash(value)
    except TypeError as error:
        raise ValueError(
            f"{name}: attributes of a network are plain numbers and tuples, not "
            f"{type(value).__name__}; what a slider or training moves belongs in theta."
        ) from error


def init(
    network: INR, key: Array, dims: int, dtype: Any = jnp.float32, **settings: ArrayLike
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
    # Drawn in float32 whatever the dtype: the same key is the same draw.
    theta = network.lazy_init(key, jax.ShapeDtypeStruct((1, dims), jnp.float32))
    theta = {"params": {}, "fixed": {}} | dict(theta)
    wide = jnp.complex128 if jnp.dtype(dtype).itemsize > 4 else jnp.complex64

    def number(path, leaf):
        names = [step.key for step in path]
        if network.alpha != 1 and names[-1] == "kernel" and "readout" not in names:
            leaf = leaf * network.alpha
        return leaf.astype(wide if jnp.iscomplexobj(leaf) else dtype)

    return tune(jax.tree_util.tree_map_with_path(number, theta), **settings)


def tune(theta: Theta, **settings: ArrayLike) -> Theta:
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


def _check_setting(knob: Knob, value: ArrayLike) -> None:
    if isinstance(value, jax.core.Tracer):
        return  # the numbers are not known while a function is being traced
    given, value = value, np.asarray(value)
    if not (np.isrealobj(value) and np.issubdtype(value.dtype, np.number)):
        raise ValueError(f"{knob.name}={given!r} must be a number, in {knob.unit}.")
    bad = ~(np.isfinite(value) & (value >= 0 if knob.zero else value > 0))
    if bad.any():
        bound = "at least 0" if knob.zero else "greater than 0"
        raise ValueError(f"{knob.name}={value[bad].flat[0]} must be a finite number {bound}.")


def calibrate(network: INR, theta: Theta, r: Float[Array | np.ndarray, "N D"]) -> Theta:
    """`theta` with the means and variances of norm="batch" measured at r, layer after layer.

    They are fixed numbers from then on: f is a function of one sample, training and `ntk.gram` take
    no derivative through them. Batch normalisation as it is trained elsewhere measures them anew at
    every step, on that step's samples, and differentiates them. There f(r) depends on the other
    samples, and so does the kernel: along every unit's mean, and along its variance, that kernel
    has no gradient, this one has. Measure again after training to see how far they have moved.

    Raises:
      ValueError: a network with no such norm, or fewer than two samples.
    """
    if network.norm != "batch":
        raise ValueError(f'calibrate: norm={network.norm!r} measures nothing; take norm="batch".')
    if np.ndim(r) != 2 or len(r) < 2:
        raise ValueError(f"calibrate: r has shape {np.shape(r)}; give (N, D), at least 2 samples.")
    return {**theta, **network.apply(theta, jnp.asarray(r), mutable=["fixed"])[1]}


def families() -> dict[str, type[INR]]:
    """Public families with a knob of their own, by label, the paper's first; a reader's too."""

    def below(family):
        for child in family.__subclasses__():
            yield child
            yield from below(child)

    listed = lambda family: "knob" in vars(family) and not family.__name__.startswith("_")
    found = [family for family in below(INR) if listed(family)]
    found.sort(key=lambda family: family.__module__ != "inrlib.networks")
    return {family.label: family for family in found}


def function(network: nn.Module, theta: Theta) -> Callable[[Any, Array], Array]:
    """The network as a function (params, r) → f(r) of what training moves; the rest is theta's."""
    rest = {collection: leaves for collection, leaves in theta.items() if collection != "params"}
    return lambda params, r: network.apply({**rest, "params": params}, r)


def frequencies(
    network: INR, theta: Theta, dims: int
) -> tuple[Float[Array, "T D"], Float[Array, " T"]]:
    """The mapping's Ω (rad per unit of r) and φ (rad): γ(r) = sin(Ω r + φ).

    The phases are affine in r, so their derivative at the origin is Ω, exactly. A filtered mapping
    (IPE, Prefiltered) multiplies each sine by a number, STAF adds several up in one unit.

    Raises:
      ValueError: a network whose mapping is not sinusoidal (a plain MLP, FINER, WIRE, a grid).
    """
    if type(network).phases is INR.phases:
        raise ValueError(f"network: {network.label} has no mapping frequencies; take SIREN or FFN.")
    origin = jnp.zeros(dims, jax.tree.leaves(theta)[0].dtype)
    phases = lambda r: network.apply(theta, r, method="phases")
    return jax.jacfwd(phases)(origin), phases(origin)
