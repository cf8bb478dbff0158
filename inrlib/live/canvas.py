"""A figure drawn again and again, of which only what moves is drawn anew.

Matplotlib's own way to draw a part of a figure wants its artists named by hand. Here they are
found: an artist that was changed is stale.

>>> from inrlib import plots
>>> fig, ((ax,),) = plots.figure()
>>> update, canvas = plots.curves(ax, [0, 1], {"f": [0, 1]}), Canvas(fig)
>>> update({"f": [1, 0]})
>>> canvas.refresh()
>>> canvas.encode("png")[1:4]
b'PNG'
"""

from io import BytesIO

import ipywidgets as widgets
import traitlets
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.spines import Spine
from PIL import Image

from inrlib import plots

__all__ = ["DENSITY", "Canvas", "Picture", "thin"]

DENSITY = 1.5
"""Pixels of a frame per pixel of the page, along each side: sharp on a screen of high density, and
half the time of 2 to draw, decode and paint."""


class Canvas(FigureCanvasAgg):
    """A figure's canvas whose `refresh` draws what has changed.

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
            image = thin(image.convert("RGB"), density)
        image.save(buffer, format=format, **options)
        return buffer.getvalue()


class Picture(widgets.Image):
    """An image whose tooltip is its name for a screen reader.

    ipywidgets gives an image no `alt`. The page makes a tooltip the `title` of any widget that has
    an empty description, and browsers name an image by its title; this one gets a description.
    """

    description = traitlets.Unicode().tag(sync=True)


def thin(image: Image.Image, density: float) -> Image.Image:
    """A frame at fewer pixels."""
    size = [round(side * density / DENSITY) for side in image.size]
    return image if density == DENSITY else image.resize(size, Image.Resampling.LANCZOS)


def _movable(ax) -> list[Artist]:
    """All that is drawn in an axes but its patch, its ticks and its labels."""
    left_out = Axis if ax.axison else (Axis, Spine)
    return [a for a in ax.get_children() if a is not ax.patch and not isinstance(a, left_out)]


def _titles(ax) -> tuple[Artist, ...]:
    return ax.title, ax._left_title, ax._right_title
