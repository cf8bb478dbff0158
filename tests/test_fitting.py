import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
def test_fit_refuses(change, message):
    arguments = {"r": R, "g": G} | QUIET | change
    with pytest.raises(ValueError, match=message):
        fitting.fit(NETWORK, start(), **arguments)


def test_fit_refuses_what_does_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(checks, "free_memory", lambda: 1000)
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


def test_readout_refuses():
    with pytest.raises(ValueError, match="readout: coordinates"):
        fitting.readout(NETWORK, start(), R, G[:3])


SEVERAL = """
import jax, jax.numpy as jnp, numpy as np
from inrlib import checks, fitting, loop, networks, signals
r = signals.grid(32)
g = signals.tone(3, r)
network = networks.SIREN((16,), mapping_width=16)
theta = networks.init(network, jax.random.key(0), 1)
assert len(fitting._spread((r, g))[0].devices()) == jax.device_count()
run = fitting.fit(network, theta, r, g, steps=20, progress=False)
print(jax.device_count(), *run.psnr)
"""


def test_several_devices_agree_with_one():
    levels = []
    for count in (1, 2):
        flag = f"--xla_force_host_platform_device_count={count}"
        environment = {"XLA_FLAGS": flag, "PATH": "", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", SEVERAL]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found, *psnr = out.stdout.split()
        assert int(found) == count
        levels.append([float(p) for p in psnr])
    np.testing.assert_allclose(*levels, atol=1e-3)
