"""The adviser: its candidates, its forecast beside removing samples one by one, what it refuses."""

from io import BytesIO

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from inrlib import advice, networks, ntk, signals, trials

FFN, SIREN = networks.FFN, networks.SIREN


def smooth_and_rough(count=96):
    r = np.asarray(signals.grid(count), np.float64)
    rng = np.random.default_rng(0)

    def band(top):
        k = np.arange(1, top + 1)
        a, b = rng.normal(size=(2, len(k), 1))
        return np.cos(2 * np.pi * r * k) @ a + np.sin(2 * np.pi * r * k) @ b

    return r, band(2), band(24)


@pytest.mark.parametrize("family", [SIREN, FFN, networks.SingleFrequency])
def test_candidates_reach_nyquist_in_small_ratios(family):
    settings = advice.candidates(family, spacing=1 / 32, extent=2)
    assert family.knob.of_nyquist(settings[-1], 1 / 32) == pytest.approx(1)
    assert np.all(settings[1:] / settings[:-1] <= advice.RATIO * (1 + 1e-6))
    assert np.allclose(advice.candidates(family, 1 / 64, 1), 2 * settings)  # another unit


def test_candidates_of_a_knob_that_is_no_frequency_are_its_range():
    kinds = [f for f in networks.families().values() if not f.knob.unit.startswith(("rad", "cyc"))]
    assert kinds
    for family in kinds:
        settings = advice.candidates(family, 1 / 32, 2)
        assert settings[0] == pytest.approx(family.knob.low)
        assert settings[-1] == pytest.approx(family.knob.high)


@pytest.mark.parametrize("shape", [(64,), (16, 16), (8, 8, 8)])
def test_spacing_of_a_grid(shape):
    assert advice.spacing_of(signals.grid(shape, -1, 1)) == pytest.approx(2 / shape[0], rel=1e-5)


def test_the_forecast_is_that_of_leaving_every_sample_out():
    r, g, _ = smooth_and_rough(24)
    r, g = jnp.asarray(r, jnp.float32), jnp.asarray(g, jnp.float32)
    network = FFN.sized(32, 1)
    (found,) = advice.forecast(network, np.array([3.0]), r, g)
    theta = networks.init(network, jax.random.key(0), 1, sigma=3.0)
    K = np.asarray(ntk.gram(network, theta, r), np.float64)
    values = np.asarray(g - g.mean(), np.float64)
    best = -np.inf
    for ridge in np.linalg.eigvalsh(K).mean() * 10.0 ** np.linspace(-6, 1, 15):
        errors = []
        for i in range(len(K)):
            rest = np.delete(np.arange(len(K)), i)
            weights = np.linalg.solve(
                K[np.ix_(rest, rest)] + ridge * np.eye(len(rest)), values[rest]
            )
            errors.append(values[i] - K[i, rest] @ weights)
        best = max(best, -10 * np.log10(np.mean(np.square(errors))))
    assert found == pytest.approx(best, abs=0.2)


def test_a_rougher_signal_gets_a_larger_setting():
    r, smooth, rough = smooth_and_rough()
    for family in (SIREN, FFN):
        ask = lambda g, family=family: advice.advise(r, g, [family.sized(32, 1)], steps=100)
        assert ask(smooth).setting < ask(rough).setting


def test_units_change_the_setting_and_nothing_else():
    r, smooth, _ = smooth_and_rough(64)
    ask = lambda r, g: advice.advise(r, g, [FFN.sized(16, 1)], steps=60)
    here, there = ask(r, smooth), ask(10 * r, 3 * smooth + 7)
    assert there.setting == pytest.approx(here.setting / 10, rel=1e-4)
    assert there.share == pytest.approx(here.share, rel=1e-4)
    assert there.psnr == pytest.approx(here.psnr, abs=0.5)


def test_what_is_recommended_is_the_best_that_was_tried():
    r, smooth, _ = smooth_and_rough(48)
    among = [SIREN.sized(16, 1), FFN.sized(16, 1)]
    found = advice.advise(r, smooth, among, steps=40)
    scores = [one.score for one in found.tries]
    assert scores == sorted(scores, reverse=True)
    assert found.tries[0].setting == found.setting
    assert found.tries[0].network is found.network
    assert found.flat[0] <= found.setting <= found.flat[1]
    assert found.best("FFN").network.label == "FFN"
    assert "of Nyquist" in str(found)
    with pytest.raises(ValueError, match="was not tried; choose one of"):
        found.best("MFN")


def test_at_the_samples_nothing_is_kept_back():
    r, _, rough = smooth_and_rough(48)
    found = advice.advise(r, rough, [FFN.sized(32, 1)], purpose="at", steps=100)
    between = advice.advise(r, rough, [FFN.sized(32, 1)], steps=100)
    assert found.psnr > between.psnr
    assert all(np.isnan(one.forecast) for one in found.tries)


def test_a_small_budget_shortens_the_check():
    r, smooth, _ = smooth_and_rough(48)
    found = advice.advise(r, smooth, [FFN.sized(16, 1)], steps=50_000, budget=1e-3)
    assert max(one.steps for one in found.tries) <= 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g": np.ones((48, 1))}, "all values are equal"),
        ({"r": np.zeros((48, 1))}, "the same for all samples"),
        ({"r": np.zeros((8, 1)), "g": np.zeros((8, 1))}, "at least 16"),
        ({"g": np.full((48, 1), np.nan)}, "NaN"),
        ({"purpose": "both"}, "choose 'between' or 'at'"),
        ({"budget": 0}, "seconds above 0"),
        ({"among": [networks.MLP((8,))]}, "no setting to advise on"),
        ({"among": [networks.FFN((8,), 3)]}, "outputs=3, the signal 1"),
        ({"steps": 0}, "steps"),
        ({"spacing": -1.0}, "spacing"),
    ],
)
def test_what_cannot_be_advised_on_is_refused_in_a_sentence(change, message):
    r, smooth, _ = smooth_and_rough(48)
    asked = {"r": r, "g": smooth, "among": [networks.FFN.sized(8, 1)]} | change
    with pytest.raises(ValueError, match=message):
        advice.advise(asked.pop("r"), asked.pop("g"), asked.pop("among"), **asked)


def test_every_member_of_a_stack_is_trained_as_if_alone():
    r = signals.grid(32)
    g = signals.tone(2, r)
    network = FFN.sized(8, 1)
    trial = trials.Trial(network, r, g)
    together = trial(np.array([0.5, 2.0, 8.0]), 0, 30)
    alone = [trial(np.array([s]), 0, 30)[0] for s in (0.5, 2.0, 8.0)]
    assert together == pytest.approx(alone, abs=1e-2)


# --- python -m inrlib.advice ---------------------------------------------------------------------


def test_the_command_line_advises_on_a_file(tmp_path, capsys):
    t = np.arange(400) / 400
    wavfile.write(tmp_path / "tone.wav", 400, np.sin(2 * np.pi * 5 * t).astype(np.float32))
    assert advice.main([str(tmp_path / "tone.wav"), "--budget", "1"]) == 0
    out, err = capsys.readouterr()
    assert "of Nyquist" in out
    assert "SIREN" in err


def _png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 32), "grey").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.wav", b"not a sound at all"),
        ("empty.wav", b""),
        ("text.png", b"not a picture"),
        ("grey.png", _png()),
        ("one.csv", b"1,2,3\n"),
        ("nan.csv", b"0,1\n1,nan\n2,3\n"),
        ("damaged.npy", b"\x93NUMPY broken"),
        ("few.csv", b"0,1\n1,0\n2,3\n"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(name, content, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert advice.main([str(tmp_path / name)]) == 1
    _, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_hostile_arrays_are_one_sentence(tmp_path, capsys):
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp_path / "constant.npy", np.zeros((8, 8, 8)))
    big = BytesIO()
    np.lib.format.write_array_header_1_0(
        big, {"descr": "<f8", "fortran_order": False, "shape": (1000, 1000, 1000)}
    )
    (tmp_path / "big.npy").write_bytes(big.getvalue())
    for name in ("pickled.npy", "constant.npy", "big.npy", "missing.png"):
        assert advice.main([str(tmp_path / name)]) == 1
        _, err = capsys.readouterr()
        assert len(err.strip().splitlines()) == 1, name


@pytest.mark.parametrize("label", ["grid", pytest.param("WIRE", marks=pytest.mark.slow)])
def test_a_family_that_came_later_is_advised_on_like_any_other(label):
    r, g = signals.samples(signals.grey(signals.picture("camera", 16)))
    network = networks.families()[label].sized(8, 1)
    found = advice.advise(r, g, [network], steps=20)
    settings = advice.candidates(network, advice.spacing_of(r), 2)
    assert min(abs(np.log(settings / found.setting))) < 0.05
    assert np.isfinite(found.psnr)
