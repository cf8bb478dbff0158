import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrlib import networks
from inrlib.fitting import fit
from inrlib.networks import FFN, MFN, MLP, SIREN, PositionalEncoding, SingleFrequency

KEY = jax.random.key(0)
FAMILIES = {
    "SIREN": SIREN((8, 8), 2, mapping_width=6),
    "SIREN kept": SIREN((8, 8), 2, mapping_width=6, trainable=False),
    "FFN": FFN((8,), 2, mapping_width=10),
    "FFN*": FFN((8,), 2, mapping_width=10, trainable=True),
    "single frequency": SingleFrequency((8,), 2),
    "SFM*": SingleFrequency((8,), 2, trainable=True),
    "positional encoding": PositionalEncoding((8,), 2, octaves=3),
    "MLP": MLP((8, 8), 2),
}
SETTINGS = [("SIREN", "omega0"), ("FFN", "sigma"), ("FFN*", "sigma"), ("single frequency", "f0"),
            ("SFM*", "f0"), ("positional encoding", "f0")]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.few(8)
def test_network_is_equation_1(name, dims):
    """The output against Eq. 1 written out in NumPy, float64."""
    network = FAMILIES[name]
    with jax.enable_x64(True):
        theta = networks.init(network, KEY, dims, jnp.float64)
        r = np.random.default_rng(0).uniform(-1, 1, (5, dims))
        layers = {**theta["fixed"], **theta["params"]}
        if name == "MLP":
            z = r
        else:
            Omega, phi = networks.frequencies(network, theta, dims)
            z = np.sin(r @ np.asarray(Omega).T + np.asarray(phi))
        for i in range(len(network.widths)):
            v = z @ np.asarray(layers[f"hidden_{i}"]["kernel"]) + layers[f"hidden_{i}"]["bias"]
            z = np.sin(30 * v) if "SIREN" in name else np.maximum(v, 0)
        expected = z @ np.asarray(layers["readout"]["kernel"]) + layers["readout"]["bias"]
        np.testing.assert_allclose(network.apply(theta, r), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.few(3)
def test_only_params_are_trained(name):
    network = FAMILIES[name]
    theta = networks.init(network, KEY, 2)
    r = jnp.ones((3, 2)) / 3
    loss = lambda theta: jnp.sum(network.apply(theta, r) ** 2)
    gradient = jax.grad(loss)(theta)["params"]
    mapping = {"SIREN": "first", "FFN*": "B", "SFM*": "f0"}.get(name)
    assert {"first", "B", "f0", "sigma", "omega0"} & set(gradient) == (
        {mapping} if mapping else set()
    )
    if mapping:
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient[mapping])) > 0


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_setting_rescales_the_same_draw(name, setting):
    network = FAMILIES[name]
    thetas = [networks.init(network, KEY, 2, **{setting: value}) for value in (2.0, 6.0)]
    (slow, _), (fast, _) = (networks.frequencies(network, theta, 2) for theta in thetas)
    np.testing.assert_allclose(fast, 3 * slow, rtol=1e-6)
    assert np.abs(slow).max() > 0


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_setting_moves_without_compiling(name, setting, compiled):
    network = FAMILIES[name]
    theta = networks.init(network, KEY, 2)
    apply = jax.jit(network.apply)
    r = jnp.full((3, 2), 0.3)
    apply(networks.tune(theta, **{setting: 2.0}), r)
    compiled.clear()
    before = apply(networks.tune(theta, **{setting: 3.0}), r)
    after = apply(networks.tune(theta, **{setting: 4.0}), r)
    assert not compiled
    assert not np.allclose(before, after)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_called_outside_jit_compiles_nothing_twice(name, compiled):
    network = FAMILIES[name]
    theta = networks.init(network, KEY, 2)
    call = lambda: jax.block_until_ready(network.apply(theta, jnp.full((7, 2), 0.3)))
    call()
    compiled.clear()
    call()
    assert not compiled


def test_init_is_vmapped_over_keys_and_settings():
    keys, values = jax.random.split(KEY, 3), jnp.array([1.0, 10.0, 100.0])
    network = FAMILIES["SIREN"]
    stacked = jax.vmap(lambda k, w: networks.init(network, k, 1, omega0=w))(keys, values)
    third = networks.init(network, keys[2], 1, omega0=100.0)
    for a, b in zip(jax.tree.leaves(stacked), jax.tree.leaves(third), strict=True):
        np.testing.assert_allclose(a[2], b, rtol=1e-6)


def test_siren_draw_has_the_published_variance():
    theta = networks.init(SIREN((256, 256), mapping_width=256), KEY, 2)["params"]
    assert np.std(theta["first"]["kernel"]) == pytest.approx(1 / 2 / 3**0.5, rel=0.1)
    assert np.std(theta["hidden_1"]["kernel"]) == pytest.approx((2 / 256) ** 0.5 / 30, rel=0.02)


def test_ffn_frequencies_are_normal():
    Omega, phi = networks.frequencies(
        *(lambda n: (n, networks.init(n, KEY, 2, sigma=10.0)))(FFN()), 2
    )
    assert np.std(Omega) == pytest.approx(2 * np.pi * 10, rel=0.1)
    assert set(np.round(np.asarray(phi), 5)) == {0, np.float32(1.5708)}


def test_with_first_layer_sets_the_mapping():
    network = SIREN((8,), mapping_width=2)
    theta = networks.init(network, KEY, 2, omega0=2 * np.pi)
    theta = networks.with_first_layer(theta, np.eye(2), np.array([0, 0.25]))
    Omega, phi = networks.frequencies(network, theta, 2)
    np.testing.assert_allclose(Omega, 2 * np.pi * np.eye(2), rtol=1e-6)
    np.testing.assert_allclose(phi, [0, np.pi / 2], rtol=1e-6)


def test_with_first_layer_refuses():
    theta = networks.init(SIREN((8,), mapping_width=4), KEY, 2)
    with pytest.raises(ValueError, match="mapping_width=2"):
        networks.with_first_layer(theta, np.eye(2), np.zeros(2))
    with pytest.raises(ValueError, match="only a SIREN has"):
        networks.with_first_layer(networks.init(MLP((8,)), KEY, 2), np.eye(2), np.zeros(2))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("SIREN", {"omega0": 0}, "omega0=0 must be a finite number greater than 0"),
        ("SIREN", {"omega0": -3.0}, r"omega0=-3\.0 must"),
        ("SIREN", {"omega0": np.nan}, "omega0=nan must"),
        ("FFN", {"sigma": -1}, "sigma=-1 must be a finite number at least 0"),
        ("single frequency", {"f0": np.inf}, "f0=inf must"),
        ("SIREN", {"sigma": 1}, "no setting of this network, which has: omega0"),
        ("MLP", {"omega0": 1}, "which has: none"),
    ],
)
def test_settings_out_of_range(name, settings, message):
    with pytest.raises(ValueError, match=message):
        networks.init(FAMILIES[name], KEY, 2, **settings)


def test_ffn_accepts_sigma_zero():
    theta = networks.init(FAMILIES["FFN"], KEY, 2, sigma=0)
    assert np.isfinite(FAMILIES["FFN"].apply(theta, jnp.ones((3, 2)))).all()


def test_init_refuses_no_coordinates():
    with pytest.raises(ValueError, match="dims=0"):
        networks.init(MLP(), KEY, 0)


def test_mlp_has_no_frequencies():
    with pytest.raises(ValueError, match="no mapping frequencies"):
        networks.frequencies(MLP((8,)), networks.init(MLP((8,)), KEY, 2), 2)


# An activation of one's own


def test_own_activation_with_a_sine_is_a_siren():
    """The same key, the same draw, the same function."""
    r = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    shape = {"mapping_width": 6, "hidden_omega0": 20.0}
    own, siren = networks.OwnActivation((8, 8), rho=jnp.sin, **shape), SIREN((8, 8), **shape)
    one, two = (networks.init(network, KEY, 2, omega0=40.0) for network in (own, siren))
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(two))
    np.testing.assert_allclose(own.apply(one, r), siren.apply(two, r), atol=1e-6)


def test_own_activation_is_its_formula():
    """γ = ρ(ω0 (W⁰ r + b⁰)), zˡ = ρ(ωh (Wˡ zˡ⁻¹ + bˡ)), in NumPy, float64."""
    network = networks.OwnActivation((8, 7), 2, mapping_width=6, hidden_omega0=3.0, rho=jnp.tanh)
    with jax.enable_x64(True):
        theta = networks.init(network, KEY, 2, jnp.float64, omega0=5.0)
        r = np.random.default_rng(0).uniform(-1, 1, (5, 2))
        z = r
        for name, omega in (("first", 5), ("hidden_0", 3), ("hidden_1", 3)):
            layer = theta["params"][name]
            z = np.tanh(omega * (z @ np.asarray(layer["kernel"]) + layer["bias"]))
        readout = theta["params"]["readout"]
        expected = z @ np.asarray(readout["kernel"]) + readout["bias"]
        np.testing.assert_allclose(network.apply(theta, r), expected, atol=1e-12)


def test_own_activation_is_in_no_menu():
    assert "your own" not in networks.families()


# Multiplicative filter networks


def test_mfn_is_a_product_of_filters():
    """The formula of Fathony et al. (2021), Eq. 4, in NumPy."""
    network = MFN(widths=(5, 4), mapping_width=6, outputs=2, offset=0.5)
    theta = networks.init(network, KEY, 2, omega0=3.0)
    r = np.random.default_rng(0).normal(size=(7, 2))
    p = jax.tree.map(np.asarray, theta["params"])
    filters = np.sin(3 / np.sqrt(3) * r @ p["filters"]["kernel"] + p["phi"])
    z = filters[:, :6]
    z = (z @ p["hidden_0"]["kernel"] + p["hidden_0"]["bias"]) * filters[:, 6:11]
    z = (z @ p["hidden_1"]["kernel"] + p["hidden_1"]["bias"]) * filters[:, 11:]
    expected = z @ p["readout"]["kernel"] + p["readout"]["bias"] + 0.5
    np.testing.assert_allclose(network.apply(theta, r), expected, atol=1e-5)
    np.testing.assert_allclose(network.apply(theta, r, method="features"), z, atol=1e-5)


def test_mfn_starts_as_published():
    network = MFN(widths=(64, 64), mapping_width=64)
    theta = networks.init(network, KEY, 2)
    p = theta["params"]
    assert theta["fixed"]["omega0"] == 256
    for draw, bound in [
        (p["filters"]["kernel"], 2**-0.5),
        (p["phi"], np.pi),
        (p["hidden_0"]["kernel"], 1 / 8),
        (p["hidden_1"]["bias"], 1 / 8),
    ]:
        assert 0.9 * bound < jnp.abs(draw).max() <= bound
        assert abs(float(draw.std()) - bound / 3**0.5) < 0.15 * bound


def test_mfn_has_frequencies_for_all_filters():
    network = MFN(widths=(5, 4), mapping_width=6)
    theta = networks.init(network, KEY, 2)
    Omega, phi = networks.frequencies(network, theta, 2)
    assert Omega.shape == (15, 2)
    np.testing.assert_allclose(phi, theta["params"]["phi"])
    twice = networks.frequencies(network, networks.tune(theta, omega0=512.0), 2)[0]
    np.testing.assert_allclose(twice, 2 * Omega, rtol=1e-6)


def test_mfn_can_be_trained():
    network = MFN(widths=(32, 32), mapping_width=32)
    theta = networks.init(network, KEY, 1, omega0=30.0)
    r = jnp.linspace(0, 1, 64)[:, None]
    g = jnp.sin(2 * jnp.pi * 3 * r)
    result = fit(network, theta, r, g, steps=300, learning_rate=1e-3, progress=False)
    assert result.psnr[-1] > result.psnr[0] + 20


@pytest.mark.parametrize("omega_h", [3.0, 100.0])
def test_another_hidden_omega_is_the_same_draw_with_other_biases(omega_h):
    key, r = jax.random.key(4), jnp.linspace(-1, 1, 40)[:, None]
    network = networks.SIREN((16, 16), mapping_width=16)
    theta = networks.init(network, key, 1)
    drawn = network.clone(hidden_omega0=omega_h)
    expected = drawn.apply(networks.init(drawn, key, 1), r)
    found = network.apply(networks.with_hidden_omega0(network, theta, omega_h), r)
    # The readout's bias does not depend on ωh, its kernel does: outputs agree whole.
    assert np.allclose(found, expected, atol=2e-4 * float(jnp.abs(expected).max()))
    other = networks.FFN((8,), mapping_width=8)
    theta = networks.init(other, key, 1)
    assert networks.with_hidden_omega0(other, theta, omega_h) is theta
