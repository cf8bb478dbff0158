"""Representing a signal: one compiled training loop, and the exact fit of the last layer.

    θ* = argmin ½ mean |f_θ(r) − g(r)|²

`fit` runs the paper's protocol: a first-order optimiser on all samples, or on random ones. The
whole loop is one compiled function whose length is an argument: neither more steps, nor a snapshot,
nor a slider compiles it again. That is why it is a `fori_loop` and not a `scan`, whose length is
part of the program. `fit_many` trains a stack of networks in the same loop.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float
from tqdm.auto import tqdm

from inrlib.networks import INR, Theta

__all__ = ["Fit", "Progress", "evaluate", "fit", "fit_many", "free_memory", "psnr", "readout"]

Samples = tuple[Float[Array, "N D"], Float[Array, "*B N C"]]


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


def psnr(
    f: Float[Array, "*B N C"], g: Float[Array, "*B N C"], peak: float = 1.0
) -> Float[Array, "*B"]:
    """Peak signal-to-noise ratio in dB: 10 log10(peak² / mean |f − g|²) over the last two axes."""
    return _decibels(jnp.mean((f - g) ** 2, axis=(-2, -1)), peak)


def _decibels(mean_square: Array, peak: float) -> Array:
    return 10 * (2 * jnp.log10(peak) - jnp.log10(mean_square))


@partial(jax.jit, static_argnums=0)
def evaluate(network: INR, theta: Theta, r: Float[Array, "N D"]) -> Float[Array, "N C"]:
    """f_θ(r), compiled once per architecture and grid."""
    return network.apply(theta, r)


def fit(
    network: INR,
    theta: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "*B N C"],
    *,
    steps: int = 2000,
    learning_rate: float | Float[Array, "*B"] = 1e-4,
    optimizer: Callable[[Array], optax.GradientTransformation] = optax.adam,
    batch: int | None = None,
    key: Array | None = None,
    held_out: Samples | None = None,
    snapshots: Sequence[int] = (),
    peak: float = 1.0,
    progress: bool | Callable[[int], None] = True,
    many: bool = False,
) -> Fit:
    """Trains `theta["params"]` on ½ mean |f − g|².

    Args:
      network, theta: from `networks`; theta["fixed"] is not touched.
      r, g: the samples (N, D) and (N, C). float32 in, float32 throughout; float64 likewise.
      steps: number of optimiser steps.
      learning_rate: an array argument of the compiled loop.
      optimizer: a function of the learning rate, such as `optax.adam` or `optax.sgd`.
      batch: samples drawn (with replacement) at each step; None takes all of them.
      key: for the draw of the batches; needed with `batch`.
      held_out: (r, g) on which the PSNR is followed too.
      snapshots: steps after which the numbers are kept, each in 0 … steps.
      peak: the signal's largest value, for the PSNR: 1 for pictures in [0, 1].
      progress: a bar, or a function that is told the number of finished steps.
      many: B networks at once, see `fit_many`.

    Returns:
      A `Fit`.

    Raises:
      ValueError: shapes that do not fit, NaN in the samples, steps or batch out of range, or more
        samples than the device's memory holds activations for.
      FloatingPointError: the loss left the finite numbers; the step is named.
    """
    _check(network, theta, (r, g), steps, batch, key, snapshots, many)
    if held_out is not None:
        _check_samples("held_out", *held_out)
        held_out = _spread(held_out)
    learning_rate = jnp.asarray(learning_rate)
    problem = _Problem(network, optimizer, batch, many)
    arrays = (_spread((r, g)), held_out, theta["fixed"], learning_rate, peak)
    key = jax.random.key(0) if key is None else key
    state = _start(problem, theta["params"], learning_rate, steps, g.dtype, held_out is not None)

    kept, here = {}, 0
    marks = np.linspace(0, steps, min(steps, 50) + 1).astype(int).tolist()
    with Progress(progress, steps) as report:
        for stop in sorted({*marks, *snapshots}):
            state = _advance(problem, state, arrays, key, here, stop)
            _check_finite(np.asarray(state[2][0])[..., here:stop], here)
            here = stop
            if stop in snapshots:
                kept[stop] = {"params": jax.tree.map(jnp.copy, state[0]), "fixed": theta["fixed"]}
            report(stop)

    params, _, curves = state
    ends = _measure(problem, params, arrays)
    curves = [
        np.append(np.asarray(curve)[..., :steps], np.asarray(end)[..., None], axis=-1)
        for curve, end in zip(curves, ends, strict=True)
    ]
    stack = lambda *leaves: jnp.stack(leaves, axis=int(many))
    return Fit(
        theta={"params": params, "fixed": theta["fixed"]},
        psnr=curves[0],
        psnr_held_out=curves[1] if held_out else None,
        snapshots=jax.tree.map(stack, *(kept[stop] for stop in snapshots)) if kept else None,
    )


def fit_many(
    network: INR, thetas: Theta, r: Float[Array, "N D"], g: Float[Array, "*B N C"], **options
) -> Fit:
    """`fit` for B networks of one architecture at once: seeds, settings or targets.

    Args:
      thetas: every leaf with a leading axis B, such as `jax.vmap(init)` makes.
      g: (N, C), the same target for all, or (B, N, C), one for each; `held_out` likewise.
      options: as `fit`. `learning_rate` is one for all, or an array of B. All networks see the same
        random batches.

    Raises:
      As `fit`.
    """
    return fit(network, thetas, r, g, many=True, **options)


def _start(problem, params, learning_rate, steps, dtype, has_held_out):
    """What the loop carries: parameters, the optimiser's state, and a buffer for each curve.

    The buffers' length is a power of two, so that most numbers of steps share one program.
    """
    begin = problem.over_members(problem.optimizer(learning_rate.min()).init, 0)
    members = jax.tree.leaves(params)[0].shape[:1] if problem.many else ()
    room = 1 << max(11, (steps - 1).bit_length())
    curves = [jnp.full((*members, room), jnp.nan, dtype)] * (1 + has_held_out)
    # A copy, because the loop works in place.
    return jax.tree.map(jnp.array, (params, begin(params), curves))


class _Problem(NamedTuple):
    """What is static: a new one compiles a new program, a new number never does."""

    network: INR
    optimizer: Callable
    batch: int | None
    many: bool

    def mean_square(self, params, fixed, r, g):
        return jnp.mean((self.network.apply({"params": params, "fixed": fixed}, r) - g) ** 2)

    def over_members(self, function, *axes):
        return jax.vmap(function, in_axes=axes) if self.many else function


def _target_axis(g):
    return 0 if g.ndim == 3 else None


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(problem: _Problem, state, arrays, key, start, stop):
    """Steps start … stop − 1. Both are traced, so that any stretch is the same program."""
    (r, g), held_out, fixed, learning_rate, peak = arrays

    def one(params, opt_state, fixed, r, g, rate):
        half = lambda params: problem.mean_square(params, fixed, r, g) / 2
        loss, gradient = jax.value_and_grad(half)(params)
        updates, opt_state = problem.optimizer(rate).update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, _decibels(2 * loss, peak)

    rate_axis = 0 if learning_rate.ndim else None
    step = problem.over_members(one, 0, 0, 0, None, _target_axis(g), rate_axis)

    def body(i, state):
        params, opt_state, curves = state
        seen = (r, g)
        if problem.batch is not None:
            pick = jax.random.randint(jax.random.fold_in(key, i), (problem.batch,), 0, len(r))
            seen = (r[pick], g[..., pick, :])
        after, opt_state, level = step(params, opt_state, fixed, *seen, learning_rate)
        levels = [level]
        if held_out is not None:
            levels += _levels(problem, params, fixed, [held_out], peak)
        curves = [c.at[..., i].set(d) for c, d in zip(curves, levels, strict=True)]
        return after, opt_state, curves

    return jax.lax.fori_loop(start, stop, body, state)


def _levels(problem, params, fixed, sets, peak):
    """PSNR in dB on each set of samples."""
    return [
        _decibels(
            problem.over_members(problem.mean_square, 0, 0, None, _target_axis(g))(
                params, fixed, r, g
            ),
            peak,
        )
        for r, g in sets
    ]


@partial(jax.jit, static_argnums=0)
def _measure(problem: _Problem, params, arrays):
    data, held_out, fixed, _, peak = arrays
    return _levels(problem, params, fixed, [data] + ([held_out] if held_out else []), peak)


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


def _spread(samples: Samples) -> Samples:
    """Samples split over all devices, when there are several and the split comes out even."""
    devices = jax.devices()
    if len(devices) == 1 or len(samples[0]) % len(devices):
        return samples
    mesh = Mesh(np.asarray(devices), ("samples",))

    def place(array: Array) -> Array:
        axes = (None,) * (array.ndim - 2) + ("samples", None)
        return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes)))

    return place(samples[0]), place(samples[1])


def readout(
    network: INR,
    theta: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "N C"],
    ridge: float = 1e-5,
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
      ValueError: samples that do not fit each other.
    """
    _check_shapes("readout", r, g)
    Z = network.apply(theta, r, method="features")
    Z = jnp.concatenate([Z, jnp.ones_like(Z[:, :1])], axis=1)
    U, s, Vt = jnp.linalg.svd(Z, full_matrices=False)
    inverse = s / (s**2 + (ridge * s[0]) ** 2)
    W = Vt.T @ (inverse[:, None] * (U.T @ (g - network.offset)))
    layer = {"kernel": W[:-1], "bias": W[-1]}
    return {"params": dict(theta["params"]) | {"readout": layer}, "fixed": theta["fixed"]}


def _check(network, theta, data, steps, batch, key, snapshots, many) -> None:
    _check_samples("fit", *data)
    r, g = data
    if g.shape[-1] != network.outputs:
        raise ValueError(
            f"g: {g.shape[-1]} channels for a network with outputs={network.outputs}; "
            "convert the signal or change the network."
        )
    if g.ndim != 2 and not many:
        raise ValueError(f"g: shape={g.shape} is a stack of targets; use fit_many.")
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    if batch is not None and (batch < 1 or key is None):
        raise ValueError(f"batch={batch} must be at least 1 and needs key=jax.random.key(…).")
    if any(not 0 <= stop <= steps for stop in snapshots):
        raise ValueError(f"snapshots={list(snapshots)} must lie between 0 and steps={steps}.")
    members = jax.tree.leaves(theta["params"])[0].shape[0] if many else 1
    widths = sum(network.widths) + getattr(network, "mapping_width", 0)
    needed = 4 * members * (batch or len(r)) * widths * g.dtype.itemsize
    if needed > (free := free_memory()):
        raise ValueError(
            f"r: {batch or len(r):,} samples need about {needed / 2**30:.1f} GiB of activations "
            f"and the device has {free / 2**30:.1f} GiB; pass batch=… or a coarser grid."
        )


def free_memory() -> int:
    """Bytes that the default device can still give."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages)


def _check_samples(name: str, r, g) -> None:
    _check_shapes(name, r, g)
    if not (jnp.isfinite(r).all() and jnp.isfinite(g).all()):
        raise ValueError(f"{name}: the samples contain NaN or infinity; replace them first.")


def _check_shapes(name: str, r, g) -> None:
    if r.ndim != 2 or g.ndim not in (2, 3) or r.shape[0] != g.shape[-2]:
        raise ValueError(
            f"{name}: coordinates {r.shape} and values {g.shape} must be (N, D) and (N, C)."
        )


def _check_finite(levels: Float[np.ndarray, "*B steps"], start: int) -> None:
    bad = ~np.isfinite(levels)
    # A loss of exactly zero has infinite PSNR and is no failure.
    bad &= ~np.isposinf(levels)
    if bad.any():
        step = start + int(np.argwhere(bad)[:, -1].min())
        raise FloatingPointError(
            f"fit: the loss is not finite at step {step}; lower learning_rate."
        )
