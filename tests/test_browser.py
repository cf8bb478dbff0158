"""JupyterLab started for real, a headless Chromium, and a hand on the sliders."""

import ast
import contextlib
import json
import re
import time
import urllib.request
from itertools import product

import numpy as np
import pytest
from conftest import ROOT
from hands import others_slow
from jupyter_client import BlockingKernelClient
from lab import (
    MISSING,
    PICTURE_HASH,
    SCREENS,
    browser,
    chromium,
    command,
    drag,
    handle,
    jupyterlab,
    open_notebook,
    settle,
    write_notebook,
)
from playwright.sync_api import expect

from inrlib import explorers

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason=f"{MISSING} to run browser tests"),
]

BOOKS = [book.stem for book in sorted((ROOT / "notebooks").glob("*.ipynb"))]
EXPLORERS = list(explorers.ALL)

# How a cell, a page and a kernel get on is alike in all. Here are a notebook, an explorer of each
# module, and mouse and memory in one that trains and one that does not; `make slow` has all others.
FIRST = {explorers.ALL[name].__module__: name for name in reversed(EXPLORERS)}.values()
SOME_BOOKS = others_slow(BOOKS, ("10_dashboard",))
SOME = others_slow(EXPLORERS, FIRST)
TWO = others_slow(EXPLORERS, ("bessel", "dashboard"))

# What the kernel writes to its standard error and to Python's log, in a file for the tests to read.
SET_UP = """
import gc, hashlib, io, logging, math, psutil, sys
import numpy as np
from PIL import Image
from inrlib import explorers
sys.stderr = open("kernel.log", "a", buffering=1)
logging.basicConfig(stream=sys.stderr, force=True)

def write_down(*error, shown=get_ipython()._showtraceback):
    "An error in answer to a widget is sent to the page's log only; here to the file, too."
    print(*error[-1], sep="\\n", file=sys.stderr)
    shown(*error)

get_ipython()._showtraceback = write_down

def share(explorer):
    "Where on its track the main slider's handle belongs."
    handle, value = (control := explorer.controls[explorer.main]).handle, control.value
    if hasattr(handle, "base"):
        value = math.log(value, handle.base)
    return (value - handle.min) / (handle.max - handle.min)

def positions(explorer):
    "How many steps its main slider has."
    handle = explorer.controls[explorer.main].handle
    return (handle.max - handle.min) / handle.step

def change_by_itself(explorer):
    "How far the picture is, in grey levels, from a new frame for the controls' values."
    pixels = lambda: np.asarray(Image.open(io.BytesIO(explorer.image.value)), float)
    shown = pixels()
    explorer.at().trained()
    return float(np.abs(shown - pixels()).mean())
"""

COUNT_PICTURES = """
window.pictures = {made: 0, alive: 0};
const {createObjectURL, revokeObjectURL} = URL;
URL.createObjectURL = object => {
  pictures.made += 1; pictures.alive += 1; return createObjectURL.call(URL, object);
};
URL.revokeObjectURL = url => {
  if (url.startsWith('blob:')) pictures.alive -= 1;
  revokeObjectURL.call(URL, url);
};
"""

# What a reader would call untidy: cut off, overlapping, without a label.
UNTIDY = """
cell => {
  const found = [], shown = element => element.offsetParent !== null;
  const area = cell.querySelector('.jp-OutputArea-output').getBoundingClientRect();
  const boxes = [...cell.querySelectorAll('.widget-inline-hbox, .widget-image, .jupyter-button')]
    .filter(e => shown(e) && !e.parentElement.closest('.widget-inline-hbox'))
    .map(e => [e.innerText.split('\\n')[0] || e.className, e.getBoundingClientRect()]);
  for (const [name, box] of boxes)
    if (box.right > area.right + 1 || box.left < area.left - 1) found.push(`${name}: cut off`);
  boxes.forEach(([name, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1) found.push(`${name} overlaps ${other}`);
  }));
  for (const label of [...cell.querySelectorAll('.widget-label')].filter(shown))
    if (label.scrollWidth > label.clientWidth) found.push(`${label.innerText}: label cut off`);
  for (const slider of [...cell.querySelectorAll('.widget-slider')].filter(shown))
    if (!slider.querySelector('.widget-label')?.innerText) found.push('a slider without a label');
  return found;
}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def chrome():
    with browser() as chrome:
        yield chrome


@contextlib.contextmanager
def new_page(chrome):
    """A page that collects what its console and its scripts call errors."""
    page = chrome.new_page(viewport={"width": 1280, "height": 900})
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.problems.append(line.text))
    yield page
    page.close()


@pytest.fixture
def page(chrome):
    with new_page(chrome) as page:
        yield page


def open_and_run(page, lab, book):
    """Opens a notebook and runs its first code cell, which holds an explorer."""
    cell = open_notebook(page, lab, f"{book}.ipynb").first
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    image = cell.locator(".widget-image")
    image.wait_for(timeout=90_000)
    return cell, image


@pytest.mark.parametrize("book", SOME_BOOKS)
def test_dragging_the_slider_changes_the_picture(book, lab, page):
    cell, image = open_and_run(page, lab, book)
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{book}.png")
    first = settle(image)
    drag(page, cell, 0.25)
    quarter = settle(image)
    page.screenshot(path=SCREENS / f"{book}_dragged.png")
    drag(page, cell, 0.85)
    assert len({first, quarter, settle(image)}) == 3
    assert cell.get_by_text("computed in").count() == 1
    assert not page.problems
    assert "Traceback" not in lab.log


def test_a_typed_value_is_taken(lab, page):
    cell, image = open_and_run(page, lab, "00_start_here")
    first = settle(image)
    field = cell.locator(".widget-text input").first
    field.fill("120")
    field.press("Enter")
    assert settle(image) != first
    assert field.input_value() == "120"


class Studio:
    """One notebook with a cell per explorer, its page and its kernel. A cell is run when a test
    first asks for its explorer."""

    def __init__(self, lab, page):
        self.lab, self.page = lab, page
        sources = [f"{name} = explorers.{name}()\n{name}" for name in EXPLORERS]
        write_notebook(lab.folder / "studio.ipynb", [SET_UP, *sources])
        page.add_init_script(COUNT_PICTURES)
        self.cells = open_notebook(page, lab, "studio.ipynb")
        self.run(0)
        self.devtools = page.context.new_cdp_session(page)
        sessions = json.load(urllib.request.urlopen(f"{lab.address}/api/sessions"))
        kernel = next(s["kernel"]["id"] for s in sessions if s["path"] == "studio.ipynb")
        self.client = BlockingKernelClient(
            connection_file=str(lab.folder / "runtime" / f"kernel-{kernel}.json")
        )
        self.client.load_connection_file()
        self.client.start_channels()

    def run(self, place):
        """Runs a cell."""
        self.cells.nth(place).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def explorer(self, name):
        """Its cell in the page and its picture."""
        place = 1 + EXPLORERS.index(name)
        cell = self.cells.nth(place)
        image = cell.locator(".widget-image")
        if not image.count():
            self.run(place)
            image.wait_for(timeout=180_000)
            self.page.get_by_text("| Idle").wait_for(timeout=180_000)
        return cell, image

    def ask(self, expression, code=""):
        """What the kernel says: a number, a string, or a truth value."""
        reply = self.client.execute(
            code, user_expressions={"answer": expression}, reply=True, timeout=300
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        answer = reply["content"]["user_expressions"]["answer"]
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def check(self):
        """No error in the browser's console or in the kernel's and the server's log."""
        assert not self.page.problems
        assert not (self.lab.folder / "kernel.log").read_text()
        assert "Traceback" not in self.lab.log


@pytest.fixture(scope="module")
def studio(lab, chrome):
    with new_page(chrome) as page:
        studio = Studio(lab, page)
        yield studio
        studio.client.stop_channels()


def test_an_error_in_the_kernel_does_not_go_unseen(studio):
    """`check` must be able to fail: here an observer divides by zero."""
    cell, image = studio.explorer("first_look")
    fail = "fail = lambda change: 1 / 0; first_look.controls['omega0'].handle"
    studio.ask("1", f"{fail}.observe(fail, names='value')")
    drag(studio.page, cell, 0.6)
    settle(image)
    with pytest.raises(AssertionError, match="division by zero"):
        studio.check()
    studio.ask("1", "first_look.controls['omega0'].handle.unobserve(fail, names='value')")
    (studio.lab.folder / "kernel.log").write_text("")


def at_rest(studio, name, seconds=180):
    """Waits until the explorer's training, if it has any, is at its end, and its picture shown."""
    end = time.monotonic() + seconds
    settle(studio.explorer(name)[1])
    while studio.ask(f"{name}.training is not None and {name}.training.share < 1"):
        assert time.monotonic() < end, state(studio, name)
        time.sleep(0.2)
    settle(studio.explorer(name)[1])


def state(studio, name):
    """The first line of the title that says how far training is."""
    return studio.ask(f"{name}.frame['state'].split(chr(10))[0]")


def wait_for(studio, name, text, seconds=180):
    end = time.monotonic() + seconds
    while text not in (now := state(studio, name)):
        assert time.monotonic() < end, now
        time.sleep(0.1)


def test_a_slider_that_rests_is_trained_and_a_move_begins_anew(studio):
    """Untrained, half-way, cancelled, paused, to the end; and pictures of it for the eye."""
    cell, image = studio.explorer("imperfect_recovery")
    SCREENS.mkdir(parents=True, exist_ok=True)
    at_rest(studio, "imperfect_recovery")
    assert state(studio, "imperfect_recovery") == "trained, 200 steps"
    drag(studio.page, cell, 0.3)
    cell.screenshot(path=SCREENS / "training_0_untrained.png")
    wait_for(studio, "imperfect_recovery", "step ")
    cell.screenshot(path=SCREENS / "training_1_half_way.png")
    drag(studio.page, cell, 0.6)  # cancelled
    cell.screenshot(path=SCREENS / "training_2_cancelled.png")
    wait_for(studio, "imperfect_recovery", "step ")
    cell.get_by_role("button", name="Pause").click()
    cell.get_by_role("button", name="Resume").wait_for()
    held = settle(image)
    assert state(studio, "imperfect_recovery").startswith("step ")
    # The kernel answers other cells' widgets meanwhile, and while it trains.
    cell.get_by_role("button", name="Resume").click()
    other, picture = studio.explorer("first_look")
    before = picture.get_attribute("src")
    drag(studio.page, other, 0.2 if studio.ask("share(first_look)") > 0.5 else 0.8)
    studio.page.wait_for_function(
        "([image, before]) => image.src != before", arg=[picture.element_handle(), before]
    )
    assert state(studio, "imperfect_recovery").startswith("step ")
    cell.get_by_role("button", name="To the end").click()
    wait_for(studio, "imperfect_recovery", "trained")
    assert settle(image) != held
    cell.screenshot(path=SCREENS / "training_3_trained.png")
    assert_final(studio, "imperfect_recovery")
    studio.check()


def assert_final(studio, name):
    """The slider, the kernel and the picture agree on the last value."""
    cell, image = studio.explorer(name)
    at_rest(studio, name)
    (x, _), (left, right) = handle(cell)
    value = studio.ask(f"share({name})")
    assert (x - left) / (right - left) == pytest.approx(value, abs=0.02)
    shown = image.evaluate(PICTURE_HASH)
    assert shown == studio.ask(f"hashlib.sha256({name}.image.value).hexdigest()")
    fresh = f"explorers.{name}().at(**{name}.values).trained().image.value"
    fresh = f"hashlib.sha256({fresh}).hexdigest()"
    if studio.ask(f"{name}.remembers"):  # a new one may show atoms with other signs
        assert studio.ask(f"change_by_itself({name})") < 1
    else:
        assert shown == studio.ask(fresh)


@pytest.mark.parametrize("name", TWO)
def test_mouse_and_keyboard_end_at_the_final_value(name, studio):
    cell, image = studio.explorer(name)
    first = settle(image)
    drag(studio.page, cell, 0.25 if studio.ask(f"share({name})") > 0.5 else 0.75)
    dragged = settle(image)
    assert dragged != first
    assert_final(studio, name)
    cell.locator(".noUi-handle").first.focus()
    for _ in range(3):
        studio.page.keyboard.press("ArrowLeft")
    assert settle(image) != dragged
    assert_final(studio, name)
    studio.check()


LABEL = "() => document.activeElement.getAttribute('aria-label')"


@pytest.mark.parametrize("name", SOME)
def test_an_explorer_is_used_by_keyboard_and_heard(name, studio):
    """Each slider and field has a name and is reached by Tab; an arrow key changes the words."""
    cell, image = studio.explorer(name)
    at_rest(studio, name)
    page, shown = studio.page, cell.locator(".noUi-handle:visible")
    labels = set(shown.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))"))
    known = studio.ask(f"[c.label for c in {name}.controls.values() if hasattr(c, 'handle')]")
    assert labels <= set(known)
    assert len(labels) == shown.count()
    for label in labels:
        assert cell.get_by_role("slider", name=label, exact=True).count() == 1
        assert cell.get_by_role("textbox", name=f"type {label}", exact=True).count() == 1
    for button in cell.get_by_role("button").or_(cell.get_by_role("combobox")).all():
        expect(button).to_have_accessible_name(re.compile(r"\w"))
    shown.first.focus()
    reached = [page.evaluate(LABEL)]
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(LABEL))
    assert labels <= set(reached)
    before = image.get_attribute("title")
    assert cell.get_by_role("img", name=before, exact=True).count() == 1
    handle = cell.get_by_role("slider", name=studio.ask(f"{name}.controls[{name}.main].label"))
    handle.focus()
    key = "ArrowRight" if studio.ask(f"share({name})") < 0.5 else "ArrowLeft"
    for _ in range(4):
        page.keyboard.press(key)
    page.wait_for_function("([e, t]) => e.title != t", arg=[image.element_handle(), before])
    at_rest(studio, name)
    page.wait_for_timeout(500)
    words = image.get_attribute("title")
    field = studio.ask(f"{name}.controls[{name}.main].field.value")
    assert words.startswith(f"{handle.get_attribute('aria-label')} = {field}. ")
    assert handle.get_attribute("aria-valuetext") == field
    assert cell.get_by_role("status").inner_text() == words
    studio.check()


def test_a_fast_drag_ends_where_the_mouse_was_released(studio):
    """Ten times across the whole range and beyond: no older position comes back from the kernel."""
    cell, image = studio.explorer("first_look")
    for turn in range(10):
        drag(studio.page, cell, (-0.1, 1.1)[turn % 2], steps=15)
        settle(image)
        assert studio.ask("share(first_look)") == pytest.approx(turn % 2, abs=1e-6)
    assert_final(studio, "first_look")


def memory(studio):
    """After a collection: the kernel's and the page's megabytes, its DOM nodes, its pictures."""
    kernel = studio.ask(
        "psutil.Process().memory_info().rss / 1e6", "import gc, psutil; gc.collect()"
    )
    studio.devtools.send("HeapProfiler.collectGarbage")
    heap = studio.devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    nodes = studio.devtools.send("Memory.getDOMCounters")["nodes"]
    return [kernel, heap, nodes, studio.page.evaluate("pictures.alive")]


@pytest.mark.parametrize("name", TWO)
def test_memory_does_not_grow_over_300_moves(name, studio):
    cell, image = studio.explorer(name)

    made = lambda: studio.page.evaluate("pictures.made")
    training = studio.ask(f"{name}.training is not None")
    # The mouse need not stop more often than the slider has positions.
    steps = min(50, 2 * studio.ask(f"round(positions({name}))"))

    def move(pictures):
        """To and fro, until the page has shown so many."""
        end, turn, latest = made() + pictures, 0, time.monotonic() + 300
        while made() < end:
            assert time.monotonic() < latest, studio.ask(f"{name}.alt")
            drag(studio.page, cell, (0.95, 0.05)[turn % 2], steps=steps)
            turn += 1
        settle(image)
        if training:
            studio.ask("1", f"{name}.training.cancel()")
        return memory(studio)

    # First, what is computed once, and what is kept for a while. Then a figure or a frame that is
    # never freed grows from each reading to the next; an allocator takes a block more only once.
    # The mouse moves more often than the page shows a picture: over 300 times in all.
    grown = np.diff([move(30), move(40), move(40), move(40)], axis=0)
    kernel, heap, nodes, pictures = grown.min(axis=0)  # the first two in megabytes
    assert kernel < 3, grown
    assert heap < 0.7, grown
    assert nodes < 20, grown
    assert pictures < 1, grown
    studio.check()


@pytest.fixture(scope="module", params=product(["Light", "Dark"], [1000, 1600]), ids=str)
def looks(request, studio):
    """JupyterLab in a theme, in a window of a width."""
    theme, width = request.param
    page = studio.page
    page.set_viewport_size({"width": width, "height": 900})
    command(page, "apputils:change-theme", theme=f"JupyterLab {theme}")
    body = page.locator(f"body[data-jp-theme-name='JupyterLab {theme}']")
    body.wait_for(state="attached")
    page.wait_for_timeout(500)  # the style sheet follows
    return f"{theme.lower()}_{width}"


@pytest.mark.parametrize("name", SOME)
def test_nothing_is_cut_off_or_overlaps(name, looks, studio):
    """And a picture of it, for the eye."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    cell, image = studio.explorer(name)
    image.scroll_into_view_if_needed()
    cell.screenshot(path=SCREENS / f"{name}_{looks}.png")
    assert not cell.evaluate(UNTIDY)
