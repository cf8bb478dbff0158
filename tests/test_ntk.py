import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jacobians import coordinates, double, draw, error, explicit, jacobian

from inrlib import atoms, layers, networks, ntk, signals
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


SHAPES = [(dims, channels) for channels in (1, 3) for dims in (1, 2, 3)]


def each(shapes):
    """Every family in one of the shapes, and every shape; all pairs in `make slow`."""
    own = {name: shapes[i % len(shapes)] for i, name in enumerate(FAMILIES)}
    marks = lambda name, shape: [] if own[name] == shape else pytest.mark.slow
    pairs = [(name, shape) for name in FAMILIES for shape in shapes]
    return [pytest.param(*pair, marks=marks(*pair)) for pair in pairs]


@pytest.mark.parametrize(("family", "shape"), each(SHAPES))
@pytest.mark.few(4)
def test_gram(family, shape):
    """Square and rectangular, in both precisions."""
    dims, channels = shape
    network = FAMILIES[family](channels)
    theta = draw(network, dims)
    r1, r2 = coordinates(dims, 23, seed=1), coordinates(dims, 17, seed=2)

    kernels = jax.jit(
        lambda theta, r1, r2: [ntk.gram(network, theta, r1, other) for other in (None, r2)]
    )
    J = jacobian(network, theta, jnp.concatenate([r1, r2]))
    expected = [np.einsum("ncp,mcp->nm", J[:23], other) / channels for other in (J[:23], J[23:])]
    for ours, reference in zip(kernels(theta, r1, r2), expected, strict=True):
        assert error(ours, reference) < 1e-5
    with jax.enable_x64(True):
        for ours, reference in zip(kernels(*double((theta, r1, r2))), expected, strict=True):
            assert ours.dtype == jnp.float64
            assert error(ours, reference) < 1e-12


@pytest.mark.parametrize("tiles", [(7, 3), (8, 4), (64, 64)])
@pytest.mark.few(2)
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


def test_gram_can_be_jitted_and_vmapped():
    network = FAMILIES["FFN"](1)
    theta, r = draw(network, 2), coordinates(2, 20, seed=1)
    sigmas = jnp.array([1.0, 3.0])
    many = jax.jit(jax.vmap(lambda s: ntk.gram(network, networks.tune(theta, sigma=s), r)))(sigmas)
    for sigma, one in zip(sigmas, many, strict=True):
        reference = explicit(network, networks.tune(theta, sigma=sigma), r, r)
        assert error(one, reference) < 1e-5


@pytest.mark.parametrize(("family", "channels"), each((3, 1)))
@pytest.mark.few(3)
def test_operator(family, channels):
    network = FAMILIES[family](channels)
    theta, r = draw(network, 2), coordinates(2, 50, seed=1)
    V = jax.random.normal(jax.random.key(3), (50, 4))
    expected = explicit(network, theta, r, r) @ np.asarray(V, float)
    for chunk in (16, 25, 64):
        assert error(ntk.operator(network, theta, r, chunk=chunk)(V), expected) < 1e-5


def test_regression_reproduces_the_samples_and_follows_the_kernel():
    network = SIREN((32, 32), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), dims=2, omega0=20.0)
    r = signals.grid((16, 16))
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


def test_two_samples_at_one_place_are_learned_as_their_mean():
    network = FAMILIES["SIREN"](1)
    theta = draw(network, 2)
    r = jnp.array([[0.3, -0.2], [0.3, -0.2], [-0.5, 0.9]])
    predicted = ntk.regression(network, theta, r, jnp.array([[0.0], [1.0], [2.0]]), r)
    assert np.allclose(predicted[:, 0], [0.5, 0.5, 2.0], atol=1e-3)


def test_many_columns_are_made_a_few_rows_at_a_time(monkeypatch):
    network = FAMILIES["a layer called twice"](2)
    theta, r = draw(network, 2), coordinates(2, 31, seed=1)
    expected = explicit(network, theta, r, r)
    monkeypatch.setattr(ntk, "_MOST", 100)
    ntk._gram.clear_cache()
    for other in (None, r):
        assert error(ntk.gram(network, theta, r, other), expected) < 1e-5
    ntk._gram.clear_cache()


@pytest.mark.few(1)
def test_in_the_strictest_settings_of_jax():
    """No implicit promotion, NaNs hunted."""
    network = FAMILIES["SIREN"](2)
    theta, r = draw(network, 2), coordinates(2, 120, seed=1)
    g = jnp.sin(3 * r)
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        K = ntk.gram(network, theta, r)
        assert error(ntk.operator(network, theta, r)(jnp.eye(120)), np.asarray(K, float)) < 1e-5
        assert jnp.isfinite(ntk.regression(network, theta, r, g, r[:5])).all()
        eigen = atoms.eigenfunctions(K, 3)
        assert jnp.isfinite(atoms.energy_concentration(eigen, g, jnp.array([0.1]))).all()


def refusals():
    network = FAMILIES["SIREN"](1)
    theta, r = draw(network, 2), coordinates(2, 9, seed=1)
    bad = jax.tree.map(lambda x: x * jnp.nan, theta)
    yield "must all be", lambda: ntk.gram(network, theta, r[0])
    yield "must all be", lambda: ntk.gram(network, theta, r, r[:, :1])
    yield "NaN or infinity", lambda: ntk.gram(network, bad, r)
    yield "NaN or infinity", lambda: ntk.operator(network, theta, r * jnp.inf)
    yield "no trained parameters", lambda: ntk.gram(network, {"params": {}}, r)
    yield "chunk=0", lambda: ntk.operator(network, theta, r, chunk=0)
    yield "regression", lambda: ntk.regression(network, theta, r, r[:3], r)


@pytest.mark.parametrize("number", range(7))
def test_refuses(number, unchecked):
    message, call = list(refusals())[number]
    with pytest.raises(ValueError, match=message):
        call()


def test_too_large_a_matrix_names_the_way_out(monkeypatch):
    monkeypatch.setattr(ntk, "free_memory", lambda parts: 1000)
    network = FAMILIES["SIREN"](1)
    theta, r = draw(network, 2), coordinates(2, 40, seed=1)
    with pytest.raises(ValueError, match=r"40 × 40 numbers need .* atoms.leading\(ntk.operator"):
        ntk.gram(network, theta, r)
    with pytest.raises(ValueError, match=r"ntk\.operator"):
        atoms.eigenfunctions(jnp.eye(40))
    assert atoms.leading(ntk.operator(network, theta, r), 40, 2).functions.shape == (40, 2)


few = ("SIREN", "MFN", "a layer called twice", "WIRE", "batch norm")
marks = lambda name: [] if name in few else pytest.mark.slow
diagonals = [pytest.param(name, marks=marks(name)) for name in [*FAMILIES, "WIRE", "batch norm"]]


@pytest.mark.parametrize("name", diagonals)
@pytest.mark.few(3)
def test_the_diagonal_is_that_of_the_explicit_kernel(name):
    """Two outputs; complex matrices and normalised ones, too."""
    others = {
        "WIRE": lambda C: networks.WIRE((6, 5), C, mapping_width=4),
        "batch norm": lambda C: MLP((8, 6), C, norm="batch"),
    }
    network = (FAMILIES | others)[name](2)
    theta, r = draw(network, 2), coordinates(2, 7, seed=1)
    wanted = np.diag(explicit(network, theta, r, r))
    np.testing.assert_allclose(layers.diagonal(network, theta, r), wanted, rtol=2e-4)
