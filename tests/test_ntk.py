from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg

from inrlib import atoms, faces, networks, ntk, signals, spectra
from inrlib.networks import FFN, MLP, SIREN, PositionalEncoding, SingleFrequency


class Filters(nn.Module):
    """Dense layers and filters multiplied together; the filters' numbers are no dense layer's."""

    outputs: int = 1

    @nn.compact
    def __call__(self, r):
        centre = self.param("centre", nn.initializers.normal(1.0), (8, r.shape[-1]))
        width = self.param("width", nn.initializers.normal(1.0), (8,))
        distance = jnp.sum((r[:, None] - centre) ** 2, axis=-1)
        z = jnp.exp(-(width**2) * distance) * jnp.sin(nn.Dense(8, name="wave")(r))
        return nn.Dense(self.outputs, name="readout")(z)


class Twice(nn.Module):
    """One dense layer that is called twice: its gradient is a sum, and the sum's square is not."""

    outputs: int = 1

    @nn.compact
    def __call__(self, r):
        shared = nn.Dense(r.shape[-1])
        return nn.Dense(self.outputs)(shared(jnp.sin(shared(r))))


FAMILIES = {
    "SIREN": lambda C: SIREN((16, 12), C, mapping_width=20),
    "SIREN, fixed mapping": lambda C: SIREN((16, 12), C, mapping_width=20, trainable=False),
    "FFN": lambda C: FFN((16, 12), C, mapping_width=20),
    "FFN, trained mapping": lambda C: FFN((16, 12), C, mapping_width=20, trainable=True),
    "single frequency": lambda C: SingleFrequency((16, 12), C),
    "single frequency, trained": lambda C: SingleFrequency((16, 12), C, trainable=True),
    "positional encoding": lambda C: PositionalEncoding((16, 12), C, octaves=4),
    "MLP": lambda C: MLP((16, 12), C),
    "MFN": lambda C: networks.MFN((16, 16), C, mapping_width=16),
    "filters": Filters,
    "a layer called twice": Twice,
}


@partial(jax.jit, static_argnums=(0, 1))
def draw(network, dims, seed=0):
    """Random numbers everywhere, biases that start at zero included."""
    if isinstance(network, networks.INR):
        theta = networks.init(network, jax.random.key(seed), dims)
    else:
        theta = dict(network.init(jax.random.key(seed), jnp.zeros((1, dims))))
    leaves, tree = jax.tree.flatten(theta["params"])
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    moved = [
        x + 0.1 * jax.random.normal(k, x.shape, x.dtype) * (jnp.abs(x).max() + 0.1)
        for x, k in zip(leaves, keys, strict=True)
    ]
    return {**theta, "params": jax.tree.unflatten(tree, moved)}


def coordinates(dims, count, seed):
    return jax.random.uniform(jax.random.key(seed), (count, dims))


def jacobian(network, theta, r):
    """∇θ f(r), (N, C, parameters), in float64 whatever theta is."""
    with jax.enable_x64(True):
        theta, r = double((theta, r))
        run = lambda params: network.apply({**theta, "params": params}, r)
        leaves = jax.tree.leaves(jax.jit(jax.jacrev(run))(theta["params"]))
        return np.concatenate([np.reshape(x, (*x.shape[:2], -1)) for x in leaves], axis=-1)


def double(tree):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), tree)


def explicit(network, theta, r1, r2):
    """Eq. 9 word for word, several outputs by trace."""
    J1, J2 = (jacobian(network, theta, r) for r in (r1, r2))
    return np.einsum("ncp,mcp->nm", J1, J2) / J1.shape[1]


def error(a, b):
    return np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_gram(family, dims, channels):
    """Square and rectangular, by trace and in full, in both precisions."""
    network = FAMILIES[family](channels)
    theta = draw(network, dims)
    r1, r2 = coordinates(dims, 23, seed=1), coordinates(dims, 17, seed=2)

    @jax.jit
    def kernels(theta, r1, r2):
        ways = [{"outputs": outputs} for outputs in ("trace", "full")[: 1 + (channels > 1)]]
        return [ntk.gram(network, theta, r1, r, **way) for r in (None, r2) for way in ways]

    J = jacobian(network, theta, jnp.concatenate([r1, r2]))
    square, rectangle = (np.einsum("ncp,mdp->nmcd", J[:23], other) for other in (J[:23], J[23:]))
    by_trace = lambda full: np.einsum("nmcc->nm", full) / channels
    expected = [by_trace(square), square, by_trace(rectangle), rectangle]
    if channels == 1:
        expected = expected[::2]
    for ours, reference in zip(kernels(theta, r1, r2), expected, strict=True):
        assert error(ours, reference) < 1e-5
    with jax.enable_x64(True):
        for ours, reference in zip(kernels(*double((theta, r1, r2))), expected, strict=True):
            assert ours.dtype == jnp.float64
            assert error(ours, reference) < 1e-12


@pytest.mark.parametrize("tiles", [(7, 3), (8, 4), (64, 64)])
def test_gram_in_blocks(tiles, monkeypatch):
    """Blocks that do and do not divide the number of samples, and one larger than all."""
    monkeypatch.setattr(ntk, "_tiles", lambda: tiles)
    network = FAMILIES["SIREN"](1)
    theta = draw(network, 2)
    r1, r2 = coordinates(2, 31, seed=1), coordinates(2, 24, seed=2)
    square = ntk.gram(network, theta, r1)
    assert error(square, explicit(network, theta, r1, r1)) < 1e-5
    assert np.abs(square - square.T).max() <= 1e-6 * np.abs(square).max()
    assert error(ntk.gram(network, theta, r1, r2), explicit(network, theta, r1, r2)) < 1e-5


def test_sliding_compiles_nothing(compiled):
    network = FAMILIES["SIREN"](1)
    theta, r = draw(network, 2), coordinates(2, 300, seed=1)

    def frame(omega0, previous):
        theta_omega = networks.tune(theta, omega0=omega0)
        return atoms.eigenfunctions(ntk.gram(network, theta_omega, r), 5, previous)

    first = frame(20.0, frame(10.0, None))
    before = len(compiled)
    second = frame(30.0, first)
    assert len(compiled) == before
    assert error(second.values, np.asarray(first.values, float)) > 0.01


def test_sliding_without_the_matrix_compiles_nothing(compiled):
    network = FAMILIES["SIREN"](1)
    theta, r = draw(network, 2), coordinates(2, 120, seed=1)

    def frame(omega0):
        return atoms.leading(
            ntk.operator(network, networks.tune(theta, omega0=omega0), r, chunk=50), 120, 2
        )

    frame(10.0)
    before = len(compiled)
    frame(30.0)
    assert len(compiled) == before


def test_gram_can_be_jitted_and_vmapped():
    network = FAMILIES["FFN"](1)
    theta, r = draw(network, 2), coordinates(2, 20, seed=1)
    sigmas = jnp.array([1.0, 3.0])
    many = jax.jit(jax.vmap(lambda s: ntk.gram(network, networks.tune(theta, sigma=s), r)))(sigmas)
    for sigma, one in zip(sigmas, many, strict=True):
        reference = explicit(network, networks.tune(theta, sigma=sigma), r, r)
        assert error(one, reference) < 1e-5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_operator(family, channels):
    network = FAMILIES[family](channels)
    theta, r = draw(network, 2), coordinates(2, 50, seed=1)
    V = jax.random.normal(jax.random.key(3), (50, 4))
    expected = explicit(network, theta, r, r) @ np.asarray(V, float)
    for chunk in (16, 25, 64):
        assert error(ntk.operator(network, theta, r, chunk=chunk)(V), expected) < 1e-5


@pytest.fixture(scope="module")
def kernel():
    """A SIREN on a 16×16 grid, its Gram matrix, and SciPy's decomposition of it in float64."""
    network = SIREN((32, 32), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), dims=2, omega0=20.0)
    r = signals.grid((16, 16))
    values, vectors = scipy.linalg.eigh(explicit(network, theta, r, r))
    return network, theta, r, values[::-1] / 256, vectors[:, ::-1] * 16


def test_eigenfunctions_all(kernel):
    network, theta, r, values, functions = kernel
    eigen = atoms.eigenfunctions(ntk.gram(network, theta, r))
    assert error(eigen.values, values) < 1e-5
    assert np.allclose(eigen.functions.T @ eigen.functions / 256, np.eye(256), atol=1e-4)
    assert np.allclose(
        np.abs(np.sum(eigen.functions[:, :10] * functions[:, :10], 0)), 256, rtol=1e-3
    )
    rebuilt = (eigen.functions * eigen.values) @ eigen.functions.T
    assert error(rebuilt, (functions * values) @ functions.T) < 1e-5


def test_leading_against_arpack(kernel):
    """Dense and matrix-free, against Lanczos on the explicit matrix."""
    network, theta, r, values, functions = kernel
    reference = (functions * values) @ functions.T
    lanczos = scipy.sparse.linalg.eigsh(reference / 256, k=10)[0][::-1] * 1.0
    matrix = atoms.eigenfunctions(ntk.gram(network, theta, r), 10)
    free = atoms.leading(ntk.operator(network, theta, r, chunk=100), 256, 10)
    for eigen in (matrix, free):
        assert np.abs(eigen.values / lanczos - 1).max() < 1e-4
        assert np.allclose(eigen.functions.T @ eigen.functions / 256, np.eye(10), atol=1e-4)
    assert np.abs(free.values / matrix.values - 1).max() < 1e-4


@pytest.mark.parametrize("decay", [0.5, 0.95])
def test_leading_reports_its_residual(decay):
    """For any symmetric matrix an eigenvalue lies within the residual of the estimate."""
    values = decay ** np.arange(120.0)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(120, 120)))[0]
    matrix = jnp.asarray(rotation * values @ rotation.T, jnp.float32)
    for steps in (1, 4):
        eigen = atoms.leading(lambda V: matrix @ V, 120, 6, steps=steps)
        miss = np.abs(eigen.values[:, None] * 120 - values).min(axis=1)
        assert (miss <= eigen.residuals * values[0] + 1e-6).all()
    assert np.allclose(eigen.values * 120, values[:6], rtol=1e-3)


@pytest.mark.parametrize("samples", [1, 5, 20])
def test_leading_of_a_tiny_matrix(samples):
    matrix = jnp.diag(jnp.arange(samples, 0, -1.0))
    eigen = atoms.eigenfunctions(matrix, min(3, samples))
    assert np.allclose(eigen.values * samples, np.arange(samples, 0, -1)[:3], rtol=1e-3)


def frame(values, functions):
    values = jnp.asarray(values)
    return atoms.Eigen(values, jnp.asarray(functions), jnp.zeros_like(values))


def test_align_keeps_signs_and_the_order_of_close_pairs():
    functions = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 3)))[0] * 50**0.5
    before = frame([1.0, 0.50, 0.49], functions)
    # The second and the third have changed places and all signs have flipped.
    after = frame([1.0, 0.505, 0.495], -functions[:, [0, 2, 1]])
    aligned = atoms.align(after, before)
    assert np.allclose(aligned.functions, functions, atol=1e-6)
    assert np.allclose(aligned.values, [1.0, 0.495, 0.505])
    # Eigenvalues far apart keep their order whatever the functions look like.
    apart = atoms.align(frame([1.0, 0.8, 0.2], -functions[:, [0, 2, 1]]), before)
    assert np.allclose(apart.values, [1.0, 0.8, 0.2])


def test_align_without_a_frame_before():
    functions = np.array([[1.0, 1.0], [-3.0, 2.0]])
    assert np.allclose(atoms.align(frame([2.0, 1.0], functions)).functions, functions * [-1, 1])


def test_energy_concentration(kernel):
    network, theta, r, values, functions = kernel
    eigen = atoms.eigenfunctions(ntk.gram(network, theta, r))
    g = jnp.asarray(functions[:, [0]] + 2 * functions[:, [3]], jnp.float32)
    just_below = (values[[0, 1, 3]] / values[0]) * 0.999
    energy = atoms.energy_concentration(eigen, g, jnp.asarray([*just_below, 0.0]))
    assert np.allclose(energy, [0.2, 0.2, 1.0, 1.0], atol=1e-3)
    # The mean over signals of different size: each counts alike.
    both = jnp.concatenate([100 * g, jnp.asarray(functions[:, [0]], jnp.float32)], axis=1)
    assert np.isclose(atoms.energy_concentration(eigen, both, just_below[:1])[0], 0.6, atol=1e-3)


@pytest.mark.parametrize("omega0", [5.0, 30.0, 100.0])
def test_energy_from_products_follows_all_eigenfunctions(omega0):
    """Against Eq. 11 from LAPACK in float64, on faces: no further than one point's weight."""
    size = 24
    network = networks.SIREN((64,) * 3, mapping_width=64, zero_bias=True)
    theta = networks.tune(draw(network, 2), omega0=omega0)
    gram = ntk.gram(network, theta, signals.grid((size, size)))
    values, functions = np.linalg.eigh(np.asarray(gram, np.float64))
    g = faces.load(size=size).validation[:4].reshape(4, -1).T
    g = g - g.mean(axis=0)
    share = np.mean((functions.T @ g) ** 2 / np.sum(g**2, axis=0), axis=1)
    thresholds = np.logspace(-4, 0, 81)
    direct = np.array([share[values / values[-1] >= t].sum() for t in thresholds])
    largest = values[-1] / size**2
    product = partial(jnp.matmul, gram)
    energy = atoms.energy_from_products(product, jnp.asarray(g, jnp.float32), thresholds, largest)
    assert np.abs(energy - direct).mean() < 0.01
    assert np.abs(energy - direct).max() < 0.08
    assert (np.diff(energy) <= 1e-6).all()


def test_energy_from_products_of_few_eigenfunctions_is_exact(kernel):
    """Lanczos ends early there, and what comes after must not count."""
    network, theta, r, values, functions = kernel
    gram = ntk.gram(network, theta, r)
    g = jnp.asarray(functions[:, [0]] + 2 * functions[:, [3]], jnp.float32)
    thresholds = jnp.asarray([*(values[[0, 1, 3]] / values[0]) * 0.999, 0.0])
    energy = atoms.energy_from_products(partial(jnp.matmul, gram), g, thresholds, values[0])
    assert np.allclose(energy, [0.2, 0.2, 1.0, 1.0], atol=1e-3)
    everything = atoms.energy_from_products(lambda V: V, g, thresholds, 1 / len(g))
    assert np.allclose(everything, 1.0, atol=1e-5)


def test_energy_is_the_same_in_the_convention_of_eq_67(kernel):
    _, _, _, values, functions = kernel
    g = np.random.default_rng(0).normal(size=(256, 3))
    unit = functions / 16  # vectors of length 1, inner products as sums
    share = ((unit.T @ g) ** 2 / np.sum(g**2, axis=0)).mean(axis=1)
    direct = [share[values / values[0] >= t].sum() for t in (0.5, 0.1, 0.01)]
    energy = atoms.energy_concentration(
        frame(values, functions), jnp.asarray(g), jnp.array([0.5, 0.1, 0.01])
    )
    assert np.allclose(energy, direct, atol=1e-5)


def test_kernel_norm(kernel):
    """‖φ_i‖² = 1/λ_i, and for any g it is gᵀ Θ⁻¹ g in the mean over the grid."""
    _, _, _, values, functions = kernel
    eigen = frame(values, functions)
    norms = atoms.kernel_norm(eigen, eigen.functions[:, :5], cutoff=0.0)
    assert np.allclose(norms, 1 / values[:5], rtol=1e-3)
    g = functions[:, :20] @ np.arange(20.0)
    theta = (functions[:, :20] * values[:20]) @ functions[:, :20].T
    direct = g @ np.linalg.lstsq(theta, g, rcond=1e-9)[0]
    assert np.isclose(atoms.kernel_norm(eigen, jnp.asarray(g)[:, None])[0], direct, rtol=1e-3)
    rough = atoms.kernel_norm(eigen, eigen.functions[:, -1:], cutoff=0.1)
    assert np.isclose(rough[0], 10 / values[0], rtol=1e-3)


@pytest.mark.parametrize("shape", [(16, 24), (64,)])
def test_centroids(shape):
    r = signals.grid(shape)
    waves = np.stack([np.sin(2 * np.pi * 3 * r[:, -1]), np.cos(2 * np.pi * 5 * r[:, 0])], axis=-1)
    assert np.allclose(atoms.centroids(jnp.asarray(waves), shape), [3, 5], atol=1e-3)


def test_regression_reproduces_the_samples_and_follows_the_kernel(kernel):
    network, theta, r, _, _ = kernel
    g = signals.tone(2.0, r[:, :1])
    half, other = r[::2], r[1::2]
    fitted = ntk.regression(network, theta, half, g[::2], half)
    assert np.abs(fitted - g[::2]).max() < 0.01
    predicted = ntk.regression(network, theta, half, g[::2], other, ridge=1e-3)
    K = explicit(network, theta, half, half)
    K += 1e-3 * np.trace(K) / len(K) * np.eye(len(K))
    missing = np.asarray(g[::2] - network.apply(theta, half), float)
    direct = explicit(network, theta, other, half) @ np.linalg.solve(K, missing)
    assert error(predicted, direct + network.apply(theta, other)) < 1e-3


def test_centroid_agrees_with_spectra(kernel):
    functions = kernel[-1][:, :3]
    one = spectra.centroid(spectra.centred(jnp.asarray(functions[:, 2].reshape(16, 16, 1))))
    assert np.isclose(atoms.centroids(jnp.asarray(functions), (16, 16))[2], one, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("omega0", [5.0, 12.0, 20.0])
def test_regression_of_a_smooth_kernel_is_quiet(omega0, seed):
    """In float32 it is not positive definite; too slow for 23 Hz, it says no other note instead."""
    network = networks.SIREN((128,), mapping_width=128)
    theta = networks.init(network, jax.random.key(seed), 1, omega0=omega0)
    r, finer = (signals.grid(size) for size in (128, 256))
    g = signals.tone(23, r)
    f = np.asarray(ntk.regression(network, theta, r, g, finer))[:, 0]
    amplitudes = 2 * np.abs(np.fft.rfft(f)) / len(f)
    assert amplitudes.max() < 0.3


def refusals():
    network = FAMILIES["SIREN"](1)
    theta, r = draw(network, 2), coordinates(2, 9, seed=1)
    bad = jax.tree.map(lambda x: x * jnp.nan, theta)
    eigen = frame([1.0], np.ones((9, 1)))
    yield "must all be", lambda: ntk.gram(network, theta, r[0])
    yield "must all be", lambda: ntk.gram(network, theta, r, r[:, :1])
    yield "outputs='sum'", lambda: ntk.gram(network, theta, r, outputs="sum")
    yield "NaN or infinity", lambda: ntk.gram(network, bad, r)
    yield "NaN or infinity", lambda: ntk.operator(network, theta, r * jnp.inf)
    yield "no trained parameters", lambda: ntk.gram(network, {"params": {}}, r)
    yield "chunk=0", lambda: ntk.operator(network, theta, r, chunk=0)
    yield "must be square", lambda: atoms.eigenfunctions(jnp.ones((3, 2)))
    yield "NaN or infinite", lambda: atoms.eigenfunctions(jnp.full((3, 3), jnp.nan))
    yield "k=0", lambda: atoms.eigenfunctions(jnp.eye(3), 0)
    yield "k=4", lambda: atoms.eigenfunctions(jnp.eye(3), 4)
    yield "steps=0", lambda: atoms.leading(lambda V: V, 9, 2, steps=0)
    yield "previous=None", lambda: atoms.align(eigen, frame([1.0], np.ones((8, 1))))
    yield "samples of the grid", lambda: atoms.inner_products(eigen, jnp.ones((8, 1)))
    yield (
        "a signal that is zero",
        lambda: atoms.energy_concentration(eigen, jnp.zeros((9, 1)), [0.1]),
    )
    product = lambda steps: atoms.energy_from_products(
        lambda V: V, jnp.ones((9, 1)), [0.1], 1.0, steps=steps
    )
    yield "steps=10 must lie between 1 and 9", lambda: product(10)
    yield (
        "a signal that is zero",
        lambda: atoms.energy_from_products(lambda V: V, jnp.zeros((9, 1)), [0.1], 1.0, steps=3),
    )
    yield "must be \\(H, W\\)", lambda: atoms.centroids(jnp.ones((9, 1)), (2, 2))
    yield "regression", lambda: ntk.regression(network, theta, r, r[:3], r)


@pytest.mark.parametrize("number", range(19))
def test_refuses(number):
    message, call = list(refusals())[number]
    with pytest.raises(ValueError, match=message):
        call()


def test_too_large_a_matrix_names_the_way_out(monkeypatch):
    monkeypatch.setattr(ntk, "free_memory", lambda: 1000)
    network = FAMILIES["SIREN"](1)
    theta, r = draw(network, 2), coordinates(2, 40, seed=1)
    with pytest.raises(ValueError, match=r"40 × 40 numbers need .* atoms.leading\(ntk.operator"):
        ntk.gram(network, theta, r)
    with pytest.raises(ValueError, match=r"ntk\.operator"):
        atoms.eigenfunctions(jnp.eye(40))
    assert atoms.leading(ntk.operator(network, theta, r), 40, 2).functions.shape == (40, 2)
