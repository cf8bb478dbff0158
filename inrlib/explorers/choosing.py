"""Which network for my signal? The adviser before training, and what training then says.

>>> from inrlib.networks import SIREN
>>> Arm(SIREN((4,), mapping_width=4), 12.0).begin(dims=1)["fixed"]["omega0"].item()
12.0
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from scipy.spatial import cKDTree

from inrlib import advice, baselines, fitting, networks, plots, signals
from inrlib.explorers.menu import MENU, SIDE, Signal, read
from inrlib.live import Explorer, File, choice, named, slider
from inrlib.live.explorer import Frame
from inrlib.networks import FFN, SIREN

_STEPS, _SIZE = 500, {"width": 64, "depth": 2}
_ADAM = optax.adam(optax.piecewise_constant_schedule(1e-3, {350: 0.3, 450: 1 / 3}))
"""Of training, and of every network: those of the measured regrets. The optimiser is made once, so
that its program is found again."""

_FAMILIES, _OWN = {"SIREN": SIREN, "FFN": FFN}, "own file"

_COLOURS = {
    "target": "#000000",
    "advised": "#0072B2",
    "usual": "#777777",
    "yours": "#009E73",
    "grid": "#E69F00",
    "Fourier series": "#CC79A7",
}


_TRAINED = ("advised", "usual", "yours")


class Problem(NamedTuple):
    """A signal, half of whose samples training sees, with all that does not depend on a slider.

    Attributes:
      look: coordinates at which everything is shown.
      seen, unseen: indices.
      advised: by `advice.advise` on the seen samples alone.
      rivals: values at `look`, and the PSNR on the unseen samples, of grid and Fourier series.
    """

    signal: Signal
    look: np.ndarray
    seen: np.ndarray
    unseen: np.ndarray
    advised: advice.Advice
    rivals: dict[str, tuple[np.ndarray, float]]


def _problem(signal: Signal, seed: int = 0) -> Problem:
    r, g, spacing = signal.r, signal.g, signal.spacing
    order = np.random.default_rng(seed).permutation(len(r))
    seen, unseen = np.sort(order[: len(r) // 2]), np.sort(order[len(r) // 2 :])
    look = r if signal.shape or r.shape[1] == 1 else _plane(r)
    advised = advice.advise(r[seen], g[seen], spacing=spacing, steps=200, budget=math.inf)
    numbers = networks.init(SIREN.sized(**_SIZE), jax.random.key(0), r.shape[1])
    count, rivals = baselines.parameters(numbers), {}
    for name, fit in (
        ("grid", baselines.linear_grid),
        ("Fourier series", baselines.fourier_series),
    ):
        f = fit(r[seen], g[seen], count)
        rivals[name] = f(look), float(fitting.psnr(f(r[unseen]), g[unseen]))
    return Problem(signal, look, seen, unseen, advised, rivals)


def _plane(r: np.ndarray) -> np.ndarray:
    """A grid over the first two coordinates of scattered samples, through their middle."""
    low, high = r.min(axis=0), r.max(axis=0)
    plane = np.asarray(signals.grid((SIDE, SIDE)))
    middle = np.broadcast_to((low + high)[2:] / 2, (len(plane), r.shape[1] - 2))
    return np.concatenate([low[:2] + plane * (high - low)[:2], middle], 1).astype(np.float32)


def _shown(problem: Problem, f: np.ndarray) -> np.ndarray:
    """Values at `look` as a picture: a volume as a sheet of its slices, a curve as it is."""
    shape = problem.signal.shape
    if problem.look.shape[1] == 1:
        return np.asarray(f)[:, 0]
    if shape is None:
        return np.asarray(f).reshape(SIDE, SIDE)
    if len(shape) == 2:
        return np.asarray(f).reshape(shape)
    across = int(np.ceil(np.sqrt(shape[0])))
    sheet = np.ones((across**2, *(max(shape[1:]),) * 2))
    sheet[: shape[0], : shape[1], : shape[2]] = np.asarray(f).reshape(shape)
    rows = sheet.reshape(across, across, *sheet.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape((across * sheet.shape[1],) * 2)


@partial(jax.jit, static_argnums=0)
def _at(network, theta, look):
    return network.apply(theta, look)


class Arm(NamedTuple):
    """A network that is trained beside others."""

    network: networks.INR
    setting: float
    seed: int = 0

    def begin(self, dims: int) -> networks.Theta:
        drawn = _drawn(self.network, dims, self.seed)
        return networks.tune(drawn, **{self.network.knob.name: self.setting})


@lru_cache(maxsize=16)
def _drawn(network, dims, seed):
    return networks.init(network, jax.random.key(seed), dims)


def _arms(problem: Problem, family: str, share: float) -> dict[str, Arm]:
    """The advised network, the usual one of notebooks and papers, and the reader's."""
    yours = _FAMILIES[family].sized(**_SIZE)
    setting = share / yours.knob.of_nyquist(1, problem.signal.spacing)
    return {
        "advised": Arm(problem.advised.network, problem.advised.setting),
        "usual": Arm(SIREN.sized(**_SIZE), SIREN.knob.usual),
        "yours": Arm(yours, setting),
    }


class Course(NamedTuple):
    """How a network has come along: PSNR on the unseen samples after so many steps, and its values
    at `look` after the last of them."""

    steps: np.ndarray
    levels: np.ndarray
    values: np.ndarray


def _start(problem: Problem, arm: Arm) -> Course:
    r, g, unseen = problem.signal.r, problem.signal.g, problem.unseen
    theta = arm.begin(r.shape[1])
    level = fitting.psnr(_at(arm.network, theta, r[unseen]), g[unseen])
    values = np.asarray(_at(arm.network, theta, problem.look))
    return Course(np.array([0]), np.array([float(level)]), values)


def _training(problem: Problem, arm: Arm, pace: Callable[[], int]):
    """Real training: the finished steps, and what makes the course so far."""
    (r, g, *_), look, seen, unseen, *_ = problem
    theta, steps, levels = arm.begin(r.shape[1]), (), ()
    # A look at the unseen samples, of which there are as many, costs a third of a step. So it is
    # taken at a few: often at the beginning, where the curve is steep.
    seldom = lambda: min(pace(), 1 + steps[-1] // 2, 25)
    options = {"steps": _STEPS, "optimizer": _ADAM, "stretch": seldom}
    for stage in fitting.training(arm.network, theta, r[seen], g[seen], **options):
        level = fitting.psnr(_at(arm.network, stage.theta, r[unseen]), g[unseen])
        steps, levels = (*steps, stage.step), (*levels, level)

        def course(stage=stage, steps=steps, levels=levels) -> Course:
            values = np.asarray(_at(arm.network, stage.theta, look))
            return Course(np.array(steps), np.array(levels, float), values)

        yield stage.step, course


def _compared(problem: Problem, courses: dict[str, Course]) -> Frame:
    """What is drawn of networks and rivals: pictures, curves and levels."""
    signal, rivals = problem.signal, problem.rivals
    nearest = cKDTree(signal.r).query(problem.look)[1]
    values = {"target": signal.g[nearest]}
    values |= {name: course.values for name, course in courses.items()}
    values |= {name: f for name, (f, _) in rivals.items()}
    outputs = {name: _shown(problem, f) for name, f in values.items()}
    levels = {name: float(course.levels[-1]) for name, course in courses.items()}
    levels |= {name: level for name, (_, level) in rivals.items()}
    lines = {name: course[:2] for name, course in courses.items()}
    ends = np.array([0, _STEPS])  # rivals take no steps
    lines |= {name: (ends, np.full(2, level)) for name, (_, level) in rivals.items()}
    return {"outputs": outputs, "lines": lines, "levels": levels}


def _scores(problem: Problem, arms: dict[str, Arm], courses: dict[str, Course]) -> Frame:
    """The adviser's numbers over the share of Nyquist, and where the three networks are."""
    share = lambda arm: arm.network.knob.of_nyquist(arm.setting, problem.signal.spacing)
    tries = problem.advised.tries
    by = {name: [t for t in tries if t.network.label == name] for name in _FAMILIES}
    longest = max(one.steps for one in tries)
    promised = {
        name: sorted((share(one), one.forecast) for one in some) for name, some in by.items()
    }
    tried = {
        name: [(share(one), one.trained) for one in some if one.steps == longest]
        for name, some in by.items()
    }
    places = {name: (share(arm), float(courses[name][1][-1])) for name, arm in arms.items()}
    return {"advice": (promised, tried, share(arms["usual"])), "places": places}


def _axes(fig: plots.Figure):
    """Adviser and training above; six pictures below, or in their place one wide curve."""
    upper, lower = fig.subfigures(2, 1, height_ratios=(3.3, 2.0))
    left, right = upper.subplots(1, 2, width_ratios=(1.15, 1))
    below = lower.subplots(1, 6)
    wide = lower.add_axes([0.04, 0.25, 0.94, 0.6])  # outside of the layout, which sees pictures
    left.set(xscale="log", xlabel="ω0 or σ, as a share of Nyquist", ylabel="PSNR (dB)")
    right.set(xlim=(0, _STEPS), xlabel="step of Adam", title="training: samples never seen")
    for ax in (left, right):
        ax.grid(True)
    return left, right, below, wide


def _points(series) -> np.ndarray:
    return np.concatenate([np.reshape(points, (-1, 2)) for points in series.values()])


def _draw_scores(ax: plots.Axes) -> dict[str, Callable]:
    """Lines: the kernel's promise; dots: the adviser's trials; crosses: the three networks."""
    colours, more = plots.COLOURS, {"color": "#ffffff", "mec": "white", "zorder": 5}
    line = {n: ax.plot([], [], color=colours[n], label=f"{n}, kernel")[0] for n in _FAMILIES}
    dots = {
        n: ax.plot([], [], "o", color=colours[n], label=f"{n}, tried", ms=5)[0] for n in _FAMILIES
    }
    cross = {
        n: ax.plot([], [], "X", label=n, ms=10, **more | {"color": _COLOURS[n]})[0]
        for n in _TRAINED
    }
    plots.legend(ax, fontsize=8, columnspacing=1.0)

    def move(artists, series):
        for name, points in series.items():
            artists[name].set_data(*np.reshape(points, (-1, 2)).T)

    def advice(part):
        """The limits follow the signal alone: another limit draws all anew."""
        promised, tried, usual = part
        move(line, promised)
        move(dots, tried)
        x, y = np.concatenate([_points(promised), _points(tried)]).T
        right, top = max(2.4, 1.2 * usual), 5 * np.ceil((y.max() + 4) / 5)
        ax.set(xlim=(min(0.004, 0.8 * x.min()), right), ylim=(0, top))

    return {"advice": advice, "places": lambda places: move(cross, places)}


def _draw_training(ax: plots.Axes) -> dict[str, Callable]:
    """PSNR over the steps; the rivals, which take none, as level lines."""
    names = [name for name in _COLOURS if name != "target"]
    artists = {name: ax.plot([], [], color=_COLOURS[name])[0] for name in names}
    place = {"transform": ax.transAxes, "fontsize": 10, "fontweight": "bold", "va": "top"}
    words = {
        name: ax.text(1.02, 0.98 - 0.19 * i, "", color=_COLOURS[name], **place)
        for i, name in enumerate(names)
    }

    def lines(courses):
        for name, line in courses.items():
            artists[name].set_data(*line)
        every = np.concatenate([level for _, level in courses.values()])
        top = max(5 * np.ceil((every.max() + 1) / 5), 30)
        ax.set_ylim(min(0, 5 * np.floor(every.min() / 5)), top)

    def levels(found):
        for name, level in found.items():
            words[name].set_text(f"{name}\n{level:.1f} dB")

    return {"lines": lines, "levels": levels}


def _draw_outputs(below, wide: plots.Axes, excerpt: int = 160) -> Callable:
    """Pictures; of a curve 160 samples around its loudest place."""
    blank = np.zeros((SIDE, SIDE))
    pictures = {n: plots.picture(ax, blank, n) for ax, n in zip(below, _COLOURS, strict=True)}
    curves = {n: wide.plot([], [], color=c, lw=1.4, label=n)[0] for n, c in _COLOURS.items()}
    plots.legend(wide, fontsize=8, ncols=6)
    parts = [artist for ax in below for artist in (*ax.images, ax.title)]
    line = [*wide.lines, wide.spines["left"], wide.spines["bottom"], wide.get_legend()]

    def show(flat):
        for ax in (*below, wide):
            ax.set_visible((ax is wide) == flat)
        for artist in (*parts, *line):  # what is drawn by itself is hidden by itself
            artist.set_visible((artist in line) == flat)
        wide.set_xlim(0, 2 + flat)  # another limit: all is drawn anew

    def update(part) -> None:
        (unit, x), outputs = part
        if wide.get_visible() != (flat := np.ndim(outputs["target"]) == 1):
            show(flat)
        if not flat:
            for name, values in outputs.items():
                pictures[name](values)
            return
        loud = np.abs(outputs["target"] - np.median(outputs["target"]))
        start = int(np.clip(np.argmax(loud) - excerpt // 2, 0, max(0, len(x) - excerpt)))
        cut = slice(start, start + excerpt)
        for name, values in outputs.items():
            curves[name].set_data(x[cut], values[cut])
        wide.set(xlim=(x[cut][0], x[cut][-1]), ylim=(-0.2, 1.2), xlabel=f"{unit}")

    return update


def _draw(**frame):
    fig = plots.Figure(figsize=(10.5, 5.8))
    left, right, below, wide = _axes(fig)
    updates = _draw_scores(left) | _draw_training(right)
    updates |= {
        "shown": _draw_outputs(below, wide),
        "words": plots.title(left, "{}", "", pad=34),
    }
    for name, update in updates.items():
        update(frame[name])
    return fig, updates


class _Desk:
    """What has been found so far: problems, first looks, and trainings that ended."""

    def __init__(self):
        self.problems: dict[str, Problem] = {}
        self.ended: dict[tuple, Course] = {}
        self.first = lru_cache(maxsize=64)(lambda key, arm: _start(self.problems[key], arm))

    def problem(self, signal: str, own: Signal | None) -> tuple[str, Problem]:
        """The problem, and a key for it."""
        if signal == _OWN and own is None:
            raise ValueError("signal: there is no own file yet; upload one, or take another.")
        key = f"own {id(own)}" if signal == _OWN else signal
        if key not in self.problems:
            self.problems[key] = _problem(own if signal == _OWN else MENU[signal]())
        return key, self.problems[key]

    def courses(self, key: str, arms: dict[str, Arm]) -> dict[str, Course]:
        """Those that ended as they ended, the others at their start."""
        return {n: self.ended.get((key, arm)) or self.first(key, arm) for n, arm in arms.items()}

    def race(self, key: str, arms: dict[str, Arm], pace: Callable[[], int]):
        """Trains what has not ended yet, side by side: finished share, what makes all courses."""
        problem, courses = self.problems[key], self.courses(key, arms)
        going = {n: arm for n, arm in arms.items() if (key, arm) not in self.ended}
        runs = {n: _training(problem, arm, pace) for n, arm in going.items()}

        def made(makers: dict) -> dict[str, Course]:
            courses.update({name: make() for name, make in makers.items()})
            return courses

        done = _STEPS if not runs else 0
        if not runs:
            yield 1.0, lambda: courses
        while done < _STEPS:
            stages = {name: next(run) for name, run in runs.items()}
            done = max(step for step, _ in stages.values())
            makers = {name: make for name, (_, make) in stages.items()}
            if done == _STEPS:
                self.ended |= {(key, going[name]): make() for name, make in makers.items()}
            yield done / _STEPS, partial(made, makers)


def _frame(problem: Problem, arms: dict[str, Arm], courses: dict[str, Course]) -> Frame:
    parts = _compared(problem, courses) | _scores(problem, arms, courses)
    unit, half = problem.signal.unit
    x = (problem.look[:, 0] + 1) * half
    return parts | {"shown": ((unit, x), parts["outputs"]), "words": _words(problem)}


def contest(signal: str, seed: int = 0) -> Frame:
    """What the explorer shows of a signal at the end, by program.

    Args:
      signal: one of `MENU`.
      seed: of the draw of the seen half, and of the networks' weights.

    Returns:
      "levels": PSNR in dB on the unseen samples, and "outputs": values everywhere, each for the
      advised network, the usual one, the grid and the Fourier series; "words": the advice.
    """
    desk = _Desk()
    problem = desk.problems[signal] = _problem(MENU[signal](), seed)
    arms = {n: arm._replace(seed=seed) for n, arm in _arms(problem, "SIREN", 0.3).items()}
    del arms["yours"]
    *_, (_, made) = desk.race(signal, arms, lambda: 50)
    return _frame(problem, arms, made())


def _own_file(menu) -> File:
    """An upload that turns the menu to itself."""
    own = File(read, ".wav,.npy,.npz,.csv,.txt,image/*", "signal")
    turn = lambda change: change["new"] is not None and setattr(menu, "value", _OWN)
    own.observe(turn, names="value")
    return own


@named
def adviser(signal: str = "camera") -> Explorer:
    """Which network for my signal? Advice before training, and then the training.

    Half of the samples, drawn at random, are seen; all that is said is measured on the others. The
    advised network, a SIREN at the usual ω0 = 30 and one of your own are trained side by side,
    beside a plain grid and a truncated Fourier series that have as many numbers at most.

    Args:
      signal: one of the menu.

    Raises:
      ValueError: another signal.
    """
    if signal not in MENU:
        raise ValueError(f"signal={signal!r} is not in the menu; take one of {', '.join(MENU)}.")
    desk = _Desk()

    def compute(signal, own, family, share):
        key, problem = desk.problem(signal, own)
        arms = _arms(problem, family, share)
        return _frame(problem, arms, desk.courses(key, arms))

    def train(pace, signal, own, family, share):
        key, problem = desk.problem(signal, own)
        arms = _arms(problem, family, share)
        for done, made in desk.race(key, arms, pace):
            yield done, lambda made=made: _frame(problem, arms, made())

    menu = choice("signal", [*MENU, _OWN], signal)
    controls = {
        "share": slider("yours", "of Nyquist", 0.005, 2, 0.05),
        "family": choice("your network", _FAMILIES),
        "signal": menu,
        "own": _own_file(menu),
    }
    return Explorer(controls, compute, _draw, train, stops=(0.15, 0.5))


def _words(problem: Problem) -> str:
    """The advice in a line."""
    advised = problem.advised
    knob, label = advised.network.knob, advised.network.label
    unit = knob.unit.replace("unit", problem.signal.unit[0])
    own = advised.setting / problem.signal.unit[1]
    return f"advice: {label}, {knob.symbol} = {advised.setting:.3g} ({own:.3g} {unit})"
