"""An explorer: a figure that follows its controls.

It is declared by three things, and a fourth where something is trained:

    controls   widgets by name,
    compute    (**values) → frame, a mapping of parts by name: the only place where something is
               computed. With an argument `previous` it is given the frame before.
    draw       (**first frame) → (figure, {name: update}): artists made once; each update takes the
               part of that name.
    train      (pace, **values) → `Stages`: what real training changes, stretch by stretch.

One move goes once round: control → compute → frame → updates → `Canvas` → picture in the page. The
page sends a control's newest value only after the last frame has come back; so nothing queues up,
and the last position always wins. What `compute` shows is exact. Once the slider rests, `train`
refines it in place (see `training`); the next move ends that. An error appears under the figure,
the last good frame stays, and the controls go on working; so a `compute` that finds fault with what
an explorer was opened with gives its first frame all the same, and says so from then on. Where no
reader is (papermill, an exported page), the frame at the end of the training is shown as a plain
image.

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

import asyncio
import base64
import functools
import gc
import html
import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

import ipywidgets as widgets
import jax
import numpy as np
import traitlets
from PIL import Image
from threadpoolctl import ThreadpoolController

from inrlib import alt, plots
from inrlib.live import cells
from inrlib.live.canvas import DENSITY, Canvas, Picture
from inrlib.live.controls import File, Number, words
from inrlib.live.page import slide, small_enough
from inrlib.live.training import REST, Stages, Training

__all__ = ["Explorer", "Frame", "named"]

Frame = Mapping[str, Any]
"""What is shown, part by part; a part without an update of its name is for the next frame."""

NAMES = (
    "var box=this.closest('.inrlib'),"
    "set=function(e,k,v){if(e.getAttribute(k)!==v)e.setAttribute(k,v)},"
    "name=function(){box.querySelectorAll('.noUi-handle').forEach(function(h){"
    "var row=h.closest('.widget-hbox'),label=row.querySelector('.widget-label').textContent,"
    "field=row.querySelector('.widget-text input');set(h,'aria-label',label);"
    "if(field){set(field,'aria-label','type '+label);set(h,'aria-valuetext',field.value)}})};"
    "new MutationObserver(name).observe(box,{childList:true,subtree:true,attributes:true,"
    "attributeFilter:['aria-valuetext','src']});name()"
)
"""Runs in the page: ipywidgets leaves a slider's handle and its field without a name, and has the
handle say the logarithm of its value. Here they are named by their label, and say what is shown."""

STYLE = (
    f'<style onload="{NAMES}">'
    + """
.inrlib-frame { background: white; padding: 6px; border-radius: 6px; height: auto;
  box-sizing: border-box; }
.inrlib-note { opacity: 0.75; font-size: 90%; }
.inrlib-error { color: var(--jp-error-color1, #b3261e); font-weight: 600; }
.inrlib-note a { text-decoration: underline; cursor: pointer; }
.inrlib-words { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
/* The arrow of ipywidgets' menus is black in every theme. */
[data-jp-theme-light="false"] .inrlib select { --jp-widgets-dropdown-arrow: url("\
data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18' fill='none' \
stroke='%23e0e0e0' stroke-width='2'%3E%3Cpath d='M5 7l4 4 4-4'/%3E%3C/svg%3E"); }
</style>"""
)

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
      compute, draw, train: as above. Without `train` there are no buttons for it.
      stops: values of the main slider that a page without a kernel has in any case.

    The first slider is the main one: the one that a reader moves first, and that an exported page
    keeps.

    Attributes:
      main: the first slider's name; None without a slider.
      frame: the one that is shown.
      remembers: whether `compute` is given the frame before.
      training: see `training.Training`; None where nothing is trained.
      source: the call that makes this explorer, as code (see `named`).
      failure: why there is no frame for the present values; empty when there is.
    """

    source = "explorer"

    def __init__(
        self,
        controls: Mapping[str, widgets.Widget],
        compute: Callable[..., Frame],
        draw: Callable[..., tuple[plots.Figure, Mapping[str, Callable[[Any], None]]]],
        train: Callable[..., Stages] | None = None,
        stops: Sequence[float] = (),
    ):
        self.controls, self.compute, self.stops = dict(controls), compute, stops
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
        self.failure, self._telling = "", None
        self.training = train and Training(
            lambda: train(self.training.pace, **self.values), self._refine, self._fail
        )
        self._entries = [c for c in self.controls.values() if c.has_trait("error")]
        self._lay_out()
        for control in self.controls.values():
            control.observe(lambda change: self._moved(), names="value")
        for entry in self._entries:
            entry.observe(lambda change: self._report(), names="error")
        self.reset.on_click(lambda _: self._reset())
        self.image.value = self._encoded()
        self._told()
        self.show()  # a second frame, so that all that a move needs is compiled
        if self.training and not self.failure:
            self.training.warm_up()
        _settle_memory()

    def _lay_out(self) -> None:
        """The box that the page shows: controls and buttons, the picture, a line below it."""
        width = f"{self._width() + 12}px"  # and the card around it
        self.image = Picture(format="jpeg", layout=widgets.Layout(width=width, max_width="100%"))
        self.image.add_class("inrlib-frame")
        self.status, self.words = widgets.HTML(), widgets.HTML()
        self.status.add_class("inrlib-status")
        self.words.add_class("inrlib-words")
        self.reset = widgets.Button(description="Reset", icon="undo")
        actions = [*self.training.buttons, self.reset] if self.training else [self.reset]
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        panel = widgets.Box([*self.controls.values(), *actions], layout=row)
        parts = [widgets.HTML(STYLE), panel, self.image, self.status, self.words]
        self.box = widgets.VBox(parts)
        self.box.add_class("inrlib")

    def close(self) -> None:
        """Gives back what the explorer holds; the page shows it no more, and it makes no frames."""
        if self.training:
            self.training.cancel()
        if self._telling:
            self._telling.cancel()
        for widget in _within(self.box):
            widget.close()
        self.compute, self.frame, self.training = _closed, None, None
        self.figure, self.updates, self.canvas = None, {}, None

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
                if control.has_trait("options") and value not in control.options:
                    choices = ", ".join(map(str, control.options))
                    raise ValueError(f"{name}={value!r:.40} is no choice here; take {choices}.")
                if value is None and isinstance(control, Number):  # traitlets lets None pass
                    raise ValueError(f"{control.label}: None is no number.")
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
        own = [c for c in self.controls.values() if isinstance(c, File) and c.value is not None]
        return f"{code}  # upload the {own[0].what} again" if own else code

    def _computed(self) -> Frame:
        before = {"previous": self.frame} if self.remembers else {}
        return jax.block_until_ready(self.compute(**self.values, **before))

    def show(self) -> None:
        """Makes a frame for the controls' values and shows it, or shows why it cannot."""
        if self.training:
            self.training.cancel()
        with self._in_place("computing …"):
            start = perf_counter()
            frame = self._computed()
            computed = perf_counter()
            self.draw(frame)
            self._cost = computed - start, perf_counter() - computed

    def trained(self) -> "Explorer":
        """The explorer with its training carried out to the end, here and now."""
        if self.training:
            with self._in_place("training … (interrupt the kernel to stop)"):
                self.training.finish()
        return self

    @contextmanager
    def _in_place(self, doing: str) -> Iterator[None]:
        """What fails in here is said below the figure, which stays as it is."""
        busy = threading.Timer(0.15, self._busy, [doing])
        busy.start()
        try:
            with _one_thread(self._lapack):
                yield
        except KeyboardInterrupt:
            self.failure = "Stopped; the figure shows the frame before."
        except Exception as error:
            self.failure = words(error)
        else:
            self.failure = ""
            for entry in self._entries:
                if entry.error:  # what was refused before this frame is over
                    entry.follow()
        finally:
            busy.cancel()
        self._report()

    def _refine(self, parts: Frame) -> None:
        self.draw({**self.frame, **jax.block_until_ready(parts)})

    def _fail(self, error: Exception) -> None:
        self.failure = words(error)
        self._report()

    def draw(self, frame: Frame) -> None:
        """Shows a frame: every update gets the part of its name."""
        for name, update in self.updates.items():
            update(frame[name])
        self.canvas.refresh()
        self.image.value = self._encoded()
        self.frame = frame
        self._tell()

    def _tell(self) -> None:
        """Once the picture rests, its words follow: a screen reader is not to stammer in a drag."""
        if self._telling:
            self._telling.cancel()
        try:
            self._telling = asyncio.get_running_loop().call_later(REST, self._told)
        except RuntimeError:  # no event loop, no drag
            self._told()

    def _told(self) -> None:
        self.image.tooltip = text = self.alt
        self.words.value = f"<span role='status'>{html.escape(text)}</span>"

    @property
    def alt(self) -> str:
        """The picture in words: where its main slider stands, and what is drawn."""
        main = self.controls.get(self.main)
        return alt.describe(self.figure, f"{main.label} = {main.field.value}" if main else "")

    def _encoded(self) -> bytes:
        # A frame lives for a fraction of a second: the fastest format, without its blur of
        # colours. `_repr_mimebundle_` stores the exact one.
        return self.canvas.encode("jpeg", quality=90, subsampling=0)

    def _moved(self) -> None:
        if not self._waits:
            self.show()
            self._go_on()

    def _reset(self) -> None:
        self._set(self._defaults)
        self.show()
        self._go_on()

    def _go_on(self) -> None:
        if self.training and not self.failure:
            self.training.start()

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

    def frames(self, count: int, limit: int = 2**20) -> dict[str, Any]:
        """The main slider's frames for a page without a kernel, small enough for it.

        Args:
          count: positions along the slider, round numbers spaced as on it, beside its own value and
            `stops`.
          limit: bytes of all pictures together. A position without a frame is left out.

        Returns:
          The arguments of `page.slide`.

        Raises:
          ValueError: too many pictures for the limit.
        """
        control = self.controls[self.main]
        here = control.value
        count = min(count, 3) if self.training else count  # seconds each
        places = sorted({here, *self.stops, *_round_places(control, count, (here, *self.stops))})
        last = here if self.training else None  # else it would be trained again at the end
        found = {}
        for place in sorted(places, key=lambda place: (place == last, place)):
            with suppress(ValueError):
                self.at(**{self.main: place}).trained()
                picture = Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3])
                found[place] = (control.field.value, picture, self.alt)
        if last not in found:
            self.at(**{self.main: here}).trained()
        values, pictures, told = zip(*(found[place] for place in sorted(found)), strict=True)
        return {
            "label": control.label,
            "values": list(values),
            "first": sorted(found).index(here),
            "width": self._width(),
            "images": small_enough(pictures, limit),
            "alts": list(told),
        }

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        count = int(os.environ.get("INRLIB_FRAMES", 0)) if self.main else 0
        stored = {"text/html": slide(**self.frames(count))} if count else {}
        cells.show(self)
        if cells.reader_is_there():
            self._go_on()
        elif not stored:  # else the last frame is the trained one
            self.trained()
        still = self.canvas.encode("png", density=1, optimize=True)
        picture = {"image/png": base64.b64encode(still).decode()}
        words = {"image/png": {"alt": self.alt}}
        return self.box._repr_mimebundle_() | picture | stored, words


def _round_places(control: Number, count: int, kept: Sequence[float]) -> list[float]:
    """Round numbers along a slider, and its ends; none of them close to one that is kept."""
    handle, low, high = control.handle, control.low, control.high
    if isinstance(handle, widgets.IntSlider):
        return np.unique(np.linspace(low, high, count).round().astype(int)).tolist()
    digits = (1, 1.5, 2, 3, 4, 5, 6, 8)
    numbers = [d * 10.0**p for p in range(-2, 4) for d in digits if low < d * 10.0**p < high]
    apart, chosen = (handle.max - handle.min) / (count - 1), [*kept, low, high]
    for number in numbers:
        if np.abs(np.log10(np.array(chosen) / number)).min() > 0.75 * apart:
            chosen.append(round(number, 4))
    return chosen


def _within(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """The widget, and all that lie in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _within(child)


def _closed(**_: Any) -> Frame:
    raise ValueError("this explorer was closed when its cell was run again; take the new one.")


_limited = threading.Lock()


@contextmanager
def _one_thread(lapack: ThreadpoolController) -> Iterator[None]:
    """One thread for LAPACK while an explorer computes.

    Its threads and XLA's get in each other's way: stalls of 30 ms, at times of 2 s. Only the thread
    that set the limit can lift it. So an explorer that computes in a second thread at the same time
    leaves the limit alone, and a limit that was found is never taken for the usual state.
    """
    if not _limited.acquire(blocking=False):
        yield
        return
    try:
        with lapack.limit(limits=1, user_api="blas"):
            yield
    finally:
        _limited.release()


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
