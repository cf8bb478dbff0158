"""Redraws the README's pictures and its table of claims from build/: `make gallery`.

Run `make notebooks` first. Pictures come out of the executed notebooks: of cells with the tag
"gallery", whose metadata hold a name and a caption.
"""

import base64
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BUILD, GALLERY = ROOT / "build", ROOT / "docs" / "gallery"
WIDTH = 640


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


def table() -> str:
    """The README's table of claims."""
    rows = json.loads((BUILD / "claims.json").read_text(encoding="utf-8"))
    held = Counter(row["holds"] for row in rows)[True]
    scales = " and ".join(sorted({row["scale"] for row in rows}))
    lines = [
        f"{held} of {len(rows)} statements hold, measured at {scales} scale.",
        "",
        "| section | the paper says | measured here | holds |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        why = f"no: {row['reason']}" if row["reason"] else "no"
        cells = [row["section"], row["statement"], row["measured"], "yes" if row["holds"] else why]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    try:
        parts = {"gallery": draw(), "claims": table()}
    except (FileNotFoundError, LookupError) as error:
        print(f"{error}; run `make notebooks` first", file=sys.stderr)
        return 1
    for name, part in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = mark.sub(lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text)
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
