"""How long would a notebook take at the published sizes, here? `python tools/rehearse.py [name …]`.

The notebook is executed with `scale = "paper"`, but of every training only the first steps are
taken (`inrlib.loop`, INRLIB_REHEARSAL): what is not training is done in full, and so is every
allocation. The answer, hours and memory, is kept in docs/paper_scale.json, which `make notebooks
SCALE=paper` shows before it starts. A cell that fails, because nothing has learned anything, does
not stop the others.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import nbformat
import papermill
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from notebooks import TOLD, chosen, expected, in_words, prepared

_LAST = """
import os, resource, sys
import jax
unit = 2**20 if sys.platform == "darwin" else 2**10
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
kind = jax.devices()[0].device_kind
print(f"{most};{os.cpu_count()} CPU cores" if kind == "cpu" else f"{most};{kind}")
"""
"""Asked in the kernel: a second process would take its share of a GPU's memory."""


def rehearse(source: Path, minutes: float) -> dict[str, Any]:
    """Hours and MiB of the whole notebook; "at least" says why it may be more."""
    start, reasons = perf_counter(), []
    left = lambda _: max(1, int(60 * minutes - (perf_counter() - start)))
    with TemporaryDirectory() as folder:
        lines, copy = Path(folder, "lines"), Path(folder, source.name)
        given = {"parameters": {"scale": "paper"}, "kernel_name": "python3", "language": "python"}
        papermill.execute_notebook(source, copy, **given, prepare_only=True)
        book = nbformat.read(copy, as_version=4)
        book.cells.append(nbformat.v4.new_code_cell(_LAST))
        os.environ["INRLIB_REHEARSAL"] = str(lines)
        client = NotebookClient(
            book, timeout_func=left, allow_errors=True, kernel_name="python3",
            resources={"metadata": {"path": str(source.parent)}},
        )  # fmt: skip
        try:
            client.execute()
        except CellTimeoutError:
            reasons.append(f"stopped after {minutes:g} minutes")
        except DeadKernelError:
            reasons.append("the kernel died, of too little memory as a rule")
        wall = perf_counter() - start
        text = lines.read_text(encoding="utf-8") if lines.exists() else ""
    runs = [json.loads(line) for line in text.splitlines()]
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    errors = [output.ename for output in outputs if output.output_type == "error"]
    failed = len(errors) - errors.count("KeyboardInterrupt")  # the cell that was stopped
    if failed:
        reasons.append(f"{failed} cells failed")
    training, spent = (sum(run[part] for run in runs) for part in ("whole", "spent"))
    told = {"hours": round((wall - spent + training) / 3600, 2), "trainings": len(runs)}
    if book.cells[-1].outputs:
        memory, told["on"] = book.cells[-1].outputs[-1].text.strip().split(";")
        told["MiB"] = int(memory)
    return told | ({"at least": ", ".join(reasons)} if reasons else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks; all when none is named")
    parser.add_argument("--minutes", type=float, default=60, help="at most so many for each")
    options = parser.parse_args()
    try:
        sources = chosen(options.names)
    except ValueError as error:
        parser.error(str(error))
    prepared()
    os.environ["INRLIB_FRAMES"] = "0"
    for source in sources:
        told = rehearse(source, options.minutes)
        print(f"{source.stem:40} {in_words(told)}", flush=True)
        text = json.dumps(dict(sorted((expected() | {source.stem: told}).items())), indent=1)
        TOLD.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
