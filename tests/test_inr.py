"""What every family of Eq. 1 shares: how it is declared, drawn and moved."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrlib import networks
from inrlib.networks import FFN, MFN, MLP, SIREN, PositionalEncoding, SingleFrequency

KEY = jax.random.key(0)
EVERY = [
    SIREN((8, 8), 2, mapping_width=6),
    SIREN((8,), 2, mapping_width=6, trainable=False, zero_bias=True),
    FFN((8,), 2, mapping_width=10),
    FFN((8,), 2, mapping_width=10, trainable=True),
    SingleFrequency((8,), 2),
    SingleFrequency((8,), 2, trainable=True),
    PositionalEncoding((8,), 2, octaves=3),
    MFN((8, 8), 2, mapping_width=6),
    MLP((8, 8), 2),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("widths", [[8, 5], np.array([8, 5]), (np.int64(8), 5), range(8, 4, -3)])
def test_widths_become_a_tuple_of_plain_integers(widths):
    network = SIREN(widths, mapping_width=np.int32(6))
    assert network == SIREN((8, 5), mapping_width=6)
    assert hash(network) == hash(SIREN((8, 5), mapping_width=6))
    assert network.widths == (8, 5)
    theta = networks.init(network, KEY, 2)
    assert jax.jit(network.apply)(theta, jnp.zeros((3, 2))).shape == (3, 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("family", [SIREN, FFN, MFN, MLP, PositionalEncoding, SingleFrequency])
@pytest.mark.parametrize("widths", [16, "16", (16.0,), (0,), (-4,), (True,), [[4]], None, ("8",)])
def test_other_widths_are_refused_in_one_sentence(family, widths):
    with pytest.raises(ValueError, match=r"^widths=.* must be .*\.$"):
        family(widths)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["outputs", "mapping_width"])
@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True, np.ones(2)])
def test_other_sizes_are_refused_in_one_sentence(name, size):
    with pytest.raises(ValueError, match=rf"^{name}=.* whole number of at least 1\.$"):
        SIREN((4,), **{name: size})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "value", [np.ones(3), jnp.float32(30), [30.0], {"a": 1}, {30.0}, (jnp.ones(2),), bytearray(b"")]
)
def test_what_cannot_be_hashed_is_refused_as_an_attribute(value):
    """jit, vmap and the kernels find their compiled programs by the network's hash."""
    with pytest.raises(ValueError, match=r"^hidden_omega0: attributes .* belongs in theta\.$"):
        SIREN((4,), hidden_omega0=value)


@pytest.mark.usefixtures("unchecked")
def test_a_setting_is_a_number():
    for value in ("30", "3,5", None, 1j, True, [None], b"30"):
        with pytest.raises(ValueError, match=r"^omega0=.* must be a number, in rad per unit\.$"):
            networks.init(SIREN((4,)), KEY, 1, omega0=value)


@pytest.mark.parametrize("network", EVERY, ids=lambda network: type(network).__name__)
@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=pytest.mark.slow)])
@pytest.mark.few(4)
def test_numbers_keep_their_type_under_every_setting_of_jax(network, dtype):
    """Strict promotion and a stop at the first NaN; with x64, float32 stays float32."""
    settings = {network.knob.name: 2.0} if network.knob else {}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        theta = networks.tune(networks.init(network, KEY, 2, dtype, **settings), **settings)
        r = jnp.zeros((5, 2), dtype)
        assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype(dtype)}
        assert jax.jit(network.apply)(theta, r).dtype == dtype
        slope = jax.grad(lambda theta: jnp.sum(network.apply(theta, r) ** 2))(theta)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(slope))
        if settings:
            Omega, phi = networks.frequencies(network, theta, 2)
            assert Omega.dtype == phi.dtype == dtype


@pytest.mark.parametrize("network", EVERY, ids=lambda network: type(network).__name__)
@pytest.mark.few(3)
def test_a_key_is_one_draw_whatever_the_type(network):
    single = networks.init(network, KEY, 2)
    with jax.enable_x64(True):
        double = networks.init(network, KEY, 2, jnp.float64)
    jax.tree.map(np.testing.assert_array_equal, single, double)


def test_a_family_of_the_readers_own_is_found_with_its_knob():
    class Cosine(SingleFrequency):
        label = "cosine"
        knob = networks.Knob("f0", "f0", "cycles per unit", 2.0, 1, 8)

    class Variant(Cosine):
        pass

    found = networks.families()
    assert found["cosine"] is Cosine
    assert Variant not in found.values()
    del Cosine, Variant, found
    gc.collect()  # so that the other tests of this process have the package's own families only
    assert "cosine" not in networks.families()


def test_the_function_of_a_network_is_of_what_training_moves():
    network = EVERY[0]
    theta = networks.init(network, KEY, 2)
    r = jnp.ones((3, 2)) / 3
    f = networks.function(network, theta)
    np.testing.assert_array_equal(f(theta["params"], r), network.apply(theta, r))
