"""What several explorers share: choosing a family, training it, axes side by side, rows of atoms.

>>> state(120, 500, 31.42, 22.01)
'step 120 of 500\\n31.4 dB seen · 22.0 dB unseen'
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from inrlib import fitting, networks, plots
from inrlib.atoms import Eigen
from inrlib.live import Number, knob
from inrlib.live.explorer import Frame
from inrlib.live.training import Stages
from inrlib.weights import Weights

__all__ = [
    "atoms", "before", "beside", "choose", "energy", "follow", "given", "scale", "state",
]  # fmt: skip

Update = Callable[[Any], None]


def choose(family: str, families: Mapping[str, Any]) -> Any:
    """What this explorer has for a family.

    Raises:
      ValueError: it has nothing for that one.
    """
    if family not in families:
        raise ValueError(f"family={family!r} has no explorer here; choose {' or '.join(families)}.")
    return families[family]


def given(weights: Weights) -> tuple[networks.INR, networks.Theta, dict[str, Number]]:
    """A reader's own network for pictures, its numbers, and a slider for its knob if it has one.

    Raises:
      ValueError: no network with its numbers; one of other coordinates than two, of other channels
        than one or three; several networks at once.
    """
    if not isinstance(weights, Weights) or not isinstance(weights.network, networks.INR):
        raise ValueError(
            f"weights: a {type(weights).__name__} is not what imported.from_torch(path) or "
            "weights.load(path) returns; give that."
        )
    network, theta, _ = weights
    r = jax.ShapeDtypeStruct((1, 2), np.float32)
    try:
        channels = jax.eval_shape(network.apply, theta, r).shape[-1]
    except Exception as error:  # a module may raise anything
        raise ValueError(
            f"weights: {type(network).__name__} with these numbers takes no two coordinates, as a "
            "picture has; of several networks take one: jax.tree.map(lambda leaf: leaf[0], theta)."
        ) from error
    if channels not in (1, 3):
        raise ValueError(f"weights: {channels} channels are no picture; it has 1 or 3.")
    if network.knob is None:
        return network, theta, {}
    name, *_, low, high, _ = network.knob
    value = float(next(leaves[name] for leaves in theta.values() if name in leaves))
    ends = low if value >= low else value / 2, high if value <= high else 2 * value
    return network, theta, {name: knob(type(network), *ends, value)}


def state(
    step: int, steps: int, seen: float | Array, unseen: float | Array, start: str = "untrained"
) -> str:
    """How far training is, and how well the samples and what lies between them are met."""
    name = start if step == 0 else f"step {step:,} of {steps:,}"
    name = f"trained, {steps:,} steps" if step == steps else name
    return f"{name}\n{seen:.1f} dB seen · {unseen:.1f} dB unseen"


def scale(knob: networks.Knob | None, value: float | None, spacing: float) -> str:
    """A knob's value beside the samples' spacing."""
    if knob is None:
        return "no frequencies to set"
    percent = 100 * knob.of_nyquist(value, spacing)
    return f"{knob.symbol} = {value:.4g}: {percent:.0f} % of Nyquist"


def follow(
    network: networks.INR,
    theta: networks.Theta,
    samples: tuple[jax.Array, jax.Array],
    look: Callable[[networks.Theta], Frame],
    spacing: float,
    *,
    steps: int,
    learning_rate: float,
) -> tuple[Callable[..., Frame], Callable[..., Stages]]:
    """The `compute` and `train` of an explorer with one knob: Adam on the samples, full batch.

    Args:
      look: theta → a frame with the parts "seen" and "unseen", in dB.
      spacing: between neighbouring samples.

    Returns:
      The network at initialisation, and real training of all layers. Their frames have "state",
      how far it is, and "scale", the knob beside the Nyquist frequency.
    """
    look, knob = jax.jit(look), network.knob

    def frame(theta, step):
        parts = look(theta)
        return parts | {"state": state(step, steps, parts["seen"], parts["unseen"])}

    def compute(**setting):
        tuned = networks.tune(theta, **setting)
        return frame(tuned, 0) | {"scale": scale(knob, setting[knob.name], spacing)}

    def train(pace, **setting):
        options = {"steps": steps, "learning_rate": learning_rate, "stretch": pace}
        start = networks.tune(theta, **setting)
        for stage in fitting.training(network, start, *samples, **options):
            yield stage.step / steps, lambda stage=stage: frame(stage.theta, stage.step)

    return compute, train


def beside(
    x: plots.Numbers,
    curves: Mapping[str, plots.Numbers],
    levels: Mapping[str, plots.Numbers],
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


def before(previous: Frame | None, samples: int, count: int) -> Eigen:
    """The eigenfunctions of the frame before the present one.

    Those of a frame before the first are NaN: as if there were none (see `atoms.align`), but the
    first frame and all that follow are one compiled program.
    """
    if previous is not None:
        return previous["eigen"]
    nothing = lambda *shape: jnp.full(shape, jnp.nan, jnp.float32)
    return Eigen(nothing(count), nothing(samples, count), nothing(count))


def atoms(axes: Iterable[plots.Axes], pictures: plots.Numbers) -> Update:
    """Eigenfunctions φ0, φ1, … one an axes."""
    rows = list(zip(axes, pictures, strict=True))
    changes = [plots.atom(ax, picture, f"φ{i}") for i, (ax, picture) in enumerate(rows)]

    def update(pictures: plots.Numbers) -> None:
        for change, picture in zip(changes, pictures, strict=True):
            change(picture)

    return update


def energy(ax: plots.Axes, thresholds: plots.Numbers, family: str, share: plots.Numbers) -> Update:
    """Share of energy above a threshold, large eigenvalues at the left."""
    labels = {"xlabel": "eigenvalue / largest", "ylabel": "share of energy", "xscale": "log"}
    limits = {"xlim": (1, thresholds[0]), "ylim": (0, 1.02)}
    curve = plots.curves(ax, thresholds, {family: share}, plots.COLOURS, **labels, **limits)
    return lambda share: curve({family: share})
