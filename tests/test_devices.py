"""One device or several: the same numbers to rounding, and each holds its part.

Devices are made when JAX starts, so both sides run in processes of their own. 64 samples come out
even over two, four and eight devices, four members over two and four; 63 samples and three members
do not.
"""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import ROOT

from inrlib import checks, devices, ntk

SCRIPT = """
import sys
from functools import partial
import jax, jax.numpy as jnp, numpy as np
from inrlib import atoms, coarse, fitting, krylov, networks, ntk, signals, trials

found, several = {}, jax.device_count() > 1
enough = 4 % jax.device_count() == 0  # members, so that they come out even

def split(array, even=True):
    count = jax.device_count() if even else 1
    assert len(array.devices()) == count, array.sharding
    assert len(array.addressable_shards[0].data) * count == len(array)
    return array

network = networks.SIREN((8,), mapping_width=8)
filters = networks.MFN((8,), mapping_width=8)
narrow, wide = (partial(jax.tree.map, lambda x, t=t: x.astype(t)) for t in ("float32", "float64"))
theta, mixed = (wide(networks.init(n, jax.random.key(0), 2)) for n in (network, filters))
r = wide(jnp.asarray(signals.grid((8, 8))))

# The matrix.
K = found["gram"] = split(ntk.gram(network, theta, r))
found["gram, float32"] = split(ntk.gram(network, narrow(theta), narrow(r)))
found["gram, 63"] = split(ntk.gram(network, theta, r[:63]), even=not several)
found["gram of two sets"] = split(ntk.gram(network, theta, r, r[:17] + 0.1))
found["gram of two sets, 17"] = split(ntk.gram(network, theta, r[:17], r), even=not several)
found["gram, filters"] = split(ntk.gram(filters, mixed, r))
ntk._MOST = 100
ntk._gram.clear_cache()
found["gram, filters by rows"] = split(ntk.gram(filters, mixed, r))
at = lambda omega0: ntk.gram(network, networks.tune(theta, omega0=omega0), r)
found["gram, jitted"] = split(jax.jit(at)(20.0))
found["gram, vmapped"] = jax.jit(jax.vmap(at))(jnp.asarray([20.0, 30.0, 40.0]))

# The operator, and the atoms by either.
V = jnp.sin(jnp.arange(64 * 3.0)).reshape(64, 3)
apply, odd = ntk.operator(network, theta, r, chunk=5), ntk.operator(network, theta, r[:63])
found["operator"] = apply(V)
found["operator, filters, 63"] = ntk.operator(filters, mixed, r[:63], chunk=5)(V[:63])
found["operator, vmapped"] = jax.vmap(lambda v: apply(v[:, None]), in_axes=1)(V)
found["leading, operator"] = atoms.leading(odd, 63, 2, steps=1, spare=2)[:2]
found["leading, matrix"] = atoms.leading(partial(jnp.matmul, K), 64, 2, steps=1, spare=2)[:2]
found["leading, nodes"] = coarse.leading(network, theta, r, (8, 8), 2, nodes=9, tolerance=jnp.inf)

# Training.
thetas = jax.vmap(lambda omega0: networks.tune(theta, omega0=omega0))(jnp.arange(1.0, 5) * 5)
three = jax.tree.map(lambda x: x[:3], thetas)
g, rates = jnp.sin(3 * r[:, :1]), jnp.asarray([1e-4, 1e-3, 1e-2, 1e-2])
targets = g + jnp.arange(4.0)[:, None, None]
run = partial(fitting.fit_many, network, steps=5, progress=False)
sweep = run(thetas, r, g)
each = run(thetas, r, targets, learning_rate=rates, held_out=(r[:9] + 0.1, targets[:, :9]))
for fit in (sweep, each) if enough else ():
    split(fit.theta["params"]["first"]["kernel"])
found["fit_many"], found["fit_many, targets and rates"] = sweep.psnr, each.psnr
found["fit_many, held out"] = each.psnr_held_out
found["fit_many, 3 members"] = run(three, r, g).psnr
found["fit_many, 3 members, 63 samples"] = run(three, r[:63], g[:63]).psnr
for i in range(4):
    mine = jax.tree.map(lambda x: x[i], thetas)
    fit = fitting.fit(network, mine, r, g, steps=5, progress=False)
    np.testing.assert_allclose(sweep.psnr[i], fit.psnr, rtol=1e-10)
tried = found["trials"] = trials.train(network, thetas, r, g, 9)["params"]["first"]["kernel"]
if enough:
    split(tried)

# What the reader says goes.
with jax.default_device(jax.devices()[-1]):
    assert ntk.gram(network, theta, r).devices() == {jax.devices()[-1]}
with jax.set_mesh(jax.sharding.Mesh(np.asarray(jax.devices()), ("mine",))):
    found["gram beside a mesh"] = jax.jit(at)(20.0)

# What moves between the devices in products with a matrix that is split.
start = jax.random.normal(jax.random.key(0), (64, 4))
product = jax.tree_util.Partial(jnp.matmul, K)
print(krylov.subspace.lower(product, start, start, 2, 1).compile().as_text())

leaves = lambda name: enumerate(jax.tree.leaves(found[name]))
np.savez(sys.argv[1], **{f"{name}: {i}": leaf for name in found for i, leaf in leaves(name)})
"""


SEVERAL = [4, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 8))]


@pytest.fixture(scope="module", params=SEVERAL)
def both(request, tmp_path_factory):
    """What one device finds, what several find, and a program of these."""
    folder, found = tmp_path_factory.mktemp("devices"), []
    flags = os.environ.get("XLA_FLAGS", "")
    for count in (1, request.param):
        environment = {
            **os.environ,
            "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={count}",
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_X64": "1",
        }
        run = [sys.executable, "-c", SCRIPT, folder / f"{count}.npz"]
        done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(dict(np.load(folder / f"{count}.npz")))
    return *found, done.stdout


@pytest.mark.parametrize("part", ["gram", "operator", "leading", "fit_many", "trials"])
def test_several_devices_find_what_one_does(both, part):
    """The script says what each device holds, and that a member of `fit_many` is `fit` alone."""
    one, several, _ = both
    assert one.keys() == several.keys()
    names = [name for name in one if name.startswith(part)]
    assert names
    for name in names:
        a, b = one[name], several[name]
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        close = {"gram": 1e-12}.get(part, 1e-10) if a.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(b, a, rtol=0, atol=close * np.abs(a).max(), err_msg=name)


def test_only_columns_move_in_products_with_a_matrix_that_is_split(both):
    moved = re.findall(r"= \S*?\[([\d,]*)\]\S* (?:all-|collective-|reduce-)", both[2])
    sizes = [int(np.prod([int(n) for n in shape.split(",") if n])) for shape in moved]
    assert sizes
    assert max(sizes) <= 64 * 8  # the whole basis; the matrix has 64 × 64


def test_a_split_array_needs_a_part_of_it_on_each_device(monkeypatch):
    stats = [{"bytes_limit": limit, "bytes_in_use": 100} for limit in (1100, 900, 1000, 1000)]
    row = [SimpleNamespace(memory_stats=lambda some=some: some) for some in stats]
    monkeypatch.setattr(jax, "devices", lambda: row)
    assert checks.free_memory() == 1000
    assert checks.free_memory(4) == 4 * 800  # the device with the least decides
    ntk.check_memory("gram", 20, 40, 1, 4, parts=4)
    with pytest.raises(ValueError, match="the device has"):
        ntk.check_memory("gram", 20, 40, 1, 4)
    with pytest.raises(ValueError, match="4 devices have"):
        ntk.check_memory("gram", 20, 41, 1, 4, parts=4)
    with pytest.raises(ValueError, match="4 devices have"):
        checks.check_memory("activations", 100, 33, parts=4)


@pytest.mark.parametrize(("count", "most"), [(9216, 1024), (63, 5), (3, 10), (64, 16)])
def test_chunks_of_one_size_hardly_fill_a_device_up(count, most):
    chunk = devices.share(count, most, 8)
    own = -(-count // 8)
    chunks = -(-own // chunk)
    assert 1 <= chunk <= most
    assert own <= chunk * chunks < own + chunks
    assert chunks == -(-own // most)  # no more of them than needed
    assert devices.share(count, most, 1) == min(count, most)
