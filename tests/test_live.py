"""The mechanism behind the explorers: controls, drawing, errors, frames for a page."""

import asyncio
import gc
import io
import re
import threading
import time
import weakref
from datetime import UTC, datetime

import numpy as np
import pytest
from hands import words
from PIL import Image
from threadpoolctl import ThreadpoolController

from inrlib import explorers, live, plots
from inrlib.live.explorer import _one_thread


def draw(y, **_):
    fig, ((ax,),) = plots.figure()
    update = plots.curves(ax, np.arange(3), {"y": y}, ylim=(-1, 11))
    return fig, {"y": lambda y: update({"y": y})}


def frame_of(x):
    return {"y": x * np.ones(3)}


def toy(compute=frame_of, control=None, train=None) -> live.Explorer:
    control = control or live.slider("x", "units", 0.1, 10, 1)
    return live.Explorer({"x": control}, compute, draw, train)


def in_a_thread(act, *arguments, **options):
    thread = threading.Thread(target=act, args=arguments, kwargs=options)
    thread.start()
    thread.join()


@pytest.mark.parametrize("last_out", [0, 1])
def test_lapack_has_its_threads_back_however_explorers_overlap(last_out):
    lapack = ThreadpoolController().select(user_api="blas")
    threads = lambda: {library["num_threads"] for library in lapack.info()}
    usual = lapack.info()[0]["num_threads"]
    in_a_thread(lapack.limit, limits=2)  # as on a machine with two cores
    events = lambda: [threading.Event() for _ in "ab"]
    inside, leave, outside, end = events(), events(), events(), threading.Event()

    def compute(which):
        with _one_thread(lapack):
            inside[which].set()
            leave[which].wait(10)
        outside[which].set()
        end.wait(10)  # the kernel's own threads live on, too

    both = [threading.Thread(target=compute, args=[which]) for which in (0, 1)]
    try:
        for thread, entered in zip(both, inside, strict=True):
            thread.start()
            assert entered.wait(10)
        assert threads() == {1}
        for which in (1 - last_out, last_out):
            leave[which].set()
            assert outside[which].wait(10)
        assert threads() == {2}
    finally:
        end.set()
        for thread in both:
            thread.join()
        in_a_thread(lapack.limit, limits=usual)


def test_the_link_is_right_before_the_first_move():
    explorer = explorers.first_look(seed=3)
    assert "data-code='from inrlib import explorers\nexplorers.first_look(seed=3)'" in (
        explorer.status.value
    )


@pytest.mark.parametrize("bad", ["none", None, 3, ["a"]])
def test_at_names_the_choices_of_a_menu(bad):
    controls = {"kind": live.choice("kind", ("a", "b"))}
    explorer = live.Explorer(controls, lambda kind: {"y": np.full(3, len(kind))}, draw)
    with pytest.raises(ValueError, match=r"at: kind=.* is no choice here; take a, b\."):
        explorer.at(kind=bad)


@pytest.mark.parametrize("bad", [None, "three", [3]])
def test_at_says_what_is_no_number(bad):
    with pytest.raises(ValueError, match=r"at: x \(units\): .* is no number\."):
        toy().at(x=bad)


@pytest.mark.parametrize("bad", [{"x": 3, "y": 11}, {"x": 3, "kind": "none"}, {"x": 3, "z": 1}])
def test_at_moves_all_or_none(bad):
    controls = {
        "x": live.slider("x", "units", 0.1, 10, 1),
        "y": live.slider("y", "units", 0.1, 10, 1),
        "kind": live.choice("kind", ("a", "b")),
    }

    explorer = live.Explorer(controls, lambda x, **_: {"y": np.full(3, x)}, draw)
    before = explorer.values
    with pytest.raises(ValueError, match="at: "):
        explorer.at(**bad)
    assert explorer.values == before
    explorer.at(x=2, kind="b")
    assert explorer.values == {"x": 2, "y": 1, "kind": "b"}


def fails_above(limit):
    def compute(x):
        if x > limit:
            raise ValueError(f"{x:g} is too large.")
        return frame_of(x)

    return compute


def test_at_refuses_what_has_no_frame_and_goes_back():
    explorer = toy(fails_above(4))
    with pytest.raises(ValueError, match="at: 5 is too large"):
        explorer.at(x=5)
    assert explorer.values == {"x": 1}
    assert "computed in" in words(explorer)


@pytest.mark.parametrize("value", ["2", 2, np.float32(2), np.int64(2)])
def test_at_takes_any_number(value):
    explorer = toy().at(x=value)
    assert explorer.code == "explorer.at(x=2)"
    with pytest.raises(ValueError, match=re.escape("x (units): [2] is no number")):
        explorer.at(x=[2])


def test_a_page_leaves_out_what_has_no_frame():
    frames = toy(fails_above(4)).frames(5)
    assert frames["values"] == ["0.1", "0.3", "1", "3"]
    with pytest.raises(ValueError, match="ask for fewer"):
        toy().frames(5, limit=1000)


def test_an_error_stays_until_there_is_a_frame():
    """A refused text that is corrected does not make a stale frame look fresh."""
    explorer = toy(fails_above(4))
    field = explorer.controls["x"].field
    for text, message in (("5", "5 is too large"), ("abc", "is no number"), ("5", "is too large")):
        field.value = text
        assert message in words(explorer)
    field.value = "2"
    assert "computed in" in words(explorer)


def test_a_frame_ends_what_was_refused_before_it():
    controls = {name: live.slider(name, "units", 0.1, 10, 1) for name in "xy"}

    explorer = live.Explorer(controls, lambda x, y: {"y": np.full(3, x + y)}, draw)
    field = controls["x"].field
    for text in ("11", "11.0"):  # the same message twice
        field.value = text
        assert "11 is out of range" in words(explorer)
        assert field.value == text
        controls["y"].handle.value *= 1.5
        assert "computed in" in words(explorer)
        assert field.value == "1"


def test_an_error_without_words_is_named():
    def compute(x):
        if x > 4:
            raise MemoryError
        return frame_of(x)

    explorer = toy(compute)
    explorer.controls["x"].value = 5
    assert "Unexpected MemoryError" in words(explorer)


def test_a_refused_entry_and_then_a_good_one_are_one_frame():
    frames = []
    explorer = toy(lambda x: frames.append(x) or frame_of(x))
    control = explorer.controls["x"]
    control.field.value = "nonsense"
    frames.clear()
    control.field.value = "4"
    assert frames == [4]
    assert "computed in" in words(explorer)
    control.field.value = "nonsense"
    control.field.value = "4"
    assert frames == [4]
    assert "computed in" in words(explorer)


# --- Controls ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2.99951", 2.99951),
        (" 1e-1 ", 0.1),
        ("10", 10),
        ("0.1", 0.1),
        ("2,5", 2.5),
        ("0,125", 0.125),
    ],
)
def test_a_typed_number_is_taken_as_it_is(text, value):
    control = live.slider("x", "units", 0.1, 10, 1)
    control.field.value = text
    assert control.value == value
    assert control.handle.value == pytest.approx(value, rel=1e-6)
    assert float(control.field.value) == value
    assert control.error == ""


def test_a_typed_whole_number_is_one():
    control = live.whole("layers", 1, 4, 2)
    control.field.value = "3"
    assert control.value == 3
    assert isinstance(control.value, int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "x (units): &#x27;abc&#x27; is no number"),
        ("", "is no number"),
        ("0", "x (units): 0 is out of range; take 0.1 to 10"),
        ("-5", "-5 is out of range"),
        ("nan", "nan is out of range"),
        ("inf", "inf is out of range"),
        ("1e400", "inf is out of range"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("1" * 5000, "out of range"),
        ("1,500", "1,500&#x27; is no number"),
        ("1,5,0", "is no number"),
    ],
)
@pytest.mark.few(5)
def test_typed_nonsense_is_answered_in_place(text, message):
    explorer = toy()
    control, good = explorer.controls["x"], explorer.image.value
    control.field.value = text
    assert message in explorer.status.value
    assert control.value == 1
    assert explorer.image.value == good
    control.handle.value = 2.0
    assert "computed in" in words(explorer)
    assert control.field.value == "2"
    assert explorer.image.value != good


def test_a_value_between_two_steps_survives_the_page_that_rounds_it():
    """A page answers a new value with the slider's nearest step."""
    control = live.slider("x", "units", 0.25, 4, 1)
    control.handle.value = 0.99
    assert control.value == 1
    control.handle.value = 0.9
    assert control.value == 0.9


def test_the_slider_reaches_both_ends():
    """10**log10(low) is not always low."""
    for low, high in ((3, 300), (0.05, 5), (0.1, 30), (7, 70)):
        control = live.slider("x", "units", low, high, low)
        assert control.value == low
        control.handle.value = 10**control.handle.max
        assert control.value == high
        control.handle.value = 10**control.handle.min
        assert control.value == low


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is no picture", "cannot be read as a picture; give"),
        (b"", "cannot be read as a picture; give"),
        ((1, 1), "1 pixels; take a picture of at least 32×32"),
        ((7, 90), "side has 7 pixels"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "cannot be read as a picture"),
        ((90, 7), "side has 7 pixels"),
        ((10_000, 40), "10000×40 pixels; make it at most 8192"),
    ],
)
@pytest.mark.few(4)
def test_a_bad_upload_is_answered_and_the_picture_before_it_stays(content, message):
    control = live.Upload(16)

    def send(content):
        if isinstance(content, tuple):
            buffer = io.BytesIO()
            Image.linear_gradient("L").resize(content).save(buffer, "png")
            content = buffer.getvalue()
        file = {"name": "x.png", "type": "image/png", "size": len(content)}
        file["last_modified"] = datetime(2020, 1, 1, tzinfo=UTC)
        control.button.value = (file | {"content": memoryview(content)},)

    explorer = toy(lambda x: frame_of(1 if x is None else 5), control)
    send((50, 40))
    assert control.value.shape == (16, 16, 3)
    good = explorer.image.value
    send(content)
    assert message in explorer.status.value
    assert control.value.shape == (16, 16, 3)
    assert explorer.image.value == good
    send((64, 64))
    assert control.error == ""
    assert "computed in" in words(explorer)


@pytest.mark.parametrize("colours", ["red red", "red lime"])
def test_a_picture_without_contrast_is_refused(colours, unchecked):
    """Red beside green is all of one grey, and the kernel sees one grey channel."""
    control = live.Upload(16)
    left, right = (Image.new("RGB", (40, 80), colour) for colour in colours.split())
    picture = Image.new("RGB", (80, 80))
    picture.paste(left, (0, 0))
    picture.paste(right, (40, 0))
    with pytest.raises(ValueError, match="all of one brightness"):
        control.value = np.asarray(picture.resize((16, 16), Image.Resampling.NEAREST))
    for bad in ("me.png", np.ones((4, 4, 3))):
        with pytest.raises(ValueError, match=r"pixels: |picture: "):
            control.value = bad
    assert control.value is None


# --- The explorer ---


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("x=5 is too large; choose less."), "x=5 is too large"),
        (RuntimeError("<broken>"), "Unexpected RuntimeError: &lt;broken&gt;"),
    ],
)
def test_an_error_appears_in_place_and_the_explorer_goes_on(error, shown):
    def compute(x):
        if x > 4:
            raise error
        return frame_of(x)

    explorer = toy(compute)
    good = explorer.image.value
    explorer.controls["x"].value = 5
    assert shown in explorer.status.value
    assert explorer.image.value == good
    explorer.controls["x"].value = 2
    assert "computed in" in words(explorer)


def test_at_makes_one_frame_and_knows_its_controls():
    seen = []
    make = lambda x, y: seen.append((x, y)) or frame_of(x)

    sliders = {name: live.slider(name, "units", 0.1, 10, 1) for name in "xy"}
    explorer = live.Explorer(sliders, make, draw)
    seen.clear()
    assert explorer.at(x=3, y=4) is explorer
    assert seen == [(3, 4)]
    with pytest.raises(ValueError, match="there are x, y"):
        explorer.at(z=1)
    with pytest.raises(ValueError, match=re.escape("x (units): 11 is out of range")):
        explorer.at(x=11)


def test_the_copied_code_makes_the_same_explorer():
    explorer = explorers.aliasing("FFN", seed=3)
    explorer.controls["sigma"].field.value = "12.5"
    assert explorer.code == "explorers.aliasing(family='FFN', seed=3).at(sigma=12.5)"
    again = eval(explorer.code, {"explorers": explorers})
    assert again.values == explorer.values
    assert again.image.value == explorer.image.value
    assert f"data-code='from inrlib import explorers\n{explorer.code}'" in (
        explorer.status.value.replace("&#x27;", "'")
    )


def test_reset_drops_a_refused_text_too():
    explorer = toy()
    explorer.controls["x"].field.value = "abc"
    explorer.reset.click()
    assert explorer.controls["x"].field.value == "1"
    assert "computed in" in words(explorer)


def test_the_busy_sign_comes_after_a_while_only():
    seen = []
    explorer = toy(lambda x: time.sleep(0.5 if x > 5 else 0) or frame_of(x))
    explorer.status.observe(lambda change: seen.append(change["new"]), names="value")
    explorer.controls["x"].value = 2
    assert not any("computing" in text for text in seen)
    explorer.controls["x"].value = 6
    assert sum("computing" in text for text in seen) == 1
    assert "computed in" in seen[-1]
    assert threading.active_count() < 20


def test_the_page_gets_frames_only_when_it_is_exported(monkeypatch):
    explorer = toy()
    assert "text/html" not in explorer._repr_mimebundle_()[0]
    monkeypatch.setenv("INRLIB_FRAMES", "4")
    page = explorer._repr_mimebundle_()[0]["text/html"]
    assert page.count("<img") == 3
    alts = re.findall(r'<img (?:hidden )?alt="([^"]*)"', page)
    places = re.findall(r"x \(units\) = (\S+)\. ", " ".join(alts))
    said = re.findall(r"y stays at (\S+)\.(?= |$)", "\n".join(alts), re.MULTILINE)
    assert places == said
    assert len(places) == 3
    assert page.count('type="range"') == 1


def test_words_wait_until_the_picture_rests():
    """A screen reader is not told of every place in a drag."""

    async def drag():
        explorer, said = toy(), []
        explorer.words.observe(lambda change: said.append(change["new"]), names="value")
        for x in (2, 3, 4):
            explorer.controls["x"].value = x
        assert not said
        await asyncio.sleep(0.4)
        assert len(said) == 1
        assert "stays at 4" in said[0]
        assert "stays at 4" in explorer.image.tooltip

    asyncio.run(drag())


def test_what_a_frame_needs_of_the_one_before_is_passed_in():
    seen = []

    def compute(x, previous):
        seen.append(previous)
        return {"y": np.full(3, x)}

    explorer = toy(compute)
    explorer.controls["x"].value = 5
    assert [frame and frame["y"][0] for frame in seen] == [None, 1, 1]
    assert explorer.frame["y"][0] == 5


def runs(monkeypatch, cell, run, shown):
    """A cell of JupyterLab shows an explorer."""
    monkeypatch.setattr("inrlib.live.cells.running", lambda: (cell, run))
    shown._repr_mimebundle_()


def test_a_cell_that_is_run_again_gives_back_what_it_showed(monkeypatch):
    alive, kept = [], []  # IPython keeps every result

    def holding(array):
        alive.append(weakref.ref(array))
        return lambda x: {"y": x * np.ones(3), "array": array}

    for run in range(10):
        kept.append(toy(holding(np.zeros(1000))))
        runs(monkeypatch, "a", str(run), kept[-1])
    gc.unfreeze()
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 1
    assert not any(one.box.comm for one in kept[:-1])
    assert kept[-1].box.comm
    kept[-1].at(x=3)
    with pytest.raises(ValueError, match="closed when its cell was run again"):
        kept[0].at(x=3)


def test_what_stands_elsewhere_or_twice_is_left_open(monkeypatch):
    first, second, third = toy(), toy(), toy()
    runs(monkeypatch, "a", "1", first)
    runs(monkeypatch, "a", "1", second)  # two in one cell
    runs(monkeypatch, "b", "2", first)  # one in two cells
    runs(monkeypatch, "a", "3", third)
    assert first.at(x=3).frame["y"][0] == 3
    assert second.frame is None
    runs(monkeypatch, "a", "4", third)  # shown again
    runs(monkeypatch, None, None, toy())  # no cell
    assert third.at(x=2).frame["y"][0] == 2
    runs(monkeypatch, "b", "5", third)
    assert first.frame is None
