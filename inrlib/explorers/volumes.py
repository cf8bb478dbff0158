"""Section 7, open: the atoms of a network in three dimensions.

>>> from inrlib import explorers
>>> explorers.volume().at(omega0=20).frame["slices"][0].shape
(32, 32)
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import atoms, coarse, networks, plots, signals, surfaces, volumes
from inrlib.explorers import parts
from inrlib.live import Explorer, File, choice, knob, named, whole
from inrlib.live.explorer import Frame

_COUNT, _OWN = 12, "own file"
_UP, _DOWN, _SHAPE = (0.90, 0.62, 0.0), (0.0, 0.45, 0.70), (0.55, 0.55, 0.6)
"""Colours of an atom's positive and negative half, and of the signal."""

_OFFERS = {
    "SIREN": (networks.SIREN.sized(64, 2), partial(knob, networks.SIREN, 3, 150, 20)),
    "FFN": (networks.FFN.sized(64, 2), partial(knob, networks.FFN, 0.1, 6, 1)),
    "positional encoding": (
        networks.PositionalEncoding.sized(64, 2, octaves=4),
        partial(knob, networks.PositionalEncoding),
    ),
    "grid": (
        networks.Grid.sized(64, 1, levels=2, cells=8),
        partial(knob, networks.Grid, 2, 8, 4),
    ),
}
"""A network for each family, and its slider. The tables of the grid repeat after 8/n ≥ 1 units."""


class _Seen(NamedTuple):
    """What was computed of one network on one grid; a turn of the cube computes none of it anew."""

    of: tuple
    eigen: atoms.Eigen
    bands: np.ndarray


@lru_cache(maxsize=16)
def _signal(name: str, side: int) -> np.ndarray:
    return volumes.volume(name, side)


def _level(name: str, values: np.ndarray) -> float:
    """Where the signal's surface lies."""
    if "distance" in name:
        return 0.0
    return 0.5 if "occupancy" in name else float((values.min() + values.max()) / 2)


def _atoms(network, theta, side: int, of: tuple, previous: Frame | None) -> _Seen:
    """The leading atoms, those of the frame before if it was the same network."""
    before = previous and previous["seen"]
    if before and before.of == of:
        return before
    shape, samples = (side,) * 3, side**3
    fits = before and len(before.eigen.functions) == samples
    start = parts.before({"eigen": before.eigen} if fits else None, samples, _COUNT)
    options = {"nodes": 1728, "tolerance": np.inf, "previous": start}  # how good, the title says
    eigen = coarse.leading(network, theta, signals.grid(shape), shape, _COUNT, **options)
    S = volumes.structure(np.asarray(eigen.functions), shape)
    return _Seen(of, eigen, volumes.bands(S))


def _looks(values: np.ndarray, places: tuple[float, float, float]) -> list[np.ndarray]:
    """Three orthogonal slices at shares of each axis."""
    index = [
        min(int(place / 100 * side), side - 1)
        for place, side in zip(places, values.shape, strict=True)
    ]
    return [np.take(values, i, axis=axis) for axis, i in enumerate(index)]


def _frame(seen: _Seen, name, values, atom, places, turn) -> Frame:
    """All that is drawn, from the atoms and the signal."""
    side = len(values)
    phi = np.asarray(seen.eigen.functions[:, atom]).reshape((side,) * 3)
    high = float(np.abs(phi).max())
    g = (values - values.mean()).reshape(-1, 1)
    energy = atoms.energy_by_number(seen.eigen, jnp.asarray(g.astype(np.float32)))
    values_of = np.asarray(seen.eigen.values)
    worst = float(seen.eigen.residuals.max())
    share = values_of[atom] / values_of.max()
    return {
        "seen": seen,
        "atom": surfaces.picture(phi, [(0.4 * high, _UP), (-0.4 * high, _DOWN)], turn),
        "slices": [one / high for one in _looks(phi, places)],
        "tops": [np.abs(phi).max(axis=axis) / high for axis in range(3)],
        "shape": surfaces.picture(values, [(_level(name, values), _SHAPE)], turn),
        "cuts": _looks((values - values.min()) / np.ptp(values), places),
        "energy": np.asarray(energy),
        "values": np.sort(values_of)[::-1] / values_of.max(),
        "words": (atom, share, *seen.bands[atom]),
        "error": f"off by at most {max(worst, 1e-5):.0e} λ0",
    }


def _draw(family, atom, slices, tops, shape, cuts, energy, values, words, error, **_):
    """The atom above: surface, slices, largest values; the signal and its energy below."""
    fig = plots.Figure(figsize=(10.5, 5.0))
    upper, lower = fig.subfigures(2, 1)
    first, *row = upper.subplots(1, 7, width_ratios=(1.7,) + (1,) * 6)
    below, *under = lower.subplots(1, 6, width_ratios=(1.7, 1, 1, 1, 1.7, 1.7))
    names = [f"slice, axis {axis}" for axis in (1, 2, 3)]
    inner = [plots.atom(ax, part, name) for ax, part, name in zip(row, slices, names, strict=False)]
    top = [
        plots.picture(ax, part, f"largest, axis {axis}")
        for ax, part, axis in zip(row[3:], tops, (1, 2, 3), strict=True)
    ]
    cut = [
        plots.picture(ax, part, name) for ax, part, name in zip(under, cuts, names, strict=False)
    ]
    index = np.arange(_COUNT)
    labels = {"xlabel": "number of atoms", "ylabel": "share of energy", "ylim": (0, 1.02)}
    share = plots.curves(under[3], index + 1, {family: energy}, plots.COLOURS, **labels)
    labels = {"xlabel": "index", "ylabel": "eigenvalue / largest", "yscale": "log"}
    decay = plots.curves(
        under[4], index, {family: values}, plots.COLOURS, ylim=(1e-4, 1.5), **labels
    )
    heading = (
        "φ{0}: λ/λ0 = {1:.3f}, band along each axis\n{2:.2f}, {3:.2f}, {4:.2f} cycles per unit"
    )
    each = lambda updates: lambda pictures: [f(p) for f, p in zip(updates, pictures, strict=True)]
    return fig, {
        "atom": plots.picture(first, atom),
        "slices": each(inner),
        "tops": each(top),
        "shape": plots.picture(below, shape, "the signal"),
        "cuts": each(cut),
        "energy": lambda energy: share({family: energy}),
        "values": lambda values: decay({family: values}),
        "words": plots.title(first, heading, words, fontsize=9, loc="left"),
        "error": plots.title(under[4], "{}", error, fontsize=9),
    }


@named
def volume(family: str = "SIREN", seed: int = 0) -> Explorer:
    """The atoms of a network in three dimensions, and the energy of a shape on them.

    Above, one of the twelve leading eigenfunctions of the kernel: a surface where it is large,
    orange where it is positive and blue where it is negative; three slices; the largest magnitude
    along each axis. Below, the signal in the same way, the share of its energy in the first atoms,
    and their eigenvalues. Two hidden layers of 64 (one, behind tables) on [0, 1)³.

    Args:
      family: "SIREN", "FFN", "positional encoding" or "grid".
      seed: of the weights, which are never trained.

    Raises:
      ValueError: another family.
    """
    network, control = parts.choose(family, _OFFERS)
    menu = choice("signal", [*volumes.SIGNALS, _OWN], "torus, distance")
    own = File(lambda _, content: signals.volume(content), ".npy,.npz", "volume")
    own.observe(lambda change: change["new"] is not None and setattr(menu, "value", _OWN), "value")
    drawn = networks.init(network, jax.random.key(seed), 3)
    scaled = lru_cache(maxsize=4)(lambda key, side: volumes.resized(own.value, side))

    def looked_up(name, given, side):
        if name == _OWN and given is None:
            raise ValueError("signal: there is no own file yet; upload one, or take another.")
        return scaled(id(given), side) if name == _OWN else _signal(name, side)

    def compute(signal, own, side, atom, x, y, z, turn, previous, **setting):
        theta = networks.tune(drawn, **setting)
        seen = _atoms(network, theta, side, (side, *setting.values()), previous)
        values = looked_up(signal, own, side)
        return _frame(seen, signal, values, atom, (x, y, z), turn)

    controls = {
        network.knob.name: control(),
        "atom": whole("atom", 0, _COUNT - 1, 1),
        "turn": whole("turn (degrees)", 0, 360, 30),
        "x": whole("slice, axis 1 (%)", 0, 100, 50),
        "y": whole("slice, axis 2 (%)", 0, 100, 50),
        "z": whole("slice, axis 3 (%)", 0, 100, 50),
        "signal": menu,
        "side": choice("voxels a side", (32, 64), 32),
        "own": own,
    }
    return Explorer(controls, compute, partial(_draw, family))
