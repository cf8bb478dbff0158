"""What several explorers share: choosing a family, two axes side by side, rows of atoms.

>>> choose("SIREN", {"SIREN": 1, "FFN": 2})
1
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from inrlib import plots

__all__ = ["atoms", "beside", "choose", "energy"]

Update = Callable[[Any], None]


def choose(family: str, families: Mapping[str, Any]) -> Any:
    """What this explorer has for a family.

    Raises:
      ValueError: it has nothing for that one.
    """
    if family not in families:
        raise ValueError(f"family={family!r} has no explorer here; choose {' or '.join(families)}.")
    return families[family]


def beside(
    x: np.ndarray,
    curves: Mapping[str, np.ndarray],
    levels: Mapping[str, np.ndarray],
    marks: Sequence[float] = (),
    **labels: object,
) -> tuple[plots.Figure, tuple[plots.Axes, plots.Axes], dict[str, Update]]:
    """Curves and their spectra, a line per Hz, side by side.

    Returns:
      The figure, its two axes, and updates of "curve" and "level" for the last series of each: the
      others are what it is compared with, and stay.
    """
    fig, ((left, right),) = plots.figure(1, 2, width=9.6, height=3.2)
    family = list(curves)[-1]
    frequencies = np.arange(len(levels[family]))
    curve = plots.curves(left, x, curves, plots.COLOURS, **labels)
    stem = plots.stems(right, frequencies, levels, plots.COLOURS, marks=marks)
    updates = {"curve": lambda y: curve({family: y}), "level": lambda y: stem({family: y})}
    return fig, (left, right), updates


def atoms(axes: Sequence[plots.Axes], pictures: np.ndarray) -> Update:
    """Eigenfunctions φ0, φ1, … one an axes."""
    rows = list(zip(axes, pictures, strict=True))
    changes = [plots.atom(ax, picture, f"φ{i}") for i, (ax, picture) in enumerate(rows)]

    def update(pictures: np.ndarray) -> None:
        for change, picture in zip(changes, pictures, strict=True):
            change(picture)

    return update


def energy(ax: plots.Axes, thresholds: np.ndarray, family: str, share: np.ndarray) -> Update:
    """Share of energy above a threshold, large eigenvalues at the left."""
    labels = {"xlabel": "eigenvalue / largest", "ylabel": "share of energy", "xscale": "log"}
    limits = {"xlim": (1, thresholds[0]), "ylim": (0, 1.02)}
    curve = plots.curves(ax, thresholds, {family: share}, plots.COLOURS, **labels, **limits)
    return lambda share: curve({family: share})
