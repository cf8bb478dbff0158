"""Executes the notebooks: `python tools/notebooks.py [--scale paper] [--at-once N] [name …]`.

Each notebook runs under papermill in its own kernel. build/ receives the executed notebook and
claims.json with every recorded claim; `make site` makes pages of them. A notebook that fails is
reported in the closing table and does not stop the others. Files are made beside build/'s own and
moved there when they are whole, so that two runs at once leave the later one's.

At the published sizes (`--scale paper`, build/paper) this takes hours. It says how many before it
starts, as far as `tools/rehearse.py` has found out. What is done is not done again, and trainings
keep checkpoints: killed and started again, it goes on where it was.
"""

import argparse
import json
import os
import resource
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import nbformat
import papermill
import pooch

from inrlib import claims

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TOLD = ROOT / "docs" / "paper_scale.json"
COMPILED = pooch.os_cache("inrlib") / "compiled"  # the user's, for every clone
POSITIONS = 5  # of each explorer's main slider, kept in the output; INRLIB_FRAMES asks for more


def execute(source: Path, scale: str, build: Path, workshop: Path) -> str:
    """Runs one notebook; returns "" or the first line of what went wrong."""
    target = workshop / source.name
    # The kernel's own folder: papermill's `cwd` is the whole process's, and two lanes share it.
    options = {"parameters": {"scale": scale}, "kernel_name": "python3"}
    options["resources"] = {"metadata": {"path": str(source.parent)}}
    problem = _attempt(papermill.execute_notebook, source, target, **options)
    if target.exists():  # one that failed, too, as far as it came
        target.replace(build / target.name)
    else:  # what an earlier run left must not pass for this one's
        (build / target.name).unlink(missing_ok=True)
    return problem


def is_done(source: Path, build: Path) -> bool:
    """Whether this very notebook stands in `build`, executed to its end."""
    try:
        mine, executed = (nbformat.read(p, as_version=4) for p in (source, build / source.name))
    except Exception:  # not there, or no notebook
        return False
    injected = lambda cell: "injected-parameters" in cell.metadata.get("tags", [])
    cells = [[c.source for c in book.cells if not injected(c)] for book in (mine, executed)]
    outcome = executed.metadata.get("papermill", {})
    return cells[0] == cells[1] and bool(outcome.get("end_time")) and not outcome.get("exception")


def _attempt(act: Callable[..., object], *arguments, **options) -> str:
    """Acts; returns "" or the first line of what went wrong."""
    try:
        act(*arguments, **options)
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}".splitlines()[0]
    except Exception as error:  # a file that is no notebook, a kernel that dies
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def record(build: Path, workshop: Path) -> list[claims.Claim]:
    """Collects the claims of all executed notebooks into claims.json."""
    books = [build / source.name for source in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    age = lambda: {book: book.stat().st_mtime_ns for book in books if book.exists()}
    while True:
        rows, known = [], age()
        for book in known:
            try:
                rows += claims.read(book)
            except ValueError as error:  # of an earlier run, by another version
                print(f"left out: {error}", file=sys.stderr)
        text = json.dumps([row.record() for row in rows], indent=1, ensure_ascii=False)
        (workshop / "claims.json").write_text(text + "\n", encoding="utf-8")
        (workshop / "claims.json").replace(build / "claims.json")
        if age() == known:  # else another run has finished a notebook meanwhile
            return rows


def chosen(names: list[str]) -> list[Path]:
    """The notebooks of these names, or all of them; a ValueError says which there are."""
    sources = {source.stem: source for source in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    wanted = {name: Path(name).name.removesuffix(".ipynb") for name in names}
    unknown = [name for name, stem in wanted.items() if stem not in sources]
    if unknown or not sources:
        raise ValueError(
            f"no notebook named {', '.join(unknown) or 'anything'}; "
            f"there are: {', '.join(sources) or 'none'}."
        )
    return [source for stem, source in sources.items() if not names or stem in wanted.values()]


def largest_kernel() -> float:
    """Peak memory of the kernel that took most so far, in MiB."""
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def prepared() -> None:
    """What kernels inherit. What one has compiled, the others and later runs read."""
    os.environ["TQDM_DISABLE"] = "1"
    # Beside another kernel, two threads of LAPACK wait for each other: four times as slow as one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("INRLIB_FRAMES", str(POSITIONS))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
    # Half of their time would be the compiler's. Training is optimised all the same
    # (`inrlib.loop`). To cut a program into parts takes longer than to compile it whole.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if version("jaxlib").startswith("0.10."):  # later ones have no others
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        os.environ.setdefault("XLA_FLAGS", flags)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks to run; all when none is named")
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo")
    parser.add_argument("--at-once", type=int, choices=range(1, 65), metavar="N")
    options = parser.parse_args()
    published = options.scale == "paper"
    build = BUILD / "paper" if published else BUILD
    try:
        sources = chosen(options.names)
        build.mkdir(parents=True, exist_ok=True)
        workshop = TemporaryDirectory(prefix=".run-", dir=build)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        print(f"{build} cannot be written ({error.strerror}); make it writable.", file=sys.stderr)
        return 1
    prepared()
    if published:
        sources = announce(sources, build)
        os.environ["INRLIB_CHECKPOINTS"] = str(build / "checkpoints")
    with workshop as folder:
        lanes = options.at_once or (1 if published else 2)
        status = run(sources, options.scale, build, Path(folder), lanes)
    if published and not status:
        shutil.rmtree(build / "checkpoints", ignore_errors=True)
    return status


def expected() -> dict[str, dict[str, Any]]:
    """What `tools/rehearse.py` has found out, by notebook."""
    return json.loads(TOLD.read_text(encoding="utf-8")) if TOLD.exists() else {}


def in_words(told: dict[str, Any]) -> str:
    """One line of it."""
    where = f", {told['MiB'] / 1024:.1f} GiB, {told['on']}" if "MiB" in told else ""
    why = f"; {told['at least']}" if "at least" in told else ""
    return f"{'≥' if why else ' '}{told['hours']:7.2f} h{where}{why}"


def announce(sources: list[Path], build: Path) -> list[Path]:
    """Says what is done and how long the others will take; returns these."""
    told, waiting = expected(), []
    print("At the published sizes. `python tools/rehearse.py` asks how long it takes here; so far:")
    for source in sources:
        words = in_words(told[source.stem]) if source.stem in told else " not rehearsed"
        if is_done(source, build):
            words = " done; remove it to do it again"
        else:
            waiting.append(source)
        print(f"{source.stem:40} {words}", flush=True)
    return waiting


def run(sources: list[Path], scale: str, build: Path, workshop: Path, at_once: int) -> int:
    """Executes them, prints the table, and returns the exit status."""

    def timed(source: Path) -> tuple[str, float, str]:
        start = perf_counter()
        error = execute(source, scale, build, workshop)
        done = (source.stem, perf_counter() - start, error)
        print(f"{done[0]:40} {done[1]:7.1f} s", flush=True)
        return done

    # Two at a time, unless told otherwise: while one compiles or draws, the other computes. The
    # longest is among the last, so the last ones begin.
    with ThreadPoolExecutor(max_workers=at_once) as lanes:
        table = list(lanes.map(timed, sources[::-1]))[::-1]
    rows = record(build, workshop)
    print()
    for name, seconds, error in table:
        print(f"{name:40} {seconds:7.1f} s   {error or 'ok'}")
    verdicts = Counter(row.verdict for row in rows)
    told = ", ".join(f"{verdicts[name]} {name}" for name in claims.VERDICTS if verdicts[name])
    print(f"largest kernel: {largest_kernel():.0f} MiB")
    place = os.path.relpath(build / "claims.json", ROOT)
    print(f"{len(rows)} claims: {told}; {place}" if rows else "no claims recorded")
    return int(not rows or any(error for *_, error in table))


if __name__ == "__main__":
    sys.exit(main())
