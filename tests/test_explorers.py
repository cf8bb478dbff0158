"""What holds for every explorer, as the notebooks open them."""

import base64
import html
import inspect
import io
import re

import matplotlib
import nbformat
import numpy as np
import pytest
from conftest import ROOT
from hands import A_MODULE, CALLS, EACH, main_slider, opened, pixels, words
from PIL import Image

from inrlib import alt, explorers
from inrlib.live.training import Training


def test_every_explorer_has_a_cell_in_a_notebook_and_every_cell_an_explorer():
    assert {call.split("(")[0] for call in CALLS} == set(explorers.ALL)
    for make in explorers.ALL.values():
        assert inspect.signature(make).return_annotation is explorers.Explorer
        assert make.__doc__


def test_nothing_reads_a_frame_by_number():
    books = [nbformat.read(book, as_version=4) for book in (ROOT / "notebooks").glob("*.ipynb")]
    cells = [cell.source for book in books for cell in book.cells if cell.cell_type == "code"]
    sources = [path.read_text() for path in (ROOT / "inrlib").rglob("*.py")]
    assert not [text for text in cells + sources if "frame[-" in text or "frame[0" in text]


a_module = pytest.mark.parametrize("explorer", A_MODULE, indirect=True)


@pytest.fixture(scope="module", params=EACH)
def explorer(request):
    return opened(request.param)


def test_sliding_changes_the_picture_and_compiles_nothing(explorer, compiled):
    slider = main_slider(explorer)
    low, high = slider.low, slider.high
    slider.value = low + 0.6 * (high - low)
    first = pixels(explorer)
    compiled.clear()
    slider.value = low + 0.1 * (high - low)
    assert not compiled
    assert first.shape == pixels(explorer).shape
    assert np.abs(first - pixels(explorer)).max() > 50
    assert "computed in" in words(explorer)
    explorer.reset.click()


def test_every_label_fits_beside_its_control(explorer):
    """25 letters; a number has its label on its handle, a file on its button."""
    shown = [getattr(control, "handle", control) for control in explorer.controls.values()]
    labels = [part.description for part in shown if hasattr(part, "description")]
    assert labels
    assert not [label for label in labels if not 0 < len(label) <= 25]


@a_module
def test_reset_brings_the_first_frame_back(explorer):
    explorer.reset.click()
    before, defaults = pixels(explorer), explorer.values
    slider = main_slider(explorer)
    slider.value = slider.low
    explorer.reset.click()
    assert slider.value == defaults[explorer.main]
    if not explorer.remembers:  # else atoms keep the signs and the order of the frame before
        np.testing.assert_allclose(pixels(explorer), before, atol=2)


@pytest.fixture
def untrained(monkeypatch):
    """What is drawn is looked at here; that it is trained, in test_live_training."""
    monkeypatch.setattr(Training, "finish", Training.cancel)


@a_module
def test_a_still_picture_is_always_there(explorer, untrained):
    bundle, metadata = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    still = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert np.asarray(still).std() > 10
    said = metadata["image/png"]["alt"]
    assert 60 <= len(said) <= alt.LIMIT
    assert said.startswith(main_slider(explorer).label)


def test_a_move_changes_the_words_of_the_picture(explorer):
    """The picture's name and the text for screen readers: other numbers, not the slider's alone."""
    control = main_slider(explorer)
    place = re.escape(control.label) + r" = \S+\. "
    said = set()
    for share in (0.2, 0.8):
        control.value = control.low + share * (control.high - control.low)
        assert explorer.image.tooltip == explorer.alt
        assert html.escape(explorer.alt) in explorer.words.value
        said.add(re.sub(place, "", explorer.alt))
    assert len(said) == 2


@a_module
def test_drawing_what_moves_equals_drawing_all(explorer):
    """Pixel by pixel, against matplotlib's own full drawing of the same artists."""
    control = main_slider(explorer)
    low, high = control.low, control.high
    for share in (0.3, 0.0, 1.0):
        control.value = low + share * (high - low)
        assert "computed in" in words(explorer)
        fast = np.array(explorer.canvas.buffer_rgba())
        for artist in explorer.figure.findobj(lambda a: a.get_animated()):
            artist.set_animated(False)
        explorer.canvas.draw()
        full = np.array(explorer.canvas.buffer_rgba())
        np.testing.assert_array_equal(fast, full)
        explorer.canvas._renew()
    assert matplotlib.rcParams["axes.axisbelow"] is True


@a_module
def test_moving_draws_no_labels_again(explorer, monkeypatch):
    """What is static is drawn once: a frame does not draw the figure as a whole."""
    if "allowed: order Σ|s|" in [ax.get_title() for ax in explorer.figure.axes]:
        pytest.skip("the colour bar's ticks follow the order, so there every frame is a full one")
    control = main_slider(explorer)
    control.value = control.low + 0.4 * (control.high - control.low)
    draws = []
    monkeypatch.setattr(explorer.canvas, "draw", lambda: draws.append(1))
    control.value = control.low + 0.6 * (control.high - control.low)
    assert "computed in" in words(explorer)
    assert draws == []


@a_module
def test_frames_for_a_page(explorer, untrained):
    control = main_slider(explorer)
    before = control.value
    frames = explorer.frames(5, limit=2**19)
    assert control.value == before
    assert len(frames["values"]) == len(frames["images"]) >= 4
    assert float(frames["values"][frames["first"]]) == pytest.approx(before, rel=1e-9)
    assert [float(v) for v in frames["values"]] == sorted(float(v) for v in frames["values"])
    assert sum(map(len, frames["images"])) <= 2**19
    pictures = [np.asarray(Image.open(io.BytesIO(d)), int) for d in frames["images"]]
    assert len({picture.shape for picture in pictures}) == 1
    assert np.abs(pictures[0] - pictures[-1]).max() > 60
