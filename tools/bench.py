"""Speed as ratios, both sides measured in one run: `make bench`.

Every bench_*.py beside this file adds lines of its own. A time is the best of several repetitions,
after a first call that compiles: what else the machine does can only add to it.
"""

import asyncio
import importlib
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import matrix_rate, seconds

from inrlib import explorers, fitting, networks, signals
from inrlib.live.training import REST
from inrlib.sine import sine as fast_sine


def loop() -> None:
    """The Fig. 3 problem: one compiled loop against a Python loop of jitted steps."""
    network = networks.SIREN(widths=(128,), mapping_width=128)
    theta = networks.init(network, jax.random.key(0), 1)
    r = signals.grid(128)
    g = signals.tone(23, r)
    steps, adam = 1000, optax.adam(1e-4)

    @jax.jit
    def step(params, state):
        def loss(params):
            f = network.apply({"params": params, "fixed": theta["fixed"]}, r)
            return jnp.mean((f - g) ** 2) / 2

        updates, state = adam.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    def python():
        params, state = theta["params"], adam.init(theta["params"])
        for _ in range(steps):
            params, state = step(params, state)
        return params

    def compiled():
        run = fitting.fit(network, theta, r, g, steps=steps, progress=False)
        return run.theta["params"]

    slow, fast = seconds(python, repeat=3), seconds(compiled, repeat=3)
    print(
        f"training, Fig. 3, {steps} steps: Python loop {slow:.2f} s, compiled {fast:.2f} s, ",
        end="",
    )
    print(f"ratio {slow / fast:.2f}")

    keys = jax.random.split(jax.random.key(0), 8)
    thetas = jax.vmap(lambda key: networks.init(network, key, 1))(keys)
    many = lambda: fitting.fit_many(network, thetas, r, g, steps=200, progress=False).theta
    one = lambda: fitting.fit(network, theta, r, g, steps=200, progress=False).theta
    ratio = 8 * seconds(one, repeat=3) / seconds(many, repeat=3)
    print(f"training 8 seeds: one after the other against fit_many, ratio {ratio:.2f}")


def step() -> None:
    """A full-batch step on a 128×128 picture, as a share of the matrix-product rate."""
    r, g = signals.samples(signals.picture(size=128))
    rate = matrix_rate()
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s on {jax.devices()[0].device_kind}")
    families = {
        "FFN": networks.FFN((256,) * 3, 3),
        "SIREN": networks.SIREN((256,) * 3, 3),
    }
    for name, network in families.items():
        theta = networks.init(network, jax.random.key(0), 2)
        run = lambda n: fitting.fit(network, theta, r, g, steps=n, progress=False).theta  # noqa: B023
        each = (seconds(run, 12, repeat=3) - seconds(run, 2, repeat=3)) / 10
        sizes = [network.mapping_width, *network.widths, network.outputs]
        products = sum(a * b for a, b in pairwise(sizes))
        # Forward, and two products backward for each layer but the first, which needs one.
        flops = 2 * len(r) * (3 * products - (sizes[0] * sizes[1] if name == "FFN" else 0))
        share = flops / each / rate
        print(f"full-batch step on 128×128, {name}: {each:.2f} s, {share:.2f} of that rate")


def sine() -> None:
    """The polynomial sine against XLA's."""
    x = jax.random.normal(jax.random.key(0), (4096, 256)) * 30
    slow, fast = seconds(jax.jit(jnp.sin), x), seconds(jax.jit(fast_sine), x)
    print(f"sine of {x.size:,} numbers: jnp.sin against inrlib.sine, ratio {slow / fast:.1f}")


async def _live(explorer) -> tuple[float, int]:
    """Seconds of a training in the event loop, and the pictures that it drew on the way."""
    drawn, draw = [], explorer.draw
    explorer.draw = lambda frame: (drawn.append(perf_counter()), draw(frame))
    start = perf_counter() + REST
    explorer.training.start()
    while explorer.training.share < 1:
        await asyncio.sleep(0.05)
    explorer.draw = draw
    return perf_counter() - start, len(drawn)


def live() -> None:
    """Training while the reader looks, against the same training uninterrupted."""
    for name, explorer in (
        ("tone", explorers.aliasing()),
        ("picture", explorers.imperfect_recovery("FFN")),
        ("dashboard", explorers.dashboard()),
    ):
        alone = seconds(lambda: explorer.trained().frame, repeat=2)  # noqa: B023
        whole, pictures = min(asyncio.run(_live(explorer)) for _ in range(2))
        print(
            f"live training, {name}: {alone / whole:.2f} of the steps per second of an "
            f"uninterrupted one ({alone:.1f} s), {pictures / whole:.1f} pictures a second"
        )


def main() -> None:
    for part in (sine, loop, live, step):
        part()
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"\n{path.stem}")
        importlib.import_module(path.stem).main()


if __name__ == "__main__":
    np.set_printoptions(precision=3)
    main()
