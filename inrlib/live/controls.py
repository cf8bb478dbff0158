"""What a reader moves: sliders with a number field, menus, and own files.

Every control has a `value`; one that can refuse has an `error` too, the sentence that says why.

>>> from inrlib.networks import SIREN
>>> control = knob(SIREN, value=60)
>>> control.label, control.value, control.high
('ω0 (rad per unit)', 60.0, 300)
"""

import re
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets

from inrlib import signals
from inrlib.networks import INR

__all__ = ["File", "Number", "Upload", "choice", "knob", "slider", "whole", "words"]

EXPECTED = (ValueError, FloatingPointError, FileNotFoundError, MemoryError)
"""Errors whose message is meant for the reader; any other is a bug and shows its type as well."""

_LABEL = "13em"
"""Room for a label: 25 letters of JupyterLab's size."""


class Number(widgets.HBox):
    """A slider with a number field beside it: drag, press an arrow key, or type.

    A slider rounds to its steps. The field does not: a typed 300 is 300.

    Attributes:
      value: the number.
      error: why the text in the field was not taken; empty when it was.
    """

    value = traitlets.Any()
    error = traitlets.Unicode()

    def __init__(self, label: str, handle: widgets.Widget, low: float, high: float):
        self.label, self.handle, self.low, self.high = label, handle, low, high
        self._follows, self._dragging = False, False
        handle.readout, handle.description = False, label
        handle.style = {"description_width": _LABEL}
        handle.layout = widgets.Layout(width="28em", max_width="100%")
        layout = widgets.Layout(width="5.5em")
        self.field = widgets.Text(continuous_update=False, layout=layout, tooltip=f"type {label}")
        super().__init__([handle, self.field], value=handle.value)
        self.field.value = self._text()
        handle.observe(lambda change: self._dragged(change["new"]), names="value")
        self.field.observe(lambda change: self._typed(change["new"]), names="value")
        self.observe(lambda change: self.follow(), names="value")

    @traitlets.validate("value")
    def _check(self, proposal):
        try:
            value = float(_point(proposal["value"]))
        except (TypeError, ValueError):
            raise ValueError(f"{self.label}: {proposal['value']!r:.40} is no number.") from None
        if not self.low <= value <= self.high:  # false for NaN too
            raise ValueError(
                f"{self.label}: {value:g} is out of range; take {self.low:g} to {self.high:g}."
            )
        return round(value) if isinstance(self.handle, widgets.IntSlider) else value

    def follow(self) -> None:
        """Handle and field show the value; a text that was not taken is dropped."""
        self._follows = True
        if not self._dragging:  # an answer would pull a moving handle back
            self.handle.value = self.value
        self.field.value = self._text()
        self._follows, self.error = False, ""

    def _dragged(self, place: float) -> None:
        # The page answers a new value with its nearest step; that is no drag.
        if self._follows or abs(self._steps(place) - self._steps(self.value)) < 0.51:
            return
        self._dragging = True
        try:
            self.value = min(max(float(f"{place:.4g}"), self.low), self.high)
        finally:
            self._dragging = False

    def _steps(self, place: float) -> float:
        is_log = isinstance(self.handle, widgets.FloatLogSlider)
        return (np.log10(place) if is_log else place) / self.handle.step

    def _typed(self, text: str) -> None:
        if self._follows:
            return
        try:
            self.value = text
        except ValueError as error:
            self.error = str(error)
        else:
            self.follow()

    def _text(self) -> str:
        return f"{self.value:.10g}"


def _point(value: Any) -> Any:
    """A typed number with a decimal comma, as one with a point; 1,500 may be either: left alone."""
    if not isinstance(value, str) or re.fullmatch(r"\s*[-−]?[1-9]\d*,\d{3}\s*", value):
        return value
    return re.sub(r"^(\s*-?\d*),(\d+\s*)$", r"\1.\2", value.replace("−", "-"))


def slider(label: str, unit: str, low: float, high: float, value: float) -> Number:
    """A labelled number with its unit, on a logarithmic scale."""
    # A step is about one pixel for the mouse, and 2 % for an arrow key; the field takes any number.
    handle = widgets.FloatLogSlider(value, min=np.log10(low), max=np.log10(high), step=0.01)
    return Number(f"{label} ({unit})", handle, low, high)


def knob(
    family: type[INR],
    low: float | None = None,
    high: float | None = None,
    value: float | None = None,
) -> Number:
    """A family's own slider; its ends and its start may be others than the family's."""
    _, symbol, unit, usual, lowest, highest, _ = family.knob
    ends = (lowest if low is None else low), (highest if high is None else high)
    return slider(symbol, unit, *ends, usual if value is None else value)


def whole(label: str, low: int, high: int, value: int) -> Number:
    """A labelled whole number."""
    return Number(label, widgets.IntSlider(value, low, high), low, high)


def choice(label: str, options: Any, value: Any = None) -> widgets.Dropdown:
    """A labelled choice among a few."""
    options = list(options)
    layout = widgets.Layout(width="26em", max_width="100%")
    return widgets.Dropdown(
        options=options,
        value=options[0] if value is None else value,
        description=label,
        style={"description_width": _LABEL},
        layout=layout,
    )


class File(widgets.HBox):
    """A file of the reader's own.

    Args:
      read: (name, content) → value; what it raises is said, and the value before stays.
      accept: endings or types that the page offers, such as ".wav,image/*".
      what: a word for it, such as "picture".

    Attributes:
      value: what the file was read as; None before there is one.
      error: why the last file was not taken.
    """

    value = traitlets.Any(None, allow_none=True)
    error = traitlets.Unicode()

    def __init__(self, read: Callable[[str, bytes], Any], accept: str, what: str):
        self.read, self.what = read, what
        self.button = widgets.FileUpload(accept=accept, description=f"own {what}")
        super().__init__([self.button])
        self.button.observe(lambda change: self._take(change["new"]), names="value")

    def follow(self) -> None:
        """A file that was not taken is forgotten."""
        self.error = ""

    def _take(self, files: tuple) -> None:
        if not files:
            return
        self.error = ""
        try:
            self.value = self.read(files[0]["name"], bytes(files[0]["content"]))
        except Exception as error:  # whatever a damaged file makes of its decoder
            self.error = words(error)
        finally:
            self.button.value = ()  # the same file may be chosen again


class Upload(File):
    """A picture of the reader's own: (size, size, 3) in [0, 1]."""

    def __init__(self, size: int, smallest: int = 32):
        self.size = size
        read = lambda name, content: signals.picture(content, size, smallest)
        super().__init__(read, "image/*", "picture")

    @traitlets.validate("value")
    def _check(self, proposal):
        if (pixels := proposal["value"]) is None:
            return None
        pixels = signals.check_picture(pixels, 3)
        if pixels.shape[:2] != (self.size, self.size):
            raise ValueError(f"picture: it must have {self.size}×{self.size} pixels.")
        if np.ptp(pixels.mean(axis=-1)) < 0.01:
            raise ValueError("picture: it is all of one brightness; take one with some contrast.")
        return pixels


def words(error: Exception) -> str:
    """What is said of an error: its message where that is meant for the reader, else its type."""
    if isinstance(error, EXPECTED) and str(error):
        return str(error)
    return f"Unexpected {type(error).__name__}: {error}"
