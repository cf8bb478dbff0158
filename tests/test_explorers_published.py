"""The explorers of related work and of published claims, against references of their own."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import jv

from inrlib import explorers, networks, plots, published, signals


@pytest.mark.slow
def test_related_has_every_family_in_both_places():
    explorer = explorers.related()
    for place in ("upper", "lower"):
        assert list(explorer.controls[place].options) == list(networks.families())
    assert set(networks.families()) <= set(plots.COLOURS)


def test_related_fits_by_ridge_regression_with_an_explicit_jacobian():
    """The kernel from jax.jacrev, the solution from NumPy."""
    frame = explorers.related().at(scale=0.4).frame["upper"][1]
    network = networks.SIREN.sized(64, 2, offset=0.5)
    theta = networks.init(network, jax.random.key(0), 2, omega0=12.0)
    r = signals.grid((24, 24), -1, 1)
    f = lambda params: network.apply({**theta, "params": params}, r)[:, 0]
    leaves = jax.tree.leaves(jax.jacrev(f)(theta["params"]))
    J = np.concatenate([np.asarray(leaf, float).reshape(576, -1) for leaf in leaves], axis=1)
    g = signals.grey(signals.picture("astronaut", 24)).reshape(-1)
    order = np.random.default_rng(0).permutation(576)
    seen, unseen = order[:288], order[288:]
    K = J @ J.T
    ridge = 1e-3 * np.trace(K) / 576
    inside = K[np.ix_(seen, seen)] + ridge * np.eye(288)
    fit = 0.5 + K[:, seen] @ np.linalg.solve(inside, g[seen] - 0.5)
    np.testing.assert_allclose(np.ravel(frame["fit"]), fit, atol=5e-3)
    level = -10 * np.log10(np.mean((fit - g)[unseen] ** 2))
    assert frame["unseen"] == pytest.approx(level, abs=0.05)


def test_bound_shows_scipys_bessel_functions_below_it():
    explorer = explorers.bound()
    for c, many in ((0.3, 1), (1.0, 64), (3.0, 256)):
        frame = explorer.at(c=c, many=many).frame
        assert (frame["exact"] <= frame["bound"] + 1e-9).all()
    alone = explorer.at(c=0.3, many=1).frame["exact"]
    np.testing.assert_allclose(alone[:6], 20 * np.log10(jv(range(6), 0.3)), atol=1e-6)


def test_stopped_gradients_are_those_of_the_public_code(float64):
    """FINER's function; ω (|v| + 1) cos in the place of ω (2|v| + 1) cos."""
    true, stopped = (
        networks.FINER((4,), mapping_width=4),
        published.StoppedFINER((4,), mapping_width=4),
    )
    v = jnp.linspace(-2, 2, 9)
    np.testing.assert_allclose(true.activation(v), stopped.activation(v), atol=1e-12)
    omega, slope = 30.0, lambda network: jax.vmap(jax.grad(network.activation))(v)
    turn = np.cos(omega * (np.abs(v) + 1) * v) * omega
    np.testing.assert_allclose(slope(true), (2 * np.abs(v) + 1) * turn, rtol=1e-9)
    np.testing.assert_allclose(slope(stopped), (np.abs(v) + 1) * turn, rtol=1e-9)
    assert published.StoppedFINER.label not in networks.families()


def test_nearness_of_a_multiple_and_of_a_turned_matrix():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    K = jnp.asarray(Q @ np.diag([8, 7, 4, 3, 2, 1, 1, 1]) @ Q.T, jnp.float32)
    distance, cosine, subspace = published.nearness(K, 3 * K, count=2)
    np.testing.assert_allclose([distance, cosine, subspace], [2, 1, 1], rtol=1e-4)
    first, last = Q[:, :2], Q[:, 6:]
    apart = published.nearness(jnp.asarray(first @ first.T), jnp.asarray(last @ last.T), count=2)
    np.testing.assert_allclose(apart, [2**0.5, 0, 0], atol=1e-4)


def outputs(network, numbers, r, params):
    return network.apply(numbers | {"params": params}, r, mutable=["batch_stats"])[0]


@pytest.mark.slow
def test_normalised_eigenvalues_are_those_of_flaxs_own_layers():
    """A perceptron with nn.LayerNorm or nn.BatchNorm on its batch, and the same numbers."""

    class Perceptron(nn.Module):
        norm: str

        @nn.compact
        def __call__(self, z):
            for i in range(3):
                z = nn.Dense(64, name=f"hidden_{i}")(z)
                if self.norm == "layer":
                    z = nn.LayerNorm(epsilon=1e-5)(z)
                if self.norm == "batch":
                    z = nn.BatchNorm(use_running_average=False, epsilon=1e-5)(z)
                z = nn.relu(z)
            return nn.Dense(1, name="readout")(z)[:, 0]

    frame = explorers.normalised(side=8).at(alpha=1.0).frame["eigenvalues"]
    r = signals.grid((8, 8), -1, 1)
    for norm, found in frame.items():
        network = Perceptron(norm)
        drawn = networks.MLP.sized(64, 3, norm="" if norm == "none" else norm)
        theta = networks.init(drawn, jax.random.key(0), 2)["params"]
        numbers = dict(network.init(jax.random.key(1), r))
        dense = {name: theta[name] for name in theta if "norm" not in name}
        params = numbers["params"] | dense
        leaves = jax.tree.leaves(jax.jacrev(partial(outputs, network, numbers, r))(params))
        J = np.concatenate([np.asarray(leaf, float).reshape(64, -1) for leaf in leaves], axis=1)
        wanted = np.linalg.eigvalsh(J @ J.T)[::-1] / 64
        np.testing.assert_allclose(found[:10], wanted[:10], rtol=2e-2)


@pytest.mark.slow
def test_a_low_cut_off_takes_the_alias_away_and_leaves_the_tone():
    """σ = 100 throughout: at the highest cut-off next to nothing is filtered."""
    explorer = explorers.aliasing("prefiltered")
    tone, alias = {}, {}
    for cutoff in (20, 400):
        level = np.asarray(explorer.at(cutoff=cutoff).trained().frame["level"])
        tone[cutoff], alias[cutoff] = level[23], level[105]
    assert alias[20] < alias[400] - 15
    assert tone[20] > -1.5


@pytest.mark.slow
def test_scaled_weights_memorise_faster_and_know_less_of_the_rest():
    explorer = explorers.weight_scale(steps=120)
    last = lambda alpha: explorer.at(alpha=alpha, rate="3e-4").trained().frame["state"]
    numbers = [[float(word) for word in last(alpha).split() if word[0].isdigit() and "." in word]
               for alpha in (1.0, 2.5)]  # fmt: skip
    (seen, unseen), (seen_scaled, unseen_scaled) = numbers
    assert seen_scaled > seen
    assert unseen_scaled < unseen - 5


def test_the_grid_beside_a_network_has_as_many_numbers():
    network = networks.SIREN((21, 21), mapping_width=21)
    theta = networks.init(network, jax.random.key(0), 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(theta["params"])) == 1009
    explorer = explorers.grid_beside()
    rough, smooth = (explorer.at(smooth=s).frame["grid"] for s in (1e-4, 1.0))
    steps = [np.abs(np.diff(np.asarray(one), axis=0)).mean() for one in (rough, smooth)]
    assert steps[1] < steps[0]
