"""Theorem 1 to rounding, in float64: networks with polynomial activations stay within H(Ω)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lattice import energies, grid, mask, no_alias

from inrlib import harmonics, networks, polynomials
from inrlib.polynomials import Polynomial

pytestmark = pytest.mark.usefixtures("float64")


def lattice_network(rng, k, widths, phases=None):
    """A SIREN with Ω = 2πk and random numbers; its sines are replaced in the tests."""
    T, D = k.shape
    network = networks.SIREN(widths=widths, mapping_width=T, hidden_omega0=1.0)
    key = jax.random.key(rng.integers(2**31))
    theta = networks.init(network, key, D, jnp.float64, omega0=2 * np.pi)
    phases = rng.uniform(-np.pi, np.pi, T) if phases is None else phases
    return network, networks.with_first_layer(theta, k, phases / (2 * np.pi))


def polynomial(alpha):
    """ρˡ(v) = Σ_k α_lk vᵏ for each layer, in Chebyshev's form on [−1, 1]."""
    alpha = np.atleast_2d(np.asarray(alpha, float))
    rows = [np.polynomial.chebyshev.poly2cheb(row) for row in alpha]
    c = jnp.asarray([np.pad(row, (0, alpha.shape[1] - len(row))) for row in rows])
    return Polynomial(c, -jnp.ones(len(c)), jnp.ones(len(c)))


# Theorem 1


def random_polynomials(rng, k, K, L, widths):
    """A network with Ω = 2πk, random weights and random polynomials."""
    network, theta = lattice_network(rng, k, widths)
    ends = jnp.ones(L - 1)
    rho = Polynomial(jnp.asarray(rng.normal(size=(L - 1, K + 1))), -ends, ends)
    return jax.jit(lambda r: polynomials.apply_polynomial(network, theta, r, rho))


def outside(rng, k, K, L, widths=None):
    """Energy of a random network by frequency, where H(Ω) is, and the set itself."""
    widths = widths or tuple(rng.integers(1, 6, L - 1).tolist())
    shape = no_alias(k, K ** (L - 1))
    energy = energies(random_polynomials(rng, k, K, L, widths)(grid(shape)), shape)
    H = harmonics.harmonic_set(2 * np.pi * k, K, L)
    return energy, mask(H.omega / (2 * np.pi), shape), H


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.few(8)
def test_theorem_1_no_energy_outside_the_set(D, seed):
    rng = np.random.default_rng([D, seed])
    T = rng.integers(1, 5)
    K, L = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    while D == 3 and K ** (L - 1) > 27:  # the largest case has a test of its own
        K, L = int(rng.integers(1, 5)), int(rng.integers(2, 5))
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
    rho = polynomial(np.tile(np.polynomial.chebyshev.cheb2poly(np.eye(K + 1)[K]), (L - 1, 1)))
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
    measured = polynomials.apply_polynomial(network, theta, r, polynomial(alpha))
    np.testing.assert_allclose(measured, expected, rtol=1e-12)


def test_apply_polynomial_wants_one_for_each_activation():
    network = networks.FFN(widths=(5, 4), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    with pytest.raises(ValueError, match="1 polynomials for a network with 2"):
        polynomials.apply_polynomial(network, theta, np.zeros((3, 1)), polynomial([1.0, 2]))
    network = networks.MFN(widths=(5,), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    with pytest.raises(ValueError, match="0 activations"):
        polynomials.apply_polynomial(network, theta, np.zeros((3, 1)), polynomial([1.0, 2]))


def test_new_coefficients_compile_nothing():
    network = networks.FFN(widths=(5,), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 1, jnp.float64)
    traced = []

    @jax.jit
    def f(rho):
        traced.append(1)
        return polynomials.apply_polynomial(network, theta, jnp.zeros((3, 1)), rho)

    for slope in (1.0, 2.0, 3.0):
        f(polynomial([0.0, slope]))
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


@pytest.mark.usefixtures("unchecked")
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
    parts = polynomials.split(network, theta, r, g, polynomial(alpha))
    assert len(parts) == 3
    spectrum = np.fft.fft(g, axis=0)
    for part, edge in zip(parts, (1, 3, 9), strict=True):
        low = np.abs(np.fft.fftfreq(128, 1 / 128))[:, None] <= edge
        truncated = np.fft.ifft(np.where(low, spectrum, 0), axis=0).real
        np.testing.assert_allclose(part, truncated, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-7.0, 2.5)])
def test_coefficients_are_numpys(low, high):
    c = polynomials.coefficients(jnp.tanh, low, high, 24)
    expected = np.polynomial.Chebyshev.interpolate(np.tanh, 24, [low, high]).coef
    np.testing.assert_allclose(c, expected, atol=3e-7)
    with pytest.raises(ValueError, match="degree=0"):
        polynomials.coefficients(jnp.tanh, low, high, 0)


def test_coefficients_of_a_moving_range_compile_once(compiled):
    look = jax.jit(lambda reach: polynomials.coefficients(jax.nn.relu, -reach, reach, 12))
    first = np.asarray(look(2.0))
    compiled.clear()
    np.testing.assert_allclose(look(6.0), 3 * first, rtol=1e-5, atol=1e-6)  # ReLU is homogeneous
    assert not compiled
