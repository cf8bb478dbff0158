"""Every notebook is executed as a reader would find it, and what it records is checked."""

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


@pytest.fixture(scope="module")
def executed():
    """`make notebooks`, once; its exit status and its closing table are part of the test."""
    command = [sys.executable, ROOT / "tools" / "notebooks.py"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.notebook
def test_all_notebooks_run(executed):
    assert executed.returncode == 0, executed.stdout
    assert all(re.search(rf"{book.stem} .*ok", executed.stdout) for book in BOOKS)


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
    assert sorted(row["key"] for row in rows) == sorted(re.findall(r"\| `([\w-]+)` ", text))


@pytest.mark.parametrize("book", **names)
def test_a_notebook_ends_with_what_to_take_away(book):
    """Five to eight lines that answer its question."""
    cells = nbformat.read(book, as_version=4).cells
    text = next(c.source for c in cells if "## What to take away" in c.source)
    part = text.split("## What to take away")[1].split("\n## ")[0]
    assert 4 <= len(re.findall(r"^- ", part, re.MULTILINE)) <= 8


@pytest.mark.notebook
@pytest.mark.parametrize("book", **names)
def test_page_stands_alone_and_shows_every_explorer(book, executed):
    page = (ROOT / "build" / book.with_suffix(".html").name).read_text(encoding="utf-8")
    loads = re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", page)
    assert not [address for address in loads if not address.startswith("href")]
    assert "<link" not in page
    assert "widget-view" not in page
    cells = nbformat.read(book, as_version=4).cells
    explorers = [c for c in cells if re.search(r"^explorers\.", c.source, re.MULTILINE)]
    assert page.count('type="range"') == len(explorers) > 0
    assert page.count('src="data:image/webp') >= 4 * len(explorers)
    assert len(page) < 12e6
    assert not re.search(r"set-aside", page)


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
    assert (tmp_path / "build" / "b_good.html").exists()
