"""The paper's SIREN at 96×96 on 1, 2, 4 and 8 devices: `python tools/bench_devices.py`.

The devices are those into which JAX parts the processor, each number of them in a process of its
own. They share its cores: the ratio cannot grow beyond these. What is split, and how much of it
each device holds, is as with as many devices that are faster.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter

import jax
import numpy as np
from bench_published import paper_siren

from inrlib import atoms, fitting, networks, ntk, signals

COUNTS, SIDE, MEMBERS, STEPS = (1, 2, 4, 8), 96, 8, 2


def parts() -> dict[str, Callable]:
    """What is measured: functions of nothing that return arrays."""
    network, theta = paper_siren()
    r, g = signals.samples(signals.picture(size=SIDE))
    one = networks.SIREN((256,) * 3, g.shape[1])
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    thetas = jax.vmap(lambda key: networks.init(one, key, 2))(keys)
    gram = lambda: ntk.gram(network, theta, r)
    K = gram()
    return {
        "Gram matrix": gram,
        "10 atoms of it": lambda: atoms.eigenfunctions(K, 10).functions,
        "10 atoms, operator": lambda: (
            atoms.leading(ntk.operator(network, theta, r), len(r)).functions
        ),
        f"fit_many of {MEMBERS}": lambda: fitting.fit_many(
            one, thetas, r, g, steps=STEPS, progress=False
        ).theta["params"],
    }


def here() -> dict[str, dict]:
    """In this process: seconds, most bytes on one device, and a few of the numbers."""
    results = {}
    for name, part in parts().items():
        jax.block_until_ready(part())  # compiles
        start = perf_counter()
        leaves = jax.block_until_ready(jax.tree.leaves(part()))
        took = perf_counter() - start
        some = np.asarray(leaves[-1]).ravel()
        results[name] = {
            "seconds": took,
            "bytes": sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves),
            "some": some[:: max(1, some.size // 999)].tolist(),
        }
    results["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return results


def there(count: int) -> dict[str, dict]:
    """The same in a process with so many devices."""
    flag = f"--xla_force_host_platform_device_count={count}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    run = subprocess.run(
        [sys.executable, __file__, "here"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    found = {count: there(count) for count in COUNTS}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{SIDE}×{SIDE} samples on {cores} cores that are 1, 2, 4 or 8 devices:")
    print(f"  {'':18}  devices  seconds  ratio to one  MiB on each  difference from one")
    for name in found[1]:
        for count, results in found.items():
            if name == "peak":
                break
            one, now = found[1][name], results[name]
            miss = np.abs(np.subtract(now["some"], one["some"])).max() / np.abs(one["some"]).max()
            print(
                f"  {name:18}  {count:7}  {now['seconds']:7.2f}  "
                f"{one['seconds'] / now['seconds']:12.2f}  {now['bytes'] / 2**20:11.1f}  {miss:.0e}"
            )
    peaks = ", ".join(f"{results['peak']:.1f}" for results in found.values())
    print(f"  GiB that each of these processes took at most, all devices of it together: {peaks}")


if __name__ == "__main__":
    print(json.dumps(here())) if sys.argv[1:] == ["here"] else main()
