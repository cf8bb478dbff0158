"""Which ω0, which σ, for this signal? An adviser that looks at the kernel first and then tries.

A network is wanted for one of two purposes, and they ask for different settings:

    "between"   to be right between the samples: the smallest error where nothing was seen;
    "at"        to be right at the samples: the most detail that training still takes up.

For "between", every candidate is first forecast without training. The network's linearisation is
kernel regression, whose leave-one-out error has a closed form: with K = Θ + ε I and the mean left
out of g,

    e_i = (K⁻¹ g)_i / (K⁻¹)_ii,      forecast = max over ε of 10 log10(1 / mean e²).

It ranks networks whose kernel stays put (FFN), and is too hopeful where training turns the kernel
(a SIREN at large ω0). So the candidates are then trained, a few steps each, on three quarters of
the samples and judged on the last quarter; the leaders are trained to the end, on two such splits.
The score is what training reached, plus half of the forecast. For "at" training alone decides.

>>> from inrlib import signals
>>> r, g = signals.samples(signals.grey(signals.picture("camera", 16)))
>>> advice = advise(r, g, [networks.FFN.sized(16, 1)], steps=50)
>>> advice.network.label, 0.1 < advice.setting < 4
('FFN', True)
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from inrlib import checks, fitting, networks, ntk, signals
from inrlib.networks import INR
from inrlib.trials import Trial, stacked

__all__ = [
    "PURPOSES",
    "RATIO",
    "Advice",
    "Try",
    "advise",
    "candidates",
    "forecast",
    "main",
    "spacing_of",
]

PURPOSES = ("between", "at")
RATIO = 1.6
"""Neighbouring candidates differ by at most this factor; the optimum is flatter than that."""

_LOOKED_AT, _TRIED_ON = 512, 2**18
"""Samples in the kernel; samples from which training draws its batches: as many as it uses."""
_LEADERS, _SPLITS = 4, 2
_WEIGHT = 0.5  # of the forecast in the score


class Try(NamedTuple):
    """One candidate.

    Attributes:
      network: what was tried.
      setting: of its knob.
      forecast: dB that the kernel at the start promises between the samples; NaN for "at".
      trained: dB that training reached, on samples that it did not see for "between".
      steps: that it was trained for.
      score: what ranks it.
    """

    network: INR
    setting: float
    forecast: float
    trained: float
    steps: int
    score: float


class Advice(NamedTuple):
    """What `advise` recommends.

    Attributes:
      purpose: "between" or "at".
      network, setting: the best of all.
      psnr: dB that it reached in the trial. Peak: the range of the signal's values.
      share: of the Nyquist frequency 1/(2 spacing) that the setting stands for.
      flat: the settings of this network within half a dB of the best: the wider, the less the
        choice matters, and the surer it is.
      seconds: used.
      tries: all candidates of all networks, the best first.
    """

    purpose: str
    network: INR
    setting: float
    psnr: float
    share: float
    flat: tuple[float, float]
    seconds: float
    tries: list[Try]

    def best(self, label: str) -> Try:
        """The best setting of one family.

        Raises:
          ValueError: a family that was not asked about.
        """
        for one in self.tries:
            if one.network.label == label:
                return one
        asked = dict.fromkeys(one.network.label for one in self.tries)
        raise ValueError(f"label={label!r} was not tried; choose one of {', '.join(asked)}.")

    def __str__(self) -> str:
        knob = self.network.knob
        lines = [
            f"{self.network.label} with {knob.name}={self.setting:.3g} ({knob.unit}), "
            f"{self.share:.2g} of Nyquist: {self.psnr:.1f} dB "
            + ("between the samples" if self.purpose == "between" else "at the samples"),
            f"anything from {self.flat[0]:.3g} to {self.flat[1]:.3g} is within half a dB",
        ]
        for label in dict.fromkeys(one.network.label for one in self.tries):
            one = self.best(label)
            name = one.network.knob.name
            lines.append(f"  {label}: {name}={one.setting:.3g}, {one.trained:.1f} dB")
        return "\n".join([*lines, f"{self.seconds:.1f} s"])


def spacing_of(r: Real[Array | np.ndarray, "N D"]) -> float:
    """The distance of neighbours on a grid of as many samples in the same box: (V / N)^(1/D)."""
    r = np.asarray(r)
    sides = np.ptp(r, axis=0)
    per_side = len(r) ** (1 / r.shape[1])
    return float(np.prod(sides / max(1, per_side - 1)) ** (1 / r.shape[1]))


def candidates(family: type[INR] | INR, spacing: float, extent: float) -> Float[np.ndarray, " S"]:
    """Settings in ratios of at most `RATIO`, for any unit of the coordinates.

    From a third of a period across the signal to the Nyquist frequency 1/(2 spacing); of a knob
    that is no frequency, its own range.

    Args:
      spacing: distance of the points at which the network will be looked at.
      extent: longest side of the box in which they lie, in the same unit.
    """
    knob = family.knob
    if knob.unit.startswith(("rad", "cycles")):
        low = (1.0 if knob.unit.startswith("rad") else 0.16) * 2 / extent
        high = max(1 / knob.of_nyquist(1, spacing), RATIO * low)
    else:
        low, high = knob.low, knob.high
    count = 1 + int(np.ceil(np.log(high / low) / np.log(RATIO) - 1e-6))
    return np.geomspace(low, high, count)


# --- Without training ----------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
@jax.default_matmul_precision("highest")
def _forecast(network, thetas, r, g):
    g = g - g.mean(axis=0)

    def one(theta):
        values, V = jnp.linalg.eigh(ntk.gram(network, theta, r))
        c = V.T @ g

        def left_out(epsilon):
            inverse = 1 / (jnp.abs(values) + epsilon)
            e = V @ (inverse[:, None] * c) / (V**2 @ inverse)[:, None]
            return jnp.mean(e**2)

        ridges = values.mean() * 10.0 ** jnp.linspace(-6, 1, 15)
        return fitting.decibels(jnp.min(jax.lax.map(left_out, ridges)))

    return jax.lax.map(one, thetas)


def forecast(
    network: INR,
    settings: Float[np.ndarray | Array, " S"],
    r: Float[Array | np.ndarray, "N D"],
    g: Float[Array | np.ndarray, "N C"],
    seed: int = 0,
) -> Float[np.ndarray, " S"]:
    """PSNR between the samples that the kernel at the start promises for each setting.

    Of many samples it looks at the 512 nearest to the middle of the box: their spacing, and so the
    meaning of the setting, is that of all. It assumes that the signal is alike elsewhere.

    Raises:
      ValueError: as `ntk.gram`.
    """
    one = network.clone(outputs=1)
    far = _from_the_middle(r)
    near = np.argpartition(far, _LOOKED_AT - 1)[:_LOOKED_AT] if len(r) > _LOOKED_AT else slice(None)
    thetas = stacked(one, np.asarray(settings), r.shape[1], seed)
    return np.asarray(_forecast(one, thetas, jnp.asarray(r)[near], jnp.asarray(g)[near]))


def _from_the_middle(r) -> np.ndarray:
    r = np.asarray(r)
    sides = np.maximum(np.ptp(r, axis=0), 1e-30)
    return np.abs((r - (r.max(0) + r.min(0)) / 2) / sides).max(axis=1)


# --- The advice ----------------------------------------------------------------------------------


def advise(
    r: Real[Array | np.ndarray, "N D"],
    g: Real[Array | np.ndarray, "N C"],
    among: Sequence[INR] | None = None,
    *,
    purpose: str = "between",
    spacing: float | None = None,
    steps: int = 500,
    learning_rate: float = 1e-3,
    budget: float = 60.0,
    tell: Callable[[str], None] | None = None,
) -> Advice:
    """Which network, and which ω0, σ or f0, for this signal.

    Args:
      r, g: samples on a grid or scattered, in any unit; 16 at least. Values are taken in units of
        their range, so that it is the peak of every PSNR.
      among: networks to choose from, with as many outputs as g; None takes a SIREN and an FFN of
        two hidden layers of 64.
      purpose: "between" the samples or "at" the samples.
      spacing: distance of the points at which the network will be looked at; None takes that of
        the samples. No setting above the Nyquist frequency 1/(2 spacing) is tried.
      steps, learning_rate: of Adam, as you will train. More than 512 samples are tried in random
        batches of 512.
      budget: seconds for all. When they run out the leaders are trained for fewer steps, and then
        not at all; compiling, a few seconds for each network, is not cut short. With math.inf the
        advice does not depend on what else the machine does.
      tell: is given a line on each stage.

    Raises:
      ValueError: samples that do not fit, too few of them, all at one place or all of one value,
        another purpose, or a network without a knob or with other outputs.
    """
    begun = perf_counter()
    r, g = _signal(r, g)
    among = among or [f.sized(64, 2, g.shape[1]) for f in (networks.SIREN, networks.FFN)]
    _check(purpose, among, g, budget)
    steps = checks.whole("steps", steps)
    if spacing is not None and not spacing > 0:
        raise ValueError(f"spacing={spacing} must be a distance above 0, in the unit of r.")
    spacing = spacing or spacing_of(r)
    extent = float(np.ptp(np.asarray(r), axis=0).max()) + spacing
    tries = []
    for place, network in enumerate(among):
        settings = candidates(network, spacing, extent)
        if tell:
            tell(f"{network.label}: {len(settings)} settings")
        until = begun + budget * (place + 1) / len(among)
        tries += _of_one(network, settings, r, g, purpose, steps, learning_rate, until)
    tries.sort(key=lambda one: -one.score)
    best = tries[0]
    alike = [t.setting for t in tries if t.network is best.network and t.score > best.score - 0.5]
    share = best.network.knob.of_nyquist(best.setting, spacing)
    flat = (min(alike), max(alike))
    seconds = perf_counter() - begun
    return Advice(purpose, best.network, best.setting, best.trained, share, flat, seconds, tries)


def _of_one(network, settings, r, g, purpose, steps, learning_rate, until) -> list[Try]:
    """All settings of one network: forecast, a first round for all, a second for the leaders."""
    between = purpose == "between"
    promised = forecast(network, settings, r, g) if between else np.full(len(settings), np.nan)
    weight = _WEIGHT * np.nan_to_num(promised)
    few = slice(None)
    if len(r) > _TRIED_ON:
        few = np.unique(np.random.default_rng(0).integers(0, len(r), _TRIED_ON))
    trial = Trial(network, r[few], g[few], purpose, learning_rate)
    spent = np.full(len(settings), max(1, steps // 5))
    reached = trial(settings, 0, int(spent[0]))
    leaders = np.argsort(-(reached + weight), kind="stable")[:_LEADERS]
    affordable = (until - perf_counter()) / max(trial.step_seconds, 1e-9)
    longer = int(min(steps, affordable))
    if longer > spent[0]:
        folds = range(_SPLITS if between else 1)
        longer = longer if len(folds) * longer <= affordable else max(spent[0], longer // 2)
        reached[leaders] = np.mean([trial(settings[leaders], k, longer) for k in folds], axis=0)
        spent[leaders] = longer
    # Leaders are ranked among themselves, the rest behind them as the first round left them.
    score = reached + weight
    behind = np.setdiff1d(np.arange(len(settings)), leaders)
    score[behind] = np.minimum(score[behind], score[leaders].min() - 1e-3)
    rows = zip(settings, promised, reached, spent, score, strict=True)
    return [Try(network, float(s), float(f), float(t), int(n), float(x)) for s, f, t, n, x in rows]


# --- What can be advised on ----------------------------------------------------------------------


def _signal(r, g):
    """Coordinates in float32, values in units of their range."""
    r, g = checks.pair("advise", r, g, jnp.float32)
    if g.ndim != 2 or len(r) < 16:
        raise ValueError(
            f"advise: {len(r)} samples of shape {g.shape}; give at least 16, as (N, D) and (N, C)."
        )
    if not np.ptp(np.asarray(r), axis=0).all():
        raise ValueError("advise: a coordinate is the same for all samples; leave it out.")
    low, high = jnp.min(g), jnp.max(g)
    if low == high:
        raise ValueError("advise: all values are equal; any network holds a constant.")
    return r, (g - low) / (high - low)


def _check(purpose, among, g, budget) -> None:
    if purpose not in PURPOSES:
        raise ValueError(f"purpose={purpose!r}: choose 'between' or 'at' (the samples).")
    if not budget > 0:
        raise ValueError(f"budget={budget} must be a number of seconds above 0.")
    for network in among:
        if not isinstance(network, INR) or network.knob is None:
            raise ValueError(
                f"among: {getattr(network, 'label', network)!r} has no setting to advise on; give "
                "networks such as networks.SIREN.sized(64, 2, outputs)."
            )
        if network.outputs != g.shape[1]:
            raise ValueError(
                f"among: {network.label} has outputs={network.outputs}, the signal {g.shape[1]} "
                "channels; make them the same."
            )


# --- python -m inrlib.advice file ----------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """The adviser for a file: a picture, a sound (.wav), a volume or a table (.npy, .npz, .csv)."""
    parser = argparse.ArgumentParser(prog="python -m inrlib.advice", description=main.__doc__)
    parser.add_argument("file", help="a picture, .wav, .npy, .npz or .csv")
    parser.add_argument("--purpose", choices=PURPOSES, default="between", help="the samples")
    parser.add_argument("--size", type=int, default=64, help="pixels a side of a picture")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds")
    options = parser.parse_args(arguments)
    try:
        r, g = signals.read(options.file, options.size)
        tell = lambda line: print(line, file=sys.stderr)
        print(advise(r, g, purpose=options.purpose, budget=options.budget, tell=tell))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
