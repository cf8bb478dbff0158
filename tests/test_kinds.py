"""The four kinds of pictures: kept apart, brought to one scale, and what they are said to be."""

import numpy as np
import pytest
from skimage import data

from inrlib import kinds


@pytest.fixture(scope="module")
def every():
    return {kind: kinds.load(kind, 16, 6, 4) for kind in kinds.KINDS}


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_pictures_are_of_one_size_and_scale(every, kind):
    training, testing = every[kind]
    assert training.shape == (6, 16, 16, 1)
    assert testing.shape == (4, 16, 16, 1)
    for some in (training, testing):
        np.testing.assert_allclose(some.mean((1, 2, 3)), 0.5, atol=1e-9)
        np.testing.assert_allclose(some.std((1, 2, 3)), 0.2, atol=1e-9)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_seed_is_a_draw(every, kind):
    again, other = kinds.load(kind, 16, 6, 4), kinds.load(kind, 16, 6, 4, seed=1)
    np.testing.assert_array_equal(again.training, every[kind].training)
    assert np.allclose(other.training, again.training) == (kind == "faces")


def test_a_square_is_cut_from_the_picture_and_reduced():
    """A picture whose value is its row: rows of a square rise by its side over its size."""
    ramp = np.repeat(np.linspace(0, 1, 200)[:, None, None], 160, axis=1)
    found = kinds.squares([ramp], 5, 8, np.random.default_rng(0))
    step = np.diff(found.mean((2, 3)), axis=1)[:, 2:5].mean(1) * 199
    assert ((step > 2 - 0.1) & (step < 5 + 0.1)).all()
    assert np.ptp(step) > 0.5
    assert np.ptp(found, axis=2).max() < 1e-6


def test_flat_places_are_left_out():
    """Half of the picture is grey; every square has something of the other half."""
    rng = np.random.default_rng(0)
    pixels = np.full((100, 100, 1), 0.5)
    pixels[:, 60:] = rng.uniform(size=(100, 40, 1)) > 0.5
    assert kinds.squares([pixels], 20, 8, rng).std((1, 2, 3)).min() > 0.01
    flat = kinds.squares([pixels[:, :50]], 1, 8, rng)
    np.testing.assert_allclose(flat, 0.5)


def test_textures_are_tested_on_what_lies_below(monkeypatch):
    """Pictures whose lower halves are inverted: none of the upper ones' values come up."""
    seen = {}

    def squares(pictures, count, size, rng):
        seen[count] = pictures
        return rng.uniform(size=(count, size, size, 1))

    monkeypatch.setattr(kinds, "squares", squares)
    kinds.load("textures", 16, 6, 4)
    for upper, lower, name in zip(seen[6], seen[4], ("brick", "grass", "gravel"), strict=True):
        whole = getattr(data, name)() / 255
        np.testing.assert_allclose(np.concatenate([upper, lower])[..., 0], whole, atol=1e-9)
        assert abs(len(upper) - len(lower)) <= 1


def test_noise_falls_as_one_over_the_frequency():
    """Power in rings of the DFT, of many pictures: the slope of its logarithm is −2."""
    some = kinds.noise(300, 32, np.random.default_rng(0))[..., 0]
    power = np.mean(np.abs(np.fft.fft2(some)) ** 2, axis=0)
    k = np.fft.fftfreq(32) * 32
    distance = np.hypot(k[:, None], k)
    inside = (distance > 0) & (distance < 16)
    slope = np.polyfit(np.log(distance[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.05)
    assert power[0, 0] < 1e-20


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cats",), "choose one of faces, photographs"),
        (("noise", 3), "size=3 must be at least 4 pixels"),
        (("noise", 16, 0), "training=0 and testing=8 at least 1"),
        (("faces", 16, 81), "training=81, but there are 80"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kinds.load(*arguments)
