"""JupyterLab started for real, a headless Chromium, and a hand on the sliders.

The browser tests and the latency benchmark share what stands here.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nbformat
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SCREENS = ROOT / "build" / "screens"
MISSING = "no Chromium on the path: install the package chromium"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
]

PICTURE_HASH = """
async image => Array.from(
    new Uint8Array(await crypto.subtle.digest(
        'SHA-256', await (await fetch(image.src)).arrayBuffer())),
    byte => byte.toString(16).padStart(2, '0')).join('')
"""
"""SHA-256 of the bytes that an image in the page shows, as a hexadecimal string."""


class Lab(NamedTuple):
    """A running JupyterLab."""

    address: str
    folder: Path  # its root, with `log` and the kernels' connection files in `runtime`

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Lab]:
    """A JupyterLab on a copy of the notebooks in an empty folder.

    Raises:
      RuntimeError: no answer within a minute; the message holds the log.
    """
    for book in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(book, folder)
    # Cells stay in the page when they are out of sight, and no question about news covers them.
    settings = {
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    }
    overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(settings))
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"),
        *("--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"),
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.expose_app_in_browser=True",
    ]
    places = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | places,
            start_new_session=True,
        )
    try:
        yield Lab(_address(folder / "log"), folder)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _address(log: Path) -> str:
    for _ in range(120):
        if found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab", log.read_text()):
            address = f"http://127.0.0.1:{found[1]}"
            try:  # it names its address a moment before it answers there
                urllib.request.urlopen(f"{address}/api", timeout=30)
                return address
            except urllib.error.URLError:
                pass
        time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")


def chromium() -> str | None:
    """The path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook of code cells."""
    make = nbformat.v4
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    book = make.new_notebook(
        cells=[make.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(book, path)


def open_notebook(page: Page, lab: Lab, name: str) -> Locator:
    """Opens a notebook, waits for its kernel, and returns its code cells."""
    page.goto(f"{lab.address}/lab/tree/{name}?reset")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.wait_for(timeout=90_000)
    page.get_by_text("| Idle").wait_for(timeout=90_000)
    page.wait_for_timeout(500)  # the session follows its kernel a moment later
    return cells


def command(page: Page, name: str, **arguments) -> None:
    """One of JupyterLab's own commands, as from its palette."""
    page.evaluate(
        "([name, options]) => jupyterapp.commands.execute(name, options)", [name, arguments]
    )


def run_all(page: Page, images: int) -> None:
    """Runs all cells, until so many explorers are there."""
    command(page, "notebook:run-all-cells")
    page.locator(".widget-image").nth(images - 1).wait_for(timeout=600_000)
    page.get_by_text("| Idle").wait_for(timeout=180_000)


def handle(cell: Locator) -> tuple[tuple[float, float], tuple[float, float]]:
    """The main slider on the screen: its handle's centre, and its track's left and right end."""
    cell.locator(".noUi-handle").first.scroll_into_view_if_needed()
    box = cell.locator(".noUi-handle").first.bounding_box()
    track = cell.locator(".noUi-base").first.bounding_box()
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return centre, (track["x"], track["x"] + track["width"])


def drag(page: Page, cell: Locator, to: float, steps: int = 12) -> None:
    """Drags the main slider's handle to a share of its track with the mouse."""
    (x, y), (left, right) = handle(cell)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(left + to * (right - left), y, steps=steps)
    page.mouse.up()


def settle(image: Locator, quiet: float = 0.4) -> str:
    """The image's source once the kernel is idle and it has stopped changing for a while."""
    last, now = None, image.get_attribute("src")
    while last != now:
        time.sleep(quiet)
        image.page.get_by_text("| Idle").wait_for(timeout=90_000)
        last, now = now, image.get_attribute("src")
    return now
