"""Redraws what the documents take from the notebooks: `make gallery`.

The pictures of docs/gallery, the README's badges, moving picture and counts of claims, and
docs/claims.md. Run `make notebooks` first. What `make notebooks SCALE=paper` has left is added to
docs/published.json, which keeps the claims of earlier runs. Pictures come out of the executed
notebooks: of cells with the tag "gallery", whose metadata hold a name and a caption. The moving
picture is made of an explorer's own frames. The badges know the repository from pyproject.toml, and
need nothing else.
"""

import base64
import io
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib
import nbformat
from PIL import Image, ImageDraw, ImageFont

from inrlib import claims, explorers

ROOT = Path(__file__).resolve().parent.parent
BUILD, GALLERY = ROOT / "build", ROOT / "docs" / "gallery"
PUBLISHED = ROOT / "docs" / "published.json"
WIDTH = 640
POSITIONS, PAUSE = 15, 140
"""Of the moving picture: places along the slider, and milliseconds at each."""

PICTURES = """# Pictures

From the executed notebooks, by `make gallery`. A click opens the notebook.
"""

ABOUT = """# Claims

Written by `make gallery` from what the notebooks recorded. Each claim is a number that was asked to
lie on one side of a mark, set before the run. The control is the same number of the null or of the
simplest rival. n counts independent repetitions. A claim whose control meets the mark does not
hold. Mixed: it depends on a choice that is named."""

LARGE = """## At the published sizes

The notebooks that were executed with `make notebooks SCALE=paper`, one seed, not swept."""


def repository() -> str:
    """owner/name, from the one place where it is set: [project.urls] in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix("https://github.com/")


def badges() -> str:
    """Binder and Colab, both at the first notebook."""
    first, name = "notebooks/00_start_here.ipynb", repository()
    binder = f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{first}"
    colab = f"https://colab.research.google.com/github/{name}/blob/HEAD/{first}"
    return "\n".join(
        [
            f"[![Binder](https://mybinder.org/badge_logo.svg)]({binder})",
            f"[![Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})",
            "",
            f"Colab wants `%pip install git+https://github.com/{name}` first, and a restart; "
            "Binder installs by itself.",
        ]
    )


def pictures() -> Iterator[tuple[str, str, str, str, Image.Image]]:
    """Notebook, name, caption, words and picture of every cell with the tag "gallery".

    Raises:
      LookupError: such a cell that drew nothing.
    """
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(BUILD / path.name, as_version=4).cells:
            if "gallery" not in cell.metadata.get("tags", []):
                continue
            name, caption = (cell.metadata.gallery[key] for key in ("name", "caption"))
            drawn = (output for output in cell.outputs if "image/png" in output.get("data", {}))
            if not (output := next(drawn, None)):
                raise LookupError(f"{path.stem}: the cell of {name!r} drew no picture")
            words = output.metadata.get("image/png", {}).get("alt", caption)
            data = base64.b64decode(output.data["image/png"])
            yield path.name, name, caption, words, Image.open(io.BytesIO(data))


def draw() -> str:
    """Writes the small pictures; returns the page that shows them."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    cells = []
    for notebook, name, caption, words, image in pictures():
        image = image.convert("RGB")
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        image.quantize(128).save(GALLERY / f"{name}.png", optimize=True)
        words = re.sub(r"[|\[\]]", " ", words)
        link = f"[![{words}]({name}.png)](../../notebooks/{notebook})"
        cells.append(f"{link}<br>{caption}")
    rows = [f"| {' | '.join(cells[i : i + 2])} |" for i in range(0, len(cells), 2)]
    return "\n".join([PICTURES, rows[0], "| --- | --- |", *rows[1:]]) + "\n"


def moving() -> bytes:
    """A drag to and fro as an animated picture: an explorer's frames, the slider drawn above."""
    frames = explorers.families().frames(POSITIONS)
    shown = [Image.open(io.BytesIO(one)).convert("RGB") for one in frames["images"]]
    scenes = [
        _with_slider(image, f"{frames['label']} = {value}", place / (len(shown) - 1))
        for place, (image, value) in enumerate(zip(shown, frames["values"], strict=True))
    ]
    there_and_back, buffer = [*scenes, *scenes[-2:0:-1]], io.BytesIO()
    options = {"append_images": there_and_back[1:], "duration": PAUSE, "quality": 70, "loop": 0}
    there_and_back[0].save(buffer, format="webp", save_all=True, **options)
    return buffer.getvalue()


def _with_slider(picture: Image.Image, text: str, share: float) -> Image.Image:
    """The picture below a slider whose handle is at this share of its track."""
    picture = picture.resize((960, round(960 * picture.height / picture.width)))
    scene = Image.new("RGB", (picture.width, picture.height + 56), "white")
    scene.paste(picture, (0, 56))
    pen, font = ImageDraw.Draw(scene), Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    left, right, y = 320, picture.width - 60, 28
    x = left + share * (right - left)
    pen.text((40, y), text, fill="black", font=ImageFont.truetype(str(font), 20), anchor="lm")
    pen.rounded_rectangle((left, y - 3, right, y + 3), 3, fill="#cccccc")
    pen.ellipse((x - 11, y - 11, x + 11, y + 11), fill="#0072B2")
    return scene


def recorded() -> list[claims.Claim]:
    """The claims of the last `make notebooks`."""
    text = (BUILD / "claims.json").read_text(encoding="utf-8")
    return [claims.restore(row) for row in json.loads(text)]


def published() -> list[claims.Claim]:
    """The claims that were measured at the published sizes: docs/published.json, with those of the
    last `make notebooks SCALE=paper` in their place."""
    files = (PUBLISHED, BUILD / "paper" / "claims.json")
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    rows = {row["key"]: row for claims_of in found for row in claims_of}
    return [claims.restore(row) for row in rows.values()]


Sweeps = dict[str, dict[str, int]]


def swept() -> Sweeps:
    """How often each claim had each verdict over seeds: docs/sweeps, from `inrlib.sweep`."""
    files = sorted((ROOT / "docs" / "sweeps").glob("*.json"))
    return {key: of for file in files for key, of in json.loads(file.read_text()).items()}


def verdict(row: claims.Claim, over: Sweeps) -> str:
    """The claim's own; mixed, if it changes with the seeds of a sweep."""
    return "mixed" if len(over.get(row.key, {})) > 1 else row.verdict


def grid(head: tuple[str, ...], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    line = lambda cells: "| " + " | ".join(str(one).replace("|", "\\|") for one in cells) + " |"
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def counts(rows: list[claims.Claim], over: Sweeps) -> str:
    """For the README: how many hold and how many do not, in four numbers."""
    found = Counter(verdict(row, over) for row in rows)
    scales = " and ".join(sorted({row.scale for row in rows}))
    head = (f"{len(rows)} claims, {scales} scale", *claims.VERDICTS)
    told = grid(head, [("", *(f"**{found[name]}**" for name in claims.VERDICTS))])
    if not over:
        return told
    seeds = " or ".join(map(str, sorted({sum(of.values()) for of in over.values()})))
    shares = [of.get("holds", 0) / sum(of.values()) for of in over.values()]
    some = sum(0 < one < 1 for one in shares)
    swept_ones = f"{len(over)} of them were swept over {seeds} seeds"
    ends = f"{shares.count(1)} hold in all, {some} in some (mixed), the others in none"
    return f"{told}\n\n{swept_ones}: {ends}."


def page(rows: list[claims.Claim], over: Sweeps, large: Sequence[claims.Claim] = ()) -> str:
    """docs/claims.md: every claim with its mark, control, repetitions and verdict, by kind; then
    those that were measured at the published sizes, too."""
    head = ("section", "claim", "measured", "asked", "control", "verdict")
    parts = [ABOUT]
    for kind, title in claims.KINDS.items():
        cells = []
        for row in (row for row in rows if row.kind == kind):
            what, end = f"`{row.key}` {row.statement}", verdict(row, over)
            if of := over.get(row.key):
                end += f" (holds in {of.get('holds', 0)} of {sum(of.values())} seeds)"
            why = row.why if verdict(row, over) == row.verdict else row.reason
            end = f"{end}: {why}".rstrip(": ")
            numbers = claims.found(row), claims.asked(row), claims.nulls(row)
            cells.append((row.section, what, *numbers, end))
        parts.append(f"## {title}\n\n{grid(head, cells)}")
    if large:
        parts.append(f"{LARGE}\n\n{beside(rows, over, large)}")
    return "\n\n".join(parts) + "\n"


def beside(rows: list[claims.Claim], over: Sweeps, large: Iterable[claims.Claim]) -> str:
    """The claims at the published sizes, and their verdicts at demo scale."""
    demo = {row.key: verdict(row, over) for row in rows}
    head = ("section", "claim", "measured", "asked", "control", "verdict", "at demo scale")
    cells = [
        (row.section, f"`{row.key}`", claims.found(row), claims.asked(row), claims.nulls(row),
         f"{row.verdict}: {row.why}".rstrip(": "), demo[row.key])
        for row in large
        if row.key in demo
    ]  # fmt: skip
    return grid(head, cells)


def fill(path: Path, parts: dict[str, str]) -> None:
    """Puts each part between its marks in a document."""
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = mark.sub(lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    fill(ROOT / "README.md", {"badges": badges()})
    cite = ROOT / "CITATION.cff"
    address = f'repository-code: "https://github.com/{repository()}"'
    text = re.sub(r"^repository-code: .*$", address, cite.read_text(encoding="utf-8"), flags=re.M)
    cite.write_text(text, encoding="utf-8")
    try:
        rows = recorded()
        gallery = draw()
    except (FileNotFoundError, LookupError) as error:
        print(f"{error}; run `make notebooks` first", file=sys.stderr)
        return 1
    (GALLERY / "README.md").write_text(gallery, encoding="utf-8")
    (GALLERY / "drag.webp").write_bytes(moving())
    fill(ROOT / "README.md", {"claims": counts(rows, swept())})
    large = published()
    lines = ",\n".join(json.dumps(row.record(), ensure_ascii=False) for row in large)
    PUBLISHED.write_text(f"[\n{lines}\n]\n", encoding="utf-8")  # a claim a line
    text = page(rows, swept(), large)
    (ROOT / "docs" / "claims.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
