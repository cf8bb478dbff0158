"""JupyterLab started for real, a headless Chromium, and a hand on the slider."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENS = ROOT / "build" / "screens"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab on a copy of the notebooks, and its log."""
    folder = tmp_path_factory.mktemp("lab")
    for book in (ROOT / "notebooks").glob("*.ipynb"):
        (folder / book.name).write_bytes(book.read_bytes())
    log = (folder / "log").open("w+")
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"),
        *("--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"),
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / "config")}
    server = subprocess.Popen(
        command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
    )
    try:
        yield _address(log), log
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()


def _address(log) -> str:
    for _ in range(120):
        log.seek(0)
        if found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab", log.read()):
            address = f"http://127.0.0.1:{found[1]}"
            urllib.request.urlopen(f"{address}/api", timeout=30)
            return address
        time.sleep(0.5)
    log.seek(0)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read()}")


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    yield page
    page.close()


def open_and_run(page, address, book):
    """Opens a notebook and runs its first code cell, which holds an explorer."""
    page.goto(f"{address}/lab/tree/{book}?reset")
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    cell.wait_for(timeout=90_000)
    page.get_by_text("| Idle").wait_for(timeout=90_000)
    page.wait_for_timeout(500)  # the session follows its kernel a moment later
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    image = cell.locator(".widget-image")
    image.wait_for(timeout=90_000)
    return cell, image


def drag(page, cell, to):
    """Drags the main slider's handle to a share of its track, in steps, with the mouse."""
    handle = cell.locator(".noUi-handle").last
    track = cell.locator(".noUi-base").last.bounding_box()
    box = handle.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + to * track["width"], y, steps=12)
    page.mouse.up()


def settle(image):
    """The image's source once the kernel has nothing left to do and it has stopped changing."""
    last, now = None, image.get_attribute("src")
    while last != now:
        time.sleep(0.6)
        image.page.get_by_text("| Idle").wait_for(timeout=90_000)
        last, now = now, image.get_attribute("src")
    return now


BOOKS = [book.stem for book in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("book", BOOKS)
def test_dragging_the_slider_changes_the_picture(book, lab, page):
    address, log = lab
    cell, image = open_and_run(page, address, f"{book}.ipynb")
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
    log.seek(0)
    assert "Traceback" not in log.read()


def test_a_typed_value_is_taken(lab, page):
    address, _ = lab
    cell, image = open_and_run(page, address, "00_start_here.ipynb")
    first = settle(image)
    readout = cell.locator(".widget-readout").first
    readout.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("120")
    page.keyboard.press("Enter")
    assert settle(image) != first
    assert readout.inner_text().startswith("120")


def test_the_keyboard_moves_the_slider(lab, page):
    address, _ = lab
    cell, image = open_and_run(page, address, "00_start_here.ipynb")
    first = settle(image)
    cell.locator(".noUi-handle").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert settle(image) != first


def test_the_button_trains_to_the_end(lab, page):
    address, _ = lab
    cell, image = open_and_run(page, address, "04_2_aliasing.ipynb")
    first = settle(image)
    cell.get_by_role("button", name="Train to the end").click()
    page.wait_for_function(
        "before => document.querySelector('.widget-image').src != before", arg=first
    )
    cell.get_by_text("computed in").wait_for(timeout=60_000)
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / "04_2_aliasing_trained.png")
    assert settle(image) != first
