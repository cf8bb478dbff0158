"""Depth: the explorer of Section 7's starts, against the Jacobian written out."""

import jax
import numpy as np
import pytest

from inrlib import explorers, networks
from inrlib.explorers.starts import DEPTHS


def mean_eigenvalue(depth, weights, seed=0):
    """tr Θ/N of a SIREN, c_w as given, no biases in its hidden layers; the mean of four draws."""
    r = np.random.default_rng(0).uniform(-1, 1, (32, 2)).astype(np.float32)
    network, found = networks.SIREN.sized(64, depth), []
    for key in jax.random.split(jax.random.key(seed), 4):
        deepest = networks.init(networks.SIREN.sized(64, DEPTHS[-1]), key, 2)["params"]
        params = {
            n: deepest[n] for n in ("first", "readout", *(f"hidden_{i}" for i in range(depth)))
        }
        for name in (name for name in params if name.startswith("hidden")):
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            params[name] = {"kernel": kernel * weights / 6**0.5, "bias": 0 * bias}
        fixed = {"omega0": jax.numpy.float32(15)}
        f = lambda params, fixed=fixed: network.apply({"params": params, "fixed": fixed}, r)[:, 0]
        leaves = jax.tree.leaves(jax.jacrev(f)(params))
        found.append(sum(float((np.asarray(leaf, float) ** 2).sum()) for leaf in leaves) / len(r))
    return np.mean(found)


@pytest.fixture(scope="module")
def explorer():
    return explorers.depth_kernel()


def test_the_curve_is_the_trace_of_the_jacobian(explorer):
    shown = explorer.at(weights=3.0, biases="none").frame["values"]["yours"]
    wanted = [mean_eigenvalue(depth, 3.0) for depth in DEPTHS[:3]]
    np.testing.assert_allclose(shown[:3], np.array(wanted) / wanted[0], rtol=1e-3)


def test_without_biases_the_kernel_grows_and_with_the_stable_start_it_does_not(explorer):
    growth, limit, variance = explorer.at(weights=6**0.5, biases="none").frame["title"]
    assert limit == pytest.approx(1.203, abs=1e-3)
    assert variance == pytest.approx(0.797, abs=1e-3)  # of σ² = 1 − exp(−2σ²)
    assert growth > 1.1
    frame = explorer.at(weights=2.299, biases="depth-stable").frame
    np.testing.assert_allclose(frame["values"]["yours"], frame["values"]["depth-stable"], rtol=1e-5)
    assert frame["title"][1] == pytest.approx(1, abs=2e-3)


def test_larger_weights_widen_the_band_of_a_deep_output(explorer):
    def centroid(weights, name):
        power = 10 ** (np.asarray(explorer.at(weights=weights).frame["levels"][name]) / 10)
        return (np.arange(len(power)) * power).sum() / power.sum()

    explorer.at(biases="none")
    assert centroid(4.0, "depth 10") > 2 * centroid(4.0, "depth 2")
    assert centroid(4.0, "depth 10") > 2 * centroid(1.5, "depth 10")
