"""The dashboard in a real browser: typing, uploading, copying, waiting."""

import io
import re

import pytest
from lab import MISSING, SCREENS, browser, chromium, jupyterlab, open_notebook, settle
from PIL import Image
from playwright.sync_api import expect

slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason=f"{MISSING} to run browser tests"),
]


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """The first cell of the dashboard's notebook, run."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab, browser() as chrome:
        context = chrome.new_context(viewport={"width": 1280, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        cell = open_notebook(page, lab, "10_dashboard.ipynb").first
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        cell.locator(".widget-image").wait_for(timeout=90_000)
        yield cell
        context.close()


def status(cell):
    return cell.locator(".inrlib-status")


def field(cell, label):
    row = cell.locator(".widget-hbox", has=cell.page.get_by_text(label, exact=True))
    return row.locator("input[type=text]").last


def at_rest(cell):
    """The picture's source at the end of the training: from then on only a move changes it."""
    image = cell.locator(".widget-image")
    settle(image)
    full = re.compile(r"width: 100%")
    expect(cell.locator(".progress-bar")).to_have_attribute("style", full, timeout=300_000)
    return settle(image)


def type_in(cell, label, text):
    box = field(cell, label)
    box.fill(text)
    box.press("Enter")


def test_a_typed_value_stays_what_it_is(cell):
    before = settle(cell.locator(".widget-image"))
    type_in(cell, "ω0 (rad per unit)", "37.77")
    expect(cell.locator(".widget-image")).not_to_have_attribute("src", before, timeout=30_000)
    settle(cell.locator(".widget-image"))
    assert field(cell, "ω0 (rad per unit)").input_value() == "37.77"


@pytest.mark.parametrize("text", ["many", "-1", slow("1e9"), slow("")])
def test_typed_nonsense_is_answered_in_place(cell, text):
    before = at_rest(cell)
    type_in(cell, "ω0 (rad per unit)", text)
    expect(status(cell).locator(".inrlib-error")).to_contain_text("ω0 (rad per unit)")
    assert settle(cell.locator(".widget-image")) == before
    type_in(cell, "ω0 (rad per unit)", "20")
    expect(status(cell)).to_contain_text("computed in", timeout=30_000)


def test_the_family_brings_its_own_slider(cell):
    label = lambda text: cell.get_by_text(text, exact=True)
    expect(label("f0 (cycles per unit)")).to_be_hidden()
    cell.locator("select").first.select_option("single frequency")
    expect(label("f0 (cycles per unit)")).to_be_visible(timeout=60_000)
    expect(label("ω0 (rad per unit)")).to_be_hidden()
    expect(status(cell)).to_contain_text("computed in", timeout=60_000)
    cell.page.screenshot(path=SCREENS / "dashboard_single_frequency.png")
    cell.get_by_role("button", name="Reset").click()
    expect(label("ω0 (rad per unit)")).to_be_visible(timeout=60_000)


def upload(cell, content: bytes):
    with cell.page.expect_file_chooser() as chooser:
        cell.get_by_role("button", name=re.compile("own picture")).click()
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": content}
    chooser.value.set_files(file)


def png(width, height, colour=None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L") if colour is None else Image.new("RGB", (9, 9), colour)
    picture.resize((width, height)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a text file in disguise", "cannot be read as a picture"),
        slow((1, 1), "at least 32×32"),
        ((10_000, 10_000), "at most 8192 pixels a side"),
        slow((300, 200, "red"), "all of one brightness"),
    ],
)
def test_a_bad_upload_is_answered_and_a_good_one_is_taken(cell, content, message):
    SCREENS.mkdir(parents=True, exist_ok=True)
    image = cell.locator(".widget-image")
    before = at_rest(cell)
    content = png(*content) if isinstance(content, tuple) else content
    for _ in range(2):  # the same file may be chosen again
        upload(cell, content)
        expect(status(cell)).to_contain_text(message, timeout=30_000)
    cell.page.screenshot(path=SCREENS / "dashboard_refused.png")
    assert settle(image) == before
    upload(cell, png(300, 200))
    expect(status(cell)).to_contain_text("computed in", timeout=30_000)
    expect(image).not_to_have_attribute("src", before, timeout=30_000)
    cell.page.screenshot(path=SCREENS / "dashboard_own_picture.png")
    expect(cell.locator("[data-code*='upload the picture']")).to_have_count(1)
    own = settle(image)
    cell.get_by_role("button", name="Reset").click()
    assert settle(image) != own
    upload(cell, png(300, 200))
    expect(cell.locator("[data-code*='upload the picture']")).to_have_count(1)
    cell.get_by_role("button", name="Reset").click()
    settle(image)


def test_the_link_copies_the_settings_as_code(cell):
    type_in(cell, "ω0 (rad per unit)", "44")
    settle(cell.locator(".widget-image"))
    cell.get_by_text("copy these settings as code").click()
    expect(cell.get_by_text("copied")).to_be_visible()
    text = cell.page.evaluate("navigator.clipboard.readText()")
    assert text == "from inrlib import explorers\nexplorers.dashboard().at(omega0=44)"


def test_a_long_frame_says_that_it_is_being_computed(cell):
    """Another depth is another program: it takes seconds to compile."""
    settle(cell.locator(".widget-image"))
    type_in(cell, "depth", "4")
    expect(status(cell)).to_have_text("computing …", timeout=30_000)
    expect(status(cell)).to_contain_text("computed in", timeout=60_000)


def test_a_cell_that_is_run_again_shows_one_explorer_that_works(cell):
    image = cell.locator(".widget-image")
    before = settle(image)
    cell.locator(".cm-content").click()
    cell.page.keyboard.press("Shift+Enter")
    expect(image).to_have_count(0, timeout=30_000)
    expect(image).to_have_count(1, timeout=90_000)
    type_in(cell, "ω0 (rad per unit)", "61")
    expect(status(cell)).to_contain_text("computed in", timeout=30_000)
    assert settle(image) != before
    assert field(cell, "ω0 (rad per unit)").input_value() == "61"
