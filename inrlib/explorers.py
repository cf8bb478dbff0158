"""ipywidgets: controls → one computation → artists.

An `Explorer` is a figure that answers to sliders. It is declared by three things:

    controls   widgets by name,
    compute    (**values) → frame, the only place where something is computed,
    draw       (first frame) → (figure, update), artists made once; update(frame) changes them.

The order of events is that of the page: a slider sends its newest value only after the last frame
has come back, so nothing queues up and the last position always wins. An error in `compute` appears
under the figure, the last good frame stays, and the controls go on working. Where there is no
front end (papermill, an exported page), the first frame is shown as a plain image.
"""

import base64
import html
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from time import perf_counter
from typing import Any

import ipywidgets as widgets
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from inrlib import networks, plots, signals, spectra
from inrlib.fitting import fit, readout
from inrlib.networks import FFN, SIREN, SingleFrequency

__all__ = ["Explorer", "aliasing", "first_look", "imperfect_recovery", "slider"]

EXPECTED = (ValueError, FloatingPointError, FileNotFoundError, MemoryError)
"""Errors whose message is meant for the reader; any other is a bug and shows its type as well."""


def slider(
    label: str, unit: str, low: float, high: float, value: float, log: bool = True
) -> widgets.Widget:
    """A labelled slider whose value can also be typed; logarithmic unless told otherwise."""
    style = {"description_width": "9em"}
    layout = widgets.Layout(width="30em", max_width="100%")
    common = {"description": f"{label} ({unit})", "value": value, "style": style, "layout": layout}
    if log:
        bounds = {"min": np.log10(low), "max": np.log10(high), "step": 0.01}
        return widgets.FloatLogSlider(**bounds, readout_format=".3g", **common)
    return widgets.FloatSlider(min=low, max=high, step=(high - low) / 200, **common)


class Explorer:
    """A figure that follows its controls.

    Args:
      controls: widgets by name; `value` is what `compute` gets under that name.
      compute: (**values) → frame.
      train: (report, **values) → frame, behind a button with a progress bar; `report(share)` takes
        the finished share in [0, 1]. None: no button.
      draw: (first frame) → (figure, update); update(frame) changes the artists.
    """

    def __init__(
        self,
        controls: Mapping[str, widgets.Widget],
        compute: Callable[..., Any],
        train: Callable[..., Any] | None,
        draw: Callable[[Any], tuple[plots.Figure, Callable[[Any], None]]],
    ):
        self.controls, self.compute, self.train = dict(controls), compute, train
        self.figure, self.update = draw(compute(**self.values))
        self.canvas = FigureCanvasAgg(self.figure)
        self.canvas.draw()
        self.figure.set_layout_engine("none")  # the layout is settled; solving it costs 20 ms
        self.image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.status = widgets.HTML()
        self.button = widgets.Button(description="Train to the end", icon="play")
        self.progress = widgets.FloatProgress(max=1.0, layout=widgets.Layout(visibility="hidden"))
        self.reset = widgets.Button(description="Reset", icon="undo")
        actions = [self.button, self.reset, self.progress] if train else [self.reset]
        self.box = widgets.VBox(
            [
                widgets.Box(
                    [*self.controls.values(), *actions],
                    layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
                ),
                self.image,
                self.status,
            ]
        )
        self._defaults = self.values
        for control in self.controls.values():
            control.observe(lambda change: self.show(self.compute), names="value")
        self.button.on_click(lambda _: self._train())
        self.reset.on_click(lambda _: self._restore())
        self.show(self.compute)

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    def show(self, make: Callable[..., Any]) -> None:
        """Makes a frame for the current values and shows it, or shows why it cannot."""
        start = perf_counter()
        try:
            frame = jax.block_until_ready(make(**self.values))
            computed = perf_counter()
            self.update(frame)
            self.image.value = self._png()
        except EXPECTED as error:
            self._say(f"<b style='color:#d55e00'>{html.escape(str(error))}</b>")
        except Exception as error:
            text = html.escape(f"{type(error).__name__}: {error}")
            self._say(f"<b style='color:#d55e00'>Unexpected {text}</b>")
        else:
            device = jax.devices()[0].device_kind
            self._say(
                f"<span style='opacity:.65'>{device.upper() if device == 'cpu' else device} · "
                f"computed in {1e3 * (computed - start):.0f} ms, "
                f"drawn in {1e3 * (perf_counter() - computed):.0f} ms</span>"
            )

    def _say(self, text: str) -> None:
        self.status.value = text

    def _png(self) -> bytes:
        self.canvas.draw()
        buffer = BytesIO()
        # The lowest compression: a frame lives for a fraction of a second.
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]).save(
            buffer, format="png", compress_level=1
        )
        return buffer.getvalue()

    def _train(self) -> None:
        self.button.disabled, self.progress.value = True, 0.0
        self.progress.layout.visibility = "visible"
        self._say("training …")
        try:
            self.show(partial(self.train, partial(setattr, self.progress, "value")))
        finally:
            self.button.disabled = False
            self.progress.layout.visibility = "hidden"

    def _restore(self) -> None:
        for name, value in self._defaults.items():
            self.controls[name].value = value
        self.show(self.compute)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        bundle = self.box._repr_mimebundle_()
        bundle["image/png"] = base64.b64encode(self.image.value).decode()
        return bundle


def _follow(
    network: networks.INR,
    theta: networks.Theta,
    samples: tuple[jax.Array, jax.Array],
    look: Callable[[networks.Theta], Any],
    steps: int,
    learning_rate: float,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What Section 4's explorers compute: at once, and behind the button.

    At once: the network at initialisation with its last layer fitted by least squares. That is
    exact, takes milliseconds, and spans the same harmonics as the trained network. Behind the
    button: all layers trained with Adam. `look` turns the numbers into a frame.
    """
    exact = jax.jit(lambda theta: look(readout(network, theta, *samples)))
    look = jax.jit(look)

    def compute(**settings):
        return exact(networks.tune(theta, **settings))

    def train(report, **settings):
        start = networks.tune(theta, **settings)
        tell = lambda step: report(step / steps)  # noqa: E731
        options = {"steps": steps, "learning_rate": learning_rate, "progress": tell}
        return look(fit(network, start, *samples, **options).theta)

    return compute, train


def _choose(family: str, families: Mapping[str, Any]) -> Any:
    if family not in families:
        raise ValueError(f"family={family!r} has no explorer here; choose {' or '.join(families)}.")
    return families[family]


def first_look(seed: int = 0) -> Explorer:
    """A SIREN before any training: the function that ω0 makes, and its spectrum."""
    network = SIREN(widths=(64, 64), mapping_width=64)
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r = jnp.asarray(signals.grid(512), jnp.float32)

    @jax.jit
    def look(theta):
        f = network.apply(theta, r)
        f = (f - f.mean()) / f.std()
        return f[:, 0], spectra.decibels(spectra.lines(f)[1][:, 0])

    def draw(frame):
        fig, ((left, right),) = plots.figure(1, 2, width=9.6, height=3)
        colours = {"f": plots.COLOURS["SIREN"]}
        labels = {"xlabel": "coordinate r", "ylabel": "f(r), scaled to variance 1"}
        curve = plots.curves(left, r[:, 0], {"f": frame[0]}, colours, **labels)
        stem = plots.stems(right, np.arange(257), {"f": frame[1]}, colours)
        left.set(ylim=(-3.5, 3.5), title="an untrained SIREN")
        right.set_title("its spectrum")

        def update(frame):
            curve({"f": frame[0]})
            stem({"f": frame[1]})

        return fig, update

    controls = {"omega0": slider("ω0", "rad per unit", 3, 300, 30)}
    return Explorer(controls, lambda omega0: look(networks.tune(theta, omega0=omega0)), None, draw)


def aliasing(
    family: str = "SIREN", seed: int = 0, frequency: int = 23, rate: int = 128
) -> Explorer:
    """Section 4.2: a tone learned from `rate` samples, looked at on a grid twice as fine.

    Args:
      family: "SIREN", with a slider for ω0, or "FFN", with a slider for σ.
      seed: of the initial weights.
      frequency: of the tone, in Hz.
      rate: training samples on [0, 1). The alias falls at rate − frequency.

    Raises:
      ValueError: another family.
    """
    network, controls = _choose(
        family,
        {
            "SIREN": (
                SIREN(widths=(128,), mapping_width=128),
                {"omega0": slider("ω0", "rad per unit", 10, 400, 300)},
            ),
            "FFN": (
                FFN(widths=(128, 128), mapping_width=256),
                {"sigma": slider("σ", "cycles per unit", 1, 200, 100)},
            ),
        },
    )
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r, finer = (jnp.asarray(signals.grid(size), jnp.float32) for size in (rate, 2 * rate))
    g, target = (jnp.asarray(signals.tone(frequency, r), jnp.float32) for r in (r, finer))

    def look(theta):
        f = network.apply(theta, finer)
        return f[:, 0], spectra.decibels(spectra.lines(f)[1][:, 0])

    def draw(frame):
        fig, ((left, right),) = plots.figure(1, 2, width=9.6, height=3.2)
        colours = {"target": plots.COLOURS["target"], family: plots.COLOURS[family]}
        labels = {"xlabel": "coordinate r", "ylabel": "signal"}
        pair = {"target": target[:, 0], family: frame[0]}
        curve = plots.curves(left, finer[:, 0], pair, colours, **labels)
        left.plot(r[:, 0], g[:, 0], "o", ms=5, color=plots.COLOURS["target"], label="samples")
        left.set(xlim=(0, 0.25), ylim=(-2, 2))
        plots.legend(left, ncols=3)
        pair = {"target": spectra.decibels(spectra.lines(target)[1][:, 0]), family: frame[1]}
        marks = (frequency, rate - frequency)
        stem = plots.stems(right, np.arange(rate + 1), pair, colours, marks=marks)

        def update(frame):
            curve({family: frame[0]})
            stem({family: frame[1]})

        return fig, update

    return Explorer(controls, *_follow(network, theta, (r, g), look, 2000, 1e-4), draw)


def imperfect_recovery(
    family: str = "single frequency", pixels: np.ndarray | None = None, seed: int = 0
) -> Explorer:
    """Section 4.1: a picture through a mapping that may not reach all frequencies.

    Args:
      family: "single frequency", with a slider for f0, or "FFN", with a slider for σ.
      pixels: (H, W, 3) in [0, 1], H and W at least 32; None takes the astronaut at 64×64.
      seed: of the initial weights.

    Raises:
      ValueError: another family, or a picture that `signals.check_picture` refuses.
    """
    network, controls = _choose(
        family,
        {
            "single frequency": (
                SingleFrequency((128, 128, 128), 3),
                {"f0": slider("f0", "cycles per unit", 0.25, 4, 1)},
            ),
            "FFN": (
                FFN((128, 128, 128), 3, mapping_width=128),
                {"sigma": slider("σ", "cycles per unit", 0.1, 30, 10)},
            ),
        },
    )
    pixels = signals.picture(size=64) if pixels is None else signals.check_picture(pixels, 3)
    r, g = signals.samples(pixels)
    theta = networks.init(network, jax.random.key(seed), dims=2)

    def look(theta):
        f = network.apply(theta, r).reshape(pixels.shape)
        level = spectra.decibels(spectra.centred(f))
        return f, level, spectra.centre_crop(level, 32)

    def draw(frame):
        fig, (axes,) = plots.figure(1, 4, width=10.5, height=3.1)
        plots.picture(axes[0], pixels, "target")
        picture = plots.picture(axes[1], frame[0], "reconstruction")
        level = plots.spectrum(axes[2], frame[1], title="DFT magnitude")
        crop = plots.spectrum(axes[3], frame[2], title="its centre, 32×32")
        fig.colorbar(axes[3].images[0], ax=axes[3], label="dB", shrink=0.8)

        def update(frame):
            for change, part in zip((picture, level, crop), frame, strict=True):
                change(part)

        return fig, update

    return Explorer(controls, *_follow(network, theta, (r, g), look, 500, 1e-3), draw)
