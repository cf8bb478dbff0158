"""Redraws the README's pictures and its table of claims from build/: `make gallery`.

Run `make notebooks` first. Pictures come out of the executed notebooks, found by the words that
stand in the cell that drew them.
"""

import base64
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BUILD, GALLERY = ROOT / "build", ROOT / "docs" / "gallery"
WIDTH = 640

PICTURES = {
    "first_look": ("00_start_here", "explorers.first_look", "ω0 before any training"),
    "figure1": ("00_start_here", "plots.splitting", "Fig. 1: layer by layer into harmonics"),
    "lattice": ("03_expressive_power", "harmonics.lattice_order(k, 9)", "Theorem 1: a lattice"),
    "imperfect_recovery": (
        "04_1_imperfect_recovery",
        "show(figure2)",
        "Fig. 2: a mapping with holes",
    ),
    "aliasing": ("04_2_aliasing", "figure3 =", "Fig. 3: a second note between the samples"),
    "alias_curve": ("04_2_aliasing", "alias_of =", "the alias against ω0 and σ"),
    "atoms": ("05_2_eigenfunctions", "plots.atoms(", "Fig. 5: the atoms of untrained networks"),
    "dashboard": ("10_dashboard", "explorers.dashboard()", "one network from all sides"),
    "energy": ("05_2_eigenfunctions", 'energy_figure("Figure 4"', "Fig. 4: energy of faces"),
    "learned_atoms": ("05_3_meta_learning", '"MAML, seed 1"', "Fig. 5: atoms learned from faces"),
    "meta_learning": (
        "05_3_meta_learning",
        "explorers.meta_learning",
        "a dictionary that is learned, step by step",
    ),
    "single_image": (
        "05_3_meta_learning",
        "metalearning.pretrain(",
        "energy of faces after training on one picture",
    ),
}
"""name → (notebook, words in the cell, caption)."""


def picture(notebook: str, words: str) -> Image.Image:
    """The picture that the first cell holding `words` drew."""
    document = nbformat.read(BUILD / f"{notebook}.ipynb", as_version=4)
    for cell in document.cells:
        if cell.cell_type == "code" and words in cell.source:
            for output in cell.outputs:
                if data := output.get("data", {}).get("image/png"):
                    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    raise LookupError(f"{notebook}: no executed cell with {words!r} drew a picture")


def draw() -> str:
    """Writes the small pictures; returns the README's gallery."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    cells = []
    for name, (notebook, words, caption) in PICTURES.items():
        image = picture(notebook, words)
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        image.quantize(128).save(GALLERY / f"{name}.png", optimize=True)
        link = f"[![{caption}](docs/gallery/{name}.png)](notebooks/{notebook}.ipynb)"
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
