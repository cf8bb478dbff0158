"""A statement beside what was measured, and beside what would have passed by chance.

A claim is a number that was asked to lie on one side of a mark. The mark is set before the run. A
control says what the null scores by the same measure: an identity kernel, a predictor that knows
only ω0, a network that should fail. The verdict is not written down, it is computed: a claim whose
control meets the mark does not hold, whatever was measured.

A notebook ends with one `Claims` table. It shows itself as a table and carries the same record in
the notebook's output as JSON (`MIME`), where the tests and the README's table read it back.

>>> claims = Claims(section="4.2", scale="demo")
>>> claims.add(
...     "alias", "reproduction", "At ω0 = 300 a tone of 105 Hz appears.",
...     measure="level at 105 Hz (dB)", measured=[-18.0, -15.5], mark=above(-30, "set beforehand"),
...     control={"ω0 = 30": [-61.0, -58.2]},
... )
>>> [(claim.key, claim.n, claim.verdict) for claim in claims.rows]
[('alias', 2, 'holds')]
"""

import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

__all__ = [
    "KINDS",
    "MIME",
    "VERDICTS",
    "Claim",
    "Claims",
    "Mark",
    "Values",
    "above",
    "asked",
    "below",
    "found",
    "nulls",
    "read",
    "restore",
    "sizes",
]

MIME = "application/vnd.inrlib.claims+json"

KINDS = {
    "identity": "Checks of the mathematics",
    "reproduction": "The paper says",
    "published": "Others have published",
    "own finding": "Found here, not in the paper",
}
"""The kinds of claim, each with the heading of its table."""

VERDICTS = {"holds": "✓", "does not hold": "✗", "mixed": "±", "not comparable": "–"}

Values = dict[str, list[float]]
"""Independent repetitions of one number, by the choice (or the null) that they were made with."""


@dataclass(frozen=True)
class Mark:
    """What every repetition must reach: a bound, its side, and who set it."""

    side: Literal[">", "<"]
    bound: float
    source: str

    def met(self, values: list[float]) -> bool:
        """Whether all of them lie on the right side; NaN never does, and neither does nothing."""
        right = np.greater if self.side == ">" else np.less
        return bool(values) and bool(np.all(right(values, self.bound)))

    def __str__(self) -> str:
        return f"{self.side} {self.bound:.3g}"


def above(bound: float, source: str) -> Mark:
    """A mark that is met by larger numbers."""
    return Mark(">", float(bound), source)


def below(bound: float, source: str) -> Mark:
    """A mark that is met by smaller numbers."""
    return Mark("<", float(bound), source)


@dataclass(frozen=True)
class Claim:
    """One statement and its measurement.

    Attributes:
      key: a stable name, unique in the suite: "fig3-alias".
      section: of the paper: "4.2".
      kind: one of `KINDS`.
      statement: the paper's wording, in short; or our own.
      measure: what the number is, with its unit.
      mark: what was asked of it.
      measured: a number per independent repetition, by the choice that the result may depend on.
      control: the same number of each null, or of the simplest rival, on the same data.
      scale: "demo" or "paper".
      words: more about the measurement, where the numbers do not say enough.
      reason: why it does not hold, where it does not.
      comparable: False if data or lengths are too far from the paper's to judge it.
    """

    key: str
    section: str
    kind: str
    statement: str
    measure: str
    mark: Mark
    measured: Values
    control: Values
    scale: str
    words: str = ""
    reason: str = ""
    comparable: bool = True

    @property
    def n(self) -> int:
        """Independent repetitions: those of the choice that has fewest."""
        return min(map(len, self.measured.values()))

    @property
    def passing_controls(self) -> list[str]:
        """The nulls that meet the mark, too: then it asks for nothing."""
        return [name for name, values in self.control.items() if self.mark.met(values)]

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`. Mixed: some choices meet the mark in every repetition, some do not."""
        if not self.comparable:
            return "not comparable"
        met = [self.mark.met(values) for values in self.measured.values()]
        if not any(met) or self.passing_controls:
            return "does not hold"
        return "holds" if all(met) else "mixed"

    @property
    def why(self) -> str:
        """What stands beside a verdict other than "holds"."""
        if self.verdict == "holds":
            return ""
        passing = ", ".join(self.passing_controls)
        return self.reason + (f" (Its control passes, too: {passing}.)" if passing else "")

    def record(self) -> dict[str, Any]:
        """All of it for a file, the verdict included; pairs, since notebooks sort their names."""
        pairs = {part: list(getattr(self, part).items()) for part in ("measured", "control")}
        return asdict(self) | pairs | {"n": self.n, "verdict": self.verdict}


@dataclass
class Claims:
    """The claims of one section, in the order in which they were added."""

    section: str
    scale: str
    rows: list[Claim] = field(default_factory=list)

    def add(
        self,
        key: str,
        kind: str,
        statement: str,
        *,
        measure: str,
        measured: Any,
        mark: Mark,
        control: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Records one claim.

        Args:
          measured, control: a number, an array of repetitions, or either of them by name.
          more: `words`, `reason`, `comparable` of `Claim`.

        Raises:
          ValueError: a key that was used before, a kind that there is not, nothing measured, or a
            claim about the world without a control.
        """
        if any(row.key == key for row in self.rows):
            raise ValueError(f"claims: key={key!r} was recorded before; choose another.")
        if kind not in KINDS:
            raise ValueError(f"claims: kind={kind!r}; choose one of {', '.join(KINDS)}.")
        measured, control = _by_name(measured), _by_name(control or {})
        if not measured or not all(measured.values()):
            raise ValueError(f"claims: {key!r} has no number; give at least one.")
        if kind != "identity" and not (control and all(control.values())):
            raise ValueError(f"claims: {key!r} needs a control: what does the null score?")
        settings = {"measure": measure, "mark": mark, "measured": measured, "control": control}
        self.rows.append(
            Claim(key, self.section, kind, statement, **settings, scale=self.scale, **more)
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        text, tables = [], []
        for kind, title in KINDS.items():
            rows = [claim for claim in self.rows if claim.kind == kind]
            if rows:
                heads = (title, "measured here", "asked", "control", "verdict")
                head = "".join(f"<th style='text-align:left'>{one}</th>" for one in heads)
                tables.append(f"<tr>{head}</tr>{''.join(map(_row, rows))}")
            text += [f"{_verdict(c)}: {c.statement}\n    {found(c)}" for c in rows]
        return {
            "text/plain": "\n".join(text),
            "text/html": f"<table style='width:100%'>{''.join(tables)}</table>",
            MIME: [claim.record() for claim in self.rows],
        }


def found(claim: Claim) -> str:
    """What was measured, in words that stand alone."""
    words = f"; {claim.words}" if claim.words else ""
    return f"{claim.measure}: {_spread(claim.measured)} (n = {claim.n}){words}"


def asked(claim: Claim) -> str:
    """The mark and its source."""
    return f"{claim.mark}, {claim.mark.source}"


def nulls(claim: Claim) -> str:
    """What the controls score."""
    return _spread(claim.control)


def _row(claim: Claim) -> str:
    cells = [claim.statement, found(claim), asked(claim), nulls(claim), _verdict(claim)]
    cells[-1] += f"\n{claim.why}" if claim.why else ""
    cell = "<td style='text-align:left; vertical-align:top'>"
    return f"<tr>{cell}{cell.join(html.escape(one).replace(chr(10), '<br>') for one in cells)}</tr>"


def _verdict(claim: Claim) -> str:
    return f"{VERDICTS[claim.verdict]} {claim.verdict}"


def _spread(values: Values) -> str:
    """The range of the repetitions, choice by choice."""
    parts = []
    for name, numbers in values.items():
        low, high = (f"{edge:.3g}".replace("-", "−") for edge in (min(numbers), max(numbers)))
        parts.append((f"{name}: " if name else "") + (low if low == high else f"{low} to {high}"))
    return "; ".join(parts)


def _by_name(values: Any) -> Values:
    """Numbers, arrays or a mapping of either, as plain lists by name."""
    named = values if isinstance(values, Mapping) else {"": values}
    return {str(name): np.ravel(one).astype(float).tolist() for name, one in named.items()}


def sizes(scale: str, demo: Any, paper: Any) -> Any:
    """What a notebook does at this scale.

    Raises:
      ValueError: another scale than "demo" or "paper".
    """
    both = {"demo": demo, "paper": paper}
    if scale not in both:
        raise ValueError(f"scale={scale!r}: choose 'demo' or 'paper' (the published sizes).")
    return both[scale]


def read(notebook: str | Path) -> list[Claim]:
    """The claims recorded in an executed notebook, in order.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is no notebook, or one that another version has executed.
    """
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"notebook: {notebook} is no Jupyter notebook ({error!r}).") from error
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    rows = [row for output in outputs for row in output.get("data", {}).get(MIME, [])]
    try:
        return [restore(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"notebook: {notebook} has claims of another version; execute it again."
        ) from error


def restore(row: Mapping[str, Any]) -> Claim:
    """A claim from its record; what the record says of the verdict is computed anew."""
    parts = {name: value for name, value in row.items() if name not in ("n", "verdict")}
    named = {part: dict(parts[part]) for part in ("measured", "control")}
    return Claim(**parts | named | {"mark": Mark(**parts["mark"])})
