import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from inrlib import checks, fitting, loop, networks, signals
from inrlib.networks import MLP, SIREN

KEY = jax.random.key(0)
NETWORK = SIREN((16,), mapping_width=16)
R = signals.grid(32)
G = signals.tone(3, R)
QUIET = {"progress": False}


def start(key=KEY, **settings):
    return networks.init(NETWORK, key, 1, **settings)


def by_hand(theta, steps, tx):
    """The same training as a plain Python loop."""
    params, curve = theta["params"], []
    loss = lambda p: jnp.mean((NETWORK.apply({**theta, "params": p}, R) - G) ** 2) / 2
    state = tx.init(params)
    for _ in range(steps):
        curve.append(-10 * np.log10(2 * float(loss(params))))
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    return params, [*curve, -10 * np.log10(2 * float(loss(params)))]


@pytest.mark.parametrize("optimizer", [optax.adam, optax.sgd])
@pytest.mark.few(1)
def test_fit_is_the_python_loop(optimizer):
    params, curve = by_hand(start(), 60, optimizer(1e-3))
    run = fitting.fit(
        NETWORK, start(), R, G, steps=60, learning_rate=1e-3, optimizer=optimizer, **QUIET
    )
    np.testing.assert_allclose(run.psnr, curve, atol=1e-2)
    for a, b in zip(jax.tree.leaves(run.theta["params"]), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_fit_learns_a_tone_and_leaves_settings_alone():
    theta = start(omega0=40.0)
    run = fitting.fit(NETWORK, theta, R, G, steps=1000, learning_rate=1e-3, **QUIET)
    assert run.psnr.shape == (1001,)
    assert run.psnr[-1] > 40
    assert run.theta["fixed"]["omega0"] == 40


def test_fit_does_not_use_up_its_input():
    theta = start()
    fitting.fit(NETWORK, theta, R, G, steps=3, **QUIET)
    assert np.isfinite(NETWORK.apply(theta, R)).all()


def test_steps_snapshots_and_settings_do_not_compile_again(compiled):
    fitting.fit(NETWORK, start(), R, G, steps=20, snapshots=(5,), **QUIET)
    fitting.fit(NETWORK, start(), R, G, steps=20, snapshots=(5,), **QUIET)
    programs = loop._advance._cache_size()
    compiled.clear()
    options = {"learning_rate": 3e-4, "snapshots": (7,)}
    fitting.fit(NETWORK, start(omega0=50.0), R, G, steps=33, **options, **QUIET)
    assert not compiled
    assert loop._advance._cache_size() == programs


def test_snapshots_are_the_shorter_runs():
    run = fitting.fit(NETWORK, start(), R, G, steps=30, snapshots=(0, 10, 30), **QUIET)
    shorter = fitting.fit(NETWORK, start(), R, G, steps=10, **QUIET)
    kernel = run.snapshots["params"]["readout"]["kernel"]
    np.testing.assert_array_equal(kernel[0], start()["params"]["readout"]["kernel"])
    np.testing.assert_array_equal(kernel[1], shorter.theta["params"]["readout"]["kernel"])
    np.testing.assert_array_equal(kernel[2], run.theta["params"]["readout"]["kernel"])
    assert run.snapshots["fixed"]["omega0"].shape == (3,)


def test_held_out_is_measured_on_its_own_samples():
    finer = signals.grid(64)
    goal = signals.tone(3, finer)
    run = fitting.fit(NETWORK, start(), R, G, steps=5, held_out=(finer, goal), **QUIET)
    expected = fitting.psnr(NETWORK.apply(run.theta, finer), goal)
    np.testing.assert_allclose(run.psnr_held_out[-1], expected, rtol=1e-5)
    assert run.psnr_held_out.shape == run.psnr.shape


def test_batches_are_drawn_by_key():
    runs = [
        fitting.fit(NETWORK, start(), R, G, steps=9, batch=4, key=jax.random.key(k), **QUIET)
        for k in (1, 1, 2)
    ]
    assert np.array_equal(runs[0].psnr, runs[1].psnr)
    assert not np.array_equal(runs[0].psnr, runs[2].psnr)


def test_fit_many_is_fit_for_each():
    keys = jax.random.split(KEY, 2)
    settings = jnp.array([20.0, 50.0])
    thetas = jax.vmap(lambda k, w: start(k, omega0=w))(keys, settings)
    targets = jnp.stack([G, -2 * G])
    many = fitting.fit_many(NETWORK, thetas, R, targets, steps=25, snapshots=(5, 25), **QUIET)
    assert many.psnr.shape == (2, 26)
    for i in range(2):
        one = fitting.fit(
            NETWORK, start(keys[i], omega0=settings[i]), R, targets[i], steps=25, **QUIET
        )
        np.testing.assert_allclose(many.psnr[i], one.psnr, atol=1e-2)
    assert many.snapshots["params"]["readout"]["kernel"].shape == (2, 2, 16, 1)


def test_fit_many_takes_a_learning_rate_each():
    thetas = jax.vmap(start)(jnp.stack([KEY, KEY]))
    many = fitting.fit_many(
        NETWORK, thetas, R, G, steps=9, learning_rate=jnp.array([1e-5, 1e-3]), **QUIET
    )
    assert many.psnr[0, 0] == many.psnr[1, 0]
    assert many.psnr[0, -1] != many.psnr[1, -1]


def test_progress_reaches_the_end():
    seen = []
    fitting.fit(NETWORK, start(), R, G, steps=130, progress=seen.append)
    assert seen[-1] == 130
    assert seen == sorted(seen)
    assert len(seen) > 10


def test_a_diverging_loss_is_named_early():
    seen = []
    with pytest.raises(FloatingPointError, match=r"not finite at step \d+; lower learning_rate"):
        fitting.fit(MLP((16,)), networks.init(MLP((16,)), KEY, 1), R, G, steps=1000,
                    learning_rate=1e9, optimizer=optax.sgd, progress=seen.append)  # fmt: skip
    assert max(seen, default=0) < 1000


def test_float64_stays_float64():
    with jax.enable_x64(True):
        theta = networks.init(NETWORK, KEY, 1, jnp.float64)
        r, g = jnp.asarray(R, jnp.float64), jnp.asarray(G, jnp.float64)
        run = fitting.fit(NETWORK, theta, r, g, steps=3, **QUIET)
        leaves = jax.tree.leaves(run.theta["params"])
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float64")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g": G[:5]}, r"must be \(N, D\) and \(N, C\)"),
        ({"g": jnp.tile(G, (1, 3))}, "3 channels for a network with outputs=1"),
        ({"g": G.at[0].set(jnp.nan)}, "NaN or infinity"),
        ({"g": G[None]}, "use fit_many"),
        ({"steps": 0}, "steps=0"),
        ({"batch": 4}, "needs key"),
        ({"batch": 0, "key": KEY}, "batch=0"),
        ({"steps": 5, "snapshots": (6,)}, r"snapshots=\[6\]"),
    ],
)
def test_fit_refuses(change, message, unchecked):
    arguments = {"r": R, "g": G} | QUIET | change
    with pytest.raises(ValueError, match=message):
        fitting.fit(NETWORK, start(), **arguments)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16", "int64", "bool", "float16"])
def test_any_real_type_is_taken_as_the_numbers_that_it_holds(kind):
    """Targets and coordinates, of NumPy or JAX, or as lists; against PSNR in float64."""
    rng = np.random.default_rng(3)
    g = (rng.normal(size=(32, 1)) * (1 if kind == "bool" else 90)).astype(kind)
    r = rng.integers(0, 2 if kind == "bool" else 9, (32, 1)).astype(kind)
    f = np.asarray(NETWORK.apply(start(), jnp.asarray(r, jnp.float32)), float)
    expected = -10 * np.log10(np.mean((f - g.astype(float)) ** 2))
    for wrap in (np.asarray, jnp.asarray, np.ndarray.tolist):
        run = fitting.fit(NETWORK, start(), wrap(r), wrap(g), steps=2, held_out=(r, g), **QUIET)
        assert run.psnr[0] == pytest.approx(expected, abs=1e-3)
        assert run.psnr_held_out[0] == pytest.approx(expected, abs=1e-3)
        assert run.psnr.dtype == np.float32
    readout = fitting.readout(NETWORK, start(), r, g)["params"]["readout"]["kernel"]
    assert readout.dtype == jnp.float32


@pytest.mark.parametrize("odd", [np.full((32, 1), 1j), np.full((32, 1), "1"), [[None]] * 32])
def test_what_is_no_real_number_is_refused(odd, unchecked):
    for r, g in ((R, odd), (odd, G)):
        with pytest.raises(ValueError, match="is no real number"):
            fitting.fit(NETWORK, start(), r, g, **QUIET)
        with pytest.raises(ValueError, match="is no real number"):
            fitting.fit(NETWORK, start(), R, G, held_out=(r, g), **QUIET)


@pytest.mark.parametrize("seed", range(8))
def test_held_out_samples_of_another_shape_are_refused(seed, unchecked):
    """Random shapes; only (N', D) with (N', C) of the network is taken."""
    rng = np.random.default_rng(seed)
    n, dims, channels, targets = rng.integers(1, 4, 4)
    shape = (n, channels) if targets < 3 else (targets, n, channels)
    held_out = (jnp.zeros((n, dims)), jnp.zeros(shape))
    fits = dims == 1 and channels == 1 and len(shape) == 2
    if fits:
        fitting.fit(NETWORK, start(), R, G, steps=1, held_out=held_out, **QUIET)
    else:
        with pytest.raises(ValueError, match=r"held_out: .*(channels|coordinates|stack)"):
            fitting.fit(NETWORK, start(), R, G, steps=1, held_out=held_out, **QUIET)


def test_members_and_targets_that_do_not_pair_are_refused():
    thetas = jax.vmap(start)(jnp.stack([KEY, KEY]))
    many = lambda thetas=thetas, g=G, **more: fitting.fit_many(NETWORK, thetas, R, g, **more)
    for change, message in (
        ({"g": jnp.stack([G] * 3)}, "3 targets for 2 networks"),
        ({"held_out": (R, jnp.stack([G] * 3))}, "held_out: 3 targets"),
        ({"learning_rate": jnp.ones(3)}, r"shape \(3,\)"),
        ({"thetas": start()}, "same leading axis"),
    ):
        with pytest.raises(ValueError, match=message):
            many(**change, **QUIET)


@pytest.mark.parametrize(
    ("options", "like"),
    [
        ({"optimizer": optax.adam(1e-3)}, optax.adam(1e-3)),
        ({"optimizer": optax.chain(optax.clip(0.1), optax.sgd(0.1))},
         optax.chain(optax.clip(0.1), optax.sgd(0.1))),
        ({"learning_rate": optax.cosine_decay_schedule(1e-2, 20)},
         optax.adam(optax.cosine_decay_schedule(1e-2, 20))),
        ({"learning_rate": lambda count: 0.1 / (count + 1), "optimizer": optax.sgd},
         optax.sgd(lambda count: 0.1 / (count + 1))),
        ({"learning_rate": 1e-2, "optimizer": lambda rate: optax.adamw(rate, weight_decay=0.1)},
         optax.adamw(1e-2, weight_decay=0.1)),
    ],
)  # fmt: skip
@pytest.mark.few(2)
def test_optimiser_objects_and_schedules_train_as_optax_says(options, like):
    params, curve = by_hand(start(), 20, like)
    run = fitting.fit(NETWORK, start(), R, G, steps=20, **options, **QUIET)
    np.testing.assert_allclose(run.psnr, curve, atol=1e-2)
    for a, b in zip(jax.tree.leaves(run.theta["params"]), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_an_optimiser_object_with_another_learning_rate_is_refused():
    with pytest.raises(ValueError, match="an optax object has its own"):
        fitting.fit(NETWORK, start(), R, G, optimizer=optax.adam(1e-3), learning_rate=1e-2, **QUIET)


def test_whole_numbers_may_be_written_as_floats():
    assert fitting.fit(NETWORK, start(), R, G, steps=2e1, **QUIET).psnr.shape == (21,)


class Two(nn.Module):
    @nn.compact
    def __call__(self, r):
        return nn.Dense(1)(r), nn.Dense(3)(r)


class Row(nn.Module):
    @nn.compact
    def __call__(self, r):
        return nn.Dense(1)(r)[:, 0]


class Complex(nn.Module):
    """A Gabor layer's kind: complex numbers inside."""

    real: bool = False

    @nn.compact
    def __call__(self, r):
        dense = lambda width: nn.Dense(width, param_dtype=jnp.complex64, dtype=jnp.complex64)
        f = dense(1)(jnp.exp(1j * dense(9)(r)))
        return f.real if self.real else f


class Array(nn.Module):
    B: np.ndarray

    @nn.compact
    def __call__(self, r):
        return nn.Dense(1)(jnp.sin(r @ self.B))


class Neural(nnx.Module):
    def __init__(self):
        self.a = nnx.Linear(1, 1, rngs=nnx.Rngs(0))

    def __call__(self, r):
        return self.a(r)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Two(), "one array"),
        (Row(), "one array"),
        (Complex(), "let it give real numbers"),
        (Array(np.ones((1, 4))), "use tuples"),
        (nn.Sequential([nn.Dense(8), jnp.sin, nn.Dense(1)]), "use tuples"),
        (Neural(), "to_linen"),
        (networks.FFN((16,), mapping_width=16), "does not take these numbers"),
    ],
)
def test_what_is_no_network_to_train_is_refused_in_one_sentence(network, message, unchecked):
    theta = start()
    if isinstance(network, nn.Module) and not isinstance(network, networks.INR):
        theta = network.init(KEY, R)
    with pytest.raises(ValueError, match=message) as error:
        fitting.fit(network, theta, R, G, **QUIET)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"readout|r of shape|does not|Could not|no parameter"):
        fitting.readout(network, theta, R, G)


@pytest.mark.parametrize("unit", [1, 1j])
def test_complex_numbers_go_down_the_steepest_slope(unit):
    """One step of another Flax module, against finite differences of the loss."""
    network = Complex(real=True)
    theta = network.init(KEY, R)
    run = fitting.fit(
        network, theta, R, G, steps=1, learning_rate=1e-2, optimizer=optax.sgd, **QUIET
    )

    def loss(shift):
        moved = jax.tree.map(jnp.asarray, theta)
        moved["params"]["Dense_1"]["bias"] += jnp.zeros(9, jnp.complex64).at[0].set(shift * unit)
        return float(jnp.mean((network.apply(moved, R) - G) ** 2) / 2)

    first = lambda theta: complex(theta["params"]["Dense_1"]["bias"][0])
    found = ((first(theta) - first(run.theta)) / 1e-2 * np.conj(unit)).real
    assert found == pytest.approx((loss(1e-2) - loss(-1e-2)) / 2e-2, rel=0.02, abs=1e-3)


MODES = """
import sys
import jax
for option in sys.argv[1:]:
    name, value = option.split("=")
    jax.config.update(name, {"True": True}.get(value, value))
import jax.numpy as jnp
import numpy as np
from inrlib import fitting, metalearning, networks, signals
dtypes = [jnp.float32] + [jnp.float64] * jax.config.jax_enable_x64
for dtype in dtypes:
    for family in (networks.SIREN, networks.FFN):
        network = family((8,), mapping_width=8)
        one = lambda key: jax.tree.map(lambda a: a.astype(dtype), networks.init(network, key, 1))
        theta, r = one(jax.random.key(0)), signals.grid(16).astype(jnp.float32)
        g = np.asarray(jnp.sin(3 * r), float)
        options = {"batch": 4, "key": jax.random.key(0), "held_out": (r, g)}
        run = fitting.fit(network, theta, r, g, steps=3, progress=False, **options)
        stack = jax.vmap(one)(jax.random.split(jax.random.key(0), 2))
        many = fitting.fit_many(network, stack, r, g, steps=3, progress=False)
        solved = fitting.readout(network, theta, r, g)
        learned = metalearning.meta_learn(
            network, theta, r, g[None], key=jax.random.key(0), steps=3, batch=1, progress=False
        )
        everything = (run, many, solved, learned)
        types = {leaf.dtype.name for leaf in jax.tree.leaves(everything)}
        assert types == {jnp.dtype(dtype).name}, types
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(everything))
"""


@pytest.mark.parametrize(
    "options",
    [
        ["jax_numpy_dtype_promotion=strict", "jax_debug_nans=True", "jax_debug_infs=True"],
        ["jax_enable_x64=True", "jax_numpy_dtype_promotion=strict", "jax_debug_nans=True"],
    ],
)
@pytest.mark.few(1)
def test_training_works_and_keeps_its_type_in_every_mode_of_jax(options):
    command = [sys.executable, "-c", MODES, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "incompatible types" not in done.stderr


def test_descend_is_gradient_descent_of_any_length(compiled):
    """On a parabola, whose closed form is known: θ_t = (1 − rate)^t θ_0."""
    loss = lambda params: jnp.sum(params["a"] ** 2) / 2
    go = jax.jit(lambda rate, steps: fitting.descend(loss, {"a": jnp.arange(3.0)}, rate, steps))
    go(0.1, 1)
    compiled.clear()
    for rate, steps in ((0.1, 7), (0.5, 0), (0.25, 30)):
        found = go(rate, steps)["a"]
        np.testing.assert_allclose(found, (1 - rate) ** steps * np.arange(3.0), rtol=1e-5)
    assert not compiled


def test_readout_looks_at_the_memory_first():
    r = np.zeros((9_000_000, 2), np.float32)
    network = SIREN((4096,), mapping_width=4)
    theta = networks.init(network, KEY, 2)
    with pytest.raises(ValueError, match=r"9,000,000 samples need .* GiB for the decomposition"):
        fitting.readout(network, theta, r, r[:, :1])


def test_fit_refuses_what_does_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(checks, "free_memory", lambda parts: 1000)
    with pytest.raises(ValueError, match="pass batch=… or a coarser grid"):
        fitting.fit(NETWORK, start(), R, G, steps=3, **QUIET)


def test_psnr():
    g = jnp.zeros((4, 2))
    assert fitting.psnr(g + 0.1, g) == pytest.approx(20, abs=1e-4)
    assert fitting.psnr(g + 0.1, g, peak=2.0) == pytest.approx(26.0206, abs=1e-3)


def test_readout_is_least_squares():
    """Against NumPy's SVD solver on the same hidden layer, and the optimality condition."""
    r = signals.grid(200)
    g = signals.tone(9, r)
    network = SIREN((12,), 1, mapping_width=16)
    theta = networks.init(network, KEY, 1)
    Z = np.asarray(network.apply(theta, r, method="features"), float)
    Z = np.concatenate([Z, np.ones((200, 1))], axis=1)
    best = Z @ np.linalg.lstsq(Z, np.asarray(g, float), rcond=None)[0]
    found = network.apply(fitting.readout(network, theta, r, g), r)
    gap = np.mean((found - g) ** 2) / np.mean((best - g) ** 2)
    assert 1 - 1e-6 <= gap < 1.001


@pytest.mark.parametrize("seed", range(3))
def test_readout_keeps_what_smooth_hidden_units_can_say(seed):
    """A SIREN at its usual ω0 = 30 says 23 Hz; by ZᵀZ, in float32, it could not (3 dB)."""
    r = signals.grid(128)
    g = signals.tone(23, r)
    network = SIREN((128,), mapping_width=128)
    theta = networks.init(network, jax.random.key(seed), 1, omega0=30.0)
    assert fitting.psnr(network.apply(fitting.readout(network, theta, r, g), r), g) > 20


def test_readout_respects_the_offset():
    network = SIREN((64,), mapping_width=64, offset=0.5)
    fitted = fitting.readout(network, networks.init(network, KEY, 1), R, G)
    assert fitting.psnr(network.apply(fitted, R), G) > 30


@pytest.mark.parametrize("omega0", [0.01, 30.0, 1000.0])
def test_readout_survives_degenerate_features(omega0):
    network = SIREN((128,), mapping_width=128)
    fitted = fitting.readout(network, networks.init(network, KEY, 1, omega0=omega0), R, G)
    assert np.isfinite(network.apply(fitted, R)).all()


def test_readout_refuses(unchecked):
    with pytest.raises(ValueError, match="readout: coordinates"):
        fitting.readout(NETWORK, start(), R, G[:3])
