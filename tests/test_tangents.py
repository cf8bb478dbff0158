import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

if importlib.util.find_spec("neural_tangents") is None:
    pytest.skip("neural-tangents is not installed: run ./postBuild", allow_module_level=True)

from inrlib import fitting, networks, ntk, tangents
from inrlib.networks import FFN, MLP, SIREN

ROOT = Path(__file__).resolve().parent.parent

LOOK = """
import sys, types
import jax, jax.core, jax.random, jax.interpreters.ad, jax.extend.core, jax.scipy.linalg
from jax.experimental import ode
from jax.example_libraries import stax
from inrlib import networks
def look():
    names = ["jax", "jax.core", "jax.random", "jax.interpreters.ad"]
    return {name: sorted(vars(sys.modules[name])) for name in names}
before, modules = look(), set(sys.modules)
from inrlib import tangents
assert look() == before, [set(a) ^ set(b) for a, b in zip(look().values(), before.values())]
assert "jax.util" not in sys.modules or "jax.util" in modules
new = {name.split(".")[0] for name in set(sys.modules) - modules}
assert not new & {"tensorflow", "tf2jax"}, new
"""


def python(text):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_importing_leaves_jax_as_it_was():
    result = python(LOOK)
    assert result.returncode == 0, result.stderr


def test_a_missing_package_is_named_with_the_remedy():
    result = python("import sys; sys.modules['neural_tangents'] = None; import inrlib.tangents")
    assert result.returncode != 0
    assert "ImportError: neural-tangents cannot be imported" in result.stderr
    assert "run ./postBuild" in result.stderr


def example(channels=1, dims=2):
    network = SIREN((12,), channels, mapping_width=16)
    theta = networks.init(network, jax.random.key(0), dims, omega0=3.0)
    return network, theta, jax.random.uniform(jax.random.key(1), (20, dims))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.few(1)
def test_the_kernel_by_contraction_of_the_whole_jacobian(channels):
    """neural-tangents' slow route, and ours by layers or without the matrix."""
    network, theta, r = example(channels)
    f = networks.function(network, theta)
    contraction = tangents._nt.NtkImplementation.JACOBIAN_CONTRACTION
    theirs = tangents._nt.empirical_ntk_fn(
        f, trace_axes=(-1,), vmap_axes=0, implementation=contraction
    )(r, None, theta["params"])
    for ours in (ntk.gram(network, theta, r), ntk.operator(network, theta, r)(jnp.eye(20))):
        assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs)


def moved(theta, size):
    leaves, tree = jax.tree.flatten(theta["params"])
    keys = jax.random.split(jax.random.key(9), len(leaves))
    draws = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    params = [x + size * d for x, d in zip(leaves, draws, strict=True)]
    return {**theta, "params": jax.tree.unflatten(tree, params)}


def test_linearise_is_exact_to_first_order():
    """Half the way, a quarter of the error; and at theta itself no error."""
    with jax.enable_x64(True):
        network, theta, r = example()
        theta = jax.tree.map(lambda x: x.astype(jnp.float64), theta)
        linear = tangents.linearise(network, theta)
        assert np.allclose(linear(theta, r), network.apply(theta, r))
        miss = [
            np.linalg.norm(linear(other, r) - network.apply(other, r))
            for other in (moved(theta, 2e-4), moved(theta, 1e-4))
        ]
    assert 3.8 < miss[0] / miss[1] < 4.2


def test_gradient_flow_is_the_exponential():
    network, theta, r = example()
    with jax.enable_x64(True):
        theta, r = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (theta, r))
        new = r[:5] + 0.01
        K, K_new = ntk.gram(network, theta, r), ntk.gram(network, theta, new, r)
        f0, f0_new = network.apply(theta, r), network.apply(theta, new)
        g = jnp.sin(r[:, :1])
        steps, rate = jnp.array([0.0, 30.0]), 0.01
        on, off = tangents.gradient_flow(K, f0, g, steps, rate, K_new, f0_new)
        alone = tangents.gradient_flow(K, f0, g, steps, rate)
    assert np.allclose(on[0], f0)
    decay = scipy.linalg.expm(-rate * 30 * np.asarray(K) / len(g))
    assert np.allclose(on[1], g + decay @ (f0 - g), atol=1e-8)
    assert np.allclose(alone, on, atol=1e-10)
    learned = np.linalg.solve(K, (np.eye(len(g)) - decay) @ (g - f0))
    assert np.allclose(off[1], f0_new + K_new @ learned, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradient_flow_counts_steps_as_fit_does(channels):
    """A network that is linear anyhow, trained with small steps, follows the flow."""
    network = MLP((), channels)
    theta = networks.init(network, jax.random.key(0), 2)
    r = jax.random.uniform(jax.random.key(1), (20, 2))
    g = jnp.concatenate([jnp.sin((c + 3) * r[:, :1]) for c in range(channels)], axis=1)
    rate, steps = 0.01, 300
    trained = fitting.fit(
        network, theta, r, g, steps=steps, learning_rate=rate, optimizer=optax.sgd, progress=False
    )
    K, f0 = ntk.gram(network, theta, r), network.apply(theta, r)
    (flow,) = tangents.gradient_flow(K, f0, g, jnp.array([float(steps)]), rate)
    assert np.abs(fitting.evaluate(network, trained.theta, r) - flow).max() < 2e-3
    assert np.abs(flow - f0).max() > 0.1


def test_infinite_relu_is_the_arc_cosine_kernel():
    """One hidden layer, in closed form (Cho and Saul 2009)."""
    network = MLP((50,))
    theta = networks.init(network, jax.random.key(0), 2)
    r1, r2 = jax.random.normal(jax.random.key(1), (2, 9, 2))
    norms = np.linalg.norm(r1, axis=1)[:, None] * np.linalg.norm(r2, axis=1)
    angle = np.arccos(np.clip(r1 @ r2.T / norms, -1, 1))
    relu = norms / (4 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    slopes = (np.pi - angle) / (2 * np.pi)
    kernel = tangents.infinite_width(network, theta)(r1, r2)
    assert np.allclose(kernel, 50 * relu + 1 + (r1 @ r2.T + 1) * slopes, rtol=1e-4, atol=1e-4)


def gaussian_first_layer(network, theta, key):
    """The first layer from a Gaussian of the same variance: the case of the infinite kernel."""
    W0, b0 = jax.random.split(key)
    D, T = theta["params"]["first"]["kernel"].shape
    W0 = jax.random.normal(W0, (T, D)) * 3**-0.5 / D
    return networks.with_first_layer(theta, W0, jax.random.normal(b0, (T,)) * 3**-0.5)


more = [pytest.param(name, marks=pytest.mark.slow) for name in ("MLP", "SIREN, fixed")]


@pytest.mark.parametrize("family", ["FFN", "SIREN", "SIREN, zero bias", *more])
@pytest.mark.few(2)
def test_infinite_width_is_the_mean_of_wide_networks(family):
    """The kernels of finite networks scatter around it, the less the wider they are."""
    r = jax.random.uniform(jax.random.key(1), (12, 2))
    key = jax.random.key(0)

    def miss(width, draws=24):
        if family == "MLP":
            network, settings = MLP((width, width)), {}
        elif family == "FFN":
            network, settings = FFN((width, width), mapping_width=64), {"sigma": 1.0}
        else:
            zero, trainable = family.endswith("bias"), not family.endswith("fixed")
            T = width if trainable else 64  # a fixed mapping may be as narrow as it likes
            network = SIREN((width,), mapping_width=T, zero_bias=zero, trainable=trainable)
            settings = {"omega0": 10.0}
        first = networks.init(network, key, 2, **settings)

        def one(key):
            theta = networks.init(network, key, 2, **settings)
            theta = {**theta, "fixed": first["fixed"]}
            if "first" in theta["params"]:
                theta = gaussian_first_layer(network, theta, key)
            if family.endswith("fixed"):  # the first layer behind it needs Gaussian biases likewise
                params = dict(theta["params"])
                bias = jax.random.normal(key, (width,)) * (3 * network.mapping_width) ** -0.5
                params["hidden_0"] = {**params["hidden_0"], "bias": bias}
                theta = {**theta, "params": params}
            if family.endswith("bias"):
                params = dict(theta["params"])
                params["first"] = {**params["first"], "bias": 0 * params["first"]["bias"]}
                theta = {**theta, "params": params}
            return ntk.gram(network, theta, r)

        finite = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), draws))
        limit = tangents.infinite_width(network, first)(r)
        scale = np.linalg.norm(limit)
        each = np.linalg.norm(finite - limit, axis=(1, 2)).mean() / scale
        return np.linalg.norm(finite.mean(0) - limit) / scale, each

    (_, narrow), (bias, wide) = miss(32), miss(512)
    assert bias < 0.05
    assert wide < 0.5 * narrow


def test_infinite_width_in_the_strictest_settings_of_jax():
    network, theta, r = example()
    expected = tangents.infinite_width(network, theta)(r)
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        assert np.allclose(tangents.infinite_width(network, theta)(r), expected)
        flow = tangents.gradient_flow(expected, r[:, :1], r[:, 1:], jnp.array([1.0]), 0.1)
        assert np.isfinite(flow).all()


class Swish(MLP):
    def activation(self, v):
        return jax.nn.swish(v)


class Cosine(SIREN):
    def activation(self, v):
        return jnp.cos(v)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (FFN((8,), mapping_width=8, trainable=True), "the mapping's B is trained"),
        (networks.SingleFrequency((8,), trainable=True), "the mapping's f0 is trained"),
        (networks.MFN((8,), mapping_width=8), "MFN has layers of its own"),
        (Swish((8,)), "Swish has layers of its own"),
        (Cosine((8,), mapping_width=8), "Cosine has layers of its own"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_infinite_width_refuses_what_it_does_not_know(network, message):
    with pytest.raises(ValueError, match=message):
        tangents.infinite_width(network, networks.init(network, jax.random.key(0), 2))
