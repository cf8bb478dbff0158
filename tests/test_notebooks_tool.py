"""`tools/notebooks.py`: what it says and what it leaves when it is called wrongly, or twice."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
import rehearse

import notebooks
from inrlib import claims
from inrlib.claims import MIME

INJECTED = "injected-parameters"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two notebooks of one cell, and a papermill that writes a claim into what it executes."""
    (tmp_path / "notebooks").mkdir()
    for name in ("00_start_here", "03_power"):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
        nbformat.write(book, tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "BUILD", tmp_path / "build")
    monkeypatch.setattr(notebooks, "TOLD", tmp_path / "told.json")
    monkeypatch.setattr(notebooks.papermill, "execute_notebook", executed)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return tmp_path


def executed(source, target, **_):
    book = nbformat.read(source, as_version=4)
    record = claims.Claims(section="1", scale="demo")
    given = {"measure": "cells", "measured": 1, "mark": claims.above(0, "set")}
    record.add(source.stem, "identity", "It runs.", **given)
    output = nbformat.v4.new_output("display_data", data={MIME: [record.rows[0].record()]})
    book.cells[0].outputs = [output]
    book.metadata["papermill"] = {"end_time": "2026-01-01", "exception": None}
    book.cells.insert(0, nbformat.v4.new_code_cell("scale = 1", metadata={"tags": [INJECTED]}))
    nbformat.write(book, target)


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["notebooks.py", *arguments])
    return notebooks.main()


def test_a_kernel_runs_in_its_notebooks_folder_and_the_process_stays(tmp_path, monkeypatch):
    """Two lanes share the process: what one enters, the other would find itself in."""
    there, build = tmp_path / "there", tmp_path / "build"
    there.mkdir(), build.mkdir()
    code = ['scale = "demo"', "from pathlib import Path\nassert Path.cwd().name == 'there'"]
    cells = [nbformat.v4.new_code_cell(source) for source in code]
    cells[0].metadata["tags"] = ["parameters"]
    about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python"}}
    book = nbformat.v4.new_notebook(cells=cells, metadata=about)
    nbformat.write(book, there / "book.ipynb")
    moves = []
    monkeypatch.setattr(os, "chdir", moves.append)
    assert notebooks.execute(there / "book.ipynb", "demo", build, tmp_path) == ""
    assert {Path(move) for move in moves} <= {Path.cwd()}


@pytest.mark.parametrize(
    "names", [["00_start"], ["00_start_here", "3_power"], ["00_START_HERE"], ["power"], [""]]
)
def test_a_mistyped_name_fails_with_those_that_there_are(names, project, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *names)
    assert caught.value.code == 2
    assert "there are: 00_start_here, 03_power." in capsys.readouterr().err
    assert not (project / "build").exists()


@pytest.mark.parametrize("scale", ["Demo", "papers", ""])
def test_a_mistyped_scale_fails_with_those_that_there_are(scale, project, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--scale", scale)
    said = capsys.readouterr().err
    assert "demo" in said
    assert "paper" in said


@pytest.mark.parametrize("name", ["03_power", "03_power.ipynb", "notebooks/03_power.ipynb"])
def test_a_notebook_is_named_as_one_likes(name, project, monkeypatch):
    assert call(monkeypatch, name) == 0
    made = sorted(path.name for path in (project / "build").iterdir())
    assert made == ["03_power.ipynb", "claims.json"]


def test_nothing_at_all_is_a_failure(project, monkeypatch, capsys):
    for book in (project / "notebooks").iterdir():
        book.unlink()
    with pytest.raises(SystemExit):
        call(monkeypatch)
    assert "there are: none" in capsys.readouterr().err


def test_no_claims_are_a_failure(project, monkeypatch, capsys):
    plain = lambda source, target, **_: nbformat.write(nbformat.read(source, 4), target)
    monkeypatch.setattr(notebooks.papermill, "execute_notebook", plain)
    assert call(monkeypatch) == 1
    assert "no claims recorded" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["a file", "read-only"])
def test_a_build_folder_that_cannot_be_written_is_one_sentence(kind, project, monkeypatch, capsys):
    if kind == "a file":
        (project / "build").write_text("")
    else:  # as root, permissions do not say no

        def refuse(**_):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(notebooks, "TemporaryDirectory", refuse)
    assert call(monkeypatch) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert "build cannot be written" in printed.err


def test_a_notebook_that_another_run_finishes_meanwhile_is_in_the_record(project, monkeypatch):
    """Both runs write one file: the later one must not write what it read before."""
    assert call(monkeypatch, "03_power") == 0
    read, meanwhile = claims.read, []

    def slowly(book):
        found = read(book)
        if not meanwhile:
            meanwhile.append(book)
            other = Path("00_start_here.ipynb")
            executed(project / "notebooks" / other, project / "build" / other)
        return found

    monkeypatch.setattr(claims, "read", slowly)
    assert call(monkeypatch, "03_power") == 0
    rows = json.loads((project / "build" / "claims.json").read_text())
    assert [row["key"] for row in rows] == ["00_start_here", "03_power"]


def test_what_another_version_left_is_left_out(project, monkeypatch, capsys):
    assert call(monkeypatch) == 0
    old = project / "build" / "03_power.ipynb"
    old.write_text(old.read_text().replace('"measured"', '"found"'))
    assert call(monkeypatch, "00_start_here") == 0
    assert "another version; execute it again" in capsys.readouterr().err
    rows = json.loads((project / "build" / "claims.json").read_text())
    assert [row["key"] for row in rows] == ["00_start_here"]


def test_two_runs_at_once_leave_whole_files(project, monkeypatch):
    """The second begins and ends in the middle of the first one's notebook."""
    assert call(monkeypatch) == 0
    statuses = []

    def interrupted(source, target, **options):
        target.write_text("half of a noteb")
        monkeypatch.setattr(notebooks.papermill, "execute_notebook", executed)
        statuses.append(call(monkeypatch, "03_power"))
        rows = json.loads((project / "build" / "claims.json").read_text())
        assert [row["key"] for row in rows] == ["00_start_here", "03_power"]
        executed(source, target)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", interrupted)
    assert [call(monkeypatch, "00_start_here"), *statuses] == [0, 0]
    rows = json.loads((project / "build" / "claims.json").read_text())
    assert [row["key"] for row in rows] == ["00_start_here", "03_power"]
    assert not list((project / "build").glob(".run-*"))


def test_what_an_earlier_run_left_does_not_pass_for_this_ones(project, monkeypatch):
    assert call(monkeypatch) == 0
    (project / "notebooks" / "03_power.ipynb").write_text("no notebook")
    assert call(monkeypatch) == 1
    made = sorted(path.name for path in (project / "build").iterdir())
    assert made == ["00_start_here.ipynb", "claims.json"]


def counting(monkeypatch, fails=()):
    """Names of the notebooks that papermill was asked to execute, as they are."""
    asked = []

    def execute(source, target, **options):
        asked.append(source.stem)
        assert options["parameters"] == {"scale": "paper"}
        kept = Path(os.environ["INRLIB_CHECKPOINTS"])
        kept.mkdir(exist_ok=True)
        (kept / source.stem).touch()
        if source.stem in fails:
            raise RuntimeError("out of memory")
        executed(source, target)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    return asked


def test_at_the_published_sizes_what_is_done_is_not_done_again(project, monkeypatch, capsys):
    """Apart from the demo's; killed or failed, it goes on; a notebook that changed is another."""
    assert call(monkeypatch) == 0
    demo = (project / "build" / "03_power.ipynb").read_bytes()
    paper = project / "build" / "paper"
    asked = counting(monkeypatch, fails=["00_start_here"])
    assert call(monkeypatch, "--scale", "paper") == 1
    assert asked == ["03_power", "00_start_here"]
    assert len(list((paper / "checkpoints").iterdir())) == 2
    asked = counting(monkeypatch)
    capsys.readouterr()
    assert call(monkeypatch, "--scale", "paper") == 0
    assert asked == ["00_start_here"]
    assert re.search(r"03_power +done; remove it", capsys.readouterr().out)
    assert {row["key"] for row in json.loads((paper / "claims.json").read_text())} == {
        "00_start_here",
        "03_power",
    }
    assert not (paper / "checkpoints").exists()
    assert call(monkeypatch, "--scale", "paper") == 0
    assert asked == ["00_start_here"]
    source = project / "notebooks" / "03_power.ipynb"
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"))
    assert call(monkeypatch, "--scale", "paper") == 0
    assert asked == ["00_start_here", "03_power"]
    assert (project / "build" / "03_power.ipynb").read_bytes() == demo


def test_one_that_stopped_half_way_is_not_done(project, monkeypatch):
    asked = counting(monkeypatch)
    assert call(monkeypatch, "--scale", "paper") == 0
    for outcome in ({}, {"end_time": None}, {"end_time": "2026-01-01", "exception": True}):
        place = project / "build" / "paper" / "03_power.ipynb"
        book = nbformat.read(place, as_version=4)
        book.metadata["papermill"] = outcome
        nbformat.write(book, place)
        del asked[:]
        assert call(monkeypatch, "--scale", "paper") == 0
        assert asked == ["03_power"]


def test_it_says_beforehand_how_long_it_will_take(project, monkeypatch, capsys):
    counting(monkeypatch)
    known = {"hours": 12.5, "trainings": 80, "MiB": 2048, "on": "2 CPU cores"}
    notebooks.TOLD.write_text(json.dumps({"03_power": known}))
    assert call(monkeypatch, "--scale", "paper") == 0
    said = capsys.readouterr().out
    assert re.search(r"03_power +12.50 h, 2.0 GiB, 2 CPU cores\n", said)
    assert re.search(r"00_start_here +not rehearsed\n", said)
    assert said.index("12.50 h") < said.index(" s\n")


TRAINING = """
import jax
from inrlib import fitting, networks, signals
network, r = networks.SIREN((64, 64), mapping_width=64), signals.grid(256)
theta = networks.init(network, jax.random.key(0), dims=1)
run = fitting.fit(network, theta, r, signals.tone(2, r), steps=10**7, progress=False)
assert scale == "paper" and len(run.psnr) == 10**7 + 1
"""


def rehearsed(folder, *cells, minutes=2):
    book = nbformat.v4.new_notebook()
    tagged = nbformat.v4.new_code_cell("scale = 'demo'", metadata={"tags": ["parameters"]})
    book.cells = [tagged, *map(nbformat.v4.new_code_cell, cells)]
    nbformat.write(book, folder / "book.ipynb")
    return rehearse.rehearse(folder / "book.ipynb", minutes)


def test_a_rehearsal_foretells_a_run_of_minutes_in_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    told = rehearsed(tmp_path, TRAINING)
    assert told["trainings"] == 1
    assert "at least" not in told
    assert told["hours"] > 0.02  # ten million steps: seven microseconds are too few for one
    assert 100 < told["MiB"] < 2000
    failed = rehearsed(tmp_path, "1 / 0", TRAINING)
    assert failed["at least"] == "1 cells failed"
    assert failed["trainings"] == 1


def test_a_rehearsal_says_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    told = rehearsed(tmp_path, "import time; time.sleep(60)", minutes=0.05)
    assert told["at least"] == "stopped after 0.05 minutes"
    assert "MiB" not in told
    told = rehearsed(tmp_path, "import os; os._exit(1)")
    assert "the kernel died" in told["at least"]
    assert notebooks.in_words(told).startswith("≥")
