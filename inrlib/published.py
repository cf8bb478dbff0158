"""What others have published since: FINER's kernel, TUNER's bound, scaled and depth-stable weights.

A bound on the amplitude of a harmonic (Novello et al., TUNER, CVPR 2025) follows from Eq. 7 and
|J_n(β)| ≤ (|β|/2)^|n| / |n|!. FINER's public code takes a part of its unit as a constant when it
differentiates, so that its kernel is another. A sine network's start can be chosen such that its
gradients neither grow nor fade from layer to layer. The grid that networks are held against is in
`baselines`.

>>> distance, cosine, _ = nearness(jnp.eye(3), 2 * jnp.eye(3), count=1)
>>> round(float(distance), 3), round(float(cosine), 3)
(1.0, 1.0)
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

from inrlib.bessel import SineLayers
from inrlib.inr import INR, Theta, init
from inrlib.networks import SIREN
from inrlib.related import FINER
from inrlib.sine import sine

__all__ = [
    "Nearness",
    "OwnStatistics",
    "StoppedFINER",
    "amplitude_bound",
    "depth_stable",
    "drawn",
    "first_layers",
    "fitted_growth",
    "layer_growth",
    "nearness",
    "scaled",
]


class StoppedFINER(FINER):
    """FINER as its public code differentiates it: (|v| + 1) counts as a constant.

    The function is FINER's. Its "derivative" by v is ω (|v| + 1) cos(ω (|v| + 1) v), where the true
    one has ω (2|v| + 1).
    """

    label = "FINER, gradient stopped"

    def activation(self, v):
        return sine(self.hidden_omega0 * lax.stop_gradient(jnp.abs(v) + 1) * v)

    def mapping(self, r):
        v = self.first(r)
        return sine(self.omega0 * lax.stop_gradient(jnp.abs(v) + 1) * v)


class OwnStatistics(nn.Module):
    """Batch normalisation as it is trained: with the means and variances of the samples at hand.

    f(r) then depends on the samples that it is asked for together, and training differentiates
    through the statistics. `inr.calibrate` fixes them afterwards.

    Attributes:
      network: a family with norm="batch"; its theta is this module's.
    """

    network: INR

    def __call__(self, r: Float[Array | np.ndarray, "N D"]) -> Float[Array, "N C"]:
        """f(r) among these samples."""
        return self.network.clone(parent=None).apply(self.variables, r, mutable=["fixed"])[0]


class Nearness(NamedTuple):
    """How near one kernel is to another.

    Attributes:
      distance: ‖K − L‖_F / ‖K‖_F.
      cosine: ⟨K, L⟩_F / (‖K‖_F ‖L‖_F): 1 if they differ by a factor alone.
      subspace: the share of L's leading eigenvectors that lies in the span of K's, 0 to 1.
    """

    distance: Float[Array, ""]
    cosine: Float[Array, ""]
    subspace: Float[Array, ""]


@jax.default_matmul_precision("highest")
def nearness(K: Float[Array, "N N"], L: Float[Array, "N N"], count: int = 10) -> Nearness:
    """Three numbers for two symmetric matrices; `count` leading eigenvectors for the last."""
    size = jnp.linalg.norm
    leading = lambda matrix: jnp.linalg.eigh(matrix)[1][:, -count:]
    overlap = jnp.sum((leading(K).T @ leading(L)) ** 2) / count
    return Nearness(size(K - L) / size(K), jnp.sum(K * L) / size(K) / size(L), overlap)


@jax.default_matmul_precision("highest")
def amplitude_bound(net: SineLayers, s: Int[Array | np.ndarray, "S T"]) -> Float[Array, "S C"]:
    """TUNER's bound on the amplitudes A_s of Eq. 6 (`bessel.amplitudes`), from the weights alone.

        |A_s| ≤ 2 Σ_m |w_m| Π_t (|W_mt|/2)^|s_t| / |s_t|!          (half of it for s = 0)

    Its factors are Eq. 7's Bessel functions without what makes them decay in W: it is close where
    all |W_mt| are small, and nothing where Σ_t W_mt² is large.

    Raises:
      ValueError: s for another number of frequencies.
    """
    s = np.abs(np.asarray(s))
    if s.ndim != 2 or s.shape[1] != net.W.shape[1]:
        raise ValueError(f"s: shape {s.shape} must be (S, T) with T={net.W.shape[1]} frequencies.")
    half = jnp.abs(net.W) / 2
    power = jnp.where(s[:, None] > 0, half ** s[:, None], 1.0)  # 0⁰ is 1
    bound = jnp.prod(power / jnp.exp(gammaln(s[:, None] + 1.0)), axis=2) @ jnp.abs(net.w)
    return jnp.where(s.any(axis=1), 2.0, 1.0)[:, None] * bound


_SOON = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""How to compile what runs once: half of the time for random numbers."""


@partial(jax.jit, static_argnums=(0, 2, 3), compiler_options=_SOON)
def drawn(network: INR, key: Array, dims: int, dtype: Any = jnp.float32) -> Theta:
    """`networks.init` as one program that compiles soon: many families are drawn in less time.

    To be called as it is or under `jax.vmap`; inside a function that is compiled itself, use
    `networks.init`.
    """
    return init(network, key, dims, dtype)


def scaled(theta: Theta, alpha: float | Array) -> Theta:
    """All weights but the last layer's times α, biases as they are (Yeom et al., ICLR 2025).

    A SIREN's first layer is among them: there α is as good as a larger ω0, biases apart.

    Args:
      theta: of a network whose last layer is called `readout`.
      alpha: may be traced, so that a slider moves it.
    """
    layers = {
        name: layer | {"kernel": alpha * layer["kernel"]} if name != "readout" else layer
        for name, layer in theta["params"].items()
        if "kernel" in layer
    }
    return {**theta, "params": dict(theta["params"]) | layers}


@jax.jit
def layer_growth(
    weights: Float[Array | np.ndarray, "*n"] | float,
    biases: Float[Array | np.ndarray, "*n"] | float,
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """What deep sine layers do to units and gradients, in the limit of many units.

    For v' = W sin(v) + b, with W ~ U(−c_w/√F, c_w/√F) and b of standard deviation c_b, the variance
    of v settles, layer by layer, at σ², and from there on a layer multiplies |∇|² by g:

        σ² = c_w²/6 (1 − e^(−2σ²)) + c_b²,      g = c_w²/6 (1 + e^(−2σ²)).

    Args:
      weights, biases: c_w and c_b; a SIREN has √6 and ωh/√(3F).

    Returns:
      σ² and g: above 1 the kernel grows exponentially with depth, at 1 linearly.
    """
    gain = jnp.asarray(weights, float) ** 2 / 6
    own = jnp.asarray(biases, float) ** 2
    settle = lambda _, variance: gain * (1 - jnp.exp(-2 * variance)) + own
    variance = lax.fori_loop(0, 500, settle, jnp.ones_like(gain + own))
    return variance, gain * (1 + jnp.exp(-2 * variance))


def first_layers(theta: Theta, depth: int) -> Theta:
    """The numbers of a network with the first hidden layers of a deeper one of equal widths.

    The readout is the deeper one's. Where all layers are drawn alike this is as good as a draw, and
    kernels of several depths differ by the depth alone.
    """
    spare = lambda name: name.startswith("hidden") and int(name.split("_")[1]) >= depth
    params = {name: layer for name, layer in theta["params"].items() if not spare(name)}
    return {**theta, "params": params}


def fitted_growth(depths: Sequence[int], values: Float[Array | np.ndarray, " L"]) -> float:
    """The factor g a layer of a kernel's size at several depths L, measured.

        a + b (1 + g + … + g^(L−1)),      a straight line for g = 1

    by least squares of the relative errors, g between 0.5 and 3 in steps of 0.002.
    """
    values, sums = np.asarray(values, float), {}
    for g in np.linspace(0.5, 3, 1251):
        terms = np.array([[1, sum(g**k for k in range(L))] for L in depths]) / values[:, None]
        error = terms @ np.linalg.lstsq(terms, np.ones(len(depths)), rcond=None)[0] - 1
        sums[float(g)] = error @ error
    return min(sums, key=sums.get)


def depth_stable(network: SIREN, theta: Theta, key: Array, spread: float | Array = 1.0) -> Theta:
    """A SIREN's start whose gradients keep their size in depth (Combette et al., ICLR 2026).

        Wˡ ~ U(−c_w, c_w)/(ωh √F),    c_w = √(6/(1 + e^(−2σ²)))
        bˡ ~ N(0, c_b²)/ωh,           c_b = √(σ² − tanh σ²)

    in the hidden layers; mapping and readout stay. These are the numbers for which `layer_growth`
    gives σ² and 1: 2.30 and 0.49 for σ = 1, √3 and 0 in the limit of σ = 0.

    Args:
      theta: from `init`, its Wˡ drawn as published (alpha=1): the same draw, scaled.
      key: of the biases.
      spread: σ > 0, the standard deviation of ωh (W z + b).

    Raises:
      ValueError: a network without sine layers.
    """
    if not isinstance(network, SIREN):
        raise ValueError(f"depth_stable: {network.label} has no layers of sines; take SIREN.")
    squared = jnp.square(spread)
    scale = (1 + jnp.exp(-2 * squared)) ** -0.5  # c_w/√6
    size = jnp.sqrt(squared - jnp.tanh(squared)) / network.hidden_omega0
    params = dict(theta["params"])
    for name in (name for name in params if name.startswith("hidden")):
        layer, number = params[name], int(name.split("_")[1])
        draw = jax.random.normal(jax.random.fold_in(key, number), layer["bias"].shape)
        bias = (size * draw).astype(layer["bias"].dtype)
        params[name] = {**layer, "kernel": scale * layer["kernel"], "bias": bias}
    return {**theta, "params": params}
