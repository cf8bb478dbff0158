"""The NTK of the paper's SIREN: speed against neural-tangents and against the machine.

neural-tangents runs whole on a JAX of 2024 only. That environment is made on demand under build/,
once; without Python 3.11 or without a network the comparison is left out and says so.
"""

import json
import resource
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from bench_published import paper_siren, slider
from timing import matrix_rate, seconds

from inrlib import atoms, coarse, faces, networks, ntk, signals

ENVIRONMENT = Path(__file__).resolve().parent.parent / "build" / "neural-tangents-env"
PINS = ("jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy<1.13", "ml-dtypes<0.4", "frozendict")

REFERENCE = """
import json, sys, time, types
import jax, jax.numpy as jnp, numpy as np
sys.modules["neural_tangents.experimental"] = types.ModuleType("experimental")
import neural_tangents as nt

data = dict(np.load(sys.argv[1]))
r, omega0, layers = jnp.asarray(data["r"]), 30.0, int(data["layers"])
params = [(data[f"kernel{i}"], data[f"bias{i}"]) for i in range(layers)]

def network(params, r):
    z = r
    for i, (W, b) in enumerate(params):
        z = z @ W + b
        z = jnp.sin(omega0 * z) if i + 1 < layers else z
    return z

for mode, repeat in (("STRUCTURED_DERIVATIVES", 9), ("JACOBIAN_CONTRACTION", 1)):
    kernel = jax.jit(nt.empirical_ntk_fn(
        network, trace_axes=(-1,), vmap_axes=0,
        implementation=getattr(nt.NtkImplementation, mode)), static_argnums=1)
    compiled = kernel.lower(r, None, params).compile()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        gram = jax.block_until_ready(compiled(r, params))
        times.append(time.perf_counter() - start)
    sample = np.asarray(gram[:: len(r) // 64, :: len(r) // 64]).tolist()
    print(json.dumps({"mode": mode, "seconds": min(times), "sample": sample}), flush=True)
"""


def make_environment() -> Path:
    """A virtual environment in which neural-tangents 0.6.5 runs as published."""
    python = ENVIRONMENT / "bin" / "python"
    if (ENVIRONMENT / "ready").exists():
        return python
    base = shutil.which("python3.11")
    if base is None:
        raise FileNotFoundError("no python3.11 on the path")
    subprocess.run([base, "-m", "venv", "--clear", ENVIRONMENT], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *PINS], check=True)
    subprocess.run([*install, "--no-deps", "neural-tangents==0.6.5"], check=True)
    (ENVIRONMENT / "ready").touch()
    return python


def reference(theta, r) -> list[dict]:
    """What neural-tangents needs for the same kernel, in its own environment."""
    python = make_environment()
    params = theta["params"]
    names = ["first", *sorted(n for n in params if n.startswith("hidden")), "readout"]
    arrays = {"r": r, "layers": len(names)}
    for i, name in enumerate(names):
        arrays |= {f"kernel{i}": params[name]["kernel"], f"bias{i}": params[name]["bias"]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "siren.npz"
        np.savez(path, **arrays)
        result = subprocess.run(
            [python, "-c", REFERENCE, path], capture_output=True, text=True, check=False
        )
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return [json.loads(line) for line in result.stdout.splitlines()]


def gram() -> None:
    """Gram matrix and leading eigenfunctions at 64×64."""
    network, theta = paper_siren()
    r = signals.grid((64, 64))
    rate = matrix_rate(4096)
    ours = seconds(lambda: ntk.gram(network, theta, r), repeat=9)
    flops = 2 * len(r) ** 2 * (8 * 256)  # two products for each of four layers, no symmetry
    print(f"Gram matrix of the paper's SIREN at 64×64: {ours:.3f} s, ", end="")
    print(f"{flops / ours / rate:.2f} of the matrix-product rate {rate / 1e9:.0f} GFLOP/s")
    K = ntk.gram(network, theta, r)
    ten = seconds(lambda: atoms.eigenfunctions(K, 10), repeat=9)
    print(f"its ten leading eigenfunctions: {ten:.3f} s more, {ten / ours:.2f} of the Gram time")
    matrix = np.asarray(K)
    arpack = seconds(lambda: scipy.sparse.linalg.eigsh(matrix, 10, which="LA", tol=1e-4))
    print(f"the same ten by ARPACK's Lanczos: {arpack:.3f} s, ratio {arpack / ten:.1f}")
    try:
        results = reference(theta, r)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"neural-tangents on JAX 0.4.23: left out ({error})")
        return
    for result in results:
        name = result["mode"].lower().replace("_", " ")
        miss = np.abs(K[::64, ::64] - np.array(result["sample"])).max() / K.max()
        print(f"neural-tangents, {name}: {result['seconds']:.1f} s, ", end="")
        print(f"ratio {result['seconds'] / ours:.0f}, largest difference {miss:.0e}")


def frame() -> None:
    """What one position of a slider costs at 32×32."""
    print(f"slider to ten eigenfunctions at 32×32: {1e3 * slider(32)[0]:.0f} ms")


def figure_4() -> None:
    """Eight networks: Gram matrix, full spectrum and the energy of 100 images, at 64×64."""
    network, theta = paper_siren()
    r = signals.grid((64, 64))
    images = faces.load(size=64)
    g = jnp.asarray(np.concatenate(images).reshape(100, -1).T, jnp.float32)
    g = g - g.mean(axis=0)
    start = perf_counter()
    for omega0 in (5, 10, 20, 30, 40, 60, 80, 100):
        K = ntk.gram(network, networks.tune(theta, omega0=float(omega0)), r)
        atoms.energy_concentration(atoms.eigenfunctions(K), g, jnp.logspace(-6, 0, 61))
    print(f"Fig. 4 at 64×64, eight networks, all eigenfunctions: {perf_counter() - start:.0f} s")


@partial(jax.jit, static_argnums=0)
def two_products(network, theta, r, V):
    """ΘV as it was: a vector-Jacobian and a Jacobian-vector product for each column of V."""
    r = r.reshape(-1, min(4096, len(r)), r.shape[1])
    at = lambda r: lambda params: network.apply({**theta, "params": params}, r)[:, 0]

    def pull(U, rV):
        _, pullback = jax.vjp(at(rV[0]), theta["params"])
        return jax.tree.map(jnp.add, U, jax.vmap(pullback, in_axes=1)(rV[1])[0]), None

    def push(r):
        along = lambda U: jax.jvp(at(r), (theta["params"],), (U,))[1]
        return jax.vmap(along, out_axes=1)(U)

    with jax.default_matmul_precision("highest"):
        nothing = jax.tree.map(
            lambda p: jnp.zeros((V.shape[1], *p.shape), p.dtype), theta["params"]
        )
        U, _ = jax.lax.scan(pull, nothing, (r, V.reshape(*r.shape[:2], -1)))
        return jax.lax.map(push, r).reshape(V.shape)


def voxels() -> None:
    """Ten eigenfunctions in three dimensions: as it was, by the factors, and by a few nodes.

    The old way would take minutes at 64³; there it is carried on from 32³.
    """
    network = networks.SIREN(widths=(256,) * 3)
    theta = networks.init(network, jax.random.key(0), 3)
    print("ten eigenfunctions of the paper's SIREN in three dimensions, without Θ:")
    for side in (16, 32, 64):
        shape = (side,) * 3
        r = signals.grid(shape)
        by_nodes = lambda: coarse.leading(network, theta, r, shape, 10)  # noqa: B023
        eigen = by_nodes()
        fast = seconds(by_nodes, repeat=2)
        old = jax.tree_util.Partial(partial(two_products, network), theta, r)
        words = f"  {side}³: {fast:.2f} s, residuals below {eigen.residuals.max():.0e}; "
        if side < 64:
            V = jax.random.normal(jax.random.key(0), (len(r), 16))
            now = ntk.operator(network, theta, r)
            ratio = seconds(old, V, repeat=1) / seconds(now, V, repeat=1)
            start = perf_counter()
            before = jax.block_until_ready(atoms.leading(old, len(r), 10))
            slow = perf_counter() - start
            miss = jnp.abs(eigen.values - before.values).max() / before.values[0]
            words += f"leading(operator) as it was {slow:.1f} s, ratio {slow / fast:.0f}, λ within "
            words += f"{miss:.0e} λ0; one product with 16 vectors, ratio {ratio:.1f}"
        else:  # its products take a time that is proportional to the voxels
            words += f"leading(operator) as it was eight times that at 32³, {8 * slow:.0f} s, "
            words += f"ratio {8 * slow / fast:.0f}"
        print(words)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  at most {memory:.1f} GiB of memory, all that came before in this process included")


def main() -> None:
    for part in (gram, frame, figure_4, voxels):
        part()


if __name__ == "__main__":
    main()
