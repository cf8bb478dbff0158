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


def test_training_behind_the_button_learns_and_reports():
    explorer = explorers.aliasing("SIREN")
    seen = []
    explorer.progress.observe(lambda change: seen.append(change["new"]), names="value")
    explorer.button.click()
    assert seen[-1] == 1
    assert len(seen) > 10
    assert not explorer.button.disabled
    level = np.asarray(explorer.frame["level"])
    others = np.delete(level, [23, 105])
    assert level[105] > others.max() + 6


def test_own_picture():
    explorer = explorers.imperfect_recovery(pixels=signals.picture("coffee", 48))
    assert explorer.frame["picture"].shape == (48, 48, 3)


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
