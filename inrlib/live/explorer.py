"""An explorer: a figure that follows its controls.

It is declared by three things, and a fourth where something is trained:

    controls   widgets by name,
    compute    (**values) → frame, a mapping of parts by name: the only place where something is
               computed. With an argument `previous` it is given the frame before.
    draw       (**first frame) → (figure, {name: update}): artists made once; each update takes the
               part of that name.
    train      (**values) → iterator of (finished share, parts that have changed).

One move goes once round: control → compute → frame → updates → `Canvas` → picture in the page. The
page sends a control's newest value only after the last frame has come back; so nothing queues up,
and the last position always wins. An error in `compute` appears under the figure, the last good
frame stays, and the controls go on working. Where there is no front end (papermill, an exported
page), the current frame is shown as a plain image.

>>> from inrlib import plots
>>> from inrlib.live import slider
>>> def draw(y):
...     fig, ((ax,),) = plots.figure()
...     update = plots.curves(ax, [0, 1], {"y": y})
...     return fig, {"y": lambda y: update({"y": y})}
>>> explorer = Explorer({"x": slider("x", "units", 1, 10, 2)}, lambda x: {"y": [0, x]}, draw)
>>> explorer.at(x=5).frame
{'y': [0, 5.0]}
"""

import base64
import functools
import gc
import html
import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

import ipywidgets as widgets
import jax
import numpy as np
import traitlets
from PIL import Image
from threadpoolctl import ThreadpoolController

from inrlib import plots
from inrlib.live.canvas import DENSITY, Canvas
from inrlib.live.controls import Number, Upload, words
from inrlib.live.page import slide, small_enough

__all__ = ["Explorer", "Frame", "named"]

Frame = Mapping[str, Any]
"""What is shown, part by part; a part without an update of its name is for the next frame."""

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
      compute, draw, train: as above. Without `train` there is no button for it.

    The first slider is the main one: the one that a reader moves first, and that an exported page
    keeps.

    Attributes:
      main: the first slider's name; None without a slider.
      frame: the one that is shown.
      remembers: whether `compute` is given the frame before.
      source: the call that makes this explorer, as code (see `named`).
      failure: why there is no frame for the present values; empty when there is.
    """

    source = "explorer"

    def __init__(
        self,
        controls: Mapping[str, widgets.Widget],
        compute: Callable[..., Frame],
        draw: Callable[..., tuple[plots.Figure, Mapping[str, Callable[[Any], None]]]],
        train: Callable[..., Iterator[tuple[float, Frame]]] | None = None,
    ):
        self.controls, self.compute, self.train = dict(controls), compute, train
        self.main = next((name for name, c in controls.items() if isinstance(c, Number)), None)
        self.remembers = "previous" in inspect.signature(compute).parameters
        self.frame = None
        self.frame = self._computed()
        self.figure, self.updates = draw(**self.frame)
        self._lapack = ThreadpoolController()  # finds it, now that it is loaded
        self.figure.set_dpi(DENSITY * self.figure.get_dpi())
        self.canvas = Canvas(self.figure)
        self._defaults, self._waits, self._lock = self.values, False, threading.Lock()
        self._cost = 0.0, 0.0  # seconds: computing and drawing of the last frame
        self.failure, self._trained = "", False
        self._entries = [c for c in self.controls.values() if c.has_trait("error")]
        self._lay_out()
        for control in self.controls.values():
            control.observe(lambda change: self._moved(), names="value")
        for entry in self._entries:
            entry.observe(lambda change: self._report(), names="error")
        self.button.on_click(lambda _: self._train())
        self.reset.on_click(lambda _: self._reset())
        self.show()  # a second frame, so that all that a move needs is compiled
        _settle_memory()

    def _lay_out(self) -> None:
        """The box that the page shows: controls and buttons, the picture, a line below it."""
        width = f"{self._width() + 12}px"  # and the card around it
        self.image = widgets.Image(
            format="jpeg", layout=widgets.Layout(width=width, max_width="100%")
        )
        self.image.add_class("inrlib-frame")
        self.status = widgets.HTML()
        self.button = widgets.Button(description="Train to the end", icon="play")
        self.progress = widgets.FloatProgress(max=1.0, layout=widgets.Layout(display="none"))
        self.reset = widgets.Button(description="Reset", icon="undo")
        actions = [self.button, self.reset, self.progress] if self.train else [self.reset]
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        panel = widgets.Box([*self.controls.values(), *actions], layout=row)
        self.box = widgets.VBox([widgets.HTML(STYLE), panel, self.image, self.status])
        self.box.add_class("inrlib")

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
            self.show()
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

    def _computed(self) -> Frame:
        before = {"previous": self.frame} if self.remembers else {}
        return jax.block_until_ready(self.compute(**self.values, **before))

    def show(self, make: Callable[[], Frame] | None = None, doing: str = "computing …") -> None:
        """Makes a frame for the current values and shows it, or shows why it cannot."""
        start = perf_counter()
        self._trained = False
        busy = threading.Timer(0.15, self._busy, [doing])
        busy.start()
        try:
            # LAPACK's threads and XLA's get in each other's way: stalls of 30 ms, at times of 2 s.
            with self._lapack.limit(limits=1, user_api="blas"):
                frame = (make or self._computed)()
            computed = perf_counter()
            self.draw(frame)
        except KeyboardInterrupt:
            self.failure = "Stopped; the figure shows the frame before."
        except Exception as error:
            self.failure = words(error)
        else:
            self.failure = ""
            self._cost = computed - start, perf_counter() - computed
            for entry in self._entries:
                if entry.error:  # what was refused before this frame is over
                    entry.follow()
        finally:
            busy.cancel()
        self._report()

    def draw(self, frame: Frame) -> None:
        """Shows a frame: every update gets the part of its name."""
        for name, update in self.updates.items():
            update(frame[name])
        self.canvas.refresh()
        # A frame lives for a fraction of a second: the fastest format, without its blur of
        # colours. `_repr_mimebundle_` stores the exact one.
        self.image.value = self.canvas.encode("jpeg", quality=90, subsampling=0)
        self.frame = frame

    def _moved(self) -> None:
        if not self._waits:
            self.show()

    def _reset(self) -> None:
        self._set(self._defaults)
        self.show()

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
        try:
            self.show(self._finished, "training … (interrupt the kernel to stop)")
            self._trained = not self.failure
        finally:
            self.button.disabled = False
            self.progress.layout.display = "none"

    def _finished(self) -> Frame:
        frame = self.frame
        for share, parts in self.train(**self.values):
            self.progress.value, frame = share, {**frame, **parts}
        return jax.block_until_ready(frame)

    def frames(self, count: int, limit: int = 2**20) -> dict[str, Any]:
        """The main slider's frames for a page without a kernel, small enough for it.

        Args:
          count: positions along the slider, spaced as on it; its own value is among them.
          limit: bytes of all pictures together. A position without a frame is left out.

        Returns:
          The arguments of `page.slide`.

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
        return {
            "label": control.label,
            "values": list(texts.values()),
            "first": list(texts).index(here),
            "width": self._width(),
            "images": small_enough(pictures, limit),
        }

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        bundle = self.box._repr_mimebundle_()
        still = self.canvas.encode("png", density=1, optimize=True)
        bundle["image/png"] = base64.b64encode(still).decode()
        if (count := int(os.environ.get("INRLIB_FRAMES", 0))) and self.main:
            bundle["text/html"] = slide(**self.frames(count))
        return bundle


def _settle_memory() -> None:
    """Collects garbage now, and lets the collector leave what remains alone until the next time.

    Going through all that JAX and Flax keep takes 0.1 s, and would stall a drag now and then.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


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
