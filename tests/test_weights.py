import hashlib
import http.server
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

from inrlib import atoms, faces, fitting, metalearning, networks, ntk, signals, weights
from inrlib.networks import FFN, SIREN

KEY = jax.random.key(0)
QUIET = {"progress": False}

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


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def first_of_shipped():
    theta = jax.tree.map(lambda a: a[0], weights.shipped("maml_siren").theta)
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
    of_seeds = {"maml_siren", "reptile_siren", "maml_ffn"}
    names = of_seeds | {"maml_noise", "single_image", "maml_path"}
    files = list(weights.FOLDER.glob("*"))
    assert {file.stem for file in files} == names
    assert sum(file.stat().st_size for file in files) < 10e6
    axes = {}
    for name in names:
        network, theta, notes = weights.shipped(name)
        assert {"settings", "data", "seed", "commit", "axes", "steps"} <= set(notes)
        assert type(network) is (FFN if "ffn" in name else SIREN)
        axes[name] = theta["params"]["readout"]["bias"].shape[:-1]
    assert all(axes[name] == (3,) for name in of_seeds)
    assert axes["single_image"] == (3, 3)
    assert axes["maml_noise"] == (3, 2)
    assert axes["maml_path"] == (12,)


def test_the_path_leads_from_the_first_numbers_to_the_learned_ones():
    path, last = weights.shipped("maml_path"), weights.shipped("maml_siren")
    assert path.notes["steps"][0] == 0
    start = networks.init(SIREN_256, KEY, 2)
    kernel = lambda theta: theta["params"]["hidden_1"]["kernel"]
    scale = float(jnp.abs(kernel(start)).max())
    np.testing.assert_allclose(kernel(path.theta)[0], kernel(start), atol=scale / 200)
    np.testing.assert_array_equal(kernel(path.theta)[-1], kernel(last.theta)[0])


@pytest.mark.slow
def test_the_path_is_what_meta_learning_makes_today():
    """Its first ten steps, up to the rounding of the file; the start itself would be 1 apart."""
    path, start = weights.shipped("maml_path"), networks.init(SIREN_256, KEY, 2)
    images = faces.load(size=SIDE).training
    learned = metalearning.meta_learn(
        SIREN_256, start, signals.grid((SIDE, SIDE)), images.reshape(len(images), -1, 1),
        key=KEY, steps=10, **QUIET,
    )  # fmt: skip
    kernel = lambda theta: theta["params"]["hidden_1"]["kernel"]
    moved = kernel(learned.theta) - kernel(start)
    told = kernel(path.theta)[path.notes["steps"].index(10)] - kernel(start)
    assert jnp.linalg.norm(told - moved) < 0.3 * jnp.linalg.norm(moved)


@pytest.mark.slow
def test_make_weights_in_small(tmp_path):
    command = [sys.executable, ROOT / "tools" / "weights.py", "--small", "--folder", tmp_path]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    said = out.stdout.splitlines()
    assert said[0].startswith("This will take about ")
    assert "minutes" in said[0]
    assert "step" in out.stderr
    first = {file.name: file.read_bytes() for file in tmp_path.glob("*.safetensors")}
    assert set(first) == {file.name for file in weights.FOLDER.glob("*.safetensors")}
    for name in first:
        network, theta, notes = weights.load(tmp_path / name)
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
    weights.save(path, network, theta, **notes)
    return path, theta


@pytest.mark.parametrize(
    "network", [WIDE, FFN((70,), 3, mapping_width=80), networks.MFN((70,), mapping_width=70)]
)
def test_weights_come_back(network, tmp_path):
    path, theta = stored(tmp_path, network, seed=[3, 4])
    found = weights.load(path)
    assert found.network == network
    assert found.notes == {"seed": [3, 4]}
    assert jax.tree.structure(found.theta) == jax.tree.structure(dict(theta))
    for a, b in zip(jax.tree.leaves(found.theta), jax.tree.leaves(theta), strict=True):
        scale = np.abs(b).max(axis=-2, keepdims=True) if min(b.shape[-2:]) >= 64 else np.abs(b)
        assert (np.abs(a - b) <= scale / 253 + 1e-7).all()
        assert a.dtype == jnp.float32


def drawn(seed):
    """A network of any family, any number of coordinates, any leading axes, any setting."""
    rng = np.random.default_rng(seed)
    size = lambda: int(rng.integers(1, 90))
    widths = tuple(size() for _ in range(rng.integers(1, 4)))
    options = {"outputs": int(rng.integers(1, 5)), "offset": float(rng.normal())}
    family = list(networks.families().values())[rng.integers(len(networks.families()))]
    if hasattr(family, "mapping_width"):
        options["mapping_width"] = size() + size()
    if family is SIREN:
        options |= {"hidden_omega0": float(rng.uniform(1, 99)), "trainable": bool(rng.integers(2))}
    network = family(widths, **options)
    dims, leading = int(rng.integers(1, 7)), tuple(rng.integers(1, 3, rng.integers(0, 3)).tolist())
    setting = {family.knob.name: float(rng.uniform(0.01, 1e5))}
    theta = networks.init(network, jax.random.key(seed), dims, **setting)
    return network, jax.tree.map(lambda a: jnp.broadcast_to(a, leading + a.shape), theta), setting


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.few(2)
def test_any_network_comes_back_and_its_settings_exactly(seed, tmp_path):
    network, theta, setting = drawn(seed)
    path = tmp_path / "weights.safetensors"
    weights.save(path, network, theta, seed=np.arange(3), rate=np.float32(0.5))
    found = weights.load(path)
    assert found.network == network
    assert found.notes == {"seed": [0, 1, 2], "rate": 0.5}
    assert jax.tree.structure(found.theta) == jax.tree.structure(dict(theta))
    for a, b in zip(jax.tree.leaves(found.theta), jax.tree.leaves(theta), strict=True):
        if min(b.shape[-2:], default=0) >= 64 and b.ndim >= 2:
            assert (np.abs(a - b) <= np.abs(b).max(axis=-2, keepdims=True) / 253).all()
        else:
            np.testing.assert_array_equal(a, b)
    ((name, value),) = setting.items()
    home = found.theta["params"] if name in found.theta["params"] else found.theta["fixed"]
    assert (home[name] == np.float32(value)).all()


def test_double_precision_settings_are_kept_exactly(double, tmp_path):
    theta = networks.init(WIDE, KEY, 3, jnp.float64, omega0=0.1)
    weights.save(tmp_path / "w.safetensors", WIDE, theta)
    assert weights.load(tmp_path / "w.safetensors").theta["fixed"]["omega0"] == 0.1


class Mine(SIREN):
    """A reader's own family."""


class SIRENAgain(SIREN):
    """One that has the name of another."""


SIRENAgain.__name__ = "SIREN"


@pytest.mark.parametrize("family", [Mine, SIRENAgain])
def test_a_subclass_is_refused_when_it_is_saved(family, tmp_path):
    network = family((5,), mapping_width=4)
    with pytest.raises(ValueError, match="no family of inrlib"):
        weights.save(tmp_path / "w.safetensors", network, networks.init(network, KEY, 2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda theta: jax.tree.map(lambda a: a.astype(jnp.bfloat16), theta), "bfloat16"),
        (lambda theta: jax.tree.map(lambda a: a.astype(jnp.int32), theta), "int32"),
        (lambda theta: {"params": theta["params"]}, "fixed/omega0"),
        (lambda theta: theta | {"batch_stats": {"mean": jnp.zeros(3)}}, "batch_stats/mean"),
    ],
)
def test_save_refuses_odd_numbers(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        weights.save(tmp_path / "w.safetensors", WIDE, change(networks.init(WIDE, KEY, 2)))
    with pytest.raises(ValueError, match="JSON"):
        weights.save(tmp_path / "w.safetensors", WIDE, networks.init(WIDE, KEY, 2), note=object())
    assert not list(tmp_path.iterdir())


def test_save_refuses_and_leaves_the_old_file(tmp_path):
    path, theta = stored(tmp_path)
    content = path.read_bytes()
    for bad in (jnp.nan, jnp.inf):
        broken = jax.tree.map(lambda a, bad=bad: a.at[0].set(bad), theta)
        with pytest.raises(ValueError, match="NaN"):
            weights.save(path, WIDE, broken)
    with pytest.raises(ValueError, match="the network needs"):
        weights.save(path, SIREN((71,), mapping_width=70), theta)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def rewritten(path, change):
    """The file with its tensors and header changed."""
    tensors, header = weights.read(path)
    change(tensors, header)
    weights.write(path, tensors, header)


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


def no_scale(tensors, header):
    del tensors["params/hidden_0/kernel:scale"]


def scale_of_nothing(tensors, header):
    tensors["params/first/bias:scale"] = np.ones((2, 1, 70), np.float32)


def scale_of_another_shape(tensors, header):
    tensors["params/hidden_0/kernel:scale"] = np.ones((2, 1, 1), np.float32)


def bytes_without_scale(tensors, header):
    tensors["params/first/bias"] = np.ones((2, 70), np.int8)


def odd_type(tensors, header):
    tensors["params/first/bias"] = np.ones((2, 70), np.int64)


def one_more_part(tensors, header):
    tensors["params/more"] = np.ones((2, 70), np.float32)


def odd_notes(tensors, header):
    header["notes"] = "none"


def one_more_field(tensors, header):
    header["network"]["more"] = 1


def number_for_switch(tensors, header):
    header["network"]["zero_bias"] = 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.few(1)
def test_whatever_is_missing_or_renamed_is_refused(seed, tmp_path):
    network, theta, _ = drawn(seed)
    path = tmp_path / "w.safetensors"
    weights.save(path, network, theta)
    tensors, header = weights.read(path)
    for name in tensors:
        less = {other: leaf for other, leaf in tensors.items() if other != name}
        for damaged in (less, less | {f"{name}x": tensors[name]}):
            weights.write(path, damaged, header)
            with pytest.raises(ValueError, match=r"does not fit|no fitting scale|of nothing"):
                weights.load(path)
    for name in header["network"]:
        rest = {other: v for other, v in header["network"].items() if other != name}
        weights.write(path, tensors, header | {"network": rest})
        if name in ("norm", "alpha"):  # files of version 0.1 do not have them
            assert weights.load(path).network == network
            continue
        with pytest.raises(ValueError, match="names no network"):
            weights.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_scale, "no fitting scale"),
        (scale_of_nothing, "bias:scale of nothing"),
        (scale_of_another_shape, "no fitting scale"),
        (bytes_without_scale, "no fitting scale"),
        (odd_type, "int64"),
        (one_more_part, "params/more"),
        (odd_notes, "names no network"),
        (one_more_field, "names no network"),
        (number_for_switch, "names no network"),
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
        weights.load(path)
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
        weights.load(path)


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="make weights"):
        weights.shipped("no_such")
    with pytest.raises(FileNotFoundError, match="no file"):
        weights.authors(tmp_path / "no.pickle")


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


def known(monkeypatch, content: bytes, url="http://127.0.0.1:9/weights.pickle"):
    """From here on these bytes are what the authors published."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(weights, "AUTHORS", {"url": url, "known_hash": digest})


@pytest.mark.parametrize("protocol", [3, 4])
def test_the_authors_layout_is_read(protocol, monkeypatch, tmp_path):
    """Their numbers, in their formula written out in float64."""
    content = theirs()
    path = pickled(tmp_path, content, protocol)
    known(monkeypatch, path.read_bytes())
    network, theta, _ = weights.authors(path)
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


@pytest.mark.parametrize("published", [False, True])
def test_a_pickle_runs_nothing(published, monkeypatch, tmp_path):
    """Of another hash it is not read; and even with the right one it can call nothing."""
    mark = tmp_path / "mark"
    path = pickled(tmp_path, theirs() | {"more": Call(Path.touch, mark)})
    if published:
        known(monkeypatch, path.read_bytes())
    refused = (pickle.UnpicklingError, "refused") if published else (ValueError, "was not read")
    with pytest.raises(refused[0], match=refused[1]):
        weights.authors(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # it does run where nobody looks
    assert mark.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(theirs())])
def test_another_file_than_theirs_is_refused_unread(content, monkeypatch, tmp_path):
    path = tmp_path / "weights.pickle"
    path.write_bytes(content)
    monkeypatch.setattr(weights, "_Arrays", None)  # whoever reads it fails
    with pytest.raises(ValueError, match="not the file that the authors published"):
        weights.authors(path)


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


def test_the_download_is_checked_and_kept(server, monkeypatch, tmp_path):
    folder, url = server
    content = pickled(folder, theirs()).read_bytes()
    known(monkeypatch, content, url)
    one = weights.authors(cache=tmp_path / "cache")
    (folder / "weights.pickle").unlink()
    two = weights.authors(cache=tmp_path / "cache")
    for a, b in zip(jax.tree.leaves(one.theta), jax.tree.leaves(two.theta), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_download_of_another_hash_is_refused(server, monkeypatch, tmp_path):
    folder, url = server
    pickled(folder, theirs())
    known(monkeypatch, b"something else", url)
    with pytest.raises(ValueError, match="hash"):
        weights.authors(cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_without_a_network_the_shipped_weights_take_their_place(monkeypatch, tmp_path):
    known(monkeypatch, b"")
    with pytest.warns(UserWarning, match="could not be fetched.*shipped"):
        found = weights.authors(cache=tmp_path)
    assert found.notes == weights.shipped("maml_siren").notes
    assert found.theta["params"]["readout"]["bias"].shape == (1,)
