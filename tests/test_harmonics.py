"""The set H(Ω) of Theorem 1, in float64: as a list, on a lattice, and of filter networks."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lattice import energies, grid, mask, no_alias

from inrlib import harmonics, networks

pytestmark = pytest.mark.usefixtures("float64")


def brute_force(T, order):
    """All s by testing every point of a cube, ± identified."""
    cube = product(range(-order, order + 1), repeat=T)
    return {max(s, tuple(-n for n in s)) for s in cube if sum(map(abs, s)) <= order}


@pytest.mark.parametrize(("T", "order"), [(1, 0), (1, 7), (2, 5), (3, 4), (4, 3), (5, 2)])
def test_combinations_are_those_of_a_search_through_the_cube(T, order):
    s = harmonics.combinations(T, order)
    listed = [max(tuple(row), tuple(-row)) for row in s]
    assert len(set(listed)) == len(listed)
    assert set(listed) == brute_force(T, order)
    assert harmonics.count_combinations(T, order) == len(listed)
    assert (np.diff(np.abs(s).sum(1)) >= 0).all()


def test_combinations_that_do_not_fit_are_refused_with_their_count():
    count = harmonics.count_combinations(64, 27)
    with pytest.raises(ValueError, match=f"{count:,} combinations"):
        harmonics.combinations(64, 27)
    with pytest.raises(ValueError, match=f"{count:,} combinations"):
        harmonics.harmonic_set(np.random.default_rng(0).normal(size=(64, 2)), 3, 4)


@pytest.mark.parametrize(("T", "order"), [(0, 3), (2, -1)])
def test_combinations_check_their_arguments(T, order):
    with pytest.raises(ValueError, match="at least"):
        harmonics.combinations(T, order)


@pytest.mark.parametrize("seed", range(6))
def test_harmonic_set_lists_every_frequency_once(seed):
    rng = np.random.default_rng(seed)
    T, D, K, L = rng.integers(1, 4, 4).tolist()
    k = rng.integers(-2, 3, (T, D))
    reached = {}
    for s in product(range(-(K ** (L - 1)), K ** (L - 1) + 1), repeat=T):
        order = sum(map(abs, s))
        if order <= K ** (L - 1):
            omega = tuple(int(n) for n in np.asarray(s) @ k)
            omega = max(omega, tuple(-n for n in omega))
            reached[omega] = min(order, reached.get(omega, order))
    H = harmonics.harmonic_set(2 * np.pi * k, K, L)
    listed = [tuple(int(n) for n in row) for row in np.round(H.omega / (2 * np.pi))]
    listed = [max(row, tuple(-n for n in row)) for row in listed]
    assert len(listed) == len(set(listed))
    assert dict(zip(listed, H.order.tolist(), strict=True)) == reached
    np.testing.assert_allclose(H.s @ (2 * np.pi * k), H.omega, atol=1e-9)


def test_harmonic_set_merges_the_sine_and_cosine_of_one_frequency():
    B = np.random.default_rng(0).normal(size=(3, 2))
    once = harmonics.harmonic_set(B, 2, 3)
    twice = harmonics.harmonic_set(np.concatenate([B, -B]), 2, 3)
    assert len(twice.omega) == len(once.omega) == harmonics.count_combinations(3, 4)


@pytest.mark.parametrize(("degree", "depth"), [(0, 2), (2, 0)])
def test_harmonic_set_checks_degree_and_layers(degree, depth):
    with pytest.raises(ValueError, match="at least 1"):
        harmonics.harmonic_set(np.ones((1, 1)), degree, depth)


@pytest.mark.usefixtures("unchecked")
def test_harmonic_set_wants_a_row_per_frequency():
    with pytest.raises(ValueError, match=r"\(T, D\)"):
        harmonics.harmonic_set(np.ones(3), 2, 2)


@pytest.mark.parametrize("D", [1, 2, 3])
def test_lattice_order_agrees_with_the_enumeration(D):
    rng = np.random.default_rng(D)
    k = rng.integers(-3, 4, (3, D))
    k[0] = 2
    orders = harmonics.lattice_order(k, 5)
    middle = np.asarray(orders.shape) // 2
    expected = np.full(orders.shape, -1)
    # Highest orders first: the lowest has the last word.
    for s in sorted(brute_force(3, 5), key=lambda s: -sum(map(abs, s))):
        for sign in (1, -1):
            expected[tuple(middle + sign * (np.asarray(s) @ k))] = sum(map(abs, s))
    np.testing.assert_array_equal(orders, expected)


def test_lattice_order_takes_hundreds_of_frequencies():
    k = 2 * np.random.default_rng(0).integers(1, 40, (256, 1))
    orders = harmonics.lattice_order(k, 27)
    assert orders.shape == (2 * 27 * k.max() + 1,)
    assert (orders[1 - orders.size // 2 % 2 :: 2] == -1).all()  # only even sums of even numbers
    assert orders.max() == 27


def test_lattice_order_checks_its_arguments():
    with pytest.raises(ValueError, match="whole numbers"):
        harmonics.lattice_order(np.array([[0.5]]), 3)
    with pytest.raises(ValueError, match="at least 0"):
        harmonics.lattice_order(np.array([[1]]), -1)
    with pytest.raises(ValueError, match="do not fit"):
        harmonics.lattice_order(np.full((1, 3), 100), 64)


def test_energy_outside_of_known_tones():
    x = np.arange(64) / 64
    values = 3 * np.cos(2 * np.pi * 5 * x) + np.sin(2 * np.pi * 7 * x)
    assert harmonics.energy_outside(values, np.array([[-5]])) == pytest.approx(0.1)
    assert harmonics.energy_outside(values, np.array([[5], [7]])) < 1e-30
    plane = values[:, None] * np.cos(2 * np.pi * 2 * x)
    assert harmonics.energy_outside(plane, np.array([[5, 2], [5, -2]])) == pytest.approx(0.1)
    assert harmonics.energy_outside(plane, np.array([[5, 2]])) == pytest.approx(0.55)


@pytest.mark.parametrize(("k", "message"), [(0.5, "whole numbers"), (5, "finer grid, at least")])
def test_energy_outside_wants_frequencies_of_the_grid_and_room_around_them(k, message):
    with pytest.raises(ValueError, match=message):
        harmonics.energy_outside(np.ones(32), np.array([[k]]))


@pytest.mark.parametrize("forbidden", [4, 5, 6, 7, 9, 13, 20])
def test_a_forbidden_order_is_outside_and_never_folds_onto_an_allowed_one(forbidden):
    allowed = np.arange(4)[:, None]
    x = np.arange(24) / 24  # the coarsest grid that is let pass
    assert harmonics.energy_outside(np.cos(2 * np.pi * forbidden * x), allowed) == pytest.approx(1)


# Multiplicative filter networks


def lattice_mfn(rng, D, widths, largest):
    """An MFN whose filters have whole numbers of periods."""
    network = networks.MFN(widths=widths[1:], mapping_width=widths[0])
    theta = networks.init(network, jax.random.key(rng.integers(2**31)), D, jnp.float64)
    k = rng.integers(-largest, largest + 1, (sum(widths), D))
    scale = 2 * np.pi * len(widths) ** 0.5 / theta["fixed"]["omega0"]
    params = dict(theta["params"]) | {"filters": {"kernel": jnp.asarray(scale * k.T)}}
    return network, {"params": params, "fixed": theta["fixed"]}, k


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.few(2)
def test_a_multiplicative_filter_network_has_the_frequencies_of_its_filter_set(D, depth):
    rng = np.random.default_rng([D, depth])
    widths = (3,) * depth
    network, theta, k = lattice_mfn(rng, D, widths, {1: 50, 2: 8}[D])
    shape = no_alias(k, depth)
    f = network.apply(theta, grid(shape))
    energy = energies(f, shape)
    Omega, _ = networks.frequencies(network, theta, D)
    np.testing.assert_allclose(Omega, 2 * np.pi * k, atol=1e-9)
    reach = harmonics.filter_set(np.split(np.asarray(Omega) / (2 * np.pi), depth))
    inside = mask(reach, shape)
    assert energy[~inside].sum() < 1e-20
    assert energy[inside].min() > 1e-12  # and each of them occurs
    rows = [tuple(row) for row in np.round(reach).astype(int).tolist()]
    rows = [max(row, tuple(-n for n in row)) for row in rows]
    assert len(set(rows)) == len(rows)
    # The same dictionary: integer combinations of all its filters, up to order L.
    same = harmonics.combinations(len(k), depth) @ k
    assert mask(same, shape)[inside].all()


def test_filter_set_refuses_what_does_not_fit():
    filters = [np.random.default_rng(0).normal(size=(256, 2)) for _ in range(4)]
    with pytest.raises(ValueError, match="do not fit in memory"):
        harmonics.filter_set(filters)
