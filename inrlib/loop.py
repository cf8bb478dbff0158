"""The one compiled loop of all training.

A rule says what a step is, and what it measures before it. `stretches` takes many steps at a time
and hands back the state after each stretch: whoever drives it may look, wait, choose how long the
next stretch is, or go away, and nothing is left over. `run` drives it to the end, with progress,
snapshots and a checkpoint.

A stretch is one compiled function whose first and last step are arguments: neither more steps, nor
a snapshot, nor a slider compiles it again. That is why it is a `fori_loop` and not a `scan`, whose
length is part of the program. It also makes a resumed run equal to an uninterrupted one, bit by
bit.

>>> from inrlib import fitting, networks, signals
>>> network, r = networks.SIREN((8,), mapping_width=8), signals.grid(16)
>>> theta = networks.init(network, jax.random.key(0), dims=1)
>>> training = fitting.training(network, theta, r, signals.tone(2, r), steps=9, stretch=4)
>>> [stage.step for stage in training]
[0, 4, 8, 9]
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from tqdm.auto import tqdm

from inrlib import weights

__all__ = [
    "OPTIMISED", "Progress", "Rule", "State", "begin", "curves", "run", "stacked", "stretches",
]  # fmt: skip

Stretch = int | Callable[[], int]
"""The number of steps between two looks, or a function that is asked for it before each stretch."""


@runtime_checkable
class Rule(Protocol):
    """One step of a kind of training. It is static: a new rule compiles a new program, a new number
    never does. So it is hashable and equal to its like, such as a frozen dataclass.

    Attributes:
      trouble: what to say when the loss is not finite, with {step} in it.
    """

    trouble: str

    def __call__(self, i: Array, shown: Any, hidden: Any, arrays: Any) -> tuple[Any, Any, tuple]:
        """Step i: shown and hidden after it, and what was measured before it, in dB."""


class State(NamedTuple):
    """Training between two steps.

    Attributes:
      step: the number of finished steps.
      shown: what is trained. Whoever sees it may keep it: no later stretch touches it.
      hidden: what else the rule carries, such as the optimiser's state. The next stretch works on
        it in place, and on the curves; so a state can be continued once.
      curves: buffers of what was measured, their last axis the steps; read them with `curves`.
    """

    step: int
    shown: Any
    hidden: Any
    curves: tuple[Array, ...]


def begin(shown: Any, hidden: Any, levels: tuple, steps: int) -> State:
    """The state before the first step.

    The buffers' length is a power of two, so that most numbers of steps share one program.

    Args:
      levels: shape and type of what the rule measures, one for each curve.
    """
    room = 1 << max(11, (steps - 1).bit_length())
    buffers = tuple(jnp.zeros((*level.shape, room), level.dtype) for level in levels)
    # Copies, because the loop works in place and an optimiser may hold what is shown.
    return State(0, jax.tree.map(jnp.asarray, shown), jax.tree.map(jnp.array, hidden), buffers)


def curves(state: State) -> list[np.ndarray]:
    """What was measured before each of the finished steps, copied: (…, step) each."""
    return [np.array(np.asarray(curve)[..., : state.step]) for curve in state.curves]


OPTIMISED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
"""Options of `jax.jit` for many steps: they repay the compiler, also where the environment asks for
programs that compile soon."""
if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):  # unknown to JAX after 0.11.1
    OPTIMISED["xla_cpu_use_fusion_emitters"] = True


@partial(jax.jit, static_argnums=0, donate_argnums=2, compiler_options=OPTIMISED)
def _advance(rule: Rule, shown, used_up, arrays, start, stop):
    """Steps start … stop − 1."""

    def body(i, state):
        shown, (hidden, buffers) = state
        shown, hidden, levels = rule(i, shown, hidden, arrays)
        buffers = tuple(
            buffer.at[..., i].set(level.astype(buffer.dtype))
            for buffer, level in zip(buffers, levels, strict=True)
        )
        return shown, (hidden, buffers)

    return jax.lax.fori_loop(start, stop, body, (shown, used_up))


def stretches(
    rule: Rule,
    state: State,
    arrays: Any,
    steps: int,
    stretch: Stretch,
    stops: Collection[int] = (),
) -> Iterator[State]:
    """Training as it goes: the state as it is, and after every stretch, until `steps` are done.

    Args:
      arrays: what the rule reads and does not change.
      stretch: steps at a time; a function is asked anew before each stretch.
      stops: steps at which a stretch ends in any case.

    Raises:
      FloatingPointError: the loss left the finite numbers; the step is named.
    """
    yield state
    stops = sorted({*stops, steps})
    while state.step < steps:
        start, length = state.step, max(1, int(stretch() if callable(stretch) else stretch))
        stop = min(start + length, next(stop for stop in stops if stop > start))
        used_up = state.hidden, state.curves
        shown, rest = _advance(rule, state.shown, used_up, arrays, start, stop)
        state = State(stop, shown, *rest)
        levels = np.asarray(state.curves[0])[..., start:stop]
        # A loss of exactly zero has infinite PSNR and is no failure.
        if (bad := ~np.isfinite(levels) & ~np.isposinf(levels)).any():
            step = start + int(np.argwhere(bad)[:, -1].min())
            raise FloatingPointError(rule.trouble.format(step=step))
        yield state


def run(
    rule: Rule,
    state: State,
    arrays: Any,
    steps: int,
    stretch: Stretch,
    *,
    snapshots: Collection[int] = (),
    progress: bool | Callable[[int], None] = True,
    checkpoint: str | Path | None = None,
) -> tuple[State, list]:
    """Training to its end.

    Args:
      snapshots: steps after which what is shown is kept.
      progress: a bar, or a function that is told the number of finished steps.
      checkpoint: a file that is written after every stretch. If it is there, the run goes on from
        it; `steps` and `snapshots` may have grown. Without one, a run of minutes keeps one of its
        own in the folder that the environment names as INRLIB_CHECKPOINTS, so that a program that
        was killed goes on where it was when it is started again.

    The environment's INRLIB_REHEARSAL names a file. Then only the first steps are taken, and the
    file says how long all of them would take: an estimate before a run of hours.

    Returns:
      The last state, and what was shown at each of the snapshots.

    Raises:
      ValueError: snapshots out of range; a checkpoint that is damaged, of another run, or too
        late, which is left as it is.
      FloatingPointError: as `stretches`.
    """
    if any(not 0 <= stop <= steps for stop in snapshots):
        raise ValueError(f"snapshots={list(snapshots)} must lie between 0 and steps={steps}.")
    if book := os.environ.get("INRLIB_REHEARSAL"):
        state = _rehearsed(rule, state, arrays, steps, Path(book))
        return state, [state.shown] * len(snapshots)
    file = _checkpoint(checkpoint, rule, state, arrays, (steps, *snapshots))
    state, kept = file.resume(state) if file else (state, {})
    if state.step > steps or any(stop < state.step and stop not in kept for stop in snapshots):
        raise ValueError(
            f"checkpoint: {file.path} is at step {state.step} already, too late for steps={steps} "
            f"and snapshots={list(snapshots)}; give another path."
        )
    with Progress(progress, steps) as report:
        for state in stretches(rule, state, arrays, steps, stretch, snapshots):  # noqa: B020
            if state.step in snapshots:
                kept[state.step] = state.shown
            if file:
                file.store(state, kept)
            report(state.step)
    return state, [kept[stop] for stop in snapshots]


def stacked(trees: list, axis: int = 0) -> Any:
    """Trees of one structure as one, with a new axis; None for no tree."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees) if trees else None


class Progress:
    """A tqdm bar, the caller's own function, or silence."""

    def __init__(self, progress: bool | Callable[[int], None], steps: int):
        self.bar = tqdm(total=steps, leave=False, unit="step") if progress is True else None
        self.tell = progress if callable(progress) else lambda step: None

    def __enter__(self):
        return self.report

    def report(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
        self.tell(step)

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()


# --- Interrupted and resumed -------------------------------------------------------------------


_OFTEN = 60.0
"""Seconds between two writings of a checkpoint that nobody asked for."""
_ENOUGH = 0.2
"""Seconds of steps that tell how long a step is."""


@dataclass
class _Checkpoint:
    """The file that a run goes on from: the caller's, or the run's own, which is made anew where it
    cannot be read."""

    path: Path
    stamp: str
    own: bool
    written: float = field(default_factory=perf_counter)

    def resume(self, state: State) -> tuple[State, dict[int, Any]]:
        try:
            return _resume(self.path, self.stamp, state) if self.path.exists() else (state, {})
        except ValueError:
            if not self.own:
                raise
            return state, {}

    def store(self, state: State, kept: dict[int, Any]) -> None:
        if not self.own or perf_counter() - self.written > _OFTEN:
            _store(self.path, self.stamp, state, kept)
            self.written = perf_counter()


def _checkpoint(path: str | Path | None, rule, state, arrays, ends: tuple) -> _Checkpoint | None:
    folder = os.environ.get("INRLIB_CHECKPOINTS")
    if path and Path(path).is_dir():
        raise ValueError(f"checkpoint: {path} is a folder; give the path of a file in it.")
    if path:
        return _Checkpoint(Path(path), _stamp(rule, state, arrays), False)
    if not folder or re.search("<locals>|<lambda>| at 0x", _told(rule)):
        return None  # two rules of nameless functions cannot be told apart
    stamp = _stamp(rule, state, arrays)
    name = hashlib.sha256(f"{stamp}{ends}".encode()).hexdigest()[:24]
    return _Checkpoint(Path(folder, f"{name}.safetensors"), stamp, True)


def _told(rule: Rule) -> str:
    """The rule in words that the next process uses, too: functions by their names."""
    return re.sub(r"<function ([\w.<>]+) at 0x[0-9a-f]+>", r"<function \1>", repr(rule))


def _rehearsed(rule: Rule, state: State, arrays, steps: int, book: Path) -> State:
    """The first steps in place of all; what was measured last is repeated. A line in the book says
    how many steps were asked for, how many seconds all would take, and how many were spent."""
    began, seconds, length = perf_counter(), [], 1
    while state.step < steps and sum(seconds[1:]) <= _ENOUGH:  # the first stretch compiles
        start, stop = perf_counter(), min(steps, state.step + length)
        *_, state = stretches(rule, state, arrays, stop, length)
        seconds, length = [*seconds, perf_counter() - start], 4 * length
    last, spent = state.step - 1, perf_counter() - began
    whole = steps * sum(seconds[1:]) / max(1, last)
    with book.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"steps": steps, "whole": whole, "spent": spent}) + "\n")
    filled = (b.at[..., last + 1 : steps].set(b[..., last, None]) for b in state.curves)
    return State(steps, state.shown, state.hidden, tuple(filled))


def _stamp(rule: Rule, state: State, arrays) -> str:
    """A fingerprint of all that the run depends on, its length excepted."""
    numbers = (state.shown, state.hidden, arrays)
    digest = hashlib.sha256(f"{_told(rule)}{jax.tree.structure(numbers)}".encode())
    for leaf in map(_plain, jax.tree.leaves(numbers)):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return digest.hexdigest()


def _plain(leaf) -> np.ndarray:
    is_key = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _store(path: Path, stamp: str, state: State, kept: dict[int, Any]) -> None:
    parts = {"shown": state.shown, "hidden": state.hidden, "curves": curves(state)}
    parts |= {f"kept/{stop}": shown for stop, shown in kept.items()}
    tensors = {
        f"{name}/{i}": leaf
        for name, part in parts.items()
        for i, leaf in enumerate(jax.tree.leaves(part))
    }
    weights.write(path, tensors, {"stamp": stamp, "step": state.step})


def _resume(path: Path, stamp: str, state: State) -> tuple[State, dict[int, Any]]:
    tensors, header = weights.read(path)
    if header.get("stamp") != stamp:
        raise ValueError(
            f"checkpoint: {path} is of another run (network, images, key or rates differ); give "
            "another path or remove the file."
        )

    def tree(like, prefix):
        leaves, structure = jax.tree.flatten(like)
        leaves = [jnp.asarray(tensors[f"{prefix}/{i}"]) for i in range(len(leaves))]
        return jax.tree.unflatten(structure, leaves)

    buffers = []
    for i, buffer in enumerate(state.curves):
        filled = np.zeros(buffer.shape, buffer.dtype)
        filled[..., : header["step"]] = tensors[f"curves/{i}"]
        buffers.append(jnp.asarray(filled))
    kept = {int(name.split("/")[1]) for name in tensors if name.startswith("kept")}
    kept = {stop: tree(state.shown, f"kept/{stop}") for stop in kept}
    shown, hidden = tree(state.shown, "shown"), tree(state.hidden, "hidden")
    return State(header["step"], shown, hidden, tuple(buffers)), kept
