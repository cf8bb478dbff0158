import base64
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from inrlib import explorers, signals

EXPLORERS = {
    "first look": explorers.first_look,
    "families": explorers.families,
    "aliasing, SIREN": explorers.aliasing,
    "aliasing, FFN": lambda: explorers.aliasing("FFN"),
    "imperfect recovery, f0": explorers.imperfect_recovery,
    "imperfect recovery, FFN": lambda: explorers.imperfect_recovery("FFN"),
    "kernel regression": explorers.kernel_regression,
}


def pixels(explorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.image.value)), int)


def main_slider(explorer):
    return explorer.controls[explorer.main]


@pytest.fixture(params=EXPLORERS)
def explorer(request):
    return EXPLORERS[request.param]()


def test_sliding_changes_the_picture_and_compiles_nothing(explorer, compiled):
    slider = main_slider(explorer)
    slider.value *= 0.9
    compiled.clear()
    first = pixels(explorer)
    slider.value *= 0.6
    assert not compiled
    assert first.shape == pixels(explorer).shape
    assert np.abs(first - pixels(explorer)).max() > 100
    assert "computed in" in explorer.status.value


def test_reset_brings_the_first_frame_back(explorer):
    before = pixels(explorer)
    main_slider(explorer).value *= 0.5
    explorer.reset.click()
    np.testing.assert_allclose(pixels(explorer), before, atol=2)


def test_a_still_picture_is_always_there(explorer):
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    still = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert np.asarray(still).std() > 10


def test_single_frequency_misses_the_odd_coefficients():
    """What the slider shows at f0 = 1 and at f0 = 0.5, before any training."""
    explorer = explorers.imperfect_recovery()
    _, at_1, _ = explorer.compute(f0=1.0)
    _, at_half, _ = explorer.compute(f0=0.5)
    assert np.asarray(at_1)[1::2].max() < -100
    assert np.asarray(at_1)[:, 1::2].max() < -100
    assert np.asarray(at_half)[1::2].max() > -40


def test_training_behind_the_button_learns_and_reports():
    explorer = explorers.aliasing("SIREN")
    seen = []
    explorer.progress.observe(lambda change: seen.append(change["new"]), names="value")
    explorer.button.click()
    assert seen[-1] == 1
    assert len(seen) > 10
    assert not explorer.button.disabled
    _, level = explorer.train(lambda share: None, omega0=300.0)
    others = np.delete(np.asarray(level), [23, 105])
    assert level[105] > others.max() + 6


def test_own_picture():
    explorer = explorers.imperfect_recovery(pixels=signals.picture("coffee", 48))
    assert explorer.compute(f0=0.5)[0].shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: explorers.aliasing("MLP"), "choose SIREN or FFN"),
        (lambda: explorers.imperfect_recovery("MLP"), "choose single frequency or FFN"),
        (lambda: explorers.imperfect_recovery(pixels=np.zeros((64, 64))), "1 channels"),
        (lambda: explorers.imperfect_recovery(pixels=np.zeros((8, 8, 3))), "at least 32×32"),
    ],
)
def test_explorers_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("family", ["SIREN", "FFN"])
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
        frames.append(np.asarray(explorer.compute(**explorer.values)[0])[:4])
    assert not compiled
    for before, after in itertools.pairwise(frames):
        assert (np.mean(before * after, axis=(1, 2)) > 0.5).all()
    for name in ("face", "seed", "depth"):
        explorer.controls[name].value = 2
        assert "computed in" in explorer.status.value


@pytest.mark.parametrize("family", ["SIREN", "FFN"])
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
