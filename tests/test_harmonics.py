"""Theorem 1, Eqs. 5–7 and Appendix A to rounding, in float64."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln, jv

from inrlib import bessel, harmonics, networks, polynomials
from inrlib.bessel import SineLayers
from inrlib.polynomials import Polynomial


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def brute_force(T, order):
    """All s by testing every point of a cube, ± identified."""
    cube = product(range(-order, order + 1), repeat=T)
    return {max(s, tuple(-n for n in s)) for s in cube if sum(map(abs, s)) <= order}


def lattice_network(rng, k, widths, phases=None):
    """A SIREN with Ω = 2πk and random numbers; its sines are replaced in the tests."""
    T, D = k.shape
    network = networks.SIREN(widths=widths, mapping_width=T, hidden_omega0=1.0)
    key = jax.random.key(rng.integers(2**31))
    theta = networks.init(network, key, D, jnp.float64, omega0=2 * np.pi)
    phases = rng.uniform(-np.pi, np.pi, T) if phases is None else phases
    return network, networks.with_first_layer(theta, k, phases / (2 * np.pi))


def grid(shape):
    axes = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=-1)


def energies(f, shape):
    """|DFT|² of one channel, divided by its sum."""
    energy = np.abs(np.fft.fftn(np.asarray(f)[:, 0].reshape(shape))) ** 2
    return energy / energy.sum()


def mask(k, shape):
    """Where a DFT has the frequencies ±k."""
    inside = np.zeros(shape, bool)
    k = np.round(k).astype(int)
    for both in (k, -k):
        inside[tuple((both % shape).T)] = True
    return inside


def no_alias(k, order):
    return tuple(int(n) for n in 2 * order * np.abs(k).max(axis=0) + 2)


# H(Ω)


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
    T, D, K, L = rng.integers(1, 4), rng.integers(1, 4), rng.integers(1, 4), rng.integers(1, 4)
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


# Theorem 1


def random_polynomials(rng, k, K, L, widths):
    """A network with Ω = 2πk, random weights and random polynomials."""
    network, theta = lattice_network(rng, k, widths)
    ends = jnp.ones(L - 1)
    rho = Polynomial(jnp.asarray(rng.normal(size=(L - 1, K + 1))), -ends, ends)
    return jax.jit(lambda r: polynomials.apply_polynomial(network, theta, r, rho))


def outside(rng, k, K, L, widths=None):
    """Energy of a random network by frequency, where H(Ω) is, and the set itself."""
    widths = widths or tuple(rng.integers(1, 6, L - 1))
    shape = no_alias(k, K ** (L - 1))
    energy = energies(random_polynomials(rng, k, K, L, widths)(grid(shape)), shape)
    H = harmonics.harmonic_set(2 * np.pi * k, K, L)
    return energy, mask(H.omega / (2 * np.pi), shape), H


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("D", [1, 2, 3])
def test_theorem_1_no_energy_outside_the_set(D, seed):
    rng = np.random.default_rng([D, seed])
    T = rng.integers(1, 5)
    K, L = rng.integers(1, 5), rng.integers(2, 5)
    while D == 3 and K ** (L - 1) > 27:  # the largest case has a test of its own
        K, L = rng.integers(1, 5), rng.integers(2, 5)
    largest = {1: 20, 2: 4 if K ** (L - 1) <= 27 else 2, 3: 1}[D]
    k = rng.integers(-largest, largest + 1, (T, D))
    k[0, 0] = largest
    energy, inside, _ = outside(rng, k, K, L)
    assert energy[~inside].sum() < 1e-20


def test_theorem_1_in_three_dimensions_at_order_64():
    rng = np.random.default_rng(0)
    k = np.array([[1, 1, 0], [0, 1, 1], [1, 0, -1], [1, -1, 0]])
    shape = no_alias(k, 64)
    f = random_polynomials(rng, k, 4, 4, widths=(2, 1, 1))(grid(shape))
    order = harmonics.lattice_order(k, 64)
    reached = np.argwhere(order >= 0) - 64
    inside = mask(reached, shape)
    assert inside.mean() < 0.9
    assert energies(f, shape)[~inside].sum() < 1e-20


@pytest.mark.parametrize(
    ("k", "K", "L"),
    [
        ([[1]], 4, 3),
        ([[1], [19]], 3, 3),
        ([[1], [9], [81]], 2, 3),
        ([[1, 0], [0, 1]], 3, 3),
        ([[1, 0], [0, 1], [12, 12]], 2, 3),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 4, 2),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5]], 2, 2),
    ],
)
def test_theorem_1_every_harmonic_of_the_set_is_used(k, K, L):
    """A set that is too large anywhere would have an empty place here."""
    k = np.asarray(k)
    energy, inside, H = outside(np.random.default_rng(1), k, K, L, widths=(8,) * (L - 1))
    assert len(H.s) == harmonics.count_combinations(len(k), K ** (L - 1))
    assert energy[inside].min() > 1e-18
    assert energy[~inside].max() < 1e-26


@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.parametrize(("K", "L"), [(2, 2), (2, 4), (3, 3), (4, 3), (3, 4), (4, 4)])
def test_theorem_1_the_bound_is_reached(D, K, L):
    """Chebyshev's T_K(cos x) = cos Kx: all energy at order K^(L−1), nothing in a smaller set."""
    T, order = 2, K ** (L - 1)
    k = np.array([[1] * D, [0] * (D - 1) + [1]])
    rng = np.random.default_rng(0)
    network, theta = lattice_network(rng, k, (1,) * (L - 1), np.full(T, np.pi / 2))
    params = dict(theta["params"])
    one = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
    params |= {f"hidden_{n}": one for n in range(1, L - 1)} | {"readout": one}
    params["hidden_0"] = {"kernel": jnp.array([[0.0], [1.0]]), "bias": jnp.zeros(1)}
    rho = harmonics.polynomial(
        np.tile(np.polynomial.chebyshev.cheb2poly(np.eye(K + 1)[K]), (L - 1, 1))
    )
    shape = (1,) * (D - 1) + (2 * order + 2,)
    f = polynomials.apply_polynomial(network, theta | {"params": params}, grid(shape), rho)
    energy = energies(f, shape)
    edge = mask(order * k[1:], shape)
    assert energy[edge].sum() == pytest.approx(1, abs=1e-12)
    smaller = harmonics.combinations(T, order - 1) @ k
    assert energy[mask(smaller[(smaller[:, :-1] == 0).all(1)], shape)].sum() < 1e-20


def test_theorem_1_needs_the_first_activation_to_be_a_polynomial_too():
    """The theorem is printed for ℓ > 1; with a sine at ℓ = 1 there is energy outside the set."""
    k = np.array([[1]])
    network, theta = lattice_network(np.random.default_rng(0), k, (4, 4))
    r = grid((256,))
    z1 = polynomials.unit_outputs(network, theta, r)[1]
    hidden, last = theta["params"]["hidden_1"], theta["params"]["readout"]
    f = (z1 @ hidden["kernel"] + hidden["bias"]) ** 2 @ last["kernel"]
    H = harmonics.harmonic_set(2 * np.pi * k, 2, 3)
    assert energies(f, (256,))[~mask(H.omega / (2 * np.pi), (256,))].sum() > 1e-12


# Polynomial activations


def test_apply_polynomial_is_equation_1():
    rng = np.random.default_rng(0)
    network = networks.FFN(widths=(5, 4), mapping_width=6, outputs=2, offset=0.5)
    theta = networks.init(network, jax.random.key(0), 2, jnp.float64, sigma=1.0)
    alpha = rng.normal(size=(2, 4))
    r = rng.normal(size=(7, 2))
    B = np.asarray(theta["fixed"]["B"]["kernel"])
    v = 2 * np.pi * r @ B
    z = np.concatenate([np.sin(v), np.cos(v)], axis=1)
    for n in range(2):
        layer = theta["params"][f"hidden_{n}"]
        v = z @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        z = sum(alpha[n, k] * v**k for k in range(4))
    last = theta["params"]["readout"]
    expected = z @ np.asarray(last["kernel"]) + np.asarray(last["bias"]) + 0.5
    measured = polynomials.apply_polynomial(network, theta, r, harmonics.polynomial(alpha))
    np.testing.assert_allclose(measured, expected, rtol=1e-12)


def test_apply_polynomial_wants_one_for_each_activation():
    network = networks.FFN(widths=(5, 4), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    with pytest.raises(ValueError, match="1 polynomials for a network with 2"):
        polynomials.apply_polynomial(
            network, theta, np.zeros((3, 1)), harmonics.polynomial([1.0, 2])
        )
    network = networks.MFN(widths=(5,), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    with pytest.raises(ValueError, match="0 activations"):
        polynomials.apply_polynomial(
            network, theta, np.zeros((3, 1)), harmonics.polynomial([1.0, 2])
        )


def test_new_coefficients_compile_nothing():
    network = networks.FFN(widths=(5,), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    traced = []

    @jax.jit
    def f(rho):
        traced.append(1)
        return polynomials.apply_polynomial(network, theta, jnp.zeros((3, 1)), rho)

    for slope in (1.0, 2.0, 3.0):
        f(harmonics.polynomial([0.0, slope]))
    assert len(traced) == 1


@pytest.mark.parametrize("method", ["chebyshev", "least squares"])
def test_a_polynomial_siren_follows_the_siren(method):
    network = networks.SIREN(widths=(32, 32), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64, omega0=20.0)
    r = np.linspace(0, 1, 400)[:, None]
    exact = network.apply(theta, r)
    errors = []
    for degree in (3, 7, 13, 25):
        rho = polynomials.fit_polynomial(network, theta, r, degree, method)
        error = polynomials.apply_polynomial(network, theta, r, rho) - exact
        errors.append(float(jnp.abs(error).max() / jnp.abs(exact).max()))
    assert (np.diff(errors) < 0).all()
    assert errors[0] > 1e-3
    assert errors[-1] < 1e-9


def test_relu_needs_higher_degrees_and_the_error_falls_as_one_over_the_degree():
    network = networks.FFN(widths=(64,), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64, sigma=2.0)
    r = np.linspace(0, 1, 400)[:, None]

    def largest(degree):
        """The error of the activation itself on its range."""
        rho = polynomials.fit_polynomial(network, theta, r, degree)
        low, high = float(rho.low[0]), float(rho.high[0])
        v = np.linspace(low, high, 2001)
        p = np.polynomial.Chebyshev(np.asarray(rho.coefficients[0]), [low, high])
        return np.abs(p(v) - np.maximum(v, 0)).max() / (high - low)

    errors = np.array([largest(degree) for degree in (4, 8, 16, 32, 64)])
    # Bernstein: the best approximation of |x| on [−1, 1] has error 0.2802/K; here x/2 + |x|/2.
    assert (errors * [4, 8, 16, 32, 64] > 0.2802 / 4 * 0.8).all()
    assert (errors * [4, 8, 16, 32, 64] < 0.5).all()


def test_least_squares_is_best_where_the_network_is():
    network = networks.SIREN(widths=(32,), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64, omega0=20.0)
    r = np.linspace(0, 1, 400)[:, None]
    z0 = polynomials.unit_outputs(network, theta, r)[0]
    hidden = theta["params"]["hidden_0"]
    v = np.asarray(z0 @ hidden["kernel"] + hidden["bias"])

    def error(method):
        rho = polynomials.fit_polynomial(network, theta, r, 4, method)
        p = np.polynomial.Chebyshev(rho.coefficients[0], [float(rho.low[0]), float(rho.high[0])])
        return np.mean((p(v) - np.sin(30 * v)) ** 2)

    assert error("least squares") < 0.9 * error("chebyshev")


def test_fit_polynomial_checks_its_arguments():
    network = networks.SIREN(widths=(4,), mapping_width=4)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    r = np.zeros((3, 1))
    with pytest.raises(ValueError, match="at least 1"):
        polynomials.fit_polynomial(network, theta, r, 0)
    with pytest.raises(ValueError, match="'chebyshev' or 'least squares'"):
        polynomials.fit_polynomial(network, theta, r, 3, "taylor")
    product = networks.MFN(widths=(4,), mapping_width=4)
    theta = networks.init(product, jax.random.key(0), 1, jnp.float64)
    with pytest.raises(ValueError, match="no activations"):
        polynomials.fit_polynomial(product, theta, r, 3)
    single = networks.SIREN(widths=(1,), mapping_width=4)
    theta = networks.init(single, jax.random.key(0), 1, jnp.float64)
    with pytest.raises(ValueError, match="more coordinates"):
        polynomials.fit_polynomial(single, theta, r[:1], 3)


def test_layers_are_those_of_the_network():
    network = networks.SIREN(widths=(6, 5), mapping_width=4)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    r = np.linspace(0, 1, 9)[:, None]
    z0, z1, z2, f = polynomials.unit_outputs(network, theta, r)
    np.testing.assert_array_equal(z0, network.apply(theta, r, method="mapping"))
    np.testing.assert_array_equal(z2, network.apply(theta, r, method="features"))
    np.testing.assert_array_equal(f, network.apply(theta, r))
    assert z1.shape == (9, 6)
    rho = polynomials.fit_polynomial(network, theta, r, 5)
    replaced = polynomials.unit_outputs(network, theta, r, rho)
    np.testing.assert_array_equal(
        replaced[-1], polynomials.apply_polynomial(network, theta, r, rho)
    )


def test_split_of_a_wide_network_is_the_truncated_fourier_series():
    """64 units after one cubic span all harmonics up to 3, after two all up to 9."""
    rng = np.random.default_rng(0)
    network, theta = lattice_network(rng, np.ones((8, 1)), (64, 64))
    alpha = rng.normal(size=(2, 4))
    r, g = grid((128,)), rng.normal(size=(128, 1))
    parts = polynomials.split(network, theta, r, g, harmonics.polynomial(alpha))
    assert len(parts) == 3
    spectrum = np.fft.fft(g, axis=0)
    for part, edge in zip(parts, (1, 3, 9), strict=True):
        low = np.abs(np.fft.fftfreq(128, 1 / 128))[:, None] <= edge
        truncated = np.fft.ifft(np.where(low, spectrum, 0), axis=0).real
        np.testing.assert_allclose(part, truncated, atol=1e-6)


# Bessel coefficients


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


def test_lattice_bound_holds_and_is_not_idle():
    rng = np.random.default_rng(0)
    k = rng.integers(-5, 6, (20, 1))
    net = draw(rng, 20, F=4, D=1, scale=0.5)._replace(Omega=2 * np.pi * k)
    expected = np.fft.fft(direct(net, grid((512,))), axis=0) / 512
    for order in (1, 2, 4, 6):
        error = np.abs(bessel.lattice_spectrum(net, k, (512,), order) - expected)
        bound = float(harmonics.lattice_bound(net, order)[0])
        assert error.max() < bound + 1e-13
    assert bound < 1e-4


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


def test_effective_order_is_that_of_bessel_functions():
    s = np.arange(0, 40)[:, None]
    power = jv(s[:, 0], 10.0) ** 2 * np.where(s[:, 0] > 0, 2, 1)
    expected = next(n for n in range(40) if power[: n + 1].sum() >= 0.99)
    assert harmonics.effective_order(s, power) == expected


@pytest.mark.parametrize("share", [0.0, 1.0, -1])
def test_occupied_bandwidth_wants_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        bessel.occupied_bandwidth(np.ones(3), np.ones(3), share)
    with pytest.raises(ValueError, match="between 0 and 1"):
        harmonics.effective_order(np.ones((3, 1)), np.ones(3), share)


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


def test_energy_outside_of_known_tones():
    x = np.arange(32) / 32
    values = 3 * np.cos(2 * np.pi * 5 * x) + np.sin(2 * np.pi * 7 * x)
    assert harmonics.energy_outside(values, np.array([[-5]])) == pytest.approx(0.1)
    assert harmonics.energy_outside(values, np.array([[5], [7]])) < 1e-30
    plane = values[:, None] * np.cos(2 * np.pi * 2 * x)
    assert harmonics.energy_outside(plane, np.array([[5, 2], [5, -2]])) == pytest.approx(0.1)
    assert harmonics.energy_outside(plane, np.array([[5, 2]])) == pytest.approx(0.55)


@pytest.mark.parametrize("k", [0.5, 16])
def test_energy_outside_wants_frequencies_of_the_grid(k):
    with pytest.raises(ValueError, match="finer grid"):
        harmonics.energy_outside(np.ones(32), np.array([[k]]))


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
