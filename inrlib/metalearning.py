"""Section 5.3: initial numbers that are learned from many images.

Training on an image starts somewhere, and the kernel of that place decides what is learned easily.
The place itself can be trained: θ is good if a few gradient steps from it fit any image of a set,

    MAML      min_θ E_g L(U_g(θ), g),      U_g = K steps θ ← θ − α ∇L(θ, g)
    Reptile   the outer gradient is θ − E_g U_g(θ)

with L(θ, g) = mean |f_θ(r) − g(r)|². MAML's gradient goes through the inner steps and so sees
second derivatives of f: through them it reshapes the kernel. With K = 0 it is ordinary training.

L is the mean square, as in the authors' code of the meta-learning; `fitting.fit` has half of it, as
theirs has where it fits images. A step of 1e-2 here is one of 2e-2 there.

>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((8,), mapping_width=8), signals.grid(16)
>>> theta, key = networks.init(network, jax.random.key(0), dims=1), jax.random.key(1)
>>> tones = jnp.stack([signals.tone(f, r) for f in range(1, 5)])
>>> meta_learn(network, theta, r, tones, key=key, steps=9, progress=False).psnr.shape
(9,)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from inrlib import checks, loop
from inrlib.checks import Whole
from inrlib.fitting import Coordinates, decibels, downhill, updated
from inrlib.moved import moved
from inrlib.networks import Theta, function

__all__ = ["Learned", "meta_learn", "outer_gradient", "pretrain"]

Method = Literal["maml", "reptile"]

_WEIGHTS = ("AUTHORS", "Weights", "authors", "load", "save", "shipped")
__getattr__ = moved(__name__, **{name: f"inrlib.weights.{name}" for name in _WEIGHTS})


class Learned(NamedTuple):
    """What `meta_learn` returns.

    Attributes:
      theta: the learned numbers.
      psnr: (steps,) dB after the inner steps, in the mean over each step's images.
      snapshots: the numbers after the chosen steps, stacked on a leading axis, or None.
    """

    theta: Theta
    psnr: Float[np.ndarray, " steps"]
    snapshots: Theta | None


def outer_gradient(
    network: nn.Module,
    theta: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "B N C"],
    *,
    method: Method = "maml",
    inner_steps: int = 2,
    inner_rate: float | Array = 1e-2,
) -> tuple[Float[Array, ""], Any]:
    """The loss after the inner steps and the outer gradient, both in the mean over B images.

        maml:     ∇θ L(U_g(θ), g), through the inner steps (Finn et al. 2017)
        reptile:  θ − U_g(θ), no second derivative (Nichol et al. 2018)

    Args:
      network, theta: from `networks`; theta["fixed"] has no gradient.
      r, g: one grid, B images on it.
      inner_steps: K. With 0, maml is the ordinary gradient of L.
      inner_rate: α.

    Returns:
      L, and a pytree like theta["params"]. The function may be jitted.
    """

    f = function(network, theta)
    loss = lambda params, g: jnp.mean((f(params, r) - g) ** 2)

    def adapted(params, g):
        for _ in range(inner_steps):
            params = downhill(params, jax.grad(loss)(params, g), inner_rate)
        return params

    def one(g):
        if method == "maml":
            return jax.value_and_grad(lambda params: loss(adapted(params, g), g))(theta["params"])
        after = adapted(theta["params"], g)
        return loss(after, g), jax.tree.map(jnp.subtract, theta["params"], after)

    # One image fills a processor, and its arrays stay in the cache; a GPU wants all at once.
    each = partial(jax.lax.map, one) if jax.default_backend() == "cpu" else jax.vmap(one)
    return jax.tree.map(lambda a: jnp.mean(a, axis=0), each(g))


@dataclass(frozen=True)
class _Outer:
    """The rule of `meta_learn`: shown are the parameters, hidden is Adam's state."""

    network: nn.Module
    method: Method
    inner_steps: int
    batch: int

    @property
    def trouble(self) -> str:
        rates = "inner_rate or outer_rate" if self.inner_steps else "outer_rate"
        return f"meta_learn: the loss is not finite at step {{step}}; lower {rates}."

    def __call__(self, i, params, opt_state, arrays):
        r, images, rest, inner_rate, outer_rate, key = arrays
        g = images
        if self.batch < len(images):
            pick = jax.random.permutation(jax.random.fold_in(key, i), len(images))[: self.batch]
            g = images[pick]
        loss, gradient = outer_gradient(
            self.network, {**rest, "params": params}, r, g, method=self.method,
            inner_steps=self.inner_steps, inner_rate=inner_rate,
        )  # fmt: skip
        after = updated(optax.adam(outer_rate), gradient, opt_state, params)
        return *after, (decibels(loss),)


_STRETCH = 8  # the steps between two reports, checkpoints and looks at the loss


def meta_learn(
    network: nn.Module,
    theta: Theta,
    r: Coordinates,
    images: Shaped[Array | np.ndarray, "M N C"] | Sequence,
    *,
    key: Array,
    method: Method = "maml",
    steps: Whole = 5000,
    inner_steps: Whole = 2,
    inner_rate: float = 1e-2,
    outer_rate: float = 1e-5,
    batch: Whole = 3,
    snapshots: Sequence[int] = (),
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int], None] = True,
) -> Learned:
    """Learns initial numbers for a set of images: MAML or Reptile with Adam outside.

    The defaults are the paper's. Judge the result by pixels that an adapted network has not seen:
    on a coarse grid or with a larger outer rate the kernel becomes the identity on the grid, which
    fits every training pixel and knows nothing about the others.

    Args:
      network, theta: from `networks`; theta["fixed"] is not touched.
      r, images: one grid and M images on it, taken as `fitting.fit` takes samples.
      key: draws each step's images, without repetition; the draw depends on the step alone.
      method, inner_steps, inner_rate: as `outer_gradient`.
      steps, outer_rate: outer steps of Adam.
      batch: images a step.
      snapshots: steps after which the numbers are kept, each in 0 … steps.
      checkpoint: a file that is written every few steps. If it is there, the run goes on from it,
        and on the same machine ends with the same bits as if it had never stopped. `steps` may
        grow, with later `snapshots`.
      progress: a bar, or a function that is told the number of finished steps.

    Raises:
      ValueError: shapes that do not fit, NaN in the images, numbers out of range, or a checkpoint
        that is damaged or of another run; it is left as it is.
      FloatingPointError: the loss left the finite numbers; the step is named.
    """
    steps = checks.whole("steps", steps)
    dtype = checks.precision(theta)
    r, images = _task(network, theta, r, images, dtype, method, inner_steps, batch)
    rule = _Outer(network, method, int(inner_steps), int(batch))
    named = {"inner_rate": inner_rate, "outer_rate": outer_rate}
    rates = [checks.numbers(name, rate, dtype) for name, rate in named.items()]
    rest = {collection: leaves for collection, leaves in theta.items() if collection != "params"}
    params = jax.tree.map(jnp.asarray, theta["params"])
    level = jax.ShapeDtypeStruct((), dtype)
    state = loop.begin(params, optax.adam(rates[1]).init(params), (level,), steps)
    state, kept = loop.run(
        rule, state, (r, images, rest, *rates, key), steps, _STRETCH,
        snapshots=snapshots, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    return Learned(
        theta={**theta, "params": state.shown},
        psnr=loop.curves(state)[0],
        snapshots=loop.stacked([{**theta, "params": params} for params in kept]),
    )


def pretrain(
    network: nn.Module,
    theta: Theta,
    r: Coordinates,
    g: Shaped[Array | np.ndarray, "N C"] | Sequence,
    **options: Any,
) -> Learned:
    """Ordinary training on one image, the baseline of Appendix E.4: no inner steps, Adam 1e-4.

    Args:
      options: as `meta_learn`; `outer_rate` is the learning rate.
    """
    options = {"outer_rate": 1e-4, "key": jax.random.key(0)} | options
    return meta_learn(network, theta, r, jnp.asarray(g)[None], inner_steps=0, batch=1, **options)


def _task(network, theta, r, images, dtype, method, inner_steps, batch) -> tuple[Array, Array]:
    """The grid and the images in one type, if they and the options are as they should be."""
    r, images = checks.pair("meta_learn", r, images, dtype)
    if images.ndim != 3:
        raise ValueError(
            f"meta_learn: coordinates {r.shape} and images {images.shape} must be (N, D) and "
            "(M, N, C)."
        )
    outputs = checks.check_network(network, theta, r)
    if images.shape[-1] != outputs:
        raise ValueError(
            f"images: {images.shape[-1]} channels for a network with outputs={outputs}."
        )
    if method not in ("maml", "reptile"):
        raise ValueError(f"method={method!r} must be 'maml' or 'reptile'.")
    checks.whole("inner_steps", inner_steps, 0)
    if not 1 <= batch <= len(images) or batch != int(batch):
        raise ValueError(f"batch={batch} must lie between 1 and the {len(images)} images.")
    return r, images
