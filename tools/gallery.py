"""Redraws the README's pictures, its counts of claims and docs/claims.md: `make gallery`.

Run `make notebooks` first. Pictures come out of the executed notebooks: of cells with the tag
"gallery", whose metadata hold a name and a caption.
"""

import base64
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nbformat
from PIL import Image

from inrlib import claims

ROOT = Path(__file__).resolve().parent.parent
BUILD, GALLERY = ROOT / "build", ROOT / "docs" / "gallery"
WIDTH = 640

ABOUT = """# Claims

Written by `make gallery` from what the notebooks recorded. Each claim is a number that was asked to
lie on one side of a mark, set before the run. The control is the same number of the null or of the
simplest rival. n counts independent repetitions. A claim whose control meets the mark does not
hold. Mixed: it depends on a choice that is named."""


def pictures() -> Iterator[tuple[str, str, str, Image.Image]]:
    """Notebook, name, caption and picture of every cell with the tag "gallery".

    Raises:
      LookupError: such a cell that drew nothing.
    """
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(BUILD / path.name, as_version=4).cells:
            if "gallery" not in cell.metadata.get("tags", []):
                continue
            name, caption = (cell.metadata.gallery[key] for key in ("name", "caption"))
            drawn = (output.get("data", {}).get("image/png") for output in cell.outputs)
            if not (data := next(filter(None, drawn), None)):
                raise LookupError(f"{path.stem}: the cell of {name!r} drew no picture")
            yield path.name, name, caption, Image.open(io.BytesIO(base64.b64decode(data)))


def draw() -> str:
    """Writes the small pictures; returns the README's gallery."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    cells = []
    for notebook, name, caption, image in pictures():
        image = image.convert("RGB")
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        image.quantize(128).save(GALLERY / f"{name}.png", optimize=True)
        link = f"[![{caption}](docs/gallery/{name}.png)](notebooks/{notebook})"
        cells.append(f"{link}<br>{caption}")
    rows = [f"| {' | '.join(cells[i : i + 2])} |" for i in range(0, len(cells), 2)]
    return "\n".join([rows[0], "| --- | --- |", *rows[1:]])


def recorded() -> list[claims.Claim]:
    """The claims of the last `make notebooks`."""
    text = (BUILD / "claims.json").read_text(encoding="utf-8")
    return [claims.restore(row) for row in json.loads(text)]


def grid(head: tuple[str, ...], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    line = lambda cells: "| " + " | ".join(str(one).replace("|", "\\|") for one in cells) + " |"
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def counts(rows: list[claims.Claim]) -> str:
    """For the README: how many of each kind and verdict, and those that do not hold."""
    found = Counter((row.kind, row.verdict) for row in rows)
    head = ("kind", *claims.VERDICTS)
    numbers = [(kind, *(found[kind, name] for name in claims.VERDICTS)) for kind in claims.KINDS]
    open_ones = [row for row in rows if row.verdict != "holds"]
    failed = [(row.section, row.statement, row.verdict, row.why) for row in open_ones]
    return "\n\n".join(
        [
            f"Measured at {' and '.join(sorted({row.scale for row in rows}))} scale:",
            grid(head, numbers),
            "What does not hold, or not under every choice:",
            grid(("section", "statement", "verdict", "why"), failed),
        ]
    )


def page(rows: list[claims.Claim]) -> str:
    """docs/claims.md: every claim with its mark, control, repetitions and verdict, by kind."""
    head = ("section", "claim", "measured", "asked", "control", "verdict")
    parts = [ABOUT]
    for kind, title in claims.KINDS.items():
        cells = []
        for row in (row for row in rows if row.kind == kind):
            what, verdict = f"`{row.key}` {row.statement}", f"{row.verdict}: {row.why}".rstrip(": ")
            numbers = claims.found(row), claims.asked(row), claims.nulls(row)
            cells.append((row.section, what, *numbers, verdict))
        parts.append(f"## {title}\n\n{grid(head, cells)}")
    return "\n\n".join(parts) + "\n"


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    try:
        rows = recorded()
        parts = {"gallery": draw(), "claims": counts(rows)}
    except (FileNotFoundError, LookupError) as error:
        print(f"{error}; run `make notebooks` first", file=sys.stderr)
        return 1
    for name, part in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = mark.sub(lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text)
    readme.write_text(text, encoding="utf-8")
    (ROOT / "docs" / "claims.md").write_text(page(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
