import codecs
import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT
from jax.flatten_util import ravel_pytree

from inrlib import atoms, faces, fitting, metalearning, networks, ntk, signals
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
    programs = metalearning._advance._cache_size()
    options = {"key": jax.random.key(3), "inner_rate": 0.5, "outer_rate": 1e-2}
    meta_learn(network, theta, r, g, steps=23, snapshots=(2, 7), **options, **QUIET)
    assert metalearning._advance._cache_size() == programs


def test_a_diverging_run_is_named_and_its_checkpoint_stays(tmp_path):
    network, theta, r, g = task(dtype=jnp.float32)
    path = tmp_path / "run.safetensors"
    options = {"key": KEY, "steps": 400, "outer_rate": 1e30, "checkpoint": path} | QUIET
    with pytest.raises(FloatingPointError, match=r"not finite at step \d+; lower"):
        meta_learn(network, theta, r, g, inner_rate=1e30, **options)
    tensors, _ = metalearning._read(path)
    assert np.isfinite(tensors["losses"]).all()


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
def test_meta_learn_refuses(change, message):
    network, theta, r, images = task(dtype=jnp.float32)
    arguments = {"r": r, "images": images, "key": KEY} | QUIET | change
    with pytest.raises(ValueError, match=message):
        meta_learn(network, theta, **arguments)


# --- the shipped weights -----------------------------------------------------------------------

SIDE = 48
SIREN_256 = SIREN((256,) * 3, offset=0.5, zero_bias=True)


def judged(theta, learned: bool):
    """Energy above a tenth of the largest eigenvalue and test PSNR after 3 iterations."""
    images = faces.load(size=SIDE).validation
    r = signals.grid((SIDE, SIDE))
    g = jnp.asarray(images.reshape(len(images), -1, 1), jnp.float32)
    eigen = atoms.eigenfunctions(ntk.gram(SIREN_256, theta, r))
    centred = (g - g.mean(axis=1, keepdims=True))[..., 0].T
    energy = float(atoms.energy_concentration(eigen, centred, jnp.array([0.1]))[0])
    order = np.random.default_rng(0).permutation(SIDE**2)
    seen, unseen = order[: SIDE**2 // 2], order[SIDE**2 // 2 :]
    many = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(g), *a.shape)), theta)
    how = {"optimizer": optax.sgd, "learning_rate": 1e-2} if learned else {"learning_rate": 1e-4}
    run = fitting.fit_many(
        SIREN_256, many, r[seen], g[:, seen], steps=3, held_out=(r[unseen], g[:, unseen]),
        **how, **QUIET,
    )  # fmt: skip
    return energy, float(run.psnr_held_out[:, -1].mean())


@pytest.fixture(scope="module")
def first_of_shipped():
    theta = jax.tree.map(lambda a: a[0], metalearning.shipped("maml_siren").theta)
    return theta, judged(theta, learned=True)


def test_shipped_weights_are_good(first_of_shipped):
    """On faces and pixels that meta-learning has not seen."""
    random = judged(networks.init(SIREN_256, KEY, 2, omega0=30.0), learned=False)
    _, (energy, level) = first_of_shipped
    assert energy > random[0] + 0.15
    assert level > random[1] + 4


def test_eight_bits_cost_nothing_measurable(first_of_shipped):
    """The shipped numbers shaken by as much again as their storage has rounded off."""
    theta, (energy, level) = first_of_shipped

    def shaken(leaf, key):
        if leaf.ndim < 2 or min(leaf.shape) < 64:
            return leaf
        scale = jnp.abs(leaf).max(axis=0) / 127
        return leaf + scale * jax.random.uniform(key, leaf.shape, minval=-0.5, maxval=0.5)

    leaves, structure = jax.tree.flatten(theta)
    keys = jax.random.split(KEY, len(leaves))
    other = jax.tree.unflatten(structure, map(shaken, leaves, keys))
    after = judged(other, learned=True)
    assert abs(after[0] - energy) < 0.005
    assert abs(after[1] - level) < 0.1


def test_what_is_shipped():
    names = {"maml_siren", "reptile_siren", "maml_ffn", "single_image", "maml_path"}
    files = list(metalearning.FOLDER.glob("*"))
    assert {file.stem for file in files} == names
    assert sum(file.stat().st_size for file in files) < 10e6
    axes = {}
    for name in names:
        network, theta, notes = metalearning.shipped(name)
        assert {"settings", "data", "seed", "commit", "axes", "steps"} <= set(notes)
        assert type(network) is (FFN if "ffn" in name else SIREN)
        axes[name] = theta["params"]["readout"]["bias"].shape[:-1]
    assert axes["maml_siren"] == axes["reptile_siren"] == axes["maml_ffn"] == (3,)
    assert axes["single_image"] == (3, 3)
    assert axes["maml_path"] == (12,)


def test_the_path_leads_from_the_first_numbers_to_the_learned_ones():
    path, last = metalearning.shipped("maml_path"), metalearning.shipped("maml_siren")
    assert path.notes["steps"][0] == 0
    start = networks.init(SIREN_256, KEY, 2)
    kernel = lambda theta: theta["params"]["hidden_1"]["kernel"]
    scale = float(jnp.abs(kernel(start)).max())
    np.testing.assert_allclose(kernel(path.theta)[0], kernel(start), atol=scale / 200)
    np.testing.assert_array_equal(kernel(path.theta)[-1], kernel(last.theta)[0])


def test_make_weights_in_small(tmp_path):
    command = [sys.executable, ROOT / "tools" / "weights.py", "--small", "--folder", tmp_path]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    said = out.stdout.splitlines()
    assert said[0].startswith("This will take about ")
    assert "minutes" in said[0]
    assert "step" in out.stderr
    first = {file.name: file.read_bytes() for file in tmp_path.glob("*.safetensors")}
    assert set(first) == {file.name for file in metalearning.FOLDER.glob("*.safetensors")}
    for name in first:
        network, theta, notes = metalearning.load(tmp_path / name)
        assert network.widths == (64, 64, 64)
        assert notes["commit"]
        f = lambda theta, network=network: network.apply(theta, jnp.zeros((1, 2)))
        for _ in theta["params"]["readout"]["bias"].shape[:-1]:
            f = jax.vmap(f)
        assert jnp.isfinite(f(theta)).all()
    refused = subprocess.run(command[:3], capture_output=True, text=True, check=False, cwd=ROOT)
    assert refused.returncode != 0
    assert "would overwrite" in refused.stderr


# --- files -------------------------------------------------------------------------------------

WIDE = SIREN((70,), mapping_width=70, offset=0.5, zero_bias=True)


def stored(tmp_path, network=WIDE, **notes):
    theta = jax.vmap(lambda key: networks.init(network, key, 2))(jax.random.split(KEY, 2))
    path = tmp_path / "weights.safetensors"
    metalearning.save(path, network, theta, **notes)
    return path, theta


@pytest.mark.parametrize(
    "network", [WIDE, FFN((70,), 3, mapping_width=80), networks.MFN((70,), mapping_width=70)]
)
def test_weights_come_back(network, tmp_path):
    path, theta = stored(tmp_path, network, seed=[3, 4])
    found = metalearning.load(path)
    assert found.network == network
    assert found.notes == {"seed": [3, 4]}
    assert jax.tree.structure(found.theta) == jax.tree.structure(dict(theta))
    for a, b in zip(jax.tree.leaves(found.theta), jax.tree.leaves(theta), strict=True):
        scale = np.abs(b).max(axis=-2, keepdims=True) if min(b.shape[-2:]) >= 64 else np.abs(b)
        assert (np.abs(a - b) <= scale / 253 + 1e-7).all()
        assert a.dtype == jnp.float32


def test_save_refuses_and_leaves_the_old_file(tmp_path):
    path, theta = stored(tmp_path)
    content = path.read_bytes()
    for bad in (jnp.nan, jnp.inf, 1e6):
        broken = jax.tree.map(lambda a, bad=bad: a.at[0].set(bad), theta)
        with pytest.raises(ValueError, match="NaN"):
            metalearning.save(path, WIDE, broken)
    with pytest.raises(ValueError, match="the network needs"):
        metalearning.save(path, SIREN((71,), mapping_width=70), theta)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def rewritten(path, change):
    """The file with its tensors and header changed."""
    tensors, header = metalearning._read(path)
    change(tensors, header)
    metalearning._write(path, tensors, header)


def no_network(tensors, header):
    header["network"]["family"] = "count"


def other_family(tensors, header):
    header["network"] = {"family": "MLP", "widths": [70], "outputs": 1, "offset": 0.5}


def impossible_width(tensors, header):
    header["network"]["widths"] = [-3]


def text_for_width(tensors, header):
    header["network"]["widths"] = ["__import__('os').system('exit')"]


def text_for_offset(tensors, header):
    header["network"]["offset"] = "0.5"


def no_header(tensors, header):
    header.clear()


def missing_layer(tensors, header):
    del tensors["params/first/bias"]


def other_shape(tensors, header):
    tensors["params/first/bias"] = np.zeros((2, 71), np.float16)


def other_leading_axis(tensors, header):
    tensors["params/first/bias"] = np.zeros((3, 70), np.float16)


def not_a_number(tensors, header):
    tensors["params/hidden_0/kernel:scale"][1, 0, 2] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_network, "names no network"),
        (other_family, "does not fit MLP"),
        (impossible_width, r"impossible network|needs"),
        (text_for_width, "impossible network"),
        (text_for_offset, "names no network"),
        (no_header, "names no network"),
        (missing_layer, "does not fit SIREN: params/first/bias"),
        (other_shape, r"first/bias of shape \(2, 71\)"),
        (other_leading_axis, "same leading axes"),
        (not_a_number, "NaN or infinity in params/hidden_0/kernel"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_load_refuses_mismatched_weights(change, message, tmp_path):
    path, _ = stored(tmp_path)
    rewritten(path, change)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        metalearning.load(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: b"",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"\x00" * 40 + content[48:],
        lambda content: pickle.dumps({"params": 1}),
    ],
)
def test_load_refuses_damaged_files(damage, tmp_path):
    path, _ = stored(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="is damaged or no such file of this package"):
        metalearning.load(path)


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="make weights"):
        metalearning.shipped("no_such")
    with pytest.raises(FileNotFoundError, match="no file"):
        metalearning.authors(tmp_path / "no.pickle")


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("safetensors", "pooch", "ipywidgets", "matplotlib")))
from inrlib import metalearning
for call in (lambda: metalearning.shipped("maml_siren"), lambda: metalearning.authors()):
    try:
        call()
    except ImportError as error:
        print(error)
"""


def test_a_missing_library_is_named():
    command = [sys.executable, "-c", WITHOUT]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "pip install safetensors" in out
    assert "pip install pooch" in out


# --- the authors' pickle -----------------------------------------------------------------------


def theirs(seed=0):
    """A dictionary of the layout that the authors published."""
    rng, shapes = np.random.default_rng(seed), [(2, 256), *[(256, 256)] * 3, (256, 1)]
    layer = lambda shape: {"w": rng.normal(size=shape), "b": rng.normal(size=shape[1])}
    content = {}
    for i, shape in enumerate(shapes):
        name = f"siren/siren_layer{f'_{i}' if i else ''}/linear"
        content[name] = {k: v.astype(np.float32) for k, v in layer(shape).items()}
    return content


def pickled(tmp_path, content, protocol=4):
    path = tmp_path / "weights.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("fortran", [False, True])
def test_the_authors_layout_is_read(protocol, fortran, tmp_path):
    content = theirs()
    order = np.asfortranarray if fortran else np.ascontiguousarray
    ordered = {k: {n: order(a) for n, a in layer.items()} for k, layer in content.items()}
    network, theta, _ = metalearning.authors(pickled(tmp_path, ordered, protocol))
    r = np.random.default_rng(1).uniform(size=(7, 2))
    z = r
    for i, layer in enumerate(content.values()):
        z = z @ layer["w"].astype(float) + layer["b"]
        z = np.sin(30 * z) if i < 4 else z + 0.5
    np.testing.assert_array_equal(
        theta["params"]["hidden_1"]["kernel"], content["siren/siren_layer_2/linear"]["w"]
    )
    with jax.enable_x64(True):
        theta = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), theta)
        np.testing.assert_allclose(network.apply(theta, jnp.asarray(r)), z, rtol=1e-6)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


MALICIOUS = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "subprocess": lambda mark: Call(subprocess.check_call, ["touch", str(mark)]),
    "getattr": lambda mark: Call(getattr, Call(__import__, "os"), "system"),
    "numpy's own": lambda mark: Call(np.save, str(mark), 1),
    "pathlib": lambda mark: Call(Path.touch, mark),
    "a codec": lambda mark: Call(codecs.encode, "text", "unicode_escape"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("kind", MALICIOUS)
def test_a_malicious_pickle_is_refused_before_it_runs(kind, protocol, tmp_path):
    mark = tmp_path / "mark"
    call = MALICIOUS[kind](mark)
    for content in (call, theirs() | {"siren/last": [call]}, {"first": call} | theirs()):
        path = pickled(tmp_path, content, protocol)
        with pytest.raises(ValueError, match="is refused"):
            metalearning.authors(path)
    assert list(tmp_path.iterdir()) == [path]
    if kind in ("open", "eval", "os.system"):  # the same file does run where nobody looks
        pickle.loads(pickle.dumps(call, protocol))
        assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"a": np.array([object], dtype=object)},
        {"a": np.array(["text"])},
        {"a": np.float64(1)},
        {"a": 1 + 2j},
        {"a": {1, 2}},
        [1, 2],
        theirs() | {"more": {}},
        {name: layer for name, layer in theirs().items() if "_2" not in name},
        {name: {"w": layer["w"]} for name, layer in theirs().items()},
        {name: {"w": layer["w"][:, :1], "b": layer["b"]} for name, layer in theirs().items()},
        {name: {"w": layer["w"] * np.nan, "b": layer["b"]} for name, layer in theirs().items()},
    ],
)
def test_other_pickles_are_refused(content, tmp_path):
    with pytest.raises(ValueError, match=r"authors: .*(refused|other layers)|weights: "):
        metalearning.authors(pickled(tmp_path, content))


@pytest.mark.parametrize("program", [b"", b"\x80", b"no pickle", pickle.dumps(theirs())[:-500]])
def test_damaged_pickles_are_refused(program, tmp_path):
    path = tmp_path / "weights.pickle"
    path.write_bytes(program)
    with pytest.raises(ValueError, match="is refused"):
        metalearning.authors(path)


def test_a_pickle_cannot_fill_the_memory(tmp_path):
    """LONG_BINPUT with a huge number makes a plain unpickler reserve a table of that length."""
    path = tmp_path / "weights.pickle"
    path.write_bytes(b"\x80\x04}r" + (2**31).to_bytes(4, "little") + b".")
    with pytest.raises(ValueError, match="beyond its length"):
        metalearning.authors(path)


@pytest.fixture
def server(tmp_path):
    """The address of a folder served over HTTP on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{serving.server_port}/weights.pickle"
        serving.shutdown()


def published(monkeypatch, url, content):
    known = {"url": url, "known_hash": "sha256:" + hashlib.sha256(content).hexdigest()}
    monkeypatch.setattr(metalearning, "AUTHORS", known)


def test_the_download_is_checked_and_kept(server, monkeypatch, tmp_path):
    folder, url = server
    content = pickled(folder, theirs()).read_bytes()
    published(monkeypatch, url, content)
    one = metalearning.authors(cache=tmp_path / "cache")
    (folder / "weights.pickle").unlink()
    two = metalearning.authors(cache=tmp_path / "cache")
    for a, b in zip(jax.tree.leaves(one.theta), jax.tree.leaves(two.theta), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_download_of_another_hash_is_refused(server, monkeypatch, tmp_path):
    folder, url = server
    pickled(folder, theirs())
    published(monkeypatch, url, b"something else")
    with pytest.raises(ValueError, match="hash"):
        metalearning.authors(cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_without_a_network_the_shipped_weights_take_their_place(monkeypatch, tmp_path):
    published(monkeypatch, "http://127.0.0.1:9/weights.pickle", b"")
    with pytest.warns(UserWarning, match="could not be fetched.*shipped"):
        found = metalearning.authors(cache=tmp_path)
    assert found.notes == metalearning.shipped("maml_siren").notes
    assert found.theta["params"]["readout"]["bias"].shape == (1,)
