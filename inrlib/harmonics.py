"""Theorem 1: what a coordinate network can represent.

A polynomial of degree K turns one sinusoid into its harmonics 0 … K, and several sinusoids into
their sums and differences. After L − 1 layers of it, Eq. 1 is a sum of sinusoids

    f(r) = Σ_ω c_ω sin(⟨ω, r⟩ + φ_ω),    ω ∈ H(Ω) ⊆ {Σ_t s_t Ω_t | s ∈ Z^T, Σ|s_t| ≤ K^(L−1)}.

This module is the set H(Ω): listed, grown on a lattice, and held against a spectrum. `polynomials`
has the networks to which the theorem applies to the letter, `bessel` the coefficients of sine
networks.

s and −s are the same real sinusoid: of each pair one is listed, the one whose first non-zero entry
is positive. Σ|s_t| is called the order of a harmonic.

>>> import numpy as np
>>> H = harmonic_set(2 * np.pi * np.array([[1.0], [10.0]]), degree=2, layers=2)
>>> (H.omega[:, 0] / (2 * np.pi)).round().astype(int).tolist()
[0, 10, 1, 20, -9, 11, 2]
"""

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

__all__ = [
    "Harmonics",
    "combinations",
    "count_combinations",
    "energy_outside",
    "filter_set",
    "harmonic_set",
    "lattice_order",
]

_BUDGET = 2**30
"""Bytes that a list of harmonics may take: what a small machine can spare."""


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


def combinations(T: int, order: int) -> Int[np.ndarray, "S {T}"]:
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


def harmonic_set(Omega: Real[Array | np.ndarray, "T D"], degree: int, layers: int) -> Harmonics:
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


def _distinct(rows: Real[np.ndarray, "N D"]) -> Int[np.ndarray, " M"]:
    """Where each row stands for the first time, up to sign and to 1e-9 of the largest entry."""
    scaled = rows / (np.abs(rows).max() or 1) * 1e9
    large = np.abs(scaled) > 0.5
    leading = scaled[np.arange(len(rows)), large.argmax(axis=1)]
    # An irrational offset keeps rational multiples away from the edges of the cells.
    cells = np.floor(scaled * np.where(leading < 0, -1, 1)[:, None] + 1 / np.pi)
    rank = np.lexsort(cells.T)  # stable: of equal rows the first comes first
    new = (np.diff(cells[rank], axis=0) != 0).any(axis=1)
    return np.sort(rank[np.append(True, new)])


def lattice_order(k: Real[Array | np.ndarray, "T D"], order: int) -> Int[np.ndarray, "*grid"]:
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


def energy_outside(
    values: Float[Array | np.ndarray, "*shape"], k: Real[Array | np.ndarray, "H D"]
) -> Float[Array, ""]:
    """Share of the energy of a signal on [0, 1)^D at other frequencies than ±k.

    On a grid that just holds ±k, whatever lies beyond folds back onto an allowed place, and the
    share comes out as zero for any signal. So the grid must have room for what is not allowed.

    Args:
      values: one channel on a grid four times finer than ±k needs: at least 8 |k_d| samples along
        axis d.
      k: allowed frequencies, whole periods per unit.

    Raises:
      ValueError: a frequency that is no whole number, or a grid on which the others fold onto ±k.
    """
    shape = np.shape(values)
    whole = np.round(k).astype(int)
    if not np.allclose(k, whole, atol=1e-6):
        raise ValueError("k: frequencies must be whole numbers of periods; round them first.")
    needed = tuple(int(n) for n in 8 * np.abs(whole).max(axis=0))
    if any(size < least for size, least in zip(shape, needed, strict=True)):
        raise ValueError(
            f"values: shape={shape} has no room for what lies outside of k, it would fold onto it; "
            f"take a finer grid, at least {needed}."
        )
    outside = np.ones(shape, bool)
    for sign in (1, -1):
        outside[tuple((sign * whole % shape).T)] = False
    energy = jnp.abs(jnp.fft.fftn(values)) ** 2
    return jnp.sum(jnp.where(outside, energy, 0)) / jnp.sum(energy)


def filter_set(
    filters: Sequence[Real[Array | np.ndarray, "_ D"]],
) -> Float[np.ndarray, "H D"]:
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
