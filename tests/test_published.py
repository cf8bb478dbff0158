"""TUNER's bound against SciPy; weights scaled and drawn."""

from math import factorial

import flax.linen as nn
import jax
import numpy as np
import pytest
from scipy.special import jv

from inrlib import bessel, harmonics, networks, published


@pytest.fixture
def net():
    rng = np.random.default_rng(0)
    W, w = rng.uniform(-2, 2, (4, 3)), rng.normal(size=(4, 1))
    zero = np.zeros
    return bessel.SineLayers(rng.normal(size=(3, 1)), zero(3), W, zero(4), w, zero(1))


def test_bound_is_the_formula(net, float64):
    s = harmonics.combinations(3, 6)
    for row, bound in zip(s, published.amplitude_bound(net, s)[:, 0], strict=True):
        terms = [
            np.prod(
                [abs(W / 2) ** abs(n) / factorial(abs(n)) for W, n in zip(unit, row, strict=True)]
            )
            for unit in net.W
        ]
        wanted = (2 if row.any() else 1) * np.abs(net.w[:, 0]) @ terms
        np.testing.assert_allclose(bound, wanted, rtol=1e-12)


def test_no_amplitude_is_above_its_bound(net, float64):
    """Beside the sum of absolute Bessel products, from SciPy."""
    s = harmonics.combinations(3, 8)
    bound = published.amplitude_bound(net, s)
    assert (np.abs(bessel.amplitudes(net, s)) <= bound + 1e-14).all()
    product = np.abs([jv(s[:, t], net.W[:, t, None]) for t in range(3)]).prod(axis=0)
    twice = np.where(s.any(axis=1), 2, 1)
    assert (twice * (np.abs(net.w[:, 0]) @ product) <= bound[:, 0] + 1e-14).all()


def test_bound_wants_one_number_a_frequency(net):
    with pytest.raises(ValueError, match="T=3 frequencies"):
        published.amplitude_bound(net, np.zeros((1, 2), int))


def test_scaled_weights_are_scaled_and_nothing_else_is():
    network = networks.SIREN((4, 4), mapping_width=5)
    theta = networks.init(network, jax.random.key(0), 2)
    found, wanted = published.scaled(theta, 2.5)["params"], theta["params"]
    for name, layer in wanted.items():
        factor = 1 if name == "readout" else 2.5
        np.testing.assert_array_equal(found[name]["kernel"], factor * layer["kernel"])
        np.testing.assert_array_equal(found[name]["bias"], layer["bias"])
    assert published.scaled(theta, 2.5)["fixed"] == theta["fixed"]


def test_a_compiled_draw_is_the_draw():
    network, key = networks.WIRE((4,), mapping_width=5), jax.random.key(3)
    pairs = zip(
        jax.tree.leaves(published.drawn(network, key, 2)),
        jax.tree.leaves(networks.init(network, key, 2)),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-6)


# --- Depth ----------------------------------------------------------------------------------------


def test_the_published_numbers_follow_from_the_two_conditions():
    """2.30 and 0.49 (Combette et al. 2026): unit variance, and gradients that stay."""
    c_w, c_b = (6 / (1 + np.exp(-2))) ** 0.5, (1 - np.tanh(1)) ** 0.5
    assert (round(c_w, 2), round(c_b, 2)) == (2.30, 0.49)
    np.testing.assert_allclose(published.layer_growth(c_w, c_b), (1, 1), rtol=1e-5)


@pytest.mark.parametrize(("c_w", "c_b"), [(6**0.5, 0.0), (6**0.5, 1.1), (4.0, 0.3), (1.2, 0.0)])
def test_the_limit_is_that_of_wide_random_layers(c_w, c_b):
    """Forward and back through 12 layers of 1,500 sines in NumPy, float64."""
    rng, F, depth = np.random.default_rng(0), 1500, 12
    v, layers = rng.normal(size=F), []
    for _ in range(depth):
        W = rng.uniform(-c_w, c_w, (F, F)) / F**0.5
        layers.append((W, v))
        v = W @ np.sin(v) + c_b * rng.normal(size=F)
    variance, growth = published.layer_growth(c_w, c_b)
    assert np.var(v) == pytest.approx(float(variance), rel=0.15, abs=2e-3)
    delta, sizes = rng.normal(size=F), []
    for W, v in layers[::-1]:
        before = delta @ delta
        delta = np.cos(v) * (W.T @ delta)
        sizes.append(delta @ delta / before)
    assert np.mean(sizes[:6]) == pytest.approx(float(growth), rel=0.05)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_a_depth_stable_start_has_the_spread_that_was_asked_for(spread):
    network = networks.SIREN.sized(512, 8)
    key = jax.random.key(0)
    theta = networks.init(network, key, 2, omega0=100.0)
    stable = published.depth_stable(network, theta, key, spread)
    for name in ("first", "readout"):
        jax.tree.map(np.testing.assert_array_equal, stable["params"][name], theta["params"][name])
    r = np.random.default_rng(0).uniform(-1, 1, (16, 2)).astype(np.float32)
    z = network.apply(stable, r, method="mapping")
    for name in (f"hidden_{i}" for i in range(8)):
        layer = stable["params"][name]
        v = 30 * (z @ layer["kernel"] + layer["bias"])
        z = np.sin(v)
    assert float(v.std()) == pytest.approx(spread, rel=0.1)
    biases = 30 * np.concatenate([stable["params"][f"hidden_{i}"]["bias"] for i in range(8)])
    assert biases.std() == pytest.approx((spread**2 - np.tanh(spread**2)) ** 0.5, rel=0.05)


def test_the_first_layers_of_a_network_are_its_own():
    """Through two of four layers, and the readout, in NumPy."""
    deep, shallow = networks.MLP((5,) * 4), networks.MLP((5,) * 2)
    theta = networks.init(deep, jax.random.key(0), 5)
    params = theta["params"]
    z = r = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for name in ("hidden_0", "hidden_1"):
        z = np.maximum(z @ params[name]["kernel"] + params[name]["bias"], 0)
    wanted = z @ params["readout"]["kernel"] + params["readout"]["bias"]
    found = shallow.apply(published.first_layers(theta, 2), r)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_factor_a_layer_is_found_again():
    depths = (1, 2, 3, 4, 6, 8, 10)
    for g in (0.8, 1.0, 1.2, 1.5):
        values = np.array([3 + 0.7 * sum(g**k for k in range(L)) for L in depths])
        assert published.fitted_growth(depths, values) == pytest.approx(g, abs=2e-3)
    assert published.fitted_growth(depths, 1.3 ** np.array(depths)) == pytest.approx(1.3, abs=3e-3)


@pytest.mark.usefixtures("unchecked")
def test_only_sines_have_a_depth_stable_start():
    network = networks.MLP((4,))
    with pytest.raises(ValueError, match="MLP has no layers of sines"):
        published.depth_stable(network, networks.init(network, jax.random.key(0), 2), None)


# --- Batch normalisation as it is trained ---------------------------------------------------------


def test_own_statistics_are_flaxs_batch_norm_in_training():
    """The same numbers in nn.BatchNorm with the batch's statistics: output and gradient."""
    network = networks.MLP((7, 5), norm="batch")
    theta = networks.init(network, jax.random.key(0), 2)

    class Perceptron(nn.Module):
        @nn.compact
        def __call__(self, z):
            for i, width in enumerate((7, 5)):
                z = nn.Dense(width, name=f"hidden_{i}")(z)
                z = nn.BatchNorm(use_running_average=False, epsilon=1e-5, name=f"norm_{i}")(z)
                z = nn.relu(z)
            return nn.Dense(1, name="readout")(z)

    r = jax.random.normal(jax.random.key(1), (9, 2))
    own = theta["params"]
    norm = lambda i: {"scale": own[f"norms_{i}"]["scale"], "bias": own[f"norms_{i}"]["shift"]}
    params = {n: own[n] for n in own if "norms" not in n} | {f"norm_{i}": norm(i) for i in range(2)}
    flax = lambda params: Perceptron().apply({"params": params}, r, mutable=["batch_stats"])[0]
    ours = lambda params: published.OwnStatistics(network).apply({**theta, "params": params}, r)
    np.testing.assert_allclose(ours(own), flax(params), atol=1e-5)
    slope = jax.grad(lambda p: jax.numpy.sum(ours(p) ** 2))(own)
    wanted = jax.grad(lambda p: jax.numpy.sum(flax(p) ** 2))(params)
    np.testing.assert_allclose(slope["hidden_0"]["kernel"], wanted["hidden_0"]["kernel"], atol=1e-4)
    fixed = networks.calibrate(network, theta, r)
    np.testing.assert_allclose(network.apply(fixed, r), ours(own), atol=1e-5)
