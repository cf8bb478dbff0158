"""The explorers of Section 6, and those that take a reader's own weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hands import main_slider, pixels, words

from inrlib import atoms, explorers, networks, ntk, signals
from inrlib.explorers import parts
from inrlib.weights import Weights


def bump(v):
    return jnp.exp(-(v**2))


@pytest.fixture(scope="module")
def explorer():
    return explorers.own_activation(bump).at(width=32)


def test_a_move_compiles_nothing_and_changes_the_picture(explorer, compiled):
    slider = main_slider(explorer)
    slider.value = 20
    before = pixels(explorer)
    compiled.clear()
    slider.value = 60
    assert not compiled
    assert "computed in" in words(explorer)
    assert np.abs(pixels(explorer) - before).max() > 50


def test_what_is_shown_is_the_network_written_out_by_hand(explorer):
    """The spectrum, and how far ρ is driven, in NumPy and float64."""
    frame = explorer.at(omega0=25).frame
    network = networks.OwnActivation((32, 32), mapping_width=32, rho=bump)
    theta = networks.init(network, jax.random.key(0), 2)["params"]
    layer = lambda z, name: z @ np.asarray(theta[name]["kernel"], float) + theta[name]["bias"]
    rho = lambda v: np.exp(-(v**2))
    v = 30 * layer(rho(25 * layer(np.asarray(signals.grid((32, 32), -1, 1)), "first")), "hidden_0")
    assert frame["reach"] == pytest.approx(np.abs(v).max(), rel=1e-3)
    z = rho(25 * layer(np.asarray(signals.grid((64, 64), -1, 1)), "first"))
    for name in ("hidden_0", "hidden_1"):
        z = rho(30 * layer(z, name))
    f = layer(z, "readout").reshape(64, 64)
    level = 20 * np.log10(np.abs(np.fft.fftshift(np.fft.fft2(f))) / f.size / f.std())
    loud = level > -40
    np.testing.assert_allclose(frame["level"][loud], level[loud], atol=0.1)


def test_coefficients_fall_as_the_function_is_smooth(explorer):
    """sin before a Gaussian before ReLU, which falls as 1/k²."""
    sin, relu, own = np.asarray(explorer.at(omega0=25).frame["decay"])
    assert sin[30] < 1e-6
    assert sin[12] < own[12] < 1
    assert own[40] < relu[40] < own[4]
    assert relu[12] / relu[36] == pytest.approx(9, rel=0.35)


def test_training_meets_the_picture_better(explorer):
    start = explorer.at(omega0=25).frame
    assert "untrained" in start["state"]
    frame = explorer.trained().frame
    assert frame["seen"] > start["seen"] + 10
    assert "trained, 300 steps" in frame["state"]


def test_a_wrong_function_is_answered_in_place_from_the_first_frame_on():
    explorer = explorers.own_activation(lambda v: v if v > 0 else 0 * v)
    sentence = "write jnp.… in the place of np.…"
    assert sentence in words(explorer)
    assert "sin in the place of ρ" in explorer.figure.axes[0].get_title()
    assert pixels(explorer).std() > 10
    main_slider(explorer).value = 60
    assert sentence in words(explorer)
    explorer.reset.click()
    assert sentence in words(explorer)
    assert main_slider(explorer).value == 30
    with pytest.raises(ValueError, match="cannot be traced"):
        explorer.at(omega0=60)
    assert explorer.trained() is explorer


def test_a_function_that_overflows_is_answered_in_place_until_it_does_not():
    explorer = explorers.own_activation(lambda v: v**3)
    assert "not finite; lower ω0" in words(explorer)
    assert pixels(explorer).std() > 10
    explorer.at(omega0=3, width=32, hidden_omega0=1)
    assert "computed in" in words(explorer)
    before = pixels(explorer)
    main_slider(explorer).value = 300
    assert "not finite; lower ω0" in words(explorer)
    np.testing.assert_array_equal(pixels(explorer), before)
    main_slider(explorer).value = 3
    assert "computed in" in words(explorer)


# --- weights of a reader's own -----------------------------------------------------------------

R = signals.grid((32, 32), -1, 1)


def given(network, **settings):
    return Weights(network, networks.init(network, jax.random.key(3), 2, **settings), {})


@pytest.fixture(scope="module")
def siren():
    return given(networks.SIREN((24, 24), 3, mapping_width=20), omega0=17.0)


@pytest.fixture(scope="module")
def board(siren):
    return explorers.dashboard(weights=siren)


def test_the_dashboard_opens_with_the_readers_network(siren, board, compiled):
    explorer = board
    assert set(explorer.controls) == {"omega0", "picture"}
    assert explorer.values["omega0"] == 17
    r = signals.grid((64, 64), -1, 1)
    f = siren.network.apply(siren.theta, r)
    np.testing.assert_allclose(explorer.frame["fit"].reshape(-1, 3), f, atol=1e-5)
    assert explorer.frame["state"].startswith("yours")
    compiled.clear()
    main_slider(explorer).value = 40
    assert not compiled
    assert "17" in explorer.at(omega0=17).frame["scale"]
    assert explorer.at(omega0=40).frame["state"].startswith("yours")


def test_its_own_picture_is_the_target_and_an_upload_another(siren, board):
    """In 8 bits: 59 dB from itself, where it draws inside [0, 1]."""
    readout = siren.theta["params"]["readout"]
    bright = {"kernel": readout["kernel"] * 0.3, "bias": readout["bias"] * 0 + 0.5}
    theta = {**siren.theta, "params": {**siren.theta["params"], "readout": bright}}
    explorer = explorers.dashboard(weights=siren._replace(theta=theta))
    assert float(explorer.frame["seen"]) == pytest.approx(58.9, abs=0.5)
    astronaut = signals.picture(size=64)
    np.testing.assert_allclose(explorer.at(picture=astronaut).frame["target"], astronaut, atol=1e-6)
    before = float(explorer.frame["seen"])
    assert explorer.trained().frame["seen"] > before + 3


def test_its_atoms_are_those_of_its_first_channel(siren, board):
    explorer = board.at(omega0=17)
    network, theta, _ = siren
    readout = {name: leaf[..., :1] for name, leaf in theta["params"]["readout"].items()}
    theta = {**theta, "params": {**theta["params"], "readout": readout}}
    K = ntk.gram(network.clone(outputs=1), theta, R)
    values = np.linalg.eigvalsh(np.asarray(K, float))[::-1][:8] / len(R)
    np.testing.assert_allclose(np.sort(explorer.frame["eigen"].values)[::-1], values, rtol=1e-3)


@pytest.mark.slow
def test_a_network_without_a_knob_is_shown_too():
    explorer = explorers.dashboard(weights=given(networks.MLP((24, 24), 1)))
    assert set(explorer.controls) == {"picture"}
    assert "no frequencies to set" in explorer.frame["scale"]
    assert explorer.frame["target"].shape == (64, 64, 1)


@pytest.mark.slow
def test_the_atoms_explorer_takes_it_on_its_own_grid(siren):
    explorer = explorers.eigenfunctions(weights=siren)
    r = signals.grid((64, 64), -1, 1)
    eigen = atoms.eigenfunctions(ntk.gram(siren.network, siren.theta, r), 24)
    ratio = np.sort(np.asarray(eigen.values))[::-1] / eigen.values.max()
    np.testing.assert_allclose(explorer.frame["values"], ratio, rtol=1e-3)
    assert explorer.source == "explorers.eigenfunctions(weights=weights)"


@pytest.mark.parametrize("omega0", [0.5, 500.0])
def test_a_slider_reaches_where_the_reader_is(omega0):
    own = given(networks.OwnActivation((4,), mapping_width=4, rho=jnp.tanh), omega0=omega0)
    _, _, sliders = parts.given(own)
    assert sliders["omega0"].value == pytest.approx(omega0)
    assert sliders["omega0"].low < omega0 < sliders["omega0"].high


@pytest.mark.parametrize("make", [explorers.dashboard, explorers.eigenfunctions])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda: Weights(*(lambda n: (n, networks.init(n, jax.random.key(0), 3)))(
            networks.MLP((4,))), {}), "takes no two coordinates"),
        (lambda: given(networks.MLP((4,), 2)), "2 channels are no picture"),
        (lambda: (lambda w: w._replace(theta=jax.tree.map(lambda a: jnp.stack([a, a]), w.theta)))(
            given(networks.MLP((4,)))), "of several networks take one"),
        (lambda: "mine.safetensors", "a str is not what imported.from_torch"),
    ],
    ids=["3-D", "two channels", "two networks", "a path"],
)  # fmt: skip
def test_what_makes_no_picture_is_refused(make, weights, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make(weights=weights())
