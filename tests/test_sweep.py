"""Sweeps over a small notebook, in real kernels and on a real cluster of two processes."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from inrlib import sweep

pytest.importorskip("distributed", reason="the extra `sweep` is not installed")

MEASURED = """
from pathlib import Path
from inrlib import claims
record = claims.Claims(section="0", scale=scale)
record.add("seed-is-small", "own finding", "The seed is below two.", measure="seed",
           measured=[float(seed)], mark=claims.below(2, "set beforehand"), control={"two": [2.0]})
"""


def book(path, *sources):
    parameters = new_code_cell('scale = "demo"\nseed = 0\nplace = ""\n')
    parameters.metadata["tags"] = ["parameters"]
    cells = [parameters, *map(new_code_cell, (MEASURED, *sources, "record"))]
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Four seeds over two workers; each writes down that it ran."""
    folder = tmp_path_factory.mktemp("sweep")
    ran = folder / "ran"
    ran.mkdir()
    notebook = book(folder / "b.ipynb", "Path(place, f'{seed}').write_text('')")
    points = sweep.grid([("seed", [0, 1, 2, 3]), ("place", [str(ran)])])
    records = sweep.run(notebook, points, folder / "points", progress=False)
    return notebook, points, folder / "points", records, ran


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("0:3", [0, 1, 2]),
        ("0:10:5", [0, 5]),
        ("1,2.5,x", [1, 2.5, "x"]),
        ("demo", ["demo"]),
        ("true", [True]),
        ("-3", [-3]),
    ],
)
def test_values_of_a_command_line(words, values):
    assert sweep.setting(("seed", words)) == ("seed", values)


@pytest.mark.parametrize("words", ["", ",", "3:3", "a:b", "1:2:0"])
def test_values_that_are_none_are_refused(words):
    with pytest.raises(ValueError, match="-p seed"):
        sweep.setting(("seed", words))


def test_the_grid_is_every_combination():
    points = sweep.grid([("a", [1, 2]), ("b", ["x", "y", "z"])])
    assert len(points) == 6
    assert {(p["a"], p["b"]) for p in points} == {(a, b) for a in (1, 2) for b in "xyz"}
    assert sweep.grid([]) == [{}]


def test_two_workers_find_what_one_process_finds(swept):
    notebook, points, _, records, _ = swept
    assert [record["point"] for record in records] == points
    text = notebook.read_text()
    for record in records[::3]:
        alone = sweep.execute(text, record["point"])
        assert json.dumps(record["claims"]) == json.dumps(alone)


def test_how_often_a_claim_holds(swept):
    assert sweep.share(swept[3]) == {"seed-is-small": {"holds": 2, "does not hold": 2}}


def test_the_table_has_a_row_for_each_claim_at_each_point(swept):
    rows = sweep.table(swept[3])
    assert [row["seed"] for row in rows] == [0, 1, 2, 3]
    assert [row["lowest"] for row in rows] == [0, 1, 2, 3]
    assert {row["key"] for row in rows} == {"seed-is-small"}


def test_what_is_done_is_not_run_again(swept):
    notebook, points, folder, records, ran = swept
    for mark in ran.iterdir():
        mark.unlink()
    kept = sorted(folder.glob("*.json"))
    kept[0].unlink()
    kept[1].write_text("{ torn")
    again = sweep.run(notebook, points, folder, progress=False)
    assert again == records
    assert len(list(ran.iterdir())) == 2


def test_a_point_that_fails_is_tried_once_more_and_recorded(tmp_path):
    write = "with Path(place, f'{seed}').open('a') as file: file.write('x')"
    tries = write + "\nassert seed != 1, 'no ones'"
    notebook = book(tmp_path / "b.ipynb", tries)
    points = sweep.grid([("seed", [0, 1]), ("place", [str(tmp_path)])])
    good, bad = sweep.run(notebook, points, tmp_path / "points", progress=False)
    assert "error" not in good
    assert "no ones" in bad["error"]
    assert ((tmp_path / "0").read_text(), (tmp_path / "1").read_text()) == ("x", "xx")
    assert sweep.table([bad])[0]["error"] == bad["error"]
    assert len(list((tmp_path / "points").glob("*.json"))) == 1


def test_a_worker_that_dies_costs_only_time(tmp_path):
    """The kernel kills the process that runs it, the first time that it is asked."""
    killer = (
        "import os, signal, psutil\n"
        "once = Path(place, 'once')\n"
        "if seed == 1 and not once.exists():\n"
        "    once.write_text('')\n"
        "    os.kill(psutil.Process().ppid(), signal.SIGKILL)\n"
        "    raise SystemExit"
    )
    notebook = book(tmp_path / "b.ipynb", killer)
    points = sweep.grid([("seed", [0, 1, 2]), ("place", [str(tmp_path)])])
    records = sweep.run(notebook, points, tmp_path / "points", progress=False)
    assert (tmp_path / "once").exists()
    assert [record["claims"][0]["measured"] for record in records] == [
        [["", [float(seed)]]] for seed in range(3)
    ]


def test_a_cluster_elsewhere_is_found_by_its_address(tmp_path):
    from distributed import LocalCluster

    notebook = book(tmp_path / "b.ipynb")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        (record,) = sweep.run(
            notebook, [{"seed": 1}], tmp_path / "points", scheduler=address, progress=False
        )
    assert record["claims"][0]["verdict"] == "holds"


def test_the_command_writes_the_tables(tmp_path, capsys):
    notebook = book(tmp_path / "b.ipynb")
    words = [str(notebook), "-p", "seed", "1:3", "--to", str(tmp_path / "out"), "--workers", "1"]
    assert sweep.main(words) == 0
    assert "seed-is-small" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/sweep.json").read_text()) == {
        "seed-is-small": {"holds": 1, "does not hold": 1}
    }
    head, *rows = (tmp_path / "out/sweep.csv").read_text().splitlines()
    assert head.startswith("seed,key,verdict")
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no.ipynb"], "no.ipynb"),
        (["b.ipynb", "-p", "omega", "3"], "has no parameter omega"),
        (["b.ipynb", "-p", "seed", "3:3"], "-p seed 3:3"),
        (["text.ipynb"], "is no Jupyter notebook"),
    ],
)
def test_wrong_words_get_one_sentence(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    book(tmp_path / "b.ipynb")
    (tmp_path / "text.ipynb").write_text("hello")
    with pytest.raises(SystemExit):
        sweep.main(words)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in last
