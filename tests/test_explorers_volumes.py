"""The explorer of three dimensions."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from hands import pixels, words

from inrlib import explorers


@pytest.fixture(scope="module")
def explorer():
    return explorers.volume()


def own(explorer, values):
    stream = io.BytesIO()
    np.save(stream, values)
    upload = {"name": "a.npy", "type": "", "size": len(stream.getvalue())}
    upload |= {"content": memoryview(stream.getvalue())}
    upload |= {"last_modified": datetime(2026, 1, 1, tzinfo=UTC)}
    explorer.controls["own"].button.value = (upload,)


@pytest.mark.parametrize(
    ("control", "value"),
    [("atom", 3), ("turn", 200), ("x", 10), ("z", 100), ("signal", "gyroid, occupancy")],
)
def test_a_look_from_elsewhere_computes_no_atoms_and_compiles_nothing(
    control, value, explorer, compiled
):
    explorer.reset.click()
    before, seen = pixels(explorer), explorer.frame["seen"]
    compiled.clear()
    explorer.controls[control].value = value
    assert not compiled
    assert explorer.frame["seen"] is seen
    assert "computed in" in words(explorer)
    assert np.abs(pixels(explorer) - before).max() > 50


def test_a_small_move_changes_the_atoms_a_little(explorer):
    explorer.reset.click()
    first = np.asarray(explorer.frame["seen"].eigen.functions)[:, :3]
    explorer.controls["omega0"].value *= 1.01
    second = np.asarray(explorer.frame["seen"].eigen.functions)[:, :3]
    assert 0.5 < np.mean(first * second, axis=0).min() < 1 - 1e-6


def test_what_is_shown_are_cuts_of_the_atom(explorer):
    explorer.at(atom=2, x=0, y=50, z=100)
    frame = explorer.frame
    phi = np.asarray(frame["seen"].eigen.functions)[:, 2].reshape(32, 32, 32)
    high = np.abs(phi).max()
    for cut, expected in zip(frame["slices"], (phi[0], phi[:, 16], phi[..., 31]), strict=True):
        assert np.allclose(cut * high, expected, atol=1e-5)
    assert np.allclose(frame["tops"][1] * high, np.abs(phi).max(axis=1), atol=1e-5)
    assert (np.diff(frame["energy"]) >= -1e-6).all()
    assert 0 <= frame["energy"][-1] <= 1


def test_a_volume_of_the_readers_own(explorer):
    explorer.reset.click()
    values = np.zeros((9, 20, 14))
    values[2:6, 3:9, 4:9] = 7
    own(explorer, values)
    assert explorer.controls["signal"].value == "own file"
    assert "computed in" in words(explorer)
    cut = explorer.frame["cuts"][0]
    assert cut.shape == (32, 32)
    assert (cut.min(), cut.max()) == (0, 1)
    before = pixels(explorer)
    own(explorer, np.zeros(5))
    assert "volume: shape=(5,)" in words(explorer)
    np.testing.assert_array_equal(pixels(explorer), before)
    explorer.reset.click()


def test_an_own_file_that_is_not_there_is_asked_for(explorer):
    fresh = explorers.volume("grid", seed=1)
    fresh.controls["signal"].value = "own file"
    assert "upload one" in words(fresh)
    fresh.controls["signal"].value = "head"
    assert "computed in" in words(fresh)


def test_another_family_is_refused():
    with pytest.raises(ValueError, match="family='MLP' has no explorer here"):
        explorers.volume("MLP")
