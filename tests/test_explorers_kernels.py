"""The explorers of Section 5."""

import itertools

import numpy as np
import pytest
from hands import main_slider, pixels

from inrlib import explorers
from inrlib.explorers import kernels


@pytest.fixture(scope="module")
def explorer():
    return explorers.meta_learning()


@pytest.mark.parametrize(
    ("control", "first", "second"), [("checkpoint", 10, 5), ("steps", 2, 8), ("face", 2, 5)]
)
@pytest.mark.few(1)
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
    level = lambda **values: explorer.at(face=1, **values).frame["level"]
    last = explorer.controls["checkpoint"].high
    assert level(steps=3, checkpoint=last) > level(steps=3, checkpoint=0) + 4
    assert level(steps=3, checkpoint=last) > level(steps=0, checkpoint=last) + 3


def test_the_atoms_keep_their_signs_from_checkpoint_to_checkpoint():
    """Down and up again, when all are kept; and from the first to the last at once."""
    explorer = explorers.meta_learning(size=16)
    way = range(explorer.controls["checkpoint"].high + 1)
    atoms = [
        np.asarray(explorer.at(steps=0, checkpoint=i).frame["wall"]).reshape(10, -1)
        for i in (*reversed(way), *way, 0, way[-1])
    ]
    for before, after in itertools.pairwise(atoms):
        assert (np.mean(before * after, axis=1) > -1e-3).all()


@pytest.mark.parametrize("family", ["SIREN", pytest.param("FFN", marks=pytest.mark.slow)])
def test_eigenfunctions_slide_without_flicker(family, compiled):
    """A small move changes every atom a little: no sign and no order jumps, nothing compiles."""
    explorer = explorers.eigenfunctions(family, size=16)
    explorer.controls["width"].value = 64
    slider = main_slider(explorer)
    slider.value *= 0.99
    compiled.clear()
    frames = []
    for _ in range(3):
        slider.value *= 0.99
        frames.append(np.asarray(explorer.frame["wall"])[:4])
    assert not compiled
    for before, after in itertools.pairwise(frames):
        assert (np.mean(before * after, axis=(1, 2)) > 0.5).all()
    for name in ("face", "seed", "depth"):
        explorer.controls[name].value = 2
        assert "computed in" in explorer.status.value


@pytest.mark.parametrize("family", ["SIREN", pytest.param("FFN", marks=pytest.mark.slow)])
def test_eigenfunctions_of_learned_weights(family):
    explorer = explorers.eigenfunctions(family, size=16)
    before = pixels(explorer)
    explorer.controls["weights"].value = "learned"
    assert "computed in" in explorer.status.value
    assert np.abs(before - pixels(explorer)).max() > 100
    learned = pixels(explorer)
    explorer.controls["omega0" if family == "SIREN" else "sigma"].value *= 0.6
    moved = pixels(explorer)
    explorer.controls["seed"].value = 5  # learned weights have a seed of their own
    assert np.abs(moved - pixels(explorer)).mean() < 0.5 < np.abs(moved - learned).mean()


@pytest.fixture(scope="module")
def swap():
    return explorers.swap(size=16)


@pytest.mark.parametrize(
    ("control", "second"),
    [("steps", 20), ("values", "random"), ("functions", "MAML"), ("face", 4)],
)
def test_every_choice_of_a_swap_changes_the_picture_and_compiles_nothing(
    control, second, swap, compiled
):
    swap.reset.click()
    before = pixels(swap)
    compiled.clear()
    swap.controls[control].value = second
    assert not compiled
    assert "computed in" in swap.status.value
    assert np.abs(pixels(swap) - before).max() > 50


def test_a_swap_of_nothing_is_the_kernel_itself_and_equal_eigenvalues_teach_nothing(swap):
    levels = lambda **choices: swap.at(**choices).frame["levels"]
    for name in ("random", "MAML"):
        found = levels(values=name, functions=name)
        np.testing.assert_allclose(found["this"], found[name], atol=1e-3)
    equal = levels(values="all equal", functions="MAML")["this"]
    np.testing.assert_allclose(equal, equal[0], atol=0.1)  # the identity kernel: grey remains


def test_the_first_frame_and_the_others_are_one_program():
    """It takes seconds to compile, on a GPU minutes."""
    kernels._dictionary.clear_cache()
    explorers.eigenfunctions(size=16).at(omega0=40)
    assert kernels._dictionary._cache_size() == 1
