from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from inrlib import fitting, loop, networks, signals, weights
from inrlib.metalearning import meta_learn, outer_gradient, pretrain
from inrlib.networks import FFN, SIREN

KEY = jax.random.key(0)
SMALL = SIREN((6,), mapping_width=5, offset=0.5, zero_bias=True)
FAMILIES = {
    "SIREN": (SMALL, {"omega0": 7.0}),
    "FFN": (FFN((6,), mapping_width=6, offset=0.5), {"sigma": 1.0}),
}
QUIET = {"progress": False}


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def task(family="SIREN", dtype=jnp.float64, images=3):
    network, settings = FAMILIES[family]
    theta = networks.init(network, KEY, 2, dtype, **settings)
    r = jnp.asarray(signals.grid((4, 4)), dtype)
    return network, theta, r, jax.random.uniform(jax.random.key(1), (images, 16, 1), dtype)


def by_hand(network, theta, r):
    """The loss as a function of one long vector, and that vector."""
    vector, unravel = ravel_pytree(theta["params"])

    def loss(vector, g):
        return jnp.mean((network.apply({**theta, "params": unravel(vector)}, r) - g) ** 2)

    return vector, loss


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inner_steps", [0, 1, 2])
@pytest.mark.few(2)
def test_maml_gradient_is_a_finite_difference(family, inner_steps, double):
    network, theta, r, g = task(family)
    options = {"inner_steps": inner_steps, "inner_rate": 0.3}
    vector, unravel = ravel_pytree(theta["params"])
    at = lambda v: outer_gradient(network, {**theta, "params": unravel(v)}, r, g, **options)
    at = jax.jit(at)
    gradient = at(vector)[1]
    direction = jax.random.normal(KEY, vector.shape, vector.dtype)
    direction, step = direction / jnp.linalg.norm(direction), 1e-6
    above, below = (at(vector + sign * step * direction)[0] for sign in (1, -1))
    difference = (above - below) / (2 * step)
    assert ravel_pytree(gradient)[0] @ direction == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_maml_gradient_is_the_product_of_hessians(family, double):
    """∇ L(U(θ)) = (I − αH(θ0)) (I − αH(θ1)) ∇L(θ2), every factor written out."""
    network, theta, r, g = task(family)
    alpha = 0.3
    vector, loss = by_hand(network, theta, r)
    grad, hessian, eye = jax.jit(jax.grad(loss)), jax.jit(jax.hessian(loss)), jnp.eye(len(vector))
    losses, gradients = [], []
    for image in g:
        one = vector - alpha * grad(vector, image)
        two = one - alpha * grad(one, image)
        factors = [eye - alpha * hessian(place, image) for place in (vector, one)]
        losses.append(loss(two, image))
        gradients.append(factors[0] @ factors[1] @ grad(two, image))
    found, gradient = outer_gradient(network, theta, r, g, inner_rate=alpha)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-12)
    np.testing.assert_allclose(ravel_pytree(gradient)[0], np.mean(gradients, axis=0), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_reptile_is_its_definition(family, double):
    network, theta, r, g = task(family)
    vector, loss = by_hand(network, theta, r)
    adapted = []
    for image in g:
        place = vector
        for _ in range(3):
            place = place - 0.1 * jax.grad(loss)(place, image)
        adapted.append(place)
    options = {"method": "reptile", "inner_steps": 3, "inner_rate": 0.1}
    found, gradient = outer_gradient(network, theta, r, g, **options)
    expected = vector - np.mean(adapted, axis=0)
    np.testing.assert_allclose(ravel_pytree(gradient)[0], expected, atol=1e-13)
    losses = [loss(place, image) for place, image in zip(adapted, g, strict=True)]
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-12)


def test_single_precision_keeps_the_second_derivatives():
    """The sine of float32 is a polynomial with a derivative of its own; it has a second one too."""
    gradients = []
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            network, *rest = task(dtype=jnp.float32)
            rest = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), rest)
            gradient = outer_gradient(network, *rest, inner_rate=0.3)[1]
            gradients.append(np.asarray(ravel_pytree(gradient)[0]))
    scale = np.abs(gradients[1]).max()
    np.testing.assert_allclose(gradients[0] / scale, gradients[1] / scale, atol=1e-5)


def test_the_outer_loop_is_adam_on_the_drawn_images():
    """The compiled loop against a plain one that is told which images each step drew."""
    network, theta, r, g = task(dtype=jnp.float32, images=5)
    run = meta_learn(network, theta, r, g, key=KEY, steps=11, batch=2, outer_rate=1e-3, **QUIET)
    params, tx, levels = theta["params"], optax.adam(1e-3), []
    state = tx.init(params)
    outer = jax.jit(lambda params, g: outer_gradient(network, {**theta, "params": params}, r, g))
    for i in range(11):
        pick = jax.random.permutation(jax.random.fold_in(KEY, i), 5)[:2]
        loss, gradient = outer(params, g[pick])
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        levels.append(-10 * np.log10(loss))
    np.testing.assert_allclose(run.psnr, levels, atol=1e-4)
    for a, b in zip(jax.tree.leaves(run.theta["params"]), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_pretraining_is_fit():
    network, theta, r, g = task(dtype=jnp.float32)
    run = pretrain(network, theta, r, g[0], steps=60, outer_rate=1e-3, **QUIET)
    fit = fitting.fit(network, theta, r, g[0], steps=60, learning_rate=1e-3, **QUIET)
    np.testing.assert_allclose(run.psnr, fit.psnr[:-1], atol=1e-2)


@pytest.mark.parametrize("method", ["maml", "reptile"])
@pytest.mark.few(1)
def test_learned_numbers_fit_unseen_signals_faster(method):
    """Tones of one frequency and any phase: two steps say more after meta-learning."""
    network = SIREN((32,), mapping_width=32)
    r = signals.grid(32)
    phases = jax.random.uniform(KEY, (24, 1, 1), maxval=2 * jnp.pi)
    g = jnp.sin(2 * jnp.pi * 2 * r[None] + phases)
    theta = networks.init(network, KEY, 1, omega0=20.0)
    options = {"steps": 300, "inner_rate": 0.02, "outer_rate": 1e-3, "key": KEY} | QUIET
    learned = meta_learn(network, theta, r, g[:16], method=method, **options).theta
    after = lambda theta: outer_gradient(network, theta, r, g[16:], inner_rate=0.02)[0]
    assert 10 * np.log10(after(theta) / after(learned)) > 3


@pytest.mark.parametrize("method", ["maml", "reptile"])
def test_an_interrupted_run_ends_with_the_same_bits(method, tmp_path):
    network, theta, r, g = task(dtype=jnp.float32, images=5)
    options = {"method": method, "key": KEY, "steps": 37, "snapshots": (0, 5, 30, 37)}
    whole = meta_learn(network, theta, r, g, **options, **QUIET)

    def interrupt(step):
        if step >= 17:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        meta_learn(network, theta, r, g, **options, checkpoint=path, progress=interrupt)
    jax.clear_caches()  # as in a new process
    seen = []
    run = meta_learn(network, theta, r, g, **options, checkpoint=path, progress=seen.append)
    assert min(seen) >= 16
    assert seen[-1] == 37
    for a, b in zip(jax.tree.leaves(run), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.snapshots["params"]["readout"]["kernel"].shape[0] == 4
    np.testing.assert_array_equal(
        run.snapshots["params"]["readout"]["kernel"][0], theta["params"]["readout"]["kernel"]
    )


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path):
    network, theta, r, g = task(dtype=jnp.float32, images=5)
    path = tmp_path / "run.safetensors"
    start = partial(meta_learn, network, theta, r, key=KEY, steps=9, checkpoint=path, **QUIET)
    start(g)
    content = path.read_bytes()
    for other in (
        lambda: start(g.at[0, 0].add(1)),
        lambda: start(g, key=jax.random.key(1)),
        lambda: start(g, inner_rate=0.1),
        lambda: start(g, method="reptile"),
        lambda: start(g, steps=8),
        lambda: start(g, snapshots=(3,)),
    ):
        with pytest.raises(ValueError, match=r"checkpoint: .*give another path"):
            other()
    assert path.read_bytes() == content
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="damaged"):
        start(g)
    assert path.read_bytes() == content[:-100]
    assert list(tmp_path.iterdir()) == [path]


def test_rates_steps_and_snapshots_do_not_compile_again(compiled):
    network, theta, r, g = task(dtype=jnp.float32, images=5)
    meta_learn(network, theta, r, g, key=KEY, steps=10, **QUIET)
    programs = loop._advance._cache_size()
    options = {"key": jax.random.key(3), "inner_rate": 0.5, "outer_rate": 1e-2}
    meta_learn(network, theta, r, g, steps=23, snapshots=(2, 7), **options, **QUIET)
    assert loop._advance._cache_size() == programs


def test_a_diverging_run_is_named_and_its_checkpoint_stays(tmp_path):
    network, theta, r, g = task(dtype=jnp.float32)
    path = tmp_path / "run.safetensors"
    options = {"key": KEY, "steps": 400, "outer_rate": 1e30, "checkpoint": path} | QUIET
    with pytest.raises(FloatingPointError, match=r"not finite at step \d+; lower"):
        meta_learn(network, theta, r, g, inner_rate=1e30, **options)
    tensors, _ = weights.read(path)
    assert np.isfinite(tensors["curves/0"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": jnp.zeros((3, 5, 1))}, r"must be \(N, D\)"),
        ({"images": jnp.zeros((3, 16, 3))}, "3 channels for a network with outputs=1"),
        ({"images": jnp.full((3, 16, 1), jnp.nan)}, "NaN or infinity"),
        ({"method": "anil"}, "method='anil'"),
        ({"steps": 0}, "steps=0"),
        ({"inner_steps": -1}, "inner_steps=-1"),
        ({"batch": 4}, "batch=4 must lie between 1 and the 3 images"),
        ({"steps": 5, "snapshots": (6,)}, r"snapshots=\[6\]"),
    ],
)
def test_meta_learn_refuses(change, message, unchecked):
    network, theta, r, images = task(dtype=jnp.float32)
    arguments = {"r": r, "images": images, "key": KEY} | QUIET | change
    with pytest.raises(ValueError, match=message):
        meta_learn(network, theta, **arguments)
