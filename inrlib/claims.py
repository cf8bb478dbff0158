"""A statement of the paper beside what was measured.

A notebook ends with one `Claims` table. It shows itself as a table and carries the same record in
the notebook's output as JSON (`MIME`), where the tests and the README's table read it back.

>>> claims = Claims(section="4.2", scale="demo")
>>> claims.add("alias", "A tone of 105 Hz appears.", "61 dB below 23 Hz", holds=False)
>>> [(claim.key, claim.holds) for claim in claims.rows]
[('alias', False)]
"""

import html
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["MIME", "Claim", "Claims", "read"]

MIME = "application/vnd.inrlib.claims+json"


@dataclass(frozen=True)
class Claim:
    """One statement and its measurement.

    Attributes:
      key: a stable name, unique in the suite: "fig3-alias".
      section: where the paper makes it: "4.2".
      statement: the paper's wording, in short.
      measured: the number, with its unit, in words that stand alone.
      holds: whether the measurement bears the statement out.
      scale: "demo" or "paper".
      reason: why it does not hold, where it does not.
    """

    key: str
    section: str
    statement: str
    measured: str
    holds: bool
    scale: str
    reason: str = ""


@dataclass
class Claims:
    """The claims of one section, in the order in which they were added."""

    section: str
    scale: str
    rows: list[Claim] = field(default_factory=list)

    def add(self, key: str, statement: str, measured: str, holds: Any, reason: str = "") -> None:
        """Records one claim.

        Raises:
          ValueError: a key that was used before.
        """
        if any(row.key == key for row in self.rows):
            raise ValueError(f"claims: key={key!r} was recorded before; choose another.")
        claim = Claim(key, self.section, statement, measured, bool(holds), self.scale, reason)
        self.rows.append(claim)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        mark = {True: "✓ holds", False: "✗ does not hold"}
        text = [f"{mark[c.holds]}: {c.statement}\n    measured: {c.measured}" for c in self.rows]
        cells = "".join(
            f"<tr><td style='text-align:left'>{html.escape(c.statement)}</td>"
            f"<td style='text-align:left'>{html.escape(c.measured)}</td>"
            f"<td style='text-align:left; white-space:nowrap'>{mark[c.holds]}"
            f"{'<br>' + html.escape(c.reason) if c.reason and not c.holds else ''}</td></tr>"
            for c in self.rows
        )
        head = "<tr><th>The paper says</th><th>Measured here</th><th></th></tr>"
        return {
            "text/plain": "\n".join(text),
            "text/html": f"<table style='width:100%'>{head}{cells}</table>",
            MIME: [asdict(claim) for claim in self.rows],
        }


def read(notebook: str | Path) -> list[Claim]:
    """The claims recorded in an executed notebook, in order.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is no notebook.
    """
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"notebook: {notebook} is no Jupyter notebook ({error!r}).") from error
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    return [Claim(**row) for output in outputs for row in output.get("data", {}).get(MIME, [])]
