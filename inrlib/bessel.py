"""Eqs. 5–7: a three-layer sine network is a sum of sinusoids weighted by Bessel functions.

    sin(W sin(Ω r + φ) + b)  →  products Π_t J_{s_t}(W_mt) at the frequencies s Ω

(Jacobi and Anger). So the coefficients of every harmonic of Theorem 1 are known in closed form, and
with them how wide a band the network fills: J_s(β) falls faster than any power once s > β.

>>> import numpy as np
>>> from scipy.special import jv
>>> bool(np.allclose(bessel(2.0, 3), jv(np.arange(-3, 4), 2.0), atol=1e-6))
True
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, Real

from inrlib.networks import SIREN, Theta, frequencies

__all__ = [
    "SineLayers",
    "amplitudes",
    "bessel",
    "carson",
    "expand",
    "lattice_spectrum",
    "occupied_bandwidth",
    "order_power",
    "sine_layers",
    "truncation_bound",
]


def bessel(
    beta: float | Float[Array | np.ndarray, "*N"], order: int
) -> Float[Array, "*N {2*order+1}"]:
    """J_s(β) for s = −order … order: the Fourier coefficients of exp(jβ sin t).

        J_s(β) = (1/2π) ∫ exp(j(β sin t − s t)) dt

    The integrand is smooth and periodic, so the mean over equidistant points is exact to rounding:
    one FFT gives all orders. J_s(β) is at index order + s.

    Args:
      beta: any shape, |β| ≤ order + 128.
      order: static; ≥ 0.

    Raises:
      ValueError: order < 0, or β out of that range.

    Absolute error below 1e-14 in float64, 1e-7 · max(1, |β|) in float32.
    """
    if order < 0:
        raise ValueError(f"bessel: order={order} must be at least 0.")
    beta = 1.0 * jnp.asarray(beta)
    if not isinstance(beta, jax.core.Tracer) and not (np.abs(beta) <= order + 128).all():
        raise ValueError(f"beta: |β| must be a number up to order + 128 = {order + 128}.")
    # Aliases are J_(size − s): with 256 to spare they are below rounding in all of that range.
    size = 1 << (2 * order + 256 - 1).bit_length()
    t = 2 * np.pi * np.arange(size) / size
    wave = jnp.exp(1j * beta[..., None] * jnp.asarray(np.sin(t), beta.dtype))
    spectrum = jnp.fft.fft(wave).real / size
    return jnp.concatenate([spectrum[..., size - order :], spectrum[..., : order + 1]], axis=-1)


class SineLayers(NamedTuple):
    """f(r) = wᵀ sin(W sin(Ω r + φ) + b) + c: Eq. 5 with biases, as arrays."""

    Omega: Float[Array | np.ndarray, "T D"]
    phi: Float[Array | np.ndarray, " T"]
    W: Float[Array | np.ndarray, "F T"]
    b: Float[Array | np.ndarray, " F"]
    w: Float[Array | np.ndarray, "F C"]
    c: Float[Array | np.ndarray, " C"]


def sine_layers(network: SIREN, theta: Theta, dims: int) -> SineLayers:
    """The numbers of a three-layer SIREN in the form of Eq. 5: ω0 and ωh multiplied in.

    Raises:
      ValueError: a network that is no SIREN with exactly one hidden layer behind its mapping, or
        one that is normalised.
    """
    if not isinstance(network, SIREN) or len(network.widths) != 1 or network.norm:
        raise ValueError(
            "network: Eq. 5 is a SIREN with one hidden layer and no norm; take widths=(F,)."
        )
    Omega, phi = frequencies(network, theta, dims)
    hidden, last = theta["params"]["hidden_0"], theta["params"]["readout"]
    omega0 = network.hidden_omega0
    return SineLayers(
        Omega,
        phi,
        omega0 * hidden["kernel"].T,
        omega0 * hidden["bias"],
        last["kernel"],
        last["bias"] + network.offset,
    )


def amplitudes(net: SineLayers, s: Int[Array | np.ndarray, "S T"]) -> Complex[Array, "S C"]:
    """The complex amplitudes A_s of Eq. 6, for f(r) = c + Σ_s Im(A_s exp(j⟨s Ω, r⟩)).

        A_s = 2 exp(j⟨s, φ⟩) Σ_m w_m Π_t J_{s_t}(W_mt) · (cos b_m  if Σ s_t is odd, else j sin b_m)

    and half of that for s = 0. The sum of Eq. 6 runs over all s; here those of s and −s, which are
    one frequency, are added with J_{−s} = (−1)^s J_s. So without biases all even orders are zero.

    Args:
      net: from `sine_layers`; |W| ≤ 128 + the largest |s_t|.
      s: from `combinations` or `harmonic_set`, one of each pair ±s; not traced.

    Raises:
      ValueError: s for another number of frequencies.
    """
    s = np.asarray(s)
    if s.ndim != 2 or s.shape[1] != net.W.shape[1]:
        raise ValueError(f"s: shape {s.shape} must be (S, T) with T={net.W.shape[1]} frequencies.")
    return _amplitudes(net, s, int(np.abs(s).max()))


@partial(jax.jit, static_argnums=2)
@jax.default_matmul_precision("highest")
def _amplitudes(net: SineLayers, s: Int[Array, "S T"], order: int) -> Complex[Array, "S C"]:
    J = bessel(net.W, order)
    product = jnp.ones((net.W.shape[0], s.shape[0]), J.dtype)
    for t in range(net.W.shape[1]):
        product *= J[:, t, order + s[:, t]]
    odd = jnp.sum(s, axis=1) % 2 == 1
    turn = jnp.where(odd, jnp.cos(net.b)[:, None], 1j * jnp.sin(net.b)[:, None])
    twice = jnp.where(jnp.any(s != 0, axis=1), 2.0, 1.0).astype(J.dtype)
    phase = jnp.exp(1j * (s.astype(J.dtype) @ net.phi))
    return (twice * phase)[:, None] * ((product * turn).T @ net.w)


@jax.default_matmul_precision("highest")
def expand(
    net: SineLayers,
    A: Complex[Array, "S C"],
    s: Int[Array | np.ndarray, "S T"],
    r: Float[Array | np.ndarray, "N D"],
) -> Float[Array, "N C"]:
    """c + Σ_s Im(A_s exp(j⟨s Ω, r⟩)): Eq. 6, summed over the s that are given."""
    angle = r @ (s.astype(r.dtype) @ net.Omega).T
    return net.c + jnp.sin(angle) @ A.real + jnp.cos(angle) @ A.imag


@jax.default_matmul_precision("highest")
def truncation_bound(net: SineLayers, order: int | Float[Array, ""]) -> Float[Array, " C"]:
    """What the terms with Σ|s_t| > order can add up to, at most, at any r.

    From |J_n(β)| ≤ (|β|/2)^|n| / |n|!, with B_m = Σ_t |W_mt|, T frequencies and Σ over n > order:

        Σ_m |w_m| · min(2^T Σ (B_m/2)ⁿ/n!, Σ B_mⁿ/n!)

    The first counts each sign once, the second lets a factor 2 go with each power.
    """
    B = jnp.sum(jnp.abs(net.W), axis=1)
    T = net.W.shape[1]
    tails = jnp.minimum(2.0**T * _exponential_tail(B / 2, order), _exponential_tail(B, order))
    return tails @ jnp.abs(net.w)


def _exponential_tail(
    x: Float[Array | np.ndarray, "*N"], order: int | Float[Array, ""]
) -> Float[Array, "*N"]:
    """Σ_{n > order} xⁿ/n! = exp(x) P(order + 1, x), P the regularised incomplete gamma function."""
    return jnp.exp(x) * jax.scipy.special.gammainc(order + 1.0, x)


def lattice_spectrum(
    net: SineLayers, k: Real[Array | np.ndarray, "T D"], shape: tuple[int, ...], order: int = 10
) -> Complex[Array, "*shape C"]:
    """The DFT of the sine network on [0, 1)^D for Ω = 2πk, from Bessel sequences alone.

    exp(jΣ_t W_mt sin(2π⟨k_t, r⟩ + φ_t)) is a product over t; its spectrum is the convolution of the
    T sequences that have J_s(W_mt) exp(jsφ_t) at s k_t. The network is never evaluated. The
    convolution is cyclic, so it aliases exactly as samples on a grid of this shape do.

    Args:
      net: from `sine_layers`; its Ω is not looked at.
      k: whole periods per unit.
      shape: static; samples along each axis.
      order: static; |s| ≤ order in each sequence. The terms fall as (|W|/2)ⁿ/n!.

    Returns:
      DFT coefficients in the order of `jnp.fft.fftn`, divided by the number of samples. Costs
      F · T · (2 · order + 1) products per bin.

    Raises:
      ValueError: k that are not whole numbers (T, D) for this network and grid.
    """
    whole = np.round(k)
    if np.shape(k) != (net.W.shape[1], len(shape)) or not np.array_equal(k, whole):
        raise ValueError(
            f"k: shape {np.shape(k)} must be whole numbers, {net.W.shape[1]} frequencies × "
            f"{len(shape)} axes of the grid; round the frequencies first."
        )
    return _lattice_spectrum(net, whole.astype(int), tuple(shape), order)


@partial(jax.jit, static_argnums=(2, 3))
@jax.default_matmul_precision("highest")
def _lattice_spectrum(net, k, shape, order):
    axes = tuple(range(1, len(shape) + 1))
    complex_type = jnp.result_type(net.W, jnp.complex64)
    start = jnp.zeros((net.W.shape[0], *shape), complex_type)
    start = start.at[(slice(None), *(0,) * len(shape))].set(1)
    steps = np.arange(-order, order + 1)

    def convolve(g, frequency):
        weight, phi, step = frequency
        sequence = bessel(weight, order) * jnp.exp(1j * steps * phi)

        def add(i, total):
            shift = (i - order) * step
            factor = sequence[:, i].reshape(-1, *(1,) * len(shape))
            return total + factor * jnp.roll(g, tuple(shift), axes)

        return jax.lax.fori_loop(0, 2 * order + 1, add, jnp.zeros_like(g)), None

    g, _ = jax.lax.scan(convolve, start, (net.W.T, net.phi, k))
    h = jnp.einsum("m...,mc->...c", g, net.w * jnp.exp(1j * net.b)[:, None])
    mirrored = jnp.roll(jnp.flip(h, tuple(a - 1 for a in axes)), 1, tuple(a - 1 for a in axes))
    spectrum = (h - jnp.conj(mirrored)) / 2j
    return spectrum.at[(0,) * len(shape)].add(net.c)


# Bandwidth ---------------------------------------------------------------------------------------


def carson(
    beta: float | Array | np.ndarray, frequency: float | Array | np.ndarray
) -> float | Array | np.ndarray:
    """Carson's rule: sin(β sin(2πf r)) lies in [−(β + 1) f, (β + 1) f], nearly.

    Returns:
      (β + 1) f in the unit of f, half the width of the band (Carson 1922).
    """
    return (beta + 1) * frequency


def occupied_bandwidth(
    frequency: Real[Array | np.ndarray, " N"],
    power: Float[Array | np.ndarray, " N"],
    share: float = 0.99,
) -> Real[Array, ""]:
    """The smallest |frequency| within which a share of the power lies.

    Raises:
      ValueError: share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"occupied_bandwidth: share={share} must lie between 0 and 1.")
    frequency = jnp.abs(frequency)
    rank = jnp.argsort(frequency)
    inside = jnp.cumsum(power[rank])
    return frequency[rank][jnp.argmax(inside >= share * inside[-1])]


@jax.default_matmul_precision("highest")
def order_power(W: Float[Array | np.ndarray, "*F T"], order: int) -> Float[Array, "*F {order+1}"]:
    """Power of exp(jΣ_t W_t sin θ_t) by order Σ|s_t| = 0 … order, for any number of frequencies.

        Σ_n p_n xⁿ = Π_t (J_0² + 2 Σ_n J_n² xⁿ),      J_n = J_n(W_t)

    The p_n of all orders add up to one. Frequencies without integer relations are taken for
    granted: where combinations coincide, their amplitudes add, not their powers.

    Args:
      order: static; orders above it are left out.
    """
    start = jnp.zeros((*W.shape[:-1], order + 1), W.dtype).at[..., 0].set(1)
    lag = np.arange(order + 1)[:, None] - np.arange(order + 1)

    def multiply(p, weight):
        J2 = bessel(weight, order)[..., order:] ** 2
        J2 = J2.at[..., 1:].multiply(2)
        return jnp.einsum("...m,...nm->...n", p, jnp.where(lag >= 0, J2[..., lag], 0)), None

    return jax.lax.scan(multiply, start, jnp.moveaxis(W, -1, 0))[0]
