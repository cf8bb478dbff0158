"""A figure that follows its controls: the one mechanism behind every explorer.

    control → compute → frame → artists → `Canvas` → picture in the page

`controls` is what a reader moves, `canvas` what is drawn, `explorer` the way round, and `page` what
remains of it where there is no kernel. `training` is what goes on while the slider rests; `cells`
knows which cell shows what.

>>> slider("σ", "cycles per unit", 0.1, 30, 3).label
'σ (cycles per unit)'
"""

from inrlib.live.canvas import DENSITY, Canvas
from inrlib.live.controls import File, Number, Upload, choice, knob, slider, whole
from inrlib.live.explorer import Explorer, named

__all__ = [
    "DENSITY",
    "Canvas",
    "Explorer",
    "File",
    "Number",
    "Upload",
    "choice",
    "knob",
    "named",
    "slider",
    "whole",
]
