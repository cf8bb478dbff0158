"""The explorers of Section 3."""

import re

import bench_harmonics
import numpy as np
import pytest

from inrlib import explorers

MOVES = {
    "bessel": [("beta", 3.0), ("omega0", 41.0), ("many", 3), ("order", 16), ("many", 1)],
    "depth": [("degree", 4), ("depth", 4), ("rho", "ReLU"), ("rho", "sin"), ("depth", 1)],
    "modulation": [("beta", 2.0), ("frequency", 333.0)],
}


@pytest.mark.parametrize("name", MOVES)
def test_moving_a_control_changes_the_picture_and_compiles_nothing(name, compiled):
    explorer = getattr(explorers, name)()
    assert compiled
    for control, value in MOVES[name]:
        compiled.clear()
        before = explorer.image.value
        explorer.controls[control].value = value
        assert not compiled, (control, value)
        assert explorer.image.value != before
        assert "computed in" in explorer.status.value


def test_bessel_residual_falls_to_rounding_with_the_order():
    explorer = explorers.bessel()
    residuals, bounds = [], []
    for order in (2, 6, 10, 16):
        *_, residual, bound = explorer.compute(beta=1.0, omega0=20.0, many=3, order=order)
        residuals.append(float(residual))
        bounds.append(float(bound))
    assert (np.diff(residuals) < 0).all()
    assert residuals[-1] < 1e-8
    assert (np.array(residuals) <= np.array(bounds) + 1e-12).all()


def test_bessel_prediction_stands_on_the_measured_lines():
    explorer = explorers.bessel()
    *_, measured, predicted, _, _ = explorer.compute(beta=0.7, omega0=33.0, many=2, order=16)
    loud = measured > -180
    assert loud.sum() > 40
    assert np.abs(measured - predicted)[loud].max() < 0.1


@pytest.mark.parametrize("dims", [1, 2])
def test_depth_has_no_energy_outside_for_polynomials_and_some_for_the_others(dims):
    explorer = explorers.depth(dims)
    for degree in (2, 4):
        for depth in (1, 2, 3, 4):
            _, allowed, outside = explorer.compute(degree=degree, depth=depth, rho="polynomial")
            assert outside < 1e-20
            assert allowed.max() == degree ** (depth - 1)
    assert explorer.compute(degree=2, depth=3, rho="ReLU")[2] > 1e-6
    assert explorer.compute(degree=2, depth=3, rho="sin")[2] > 1e-6


def test_depth_wants_one_or_two_dimensions():
    with pytest.raises(ValueError, match="choose 1 or 2"):
        explorers.depth(3)


def test_modulation_draws_the_lines_of_its_own_sound():
    explorer = explorers.modulation(seconds=1.0)
    frequency, level, _, share, sound = explorer.compute(beta=5.0, frequency=200.0)
    lines = np.abs(np.fft.rfft(np.asarray(sound, float))) * 2 / len(sound)
    loud = np.asarray(level) > -80
    measured = 20 * np.log10(lines[np.asarray(frequency, int)[loud]])
    assert loud.sum() > 4
    np.testing.assert_allclose(measured, np.asarray(level)[loud], atol=0.5)
    assert 0.98 < share < 1


def test_modulation_can_be_heard():
    explorer = explorers.modulation()
    player = explorer.box.children[-1]
    first = player.value
    assert first[:4] == b"RIFF"
    explorer.controls["beta"].value = 1.0
    assert player.value != first


def test_the_benchmark_of_section_3_runs(capsys):
    """It uses the explorer's parts, and nobody waits for it every day."""
    bench_harmonics.main()
    assert re.search(r"SciPy \d+ ms: [\d.]+ times as fast", capsys.readouterr().out)
