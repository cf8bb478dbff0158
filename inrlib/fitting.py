"""Representing a signal: training, and the exact fit of the last layer.

    θ* = argmin ½ mean |f_θ(r) − g(r)|²

`fit` runs the paper's protocol: a first-order optimiser on all samples, or on random ones, in the
compiled loop of `loop`. `fit_many` trains a stack of networks at once, and `training` hands back
what there is after every few steps. The numbers of `theta` set the type of all others.

>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((8,), mapping_width=8), signals.grid(16)
>>> theta = networks.init(network, jax.random.key(0), dims=1)
>>> fit(network, theta, r, signals.tone(2, r), steps=9, progress=False).psnr.shape
(10,)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from inrlib import checks, devices, loop
from inrlib.checks import Whole, free_memory
from inrlib.loop import Stretch
from inrlib.networks import INR, Theta, function

__all__ = [
    "Fit",
    "Stage",
    "decibels",
    "descend",
    "downhill",
    "evaluate",
    "fit",
    "fit_many",
    "free_memory",
    "psnr",
    "readout",
    "training",
    "updated",
]

Numbers = Array | np.ndarray
Coordinates = Shaped[Numbers, "N D"] | Sequence
Values = Shaped[Numbers, "... N C"] | Sequence
HeldOut = tuple[Shaped[Numbers, "M D"] | Sequence, Shaped[Numbers, "... M C"] | Sequence]
Optimizer = Callable[[Any], optax.GradientTransformation] | optax.GradientTransformation


class Fit(NamedTuple):
    """What `fit` returns. `fit_many` puts an axis of size B before every array.

    Attributes:
      theta: the trained numbers.
      psnr: (steps + 1,) dB on the samples of that step, before each step and after the last.
      psnr_held_out: the same on the held-out samples, or None.
      snapshots: the numbers at the chosen steps, stacked on a leading axis, or None.
    """

    theta: Theta
    psnr: Float[np.ndarray, "*B steps+1"]
    psnr_held_out: Float[np.ndarray, "*B steps+1"] | None
    snapshots: Theta | None


class Stage(NamedTuple):
    """What `training` yields; it is the taker's to keep.

    Attributes:
      step: the number of finished steps.
      theta: the numbers after them.
      psnr: (step,) dB before each of these steps; `psnr` of `evaluate` is that of theta.
      psnr_held_out: the same on the held-out samples, or None.
    """

    step: int
    theta: Theta
    psnr: Float[np.ndarray, "*B step"]
    psnr_held_out: Float[np.ndarray, "*B step"] | None


def psnr(
    f: Float[Numbers, "*B N C"], g: Float[Numbers, "*B N C"], peak: float = 1.0
) -> Float[Array, "*B"]:
    """Peak signal-to-noise ratio in dB: 10 log10(peak² / mean |f − g|²) over the last two axes."""
    return decibels(jnp.mean((f - g) ** 2, axis=(-2, -1)), peak)


def decibels(mean_square: Array, peak: float | Array = 1.0) -> Array:
    """10 log10(peak² / mean square)."""
    peak = jnp.asarray(peak, mean_square.dtype)
    return 10 * (2 * jnp.log10(peak) - jnp.log10(mean_square))


def evaluate(network: nn.Module, theta: Theta, r: Float[Numbers, "N D"]) -> Float[Array, "N C"]:
    """f_θ(r), compiled once per architecture and grid.

    Raises:
      ValueError: what is no network, see `fit`.
    """
    checks.check_module(network)
    return checks.apply(network, theta, r)


def fit(
    network: nn.Module,
    theta: Theta,
    r: Coordinates,
    g: Values,
    *,
    steps: Whole = 2000,
    learning_rate: float | Float[Numbers, "..."] | optax.Schedule = 1e-4,
    optimizer: Optimizer = optax.adam,
    batch: Whole | None = None,
    key: Array | None = None,
    held_out: HeldOut | None = None,
    snapshots: Sequence[int] = (),
    peak: float = 1.0,
    progress: bool | Callable[[int], None] = True,
    many: bool = False,
) -> Fit:
    """Trains `theta["params"]` on ½ mean |f − g|².

    Args:
      network, theta: from `networks`, or any Flax Linen module that makes (N, C) of (N, D) and its
        numbers; only theta["params"] is trained.
      r, g: the samples (N, D) and (N, C). Integers, booleans and bytes are the numbers that they
        are; for a picture in bytes `signals.samples` divides by 255.
      steps: number of optimiser steps.
      learning_rate: an array argument of the compiled loop; or an optax schedule, which is not.
      optimizer: a function of the learning rate, such as `optax.adam` or `optax.sgd`; or what it
        returns, which has its own learning rate and makes the loop compile again.
      batch: samples drawn (with replacement) at each step; None takes all of them.
      key: for the draw of the batches; needed with `batch`.
      held_out: (r, g) on which the PSNR is followed too.
      snapshots: steps after which the numbers are kept, each in 0 … steps.
      peak: the signal's largest value, for the PSNR: 1 for pictures in [0, 1].
      progress: a bar, or a function that is told the number of finished steps.
      many: B networks at once, see `fit_many`.

    Raises:
      ValueError: shapes that do not fit, NaN in the samples, steps or batch out of range, more
        samples than the device's memory holds activations for, or what is no network.
      FloatingPointError: the loss left the finite numbers; the step is named.
    """
    rule, state, arrays = _prepare(
        network, theta, r, g, steps=steps, learning_rate=learning_rate, optimizer=optimizer,
        batch=batch, key=key, held_out=held_out, peak=peak, many=many,
    )  # fmt: skip
    steps, shown = int(steps), {"snapshots": snapshots, "progress": progress}
    state, kept = loop.run(rule, state, arrays, steps, -(-steps // 50), **shown)
    ends = rule.measure(state.shown, arrays)
    curves = [
        np.append(curve, np.asarray(end)[..., None], axis=-1)
        for curve, end in zip(loop.curves(state), ends, strict=True)
    ]
    return Fit(
        theta={**theta, "params": state.shown},
        psnr=curves[0],
        psnr_held_out=curves[1] if held_out is not None else None,
        snapshots=loop.stacked([{**theta, "params": params} for params in kept], axis=int(many)),
    )


def fit_many(network: nn.Module, thetas: Theta, r: Coordinates, g: Values, **options: Any) -> Fit:
    """`fit` for B networks of one architecture at once: seeds, settings or targets.

    Args:
      thetas: every leaf with a leading axis B, such as `jax.vmap(init)` makes.
      g: (N, C), the same target for all, or (B, N, C), one for each; `held_out` likewise.
      options: as `fit`. `learning_rate` is one for all, or an array of B. All networks see the same
        random batches.

    Several devices share the networks where B comes out even over them, else the samples.

    Raises:
      As `fit`.
    """
    return fit(network, thetas, r, g, many=True, **options)


def training(
    network: nn.Module,
    theta: Theta,
    r: Coordinates,
    g: Values,
    *,
    stretch: Stretch = 40,
    steps: Whole = 2000,
    **options: Any,
) -> Iterator[Stage]:
    """`fit` as it goes: the first numbers, and those after every stretch of steps.

    Nothing happens before the next stage is asked for, and a dropped generator leaves nothing over.
    The numbers are those of `fit` to the last bit, however the stretches are cut.

    Args:
      network, theta, r, g, steps: as `fit`.
      stretch: steps between two stages; or a function of nothing that is asked for it before each
        stretch, so that their length can follow the time they take.
      options: as `fit`, without `snapshots` and `progress`.

    Raises:
      As `fit`: ValueError here, FloatingPointError at the stage that failed.
    """
    rule, state, arrays = _prepare(network, theta, r, g, steps=steps, **options)

    def stage(state: loop.State) -> Stage:
        curves = [*loop.curves(state), None]
        return Stage(state.step, {**theta, "params": state.shown}, *curves[:2])

    return map(stage, loop.stretches(rule, state, arrays, int(steps), stretch))


def descend(
    loss: Callable[[Any], Array], params: Any, rate: float | Array, steps: int | Array
) -> Any:
    """Gradient descent, `steps` times θ ← θ − rate ∇loss(θ), to be compiled by whoever calls it.

    rate and steps may be traced, so that a slider moves them.
    """
    slope = jax.grad(loss)
    return jax.lax.fori_loop(
        0, steps, lambda _, params: downhill(params, slope(params), rate), params
    )


def downhill(params: Any, gradient: Any, rate: float | Array) -> Any:
    """One such step. JAX's gradient by a complex number is the conjugate of the steepest ascent."""
    return jax.tree.map(lambda p, d: p - rate * jnp.conj(d), params, gradient)


def updated(
    transformation: optax.GradientTransformation, gradient: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    """The parameters and the optimiser's state after its step."""
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of the number of steps
        updates, opt_state = transformation.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state


@dataclass(frozen=True)
class _Training:
    """The rule of `fit`: shown are the parameters, hidden is the optimiser's state."""

    network: nn.Module
    optimizer: Optimizer
    batch: int | None
    many: bool

    trouble: ClassVar[str] = "fit: the loss is not finite at step {step}; lower learning_rate."

    def transformation(self, rate) -> optax.GradientTransformation:
        return self.optimizer(rate) if callable(self.optimizer) else self.optimizer

    @partial(jax.jit, static_argnums=0)
    def begin(self, params, rate):
        return self.over_members(self.transformation(rate.min()).init, 0)(params)

    def mean_square(self, params, rest, r, g):
        return jnp.mean((function(self.network, rest)(params, r) - g) ** 2)

    def over_members(self, function, *axes):
        return jax.vmap(function, in_axes=axes) if self.many else function

    def levels(self, params, rest, sets, peak):
        """PSNR in dB on each set of samples."""
        each = lambda g: self.over_members(self.mean_square, 0, 0, None, _target_axis(g))
        return tuple(decibels(each(g)(params, rest, r, g), peak) for r, g in sets)

    @partial(jax.jit, static_argnums=0)
    def measure(self, params, arrays):
        sets, rest, _, peak, _ = arrays
        return self.levels(params, rest, sets, peak)

    def __call__(self, i, params, opt_state, arrays):
        ((r, g), *held_out), rest, rates, peak, key = arrays

        def one(params, opt_state, rest, r, g, rate):
            half = lambda params: self.mean_square(params, rest, r, g) / 2
            loss, gradient = jax.value_and_grad(half)(params)
            gradient = jax.tree.map(jnp.conj, gradient)  # as in `downhill`
            after = updated(self.transformation(rate), gradient, opt_state, params)
            return *after, decibels(2 * loss, peak)

        step = self.over_members(one, 0, 0, 0, None, _target_axis(g), 0 if rates.ndim else None)
        seen = (r, g)
        if self.batch is not None:
            pick = jax.random.randint(jax.random.fold_in(key, i), (self.batch,), 0, len(r))
            seen = (r[pick], g[..., pick, :])
        after, opt_state, level = step(params, opt_state, rest, *seen, rates)
        return after, opt_state, (level, *self.levels(params, rest, held_out, peak))


def _target_axis(g):
    return 0 if g.ndim == 3 else None


def _prepare(
    network, theta, r, g, *, steps, learning_rate=1e-4, optimizer=optax.adam, batch=None, key=None,
    held_out=None, peak=1.0, many=False,
):  # fmt: skip
    """The rule, the state before the first step, and what the rule reads."""
    steps = checks.whole("steps", steps)
    batch = None if batch is None else checks.whole("batch", batch)
    if batch is not None and key is None:
        raise ValueError(f"batch={batch} needs key=jax.random.key(…) to draw the samples.")
    if not (np.isfinite(peak) and peak > 0):
        raise ValueError(f"peak={peak} must be a finite number greater than 0.")
    dtype, members = checks.precision(theta), checks.members_of(theta) if many else ()
    data = [checks.pair("fit", r, g, dtype)]
    if held_out is not None:
        data.append(checks.pair("held_out", *held_out, dtype))
    checks.check_sets(data, checks.check_network(network, theta, data[0][0], many), members, many)
    count = batch or len(data[0][0])
    split = (*members, *(() if batch else (count,)))  # a batch is whole on every device
    parts = max((devices.size(devices.several(each)) for each in split), default=1)
    checks.check_activations(network, count, members, dtype, parts)
    if callable(learning_rate):  # a schedule
        optimizer, learning_rate = optimizer(learning_rate), 1e-4
    elif not callable(optimizer) and np.any(np.not_equal(learning_rate, 1e-4)):
        raise ValueError(
            "learning_rate: an optax object has its own; leave it out, or give the function that "
            "makes it, such as optimizer=optax.adam."
        )
    rates = checks.numbers("learning_rate", learning_rate, dtype)
    if rates.shape not in {(), members}:
        raise ValueError(f"learning_rate: shape {rates.shape} must be () or {members}.")
    rule = _Training(network, optimizer, batch, many)
    rest = {collection: leaves for collection, leaves in theta.items() if collection != "params"}
    key = jax.random.key(0) if key is None else key
    arrays = (tuple(data), rest, rates, jnp.asarray(peak, dtype), key)
    params = jax.tree.map(jnp.asarray, theta["params"])
    levels = (jax.ShapeDtypeStruct(members, dtype),) * len(data)
    state = loop.begin(params, rule.begin(params, rates), levels, steps)
    return rule, *_spread(state, arrays, members)


def _spread(state: loop.State, arrays: tuple, members: tuple) -> tuple[loop.State, tuple]:
    """Over all devices: the members where they come out even, else the samples if they do."""
    sets, rest, rates, *others = arrays
    if not members or devices.several(*members) is None:
        sets = tuple((devices.split(r), devices.split(g, -2)) for r, g in sets)
        return state, (sets, rest, rates, *others)
    own = partial(jax.tree.map, devices.split)  # what has a leading axis of members
    shared = lambda array, axes: own(array) if array.ndim > axes else devices.everywhere(array)
    sets = tuple((devices.everywhere(r), shared(g, 2)) for r, g in sets)
    return loop.State(state.step, *own(state[1:])), (sets, own(rest), shared(rates, 0), *others)


@jax.default_matmul_precision("highest")
def readout(
    network: INR,
    theta: Theta,
    r: Coordinates,
    g: Shaped[Numbers, "N C"] | Sequence,
    ridge: float | Array = 1e-5,
) -> Theta:
    """The network with its last layer fitted exactly, everything before it left at `theta`.

    With Z (N, F) the last hidden layer at r, a column of ones appended, the new W^(L) is

        argmin_W |Z W − g|² + (ridge · s₀)² |W|²,      s₀ the largest singular value of Z.

    It needs no training, costs one small singular value decomposition, and spans all that these
    hidden units can say. The ridge stands near the rounding of float32, so that no draw of the
    hidden units fails. ZᵀZ would be faster and lose half of the digits: a SIREN at ω0 = 30, whose
    smooth hidden units nearly repeat each other, then seems unable to say what it can.

    Returns:
      theta with another `readout` layer. The function may be jitted and vmapped.

    Raises:
      ValueError: samples that do not fit each other or the network, or more of them than the
        device's memory holds the decomposition for.
    """
    if not isinstance(network, INR):
        raise ValueError(
            f"readout: {type(network).__name__} is no INR, so that its last layer is not known; "
            "make it a subclass of networks.INR."
        )
    r, g = checks.pair("readout", r, g, checks.precision(theta))
    checks.check_sets([(r, g)], checks.check_network(network, theta, r), (), False)
    width = network.widths[-1] if network.widths else getattr(network, "mapping_width", 0)
    # Z, Z with its ones, LAPACK's copy and workspace, U twice: measured.
    checks.check_memory("the decomposition", len(r), 6 * (width + 1) * r.dtype.itemsize)
    Z = network.apply(theta, r, method="features")
    Z = jnp.concatenate([Z, jnp.ones_like(Z[:, :1])], axis=1)
    U, s, Vt = jnp.linalg.svd(Z, full_matrices=False)
    inverse = s / (s**2 + (ridge * s[0]) ** 2)
    W = Vt.T @ (inverse[:, None] * (U.T @ (g - network.offset)))
    layer = {"kernel": W[:-1], "bias": W[-1]}
    return {**theta, "params": dict(theta["params"]) | {"readout": layer}}
