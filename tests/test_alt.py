"""A figure in words: the numbers told are the numbers drawn."""

import re

import numpy as np
import pytest

from inrlib import alt, plots


def one(draw):
    fig, ((ax,),) = plots.figure()
    draw(ax)
    return alt.describe(fig)


def numbers(text):
    return [
        float(part) for part in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text.replace("−", "-"))
    ]


@pytest.mark.parametrize(
    ("y", "told"),
    [
        ([1, 4, 9], "rises from 1 to 9"),
        ([9.5, 4, -1], "falls from 9.5 to −1"),
        ([3, 3, 3], "stays at 3"),
        ([0, 7, 0.5], "between 0 and 7, highest at 20"),
        ([np.nan, 2, 5], "rises from 2 to 5"),
    ],
)
def test_a_curve_is_told_by_where_it_goes(y, told):
    assert told in one(lambda ax: plots.curves(ax, [10, 20, 30], {"SIREN": y}))


def test_the_axes_are_named_with_their_range():
    labels = {"xlabel": "ω0 (rad per unit)", "ylabel": "PSNR (dB)", "xlim": (3, 300)}
    text = one(lambda ax: plots.curves(ax, [3, 300], {"SIREN": [1, 2]}, **labels))
    assert text.startswith("PSNR (dB) over ω0 (rad per unit) (3 to 300): SIREN")


def test_stems_are_told_by_the_highest():
    level = np.full(64, -90.0)
    level[23], level[24], level[50] = -3.25, -9, -20
    text = one(lambda ax: plots.stems(ax, np.arange(64), {"SIREN": level}, plots.COLOURS))
    assert "SIREN, 64 lines, the highest −3.25 at 23, then −20 at 50" in text


def test_dots_are_told_by_their_rank_correlation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    for sign in (1, -1):
        text = one(lambda ax, sign=sign: ax.plot(x, sign * x**3, "o"))
        assert "50 points" in text
        assert numbers(text)[-1] == sign
    scattered = one(lambda ax: ax.scatter(x, rng.normal(size=50)))
    assert abs(numbers(scattered)[-1]) < 0.5


def test_a_picture_is_told_by_its_range_and_its_fineness():
    column = np.arange(32) % 4 < 2  # crosses its mean 15 times a row
    text = one(lambda ax: plots.picture(ax, np.tile(column, (32, 1)) * 0.5, "stripes"))
    assert text == "stripes: 32×32 pixels between 0 and 0.5, mean 0.25, crossed 15.0 times a row."


def test_bars_and_rules():
    text = one(lambda ax: (ax.bar([0, 1, 2], [4, 8, 6], label="kernel"), ax.axhline(5)))
    assert "kernel, 3 bars between 4 and 8" in text
    assert "stays at" not in text


def test_many_pictures_are_told_row_by_row():
    waves = lambda k: np.sin(np.pi * k * np.arange(24) / 24 + 0.1)[None, :] * np.ones((24, 1))
    rows = {f"ω0 = {n}": np.stack([waves(n * k) for k in (1, 2, 3)]) for n in (2, 4)}
    text = alt.describe(plots.atoms(rows))
    assert text.startswith("6 pictures")
    coarse, fine = re.findall(r"ω0 = \d: a row crosses its mean ([\d.]+) to ([\d.]+) times", text)
    assert [float(a) < float(b) for a, b in (coarse, fine)] == [True, True]
    assert float(fine[0]) > float(coarse[0])


def test_pictures_with_a_name_are_told_before_those_with_a_symbol():
    fig, axes = plots.figure(1, 8)
    stripes = lambda k: np.tile(np.sin(np.pi * k * np.arange(24) / 24 + 0.1), (24, 1))
    plots.picture(axes[0, 0], np.full((8, 8), 0.25), "the target")
    for n, ax in enumerate(axes[0, 1:]):
        plots.atom(ax, stripes(n + 1), f"φ{n}")
    text = alt.describe(fig)
    assert text.startswith("8 panels. the target: 8×8 pixels at 0.25")
    assert re.search(r"φ0 to φ6: a row crosses its mean [\d.]+ to [\d.]+ times", text)


def test_it_follows_what_is_drawn():
    fig, ((ax,),) = plots.figure()
    update = plots.curves(ax, [0, 1, 2], {"SIREN": [0, 1, 2]})
    before = alt.describe(fig)
    update({"SIREN": [2, 1, 0]})
    assert before != alt.describe(fig)


def test_a_caption_leads_and_the_text_stays_short():
    fig, axes = plots.figure(5, 5)
    for n, ax in enumerate(axes.ravel()):
        plots.curves(ax, [0, 1], {f"a network of a long name, {n}": [0, n]}, xlabel="a long label")
    plots.captioned(fig, "Figure 4: where the energy lies")
    text = alt.describe(fig, "ω0 = 30")
    assert text.startswith("ω0 = 30. Figure 4: where the energy lies. 25 panels.")
    assert len(text) <= alt.LIMIT
    left = int(re.search(r"And (\d+) more\.$", text)[1])
    assert text.count("over a long label") == 25 - left


def test_a_figure_in_a_notebook_has_words_in_each_of_its_forms():
    fig, ((ax,),) = plots.figure()
    plots.curves(ax, [0, 1], {'<SIREN> & "co"': [0, 2]})
    data, metadata = fig._repr_mimebundle_()
    words = metadata["image/png"]["alt"]
    assert "from 0 to 2" in words
    assert data["text/plain"] == words
    assert re.match(r'<img alt="[^"<>]+" style', data["text/html"])
    assert data["image/png"] in data["text/html"]


def test_a_caption_stands_below_its_figure():
    fig, ((ax,),) = plots.figure()
    plots.curves(ax, [0, 1], {"SIREN": [0, 2]})
    data, metadata = plots.captioned(fig, "Figure 4: λ < 1")._repr_mimebundle_()
    page = data["text/html"]
    assert metadata["image/png"]["caption"] == "Figure 4: λ < 1"
    assert "<figcaption>Figure 4: λ &lt; 1</figcaption>" in page
    assert 'alt="Figure 4: λ &lt; 1. over x' in page


def test_an_empty_figure_says_little_and_fails_not():
    fig, _ = plots.figure()
    assert isinstance(alt.describe(fig), str)
