"""Theorem 1: what a coordinate network can represent, exactly.

A polynomial of degree K turns one sinusoid into its harmonics 0 … K, and several sinusoids into
their sums and differences. After L − 1 layers of it, Eq. 1 is a sum of sinusoids

    f(r) = Σ_ω c_ω sin(⟨ω, r⟩ + φ_ω),    ω ∈ H(Ω) ⊆ {Σ_t s_t Ω_t | s ∈ Z^T, Σ|s_t| ≤ K^(L−1)}.

Four things follow, and are the four parts of this module: the set H(Ω); networks whose activations
are polynomials, so that the theorem applies to the letter; the sine network of Eqs. 5–7, whose
coefficients are products of Bessel functions; and measures of how wide a band it fills.

s and −s are the same real sinusoid: of each pair one is listed, the one whose first non-zero entry
is positive. Σ|s_t| is called the order of a harmonic.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from math import comb
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int
from numpy.polynomial import Chebyshev

from inrlib.networks import INR, MFN, SIREN, Theta, frequencies

__all__ = [
    "Harmonics",
    "Polynomial",
    "SineLayers",
    "apply_polynomial",
    "bessel",
    "carson",
    "chebyshev",
    "coefficients",
    "combinations",
    "count_combinations",
    "effective_order",
    "energy_outside",
    "expand",
    "filter_set",
    "fit_polynomial",
    "harmonic_set",
    "lattice_bound",
    "lattice_order",
    "lattice_spectrum",
    "layers",
    "occupied_bandwidth",
    "order_power",
    "polynomial",
    "sine_layers",
    "split",
    "truncation_bound",
]

_BUDGET = 2**30
"""Bytes that a list of harmonics may take: what a small machine can spare."""


# The set H(Ω) ------------------------------------------------------------------------------------


class Harmonics(NamedTuple):
    """Distinct frequencies of H(Ω), sorted by order; of ±ω one is listed.

    Attributes:
      s: (H, T), integer combinations, one of those of lowest order that reach the frequency.
      omega: (H, D), s Ω in rad per unit.
      order: (H,), Σ_t |s_t|.
    """

    s: Int[np.ndarray, "H T"]
    omega: Float[np.ndarray, "H D"]
    order: Int[np.ndarray, " H"]


def count_combinations(T: int, order: int) -> int:
    """How many s ∈ Z^T have Σ|s_t| ≤ order, s and −s counted once.

        (1 + Σ_i 2^i C(T, i) C(order, i)) / 2

    i is the number of entries that are not zero.
    """
    both = sum(2**i * comb(T, i) * comb(order, i) for i in range(min(T, order) + 1))
    return (both + 1) // 2


def combinations(T: int, order: int) -> Int[np.ndarray, "S T"]:
    """All s ∈ Z^T with Σ|s_t| ≤ order, one of each pair ±s, sorted by Σ|s_t|; s = 0 is first.

    Raises:
      ValueError: T < 1, order < 0, or more combinations than fit in memory: their count is named.
    """
    if T < 1 or order < 0:
        raise ValueError(f"combinations: T={T} must be at least 1 and order={order} at least 0.")
    size = count_combinations(T, order)
    if 2 * 8 * T * size > _BUDGET:
        raise ValueError(
            f"combinations: T={T} frequencies have {size:,} combinations up to order={order}, more "
            "than fit in memory; lower T, K or L, or use lattice_order."
        )
    s = np.zeros((1, 0), int)
    for _ in range(T):
        left = order - np.abs(s).sum(axis=1)
        # Where all entries so far are zero the next is not negative: −s never comes up.
        lowest = np.where(s.any(axis=1), -left, 0)
        choices = left - lowest + 1
        first = np.cumsum(choices) - choices
        entry = np.arange(choices.sum()) + np.repeat(lowest - first, choices)
        s = np.column_stack([np.repeat(s, choices, axis=0), entry])
    return s[np.argsort(np.abs(s).sum(axis=1), kind="stable")]


def harmonic_set(Omega: Float[np.ndarray, "T D"], degree: int, layers: int) -> Harmonics:
    """H(Ω) of Theorem 1 for activations of degree K and L layers: all that a network can reach.

    Rows of Ω that coincide up to sign (the sine and cosine of a Fourier mapping) are merged before
    anything is enumerated, frequencies that coincide after it.

    Args:
      Omega: mapping frequencies, rad per unit.
      degree: K ≥ 1, the degree of ρ.
      layers: L ≥ 1; L − 1 activations.

    Raises:
      ValueError: degree or layers below 1, Ω not (T, D), or as `combinations`.
    """
    Omega = np.asarray(Omega, float)
    if Omega.ndim != 2:
        raise ValueError(f"Omega: shape {Omega.shape} must be (T, D), a row per frequency.")
    order = _largest_order(degree, layers)
    rows = _distinct(Omega)
    rows = rows[Omega[rows].any(axis=1)] if Omega.any() else rows[:1]
    short = combinations(len(rows), order)
    omega = short @ Omega[rows]
    kept = _distinct(omega)
    s = np.zeros((len(kept), len(Omega)), int)
    s[:, rows] = short[kept]
    return Harmonics(s, omega[kept], np.abs(s).sum(axis=1))


def _largest_order(degree: int, layers: int) -> int:
    if degree < 1 or layers < 1:
        raise ValueError(f"degree={degree} and layers={layers} must be at least 1.")
    return degree ** (layers - 1)


def _distinct(rows: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " M"]:
    """Where each row stands for the first time, up to sign and to 1e-9 of the largest entry."""
    scaled = rows / (np.abs(rows).max() or 1) * 1e9
    large = np.abs(scaled) > 0.5
    leading = scaled[np.arange(len(rows)), large.argmax(axis=1)]
    # An irrational offset keeps rational multiples away from the edges of the cells.
    cells = np.floor(scaled * np.where(leading < 0, -1, 1)[:, None] + 1 / np.pi)
    rank = np.lexsort(cells.T)  # stable: of equal rows the first comes first
    new = (np.diff(cells[rank], axis=0) != 0).any(axis=1)
    return np.sort(rank[np.append(True, new)])


def lattice_order(k: Int[np.ndarray, "T D"], order: int) -> Int[np.ndarray, "*grid"]:
    """For integer frequencies, the smallest Σ|s_t| that reaches each lattice point.

    Grown from the origin by steps ±k_t, so that its cost is that of the lattice and hundreds of
    frequencies are no trouble where `combinations` would list astronomically many s.

    Args:
      k: mapping frequencies in whole periods per unit, Ω = 2πk.
      order: K^(L−1).

    Returns:
      An integer array with 2 · order · max|k_d| + 1 entries along axis d, frequency zero in the
      middle; −1 where no combination reaches.

    Raises:
      ValueError: frequencies that are not whole numbers, order < 0, or a lattice that does not fit
        in memory.
    """
    if not np.array_equal(k, np.round(k)) or np.ndim(k) != 2:
        raise ValueError("k: a lattice needs whole numbers in an array (T, D); round them first.")
    if order < 0:
        raise ValueError(f"lattice_order: order={order} must be at least 0.")
    k = np.asarray(k, int)
    reach = order * np.abs(k).max(axis=0)
    size = int(np.prod(2.0 * reach + 1))
    if 16 * size > _BUDGET:
        raise ValueError(
            f"lattice_order: {size:,} lattice points up to order={order} do not fit in memory; "
            "lower K, L or the largest frequency."
        )
    steps = np.unique(np.concatenate([k, -k]), axis=0)
    orders = np.full(2 * reach + 1, -1)
    frontier = reach[None]
    orders[tuple(frontier.T)] = 0
    for n in range(1, order + 1):
        new = np.zeros(orders.shape, bool)
        for step in steps:
            new[tuple((frontier + step).T)] = True
        new &= orders < 0
        orders[new] = n
        frontier = np.argwhere(new)
    return orders


def energy_outside(values: Float[Array, "*shape"], k: Int[np.ndarray, "H D"]) -> Float[Array, ""]:
    """Share of the energy of a signal on [0, 1)^D at other frequencies than ±k.

    Args:
      values: one channel on a grid; fine enough that ±k do not alias.
      k: allowed frequencies, whole periods per unit.

    Raises:
      ValueError: a frequency that is no whole number, or that this grid aliases.
    """
    shape = np.shape(values)
    whole = np.round(k).astype(int)
    if not np.allclose(k, whole, atol=1e-6) or (2 * np.abs(whole).max(axis=0) >= shape).any():
        raise ValueError(
            f"k: frequencies must be whole numbers below half of shape={shape}; take a finer grid."
        )
    outside = np.ones(shape, bool)
    for sign in (1, -1):
        outside[tuple((sign * whole % shape).T)] = False
    energy = jnp.abs(jnp.fft.fftn(values)) ** 2
    return jnp.sum(jnp.where(outside, energy, 0)) / jnp.sum(energy)


def filter_set(filters: Sequence[Float[np.ndarray, "F D"]]) -> Float[np.ndarray, "H D"]:
    """The frequencies of a multiplicative filter network with filters Ω⁰ … Ω^(L−1).

        H⁰ = {Ω⁰_t},      Hˡ = {ω ± Ωˡ_t | ω ∈ Hˡ⁻¹ ∪ {0}}

    and zero from the last bias. The zeros come from the biases bˡ (Fathony et al. 2021, Theorem 1).
    All of them are integer combinations, with Σ|s_t| ≤ L and at most one filter from each layer.

    Returns:
      Distinct frequencies, one of each pair ±ω, zero first.

    Raises:
      ValueError: more frequencies than fit in memory.
    """
    zero = np.zeros((1, np.shape(filters[0])[1]))
    reached = np.zeros((0, zero.shape[1]))
    for Omega in filters:
        Omega = np.asarray(Omega, float)
        base = np.concatenate([zero, reached])
        if (size := 2 * len(base) * len(Omega)) * 16 * zero.shape[1] > _BUDGET:
            raise ValueError(
                f"filter_set: {size:,} sums and differences do not fit in memory; take fewer or "
                "narrower layers."
            )
        both = np.concatenate([base[:, None] + Omega, base[:, None] - Omega])
        reached = both.reshape(-1, zero.shape[1])
        reached = reached[_distinct(reached)]
    everything = np.concatenate([zero, reached])
    return everything[_distinct(everything)]


# Polynomial activations --------------------------------------------------------------------------


class Polynomial(NamedTuple):
    """A polynomial for each hidden layer, as arrays: changing a number compiles nothing again.

        ρˡ(v) = Σ_k c_lk T_k(x),      x = (2v − low_l − high_l) / (high_l − low_l)

    T_k are Chebyshev's polynomials; powers α_k zᵏ are the same set, and numerically unusable from
    degree 15 on. Values outside [low, high] are extrapolated.

    Attributes:
      coefficients: (L − 1, K + 1).
      low, high: (L − 1,).
    """

    coefficients: Float[Array, "L-1 K+1"]
    low: Float[Array, " L-1"]
    high: Float[Array, " L-1"]


def polynomial(alpha: Float[Array, "L-1 K+1"]) -> Polynomial:
    """ρˡ(z) = Σ_k α_lk zᵏ, the paper's way to write it, as a `Polynomial` on [−1, 1]."""
    rows = np.stack([_to_chebyshev(row) for row in np.atleast_2d(alpha)])
    ends = np.ones(len(rows))
    return Polynomial(jnp.asarray(rows), jnp.asarray(-ends), jnp.asarray(ends))


def _to_chebyshev(alpha: Float[np.ndarray, " K+1"]) -> Float[np.ndarray, " K+1"]:
    coefficients = np.polynomial.chebyshev.poly2cheb(alpha)
    return np.pad(coefficients, (0, len(alpha) - len(coefficients)))


def chebyshev(coefficients: Float[Array, " K+1"], x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Σ_k c_k T_k(x) by Clenshaw's recurrence."""
    last, before = jnp.zeros_like(x), jnp.zeros_like(x)
    for c in coefficients[:0:-1]:
        last, before = c + 2 * x * last - before, last
    return coefficients[0] + x * last - before


def _through(
    network: INR, theta: Theta, r: Float[Array, "N D"], activation: Callable
) -> Float[Array, "N C"]:
    """f(r) with activation(ℓ, v, ρ) in the place of ρ(v), ℓ = 0 … L−2."""
    layer = count()

    def replace(method, args, kwargs, context):
        if context.method_name != "activation":
            return method(*args, **kwargs)
        return activation(next(layer), args[0], method)

    with nn.intercept_methods(replace):
        return network.apply(theta, r)


def apply_polynomial(
    network: INR, theta: Theta, r: Float[Array, "N D"], rho: Polynomial
) -> Float[Array, "N C"]:
    """f(r) with the network's activations replaced by polynomials, everything else kept.

    Raises:
      ValueError: another number of polynomials than of activations.
    """
    if len(rho.coefficients) != _activations(network):
        raise ValueError(
            f"rho: {len(rho.coefficients)} polynomials for a network with {_activations(network)} "
            "activations; give one to each."
        )
    replace = lambda layer, v, _: _evaluate(rho, layer, v)
    return _through(network, theta, r, replace)


def _activations(network: INR) -> int:
    return 0 if isinstance(network, MFN) else len(network.widths)


def _evaluate(rho: Polynomial, layer: int, v: Float[Array, "*N"]) -> Float[Array, "*N"]:
    c, low, high = (jnp.asarray(part[layer], v.dtype) for part in rho)
    return chebyshev(c, (2 * v - low - high) / (high - low))


def fit_polynomial(
    network: INR,
    theta: Theta,
    r: Float[Array, "N D"],
    degree: int,
    method: Literal["chebyshev", "least squares"] = "chebyshev",
) -> Polynomial:
    """Polynomials of degree K that stand in for ρ on the range which this network uses at r.

    Layer by layer, the earlier ones replaced already, so that errors do not drive a later layer
    out of its range.

    Args:
      degree: K.
      method: "chebyshev" interpolates at Chebyshev's points, close to the smallest largest error;
        "least squares" weighs the error by how often a pre-activation occurs.

    Raises:
      ValueError: degree < 1, another method, a network without activations, or coordinates at
        which all pre-activations of a layer are equal.
    """
    if degree < 1:
        raise ValueError(f"fit_polynomial: degree={degree} must be at least 1.")
    if method not in ("chebyshev", "least squares"):
        raise ValueError(f"method={method!r} must be 'chebyshev' or 'least squares'.")
    if not _activations(network):
        raise ValueError("network: it has no activations to replace; take SIREN or FFN.")
    activation = lambda v: np.asarray(
        network.apply(theta, jnp.asarray(v, r.dtype), method="activation"), float
    )
    rho = Polynomial(*(np.zeros((len(network.widths), *n)) for n in ((degree + 1,), (), ())))
    for layer in range(len(network.widths)):
        v = np.asarray(_preactivation(network, theta, r, rho, layer), float).ravel()
        domain = [v.min(), v.max()]
        if domain[0] == domain[1]:
            raise ValueError(f"r: layer {layer + 1} sees one value only; give more coordinates.")
        if method == "chebyshev":
            fitted = Chebyshev.interpolate(activation, degree, domain)
        else:
            fitted = Chebyshev.fit(v, activation(v), degree, domain)
        for part, value in zip(rho, (fitted.coef, *domain), strict=True):
            part[layer] = value
    return Polynomial(*map(jnp.asarray, rho))


def _preactivation(network, theta, r, rho, layer) -> Float[Array, "N F"]:
    """vˡ with the layers before it replaced."""
    seen = {}

    def replace(here, v, original):
        seen[here] = v
        return _evaluate(rho, here, v) if here < layer else original(v)

    _through(network, theta, r, replace)
    return seen[layer]


def layers(
    network: INR, theta: Theta, r: Float[Array, "N D"], rho: Polynomial | None = None
) -> list[Float[Array, "N F"]]:
    """z⁰, z¹, …, z^(L−1), f at r, the activations replaced by `rho` if given."""
    seen = [network.apply(theta, r, method="mapping")]

    def keep(layer, v, original):
        z = original(v) if rho is None else _evaluate(rho, layer, v)
        seen.append(z)
        return z

    f = _through(network, theta, r, keep)
    return [*seen, f]


def split(
    network: INR,
    theta: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "N C"],
    rho: Polynomial | None = None,
) -> list[Float[np.ndarray, "N C"]]:
    """Figure 1: for each of z⁰ … z^(L−1), the combination of its units that comes closest to g.

    What the network could say about g if it ended after that layer, with a constant, in the sense
    of least squares. Directions that are below rounding are left out.
    """
    closest = []
    for z in layers(network, theta, r, rho)[:-1]:
        Z = np.concatenate([z, np.ones_like(z[:, :1])], axis=1)
        below = 100 * np.finfo(Z.dtype).eps
        weights = np.linalg.lstsq(Z.astype(float), np.asarray(g, float), rcond=below)[0]
        closest.append(Z @ weights)
    return closest


# Bessel coefficients -----------------------------------------------------------------------------


def bessel(beta: Float[Array, "*N"], order: int) -> Float[Array, "*N 2*order+1"]:
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

    Omega: Float[Array, "T D"]
    phi: Float[Array, " T"]
    W: Float[Array, "F T"]
    b: Float[Array, " F"]
    w: Float[Array, "F C"]
    c: Float[Array, " C"]


def sine_layers(network: SIREN, theta: Theta, dims: int) -> SineLayers:
    """The numbers of a three-layer SIREN in the form of Eq. 5: ω0 and ωh multiplied in.

    Raises:
      ValueError: a network that is no SIREN with exactly one hidden layer behind its mapping.
    """
    if not isinstance(network, SIREN) or len(network.widths) != 1:
        raise ValueError("network: Eq. 5 is a SIREN with one hidden layer; take widths=(F,).")
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


def coefficients(net: SineLayers, s: Int[np.ndarray, "S T"]) -> Complex[Array, "S C"]:
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
    return _coefficients(net, s, int(np.abs(s).max()))


@partial(jax.jit, static_argnums=2)
def _coefficients(net: SineLayers, s: Int[Array, "S T"], order: int) -> Complex[Array, "S C"]:
    J = bessel(net.W, order)
    product = jnp.ones((net.W.shape[0], s.shape[0]), J.dtype)
    for t in range(net.W.shape[1]):
        product *= J[:, t, order + s[:, t]]
    odd = jnp.sum(s, axis=1) % 2 == 1
    turn = jnp.where(odd, jnp.cos(net.b)[:, None], 1j * jnp.sin(net.b)[:, None])
    twice = jnp.where(jnp.any(s != 0, axis=1), 2.0, 1.0).astype(J.dtype)
    phase = jnp.exp(1j * (s.astype(J.dtype) @ net.phi))
    return (twice * phase)[:, None] * ((product * turn).T @ net.w)


def expand(
    net: SineLayers,
    A: Complex[Array, "S C"],
    s: Int[Array, "S T"],
    r: Float[Array, "N D"],
) -> Float[Array, "N C"]:
    """c + Σ_s Im(A_s exp(j⟨s Ω, r⟩)): Eq. 6, summed over the s that are given."""
    angle = r @ (s.astype(r.dtype) @ net.Omega).T
    return net.c + jnp.sin(angle) @ A.real + jnp.cos(angle) @ A.imag


def truncation_bound(net: SineLayers, order: int) -> Float[Array, " C"]:
    """What the terms with Σ|s_t| > order can add up to, at most, at any r.

    From |J_n(β)| ≤ (|β|/2)^|n| / |n|!, with B_m = Σ_t |W_mt|, T frequencies and Σ over n > order:

        Σ_m |w_m| · min(2^T Σ (B_m/2)ⁿ/n!, Σ B_mⁿ/n!)

    The first counts each sign once, the second lets a factor 2 go with each power.
    """
    B = jnp.sum(jnp.abs(net.W), axis=1)
    T = net.W.shape[1]
    tails = jnp.minimum(jnp.exp2(T) * _exponential_tail(B / 2, order), _exponential_tail(B, order))
    return tails @ jnp.abs(net.w)


def _exponential_tail(x: Float[Array, "*N"], order: int) -> Float[Array, "*N"]:
    """Σ_{n > order} xⁿ/n! = exp(x) P(order + 1, x), P the regularised incomplete gamma function."""
    return jnp.exp(x) * jax.scipy.special.gammainc(order + 1.0, x)


def lattice_spectrum(
    net: SineLayers, k: Int[np.ndarray, "T D"], shape: tuple[int, ...], order: int = 10
) -> Complex[Array, "*shape C"]:
    """The DFT of the sine network on [0, 1)^D for Ω = 2πk, from Bessel sequences alone.

    exp(jΣ_t W_mt sin(2π⟨k_t, r⟩ + φ_t)) is a product over t; its spectrum is the convolution of the
    T sequences that have J_s(W_mt) exp(jsφ_t) at s k_t. The network is never evaluated. The
    convolution is cyclic, so it aliases exactly as samples on a grid of this shape do.

    Args:
      net: from `sine_layers`; its Ω is not looked at.
      k: whole periods per unit.
      shape: static; samples along each axis.
      order: static; |s| ≤ order in each sequence. `lattice_bound` says what that leaves out.

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


def lattice_bound(net: SineLayers, order: int) -> Float[Array, " C"]:
    """How far `lattice_spectrum` can be off in any bin, for exact arithmetic.

        Σ_m |w_m| (Π_t (1 + ε_mt) − 1),      ε_mt = 2 Σ_{n > order} (|W_mt|/2)ⁿ/n!

    ε is what a sequence leaves out of a factor of modulus one.
    """
    left_out = 2 * _exponential_tail(jnp.abs(net.W) / 2, order)
    return jnp.expm1(jnp.sum(jnp.log1p(left_out), axis=1)) @ jnp.abs(net.w)


# Bandwidth ---------------------------------------------------------------------------------------


def carson(beta: float | Array, frequency: float | Array) -> float | Array:
    """Carson's rule: sin(β sin(2πf r)) lies in [−(β + 1) f, (β + 1) f], nearly.

    Returns:
      (β + 1) f in the unit of f, half the width of the band (Carson 1922).
    """
    return (beta + 1) * frequency


def occupied_bandwidth(
    frequency: Float[Array, " N"], power: Float[Array, " N"], share: float = 0.99
) -> Float[Array, ""]:
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


def order_power(W: Float[Array, "*F T"], order: int) -> Float[Array, "*F order+1"]:
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


def effective_order(
    s: Int[Array, "S T"], power: Float[Array, " S"], share: float = 0.99
) -> Float[Array, ""]:
    """The smallest n for which harmonics with Σ|s_t| ≤ n carry a share of the power.

    The K^(L−1) that a network uses, beside the one that Theorem 1 allows it.

    Raises:
      ValueError: share outside (0, 1).
    """
    return occupied_bandwidth(jnp.sum(jnp.abs(s), axis=1), power, share)
