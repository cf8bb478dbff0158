import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrlib.sine import sine


def derivatives(x):
    """sin, cos and −sin of float32 numbers, by `sine` and in float64."""
    first = jax.grad(sine)
    ours = [jax.jit(jax.vmap(f))(x) for f in (sine, first, jax.grad(first))]
    exact = np.asarray(x, np.float64)
    return zip(ours, (np.sin(exact), np.cos(exact), -np.sin(exact)), strict=True)


@pytest.mark.parametrize("largest", [1.0, 100.0, 8192.0])
def test_sine_and_two_derivatives_against_numpy(largest):
    x = np.random.default_rng(0).uniform(-largest, largest, 200_000).astype(np.float32)
    for ours, exact in derivatives(x):
        assert np.abs(ours - exact).max() < 2e-7


def test_sine_of_every_finite_number():
    ends = [0.0, 8192.0, -8193.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny]
    x = np.concatenate([np.geomspace(8e3, 3e38, 50_000), -np.geomspace(8e3, 3e38, 50_000), ends])
    for ours, exact in derivatives(x.astype(np.float32)):
        assert np.abs(ours - exact).max() < 5e-7


def test_one_large_argument_among_small_ones_in_a_batch_of_batches():
    x = jnp.linspace(-5, 5, 24).reshape(4, 6).at[2, 3].set(1e9)
    expected = np.sin(np.asarray(x, np.float64))
    for run in (sine, jax.vmap(sine), jax.jit(jax.vmap(jax.vmap(sine)))):
        assert np.allclose(run(x), expected, atol=5e-7)


def test_sine_of_no_number_is_none():
    assert np.isnan(sine(jnp.array([np.inf, -np.inf, np.nan], jnp.float32))).all()


def test_sine_is_exact_in_other_precisions():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).uniform(-1e4, 1e4, 1000)
        assert np.allclose(sine(jnp.asarray(x)), np.sin(x), atol=1e-15)
    assert sine(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


def test_sine_in_the_strictest_settings_of_jax():
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        x = jnp.asarray([1.0, 1e6, 1e38], jnp.float32)
        assert np.allclose(sine(x), np.sin(np.asarray(x, np.float64)), atol=5e-7)
        assert np.isfinite(jax.vmap(jax.grad(sine))(x)).all()
