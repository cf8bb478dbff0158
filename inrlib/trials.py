"""Trying many settings of one network by training, a few at a time and for a few steps.

>>> import numpy as np
>>> from inrlib import signals
>>> r = signals.grid(32)
>>> trial = Trial(networks.FFN.sized(8, 1), r, signals.tone(2, r), "between")
>>> trial(np.array([0.5, 2.0, 30.0]), fold=0, steps=20).shape
(3,)
"""

from functools import partial
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inrlib import fitting, networks
from inrlib.networks import INR, Theta

__all__ = ["SCHEDULE", "SIZE", "Trial", "stacked", "train"]

SIZE = 4
"""Settings that are trained at once, so that one program serves any number of them: as many as the
adviser has leaders, since what fills up the last program is trained for nothing."""

_BATCH, _JUDGES = 512, 4096
"""Samples in a step of training, and at most in a judgement."""


def stacked(network: INR, settings: Float[np.ndarray | Array, " S"], dims: int, seed: int) -> Theta:
    """The same draw at every setting."""
    return _stacked(network, jnp.asarray(settings, jnp.float32), dims, seed)


@partial(jax.jit, static_argnums=(0, 2))
def _stacked(network, settings, dims, seed):
    theta = networks.init(network, jax.random.key(seed), dims)
    make = lambda value: networks.tune(theta, **{network.knob.name: value})
    return jax.vmap(make)(settings)


SCHEDULE = ((0.7, 1.0), (0.2, 0.3), (0.1, 0.1))
"""Parts of the steps, and their learning rates in units of the first. At a constant rate Adam
jumps: on smooth signals the last step then decides over several dB."""


def train(
    network: INR,
    thetas: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "N C"],
    steps: int = 500,
    learning_rate: float = 1e-3,
    batch: int | None = None,
) -> Theta:
    """A stack of networks by Adam, the rate lowered towards the end as `SCHEDULE` says.

    Raises:
      ValueError: as `fitting.fit_many`.
    """
    ends = np.round(steps * np.cumsum([part for part, _ in SCHEDULE])).astype(int)
    for number, (share, start, end) in enumerate(zip(SCHEDULE, [0, *ends[:-1]], ends, strict=True)):
        if end > start:
            options = {"steps": int(end - start), "learning_rate": learning_rate * share[1]}
            key = jax.random.key(number) if batch else None
            fit = fitting.fit_many(
                network, thetas, r, g, **options, batch=batch, key=key, progress=False
            )
            thetas = fit.theta
    return thetas


class Trial:
    """One network and one signal, trained with any of its settings.

    Attributes:
      step_seconds: what a step of `SIZE` settings took last.
    """

    def __init__(self, network, r, g, purpose="between", learning_rate=1e-3):
        self.network, self.r, self.g = network, r, g
        self.purpose, self.learning_rate = purpose, learning_rate
        order = np.random.default_rng(0).permutation(len(r))
        self.quarters = np.array_split(order, 4)
        self.step_seconds = 0.0

    def split(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples to train on, and to be judged by."""
        if self.purpose == "at":
            every = np.concatenate(self.quarters)
            return every, every[:_JUDGES]
        rest = [part for i, part in enumerate(self.quarters) if i != fold]
        return np.concatenate(rest), self.quarters[fold][:_JUDGES]

    def __call__(self, settings: np.ndarray, fold: int, steps: int) -> np.ndarray:
        """PSNR of each after so many steps."""
        seen, judge = self.split(fold)
        found = []
        for start in range(0, len(settings), SIZE):
            some = settings[start : start + SIZE]
            filled = np.resize(some, SIZE)
            thetas = stacked(self.network, filled, self.r.shape[1], fold)
            batch = _BATCH if len(seen) > _BATCH else None
            begun = perf_counter()
            thetas = train(
                self.network, thetas, self.r[seen], self.g[seen], steps, self.learning_rate, batch
            )
            self.step_seconds = (perf_counter() - begun) / steps
            found.append(_judge(self.network, thetas, self.r[judge], self.g[judge])[: len(some)])
        return np.concatenate(found)


@partial(jax.jit, static_argnums=0)
def _judge(network, thetas, r, g):
    return jax.vmap(lambda theta: fitting.psnr(network.apply(theta, r), g))(thetas)
