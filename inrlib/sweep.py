"""One notebook over many parameters: does a claim hold for a hundred seeds?

    python -m inrlib.sweep notebooks/05_2_eigenfunctions.ipynb -p seed 0:20

executes the notebook with papermill once for each point of the grid, on a local Dask cluster or on
any other by its address (--scheduler). A point that is done is a file of its own, so a sweep that
was interrupted goes on where it was. A point that fails is tried once more, and then recorded with
its error. At the end there is one table: a row for each claim at each point (sweep.csv), and what
became of each claim (sweep.json).

>>> grid([setting(("seed", "0:3")), setting(("scale", "demo"))])
[{'seed': 0, 'scale': 'demo'}, {'seed': 1, 'scale': 'demo'}, {'seed': 2, 'scale': 'demo'}]
"""

import argparse
import csv
import hashlib
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm.auto import tqdm

from inrlib import claims

__all__ = ["execute", "grid", "main", "run", "setting", "share", "table"]

Point = dict[str, Any]
"""The parameters of one execution."""

_TRIES = 2


def setting(words: tuple[str, str] | Sequence[str]) -> tuple[str, list[Any]]:
    """A parameter and its values, from the two words of a command line.

    Values are a range "0:20" or "0:20:5", a list "1,3,10", or a single one; each is a number, true,
    false, or else a text.

    Raises:
      ValueError: no value, or a range of nothing.
    """
    name, text = words
    if not name.isidentifier():
        raise ValueError(f"-p {name}: a parameter is a name of the notebook's parameters cell.")
    parts = text.split(":")
    if 2 <= len(parts) <= 3:
        try:
            values: list[Any] = list(range(*map(int, parts)))
        except ValueError:
            raise ValueError(f"-p {name} {text}: a range is first:last, as in 0:20.") from None
    else:
        values = [_value(part) for part in text.split(",") if part]
    if not values:
        raise ValueError(f"-p {name} {text}: there is no value in it; write 0:20, or 1,3,10.")
    return name, values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def grid(settings: Iterable[tuple[str, list[Any]]]) -> list[Point]:
    """Every combination of the values; the last parameter changes fastest."""
    named = dict(settings)
    points = itertools.product(*named.values())
    return [dict(zip(named, point, strict=True)) for point in points]


def execute(notebook: str, point: Point) -> list[dict[str, Any]]:
    """Runs a notebook, given as its text, at one point; returns the records of its claims.

    Text in, records out: a worker needs the package, and no folder in common with anybody.
    """
    import papermill  # where a sweep is only read, it is not needed

    # For the kernel: beside another's, two threads of LAPACK take four times as long as one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "source.ipynb"), Path(folder, "executed.ipynb")
        source.write_text(notebook, encoding="utf-8")
        papermill.execute_notebook(
            source, target, parameters=point, kernel_name="python3", language="python",
            progress_bar=False,
        )  # fmt: skip
        return json.loads(json.dumps([claim.record() for claim in claims.read(target)]))


def run(
    notebook: str | Path,
    points: Sequence[Point],
    folder: str | Path,
    *,
    scheduler: str | None = None,
    workers: int = 2,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Executes what is not yet done, on Dask; returns the record of every point, in order.

    Args:
      notebook: its path.
      points: from `grid`.
      folder: one file a point is kept there; what is there is not run again.
      scheduler: the address of a Dask scheduler whose workers have this package; None starts a
        cluster of processes on this machine. A worker that dies costs only the time of its points.
      workers: processes of that local cluster, one notebook each at a time.

    Returns:
      {"point", "claims"}, or {"point", "error"} of one that failed twice; an error is not kept as
      done, and tried again by the next run.

    Raises:
      FileNotFoundError: no such notebook.
      ValueError: a parameter that the notebook does not have.
    """
    from distributed import Client, LocalCluster, as_completed

    text = Path(notebook).read_text(encoding="utf-8")
    _check(notebook, text, points)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / f"{_name(text, point)}.json" for point in points]
    found = {place: _read(place) for place in places}
    waiting = [(p, place) for p, place in zip(points, places, strict=True) if not found[place]]
    if not waiting:
        return [found[place] for place in places]

    local = None
    if scheduler is None:
        local = LocalCluster(
            n_workers=min(workers, len(waiting)), threads_per_worker=1, dashboard_address=None
        )
    try:
        with Client(local or scheduler) as client:
            ask = lambda point: client.submit(execute, text, point, pure=False, retries=_TRIES - 1)
            asked = {ask(point): (point, place) for point, place in waiting}
            bar = tqdm(total=len(points), initial=len(points) - len(waiting), disable=not progress)
            for future in as_completed(asked):
                point, place = asked[future]
                found[place] = _outcome(future, point, place)
                bar.update()
            bar.close()
    finally:
        if local is not None:
            local.close()
    return [found[place] for place in places]


def _outcome(future: Any, point: Point, place: Path) -> dict[str, Any]:
    error = future.exception()
    if error is not None:
        return {"point": point, "error": f"{type(error).__name__}: {error}".strip()[:500]}
    record = {"point": point, "claims": future.result()}
    beside = place.with_suffix(".part")
    beside.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    beside.replace(place)
    return record


def _name(text: str, point: Point) -> str:
    """Of a point's file: the same point of another version of the notebook is another one."""
    told = json.dumps([text, sorted(point.items())], ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _read(place: Path) -> dict[str, Any] | None:
    """What was kept; a file that cannot be read is as good as none."""
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _check(notebook: str | Path, text: str, points: Sequence[Point]) -> None:
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{notebook} is no Jupyter notebook.") from None
    tagged = (c for c in cells if "parameters" in c.get("metadata", {}).get("tags", []))
    source = "".join("".join(cell["source"]) + "\n" for cell in tagged)
    known = [line.partition("=")[0].strip() for line in source.splitlines() if "=" in line]
    unknown = sorted({name for point in points for name in point} - set(known))
    if unknown:
        raise ValueError(f"{notebook} has no parameter {', '.join(unknown)}; it has {known}.")


def table(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each claim at each point, and one for each point that failed."""
    rows = []
    for record in records:
        for claim in record.get("claims", [{}]):
            numbers = [number for _, values in claim.get("measured", []) for number in values]
            rows.append(
                {
                    **record["point"],
                    "key": claim.get("key", ""),
                    "verdict": claim.get("verdict", ""),
                    "lowest": min(numbers, default=""),
                    "highest": max(numbers, default=""),
                    "error": record.get("error", ""),
                }
            )
    return rows


def share(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each claim had each verdict: {"fig3-alias": {"holds": 19, "mixed": 1}}."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        for claim in record.get("claims", []):
            found.setdefault(claim["key"], Counter())[claim["verdict"]] += 1
    return {key: dict(counter.most_common()) for key, counter in found.items()}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inrlib.sweep", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUES"), dest="settings",
        help="a parameter and its values: 0:20, or 1,3,10, or demo",
    )  # fmt: skip
    parser.add_argument("--scheduler", help="address of a Dask scheduler; local when left out")
    parser.add_argument("--workers", type=int, default=2, help="processes of the local cluster")
    parser.add_argument("--to", type=Path, help="folder of the results; build/sweeps/NOTEBOOK")
    options = parser.parse_args(words)
    folder = options.to or Path("build/sweeps", options.notebook.stem)
    try:
        points = grid(map(setting, options.settings))
        records = run(
            options.notebook, points, folder / "points",
            scheduler=options.scheduler, workers=max(1, options.workers),
        )  # fmt: skip
    except (ValueError, OSError) as error:
        parser.error(str(error))
    _write(folder, records)
    failed = [record for record in records if "error" in record]
    for record in failed:
        print(f"failed twice: {record['point']}: {record['error']}", file=sys.stderr)
    done = len(records) - len(failed)
    for key, verdicts in share(records).items():
        print(f"{key:32} holds in {verdicts.get('holds', 0)} of {done}")
    print(f"{folder / 'sweep.csv'}, {folder / 'sweep.json'}")
    return int(bool(failed))


def _write(folder: Path, records: list[dict[str, Any]]) -> None:
    rows = table(records)
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    text = json.dumps(share(records), indent=1, ensure_ascii=False)
    (folder / "sweep.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
