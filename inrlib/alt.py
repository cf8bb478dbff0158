"""A figure in words: what a reader who cannot see it is told, with the numbers that are drawn.

    figure → one sentence a panel, read off its artists → the `alt` of its picture

Nothing is written by hand, so nothing can go stale: a number in the text is a number in the
picture. An author may put a caption before it: `plots.captioned(figure, "Figure 4: …")`.

>>> from inrlib import plots
>>> fig, ((ax,),) = plots.figure()
>>> _ = plots.curves(ax, [0, 1, 2], {"SIREN": [1, 4, 9]}, xlabel="step", ylabel="PSNR (dB)")
>>> describe(fig)
'PSNR (dB) over step (−0.1 to 2.1): SIREN rises from 1 to 9.'
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.stats import rankdata

__all__ = ["LIMIT", "describe"]

LIMIT = 600
"""Characters: about half a minute of a screen reader."""

WALL = 4
"""More unnamed pictures than this are told row by row."""


def describe(figure, lead: str = "", limit: int = LIMIT) -> str:
    """What a matplotlib figure shows, panel by panel, as long as there is room.

    Args:
      figure: its artists are read, nothing is drawn.
      lead: said first, such as a slider's place; the figure's own label follows.
      limit: characters.
    """
    axes = [ax for ax in figure.axes if ax.get_visible() and not hasattr(ax, "_colorbar")]
    filled = [ax for ax in axes if _artists(ax)]
    wall = _unnamed([ax for ax in filled if ax.images])
    panels = [_panel(ax, 3 if len(filled) < 3 else 2) for ax in filled if ax not in wall]
    what = "panels" if panels else "pictures"
    count = f"{len(filled)} {what}" if len(filled) > 1 else ""
    panels += _wall(wall)
    heads = (lead, _clean(figure.get_label()), _clean(figure.get_suptitle()), count)
    return _fitted(". ".join(filter(None, heads)), panels, limit)


def _unnamed(pictures: Sequence) -> Sequence:
    """Those that are told row by row: a wall of them, or many with no more than a symbol above."""
    if len(pictures) <= 3 * WALL:
        pictures = [ax for ax in pictures if len(_clean(ax.get_title())) < 4]
    return pictures if len(pictures) > WALL else []


def _fitted(text: str, panels: Sequence[str], limit: int) -> str:
    text = text + ". " if text else ""
    for place, panel in enumerate(panels):
        left = len(panels) - place
        more = f"And {left} more." if left < len(panels) else "The rest is too long to tell."
        room = limit - len(text) - (len(more) + 1 if left > 1 else 0)
        if len(panel) > room:
            return text + (more if place else panel[: room - 1] + "…")
        text += panel + " "
    return text.strip()


def _panel(ax, lines: int) -> str:
    """One panel: its title, its axes, and what is drawn in it."""
    titles = filter(None, map(_clean, (ax.get_title(loc) for loc in ("left", "center", "right"))))
    title, said = "; ".join(titles), [*_pictures(ax), *_drawn(ax, lines)]
    plane = ax.images and not ax.get_xlabel()
    where = "" if plane else _over(ax)
    head = "; ".join(filter(None, (title, where or (_clean(ax.get_ylabel()) if plane else ""))))
    return f"{head}: {'; '.join(said)}." if head else f"{'; '.join(said).capitalize()}."


def _over(ax) -> str:
    """What is drawn over what: the axes' names and the range across."""
    name = lambda axis: _clean(axis.get_label_text())
    across = f"{name(ax.xaxis) or 'x'} ({' to '.join(map(_number, ax.get_xlim()))})"
    return across if ax.images else f"{name(ax.yaxis)} over {across}".strip()


def _drawn(ax, lines: int) -> Iterator[str]:
    """What lines, dots, stems and bars say; of many lines the first few and their whole range."""
    curves, dots = {}, {}
    for line in ax.lines:
        x, y = (np.ma.filled(np.ma.asarray(part, float), np.nan) for part in line.get_data())
        low, high = sorted(ax.get_xlim())
        fine = np.isfinite(x) & np.isfinite(y) & (low <= x) & (x <= high)
        x, y, name = x[fine], y[fine], line.get_label()
        if len(y) == 0 or _is_rule(ax, line):
            continue
        where = dots if line.get_linestyle() in ("None", "none", "") else curves
        where.setdefault("" if name.startswith("_") else _clean(name), []).append((x, y))
    named = [name for name in curves if name] + [""] * ("" in curves)
    for name in named[:lines]:
        yield _curve(name, curves[name])
    rest = [y for name in named[lines:] for _, y in curves[name]]
    others = sum(len(curves[name]) for name in named[lines:])
    if others:
        yield f"{_count(others, 'more line')} {_range(np.concatenate(rest))}"
    if dots:
        yield _dots(dots)
    yield from _collections(ax)
    yield from _bars(ax)


def _is_rule(ax, line) -> bool:
    """A line across all of the axes, such as `axhline` draws."""
    return line.get_transform() != ax.transData


def _curve(name: str, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    if len(parts) > 1:
        what = _count(len(parts), "line")
        return (
            f"{name + ', ' if name else ''}{what} {_range(np.concatenate([y for _, y in parts]))}"
        )
    (x, y), name = parts[0], name or "the line"
    if len(y) == 1 or np.ptp(y) < 1e-9 * max(abs(y).max(), 1e-300):
        return f"{name} stays at {_number(y[0])}"
    slope = np.corrcoef(np.arange(len(y)), rankdata(y))[0, 1]
    if abs(slope) > 0.9:
        return (
            f"{name} {'rises' if slope > 0 else 'falls'} from {_number(y[0])} to {_number(y[-1])}"
        )
    top = int(np.argmax(y))
    return f"{name} {_range(y)}, highest at {_number(x[top])}"


def _dots(groups: dict) -> str:
    """Loose points: how many, and whether they go up together."""
    x, y = (np.concatenate([part[i] for one in groups.values() for part in one]) for i in (0, 1))
    names = [name for name in groups if name]
    whose = f" ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})" if names else ""
    return f"{_points(x, y)}{whose}"


def _points(x: np.ndarray, y: np.ndarray) -> str:
    words = f"{_count(len(y), 'point')} {_range(y)}"
    if len(y) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        words += f", rank correlation {_number(np.corrcoef(rankdata(x), rankdata(y))[0, 1])}"
    return words


def _collections(ax) -> Iterator[str]:
    for found in ax.collections:
        name = "" if found.get_label().startswith("_") else _clean(found.get_label()) + ", "
        if hasattr(found, "get_segments"):  # stems of a spectrum
            ends = np.array([one[-1] for one in found.get_segments() if len(one)])
            if len(ends):
                yield f"{name}{_count(len(ends), 'line')}, {_peaks(*ends.T)}"
        elif hasattr(found, "get_coordinates"):  # a coloured mesh
            yield f"{name}colours {_range(np.ma.compressed(found.get_array()))}"
        elif len(found.get_offsets()) > 1 and not hasattr(found, "get_baseline"):
            yield f"{name}{_points(*np.ma.filled(found.get_offsets(), np.nan).T)}"


def _peaks(x: np.ndarray, y: np.ndarray) -> str:
    """The highest line, and the highest that is no neighbour of it: a second note."""
    top = int(np.argmax(y))
    away = np.abs(np.arange(len(y)) - top) > 2
    words = f"the highest {_number(y[top])} at {_number(x[top])}"
    if away.any():
        other = int(np.argmax(np.where(away, y, -np.inf)))
        words += f", then {_number(y[other])} at {_number(x[other])}"
    return words


def _bars(ax) -> Iterator[str]:
    for bars in ax.containers:
        sizes = getattr(bars, "datavalues", None)
        if sizes is not None and len(sizes):
            name = "" if bars.get_label().startswith("_") else _clean(bars.get_label()) + ", "
            yield f"{name}{_count(len(sizes), 'bar')} {_range(np.asarray(sizes, float))}"


def _pictures(ax) -> Iterator[str]:
    """The range of a picture, and how fine it is: how often a row of it crosses the mean."""
    for image in ax.images:
        values = _values(image)
        if values.size:
            rows, columns = image.get_array().shape[:2]
            yield f"{rows}×{columns} pixels {_range(values)}, {_fineness(image)}"


def _values(image) -> np.ndarray:
    values = np.ma.asarray(image.get_array(), float)
    return values[np.isfinite(values)] if values.mask is np.False_ else values.compressed()


def _fineness(image) -> str:
    return f"mean {_number(_values(image).mean())}, crossed {_crossings(image):.1f} times a row"


def _crossings(image) -> float:
    values = np.ma.asarray(image.get_array(), float)
    values = values.mean(axis=2) if values.ndim == 3 else values
    above = values.filled(values.min()) > values.mean()
    return float((above[:, 1:] != above[:, :-1]).sum(axis=1).mean())


def _wall(pictures: Sequence) -> Iterator[str]:
    """Many pictures, a sentence a row: how fine they are from left to right."""
    rows: dict = {}
    for ax in pictures:
        spec = ax.get_subplotspec()
        rows.setdefault(spec.rowspan.start if spec else 0, []).append(ax)
    for row in rows.values():
        name, ends = (
            _clean(row[0].get_ylabel()),
            [_clean(ax.get_title()) for ax in (row[0], row[-1])],
        )
        name = name or " to ".join(filter(None, dict.fromkeys(ends)))
        fine = [_crossings(ax.images[0]) for ax in row]
        level = np.mean([_values(ax.images[0]).mean() for ax in row])
        span = f"{fine[0]:.1f}" if len(fine) == 1 else f"{fine[0]:.1f} to {fine[-1]:.1f}"
        head = f"{name}: " if name else ""
        yield f"{head}a row crosses its mean {span} times, mean level {_number(level)}."


def _artists(ax) -> bool:
    return bool(ax.lines or ax.images or ax.collections or ax.containers)


def _range(values: Iterable[float]) -> str:
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return "without a number"
    low, high = _number(values.min()), _number(values.max())
    return f"at {low}" if low == high else f"between {low} and {high}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _clean(text: str) -> str:
    """One line without the marks of mathematics and of a drawing."""
    return re.sub(r"\s+", " ", re.sub(r"[$\\{}]", "", text.replace("\n", ", "))).strip(" .,:")


def _number(value: float) -> str:
    """Three figures, as they are said: 0.00123 is 1.23e-3, −4 has its own sign."""
    text = f"{value:.3g}"
    text = re.sub(r"e([+-])0*(\d+)", lambda m: f"e{m[1].replace('+', '')}{m[2]}", text)
    return "0" if text == "-0" else text.replace("-", "−")
