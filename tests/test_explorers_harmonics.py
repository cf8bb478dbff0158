"""The explorers of Section 3."""

import numpy as np
import pytest

from inrlib import explorers


@pytest.mark.parametrize("name", ["bessel", "depth", "modulation"])
def test_moving_any_control_changes_the_picture_and_compiles_nothing(name, compiled):
    explorer = getattr(explorers, name)()
    for control in explorer.controls.values():
        ends = getattr(control, "options", None) or (control.low, control.high)
        for value in ends:
            compiled.clear()
            before = explorer.image.value
            moved = control.value != value
            control.value = value
            assert not compiled, (control, value)
            assert not moved or explorer.image.value != before
            assert "computed in" in explorer.status.value


def test_bessel_residual_falls_to_rounding_with_the_order():
    explorer = explorers.bessel()
    residuals, bounds = [], []
    for order in (2, 6, 10, 16):
        frame = explorer.compute(beta=1.0, omega0=20.0, many=3, order=order)
        residuals.append(float(frame["residual"]))
        bounds.append(float(frame["bound"]))
    assert (np.diff(residuals) < 0).all()
    assert residuals[-1] < 1e-8
    assert (np.array(residuals) <= np.array(bounds) + 1e-12).all()


def test_bessel_prediction_stands_on_the_measured_lines():
    explorer = explorers.bessel()
    frame = explorer.compute(beta=0.7, omega0=33.0, many=2, order=16)
    measured, predicted = frame["measured"][1], frame["predicted"][1]
    loud = measured > -180
    assert loud.sum() > 40
    assert np.abs(measured - predicted)[loud].max() < 0.1


@pytest.mark.parametrize("dims", [1, 2])
def test_depth_has_no_energy_outside_for_polynomials_and_some_for_the_others(dims):
    explorer = explorers.depth(dims)
    for degree in (2, 4):
        for depth in (1, 2, 3, 4):
            frame = explorer.compute(degree=degree, depth=depth, rho="polynomial")
            reached, outside = frame["title"]
            assert outside < 1e-20
            assert reached == frame["allowed"].max() == degree ** (depth - 1)
    for rho in ("ReLU", "sin"):
        assert explorer.compute(degree=2, depth=3, rho=rho)["title"][1] > 1e-6


def test_depth_wants_one_or_two_dimensions():
    with pytest.raises(ValueError, match="choose 1 or 2"):
        explorers.depth(3)


def test_modulation_draws_the_lines_of_its_own_sound():
    explorer = explorers.modulation(seconds=1.0)
    frame = explorer.compute(beta=5.0, frequency=200.0)
    (frequency, level), sound = frame["lines"], frame["sound"]
    lines = np.abs(np.fft.rfft(np.asarray(sound, float))) * 2 / len(sound)
    loud = np.asarray(level) > -80
    measured = 20 * np.log10(lines[np.asarray(frequency, int)[loud]])
    assert loud.sum() > 4
    np.testing.assert_allclose(measured, np.asarray(level)[loud], atol=0.5)
    assert 98 < frame["percent"] < 100


def test_modulation_can_be_heard():
    explorer = explorers.modulation()
    player = explorer.box.children[-1]
    first = player.value
    assert first[:4] == b"RIFF"
    explorer.controls["beta"].value = 1.0
    assert player.value != first
