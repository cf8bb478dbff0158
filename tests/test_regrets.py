"""The benchmark of rules for ω0 and σ: its rivals, its table, and a small run of the whole."""

import json

import numpy as np
import pytest
import regrets


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two short signals, a few steps, a folder of its own."""
    monkeypatch.setattr(regrets, "KEPT", tmp_path)
    monkeypatch.setattr(regrets, "STEPS", 20)
    monkeypatch.setattr(regrets, "WIDTH", 16)
    names = {
        "tone 5": (regrets.PROBLEMS["tone 5"][0], 64),
        "tone 12": (regrets.PROBLEMS["tone 12"][0], 64),
    }
    monkeypatch.setattr(regrets, "PROBLEMS", names)
    monkeypatch.setattr(regrets, "FAMILIES", {"FFN": regrets.FAMILIES["FFN"]})
    return tmp_path


def test_no_signal_is_both_chosen_by_and_reported():
    assert not set(regrets.CHOOSE) & set(regrets.REPORT)
    assert set(regrets.CHOOSE) | set(regrets.REPORT) == set(regrets.PROBLEMS)
    photographs = lambda names: {n.split()[0] for n in names} & set(regrets.PHOTOGRAPHS)
    assert not photographs(regrets.CHOOSE) & photographs(regrets.REPORT)


@pytest.mark.parametrize("name", ["coffee 32", "eeg", "membrane", "band 20-40", "mri", "torus"])
def test_halves_share_no_sample_and_values_fill_their_range(name):
    make, size = regrets.PROBLEMS[name]
    problem = make(size)
    both = np.concatenate([problem.seen, problem.unseen])
    assert np.array_equal(np.sort(both), np.arange(len(problem.r)))
    assert float(problem.g.min()) == 0
    assert float(problem.g.max()) == 1


def test_a_whole_run_and_what_it_keeps(small):
    table = regrets.table(["tone 12"], ["tone 5"])
    assert {*regrets.RULES, regrets.FORECAST} < set(table)
    found = regrets.truth("tone 12", "FFN")
    levels = np.mean(found["between"], axis=0)
    best = found["settings"][int(levels.argmax())]
    assert regrets.regret(best, "tone 12", "FFN") == 0
    assert all(value >= 0 for rule in table.values() for value in rule["FFN"])
    assert table["one value, in hindsight"]["FFN"] == [0]
    chosen = regrets.choice("adviser", "tone 12", "FFN")["setting"]
    assert np.abs(np.log(np.array(found["settings"]) / chosen)).min() < 0.05
    # What was kept is read, not found again.
    path = small / "rule-adviser-tone_12-FFN.json"
    path.write_text(json.dumps({"setting": 0.16, "aside": [0.16], "seconds": 1.0}))
    assert regrets.choice("adviser", "tone 12", "FFN")["setting"] == 0.16


def test_the_spectrum_of_a_wave_has_one_line():
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    wave = np.cos(2 * np.pi * (3 * rows + 5 * columns) / 32)[..., None]
    profile = regrets._profile(wave + 7)
    assert profile[8 - 1] == pytest.approx(1)


def test_the_centroid_of_a_tone_is_its_frequency():
    """An FFN's mean frequency is σ √(2/π)."""
    problem = regrets._tone(12, 256)
    settings = np.array([1.0])
    problem = problem._replace(g=problem.g - problem.g.mean())
    sigma = regrets.centroid(problem, regrets.FAMILIES["FFN"], settings)
    assert sigma * (2 / np.pi) ** 0.5 == pytest.approx(12, rel=1e-3)


def test_nyquist_of_a_picture_is_pi_n():
    make, size = regrets.PROBLEMS["coffee 32"]
    found = regrets.nyquist(make(size), regrets.FAMILIES["SIREN"], np.ones(1))
    assert found == pytest.approx(np.pi * 32)


def test_the_mark_is_read_off_the_table():
    by = lambda value: {"SIREN": [value], "FFN": [value]}
    record = {
        "signals": ["x"], "networks": "small", "seconds": {"adviser": 1.0},
        "regret": {"adviser": by(0.4), "FreSh": by(1.5), "usual default": by(4.0),
                   "one value, in hindsight": by(0.5)},
    }  # fmt: skip
    text = "\n".join(regrets.summary(record))
    assert "FreSh's: not met" in text
    assert text.count(": met") == 3
