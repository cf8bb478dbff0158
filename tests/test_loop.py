"""The loop as whoever drives it sees it; what training makes of it is in the tests of the rules."""

import gc
import json
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT

from inrlib import fitting, loop, networks, signals
from inrlib.networks import MLP, SIREN

KEY = jax.random.key(0)
NETWORK = SIREN((16,), mapping_width=16)
THETA = networks.init(NETWORK, KEY, 1)
R = signals.grid(32)
G = signals.tone(3, R)


def training(**options):
    return fitting.training(NETWORK, THETA, R, G, **options)


def test_every_stage_is_the_shorter_fit_and_stays_so():
    """Kept to the end, although the loop works in place behind them; for any cut into stretches."""
    lengths = iter([1, 6, 0, 3, 100])
    stages = list(training(steps=30, stretch=lambda: next(lengths)))
    assert [stage.step for stage in stages] == [0, 1, 7, 8, 11, 30]
    for stage in stages[1:]:
        run = fitting.fit(NETWORK, THETA, R, G, steps=stage.step, progress=False)
        np.testing.assert_array_equal(stage.psnr, run.psnr[:-1])
        for a, b in zip(jax.tree.leaves(stage.theta), jax.tree.leaves(run.theta), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        stages[0].theta["params"]["readout"]["kernel"], THETA["params"]["readout"]["kernel"]
    )


def holding(rate):
    """An optimiser whose state is the parameters themselves."""
    return optax.GradientTransformation(
        lambda params: params,
        lambda gradient, state, params: (jax.tree.map(lambda d: -rate * d, gradient), params),
    )


def test_an_optimiser_that_holds_the_parameters_does_not_take_them_away():
    kept = [stage.theta for stage in training(steps=9, stretch=2, optimizer=holding)]
    assert all(np.isfinite(leaf).all() for theta in kept for leaf in jax.tree.leaves(theta))


def test_nothing_happens_before_it_is_asked_for_and_nothing_is_left_over():
    asked = []
    stages = training(steps=1000, stretch=lambda: asked.append(1) or 5)
    assert asked == []
    next(stages)
    assert asked == []
    stage = next(stages)
    assert (stage.step, len(asked)) == (5, 1)
    before = weakref.ref(jax.tree.leaves(stage.theta["params"])[0])
    del stages, stage
    gc.collect()
    assert before() is None
    assert len(asked) == 1


def test_mistakes_are_named_where_the_training_is_asked_for():
    with pytest.raises(ValueError, match="steps=0"):
        training(steps=0)


def test_lengths_of_stretches_and_numbers_compile_nothing(compiled):
    list(training(steps=20, stretch=3))
    programs = loop._advance._cache_size()
    compiled.clear()
    list(training(steps=33, stretch=7, learning_rate=3e-4, peak=2.0))
    assert not compiled
    assert loop._advance._cache_size() == programs


def test_more_steps_than_one_buffer_holds_end_with_the_same_numbers():
    """2,048 steps share one program; beyond them the buffer is another, the arithmetic is not."""
    run = fitting.fit(NETWORK, THETA, R, G, steps=2100, snapshots=(2000,), progress=False)
    shorter = fitting.fit(NETWORK, THETA, R, G, steps=2000, progress=False)
    np.testing.assert_array_equal(run.psnr[:2000], shorter.psnr[:2000])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), run.snapshots, shorter.theta)
    # The last level is not of the loop, and compiled with other optimisations.
    np.testing.assert_allclose(run.psnr[2000], shorter.psnr[2000], rtol=1e-5)
    assert run.psnr.shape == (2101,)


def test_the_step_that_diverged_is_the_same_however_the_stretches_are_cut():
    """Against a plain loop: where the loss first leaves the finite numbers."""
    network = MLP((16,))
    theta, named = networks.init(network, KEY, 1), set()
    for stretch in (1, 7, 1000):
        stages = fitting.training(
            network, theta, R, G, steps=1000, stretch=stretch, learning_rate=1e9,
            optimizer=optax.sgd,
        )  # fmt: skip
        with pytest.raises(FloatingPointError) as error:
            list(stages)
        named.add(str(error.value))
    assert len(named) == 1
    step = int(named.pop().split("step ")[1].split(";")[0])
    params, f = theta["params"], networks.function(network, theta)
    slope = jax.jit(jax.value_and_grad(lambda p: jnp.mean((f(p, R) - G) ** 2) / 2))
    for i in range(step + 1):
        loss, gradient = slope(params)
        assert np.isfinite(loss) == (i < step)
        params = fitting.downhill(params, gradient, 1e9)


def test_a_checkpoint_that_is_a_folder_is_refused(tmp_path):
    rule, state, arrays = fitting._prepare(NETWORK, THETA, R, G, steps=3)
    with pytest.raises(ValueError, match="is a folder; give the path of a file"):
        loop.run(rule, state, arrays, 3, 1, progress=False, checkpoint=tmp_path)


def test_a_run_of_fit_resumes_with_the_same_bits(tmp_path):
    """Two curves, and a rule that is not meta-learning's."""
    held_out = (signals.grid(7), signals.tone(2, signals.grid(7)))
    prepare = lambda: fitting._prepare(NETWORK, THETA, R, G, steps=20, held_out=held_out)
    whole, _ = loop.run(*prepare(), 20, 6, progress=False)
    path = tmp_path / "run.safetensors"
    loop.run(*prepare(), 13, 5, progress=False, checkpoint=path)
    resumed, kept = loop.run(
        *prepare(), 20, 6, progress=False, checkpoint=path, snapshots=(20,)
    )  # fmt: skip
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(kept) == 1


def long_run(**options):
    return fitting.fit(NETWORK, THETA, R, G, steps=100, **{"progress": False} | options)


def killed_at(step):
    def tell(now):
        if now >= step:
            raise KeyboardInterrupt

    return tell


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """A folder for checkpoints that nobody asked for, written at every stretch."""
    monkeypatch.setattr(loop, "_OFTEN", 0.0)
    monkeypatch.setenv("INRLIB_CHECKPOINTS", str(tmp_path))
    return tmp_path


def test_a_run_that_was_killed_goes_on_where_it_was(checkpoints, monkeypatch):
    """Bit for bit, from a file that nobody named; another run does not take it."""
    with monkeypatch.context() as without:
        without.delenv("INRLIB_CHECKPOINTS")
        whole, other = long_run(), long_run(learning_rate=1e-3)
    with pytest.raises(KeyboardInterrupt):
        long_run(progress=killed_at(40))
    told = []
    np.testing.assert_array_equal(long_run(learning_rate=1e-3).psnr, other.psnr)
    again = long_run(progress=told.append)
    assert min(told) >= 38  # two steps a stretch; the stretch in which it was killed is lost
    np.testing.assert_array_equal(again.psnr, whole.psnr)
    for a, b in zip(jax.tree.leaves(again.theta), jax.tree.leaves(whole.theta), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(list(checkpoints.iterdir())) == 2


def test_a_checkpoint_of_ones_own_that_cannot_be_read_is_made_anew(checkpoints):
    whole = long_run()
    (file,) = checkpoints.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    told = []
    np.testing.assert_array_equal(long_run(progress=told.append).psnr, whole.psnr)
    assert min(told) == 0


def test_rules_that_have_no_name_keep_none(checkpoints):
    """Two optimisers made of closures look alike in words."""
    long_run(optimizer=holding)
    long_run(optimizer=optax.sgd(1e-3))
    kept = list(checkpoints.iterdir())
    assert len(kept) == 1  # `holding` is known by its name, the other is no more than closures


def test_the_next_process_finds_it(checkpoints):
    """What is in memory has other addresses there."""
    program = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from inrlib import loop; loop._OFTEN = 0.0\n"
        "from test_loop import long_run; long_run()"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
        assert len(list(checkpoints.iterdir())) == 1
    long_run()
    assert len(list(checkpoints.iterdir())) == 1


@pytest.mark.parametrize("steps", [1, 300])
def test_a_rehearsal_takes_the_first_steps_and_says_what_all_would_take(
    steps, tmp_path, monkeypatch
):
    """As many numbers as of the whole run, and their first ones are the same."""
    run = lambda: fitting.fit(
        NETWORK, THETA, R, G, steps=steps, snapshots=(0, steps), progress=False
    )
    whole = run()
    book = tmp_path / "book"
    monkeypatch.setenv("INRLIB_REHEARSAL", str(book))
    calls = []
    monkeypatch.setattr(loop, "stretches", lambda *a, f=loop.stretches: calls.append(a) or f(*a))
    monkeypatch.setattr(loop, "_ENOUGH", 0.0)
    rehearsed = run()
    assert rehearsed.psnr.shape == whole.psnr.shape
    assert np.isfinite(rehearsed.psnr).all()
    np.testing.assert_array_equal(rehearsed.psnr[:1], whole.psnr[:1])
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(rehearsed.snapshots) == shapes(whole.snapshots)
    (line,) = map(json.loads, book.read_text().splitlines())
    assert line["steps"] == steps
    taken = max(a[3] for a in calls)
    assert taken <= 5
    assert line["whole"] >= 0
    assert line["spent"] > 0
    assert (line["whole"] > 0) == (steps > 1)
