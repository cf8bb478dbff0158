"""Executes the notebooks: `python tools/notebooks.py [--scale paper] [name …]`.

Each notebook runs under papermill in its own kernel. build/ receives the executed notebook, a page
that needs nothing but itself, and claims.json with every recorded claim. A notebook that fails is
reported in the closing table and does not stop the others. Files are made beside build/'s own and
moved there when they are whole, so that two runs at once leave the later one's.
"""

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
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


def execute(source: Path, scale: str, workshop: Path) -> str:
    """Runs one notebook; returns "" or the first line of what went wrong."""
    target = workshop / source.name
    options = {"parameters": {"scale": scale}, "kernel_name": "python3", "cwd": source.parent}
    problem = _attempt(papermill.execute_notebook, source, target, **options)
    unwritten = target.exists() and _attempt(write_page, target)  # one that failed has a page, too
    for made in (target, target.with_suffix(".html")):
        if made.exists():
            made.replace(BUILD / made.name)
        else:  # what an earlier run left must not pass for this one's
            (BUILD / made.name).unlink(missing_ok=True)
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


def record(workshop: Path) -> list[claims.Claim]:
    """Collects the claims of all executed notebooks into build/claims.json."""
    books = [BUILD / source.name for source in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    rows = []
    for book in filter(Path.exists, books):
        try:
            rows += claims.read(book)
        except ValueError as error:  # of an earlier run, by another version
            print(f"left out: {error}", file=sys.stderr)
    text = json.dumps([row.record() for row in rows], indent=1, ensure_ascii=False)
    (workshop / "claims.json").write_text(text + "\n", encoding="utf-8")
    (workshop / "claims.json").replace(BUILD / "claims.json")
    return rows


def chosen(names: list[str]) -> list[Path]:
    """The notebooks of these names, or all of them; a ValueError says which there are."""
    sources = {source.stem: source for source in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    wanted = {name: Path(name).name.removesuffix(".ipynb") for name in names}
    unknown = [name for name, stem in wanted.items() if stem not in sources]
    if unknown or not sources:
        raise ValueError(
            f"no notebook named {', '.join(unknown) or 'anything'}; "
            f"there are: {', '.join(sources) or 'none'}."
        )
    return [source for stem, source in sources.items() if not names or stem in wanted.values()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks to run; all when none is named")
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo")
    options = parser.parse_args()
    try:
        sources = chosen(options.names)
        BUILD.mkdir(exist_ok=True)
        workshop = TemporaryDirectory(prefix=".run-", dir=BUILD)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        print(f"{BUILD} cannot be written ({error.strerror}); make it writable.", file=sys.stderr)
        return 1
    with workshop as folder:
        return run(sources, options.scale, Path(folder))


def run(sources: list[Path], scale: str, workshop: Path) -> int:
    """Executes them, prints the table, and returns the exit status."""
    # The kernels inherit both.
    os.environ |= {"INRLIB_FRAMES": str(POSITIONS), "TQDM_DISABLE": "1"}
    table = []
    for place, source in enumerate(sources, 1):
        print(f"[{place}/{len(sources)}] {source.stem}", flush=True)
        start = perf_counter()
        error = execute(source, scale, workshop)
        table.append((source.stem, perf_counter() - start, error))
    rows = record(workshop)
    print()
    for name, seconds, error in table:
        print(f"{name:40} {seconds:7.1f} s   {error or 'ok'}")
    verdicts = Counter(row.verdict for row in rows)
    told = ", ".join(f"{verdicts[name]} {name}" for name in claims.VERDICTS if verdicts[name])
    print(f"{len(rows)} claims: {told}; build/claims.json" if rows else "no claims recorded")
    return int(not rows or any(error for *_, error in table))


if __name__ == "__main__":
    sys.exit(main())
