"""The families of Eq. 1: where the mapping frequencies Ω come from, and what ρ is.

    SIREN                 Ω = ω0 W⁰, drawn and trained      ρ = sin
    FFN                   Ω = 2πσB, drawn and kept          ρ = ReLU
    SingleFrequency       Ω = 2πf0 I                        ρ = ReLU
    PositionalEncoding    Ω = 2πf0 2ᵏ I                     ρ = ReLU
    MFN                   a mapping for every layer         products
    MLP                   none                              ρ = ReLU
    OwnActivation         ρ in the place of γ's sine        ρ = yours

Each is a class of a few lines on top of `inr`, whose names are here too, and so are the families of
`related`. How to add one stands in CONTRIBUTING.md.

>>> import jax
>>> network = SingleFrequency((8,))
>>> theta = init(network, jax.random.key(0), dims=1, f0=2.0)
>>> (frequencies(network, theta, dims=1)[0] / jnp.pi).tolist()
[[4.0], [4.0]]
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Real

from inrlib.blocks import Dense, FixedDense, Fourier, uniform
from inrlib.inr import (
    _F0,
    _OMEGA0,
    _SIGMA,
    INR,
    Knob,
    Theta,
    calibrate,
    families,
    frequencies,
    function,
    init,
    tune,
)
from inrlib.related import *  # noqa: F403 - every family is found here, by name
from inrlib.sine import sine

__all__ = [
    "FFN",
    "INR",
    "MFN",
    "MLP",
    "SIREN",
    "Knob",
    "OwnActivation",
    "PositionalEncoding",
    "SingleFrequency",
    "Theta",
    "calibrate",
    "families",
    "frequencies",
    "function",
    "init",
    "tune",
    "with_first_layer",
    "with_hidden_omega0",
]


class _OneActivation(INR):
    """γ(r) = ρ(ω0 (W⁰ r + b⁰)), zˡ = ρ(ωh (Wˡ zˡ⁻¹ + bˡ)): one ρ, drawn as a SIREN is."""

    mapping_width: int = 256
    hidden_omega0: float = 30.0
    trainable: bool = True
    zero_bias: bool = False

    knob = _OMEGA0

    def setup(self):
        super().setup()
        self.omega0 = self._setting()
        layer = Dense if self.trainable else FixedDense
        self.first = layer(
            self.mapping_width,
            kernel_init=uniform(lambda fan_in: 1 / fan_in),
            bias_init=self._bias(1.0),
        )

    def dense(self, features, fan_in):
        return Dense(
            features,
            kernel_init=uniform((6 / fan_in) ** 0.5 / self.hidden_omega0),
            bias_init=self._bias(fan_in**-0.5),
        )

    def _bias(self, bound: float) -> Callable:
        return nn.initializers.zeros if self.zero_bias else uniform(bound)


class SIREN(_OneActivation):
    """Sinusoidal representation network (Sitzmann et al. 2020): ρ = sin.

    γ(r) = sin(ω0 (W⁰ r + b⁰)), so Ω = ω0 W⁰ and φ = ω0 b⁰; behind it zˡ = sin(ωh (Wˡ zˡ⁻¹ + bˡ)).
    W⁰ ~ U(−1/D, 1/D) and Wˡ ~ U(−√(6/F)/ωh, √(6/F)/ωh) as published; b⁰ ~ U(−1, 1), which spreads
    the phases φ, and bˡ ~ U(−1/√F, 1/√F), F = the layer's inputs.

    Attributes:
      mapping_width: T, the number of mapping frequencies.
      hidden_omega0: ωh. It sets the scale of the draw, hence static; ω0 is in theta["fixed"].
      trainable: whether W⁰ and b⁰ are trained (Fig. 7) or kept (Fig. 6).
      zero_bias: start all biases at zero (the meta-learning experiments).
    """

    label = "SIREN"
    knob = _OMEGA0

    def activation(self, v):
        return sine(self.hidden_omega0 * v)

    def phases(self, r):
        return self.omega0 * self.first(r)


class OwnActivation(_OneActivation):
    """Any activation in a SIREN's place: γ(r) = ρ(ω0 (W⁰ r + b⁰)), zˡ = ρ(ωh (Wˡ zˡ⁻¹ + bˡ)).

    Numbers are drawn as a SIREN's, so the same key with ρ = sin is the same network. It is in no
    menu of families: nothing is one before its ρ is known.

    Attributes:
      rho: ρ, element by element, in JAX. A network is found again by its hash: the same function
        compiles once, one that is defined anew compiles anew. `checks.check_rho` says what is wrong
        with one.
      mapping_width, hidden_omega0, trainable, zero_bias: as of `SIREN`. What is handed to ρ does
        not depend on ωh, except for the biases: the Wˡ are drawn as much smaller. It sets how fast
        they learn.

    Raises:
      ValueError: rho is no function, or has no hash.
    """

    rho: Callable = jnp.sin

    label = "your own"

    def __post_init__(self):
        if not callable(self.rho):
            raise ValueError(
                f"rho is of type {type(self.rho).__name__}; give a function of an array, such as "
                "lambda v: jnp.exp(-(v**2))."
            )
        super().__post_init__()

    def activation(self, v):
        return self.rho(self.hidden_omega0 * v)

    def mapping(self, r):
        return self.rho(self.omega0 * self.first(r))


class FFN(Fourier, INR):
    """Fourier feature network (Tancik et al. 2020): ReLU behind random Fourier features.

    γ(r) = [sin 2πσBr, cos 2πσBr] with B_ij ~ N(0, 1). The draw B is in `theta` apart from σ, so the
    same key at another σ is the same draw rescaled. The paper's Ω is 2πσB.

    Attributes:
      mapping_width: T; half of it are rows of B.
      trainable: whether B is trained (Fig. 8).
    """

    mapping_width: int = 512
    trainable: bool = False

    label = "FFN"
    knob = _SIGMA

    @classmethod
    def sized(cls, width, depth, outputs=1, **options):
        return super().sized(width, depth, outputs, **{"mapping_width": 2 * width} | options)

    def setup(self):
        super().setup()
        self.sigma = self._setting()
        layer = Dense if self.trainable else FixedDense
        self.B = layer(
            self.mapping_width // 2, use_bias=False, kernel_init=nn.initializers.normal(1.0)
        )

    def waves(self, r):
        return 2 * jnp.pi * self.sigma * self.B(r)


class SingleFrequency(Fourier, INR):
    """The single-frequency mapping of Section 4.1: γ(r) = [sin 2πf0 r, cos 2πf0 r].

    One frequency along each axis; with ReLU layers behind it the set H(Ω) is {2πf0 k | k ∈ Z^D}.

    Attributes:
      trainable: whether the one number f0 is trained (SFM* of Fig. 8).
    """

    trainable: bool = False

    label = "single frequency"
    knob = _F0

    def setup(self):
        super().setup()
        self.f0 = self._setting(trainable=self.trainable)

    def waves(self, r):
        return 2 * jnp.pi * self.f0 * r


class PositionalEncoding(Fourier, INR):
    """Deterministic encoding of NeRF (Mildenhall et al. 2020): frequencies in powers of two.

    γ(r) = [sin 2π f0 2^k r, cos 2π f0 2^k r] for k = 0 … octaves−1, along every axis.
    """

    octaves: int = 6

    label = "positional encoding"
    knob = _F0

    def setup(self):
        super().setup()
        self.f0 = self._setting()

    def waves(self, r):
        scales = [2 * jnp.pi * 2.0**k for k in range(self.octaves)]
        return jnp.concatenate([self.f0 * scale * r for scale in scales], axis=-1)


class MFN(INR):
    """Multiplicative filter network with Fourier filters (Fathony et al. 2021): products, no ρ.

        z⁰ = γ⁰(r),    zˡ = (Wˡ zˡ⁻¹ + bˡ) ∘ γˡ(r),    γˡ(r) = sin(Ωˡ r + φˡ)

    Every layer has a mapping of its own; `phases` holds them one after the other, γ⁰ first. As
    published, Ωˡ = ω0 V/√L with V ~ U(−1/√D, 1/√D), L = the number of filters, φˡ ~ U(−π, π),
    Wˡ ~ U(−1/√F, 1/√F), bˡ likewise, F = the layer's inputs.

    Attributes:
      widths: the filters γ¹ … γ^(L−1).
      mapping_width: the filters γ⁰.
    """

    mapping_width: int = 256

    label = "MFN"
    knob = _OMEGA0._replace(usual=256.0)

    def setup(self):
        super().setup()
        self.omega0 = self._setting()
        filters = self.mapping_width + sum(self.widths)
        spread = uniform(lambda dims: dims**-0.5)
        self.filters = Dense(filters, use_bias=False, kernel_init=spread)
        self.phi = self.param("phi", uniform(np.pi), (filters,))

    def dense(self, features, fan_in):
        spread = uniform(fan_in**-0.5)
        return Dense(features, kernel_init=spread, bias_init=spread)

    def activation(self, v):
        return v  # products take its place

    def phases(self, r):
        return self.omega0 / (len(self.widths) + 1) ** 0.5 * self.filters(r) + self.phi

    def features(self, r):
        ends = np.cumsum([self.mapping_width, *self.widths])[:-1]
        z, *filters = jnp.split(self.mapping(r), ends, axis=-1)
        for layer, filtered in enumerate(filters):
            z = self.before(layer, z) * filtered
        return z


class MLP(INR):
    """Plain ReLU perceptron: γ(r) = r, the network without a dictionary of sinusoids."""

    label = "MLP"

    def mapping(self, r):
        return r


def with_first_layer(
    theta: Theta, W0: Real[Array | np.ndarray, "T D"], b0: Real[Array | np.ndarray, " T"]
) -> Theta:
    """A SIREN's `theta` with a given first layer: γ(r) = sin(ω0 (W⁰ r + b⁰)).

    Raises:
      ValueError: shapes other than those of the network, or no such layer.
    """
    theta = {collection: dict(leaves) for collection, leaves in theta.items()}
    home = next((leaves for leaves in theta.values() if "first" in leaves), None)
    if home is None:
        raise ValueError("theta: this network has no first layer W⁰ r + b⁰; only a SIREN has.")
    for name, array in (("kernel", jnp.asarray(W0).T), ("bias", jnp.asarray(b0))):
        old = home["first"][name]
        if array.shape != old.shape:
            raise ValueError(
                f"{name}: shape {array.shape} does not fit {old.shape}; make a SIREN with "
                f"mapping_width={array.shape[-1]}."
            )
        home["first"] = dict(home["first"]) | {name: array.astype(old.dtype)}
    return theta


def with_hidden_omega0(network: INR, theta: Theta, value: float | Array) -> Theta:
    """`theta` such that an untrained SIREN gives what the same draw with another ωh gives.

        sin(ωh' (W' z + b)) = sin(ωh (W z + b ωh'/ωh)),     W' = W ωh/ωh'

    Weights are drawn divided by ωh, so in the hidden layers it cancels but for the biases; the
    readout is ωh/ωh' times as large. Families without an ωh stay as they are.
    """
    if not isinstance(network, _OneActivation):
        return theta
    ratio = value / network.hidden_omega0
    params = dict(theta["params"])
    for name in (name for name in params if name.startswith("hidden")):
        params[name] = {**params[name], "bias": params[name]["bias"] * ratio}
    readout = params["readout"]
    params["readout"] = {**readout, "kernel": readout["kernel"] / ratio}
    return {**theta, "params": params}
