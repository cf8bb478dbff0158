import io
import itertools

import numpy as np
import pytest
from PIL import Image

from inrlib import explorers


@pytest.fixture(scope="module")
def explorer():
    return explorers.meta_learning()


def pixels(explorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.image.value)), int)


@pytest.mark.parametrize(
    ("control", "first", "second"), [("checkpoint", 10, 5), ("steps", 2, 8), ("face", 2, 5)]
)
def test_every_control_changes_the_picture_and_compiles_nothing(
    control, first, second, explorer, compiled
):
    explorer.controls[control].value = first
    before = pixels(explorer)
    compiled.clear()
    explorer.controls[control].value = second
    assert not compiled
    assert "computed in" in explorer.status.value
    assert np.abs(pixels(explorer) - before).max() > 50
    explorer.reset.click()


def test_meta_training_brings_the_face_closer(explorer):
    """The same three gradient steps, from the first and from the last numbers."""
    level = lambda checkpoint: explorer.compute(face=1, steps=3, checkpoint=checkpoint)[4]
    last = explorer.controls["checkpoint"].high
    assert level(last) > level(0) + 4
    at_once = explorer.compute(face=1, steps=0, checkpoint=last)[4]
    assert level(last) > at_once + 3


def test_the_atoms_keep_their_signs_from_checkpoint_to_checkpoint():
    """Down and up again, when all are kept; and from the first to the last at once."""
    explorer = explorers.meta_learning(size=16)
    way = range(explorer.controls["checkpoint"].high + 1)
    atoms = [
        np.asarray(explorer.compute(face=1, steps=0, checkpoint=i)[0]).reshape(10, -1)
        for i in (*reversed(way), *way, 0, way[-1])
    ]
    for before, after in itertools.pairwise(atoms):
        assert (np.mean(before * after, axis=1) > -1e-3).all()
