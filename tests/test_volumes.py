"""Shapes, bands and directions in three dimensions, against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT  # noqa: F401 - annotations are checked from here on

from inrlib import atoms, signals, volumes


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("sphere, occupancy", 4 / 3 * np.pi * 0.5**3 / 8),
        ("torus, occupancy", 2 * np.pi**2 * 0.5 * 0.2**2 / 8),
        ("gyroid, occupancy", 0.5),
    ],
)
def test_an_occupancy_has_the_volume_of_its_shape(name, share):
    values = volumes.volume(name, 24)
    assert values.min() == 0
    assert values.max() == 1
    assert values.mean() == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize("shape", ["sphere", "torus", "gyroid"])
def test_an_occupancy_is_where_the_distance_is_negative(shape):
    d, inside = (volumes.volume(f"{shape}, {kind}", 20) for kind in ("distance", "occupancy"))
    voxel = 2 / 20
    assert (inside[d < -voxel] == 1).all()
    assert (inside[d > voxel] == 0).all()


def test_the_head_is_a_section_in_a_slab():
    values = volumes.volume("head", 32)
    section = np.asarray(signals.recording("head")[1]).reshape(256, 256)
    assert values[16].mean() == pytest.approx(section.mean(), rel=0.01)
    assert np.allclose(values[20], values[16] * np.exp(-(0.25**2) / (2 * 0.25**2)))


def test_the_gyroid_distance_is_one():
    """|∇d| = 1, and r − d∇d is on the surface."""
    r = np.random.default_rng(0).uniform(-1, 1, (300, 3))
    d = lambda r: np.asarray(signals.distance("gyroid", r), np.float64)[:, 0]
    step = 1e-3
    slope = np.stack([(d(r + step * e) - d(r - step * e)) / (2 * step) for e in np.eye(3)], 1)
    length = np.linalg.norm(slope, axis=1)
    usual = np.abs(length - 1) < 0.01  # all but those that have two nearest points
    assert usual.mean() > 0.95
    foot = (r - d(r)[:, None] * slope)[usual]
    s, c = np.sin(2 * np.pi * foot), np.cos(2 * np.pi * foot)
    F = s[:, 0] * c[:, 1] + s[:, 1] * c[:, 2] + s[:, 2] * c[:, 0]
    assert np.abs(F).max() < 0.05
    assert np.quantile(np.abs(F), 0.9) < 5e-3


@pytest.mark.parametrize("shape", [(3, 40, 7), (16, 16, 16), (50, 4, 9)])
def test_a_volume_of_any_size_keeps_a_ramp(shape):
    """Linear in the places stays linear; the mean of the channels is taken."""
    ramp = np.indices(shape).sum(axis=0)[..., None] * np.array([1.0, 3.0])
    found = volumes.resized(ramp, 16)
    assert found.shape == (16,) * 3
    for axis, side in enumerate(shape):
        if side <= 16:
            assert np.allclose(np.diff(found, axis=axis), 2 * (side - 1) / 15)


def test_a_constant_volume_is_refused():
    with pytest.raises(ValueError, match="constant"):
        volumes.resized(np.array([1.0, -1.0]) * np.ones((4, 4, 4, 1)) + np.zeros((4, 4, 4, 2)), 8)
    with pytest.raises(ValueError, match="name='cube'"):
        volumes.volume("cube", 8)


def wave(k, side=48):
    return jnp.cos(2 * np.pi * signals.grid((side,) * 3) @ jnp.array([k], jnp.float32).T + 0.3)


@pytest.mark.parametrize("k", [(2.0, 0.0, 0.0), (1.0, 2.0, -1.0), (0.0, 3.0, 3.0)])
def test_the_structure_of_a_wave_is_its_frequency(k):
    (S,) = volumes.structure(wave(k), (48,) * 3)
    k = np.sin(2 * np.pi * np.array(k) / 48) * 48 / (2 * np.pi)  # as central differences see it
    assert np.allclose(S, np.outer(k, k), atol=0.25)
    assert np.allclose(volumes.bands(S), np.abs(k), atol=0.1)
    share = np.square(k).max() / np.square(k).sum()
    assert volumes.alignment(S) == pytest.approx(share, abs=0.02)


def test_the_length_of_the_cube_is_the_unit():
    one, two = (volumes.structure(wave((2.0, 1.0, 0.0)), (48,) * 3, length) for length in (1, 2))
    assert np.allclose(one, 4 * two)


def test_a_kernel_with_the_symmetries_of_the_cube_has_no_direction():
    """A Gaussian kernel's first ten atoms are all polynomials of degree at most two."""
    r = np.asarray(signals.grid((8,) * 3))
    K = np.exp(-np.square(r[:, None] - r[None]).sum(-1) / 0.5)
    eigen = atoms.eigenfunctions(jnp.asarray(K), 10)
    total = np.tensordot(np.asarray(eigen.values), volumes.structure(eigen.functions, (8,) * 3), 1)
    assert volumes.anisotropy(total) == pytest.approx(1, abs=0.01)
    stretched = np.exp(-(np.square(r[:, None] - r[None]) @ np.array([1.0, 1.0, 9.0])) / 0.5)
    eigen = atoms.eigenfunctions(jnp.asarray(stretched), 10)
    total = np.tensordot(np.asarray(eigen.values), volumes.structure(eigen.functions, (8,) * 3), 1)
    assert volumes.anisotropy(total) > 1.5
    assert np.argmax(volumes.bands(total)) == 2


def test_a_grid_of_another_size_is_refused(unchecked):
    with pytest.raises(ValueError, match="must hold 8"):
        volumes.structure(np.ones((8, 1)), (2, 2, 3))
