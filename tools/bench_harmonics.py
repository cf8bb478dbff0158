"""What Section 3 costs: `python tools/bench_harmonics.py`.

Each line is a ratio measured in one run, so that a busy machine disturbs both sides alike.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import jv
from timing import seconds

from inrlib import bessel, explorers


def bessel_explorer() -> tuple[float, float]:
    """Seconds of computation and of drawing for one move of β or ω0."""
    explorer = explorers.bessel()
    rng = np.random.default_rng(0)

    def move():
        values = explorer.values | {"beta": rng.uniform(0.1, 5), "omega0": rng.uniform(3, 60)}
        return explorer.compute(**values)

    frame = explorer.compute(**explorer.values)
    draw = lambda: explorer.draw(frame)
    return seconds(move, repeat=20), seconds(draw)


def bessel_orders() -> tuple[float, float]:
    """Seconds for J_s(β), orders 0 … 200 at 1,000 arguments: here, and order by order in SciPy."""
    with jax.enable_x64(True):
        beta = jnp.linspace(0, 100, 1000)
        all_orders = jax.jit(lambda beta: bessel.bessel(beta, 200)[:, 200:])
        ours = seconds(all_orders, beta)
    points = np.linspace(0, 100, 1000)[:, None]
    return ours, seconds(jv, np.arange(201), points, repeat=3)


def lattice(T: int = 256, F: int = 16, samples: int = 2048) -> float:
    """Seconds for the spectrum of a 256-frequency network by convolving Bessel sequences."""
    rng = np.random.default_rng(0)
    k = rng.integers(-30, 31, (T, 1))
    parts = (T, 1), T, (F, T), F, (F, 1), 1
    net = bessel.SineLayers(*(jnp.asarray(rng.normal(size=n), jnp.float32) for n in parts))
    net = net._replace(W=net.W * (2 / T) ** 0.5)
    return seconds(lambda: bessel.lattice_spectrum(net, k, (samples,), 8), repeat=3)


def main() -> None:
    compute, draw = bessel_explorer()
    print(
        f"explorer bessel: a move of β and ω0 computes in {1e3 * compute:.1f} ms "
        f"({20e-3 / compute:.0f} times within 20 ms), draws in {1e3 * draw:.0f} ms"
    )
    ours, reference = bessel_orders()
    print(
        f"J_s(β), 201 orders × 1,000 arguments: {1e3 * ours:.0f} ms, "
        f"SciPy {1e3 * reference:.0f} ms: {reference / ours:.1f} times as fast"
    )
    print(f"lattice spectrum, T = 256, F = 16, 2,048 bins: {lattice():.2f} s")


if __name__ == "__main__":
    main()
