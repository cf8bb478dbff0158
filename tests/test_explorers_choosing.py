"""Which network for my signal: files brought into one frame, and the explorer that advises."""

import io
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from inrlib import explorers, fitting
from inrlib.explorers import choosing, menu


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def wav(values, rate):
    stream = io.BytesIO()
    wavfile.write(stream, rate, values)
    return stream.getvalue()


def png(width, height):
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize("name", menu.MENU)
def test_the_menu_is_in_one_frame(name):
    signal = menu.MENU[name]()
    assert 500 <= len(signal.r) <= 4096
    assert (signal.r.min(), signal.g.min(), signal.g.max()) == (-1, 0, 1)
    assert signal.r.max() <= 1
    assert signal.shape is None or np.prod(signal.shape) == len(signal.r)
    if signal.shape:
        assert np.diff(np.unique(signal.r[:, 0])) == pytest.approx(signal.spacing, rel=1e-3)


def test_a_sound_is_half_a_second_around_its_loudest_place_at_8000_hz():
    """A tone of 500 Hz in a long noise: 500 Hz of it, and no other, are found again."""
    rate = 44100
    t = np.arange(3 * rate) / rate
    tone = np.where(abs(t - 2) < 0.3, np.sin(2 * np.pi * 500 * t), 0)
    both = np.stack([tone, tone], axis=1) + 1e-3 * np.random.default_rng(0).normal(size=(len(t), 2))
    signal = menu.read("A.WAV", wav(both.astype(np.float32), rate))
    assert signal.r.shape == (4096, 1)
    assert signal.unit[0] == "s"
    assert signal.spacing * signal.unit[1] == pytest.approx(1 / 8000, rel=1e-3)
    power = np.abs(np.fft.rfft(signal.g[:, 0] - signal.g.mean())) ** 2
    assert power.argmax() == 500 * 4096 // 8000
    assert power[251:262].sum() > 0.99 * power.sum()


def test_a_volume_becomes_the_means_of_its_blocks():
    values = np.random.default_rng(0).normal(size=(32, 48, 16, 2))
    signal = menu.read("a.npy", npy(values))
    assert signal.shape == (16, 16, 16)
    means = values.reshape(16, 2, 16, 3, 16, 1, 2).mean(axis=(1, 3, 5, 6)).ravel()
    expected = (means - means.min()) / np.ptp(means)
    np.testing.assert_allclose(signal.g[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["npz", "npy", "csv"])
def test_a_table_keeps_its_places_and_the_ratio_of_its_axes(kind):
    rng = np.random.default_rng(0)
    r, g = rng.uniform(size=(200, 2)) * [10, 2], rng.normal(size=(200, 1))
    rows = np.hstack([r, g])
    text = "\n".join(",".join(map(str, row)) for row in rows).encode()
    content = {"npz": npz(r=r, g=g), "npy": npy(rows), "csv": text}[kind]
    signal = menu.read(f"a.{kind}", content)
    order = np.argsort(r[:, 0])
    half = np.ptp(r[:, 0]) / 2
    np.testing.assert_allclose(signal.r, (r[order] - r.min(0)) / half - 1, atol=1e-5)
    assert signal.unit == ("unit", pytest.approx(half))
    np.testing.assert_allclose(np.corrcoef(signal.g[:, 0], g[order, 0])[0, 1], 1)


def test_a_picture_has_pixels_for_its_unit():
    signal = menu.read("a.png", png(90, 70))
    assert signal.shape == (64, 64)
    assert signal.spacing * signal.unit[1] == pytest.approx(1)
    assert signal.unit[0] == "pixel"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"text", "sound: the file is no WAV"),
        ("a.npy", npy(np.array([None])), "holds Python objects"),
        ("a.npy", b"", "is neither .npy nor .npz"),
        ("a.npy", npy(np.ones((4, 4, 4))), "volume: all of the file has one value"),
        ("a.npz", npz(r=np.ones((4, 2)), g=np.ones(4)), "has one value"),
        ("a.csv", b"1,2\n2,3", "2 samples; give the adviser at least 32"),
        ("a.npy", npy(np.random.default_rng(0).normal(size=(99, 5))), "looks at most at three"),
        ("a.npy", npy(np.stack([np.eye(4)] * 4)[..., None] * [1, -1]), "mean of its channels"),
        ("a.pdf", b"%PDF", "picture: the file cannot be read"),
        ("noending", b"", "picture: the file cannot be read"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(name, content, message):
    with pytest.raises(ValueError, match=rf"{message}.*\.$"):
        menu.read(name, content)


@pytest.fixture(scope="module")
def explorer():
    return explorers.adviser()


def send(explorer, name, content):
    file = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    file["last_modified"] = datetime(2020, 1, 1, tzinfo=UTC)
    explorer.controls["own"].button.value = (file,)


def test_the_advice_is_one_of_what_was_tried(explorer):
    promised, tried, usual = explorer.frame["advice"]
    assert usual == pytest.approx(30 / (np.pi * 32))
    share, _ = explorer.frame["places"]["advised"]
    shares = [s for points in promised.values() for s, _ in points]
    assert min(abs(np.array(shares) - share)) < 1e-6
    assert set(promised) == set(tried) == {"SIREN", "FFN"}
    words = explorer.frame["words"]
    value, own = map(float, re.search(r"= ([\d.]+) \(([\d.e-]+) ", words).groups())
    assert own == pytest.approx(value / 32, rel=0.01)  # per pixel, 64 of them on [−1, 1)


def test_an_own_file_is_advised_on_and_a_bad_one_answered(explorer):
    explorer.controls["signal"].value = "own file"
    assert "there is no own file yet" in explorer.status.value
    explorer.reset.click()
    send(explorer, "a.wav", b"no sound")
    assert "sound: the file is no WAV file" in explorer.status.value
    assert explorer.controls["signal"].value == "camera"
    r = np.random.default_rng(0).uniform(size=(150, 1))
    rows = np.hstack([r, np.sin(20 * r)])
    send(explorer, "a.csv", "\n".join(f"{x},{y}" for x, y in rows).encode())
    assert explorer.controls["signal"].value == "own file"
    assert "computed in" in explorer.status.value
    assert explorer.frame["outputs"]["target"].shape == (150,)
    assert explorer.code.endswith("# upload the signal again")
    explorer.reset.click()
    assert explorer.controls["signal"].value == "camera"
    assert explorer.frame["outputs"]["target"].shape == (64, 64)


def test_a_training_that_ended_is_not_trained_again(explorer):
    explorer.reset.click()
    explorer.trained()
    levels = dict(explorer.frame["levels"])
    assert min(levels.values()) > 20
    explorer.at(share=0.1)
    assert explorer.frame["levels"]["advised"] == levels["advised"]
    assert explorer.frame["levels"]["yours"] < 15 < levels["yours"]
    stages = list(explorer.training.begin())
    steps, course = explorer.frame["lines"]["advised"]
    assert (steps[0], steps[-1]) == (0, 500)
    assert np.diff(steps).max() <= 25
    assert course[-1] == explorer.frame["levels"]["advised"]
    assert len(stages) > 1
    explorer.at(share=0.05)
    assert explorer.frame["levels"] == levels
    assert len(list(explorer.training.begin())) == 1


def test_what_the_explorer_trains_is_what_fit_trains():
    """The reader's network, on the reader's half of the samples, by `fitting.fit`."""
    r = np.linspace(-1, 1, 64)[:, None].astype(np.float32)
    g = (0.5 + 0.5 * np.sin(9 * r)).astype(np.float32)
    signal = menu.Signal(r, g, None, ("unit", 1.0))
    seen, unseen = np.arange(0, 64, 2), np.arange(1, 64, 2)
    problem = choosing.Problem(signal, r, seen, unseen, None, {})
    arm = choosing.Arm(choosing.SIREN.sized(16, 1), 12.0)
    *_, (step, course) = choosing._training(problem, arm, lambda: 130)
    steps, levels, f = course()
    run = fitting.fit(
        arm.network, arm.begin(1), r[seen], g[seen], steps=500, optimizer=choosing._ADAM,
        held_out=(r[unseen], g[unseen]), progress=False,
    )  # fmt: skip
    assert step == 500
    np.testing.assert_allclose(levels, run.psnr_held_out[steps], atol=1e-3)
    np.testing.assert_allclose(f, arm.network.apply(run.theta, r), atol=1e-5)


def test_an_unknown_signal_is_refused():
    with pytest.raises(ValueError, match="signal='whale' is not in the menu; take one of camera"):
        explorers.adviser("whale")
