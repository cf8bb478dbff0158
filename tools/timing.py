"""What the benchmarks measure with; JAX is enough for it, so some run where no Jupyter is."""

from time import perf_counter

import jax
import jax.numpy as jnp


def seconds(function, *arguments, repeat: int = 5) -> float:
    """Best time of a call, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeat):
        start = perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(perf_counter() - start)
    return min(times)


def matrix_rate(n: int = 2048) -> float:
    """The machine's float32 matrix-product rate, in FLOP/s."""
    a = jax.random.normal(jax.random.key(0), (n, n))
    return 2 * n**3 / seconds(jax.jit(jnp.matmul), a, a)
