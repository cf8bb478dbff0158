"""The families that came after the paper, or beside it, in the frame of Eq. 1.

    FINER          sin(ω0 (|v| + 1) v)                        frequencies that follow the place
    WIRE           exp(jω0 v − |s0 v|²)                       complex Gabor wavelets
    Gaussian       exp(−(s0 v)²)                              no lattice at all
    STAF           Σ_i b_i sin(w_i v + φ_i), all trained      a small dictionary in every unit
    IPE            γ(r) exp(−½ σ² |ω|²)                       positional encoding of a blurred place
    Prefiltered    γ(r) H(ω)                                  Fourier features behind a low-pass
    Grid           interpolated tables                        atoms that are local

In the first four v = W⁰ r + b⁰, and all layers are alike. `inrlib.networks` has all of them, too.

>>> import jax
>>> from inrlib import networks
>>> network = networks.FINER((8,), mapping_width=6)
>>> theta = networks.init(network, jax.random.key(0), dims=2, omega0=20.0)
>>> network.apply(theta, jnp.zeros((5, 2))).shape
(5, 1)
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from inrlib.blocks import Dense, FixedDense, Fourier, Table, uniform
from inrlib.inr import (
    _F0,
    _OMEGA0,
    _SIGMA,
    INR,
    Knob,
    _check_choice,
)
from inrlib.sine import sine

__all__ = ["FINER", "IPE", "STAF", "WIRE", "Gaussian", "Grid", "Prefiltered"]

_S0 = Knob("s0", "s0", "rad per unit", 10.0, 1, 100, zero=True)


class _Alike(INR):
    """z⁰ = ρ(W⁰ r + b⁰): the mapping is a layer like those behind it.

    Matrices and biases ~ U(−1/√F, 1/√F), F = the layer's inputs, unless a family says otherwise.

    Attributes:
      mapping_width: T, the units of the first layer.
    """

    mapping_width: int = 256

    def setup(self):
        super().setup()
        self.first = self.input(self.mapping_width)

    def input(self, features: int) -> Dense:
        """W⁰ r + b⁰. The number of coordinates, its fan-in, shows when it is called."""
        return Dense(features, kernel_init=uniform(lambda dims: dims**-0.5), bias_init=uniform(1.0))

    def dense(self, features, fan_in):
        bound = uniform(fan_in**-0.5)
        return Dense(features, kernel_init=bound, bias_init=bound)

    def mapping(self, r):
        return self.activation(self.first(r))


class _Sines(_Alike):
    """Drawn as a SIREN: W⁰ ~ U(−1/D, 1/D), Wˡ ~ U(−√(6/F)/ωh, √(6/F)/ωh), b⁰ ~ U(−k, k), k = 1.

    Attributes:
      hidden_omega0: ωh of the layers behind the first; ω0, of the first, is in theta["fixed"].
    """

    hidden_omega0: float = 30.0

    def setup(self):
        super().setup()
        self.omega0 = self._setting()

    def input(self, features):
        bias = uniform(getattr(self, "bias_scale", 1.0))
        return Dense(features, kernel_init=uniform(lambda dims: 1 / dims), bias_init=bias)

    def dense(self, features, fan_in):
        draw = uniform((6 / fan_in) ** 0.5 / self.hidden_omega0)
        return Dense(features, kernel_init=draw, bias_init=uniform(fan_in**-0.5))


class FINER(_Sines):
    """Flexible spectral bias (Liu et al., CVPR 2024): ρ(v) = sin(ω0 (|v| + 1) v).

    Near v the frequency is ω0 (2|v| + 1), so a larger bias b⁰ lifts a unit's band. ρ'' jumps at 0.
    The derivative is the true one, ω0 (2|v| + 1) cos. The published code stops the gradient through
    (|v| + 1), in its kernels too: it has ω0 (|v| + 1) cos.

    Drawn as a SIREN, as published, with ω0 = ωh = 30 and b⁰ ~ U(−k, k): k = 5 for pictures of 512
    pixels a side, 1 for signed distances (so here), 1/√D where k is not given.

    Attributes:
      bias_scale: k.
    """

    bias_scale: float = 1.0

    label = "FINER"
    knob = _OMEGA0

    def activation(self, v):
        return _finer(v, self.hidden_omega0)

    def mapping(self, r):
        return _finer(self.first(r), self.omega0)


def _finer(v: Array, omega: Array | float) -> Array:
    return sine(omega * (jnp.abs(v) + 1) * v)


class WIRE(_Alike):
    """Complex Gabor wavelets (Saragadam et al., CVPR 2023): ρ(v) = exp(jω0 v − |s0 v|²).

    The first layer is real: a line at ω0 W⁰, smeared by a Gaussian whose energy has standard
    deviation s0 |W⁰|. Behind it W and b are complex, and f = Re(W z + b): here with real numbers,
    [Re z, −Im z] times [Re W, Im W], the same sum. The kernel counts both parts of every number.

    All parts ~ U(−1/√F, 1/√F). Published: ω0 = ωh = 20, s0 = 30 for pictures, 5 and 5 where noise
    is to be left out, widths divided by √2 since each number is two; the authors of FINER take
    20 and 10 (so here). s0, of all layers, is in theta["fixed"]: `tune(theta, s0=5)`.

    Attributes:
      hidden_omega0: ωh of the layers behind the first.
    """

    hidden_omega0: float = 20.0

    label = "WIRE"
    knob = _OMEGA0._replace(usual=20.0)

    def setup(self):
        super().setup()
        self.omega0, self.s0 = self._setting(), self._setting(_S0)

    def dense(self, features, fan_in):
        bound = uniform(fan_in**-0.5)
        return Dense(features, param_dtype=jnp.complex64, kernel_init=bound, bias_init=bound)

    def last(self, features, fan_in):
        return super().dense(features, fan_in)

    def mapping(self, r):
        return _gabor(self.first(r), self.omega0, self.s0)

    def activation(self, v):
        return _gabor(v, self.hidden_omega0, self.s0)

    def features(self, r):
        z = super().features(r)
        return jnp.concatenate([jnp.real(z), -jnp.imag(z)], axis=-1)


def _gabor(v: Array, omega: Array | float, s0: Array) -> Array:
    """exp(jωv − |s0 v|²), of v = a + jb as exp(−ωb − s0²(a² + b²)) (cos ωa + j sin ωa)."""
    a, b = jnp.real(v), jnp.imag(v)
    size = jnp.exp(-omega * b - s0**2 * (a * a + b * b))
    return jax.lax.complex(size * sine(omega * a + np.pi / 2), size * sine(omega * a))


class Gaussian(_Alike):
    """Gaussian activations (Ramasinghe and Lucey, ECCV 2022): ρ(v) = exp(−(s0 v)²) in every layer.

    A ridge of a unit with |W⁰| = 1 has an energy spectrum of standard deviation s0, in rad per
    unit: continuous, no lattice. Published, by those who compare with it: s0 = 10 (WIRE's code, so
    here), 30 (FINER's). Matrices and biases ~ U(−1/√F, 1/√F), and b⁰ ~ U(−1, 1), so that ridges lie
    everywhere.
    """

    label = "Gaussian"
    knob = _S0
    gain = _S0.usual

    def setup(self):
        super().setup()
        self.s0 = self._setting()

    def activation(self, v):
        return jnp.exp(-((self.s0 * v) ** 2))


class STAF(_Sines):
    """Sinusoidal trainable activations (Morsali et al. 2026): ρ(v) = Σ_i b_i sin(w_i v + φ_i).

    i = 1 … τ; the 3τ numbers of a layer are trained, and the same for all its units. So the first
    layer has τT mapping frequencies, of which each unit adds up τ. w = ω0 u with u trained, ωh u
    behind the first layer: a step of u moves w ω0 times as far as in the published code, which
    trains w. Published: u ~ U(0, 1), φ ~ U(−π, π), b = sign(x) √|x| with x from a Laplace
    distribution of scale 1/(2τ); ω0 = 30. The matrices and biases are drawn as a SIREN's.

    Attributes:
      tau: τ.
    """

    tau: int = 5

    label = "STAF"
    knob = _OMEGA0

    def setup(self):
        super().setup()
        each = (len(self.widths) + 1, self.tau)
        self.u = self.param("u", nn.initializers.uniform(1.0), each, jnp.float32)
        self.phi = self.param("phi", uniform(np.pi), each)
        self.b = self.param("b", _laplace_root, each)

    def waves(self, layer: int, v: Array, omega: Array | float) -> Array:
        """w_i v + φ_i, (…, F, τ)."""
        return omega * self.u[layer] * v[..., None] + self.phi[layer]

    def phases(self, r):
        v = self.waves(0, self.first(r), self.omega0)
        return v.reshape(*v.shape[:-2], -1)

    @jax.default_matmul_precision("highest")
    def mapping(self, r):
        return sine(self.waves(0, self.first(r), self.omega0)) @ self.b[0]

    @jax.default_matmul_precision("highest")
    def features(self, r):
        z = self.mapping(r)
        for layer, b in enumerate(self.b[1:], 1):
            z = sine(self.waves(layer, self.before(layer - 1, z), self.hidden_omega0)) @ b
        return z


def _laplace_root(key, shape, dtype=jnp.float32):
    x = jax.random.laplace(key, shape, dtype) / (2 * shape[-1])
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))


# --- Mappings with a filter ---------------------------------------------------------------------


class IPE(Fourier, INR):
    """Integrated positional encoding (mip-NeRF, Barron et al., ICCV 2021), ReLU behind it.

        γ(r) = exp(−½ σ² ω²) [sin ω r, cos ω r],    ω = 2π f0 2ᵏ,    k = 0 … octaves−1

    along every axis: the expectation of the positional encoding under a Gaussian of standard
    deviation σ around r. mip-NeRF takes σ from a ray's cone at each place; here all places have
    one, the slider "blur", in units of r. The usual 0.01 is spacing/√12, a pixel's own standard
    deviation, for 64 pixels on [−1, 1). f0 is in theta["fixed"], too.

    Attributes:
      octaves: mip-NeRF has 16; what is far above 1/σ is 0 in any case.
    """

    octaves: int = 10

    label = "IPE"
    knob = Knob("blur", "blur σ", "units", 0.01, 0.001, 0.3, zero=True)

    def setup(self):
        super().setup()
        self.blur, self.f0 = self._setting(), self._setting(_F0)

    def _omegas(self) -> list[Array]:
        return [2 * np.pi * 2.0**k * self.f0 for k in range(self.octaves)]

    def waves(self, r):
        return jnp.concatenate([omega * r for omega in self._omegas()], axis=-1)

    def mapping(self, r):
        omega = jnp.repeat(jnp.stack(self._omegas()), r.shape[-1])
        response = jnp.exp(-((self.blur * omega) ** 2) / 2)
        return jnp.concatenate([response, response]) * sine(self.phases(r))


class Prefiltered(Fourier, INR):
    """Random Fourier features behind a low-pass (Spectral Prefiltering, arXiv 2510.08394), ReLU.

        γ(r) = H(σB) [sin 2πσBr, cos 2πσBr],    B_ij ~ N(0, 1)

    as FFN, each feature times the response H of a filter at its frequency f = σ B_i. With the
    cut-off fc, where H is ½ along an axis,

        gauss:  H(f) = 2^(−|f|²/fc²)
        box:    H(f) = Π_d sinc(0.60336 f_d/fc),    sinc x = sin πx / πx

    The paper also has a Lanczos filter, and trains with many widths at once; here it is the mapping
    alone. σ is in theta["fixed"], at 10: wide, so that the cut-off decides.

    Attributes:
      mapping_width: T; half of it are rows of B.
      response: "gauss" or "box".
    """

    mapping_width: int = 512
    response: str = "gauss"

    label = "prefiltered"
    knob = Knob("cutoff", "cut-off", "cycles per unit", 8.0, 0.5, 64)

    def __post_init__(self):
        super().__post_init__()
        _check_choice("response", self.response, ("gauss", "box"))

    @classmethod
    def sized(cls, width, depth, outputs=1, **options):
        return super().sized(width, depth, outputs, **{"mapping_width": 2 * width} | options)

    def setup(self):
        super().setup()
        self.cutoff, self.sigma = self._setting(), self._setting(_SIGMA._replace(usual=10.0))
        rows = nn.initializers.normal(1.0)
        self.B = FixedDense(self.mapping_width // 2, use_bias=False, kernel_init=rows)

    def waves(self, r):
        return 2 * jnp.pi * self.sigma * self.B(r)

    def mapping(self, r):
        f = self.sigma * self.B(jnp.eye(r.shape[-1], dtype=r.dtype)) / self.cutoff  # (D, T/2)
        if self.response == "gauss":
            H = jnp.exp2(-jnp.sum(f**2, axis=0))
        else:
            H = jnp.prod(jnp.sinc(0.60336 * f), axis=0)
        return jnp.concatenate([H, H]) * sine(self.phases(r))


# --- Tables -------------------------------------------------------------------------------------


class Grid(INR):
    """Tables at several resolutions (Instant NGP, Müller et al. 2022), a small ReLU network behind.

        γ(r) = [T⁰(n r/2^(L−1)), …, T^(L−2)(n r/2), T^(L−1)(n r)]

    T^ℓ(u) is linear between the nodes of a table, whose entries are trained; n, the cells per unit
    of the finest, is the knob, and a traced number. So the sizes of the tables cannot depend on it:
    the finest has `cells` nodes a side, each coarser one half as many, and all repeat after
    cells/n units (2 at n = 32: a picture on [−1, 1) just fits). Every level is dense; nothing is
    hashed. Published: 16 levels, growing by 1.26 to 2, F = 2, entries ~ U(−10⁻⁴, 10⁻⁴), two layers
    of 64, Adam 1e-2.

    Attributes:
      levels: L.
      cells: nodes a side of the finest table; it must be divisible by 2^(L−1).
      entries: F, numbers at a node.

    Raises:
      ValueError: as all families; such `cells`, or more than three coordinates.
    """

    levels: int = 4
    cells: int = 64
    entries: int = 2

    label = "grid"
    knob = Knob("resolution", "n", "cells per unit", 16.0, 2, 128)

    def __post_init__(self):
        super().__post_init__()
        if self.cells % 2 ** (self.levels - 1):
            raise ValueError(
                f"cells={self.cells} must be divisible by {2 ** (self.levels - 1)}, "
                f"so that each of {self.levels} levels has half the nodes of the next."
            )

    def setup(self):
        super().setup()
        self.resolution = self._setting()
        halvings = range(self.levels - 1, -1, -1)
        self.tables = [Table(self.cells // 2**halving, self.entries) for halving in halvings]

    def mapping(self, r):
        if r.shape[-1] > 3:
            raise ValueError(f"Grid: {r.shape[-1]} coordinates need too large a table; at most 3.")
        coarser = [2.0 ** (level - self.levels + 1) for level in range(self.levels)]
        levels = zip(coarser, self.tables, strict=True)
        return jnp.concatenate([T(self.resolution * part * r) for part, T in levels], axis=-1)
