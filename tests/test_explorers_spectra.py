"""The explorers of Sections 2 and 4."""

import numpy as np
import pytest

from inrlib import explorers, networks, plots, signals


def test_families_shows_every_family_with_a_knob():
    menu = explorers.families().controls["family"]
    assert list(menu.options) == list(networks.families())
    assert set(menu.options) <= set(plots.COLOURS)


def test_single_frequency_misses_the_odd_coefficients():
    """What the slider shows at f0 = 1 and at f0 = 0.5, before any training."""
    explorer = explorers.imperfect_recovery()
    at_1, at_half = (np.asarray(explorer.compute(f0=f0)["level"]) for f0 in (1.0, 0.5))
    assert at_1[1::2].max() < -100
    assert at_1[:, 1::2].max() < -100
    assert at_half[1::2].max() > -40


def test_a_trained_siren_at_300_has_its_second_note_at_105_hz_and_none_at_30():
    explorer = explorers.aliasing("SIREN").trained()
    level = np.asarray(explorer.frame["level"])
    assert level[105] > np.delete(level, [23, 105]).max() + 6
    level = np.asarray(explorer.at(omega0=30).trained().frame["level"])
    assert level[105] < -40


def test_a_setting_is_shown_beside_the_nyquist_frequency():
    """64 samples on [−1, 1) have 16 cycles per unit, 128 on [0, 1) have 64 Hz."""
    assert (
        explorers.imperfect_recovery("FFN").at(sigma=8).frame["scale"].endswith("50 % of Nyquist")
    )
    assert explorers.aliasing().at(omega0=64 * np.pi).frame["scale"].endswith("50 % of Nyquist")


def test_own_picture():
    explorer = explorers.imperfect_recovery(pixels=signals.picture("coffee", 96))
    assert explorer.frame["picture"].shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: explorers.aliasing("MLP"), "choose SIREN or FFN"),
        (lambda: explorers.imperfect_recovery("MLP"), "choose single frequency or FFN"),
        (lambda: explorers.imperfect_recovery(pixels=np.zeros((64, 64))), "1 channels"),
        (lambda: explorers.imperfect_recovery(pixels=np.zeros((8, 8, 3))), "at least 64×64"),
        (lambda: explorers.imperfect_recovery(pixels=np.zeros((65, 64, 3))), "must be even"),
    ],
)
def test_explorers_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()
