"""Every notebook is executed as a reader would find it, and what it records is checked."""

import ast
import json
import re
import subprocess
import sys
from dataclasses import replace

import nbformat
import pytest
from conftest import ROOT

from inrlib import claims

BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
names = {"argvalues": BOOKS, "ids": [book.stem for book in BOOKS]}


@pytest.mark.parametrize("book", **names)
def test_notebook_is_committed_clean(book):
    document = nbformat.read(book, as_version=4)
    nbformat.validate(document)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in tagged] == ['scale = "demo"\nseed = 0']
    assert document.cells[0].source.startswith("# ")
    assert "explorers" in code[0].source
    assert max(len(cell.source.splitlines()) for cell in code) <= 20


@pytest.mark.notebook
def test_all_notebooks_run(executed):
    assert executed.returncode == 0, executed.stdout
    assert all(re.search(rf"{book.stem} .*ok", executed.stdout) for book in BOOKS)


@pytest.mark.notebook
def test_every_kernel_fits_into_a_small_machine(executed):
    """Binder gives 2 GB."""
    most = [int(one) for one in re.findall(r"largest kernel: (\d+) MiB", executed.stdout)]
    assert len(most) == len(BOOKS)
    assert min(most) > 200
    assert max(most) < 1.9 * 1024


@pytest.mark.notebook
@pytest.mark.parametrize("book", **names)
def test_every_claim_could_have_failed(book, executed):
    """With its control in the place of what was measured, no claim holds; others say why not."""
    found = claims.read(ROOT / "build" / book.name)
    assert found
    for claim in found:
        assert claim.scale == "demo"
        assert claim.kind == "identity" or claim.control, claim.key
        for null, values in claim.control.items():
            swapped = replace(claim, measured={null: values}, control={}, comparable=True)
            assert swapped.verdict != "holds", (claim.key, null)
        assert claim.mark.source, claim.key
        assert claim.verdict == "holds" or claim.reason, claim.key


@pytest.mark.notebook
def test_claims_are_collected_once_each(executed):
    rows = json.loads((ROOT / "build" / "claims.json").read_text(encoding="utf-8"))
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys)) > 0
    parts = {"key", "kind", "mark", "measured", "control", "n", "verdict", "scale"}
    assert all(parts <= set(row) for row in rows)


@pytest.mark.notebook
def test_the_page_of_claims_is_of_these_notebooks(executed):
    """Run `make gallery` when this fails."""
    rows = json.loads((ROOT / "build" / "claims.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    here, published = text.split("## At the published sizes")  # some of them once more
    keys = {part: re.findall(r"\| `([\w-]+)` ", part) for part in (here, published)}
    assert sorted(row["key"] for row in rows) == sorted(keys[here])
    assert set(keys[published]) < set(keys[here])


@pytest.mark.parametrize("book", **names)
def test_a_notebook_ends_with_what_to_take_away(book):
    """Five to eight lines that answer its question."""
    cells = nbformat.read(book, as_version=4).cells
    text = next(c.source for c in cells if "## What to take away" in c.source)
    part = text.split("## What to take away")[1].split("\n## ")[0]
    assert 4 <= len(re.findall(r"^- ", part, re.MULTILINE)) <= 8


def cells_of(book, tag):
    cells = nbformat.read(book, as_version=4).cells
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("book", **names)
def test_a_notebook_says_what_it_teaches(book):
    """Goals, what one needs and how long it takes, right below the first explorer."""
    cells = nbformat.read(book, as_version=4).cells
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    below = cells[first + 1].source
    assert all(f"**{part}" in below for part in ("Goals.**", "You need**", "Time**"))
    assert re.search(r"\*\*Time\*\*: \d+ minutes", below)


@pytest.mark.parametrize("book", **names)
def test_the_reader_predicts_twice_before_a_drag(book):
    """The question stands before an explorer, the folded answer after it."""
    cells = nbformat.read(book, as_version=4).cells
    asked = 0
    for before, explorer, after in zip(cells, cells[1:], cells[2:], strict=False):
        if here := before.source.count("**Predict, then drag.**"):
            assert re.search(r"^explorers\.", explorer.source, re.MULTILINE)
            assert after.source.count("<details>") == after.source.count("</details>") == here
            asked += here
    assert asked == 2


is_name = lambda node: isinstance(node, ast.Name)


def is_open(node):
    """An assertion about something that has a name: one about constants alone cannot fail."""
    return isinstance(node, ast.Assert) and any(map(is_name, ast.walk(node.test)))


def top_level(source):
    """The names that a cell leaves behind."""
    kinds = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda
    nodes = [ast.parse(source)]
    for node in nodes:
        nodes += [child for child in ast.iter_child_nodes(node) if not isinstance(child, kinds)]
        if is_name(node) and isinstance(node.ctx, ast.Store):
            yield node.id


@pytest.mark.parametrize("book", **names)
def test_three_exercises_have_computed_answers_that_could_fail(book):
    """Folded; with names of their own and without the notebook's random numbers."""
    cells = nbformat.read(book, as_version=4).cells
    answers = cells_of(book, "answer")
    for n, answer in enumerate(answers, 1):
        question = cells[cells.index(answer) - 1]
        assert f"**Exercise {n}.** " in question.source
        assert answer.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
        asserted = [node for node in ast.walk(ast.parse(answer.source)) if is_open(node)]
        assert asserted, answer.source
        others = [c.source for c in cells if c.cell_type == "code" and c not in answers]
        used = {node.id for node in ast.walk(ast.parse("\n".join(others))) if is_name(node)}
        assert not set(top_level(answer.source)) & used
        assert not re.search(r"\brng\b", answer.source)
    assert len(answers) == 3


def told(book):
    """The words of every figure, and those of the stored frames, of an executed notebook."""
    figures, frames = [], []
    for cell in nbformat.read(ROOT / "build" / book.name, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in (data := output.get("data", {})):
                figures.append(output.metadata.get("image/png", {}).get("alt", ""))
                if 'type="range"' in (page := data.get("text/html", "")):
                    frames += re.findall(r'<img (?:hidden )?alt="([^"]*)"', page)
    return figures, frames


@pytest.mark.notebook
@pytest.mark.parametrize("book", **names)
def test_every_figure_says_what_is_to_be_seen(book, executed):
    """At length, with a number, and no two alike; the stored frames of explorers, too."""
    for words in told(book):
        assert words
        assert all(60 <= len(text) <= 700 for text in words), words
        assert all(re.search(r"\d", text) for text in words), words
        assert len(set(words)) == len(words)


@pytest.mark.notebook
@pytest.mark.parametrize("book", **names)
def test_every_answer_was_computed_and_says_so(book, executed):
    for cell in cells_of(ROOT / "build" / book.name, "answer"):
        assert cell.execution_count
        assert any(output.get("text", "").strip() for output in cell.outputs)


@pytest.mark.notebook
@pytest.mark.parametrize("book", **names)
def test_every_explorer_leaves_frames_for_a_page(book, executed):
    cells = nbformat.read(ROOT / "build" / book.name, as_version=4).cells
    explorers = [c for c in cells if re.search(r"^explorers\.", c.source, re.MULTILINE)]
    assert explorers
    frames = []
    for cell in explorers:
        page = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
        assert page.count('type="range"') == 1
        frames.append(page.count('src="data:image/webp'))
    assert min(frames) >= 3  # where each is trained, three and its own
    assert sum(frames) >= 4 * len(explorers)


@pytest.mark.notebook
def test_a_failing_notebook_does_not_stop_the_others(tmp_path):
    """The same tool on a copy of the project with one broken and one good notebook."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "notebooks").mkdir()
    tool = tmp_path / "tools" / "notebooks.py"
    tool.write_bytes((ROOT / "tools" / "notebooks.py").read_bytes())
    (tmp_path / "notebooks" / "0_broken.ipynb").write_text("no notebook")
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python"}}
    for name, source in (("a_bad", "1 / 0"), ("b_good", "print('here')")):
        cells = [nbformat.v4.new_code_cell(source)]
        document = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
        nbformat.write(document, tmp_path / "notebooks" / f"{name}.ipynb")
    run = subprocess.run([sys.executable, tool], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert re.search(r"0_broken .*Error", run.stdout)
    assert re.search(r"a_bad .*ZeroDivisionError: division by zero", run.stdout)
    assert re.search(r"b_good .*ok", run.stdout)
    assert (tmp_path / "build" / "b_good.ipynb").exists()
