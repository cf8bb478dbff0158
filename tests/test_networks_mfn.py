"""Multiplicative filter networks."""

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import networks
from inrlib.fitting import fit
from inrlib.networks import MFN


def test_mfn_is_a_product_of_filters():
    """The formula of Fathony et al. (2021), Eq. 4, in NumPy."""
    network = MFN(widths=(5, 4), mapping_width=6, outputs=2, offset=0.5)
    theta = networks.init(network, jax.random.key(0), 2, omega0=3.0)
    r = np.random.default_rng(0).normal(size=(7, 2))
    p = jax.tree.map(np.asarray, theta["params"])
    filters = np.sin(3 / np.sqrt(3) * r @ p["filters"]["kernel"] + p["phi"])
    z = filters[:, :6]
    z = (z @ p["hidden_0"]["kernel"] + p["hidden_0"]["bias"]) * filters[:, 6:11]
    z = (z @ p["hidden_1"]["kernel"] + p["hidden_1"]["bias"]) * filters[:, 11:]
    expected = z @ p["readout"]["kernel"] + p["readout"]["bias"] + 0.5
    np.testing.assert_allclose(network.apply(theta, r), expected, atol=1e-5)
    np.testing.assert_allclose(network.apply(theta, r, method="features"), z, atol=1e-5)


def test_mfn_starts_as_published():
    network = MFN(widths=(64, 64), mapping_width=64)
    theta = networks.init(network, jax.random.key(0), 2)
    p = theta["params"]
    assert theta["fixed"]["omega0"] == 256
    for draw, bound in [
        (p["filters"]["kernel"], 2**-0.5),
        (p["phi"], np.pi),
        (p["hidden_0"]["kernel"], 1 / 8),
        (p["hidden_1"]["bias"], 1 / 8),
    ]:
        assert 0.9 * bound < jnp.abs(draw).max() <= bound
        assert abs(float(draw.std()) - bound / 3**0.5) < 0.15 * bound


def test_mfn_has_frequencies_for_all_filters():
    network = MFN(widths=(5, 4), mapping_width=6)
    theta = networks.init(network, jax.random.key(0), 2)
    Omega, phi = networks.frequencies(network, theta, 2)
    assert Omega.shape == (15, 2)
    np.testing.assert_allclose(phi, theta["params"]["phi"])
    twice = networks.frequencies(network, networks.tune(theta, omega0=512.0), 2)[0]
    np.testing.assert_allclose(twice, 2 * Omega, rtol=1e-6)


def test_mfn_can_be_trained():
    network = MFN(widths=(32, 32), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), 1, omega0=30.0)
    r = jnp.linspace(0, 1, 64)[:, None]
    g = jnp.sin(2 * jnp.pi * 3 * r)
    result = fit(network, theta, r, g, steps=300, learning_rate=1e-3, progress=False)
    assert result.psnr[-1] > result.psnr[0] + 20
