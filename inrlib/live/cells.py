"""Which explorer stands in which cell, and whether anybody is there to move it.

A kernel keeps every widget that was ever shown, and IPython every result of a cell. A cell that is
run ten times would keep ten explorers with their figures, signals and programs. So when a cell is
run again, what it showed before is closed.

>>> running()
(None, None)
"""

from typing import Any, Protocol, runtime_checkable

from IPython import get_ipython

__all__ = ["Closable", "reader_is_there", "running", "show"]

_shown: dict[str, tuple[str, list]] = {}
"""For each cell which of its runs was the last, and what it showed."""


@runtime_checkable
class Closable(Protocol):
    """What a cell shows."""

    def close(self) -> None:
        """Gives back what it holds."""


def running() -> tuple[str | None, str | None]:
    """The cell that runs now, by the front end's own name for it, and this run of it."""
    kernel = getattr(get_ipython(), "kernel", None)
    message: dict[str, Any] = kernel.get_parent() if kernel else {}
    cell = message.get("metadata", {}).get("cellId")
    return (cell, message["header"]["msg_id"]) if cell else (None, None)


def show(explorer: Closable) -> None:
    """Notes that the running cell shows it, and closes what only an earlier run of it showed."""
    cell, run = running()
    if cell is None:
        return
    last, shown = _shown.get(cell, (run, []))
    _shown[cell] = run, [*shown, explorer] if run == last else [explorer]
    standing = [one for _, some in _shown.values() for one in some]
    for one in shown:
        if not any(one is other for other in standing):
            one.close()


def reader_is_there() -> bool:
    """Whether cells are run by a front end that can ask its reader something; papermill cannot."""
    return getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False)
