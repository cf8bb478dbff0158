"""Builds the site: `make site`.

build/pages receives what Sphinx reads: the pages of site/ and docs/, the executed notebooks of
build/, the claims that they recorded, and a page for every module. build/site is what it makes of
them. Nothing is executed, and nothing is fetched. A notebook is found by its place, as everywhere.

In a page of site/, {measured}`key` is replaced by what was measured under that key, linked to the
cell that measured it; {measured}`key; choice` by the numbers of one choice or control, {claim}`key`
by the whole of it. So no number there is written by hand.
"""

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import gallery
import nbformat
from sphinx.cmd.build import main as sphinx

from inrlib import claims

ROOT = Path(__file__).resolve().parent.parent
BUILD, SITE = ROOT / "build", ROOT / "site"

ANCHORS = {
    **dict.fromkeys(("Eq", "Equation"), "eq"),
    **dict.fromkeys(("Fig", "Figure"), "figure"),
    "Theorem": "theorem",
    "Lemma": "lemma",
}
NUMBERED = re.compile(rf"\b({'|'.join(ANCHORS)})((?:s|mas)?\.?) (\d+(?:(?:, | and | to |–)\d+)*)")
ROW = re.compile(rf"^\| (({'|'.join(ANCHORS)})s?\.? (\d+)(?:–(\d+))?) \|", re.MULTILINE)
UNTOUCHED = re.compile(r"(\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|!?\[[^\]]*\]\([^)]*\)|^#.*?$)", re.S | re.M)


def short(stem: str, heading: str) -> str:
    """What the sidebar says of a notebook: its number, and its heading up to a colon."""
    number = re.match(r"(\d+(?:_\d+)*|[A-Z])_", stem)[1].replace("_", ".")
    return f"{number} {heading.split(':')[0]}"


def linked(text: str, index: Mapping[str, str]) -> str:
    """Markdown in which 'Eq. 7', 'Figures 4 and 12' and the like are links, where it is plain text.

    Args:
      text: of a cell.
      index: the anchor of each number's row in the index of the paper: {"eq-43": "eq-42"}.
    """

    def reference(part: re.Match) -> str:
        word, plural, numbers = part.groups()
        place = lambda n: index.get(f"{ANCHORS[word]}-{n}")
        link = lambda shown, n: f"[{shown}](#{place(n)})" if place(n) else shown
        if numbers.isdigit():
            return link(part[0], numbers)
        return f"{word}{plural} " + re.sub(r"\d+", lambda one: link(one[0], one[0]), numbers)

    parts = UNTOUCHED.split(text)
    return "".join(part if n % 2 else NUMBERED.sub(reference, part) for n, part in enumerate(parts))


def slider(stem: str, source: str) -> str:
    """The anchor of the explorer that a cell opens: "slider-04_2-aliasing-ffn"; or nothing."""
    call = re.search(r'^explorers\.(\w+)\((?:"([^"]+)"|(\w+=\d))?', source, re.MULTILINE)
    if not call:
        return ""
    number = re.match(r"(\d+(?:_\d+)*|[A-Z])_", stem)[1]
    return (
        "-".join(["slider", number, *filter(None, call.groups())])
        .lower()
        .translate({32: "-", 61: "-"})
    )


def where(cells: list, keys: Iterable[str]) -> dict[str, int]:
    """The cell in which each key was recorded: the one that holds it, or an f-string that gives it.

    A key that no cell names is looked up in the last, which shows the table.
    """
    named = []
    for n, cell in enumerate(cells):
        if cell.cell_type == "code":
            for text in re.findall(r'f?"([\w{}().-]{3,})"', cell.source):
                pieces = re.split(r"\{[^}]*\}", text)
                pattern = re.compile(r"[\w-]+".join(map(re.escape, pieces)))
                recording = "record.add" in cell.source
                named.append((sum(map(len, pieces)), recording, -n, pattern))
    table = max(n for n, cell in enumerate(cells) if cell.cell_type == "code")
    found = lambda key: [best for best in named if best[0] > 2 and best[3].fullmatch(key)]
    return {key: -max(found(key))[2] if found(key) else table for key in keys}


def shown(output: nbformat.NotebookNode) -> None:
    """Leaves of an output what a page shows: pictures with words, else a picture, else HTML."""
    data = output.get("data", {})
    told = "<img" in data.get("text/html", "")  # stored frames, or a figure with words and caption
    for kind in ["text/html"] if told else ["image/png", "text/html"]:
        if kind in data:
            output["data"] = {kind: data[kind]}
            return


def fold(cell: nbformat.NotebookNode) -> None:
    """Folds the answer of an exercise, and code that only records or that its author has hidden."""
    tags = cell.metadata.setdefault("tags", [])
    if "answer" in tags:
        cell.metadata["mystnb"] = {"code_prompt_show": "Show the answer"}
    elif "record.add(" in cell.source or cell.metadata.get("jupyter", {}).get("source_hidden"):
        tags.append("hide-input")


def repeats(cell: nbformat.NotebookNode, book: nbformat.NotebookNode) -> bool:
    """Whether papermill put these parameters in, and they are the notebook's own."""
    tagged = lambda cell, name: name in cell.metadata.get("tags", [])
    given = "\n".join(one.source for one in book.cells if tagged(one, "parameters"))
    return tagged(cell, "injected-parameters") and set(cell.source.splitlines()[1:]) <= set(
        given.splitlines()
    )


def notebook(path: Path, index: Mapping[str, str]) -> nbformat.NotebookNode:
    """An executed notebook for Sphinx: with anchors and links, and with one title."""
    book = nbformat.read(path, as_version=4)
    book.metadata.pop("widgets", None)  # then nothing asks for the widgets' scripts
    places = where(book.cells, [claim.key for claim in claims.read(path)])
    cells = []
    for n, cell in enumerate(book.cells):
        if repeats(cell, book):
            continue
        if cell.cell_type == "markdown":
            text = linked(cell.source, index)
            cell.source = text if n == 0 else re.sub("^# ", "## ", text, flags=re.MULTILINE)
        elif cell.cell_type == "code":
            anchors = [f"claim-{key}" for key, place in places.items() if place == n]
            anchors += filter(None, [slider(path.stem, cell.source)])
            if anchors:
                text = "\n".join(f"({anchor})=" for anchor in anchors)
                cells.append(nbformat.v4.new_markdown_cell(text))
            fold(cell)
            for output in cell.outputs:
                shown(output)
        cells.append(cell)
    book.cells = cells
    return book


def spread(values: claims.Values, claim: claims.Claim) -> str:
    """Its range, choice by choice, as the claim's own table shows it."""
    return claims.nulls(replace(claim, control=values))


def filled(text: str, rows: Mapping[str, claims.Claim]) -> str:
    """A page of site/ with its numbers.

    Raises:
      LookupError: a key, or a choice, that was not recorded, or no choice where there are several.
    """

    def value(part: re.Match) -> str:
        role, (key, _, choice) = part[1], part[2].partition("; ")
        if key not in rows:
            raise LookupError(f"no claim {key!r} was recorded")
        row = rows[key]
        if role == "claim":
            shown = f"{row.measure}: {spread(row.measured, row)} (n = {row.n})"
            shown = f"{claims.VERDICTS[row.verdict]} {shown}".replace("|", "\\|")
        else:
            only = next(iter(row.measured)) if len(row.measured) == 1 else None
            choices, choice = row.control | row.measured, choice or only
            if choice not in choices:
                raise LookupError(f"{key!r} has no choice {choice!r}; there are {list(choices)}")
            shown = spread({"": choices[choice]}, row)
        return f"[{shown}](#claim-{key})"

    return re.sub(r"\{(claim|measured)\}`([^`]+)`", value, text)


def index_of(paper: str) -> dict[str, str]:
    """The anchor of the row for each number: {"figure-3": "figure-3", "eq-43": "eq-42", …}."""
    found = {}
    for _, word, first, last in ROW.findall(paper):
        for number in range(int(first), int(last or first) + 1):
            found[f"{ANCHORS[word]}-{number}"] = f"{ANCHORS[word]}-{first}"
    return found


def anchored(paper: str) -> str:
    """The index of the paper with an anchor at the head of every row."""
    return ROW.sub(lambda row: f"| [{row[1]}]{{#{ANCHORS[row[2]]}-{row[3]}}} |", paper)


def table_of_claims(rows: list[claims.Claim]) -> str:
    """`docs/claims.md` with counts, with links to the cells, and what holds before the rest."""
    over = gallery.swept()
    told = {row.key: gallery.verdict(row, over) for row in rows}
    found = Counter((row.kind, told[row.key]) for row in rows)
    verdicts = list(claims.VERDICTS)
    counts = [(title, *(found[kind, v] for v in verdicts)) for kind, title in claims.KINDS.items()]
    text = gallery.page(sorted(rows, key=lambda row: verdicts.index(told[row.key])), over)
    text = re.sub(r"\| `([\w-]+)` ", r"| [\1](#claim-\1) ", text)
    about, tables = text.split("\n## ", 1)
    about = about.replace("Written by `make gallery` from what", "What")
    return "\n".join([about, gallery.grid(("", *verdicts), counts), "", f"## {tables}"])


def contents(books: list[nbformat.NotebookNode], stems: list[str]) -> str:
    """The page that lists the notebooks, and their order."""
    heads = [book.cells[0].source.splitlines()[0].removeprefix("# ") for book in books]
    listed = [f"| [{short(s, h)}]({s}.ipynb) | {h} |" for s, h in zip(stems, heads, strict=True)]
    tree = [f"{short(s, h)} <{s}>" for s, h in zip(stems, heads, strict=True)]
    table = ["# The notebooks", "", "| notebook | what it asks |", "| --- | --- |", *listed]
    return "\n".join([*table, "", "```{toctree}", ":hidden:", "", *tree, "```", ""])


def modules(folder: Path) -> None:
    """A page for every module of the table that the house keeps, in its order."""
    places = [ROOT / "README.md", *ROOT.glob("docs/house.md")]
    text = "\n".join(place.read_text(encoding="utf-8") for place in places)
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    for name in table:
        title = f"inrlib.{name}"
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n   :members:\n"
        if name != "live":  # where it is defined; elsewhere it is only at hand
            text += "   :exclude-members: Explorer\n"
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    listed = [f"| [{name}]({name}.rst) | {what} |" for name, what in table.items()]
    text = "\n".join(["# The package", "", "| module | holds |", "| --- | --- |", *listed, ""])
    tree = "\n".join(["```{toctree}", ":hidden:", "", *table, "```", ""])
    (folder / "index.md").write_text(f"{text}\n{tree}", encoding="utf-8")


def prepare(folder: Path) -> None:
    """Writes all that Sphinx reads into an empty folder.

    Raises:
      FileNotFoundError: a notebook that was not executed.
      LookupError: a page that asks for a number that was not recorded.
    """
    rows = {row.key: row for row in gallery.recorded()}
    shutil.copytree(SITE, folder)
    drawn = shutil.ignore_patterns("*.md")
    shutil.copytree(ROOT / "docs" / "gallery", folder / "gallery", ignore=drawn)
    for page in folder.glob("*.md"):
        page.write_text(filled(page.read_text(encoding="utf-8"), rows), encoding="utf-8")
    paper = (folder / "paper.md").read_text(encoding="utf-8")
    (folder / "paper.md").write_text(anchored(paper), encoding="utf-8")
    (folder / "docs").mkdir()
    for page in [*ROOT.glob("C*.md"), *ROOT.glob("docs/*.md")]:
        shutil.copy(page, folder / page.relative_to(ROOT))
    linked_claims = table_of_claims(list(rows.values()))
    (folder / "docs" / "claims.md").write_text(linked_claims, encoding="utf-8")
    stems = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    books = [notebook(BUILD / f"{stem}.ipynb", index_of(paper)) for stem in stems]
    (folder / "notebooks").mkdir()
    for stem, book in zip(stems, books, strict=True):
        nbformat.write(book, folder / "notebooks" / f"{stem}.ipynb")
    (folder / "notebooks" / "index.md").write_text(contents(books, stems), encoding="utf-8")
    (folder / "api").mkdir()
    modules(folder / "api")


def main() -> int:
    pages, site, kept = BUILD / "pages", BUILD / "site", BUILD / "doctrees"
    for old in (pages, site, kept):
        shutil.rmtree(old, ignore_errors=True)
    try:
        prepare(pages)
    except (FileNotFoundError, LookupError, json.JSONDecodeError) as error:
        print(f"{error}; run `make notebooks` first", file=sys.stderr)
        return 1
    return sphinx(["-W", "--keep-going", "-q", "-d", str(kept), str(pages), str(site)])


if __name__ == "__main__":
    sys.exit(main())
