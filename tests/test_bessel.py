"""Eqs. 5–7 to rounding, in float64, and the band that sine networks fill."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lattice import grid
from scipy.special import gammaln, jv

from inrlib import bessel, harmonics, networks
from inrlib.bessel import SineLayers

pytestmark = pytest.mark.usefixtures("float64")


def test_bessel_agrees_with_scipy():
    beta = np.concatenate([np.linspace(0, 100, 401), np.random.default_rng(0).uniform(0, 100, 99)])
    expected = jv(np.arange(-200, 201), beta[:, None])
    assert np.abs(bessel.bessel(beta, 200) - expected).max() < 1e-12
    assert np.abs(bessel.bessel(-beta, 200) - expected[:, ::-1]).max() < 1e-12


@pytest.mark.parametrize("order", [0, 1, 10, 100])
def test_bessel_is_right_up_to_its_largest_argument(order):
    beta = np.linspace(0, order + 128, 57)
    expected = jv(np.arange(-order, order + 1), beta[:, None])
    assert np.abs(bessel.bessel(beta, order) - expected).max() < 1e-12


def test_bessel_keeps_float32_and_works_under_jit_and_vmap():
    beta = np.linspace(0, 20, 11, dtype=np.float32)
    function = jax.jit(jax.vmap(lambda b: bessel.bessel(b, 30)))
    J = function(jnp.asarray(beta))
    assert J.dtype == jnp.float32
    assert np.abs(J - jv(np.arange(-30, 31), beta[:, None].astype(float))).max() < 2e-6


def test_bessel_checks_its_arguments():
    with pytest.raises(ValueError, match="at least 0"):
        bessel.bessel(1.0, -1)
    with pytest.raises(ValueError, match="up to order"):
        bessel.bessel(200.0, 10)
    with pytest.raises(ValueError, match="up to order"):
        bessel.bessel(float("nan"), 10)


def draw(rng, T, F, D, scale, channels=1):
    """Random numbers for Eq. 5 with biases and phases."""
    return SineLayers(
        Omega=rng.normal(size=(T, D)) * 10,
        phi=rng.uniform(-np.pi, np.pi, T),
        W=rng.normal(size=(F, T)) * scale,
        b=rng.uniform(-np.pi, np.pi, F),
        w=rng.normal(size=(F, channels)),
        c=rng.normal(size=channels),
    )


def direct(net, r):
    """Eq. 5, in NumPy."""
    net = [np.asarray(part) for part in net]
    Omega, phi, W, b, w, c = net
    return np.sin(np.sin(r @ Omega.T + phi) @ W.T + b) @ w + c


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("T", "order"), [(1, 60), (2, 50), (3, 40)])
def test_bessel_expansion_is_the_network(T, order, seed):
    rng = np.random.default_rng([T, seed])
    net = draw(rng, T, F=6, D=1 + seed % 3, scale=1.5, channels=1 + seed % 2)
    r = rng.uniform(-1, 1, (50, net.Omega.shape[1]))
    s = harmonics.combinations(T, order)
    A = bessel.amplitudes(net, s)
    f = direct(net, r)
    error = np.abs(bessel.expand(net, A, s, r) - f).max()
    assert error < 1e-12 * np.abs(f).max()
    assert (bessel.truncation_bound(net, order) < 1e-10).all()


def test_coefficients_are_the_lines_of_a_dft():
    """Ω = 2π(1, 41) keeps all combinations up to order 20 apart."""
    rng = np.random.default_rng(0)
    net = draw(rng, 2, F=4, D=1, scale=1.0)._replace(Omega=2 * np.pi * np.array([[1.0], [41.0]]))
    s = harmonics.combinations(2, 20)
    A = np.asarray(bessel.amplitudes(net, s))[:, 0]
    spectrum = np.fft.fft(direct(net, grid((4096,)))[:, 0]) / 4096
    k = s @ [1, 41]
    line = np.where(s.any(1), 2, 1) * np.where(k < 0, spectrum[k].conj(), spectrum[k])
    # Im(A e^jkx) = Re(−jA e^jkx); a line at −k is the conjugate.
    predicted = -1j * A
    predicted[0] = A[0].imag + net.c[0]
    # Frequencies of s and of other s beyond order 20 do not meet above rounding.
    np.testing.assert_allclose(np.abs(predicted), np.abs(line), atol=1e-12)


def test_without_biases_all_even_orders_vanish():
    rng = np.random.default_rng(0)
    net = draw(rng, 2, F=4, D=1, scale=1.0)
    s = harmonics.combinations(2, 10)
    even = s.sum(1) % 2 == 0
    power = lambda net: np.abs(bessel.amplitudes(net, s))[:, 0] ** 2
    assert power(net._replace(b=np.zeros(4)))[even].max() == 0
    assert power(net)[even].max() > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_out_stays_below_the_bound(seed):
    rng = np.random.default_rng(seed)
    net = draw(rng, 2, F=3, D=1, scale=1.0)
    r = rng.uniform(-1, 1, (200, 1))
    f = direct(net, r)
    for order in (2, 4, 7, 12, 19):
        s = harmonics.combinations(2, order)
        error = np.abs(bessel.expand(net, bessel.amplitudes(net, s), s, r) - f)
        bound = float(bessel.truncation_bound(net, order)[0])
        assert error.max() < bound + 1e-13
    # Σ_{n>19} xⁿ/n! is below twice its first term where 2x < 20.
    B = np.abs(net.W).sum(1)
    first = 4 * np.exp(20 * np.log(B / 2) - gammaln(21))
    assert bound < 2 * first @ np.abs(net.w[:, 0])


def test_sine_layers_are_those_of_a_siren():
    network = networks.SIREN(widths=(7,), mapping_width=5, outputs=2, offset=0.5)
    theta = networks.init(network, jax.random.key(0), 2, jnp.float64, omega0=12.0)
    r = np.random.default_rng(0).normal(size=(20, 2))
    net = bessel.sine_layers(network, theta, 2)
    np.testing.assert_allclose(direct(net, r), network.apply(theta, r), rtol=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_sine_layers_want_a_three_layer_siren():
    for network in (networks.FFN(widths=(4,)), networks.SIREN(widths=(4, 4))):
        theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
        with pytest.raises(ValueError, match="one hidden layer"):
            bessel.sine_layers(network, theta, 1)


def test_coefficients_want_s_for_the_frequencies_of_the_network():
    net = draw(np.random.default_rng(0), 2, F=3, D=1, scale=1.0)
    with pytest.raises(ValueError, match="T=2 frequencies"):
        bessel.amplitudes(net, harmonics.combinations(3, 2))


@pytest.mark.parametrize("k", [[[1.0], [0.5]], [[1], [2], [3]], [[1, 0], [0, 1]]])
def test_lattice_form_wants_whole_numbers_for_its_grid(k):
    net = draw(np.random.default_rng(0), 2, F=3, D=1, scale=1.0)
    with pytest.raises(ValueError, match="must be whole numbers"):
        bessel.lattice_spectrum(net, np.asarray(k), (32,), 4)


@pytest.mark.parametrize("samples", [2048, 96])
def test_lattice_form_is_the_dft_of_a_wide_network(samples):
    """T = 256, with a SIREN's own scale of W; 96 samples alias, and so does the lattice form."""
    rng = np.random.default_rng(0)
    k = rng.integers(-30, 31, (256, 1))
    net = draw(rng, 256, F=8, D=1, scale=(2 / 256) ** 0.5)._replace(Omega=2 * np.pi * k)
    measured = bessel.lattice_spectrum(net, k, (samples,), 12)
    expected = np.fft.fft(direct(net, grid((samples,))), axis=0) / samples
    assert np.abs(measured - expected).max() < 1e-10 * np.abs(expected).max()


def test_lattice_form_in_two_dimensions_with_channels():
    rng = np.random.default_rng(1)
    k = rng.integers(-3, 4, (10, 2))
    net = draw(rng, 10, F=3, D=2, scale=0.5, channels=2)._replace(Omega=2 * np.pi * k)
    measured = bessel.lattice_spectrum(net, k, (32, 40), 20)
    f = direct(net, grid((32, 40))).reshape(32, 40, 2)
    expected = np.fft.fft2(f, axes=(0, 1)) / (32 * 40)
    assert np.abs(measured - expected).max() < 1e-12


# Bandwidth


@pytest.mark.parametrize("beta", [0.5, 1, 2, 5, 10, 30])
def test_carson_holds_98_percent(beta):
    edge = bessel.carson(beta, 1.0)
    n = np.arange(-100, 101)
    power = jv(n, beta) ** 2
    assert power[np.abs(n) <= np.ceil(edge)].sum() > 0.98
    assert power[np.abs(n) <= beta - 1].sum() < 0.98
    assert bessel.carson(beta, 7.0) == 7 * edge


def test_occupied_bandwidth_of_known_lines():
    frequency = np.array([0.0, -10, 3, 20])
    power = np.array([0.5, 0.1, 0.395, 0.005])
    assert bessel.occupied_bandwidth(frequency, power) == 10
    assert bessel.occupied_bandwidth(frequency, power, 0.85) == 3
    assert bessel.occupied_bandwidth(frequency, power, 0.999) == 20


@pytest.mark.parametrize("share", [0.0, 1.0, -1])
def test_occupied_bandwidth_wants_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        bessel.occupied_bandwidth(np.ones(3), np.ones(3), share)


def test_order_power_is_the_sum_over_all_combinations_of_an_order():
    W = np.random.default_rng(0).normal(size=(2, 3))
    expected = np.zeros((2, 9))
    for s in product(range(-8, 9), repeat=3):
        if (order := sum(map(abs, s))) <= 8:
            expected[:, order] += np.prod(jv(s, W) ** 2, axis=1)
    measured = bessel.order_power(jnp.asarray(W), 8)
    np.testing.assert_allclose(measured, expected, atol=1e-14)
    whole = bessel.order_power(jnp.asarray(W), 60).sum(-1)
    np.testing.assert_allclose(whole, 1, atol=1e-12)
