"""Data in, matplotlib artists out: one figure style for the whole suite.

Every function that draws into an axis returns a function `update(data)` which changes the artists
in place; an explorer calls it for each frame, a notebook ignores it. No pyplot: a `Figure` shows
itself as a PNG, so it needs no back end and looks the same under papermill and in JupyterLab.

>>> fig, ((ax,),) = figure()
>>> update = curves(ax, [0, 1], {"SIREN": [0, 1]}, COLOURS)
>>> update({"SIREN": [1, 0]})
"""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import matplotlib
import matplotlib.figure
import numpy as np
from jaxtyping import Array, Shaped
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from inrlib import alt

__all__ = [
    "COLOURS", "Figure", "atom", "atoms", "captioned", "colour", "comb", "curves", "figure",
    "legend", "orders", "picture", "plane", "recovery", "sampled_tones", "spectrum", "splitting",
    "stems", "title",
]  # fmt: skip

STYLE = {
    "figure.dpi": 100, "figure.facecolor": "white", "figure.constrained_layout.use": True,
    "font.size": 11, "axes.titlesize": 11, "axes.labelsize": 11, "axes.titleweight": "bold",
    "xtick.labelsize": 10, "ytick.labelsize": 10, "legend.fontsize": 10, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": False, "grid.color": "#dddddd", "lines.linewidth": 1.8, "image.cmap": "magma",
}  # fmt: skip
matplotlib.rcParams.update(STYLE)

COLOURS = {
    "target": "#000000",
    "SIREN": "#0072B2",
    "FFN": "#D55E00",
    "single frequency": "#009E73",
    "positional encoding": "#CC79A7",
    "MLP": "#E69F00",
    "MFN": "#56B4E9",
    "FINER": "#2020A0",
    "WIRE": "#503000",
    "Gaussian": "#D0D080",
    "STAF": "#5070F0",
    "IPE": "#504050",
    "prefiltered": "#0000F0",
    "grid": "#300048",
    "your own": "#C40038",
}
"""One colour for one family in every figure: the palette of Okabe and Ito (2008), and seven more
that lie further from it and from each other, with full and with two-colour vision, than the two
nearest of it do."""

Update = Callable[..., None]

Numbers = Shaped[Array | np.ndarray, "..."] | Sequence
"""What is drawn: an array of JAX or of NumPy, or a list."""


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that shows itself in a notebook without pyplot, and in words."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """The picture, and once more inside HTML: JupyterLab gives an image no `alt` of its own."""
        words, png = alt.describe(self), base64.b64encode(self._repr_png_()).decode()
        picture = f'style="max-width: 100%" src="data:image/png;base64,{png}"'
        img = f'<img alt="{html.escape(words)}" {picture}>'
        told = {"alt": words}
        if caption := self.get_label():
            told["caption"] = caption
            below = f"<figcaption>{html.escape(caption)}</figcaption>"
            img = f"<figure style='margin: 0'>{img}{below}</figure>"
        data = {"text/html": img, "image/png": png, "text/plain": words}
        return data, {"image/png": told}


def figure(
    rows: int = 1, columns: int = 1, width: float = 9.0, height: float = 3.0, **gridspec
) -> tuple[Figure, np.ndarray]:
    """An empty figure, width × height inches, and its axes as an array (rows, columns)."""
    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, squeeze=False, gridspec_kw=gridspec)


def captioned(fig: Figure, caption: str) -> Figure:
    """The figure with a caption below it, which its words begin with."""
    fig.set_label(caption)
    return fig


def colour(family: str, shade: float = 0.0) -> tuple[float, float, float]:
    """The family's colour, lighter for shade in (0, 1], darker for shade in [−1, 0)."""
    base = np.asarray(matplotlib.colors.to_rgb(COLOURS[family]))
    end = 1.0 if shade > 0 else 0.0
    return tuple(base + abs(shade) * (end - base))


def picture(ax: Axes, pixels: Numbers, title: str = "") -> Update:
    """A grey or colour picture, values clipped to [0, 1]."""
    ready = lambda pixels: np.clip(np.asarray(pixels).squeeze(), 0, 1)
    image = ax.imshow(ready(pixels), cmap="gray", vmin=0, vmax=1, **_sharp(pixels))
    _no_ticks(ax, title)
    return lambda pixels: image.set_data(ready(pixels))


def spectrum(
    ax: Axes, level: Numbers, limits: tuple[float, float] = (-100, 0), title: str = ""
) -> Update:
    """A centred two-dimensional spectrum in dB, zero frequency in the middle."""
    level = np.asarray(level)
    image = ax.imshow(level, vmin=limits[0], vmax=limits[1], **_sharp(level))
    _no_ticks(ax, title)
    _frequencies(ax, image, level.shape)
    return lambda level: image.set_data(np.asarray(level))


def _sharp(pixels: Numbers) -> dict[str, str]:
    """A small picture keeps its pixels, and is coloured before it is enlarged: half the time."""
    if max(np.shape(pixels)) > 128:
        return {}
    return {"interpolation": "nearest", "interpolation_stage": "rgba"}


def _no_ticks(ax: Axes, title: str) -> None:
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)


def _frequencies(ax: Axes, image: AxesImage, shape: tuple[int, ...]) -> None:
    """The pixels' centres are frequencies; zero lies at index size // 2 along each axis."""
    rows, columns = shape
    top, left = rows // 2, columns // 2
    image.set_extent((-left - 0.5, columns - left - 0.5, rows - top - 0.5, -top - 0.5))
    ax.set_xticks([-left, 0, columns - left - 1])
    ax.set_xlabel("cycles per picture")


def stems(
    ax: Axes,
    frequencies: Numbers,
    levels: Mapping[str, Numbers],
    colours: Mapping[str, str],
    floor: float = -100,
    marks: Sequence[float] = (),
) -> Update:
    """One-dimensional spectra in dB over Hz, drawn as lines from the floor; `marks` are labelled.

    A line is thinner than the lines are apart. Of several series the first is drawn widest, so that
    those on top leave it visible.
    """
    room = 72 * ax.figure.get_figwidth() * ax.get_position().width / len(frequencies)
    thin, artists = min(1.6, 0.8 * room), {}
    for place, (name, level) in enumerate(levels.items()):
        left = len(levels) - 1 - place
        width = thin * (1 + 2 * left / max(len(levels) - 1, 1))
        artists[name] = ax.vlines(
            frequencies, floor, np.maximum(level, floor), color=colours[name], lw=width, label=name
        )
    ax.set(ylim=(floor, 12), xlim=(-1, frequencies[-1] + 1))
    ax.set(xlabel="frequency (Hz)", ylabel="amplitude (dB)")
    for mark in marks:
        ax.annotate(f"{mark:g} Hz", (mark, 3), ha="center", fontsize=10)

    def update(levels: Mapping[str, Numbers]) -> None:
        for name, level in levels.items():
            top = np.maximum(np.asarray(level), floor)
            low = np.full_like(top, floor)
            artists[name].set_segments(
                np.stack([np.stack([frequencies, low], -1), np.stack([frequencies, top], -1)], 1)
            )

    return update


def comb(
    ax: Axes,
    frequencies: Numbers,
    level: Numbers,
    colour: object,
    label: str = "",
    floor: float = -100,
    head: str = "",
    width: float = 1.6,
) -> Update:
    """Spectral lines that may move along the axis too: update((frequencies, level)).

    Args:
      level: in dB; lines at or below the floor are not drawn.
      head: a matplotlib marker on top of each line; then the line itself is left out.
    """

    def points(frequencies, level):
        seen = np.asarray(level) > floor
        return np.asarray(frequencies)[seen], np.asarray(level)[seen]

    x, y = points(frequencies, level)
    if head:
        artist = ax.plot(x, y, head, color=colour, label=label, ms=5, mew=1.4, fillstyle="none")[0]
    else:
        artist = ax.vlines(x, floor, y, color=colour, lw=width, label=label)
    ax.set(ylim=(floor, 12), xlabel="frequency (Hz)", ylabel="amplitude (dB)")

    def update(data: tuple[Numbers, Numbers], colour: object = None) -> None:
        x, y = points(*data)
        if colour is not None:
            artist.set_color(colour)
        if head:
            artist.set_data(x, y)
        else:
            ends = np.stack([np.full_like(y, floor), y], axis=-1)
            artist.set_segments(np.stack([np.repeat(x[:, None], 2, axis=1), ends], axis=-1))

    return update


def curves(
    ax: Axes,
    x: Numbers,
    series: Mapping[str, Numbers],
    colours: Mapping[str, object] | None = None,
    **labels: object,
) -> Update:
    """Named curves over a common x; `labels` go to `ax.set` (xlabel, ylabel, xscale, …)."""
    colours = colours or {}
    artists = {
        name: ax.plot(x, np.asarray(y), color=colours.get(name), label=name)[0]
        for name, y in series.items()
    }
    ax.grid(True)
    ax.set(**labels)

    def update(series: Mapping[str, Numbers]) -> None:
        for name, y in series.items():
            artists[name].set_ydata(np.asarray(y))

    return update


def orders(ax: Axes, order: Numbers, title: str = "") -> Update:
    """The support H(Ω) in the frequency plane, coloured by order; white where nothing reaches."""
    ready = lambda order: np.ma.masked_less(np.asarray(order), 0)
    image = ax.imshow(ready(order), cmap="viridis_r", interpolation="nearest")
    _no_ticks(ax, title)
    _frequencies(ax, image, np.shape(order))

    def update(order: Numbers) -> None:
        image.set_data(ready(order))
        image.set_clim(0, max(1, np.max(order)))

    update(order)
    return update


def plane(ax: Axes, Omega: Numbers, limit: float, colour: object = None) -> Update:
    """Mapping frequencies (T, 2), in rad per unit, as points in cycles per unit."""
    points = lambda Omega: np.asarray(Omega)[:, ::-1] / (2 * np.pi)
    artist = ax.scatter(*points(Omega).T, s=14, color=colour)
    ax.set(xlim=(-limit, limit), ylim=(limit, -limit), aspect="equal")
    ax.set(xlabel="columns (cycles per unit)", ylabel="rows (cycles per unit)")
    ax.grid(True)

    def update(Omega: Numbers, colour: object = None) -> None:
        artist.set_offsets(points(Omega))
        if colour is not None:
            artist.set_facecolor(colour)

    return update


def title(ax: Axes, words: str, parts: object, **options) -> Update:
    """A title with numbers in it: update(parts), one or a tuple, fills `words` as `str.format`."""

    def update(parts: object) -> None:
        parts = parts if isinstance(parts, tuple) else (parts,)
        numbers = [part.item() if hasattr(part, "item") else part for part in parts]
        ax.set_title(words.format(*numbers), **options)

    update(parts)
    return update


def legend(ax: Axes, **options) -> None:
    """A legend that does not cover the data: above the axes unless told otherwise."""
    ax.legend(**{"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": 4} | options)


def recovery(
    columns: Mapping[str, tuple[Numbers, Numbers, Numbers]],
    limits: tuple[float, float] = (-100, 0),
) -> Figure:
    """Figures 2, 6, 7 and 8: a column per network with picture, DFT magnitude and its centre.

    Args:
      columns: title → (pixels (H, W, C), level (H, W) in dB, centre of the level in dB).
      limits: colour range in dB.
    """
    fig, axes = figure(3, len(columns), width=2.3 * len(columns) + 1.2, height=7.2)
    for column, (title, (pixels, level, centre)) in zip(axes.T, columns.items(), strict=True):
        picture(column[0], pixels, title)
        spectrum(column[1], level, limits)
        spectrum(column[2], centre, limits)
    for ax, label in zip(
        axes[:, 0], ("reconstruction", "DFT magnitude", "centre 32×32"), strict=True
    ):
        ax.set_ylabel(label)
    fig.colorbar(axes[1, 0].images[0], ax=axes[1:], label="magnitude (dB)", shrink=0.6)
    return fig


def sampled_tones(
    rows: Mapping[str, Sequence[tuple[str, Mapping[str, Numbers]]]],
    colours: Mapping[str, str],
    marks: Sequence[float] = (),
) -> Figure:
    """Figures 3 and 9: a row per network, a column per sampling rate.

    Args:
      rows: row title → for each column (title, levels in dB by series, one value per Hz).
      colours: by series.
      marks: frequencies in Hz that are labelled.
    """
    columns = len(next(iter(rows.values())))
    fig, axes = figure(len(rows), columns, width=9.6, height=2.6 * len(rows) + 0.4)
    for row, (name, parts) in zip(axes, rows.items(), strict=True):
        for ax, (title, levels) in zip(row, parts, strict=True):
            frequencies = np.arange(len(next(iter(levels.values()))))
            stems(ax, frequencies, levels, colours, marks=[m for m in marks if m < frequencies[-1]])
            ax.set_title(f"{name}, {title}", pad=12)
    axes[0, 0].legend(loc="lower right", framealpha=1, frameon=True)
    return fig


def atoms(rows: Mapping[str, Numbers]) -> Figure:
    """Figures 5 and 16: eigenfunctions as pictures, one row (K, H, W) a network."""
    count = max(map(len, rows.values()))
    fig, axes = figure(len(rows), count, width=1.0 * count + 1.2, height=1.06 * len(rows) + 0.1)
    for row, (title, functions) in zip(axes, rows.items(), strict=True):
        for ax, function in zip(row, functions, strict=False):
            atom(ax, function)
        row[0].set_ylabel(title, rotation=0, ha="right", va="center")
    return fig


def atom(ax: Axes, function: Numbers, title: str = "") -> Update:
    """One eigenfunction (H, W): grey is zero, white and black are as far from it."""

    def ready(function):
        function = np.asarray(function)
        return function / max(np.abs(function).max(), 1e-12)

    image = ax.imshow(ready(function), cmap="gray", vmin=-1, vmax=1, **_sharp(function))
    _no_ticks(ax, title)
    return lambda function: image.set_data(ready(function))


def splitting(
    target: Numbers,
    rows: Mapping[str, tuple[Numbers, Numbers, int]],
    floor: float = -100,
) -> Figure:
    """Figure 1: a signal split into harmonics layer by layer, a row per layer.

    Args:
      target: the signal on [0, 1).
      rows: title → (what the layer makes of it, the levels of that in dB by whole frequency, the
        highest frequency that Theorem 1 allows there).
      floor: of the levels, in dB.
    """
    fig, axes = figure(len(rows), 2, width=9.6, height=1.6 * len(rows) + 0.4, width_ratios=[1, 1])
    last = max(edge for *_, edge in rows.values())
    r = np.arange(len(target)) / len(target)
    for (left, right), (title, (signal, level, edge)) in zip(axes, rows.items(), strict=True):
        left.plot(r, target, color=COLOURS["target"], lw=1, alpha=0.6)
        left.plot(r, signal, color=COLOURS["SIREN"])
        left.set(xlim=(0, 1), yticks=[], ylabel=title)
        right.axvspan(-1, edge + 0.5, color="#e6eef5", zorder=0)
        comb(right, np.arange(len(level)), level, COLOURS["SIREN"], floor=floor, width=3)
        right.set(xlim=(-1, 1.1 * last + 1), xlabel="", ylabel="dB")
        right.set_title(f"allowed up to {edge}", loc="right", fontsize=10, fontweight="normal")
    for ax in axes[:-1].ravel():
        ax.set_xticklabels([])
    axes[-1, 0].set_xlabel("coordinate r")
    axes[-1, 1].set_xlabel("frequency (cycles per unit)")
    return fig
