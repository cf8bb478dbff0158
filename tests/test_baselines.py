"""The rivals of a network: against SciPy's interpolation, NumPy's least squares and the DFT."""

import itertools

import jax
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from inrlib import networks, signals
from inrlib.baselines import fourier_series, linear_grid, parameters

SIDES = [(1, 9), (2, 5), (3, 3)]


def interpolator(nodes):
    """SciPy's, on the unit cube."""
    axes = [np.linspace(0, 1, size) for size in nodes.shape]
    return RegularGridInterpolator(axes, nodes)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("dims", "side"), SIDES)
def test_a_grid_is_found_again_from_its_interpolation(dims, side, rng):
    nodes = rng.normal(size=(side,) * dims)
    corners = np.array(list(itertools.product((0, 1), repeat=dims)), float)
    r = np.concatenate([corners, rng.uniform(size=(600, dims))])
    f = linear_grid(r, interpolator(nodes)(r)[:, None], side**dims, smooth=1e-12)
    at = rng.uniform(size=(50, dims))
    np.testing.assert_allclose(f(at)[:, 0], interpolator(nodes)(at), atol=1e-5)


@pytest.mark.parametrize(("dims", "side"), SIDES)
def test_a_grid_is_the_least_squares_solution(dims, side, rng):
    """The matrix from SciPy, a unit node at a time; the differences listed one by one; NumPy."""
    corners = np.array(list(itertools.product((0, 1), repeat=dims)), float)
    r = np.concatenate([corners, rng.uniform(size=(side**dims, dims))])
    g, smooth = rng.normal(size=(len(r), 2)), 0.1
    unit = np.eye(side**dims).reshape(-1, *(side,) * dims)
    A = np.stack([interpolator(one)(r) for one in unit], axis=1)
    places = list(np.ndindex(*(side,) * dims))
    edges = [
        unit[i].ravel() - unit[j].ravel()
        for (i, a), (j, b) in itertools.combinations(enumerate(places), 2)
        if np.abs(np.subtract(a, b)).sum() == 1
    ]
    system = np.concatenate([A, np.sqrt(smooth) * np.array(edges)])
    x = np.linalg.lstsq(system, np.concatenate([g, np.zeros((len(edges), 2))]), rcond=None)[0]
    np.testing.assert_allclose(linear_grid(r, g, 2 * side**dims, smooth)(r), A @ x, atol=1e-5)


def test_a_grid_spans_its_samples_and_goes_on_flat(rng):
    r = rng.uniform(-3, 8, (400, 1))
    f = linear_grid(r, 2 * r, 100, smooth=1e-9)
    inner = np.linspace(r.min(), r.max(), 7)[:, None]
    np.testing.assert_allclose(f(inner), 2 * inner, atol=1e-3)
    np.testing.assert_allclose(f(np.array([[-99.0], [99.0]]))[:, 0], f(inner)[[0, -1], 0])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(64,), (16, 12), (6, 6, 6)])
def test_a_series_of_a_periodic_grid_is_its_truncated_dft(shape, rng):
    r, g, terms = np.asarray(signals.grid(shape, -1, 1)), rng.normal(size=shape), 21
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij"))
    square = (k**2).sum(axis=0)
    f = fourier_series(r, g.reshape(-1, 1), terms, ridge=0)
    kept = np.abs(np.fft.fftn(f(r).reshape(shape))) > 1e-8
    assert kept.sum() == terms
    assert square[kept].max() <= square[~kept].min()  # the lowest of them
    truncated = np.fft.ifftn(np.where(kept, np.fft.fftn(g), 0)).real
    np.testing.assert_allclose(f(r)[:, 0], truncated.ravel(), atol=1e-9)


@pytest.mark.parametrize("dims", [1, 2])
def test_a_series_is_the_least_squares_solution(dims, rng):
    """On scattered samples, of complex exponentials, by NumPy."""
    r, g = rng.uniform(size=(200, dims)), rng.normal(size=(200, 2))
    r[0], r[1] = 0, 1
    period = 1 + 1 / 199
    whole = np.array(list(itertools.product(range(-9, 10), repeat=dims)))
    length = (whole**2).sum(axis=1)
    k = whole[length <= (16 if dims == 1 else 5)]
    Z = np.exp(2j * np.pi * r @ k.T / period)
    x = np.linalg.lstsq(Z, g.astype(complex), rcond=None)[0]
    f = fourier_series(r, g, 2 * len(k), ridge=0)
    np.testing.assert_allclose(f(r), (Z @ x).real, atol=1e-6)


def test_a_tone_between_its_samples_is_met_exactly():
    r, fine = np.asarray(signals.grid(128)), np.asarray(signals.grid(256))
    f = fourier_series(r, np.asarray(signals.tone(23, r)), 10**4, ridge=1e-6)
    np.testing.assert_allclose(f(fine), signals.tone(23, fine), atol=1e-4)


@pytest.mark.parametrize("fit", [linear_grid, fourier_series])
def test_many_more_parameters_than_samples_change_nothing(fit, rng):
    """What the samples cannot settle is not asked of them; a picture's unseen half is met."""
    pixels = signals.grey(signals.picture("camera", 32))
    r, g = map(np.asarray, signals.samples(pixels))
    order = rng.permutation(1024)
    seen, unseen = order[:512], order[512:]
    error = lambda budget: np.mean((fit(r[seen], g[seen], budget)(r[unseen]) - g[unseen]) ** 2)
    assert error(10**6) == error(600)
    assert error(600) < 0.3 * g.var()
    assert error(30) > 1.5 * error(600)


def test_parameters_counts_what_training_moves():
    key = jax.random.key(0)
    count = lambda network, dims: parameters(
        jax.eval_shape(lambda: networks.init(network, key, dims))
    )
    trained = networks.SIREN((8, 5), 3, mapping_width=7)
    assert count(trained, 2) == (2 * 7 + 7) + (7 * 8 + 8) + (8 * 5 + 5) + (5 * 3 + 3)
    fixed = networks.FFN((4,), mapping_width=6)
    assert count(fixed, 1) == (6 * 4 + 4) + (4 + 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("fit", [linear_grid, fourier_series])
def test_what_cannot_be_fitted_is_refused(fit):
    r, g = np.random.default_rng(0).uniform(size=(50, 3)), np.ones((50, 1))
    with pytest.raises(ValueError, match="too few"):
        fit(r, g, 0)
    with pytest.raises(ValueError, match="all samples have the same coordinate"):
        fit(r * [1, 0, 1], g, 100)
    with pytest.raises(ValueError, match="50 coordinates and 49 values"):
        fit(r, g[1:], 100)
