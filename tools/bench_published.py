"""The published sizes on this device: `python tools/bench_published.py`, a part of `make bench`.

Figures 2 to 5, a step of meta-learning and the atoms of a cube, at the sizes of the paper. What
takes hours on a processor is timed for a few steps and carried on; the line says so. Run it on two
devices and lay the tables side by side.
"""

import resource
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

from inrlib import atoms, coarse, faces, fitting, metalearning, networks, ntk, signals


def lasting(train: Callable[[int], object], steps: int, few: int) -> tuple[float, str]:
    """Seconds of all steps, from the difference of two short runs, so that neither start counts."""
    once, twice = seconds(train, few, repeat=2), seconds(train, 2 * few, repeat=2)
    return (twice - once) / few * steps, f"{steps:,} steps, from {few}"


def recovery() -> tuple[float, str]:
    """Fig. 2: three ReLU layers of 256 behind 256 Fourier features, on 512×512×3."""
    network = networks.FFN((256,) * 3, 3)
    theta = networks.init(network, jax.random.key(0), 2)
    r, g = signals.samples(signals.picture("astronaut", size=512))
    train = lambda n: fitting.fit(network, theta, r, g, steps=n, progress=False).theta
    return lasting(train, 2000, 2 if jax.default_backend() == "cpu" else 100)


def tone() -> tuple[float, str]:
    """Figs. 3, 9: a SIREN 128-128-1 on 128 samples of 23 Hz."""
    network = networks.SIREN((128,), mapping_width=128)
    theta = networks.init(network, jax.random.key(0), 1)
    r = signals.grid(128)
    train = lambda n: fitting.fit(network, theta, r, signals.tone(23, r), steps=n, progress=False)
    return lasting(lambda n: train(n).theta, 2000, 500)


def paper_siren(dims: int = 2) -> tuple[networks.SIREN, networks.Theta]:
    """Four hidden layers of 256, ω0 = 30: the network of Figs. 4, 5, 10 to 16."""
    network = networks.SIREN((256,) * 3)
    return network, networks.init(network, jax.random.key(0), dims)


def energy() -> tuple[float, str]:
    """Fig. 4: one network's kernel on 64×64, all its eigenfunctions, and a hundred faces."""
    network, theta = paper_siren()
    r = signals.grid((64, 64))
    g = jnp.asarray(np.concatenate(faces.load(size=64)).reshape(100, -1).T, jnp.float32)
    g = g - g.mean(axis=0)

    def once():
        eigen = atoms.eigenfunctions(ntk.gram(network, theta, r))
        return atoms.energy_concentration(eigen, g, jnp.logspace(-6, 0, 61))

    return 8 * seconds(once, repeat=1), "eight networks, from one"


def slider(side: int = 64) -> tuple[float, str]:
    """Fig. 5 under the hand: a new ω0 to ten eigenfunctions on 64×64."""
    network, theta = paper_siren()
    r, omegas, previous = signals.grid((side, side)), iter(np.linspace(20, 40, 100)), None

    def once():
        nonlocal previous
        now = networks.tune(theta, omega0=next(omegas))
        previous = atoms.eigenfunctions(ntk.gram(network, now, r), 10, previous)
        return previous

    once()
    return seconds(once, repeat=20), "a position of the slider"


def meta() -> tuple[float, str]:
    """Section 5.3: MAML on 64×64, three images, two inner steps."""
    network, theta = paper_siren()
    r, images = signals.grid((64, 64)), np.concatenate(faces.load(size=64))[:80].reshape(80, -1, 1)
    images = jnp.asarray(images, jnp.float32)
    train = lambda n: metalearning.meta_learn(
        network, theta, r, images, key=jax.random.key(0), steps=n, progress=False
    )
    return lasting(lambda n: train(n).theta, 5000, 3 if jax.default_backend() == "cpu" else 50)


def cube() -> tuple[float, str]:
    """Ten eigenfunctions on 64³ voxels, where Θ would take 256 GiB."""
    network, theta = paper_siren(3)
    shape = (64, 64, 64)
    r = signals.grid(shape)
    once = lambda: coarse.leading(network, theta, r, shape, k=10, tolerance=np.inf)
    worst = once().residuals.max()
    return seconds(once, repeat=1), f"residuals below {worst:.0e} of the largest eigenvalue"


def rounding() -> None:
    """What the precision of matrix products does to Θ: the one that is used, and a GPU's own."""
    network, theta = paper_siren()
    r = signals.grid((32, 32))
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: leaf.astype(float), theta)
        exact = np.asarray(ntk.gram(network, double, r.astype(float)))
    used = np.asarray(ntk.gram(network, theta, r))
    miss = np.abs(used - exact).max() / exact.max()
    print(f"Θ in float32 against float64: {miss:.0e} of the largest")
    with jax.default_matmul_precision("default"):
        a = jax.random.normal(jax.random.key(0), (1024, 1024))
        product = np.asarray(a @ a.T, float)
    miss = np.abs(product - np.asarray(a, float) @ np.asarray(a, float).T).max() / product.max()
    print(f"a product in the device's own precision: {miss:.0e}")


def main() -> None:
    print(f"published sizes on {jax.devices()[0].device_kind}, JAX {jax.__version__}")
    rounding()
    for part in (tone, energy, slider, meta, recovery, cube):
        time, how = part()
        what = part.__doc__.split("\n")[0].rstrip(".")
        shown = (
            f"{1e3 * time:.0f} ms"
            if time < 1
            else f"{time:.0f} s"
            if time < 600
            else f"{time / 3600:.1f} h"
        )
        print(f"{what}: {shown} ({how})", flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"most memory of the process: {memory:.1f} GiB")


if __name__ == "__main__":
    main()
