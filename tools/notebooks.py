"""Executes the notebooks: `python tools/notebooks.py [--scale paper] [name …]`.

Each notebook runs under papermill in its own kernel. build/ receives the executed notebook, a page
that needs nothing but itself, and claims.json with every recorded claim. A notebook that fails is
reported in the closing table and does not stop the others.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import nbformat
import papermill
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from inrlib import claims

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
POSITIONS = 15  # of each explorer's main slider, kept in the page


def execute(source: Path, scale: str) -> str:
    """Runs one notebook; returns "" or the first line of what went wrong."""
    target = BUILD / source.name
    target.unlink(missing_ok=True)  # what an earlier run left must not pass for this one's
    options = {"parameters": {"scale": scale}, "kernel_name": "python3", "cwd": source.parent}
    problem = _attempt(papermill.execute_notebook, source, target, **options)
    unwritten = target.exists() and _attempt(write_page, target)  # one that failed has a page, too
    return problem or unwritten or ""


def _attempt(act: Callable[..., object], *arguments, **options) -> str:
    """Acts; returns "" or the first line of what went wrong."""
    try:
        act(*arguments, **options)
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}".splitlines()[0]
    except Exception as error:  # a file that is no notebook, a kernel that dies
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def write_page(notebook: Path) -> None:
    """The page of an executed notebook, beside it."""
    notebook.with_suffix(".html").write_text(page(notebook), encoding="utf-8")


def page(notebook: Path) -> str:
    """The executed notebook as HTML that loads nothing: pictures inside, equations as MathML."""
    document = nbformat.read(notebook, as_version=4)
    document.metadata.pop("widgets", None)  # then an explorer is shown by its own HTML
    exporter = Page(embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True)
    text, _ = exporter.from_notebook_node(document)
    # The template's scripts load MathJax and widgets from the network; nothing here needs them.
    return re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)


class MathML(IPythonRenderer):
    """Markdown whose equations are MathML."""

    def block_math(self, body: str) -> str:
        return convert(body.strip(), display="block")

    def inline_math(self, body: str) -> str:
        return convert(body)


class Page(HTMLExporter):
    """nbconvert's page with these equations."""

    def default_filters(self):
        yield from super().default_filters()
        render = lambda source: MarkdownWithMath(renderer=MathML(escape=False)).render(source)
        yield "markdown2html", render


def record() -> list[claims.Claim]:
    """Collects the claims of all executed notebooks into build/claims.json."""
    books = [BUILD / source.name for source in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    rows = [claim for book in books if book.exists() for claim in claims.read(book)]
    text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    (BUILD / "claims.json").write_text(text + "\n", encoding="utf-8")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks to run; all when none is named")
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    # The kernels inherit both.
    os.environ |= {"INRLIB_FRAMES": str(POSITIONS), "TQDM_DISABLE": "1"}
    sources = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if options.names:
        sources = [s for s in sources if s.stem in {Path(n).stem for n in options.names}]
    table = []
    for place, source in enumerate(sources, 1):
        print(f"[{place}/{len(sources)}] {source.stem}", flush=True)
        start = perf_counter()
        error = execute(source, options.scale)
        table.append((source.stem, perf_counter() - start, error))
    rows = record()
    print()
    for name, seconds, error in table:
        print(f"{name:40} {seconds:7.1f} s   {error or 'ok'}")
    held = sum(row.holds for row in rows)
    print(f"{held} of {len(rows)} claims hold: build/claims.json")
    return int(any(error for *_, error in table))


if __name__ == "__main__":
    sys.exit(main())
