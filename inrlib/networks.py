"""Eq. 1: one architecture, many families.

    z⁰ = γ(r) = sin(Ω r + φ)                          the mapping
    zˡ = ρ(Wˡ zˡ⁻¹ + bˡ),      ℓ = 1 … L−1            an ordinary perceptron behind it
    f(r) = Wᴸ zᴸ⁻¹ + bᴸ

The families differ in where Ω comes from and in ρ. A network here is a Flax module: static, without
numbers. All its numbers sit in a pytree `theta` with two collections,

    theta["params"]   what training moves,
    theta["fixed"]    what it does not: ω0, σ, f0, and a mapping that is not trainable.

So `network.apply(theta, r)` is a pure function of arrays. A slider changes a leaf of `theta` with
`tune`, and nothing is compiled again; `jax.vmap` over `theta` trains many settings at once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "FFN",
    "INR",
    "MFN",
    "MLP",
    "SIREN",
    "PositionalEncoding",
    "SingleFrequency",
    "Theta",
    "count",
    "frequencies",
    "init",
    "sine",
    "tune",
    "with_first_layer",
]

Theta = Mapping[str, Any]
"""The numbers of a network: {"params": …, "fixed": …}."""


_SIN = (0.9999999999829693, -0.1666666661691729, 0.008333330977504048,
        -0.00019840861553271298, 2.752528712864687e-06, -2.388949844032159e-08)  # fmt: skip
_COS = (0.9999999997799048, -0.49999999356956465, 0.04166663620892959,
        -0.0013888360842554655, 2.4760135517302034e-05, -2.605107635680926e-07)  # fmt: skip
_PI = (3.140625, 9.67502593994140625e-4, 1.509957990978376e-7)


def sine(x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """sin x, in float32 by a polynomial that vectorises: a tenth of the time of `jnp.sin` on a CPU.

    With k = round(x/π) and y = x − kπ, subtracted in three parts (Cody and Waite 1980), it is
    (−1)^k y p(y²), p of degree 5 fitted on |y| ≤ π/2; its derivative is a cosine made likewise.
    Absolute error of both below 2e-7 for |x| ≤ 8192. Other precisions go to `jnp.sin`.
    """
    return _sin(x) if x.dtype == jnp.float32 else jnp.sin(x)


@jax.custom_jvp
def _sin(x):
    y, is_even = _reduce(x)
    return jnp.where(is_even, y, -y) * _polynomial(_SIN, y * y)


@jax.custom_jvp
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


class INR(nn.Module):
    """Eq. 1 with the mapping left open; a family says what `phases` is.

    Attributes:
      widths: F_1 … F_{L−1}, the hidden layers behind the mapping.
      outputs: C, the channels of the signal.
      offset: a constant added to the output (the meta-learning experiments use 0.5).
    """

    widths: tuple[int, ...] = (256, 256, 256)
    outputs: int = 1
    offset: float = 0.0

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

    def _setting(self, name: str, default: float, trainable: bool = False) -> Array:
        """A number of the mapping: moved by a slider, and by training only if trainable."""
        if trainable:
            return self.param(name, lambda _: jnp.float32(default))
        return self.variable("fixed", name, lambda: jnp.float32(default)).value


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

    def setup(self):
        self.omega0 = self._setting("omega0", 30.0)
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

    def waves(self, r: Float[Array, "*N D"]) -> Float[Array, "*N T/2"]:
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

    def setup(self):
        super().setup()
        self.sigma = self._setting("sigma", 10.0)
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

    def setup(self):
        super().setup()
        self.f0 = self._setting("f0", 1.0, self.trainable)

    def waves(self, r):
        return 2 * jnp.pi * self.f0 * r


class PositionalEncoding(_Fourier):
    """Deterministic encoding of NeRF (Mildenhall et al. 2020): frequencies in powers of two.

    γ(r) = [sin 2π f0 2^k r, cos 2π f0 2^k r] for k = 0 … octaves−1, along every axis.
    """

    octaves: int = 6

    def setup(self):
        super().setup()
        self.f0 = self._setting("f0", 0.5)

    def waves(self, r):
        scales = self.f0 * 2.0 ** jnp.arange(self.octaves)
        return jnp.concatenate([2 * jnp.pi * scale * r for scale in scales], axis=-1)


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

    def setup(self):
        self.omega0 = self._setting("omega0", 256.0)
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

    def mapping(self, r):
        return r


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
      settings: omega0 (rad per unit of r, > 0), sigma (cycles per unit, ≥ 0), f0 (cycles per unit,
        > 0), as numbers or as traced arrays.

    Raises:
      ValueError: a value out of range, or a setting that this network does not have.
    """
    theta = {collection: dict(leaves) for collection, leaves in theta.items()}
    homes = {name: leaves for leaves in theta.values() for name in leaves if name in _SETTINGS}
    for name, value in settings.items():
        if name not in homes:
            known = ", ".join(homes) or "none"
            raise ValueError(f"{name}={value} is no setting of this network, which has: {known}.")
        _check_setting(name, value)
        old, value = homes[name][name], jnp.asarray(value)
        shape = jnp.broadcast_shapes(old.shape, value.shape)
        homes[name][name] = jnp.broadcast_to(value, shape).astype(old.dtype)
    return theta


_SETTINGS = {"omega0": "greater than 0", "sigma": "at least 0", "f0": "greater than 0"}


def _check_setting(name: str, value: float | Array) -> None:
    if isinstance(value, jax.core.Tracer):
        return  # the numbers are not known while a function is being traced
    value = np.asarray(value)
    positive = value >= 0 if _SETTINGS[name] == "at least 0" else value > 0
    bad = ~(np.isfinite(value) & positive)
    if bad.any():
        raise ValueError(f"{name}={value[bad].flat[0]} must be a finite number {_SETTINGS[name]}.")


def with_first_layer(
    theta: Theta, W0: Float[np.ndarray, "T D"], b0: Float[np.ndarray, " T"]
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


def frequencies(
    network: INR, theta: Theta, dims: int
) -> tuple[Float[Array, "T D"], Float[Array, " T"]]:
    """The mapping's Ω (rad per unit of r) and φ (rad): γ(r) = sin(Ω r + φ).

    The phases are affine in r, so their derivative at the origin is Ω, exactly.

    Raises:
      ValueError: a network whose mapping is not sinusoidal (the plain MLP).
    """
    if isinstance(network, MLP):
        raise ValueError("network: an MLP has no mapping frequencies; take SIREN or FFN.")
    origin = jnp.zeros(dims, jax.tree.leaves(theta)[0].dtype)
    phases = lambda r: network.apply(theta, r, method="phases")
    return jax.jacfwd(phases)(origin), phases(origin)


def count(theta: Theta) -> int:
    """The number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(theta["params"]))
