"""The site, made of the notebooks that the suite executed: whole, on its own feet, and moving."""

import base64
import io
import json
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from conftest import ROOT
from lab import MISSING, SCREENS, browser, chromium
from PIL import Image

from inrlib import claims, explorers

pytestmark = pytest.mark.notebook

SITE = ROOT / "build" / "site"
BOOKS = [book.stem for book in sorted((ROOT / "notebooks").glob("*.ipynb"))]
books = pytest.mark.parametrize("book", BOOKS)

# What the paper has: figures 1 to 16, equations 1 to 67, one theorem, two lemmas.
PAPER = [
    *(f"figure-{n}" for n in range(1, 17)),
    *(f"eq-{n}" for n in range(1, 68)),
    "theorem-1",
    "lemma-1",
    "lemma-2",
]

# Where people asked; each theme has an entry.
THREADS = """
vsitzmann/siren: 1 4 8 24 31 39 47 49 50 52 57 60
lucidrains/siren-pytorch: 1 2 5
lucidrains/deep-daze: 36 39 41
tancik/fourier-feature-networks: 22
kwea123/nerf_pl: 24
bmild/nerf: 60
NVlabs/tiny-cuda-nn: 171 216 298
cvg/nice-slam: 6
david-knigge/ccnn: 4
dwromero/ckconv: 8
lululxvi/deepxde: 578 923
PredictiveIntelligenceLab/jaxpi: 32
google/neural-tangents: 18 28 29 30 64 100 122 125 146 166 182 209
pytorch/functorch: 334 395
google-deepmind/functa: 12
tancik/nerf-meta: 1
vishwa91/MINER: 2
YichengDWu/Sophon.jl: 193
"""

LOADING = {"img": "src", "script": "src", "iframe": "src", "source": "src", "audio": "src"}


class Reader(HTMLParser):
    """What a page names, where it leads, what it loads, and its table rows and entries as text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.rows, self.math = set(), [], [], [], 0
        self.alts = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.math += tag == "math"
        if tag == "img":
            self.alts.append(attributes.get("alt") or "")
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(attributes["href"])
        if attributes.get(LOADING.get(tag)):
            self.loads.append(attributes[LOADING[tag]])


@pytest.fixture(scope="module")
def site(executed):
    """`make site`, once; a warning is an error."""
    command = [sys.executable, ROOT / "tools" / "website.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return SITE


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its place."""
    found = sorted(site.rglob("*.html"))
    return {path: Reader(path.read_text(encoding="utf-8")) for path in found}


def test_every_link_and_anchor_resolves(pages):
    """Links outwards cannot be followed here; they are well formed."""
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                if parts.scheme not in ("http", "https") or "." not in parts.netloc:
                    broken.append((path.name, link))
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].ids if target in pages else set()
            anchored = not parts.fragment or unquote(parts.fragment) in known
            if not target.exists() or not anchored:
                broken.append((path.name, link))
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_elsewhere(pages, site):
    loads = [(path.name, load) for path, page in pages.items() for load in page.loads]
    assert not [one for one in loads if re.match(r"(https?:)?//", one[1])]
    for path, load in ((path, load) for path, page in pages.items() for load in page.loads):
        if not load.startswith("data:"):
            assert (path.parent / unquote(urlsplit(load).path)).exists(), load
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text())


def test_equations_are_mathml_and_numbered_as_in_the_paper(pages, site):
    assert sum(page.math for page in pages.values()) > 400
    text = (site / "paper.html").read_text(encoding="utf-8")
    assert re.findall(r'class="eqno">\((\d+)\)', text) == [str(n) for n in range(1, 12)]


def test_every_picture_of_a_notebook_says_what_is_to_be_seen(pages):
    """With a number, and not its slider's alone."""
    for path, page in pages.items():
        if path.parent.name == "notebooks" and path.stem in BOOKS:
            assert page.alts
            assert not [text for text in page.alts if len(text) < 60 or not re.search(r"\d", text)]


def test_every_notebook_is_in_the_contents(pages, site):
    listed = pages[site / "notebooks" / "index.html"].links
    assert all(f"{book}.html" in listed for book in BOOKS)
    sidebar = pages[site / "about.html"].links
    assert all(f"notebooks/{book}.html" in sidebar for book in BOOKS)


def test_every_claim_leads_to_the_cell_that_measured_it(pages, site):
    rows = json.loads((ROOT / "build" / "claims.json").read_text(encoding="utf-8"))
    links = set(pages[site / "docs" / "claims.html"].links)
    for row in rows:
        link = next(link for link in links if link.endswith(f"#claim-{row['key']}"))
        book, _, anchor = link.removeprefix("../").partition("#")
        assert book.startswith("notebooks/")
        assert anchor in pages[site / book].ids
    text = (site / "docs" / "claims.html").read_text(encoding="utf-8")
    assert all(title in text for title in claims.KINDS.values())


@books
def test_claims_are_not_all_in_the_closing_table(book, site):
    """A key that no cell names leads to the table at the end: the exception, not the rule."""
    recorded = claims.read(ROOT / "build" / f"{book}.ipynb")
    source = (ROOT / "build" / "pages" / "notebooks" / f"{book}.ipynb").read_text(encoding="utf-8")
    cells = json.loads(source)["cells"]
    anchors = ["".join(cell["source"]) for cell in cells[:-2]]
    early = sum(f"(claim-{claim.key})=" in "\n".join(anchors) for claim in recorded)
    assert early > len(recorded) / 2


def test_everything_in_the_paper_has_a_row(pages, site):
    """Each with what it says, where it is, and what was measured or why not."""
    text = (ROOT / "site" / "paper.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:Eq|Figure|Theorem|Lemma)[^|]*) \|(.*)\|$", text, re.MULTILINE)
    covered = []
    for head, rest in rows:
        word, first, last = re.fullmatch(r"([A-Z]\w+?)s?\.? (\d+)(?:–(\d+))?", head).groups()
        covered += [f"{word.lower()}-{n}" for n in range(int(first), int(last or first) + 1)]
        assert f"{word.lower()}-{first}" in pages[site / "paper.html"].ids
        what, where, measured = (cell.strip() for cell in rest.split(" | "))
        assert what
        assert "](" in where
        assert measured
    assert sorted(covered) == sorted(PAPER)


def test_every_question_has_an_answer_with_a_link(site):
    text = (ROOT / "site" / "questions.md").read_text(encoding="utf-8")
    entries = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 25
    for entry in entries:
        title, answer = entry.split("\n", 1)
        assert re.search(r"\]\((#|notebooks/|docs/|units)|\{measured\}|\{py:mod\}", answer), title
        assert len(answer.split()) < 160, title
    for line in THREADS.strip().splitlines():
        place, numbers = line.split(": ")
        for number in numbers.split():
            assert f"https://github.com/{place}/issues/{number})" in text, (place, number)


# In a browser.

seen = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason=f"{MISSING} to run browser tests"),
]


@pytest.fixture(scope="module")
def chrome():
    with browser() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def served(site):
    """The site's address on a server of this machine: the search fetches pages for its excerpts."""
    handler = partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=[1400, 400])
def page(request, chrome):
    """A page of this width that collects errors, and what it asks for."""
    page = chrome.new_page(viewport={"width": request.param, "height": 900})
    page.problems, page.requests = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda line: page.problems.append(line.text))
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def settled(page, place):
    """Opens a page, and holds that it stays within the window and keeps to itself."""
    page.goto((SITE / place).as_uri())
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], place
    SCREENS.mkdir(parents=True, exist_ok=True)
    name = f"site_{place.replace('/', '_').removesuffix('.html')}_{page.viewport_size['width']}.png"
    page.screenshot(path=SCREENS / name)
    assert not page.problems
    assert all(url.startswith(("file:", "data:")) for url in page.requests)


def look(figure):
    """The value of a slider, and the picture under it: one, whichever it is."""
    visible = figure.locator("img:visible")
    assert visible.count() == 1
    return figure.locator("output").inner_text(), visible.get_attribute("src")


class TestInABrowser:
    pytestmark = seen

    @books
    def test_sliders_move_the_picture_without_a_kernel(self, book, page, site):
        settled(page, f"notebooks/{book}.html")
        figures = page.locator("figure:has(input[type=range])")
        assert figures.count() > 0
        before = [look(figures.nth(n)) for n in range(figures.count())]
        for n in range(figures.count()):
            figure, found = figures.nth(n), {}
            for key in ("Home", "ArrowRight", "End"):
                figure.locator("input").press(key)
                value, picture = look(figure)
                found[value] = picture
            assert len(found) == len(set(found.values())) == 3
            for other in range(n + 1, figures.count()):  # the others stay where they were
                assert look(figures.nth(other)) == before[other]
        assert not page.problems

    def test_a_mouse_moves_it_too(self, page, site):
        settled(page, "notebooks/00_start_here.html")
        figure = page.locator("figure:has(input[type=range])").first
        figure.scroll_into_view_if_needed()
        box = figure.locator("input").bounding_box()
        before = look(figure)
        page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)
        first = look(figure)
        page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
        assert len({before, first, look(figure)}) >= 2
        assert look(figure) != first

    def test_other_pages_stay_within_the_window(self, page, site):
        for path in sorted(site.rglob("*.html")):
            if path.parent.name != "notebooks" and not path.name.startswith("genindex"):
                settled(page, str(path.relative_to(site)))

    def test_figures_keep_a_readable_size(self, page, site):
        """On a phone what is wide scrolls in its box: nothing is drawn at less than 6/10."""
        settled(page, "notebooks/04_2_aliasing.html")
        sizes = page.evaluate("""() => [...document.querySelectorAll('.cell_output img')]
            .filter(image => !image.closest('figure:has(input)'))  // frames: twice as fine
            .map(image => image.getBoundingClientRect().width / image.naturalWidth)""")
        assert sizes
        assert min(sizes) >= 0.6

    def test_the_search_finds_a_word(self, page, site, served):
        page.goto(f"{served}/search.html?q=arcsine")
        page.locator("#search-results li a").first.wait_for(timeout=20_000)
        page.wait_for_load_state("networkidle")
        assert not page.problems
        assert all(url.startswith(served) for url in page.requests)


@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason=f"{MISSING} to run browser tests")
def test_each_value_shows_its_own_frame(chrome, site):
    """Beside frames drawn afresh: of all stored pictures, its own is the nearest."""
    page = chrome.new_page(viewport={"width": 1400, "height": 900})
    page.goto((SITE / "notebooks" / "00_start_here.html").as_uri())
    figure = page.locator("figure:has(input[type=range])").nth(1)
    figure.locator("input").press("Home")
    stored = {}
    for _ in range(int(figure.locator("input").get_attribute("max")) + 1):
        value, picture = look(figure)
        words = figure.locator("img:visible").get_attribute("alt")
        assert words.startswith(f"ω0 (rad per unit) = {value}")
        content = base64.b64decode(picture.split(",")[1])
        stored[float(value)] = np.asarray(Image.open(io.BytesIO(content)), float)
        figure.locator("input").press("ArrowRight")
    page.close()
    assert {3.0, 30.0, 300.0} <= stored.keys()
    explorer = explorers.first_look()
    for value in stored:
        explorer.at(omega0=value)
        fresh = np.asarray(explorer.canvas.buffer_rgba())[..., :3]
        gaps = {other: np.abs(pixels - fresh).mean() for other, pixels in stored.items()}
        assert min(gaps, key=gaps.get) == value
