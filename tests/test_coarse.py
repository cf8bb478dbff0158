"""The kernel of a fine grid from a few nodes, against LAPACK and NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jacobians import draw, explicit
from numpy.polynomial.legendre import leggauss

from inrlib import atoms, coarse, networks, ntk, signals

CUBE = (8,) * 3
FAMILIES = {
    "SIREN": networks.SIREN((24, 24), mapping_width=24),
    "FFN": networks.FFN((24,), mapping_width=24),
    "positional encoding": networks.PositionalEncoding((24,), octaves=3),
    "WIRE": networks.WIRE((12,), mapping_width=12),
    "grid": networks.Grid((12,), levels=2, cells=8),
    "two outputs": networks.SIREN((16,), 2, mapping_width=16),
}


def exact(network, theta, r):
    """λ and orthonormal vectors of the kernel, word for word, in descending order."""
    values, vectors = np.linalg.eigh(explicit(network, theta, r, r))
    return values[::-1] / len(r), vectors[:, ::-1]


def check(eigen, values, vectors, within=1e-3):
    """λ and, where a gap bounds them, subspaces."""
    k, N = len(eigen.values), len(vectors)
    order = np.argsort(-np.asarray(eigen.values))
    unit = np.asarray(eigen.functions, np.float64)[:, order] / N**0.5
    assert np.abs(np.asarray(eigen.values)[order] - values[:k]).max() <= within * values[0]
    assert np.abs(unit.T @ unit - np.eye(k)).max() < 1e-3
    for m in range(1, k + 1):
        if m < N and values[m - 1] - values[m] > 0.1 * values[0]:
            theirs = vectors[:, :m]
            angle = np.linalg.norm(unit[:, :m] - theirs @ (theirs.T @ unit[:, :m]), 2)
            assert angle < 20 * within


@pytest.mark.parametrize(("samples", "count"), [(9, 1), (16, 7), (64, 30), (12, 12)])
def test_an_axis_has_the_gauss_quadrature_of_its_samples(samples, count):
    """Exact for all polynomials of degree < 2m; interpolation for those of degree < m."""
    r = np.asarray(signals.grid(samples, -1, 1), np.float64)
    with jax.enable_x64(True):
        grid = coarse.coarsen(r, (samples,), count)
        nodes, A = np.asarray(grid.r)[:, 0], np.asarray(grid.axes[0])
        weights = np.asarray(grid.weights)
    for degree in range(2 * count):
        assert np.isclose(weights @ nodes**degree, np.mean(r[:, 0] ** degree), atol=1e-12)
    for degree in range(count):
        assert np.allclose(A @ nodes**degree, r[:, 0] ** degree, atol=1e-9)
    assert np.allclose(A.T @ A / samples, np.diag(weights), atol=1e-12)


def test_many_samples_have_the_quadrature_of_the_line():
    """Gauss and Legendre, from NumPy, once the samples are as good as the interval."""
    with jax.enable_x64(True):
        r = np.asarray(signals.grid(20000, -1, 1), np.float64) + 1 / 20000
        grid = coarse.coarsen(r, (20000,), 8)
    nodes, weights = leggauss(8)
    assert np.allclose(np.sort(np.asarray(grid.r)[:, 0]), nodes, atol=1e-6)
    assert np.allclose(grid.weights, weights / 2, atol=1e-6)


def test_interpolation_along_all_axes():
    """A polynomial of low degree in three unequal axes, and the transpose by inner products."""
    shape = (6, 9, 5)
    r = signals.grid(shape)
    grid = coarse.coarsen(r, shape, 100)
    f = lambda r: (1 + r[:, [0]] ** 2) * (r[:, [1]] - r[:, [2]])
    assert np.allclose(grid.to_samples(f(grid.r)), f(r), atol=1e-5)
    V, W = (
        jax.random.normal(jax.random.key(i), (n, 2)) for i, n in ((0, len(r)), (1, len(grid.r)))
    )
    assert np.allclose(jnp.vdot(grid.to_nodes(V), W), jnp.vdot(V, grid.to_samples(W)), rtol=1e-4)


fast = ("SIREN", "WIRE")
each = [pytest.param(name, marks=[] if name in fast else pytest.mark.slow) for name in FAMILIES]


@pytest.mark.parametrize("name", each)
@pytest.mark.few(1)
def test_leading_in_three_dimensions(name):
    """From few nodes, whatever they are worth, and from the kernel itself."""
    network, r = FAMILIES[name], signals.grid(CUBE)
    theta = draw(network, 3)
    reference = exact(network, theta, r)
    check(coarse.leading(network, theta, r, CUBE, 6, nodes=64), *reference)
    check(coarse.leading(network, theta, r, CUBE, 6, nodes=64, tolerance=0), *reference, 1e-4)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("omega0", [10.0, 60.0, 300.0])
@pytest.mark.few(2)
def test_fast_networks_are_seen_through(seed, omega0):
    """At ω0 = 300 four nodes an axis see nothing of the kernel, and its spectrum is nearly flat."""
    network, r = FAMILIES["SIREN"], signals.grid(CUBE)
    theta = networks.tune(draw(network, 3, seed), omega0=omega0)
    check(coarse.leading(network, theta, r, CUBE, 6, nodes=64), *exact(network, theta, r))


def test_residuals_are_those_of_all_samples():
    """The estimate from random samples, against the product with the whole matrix."""
    shape = (24, 24)
    network, r = networks.SIREN((24, 24), mapping_width=24), signals.grid(shape)
    theta = draw(network, 2)
    K = np.asarray(ntk.gram(network, theta, r), np.float64)
    eigen = coarse.leading(network, theta, r, shape, 5, nodes=64, tolerance=np.inf)
    functions, values = (np.asarray(part, np.float64) for part in (eigen.functions, eigen.values))
    miss = K @ functions / len(r) - functions * values
    whole = np.sqrt(np.mean(miss**2, axis=0)) / values[0]
    assert (whole > 1e-4).any()
    assert np.allclose(eigen.residuals, whole, rtol=0.6)
    assert (coarse.leading(network, theta, r, shape, 5, nodes=64).residuals < 1e-3).all()


@pytest.mark.slow
class TestPoor:
    """Kernels of few directions, and of none that stands out."""

    def test_a_linear_model_has_four(self):
        network, r = networks.MLP(()), signals.grid(CUBE)
        theta = networks.init(network, jax.random.key(0), 3)
        eigen = coarse.leading(network, theta, r, CUBE, 4, nodes=64)
        check(eigen, *exact(network, theta, r))

    def test_sigma_0_has_one(self):
        network, r = FAMILIES["FFN"], signals.grid(CUBE)
        theta = networks.init(network, jax.random.key(0), 3, sigma=0.0)
        eigen = coarse.leading(network, theta, r, CUBE, 3, nodes=64)
        values, _ = exact(network, theta, r)
        assert np.allclose(eigen.values, values[:3], atol=1e-3 * values[0])
        assert np.isclose(np.abs(np.mean(eigen.functions[:, 0])), 1, atol=1e-3)

    def test_a_table_as_fine_as_the_grid_is_flat(self):
        network, r = networks.Grid((), levels=1, cells=8), signals.grid(CUBE)
        theta = networks.init(network, jax.random.key(0), 3, resolution=8.0)
        eigen = coarse.leading(network, theta, r, CUBE, 3, nodes=64)
        values, _ = exact(network, theta, r)
        assert np.allclose(eigen.values, values[:3], rtol=1e-3)


def test_a_slide_keeps_signs_and_compiles_nothing(compiled):
    network, r = FAMILIES["SIREN"], signals.grid(CUBE)
    theta, previous = draw(network, 3), None
    for number, omega0 in enumerate((20.0, 20.2, 20.4, 20.6)):
        tuned = networks.tune(theta, omega0=omega0)
        eigen = coarse.leading(network, tuned, r, CUBE, 6, nodes=64, previous=previous)
        if number > 1:
            assert not compiled
            assert (np.mean(eigen.functions[:, :1] * previous.functions[:, :1], axis=0) > 0.5).all()
        if number:
            compiled.clear()
        previous = eigen


def test_the_interpolated_kernel_serves_as_a_product():
    """With as many nodes as samples it is the kernel; with half of them, nearly."""
    shape = (16, 16)
    network, r = networks.SIREN((24,), mapping_width=24), signals.grid(shape)
    theta = networks.tune(draw(network, 2), omega0=10.0)
    values, vectors = exact(network, theta, r)
    for nodes, within in ((256, 1e-4), (144, 2e-3)):
        grid = coarse.coarsen(r, shape, nodes)
        apply = coarse.product(ntk.gram(network, theta, grid.r), grid)
        check(atoms.leading(apply, 256, 3), values, vectors, within)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r[:, ::-1], "no regular grid"),
        (lambda r: r**2, "no regular grid"),
        (lambda r: r[:-1], "no grid of shape"),
    ],
)
def test_what_is_no_grid_is_refused(change, words, unchecked):
    with pytest.raises(ValueError, match=words):
        coarse.coarsen(change(np.asarray(signals.grid((4, 4)))), (4, 4), 4)


def test_numbers_out_of_range(unchecked):
    network, r = FAMILIES["SIREN"], signals.grid(CUBE)
    theta = draw(network, 3)
    with pytest.raises(ValueError, match="nodes=0"):
        coarse.coarsen(r, CUBE, 0)
    with pytest.raises(ValueError, match="k=9 must lie between 1 and the number of nodes 8"):
        coarse.leading(network, theta, r, CUBE, 9, nodes=8)
