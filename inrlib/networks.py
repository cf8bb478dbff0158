"""The families of Eq. 1: where the mapping frequencies Ω come from, and what ρ is.

    SIREN                 Ω = ω0 W⁰, drawn and trained      ρ = sin
    FFN                   Ω = 2πσB, drawn and kept          ρ = ReLU
    SingleFrequency       Ω = 2πf0 I                        ρ = ReLU
    PositionalEncoding    Ω = 2πf0 2ᵏ I                     ρ = ReLU
    MFN                   a mapping for every layer         products
    MLP                   none                              ρ = ReLU

Each is a class of a few lines on top of `inr`, whose names are here too. How to add one stands in
CONTRIBUTING.md.

>>> network = SingleFrequency((8,))
>>> theta = init(network, jax.random.key(0), dims=1, f0=2.0)
>>> (frequencies(network, theta, dims=1)[0] / jnp.pi).tolist()
[[4.0], [4.0]]
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from inrlib.inr import INR, Knob, Theta, families, frequencies, function, init, tune
from inrlib.sine import sine

__all__ = [
    "FFN",
    "INR",
    "MFN",
    "MLP",
    "SIREN",
    "Knob",
    "PositionalEncoding",
    "SingleFrequency",
    "Theta",
    "families",
    "frequencies",
    "function",
    "init",
    "tune",
    "with_first_layer",
]

_OMEGA0 = Knob("omega0", "ω0", "rad per unit", 30.0, 3, 300)
_F0 = Knob("f0", "f0", "cycles per unit", 0.5, 0.25, 4)


def _uniform(bound: Callable[[int], float] | float) -> Callable:
    """Initialiser U(−b, b); b is a number, or a function of a kernel's fan-in."""

    def draw(key, shape, dtype=jnp.float32):
        limit = bound(shape[0]) if callable(bound) else bound
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw


class _FixedDense(nn.Dense):
    """A dense layer that training leaves alone: its numbers go to theta["fixed"]."""

    def param(self, name, init_fn, *args, **kwargs):
        draw = lambda: init_fn(self.make_rng("params"), *args, **kwargs)
        return self.variable("fixed", name, draw).value


class SIREN(INR):
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

    mapping_width: int = 256
    hidden_omega0: float = 30.0
    trainable: bool = True
    zero_bias: bool = False

    label = "SIREN"
    knob = _OMEGA0

    @classmethod
    def sized(cls, width, depth, outputs=1, **options):
        return super().sized(width, depth, outputs, mapping_width=width, **options)

    def setup(self):
        self.omega0 = self._setting()
        layer = nn.Dense if self.trainable else _FixedDense
        self.first = layer(
            self.mapping_width,
            kernel_init=_uniform(lambda fan_in: 1 / fan_in),
            bias_init=self._bias(1.0),
        )
        fan_ins = (self.mapping_width, *self.widths)
        *hidden, self.readout = [
            nn.Dense(
                features,
                kernel_init=_uniform(lambda fan_in: (6 / fan_in) ** 0.5 / self.hidden_omega0),
                bias_init=self._bias(fan_in**-0.5),
            )
            for fan_in, features in zip(fan_ins, (*self.widths, self.outputs), strict=True)
        ]
        self.hidden = hidden

    def _bias(self, bound: float) -> Callable:
        return nn.initializers.zeros if self.zero_bias else _uniform(bound)

    def activation(self, v):
        return sine(self.hidden_omega0 * v)

    def phases(self, r):
        return self.omega0 * self.first(r)


class _Fourier(INR):
    """Mappings [sin v, cos v] of phases v(r): φ alternates between 0 and π/2."""

    def waves(self, r: Float[Array | np.ndarray, "*N D"]) -> Float[Array, "*N half"]:
        """v(r)."""
        raise NotImplementedError

    def phases(self, r):
        v = self.waves(r)
        return jnp.concatenate([v, v + jnp.pi / 2], axis=-1)


class FFN(_Fourier):
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
    knob = Knob("sigma", "σ", "cycles per unit", 3.0, 0.1, 30, zero=True)

    @classmethod
    def sized(cls, width, depth, outputs=1, **options):
        return super().sized(width, depth, outputs, mapping_width=2 * width, **options)

    def setup(self):
        super().setup()
        self.sigma = self._setting()
        layer = nn.Dense if self.trainable else _FixedDense
        self.B = layer(
            self.mapping_width // 2, use_bias=False, kernel_init=nn.initializers.normal(1.0)
        )

    def waves(self, r):
        return 2 * jnp.pi * self.sigma * self.B(r)


class SingleFrequency(_Fourier):
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
        self.f0 = self._setting(self.trainable)

    def waves(self, r):
        return 2 * jnp.pi * self.f0 * r


class PositionalEncoding(_Fourier):
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

    @classmethod
    def sized(cls, width, depth, outputs=1, **options):
        return super().sized(width, depth, outputs, mapping_width=width, **options)

    def setup(self):
        self.omega0 = self._setting()
        filters = self.mapping_width + sum(self.widths)
        spread = _uniform(lambda fan_in: fan_in**-0.5)
        self.filters = nn.Dense(filters, use_bias=False, kernel_init=spread)
        self.phi = self.param("phi", _uniform(np.pi), (filters,))
        fan_ins = (self.mapping_width, *self.widths)
        *hidden, self.readout = [
            nn.Dense(features, kernel_init=spread, bias_init=_uniform(fan_in**-0.5))
            for fan_in, features in zip(fan_ins, (*self.widths, self.outputs), strict=True)
        ]
        self.hidden = hidden

    def activation(self, v):
        return v  # products take its place

    def phases(self, r):
        return self.omega0 / (len(self.widths) + 1) ** 0.5 * self.filters(r) + self.phi

    def features(self, r):
        ends = np.cumsum([self.mapping_width, *self.widths])[:-1]
        z, *filters = jnp.split(self.mapping(r), ends, axis=-1)
        for layer, filtered in zip(self.hidden, filters, strict=True):
            z = layer(z) * filtered
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
