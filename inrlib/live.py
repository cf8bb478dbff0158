"""A figure that follows its controls: the one mechanism behind every explorer.

An `Explorer` is declared by three things:

    controls   widgets by name,
    compute    (**values) → frame, the only place where something is computed,
    draw       (first frame) → (figure, update), artists made once; update(frame) changes them.

One move goes once round: control → compute → update → `Canvas` → picture in the page. The page
sends a control's newest value only after the last frame has come back; so nothing queues up, and
the last position always wins. An error in `compute` appears under the figure, the last good frame
stays, and the controls go on working. Where there is no front end (papermill, an exported page),
the current frame is shown as a plain image.
"""

import base64
import functools
import gc
import html
import inspect
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO
from time import perf_counter
from typing import Any

import ipywidgets as widgets
import jax
import numpy as np
import traitlets
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.spines import Spine
from PIL import Image
from threadpoolctl import ThreadpoolController

from inrlib import plots, signals

__all__ = ["Canvas", "Explorer", "Number", "Upload", "choice", "named", "slider", "whole"]

EXPECTED = (ValueError, FloatingPointError, FileNotFoundError, MemoryError)
"""Errors whose message is meant for the reader; any other is a bug and shows its type as well."""

DENSITY = 1.5
"""Pixels of a frame per pixel of the page, along each side: sharp on a screen of high density, and
half the time of 2 to draw, decode and paint."""

FRAMES = "application/vnd.inrlib.frames+json"
"""What an explorer adds to a page that has no kernel: its main slider's frames."""


# --- Controls ----------------------------------------------------------------------------------


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
        handle.style = {"description_width": "11em"}
        handle.layout = widgets.Layout(width="26em", max_width="100%")
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
            value = float(proposal["value"])
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
            self.value = text.replace("−", "-")
        except ValueError as error:
            self.error = str(error)
        else:
            self.follow()

    def _text(self) -> str:
        return f"{self.value:.10g}"


def slider(label: str, unit: str, low: float, high: float, value: float) -> Number:
    """A labelled number with its unit, on a logarithmic scale."""
    # A step is about one pixel for the mouse, and 2 % for an arrow key; the field takes any number.
    handle = widgets.FloatLogSlider(value, min=np.log10(low), max=np.log10(high), step=0.01)
    return Number(f"{label} ({unit})", handle, low, high)


def whole(label: str, low: int, high: int, value: int) -> Number:
    """A labelled whole number."""
    return Number(label, widgets.IntSlider(value, low, high), low, high)


def choice(label: str, options: Any, value: Any = None) -> widgets.Dropdown:
    """A labelled choice among a few."""
    options = list(options)
    layout = widgets.Layout(width="24em", max_width="100%")
    return widgets.Dropdown(
        options=options,
        value=options[0] if value is None else value,
        description=label,
        style={"description_width": "11em"},
        layout=layout,
    )


class Upload(widgets.HBox):
    """A picture of the reader's own.

    Attributes:
      value: its pixels (size, size, 3) in [0, 1]; None before there is one.
      error: why the last file was not taken; the picture before it stays.
    """

    value = traitlets.Any(None, allow_none=True)
    error = traitlets.Unicode()

    def __init__(self, size: int, smallest: int = 32):
        self.size, self.smallest = size, smallest
        self.button = widgets.FileUpload(accept="image/*", description="own picture")
        super().__init__([self.button])
        self.button.observe(lambda change: self._take(change["new"]), names="value")

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

    def follow(self) -> None:
        """A file that was not taken is forgotten."""
        self.error = ""

    def _take(self, files: tuple) -> None:
        if not files:
            return
        self.error = ""
        try:
            self.value = signals.picture(bytes(files[0]["content"]), self.size, self.smallest)
        except Exception as error:  # whatever a damaged file makes of its decoder
            self.error = _words(error)
        finally:
            self.button.value = ()  # the same file may be chosen again


def _words(error: Exception) -> str:
    """What is said of an error: its message where that is meant for the reader, else its type."""
    if isinstance(error, EXPECTED) and str(error):
        return str(error)
    return f"Unexpected {type(error).__name__}: {error}"


# --- Drawing -----------------------------------------------------------------------------------


class Canvas(FigureCanvasAgg):
    """A figure drawn again and again, of which only what moves is drawn anew.

    Matplotlib marks an artist that was changed as stale. Those artists, and what may lie over them
    in the same axes, are left out of a background that is drawn once; a frame is the background
    with them on top, in the order of a full drawing. Axis labels and ticks, which cost nine tenths
    of a full drawing, are in the background. When an artist moves for the first time, or the limits
    of an axis change, there is a new background.
    """

    def __init__(self, figure: plots.Figure):
        super().__init__(figure)
        self.draw()
        figure.set_layout_engine("none")  # the layout is settled; solving it costs 20 ms
        self._moved: set[Artist] = set()  # ever
        self._drawn: list[Artist] = []  # in each frame: those, and what may lie over them
        self._background, self._limits = None, self._view()

    def refresh(self) -> None:
        """Draws what has changed since the last time."""
        moved = {a for ax in self.figure.axes for a in _movable(ax) if a.stale}
        if self._limits != self._view() or not moved <= set(self._drawn):
            self._moved |= moved
            self._renew()
        elif self._background is not None:
            self.restore_region(self._background)
        for artist in self._drawn:
            artist.axes.draw_artist(artist)

    def _view(self) -> list:
        return [ax.viewLim.bounds for ax in self.figure.axes]

    def _renew(self) -> None:
        rank = lambda artist: artist.zorder  # a stable sort keeps matplotlib's order of equals
        live = {artist.axes for artist in self._moved}
        self._drawn = [
            artist
            for ax in sorted((ax for ax in self.figure.axes if ax in live), key=rank)
            for artist in sorted(_movable(ax), key=rank)
            if artist in self._moved or artist not in _titles(ax)  # nothing lies over a title
        ]
        for artist in self._drawn:
            artist.set_animated(True)
        self.draw()
        self._background, self._limits = self.copy_from_bbox(self.figure.bbox), self._view()

    def encode(self, format: str, density: float = DENSITY, **options) -> bytes:
        """The frame as the bytes of an image file, at fewer pixels if `density` is smaller."""
        size, buffer = self.get_width_height(), BytesIO()
        image = Image.frombuffer("RGBX", size, self.buffer_rgba(), "raw", "RGBX", 0, 1)
        if format != "jpeg":  # JPEG leaves the fourth channel out by itself, without a copy
            image = _thin(image.convert("RGB"), density)
        image.save(buffer, format=format, **options)
        return buffer.getvalue()


def _thin(image: Image.Image, density: float) -> Image.Image:
    size = [round(side * density / DENSITY) for side in image.size]
    return image if density == DENSITY else image.resize(size, Image.Resampling.LANCZOS)


def _movable(ax) -> list[Artist]:
    """All that is drawn in an axes but its patch, its ticks and its labels."""
    left_out = Axis if ax.axison else (Axis, Spine)
    return [a for a in ax.get_children() if a is not ax.patch and not isinstance(a, left_out)]


def _titles(ax) -> tuple[Artist, ...]:
    return ax.title, ax._left_title, ax._right_title


# --- The explorer ------------------------------------------------------------------------------

STYLE = """<style>
.inrlib-frame { background: white; padding: 6px; border-radius: 6px; height: auto;
  box-sizing: border-box; }
.inrlib-note { opacity: 0.75; font-size: 90%; }
.inrlib-error { color: var(--jp-error-color1, #b3261e); font-weight: 600; }
.inrlib-note a { text-decoration: underline; cursor: pointer; }
/* The arrow of ipywidgets' menus is black in every theme. */
[data-jp-theme-light="false"] .inrlib select { --jp-widgets-dropdown-arrow: url("\
data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18' fill='none' \
stroke='%23e0e0e0' stroke-width='2'%3E%3Cpath d='M5 7l4 4 4-4'/%3E%3C/svg%3E"); }
</style>"""

COPY = (
    "var a=this,c=a.dataset.code,t=a.textContent,show=function(){window.prompt('Copy:',c)};"
    "if(navigator.clipboard){navigator.clipboard.writeText(c).then(function(){"
    "a.textContent='copied';setTimeout(function(){a.textContent=t},1500)},show)}"
    "else{show()}return false"
)
"""Runs in the page: the link carries its code; without a clipboard (plain http) it is shown."""


class Explorer:
    """A figure that follows its controls.

    Args:
      controls: widgets by name; `value` is what `compute` gets under that name.
      compute: (**values) → frame.
      train: (report, **values) → frame, behind a button with a progress bar; `report(share)` takes
        the finished share in [0, 1]. None: no button.
      draw: (first frame) → (figure, update); update(frame) changes the artists.

    The first slider is the main one: the one that a reader moves first, and that an exported page
    keeps.

    Attributes:
      main: the first slider's name; None without a slider.
      source: the call that makes this explorer, as code (see `named`).
      failure: why there is no frame for the present values; empty when there is.
    """

    source = "explorer"

    def __init__(
        self,
        controls: Mapping[str, widgets.Widget],
        compute: Callable[..., Any],
        train: Callable[..., Any] | None,
        draw: Callable[[Any], tuple[plots.Figure, Callable[[Any], None]]],
    ):
        self.controls, self.compute, self.train = dict(controls), compute, train
        self.main = next((name for name, c in controls.items() if isinstance(c, Number)), None)
        self.figure, self.update = draw(compute(**self.values))
        self._lapack = ThreadpoolController()  # finds it, now that it is loaded
        self.figure.set_dpi(DENSITY * self.figure.get_dpi())
        self.canvas = Canvas(self.figure)
        width = f"{self._width() + 12}px"  # and the card around it
        self.image = widgets.Image(
            format="jpeg", layout=widgets.Layout(width=width, max_width="100%")
        )
        self.image.add_class("inrlib-frame")
        self.status = widgets.HTML()
        self.button = widgets.Button(description="Train to the end", icon="play")
        self.progress = widgets.FloatProgress(max=1.0, layout=widgets.Layout(display="none"))
        self.reset = widgets.Button(description="Reset", icon="undo")
        actions = [self.button, self.reset, self.progress] if train else [self.reset]
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        panel = widgets.Box([*self.controls.values(), *actions], layout=row)
        self.box = widgets.VBox([widgets.HTML(STYLE), panel, self.image, self.status])
        self.box.add_class("inrlib")
        self._defaults, self._waits, self._lock = self.values, False, threading.Lock()
        self._cost = 0.0, 0.0  # seconds: computing and drawing of the last frame
        self.failure, self._trained = "", False
        self._entries = [c for c in self.controls.values() if c.has_trait("error")]
        for control in self.controls.values():
            control.observe(lambda change: self._moved(), names="value")
        for entry in self._entries:
            entry.observe(lambda change: self._report(), names="error")
        self.button.on_click(lambda _: self._train())
        self.reset.on_click(lambda _: self._reset())
        self.show(self.compute)  # a second frame, so that all that a move needs is compiled
        _settle_memory()

    def _width(self) -> int:
        return round(self.canvas.get_width_height()[0] / DENSITY)

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    def at(self, **values: Any) -> "Explorer":
        """The explorer with its controls at the given values: one frame, however many they are.

        Raises:
          ValueError: no such control, a value that it does not have, or no frame for these values;
            then none is moved.
        """
        if unknown := values.keys() - self.controls.keys():
            raise ValueError(f"at: no control {unknown}; there are {', '.join(self.controls)}.")
        before = self.values
        try:
            self._set(values)
            self.show(self.compute)
            if self.failure:
                raise ValueError(self.failure)
        except (ValueError, traitlets.TraitError) as error:
            self._set(before)
            self.failure = ""
            self._report()
            raise ValueError(f"at: {error}") from None
        return self

    def _set(self, values: Mapping[str, Any]) -> None:
        self._waits = True
        try:
            for name, value in values.items():
                control = self.controls[name]
                control.value = value
                if control in self._entries:
                    control.follow()
        finally:
            self._waits = False

    @property
    def code(self) -> str:
        """The explorer as it stands, as code."""
        plain = {k: v for k, v in self.values.items() if isinstance(v, (int, float, str))}
        changed = {name: v for name, v in plain.items() if v != self._defaults[name]}
        settings = ", ".join(f"{name}={_short(value)}" for name, value in changed.items())
        code = f"{self.source}.at({settings})" if settings else self.source
        own = any(isinstance(c, Upload) and c.value is not None for c in self.controls.values())
        return f"{code}  # upload the picture again" if own else code

    def show(self, make: Callable[..., Any], doing: str = "computing …") -> None:
        """Makes a frame for the current values and shows it, or shows why it cannot."""
        start = perf_counter()
        self._trained = False
        busy = threading.Timer(0.15, self._busy, [doing])
        busy.start()
        try:
            # LAPACK's threads and XLA's get in each other's way: stalls of 30 ms, at times of 2 s.
            with self._lapack.limit(limits=1, user_api="blas"):
                frame = jax.block_until_ready(make(**self.values))
            computed = perf_counter()
            self.update(frame)
            self.canvas.refresh()
            # A frame lives for a fraction of a second: the fastest format, without its blur of
            # colours. `_repr_mimebundle_` stores the exact one.
            self.image.value = self.canvas.encode("jpeg", quality=90, subsampling=0)
        except KeyboardInterrupt:
            self.failure = "Stopped; the figure shows the frame before."
        except Exception as error:
            self.failure = _words(error)
        else:
            self.failure = ""
            self._cost = computed - start, perf_counter() - computed
            for entry in self._entries:
                if entry.error:  # what was refused before this frame is over
                    entry.follow()
        finally:
            busy.cancel()
        self._report()

    def _moved(self) -> None:
        if not self._waits:
            self.show(self.compute)

    def _reset(self) -> None:
        self._set(self._defaults)
        self.show(self.compute)

    def _report(self) -> None:
        """The line below the figure: what was refused or has failed, else what the frame took."""
        refused = [entry.error for entry in self._entries if entry.error]
        if why := next(iter(refused), self.failure):
            self._say(f"<span class='inrlib-error' role='alert'>{html.escape(why)}</span>")
            return
        computing, drawing = self._cost
        device = jax.devices()[0].device_kind
        code = f"from inrlib import explorers\n{self.code}"
        self._say(
            f"<span class='inrlib-note'>{device.upper() if device == 'cpu' else device} · "
            f"computed in {1e3 * computing:.0f} ms, drawn in {1e3 * drawing:.0f} ms · "
            f"<a href='#' title='{html.escape(self.code)}' data-code='{html.escape(code)}' "
            f'onclick="{COPY}">copy these settings as code</a></span>'
        )

    def _busy(self, doing: str) -> None:
        with self._lock:
            if not threading.current_thread().finished.is_set():  # the frame came meanwhile
                self.status.value = f"<span class='inrlib-note'>{doing}</span>"

    def _say(self, text: str) -> None:
        with self._lock:
            self.status.value = text

    def _train(self) -> None:
        if self._trained:  # a second click, made before the button was seen to be disabled
            return
        self.button.disabled, self.progress.value = True, 0.0
        self.progress.layout.display = None
        report = partial(setattr, self.progress, "value")
        try:
            self.show(partial(self.train, report), "training … (interrupt the kernel to stop)")
            self._trained = not self.failure
        finally:
            self.button.disabled = False
            self.progress.layout.display = "none"

    def frames(self, count: int, limit: int = 2**20) -> dict[str, Any]:
        """The main slider's frames for a page without a kernel, small enough for it.

        Args:
          count: positions along the slider, spaced as on it; its own value is among them.
          limit: bytes of all pictures together; for it the quality is lowered, in four stages.
            A position without a frame is left out.

        Returns:
          {"label", "values": the positions as text, "first": the index of the present one,
          "width" in the page's pixels, "images": WebP in base64}.

        Raises:
          ValueError: too many pictures for the limit.
        """
        control = self.controls[self.main]
        handle, here = control.handle, control.value
        places = np.linspace(handle.min, handle.max, count)
        if isinstance(handle, widgets.FloatLogSlider):
            places = 10**places
        whole = isinstance(handle, widgets.IntSlider)
        places = sorted({round(x) if whole else float(f"{x:.3g}") for x in places} | {here})
        pictures, texts = [], {}
        for place in places:
            with suppress(ValueError):
                self.at(**{self.main: place})
                pictures.append(Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]))
                texts[place] = control.field.value
        self.at(**{self.main: here})
        for density, quality in ((DENSITY, 80), (DENSITY, 60), (1, 80), (1, 50)):
            images = [_webp(_thin(picture, density), quality) for picture in pictures]
            if sum(map(len, images)) <= limit:
                break
        else:
            raise ValueError(f"frames: {len(images)} pictures exceed {limit} bytes; ask for fewer.")
        encoded = [base64.b64encode(image).decode() for image in images]
        return {
            "label": control.label,
            "values": list(texts.values()),
            "first": list(texts).index(here),
            "width": self._width(),
            "images": encoded,
        }

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        bundle = self.box._repr_mimebundle_()
        still = self.canvas.encode("png", density=1, optimize=True)
        bundle["image/png"] = base64.b64encode(still).decode()
        if (count := int(os.environ.get("INRLIB_FRAMES", 0))) and self.main:
            bundle[FRAMES] = self.frames(count)
        return bundle


def _settle_memory() -> None:
    """Collects garbage now, and lets the collector leave what remains alone until the next time.

    Going through all that JAX and Flax keep takes 0.1 s, and would stall a drag now and then.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format="webp", quality=quality, method=2)
    return buffer.getvalue()


def _short(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else repr(value)


def named(make: Callable[..., Explorer]) -> Callable[..., Explorer]:
    """Lets an explorer remember the call that made it, so that it can be copied as code.

    An argument that is no number and no text, such as a picture, appears under its own name.
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def made(*args, **kwargs):
        explorer = make(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        texts = [
            f"{name}={value!r}" if isinstance(value, (int, float, str)) else f"{name}={name}"
            for name, value in given.items()
        ]
        explorer.source = f"explorers.{make.__name__}({', '.join(texts)})"
        explorer._report()  # its link was made without the name
        return explorer

    return made
