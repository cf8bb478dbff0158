"""Networks of every kind, drawn from a grammar, against the explicit Jacobian in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jacobians import coordinates, double, error, explicit
from jax import lax

from inrlib import layers, networks, ntk

pytestmark = pytest.mark.slow  # every draw is a network of its own to compile

WIDTH = 4


class Sine(nn.Dense):
    """A subclass whose result is not W z + b."""

    @nn.compact
    def __call__(self, z):
        W = self.param("kernel", nn.initializers.lecun_normal(), (z.shape[-1], self.features))
        b = self.param("bias", nn.initializers.normal(0.1), (self.features,))
        return jnp.sin(3 * (z @ W + b))


class LoRA(nn.Dense):
    @nn.compact
    def __call__(self, z):
        draw = nn.initializers.normal(0.5)
        W = self.param("kernel", draw, (z.shape[-1], self.features))
        a, b = self.param("a", draw, (z.shape[-1], 2)), self.param("b", draw, (2, self.features))
        return z @ (W + a @ b)


class Tied(nn.Module):
    """There and back by one matrix."""

    @nn.compact
    def __call__(self, z):
        layer = nn.Dense(z.shape[-1])
        return jnp.sin(layer(z)) @ layer.variables["params"]["kernel"].T


class Shared(nn.Module):
    @nn.compact
    def __call__(self, z):
        layer = nn.Dense(z.shape[-1])
        return layer(jnp.sin(layer(z)))


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, z):
        step = lambda layer, z, _: (jnp.sin(layer(z)), None)
        lifted = nn.scan(step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        return lifted(nn.Dense(z.shape[-1]), z, None)[0]


class Encoders(nn.Module):
    """One encoder for each coordinate, and one for all of them."""

    @nn.compact
    def __call__(self, z):
        each = nn.vmap(
            nn.Dense,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=1,
            out_axes=1,
        )
        return nn.Dense(1)(each(2)(z[..., None]))[..., 0]


class Convolved(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Conv(1, (3,))(z[..., None])[..., 0]


class Multiplied(nn.Module):
    """Filters; and a latent code of one row."""

    @nn.compact
    def __call__(self, z):
        centre = self.param("centre", nn.initializers.normal(1.0), (z.shape[-1],))
        code = self.param("code", nn.initializers.normal(1.0), (1, 3))
        return jnp.exp(-((z - centre) ** 2)) * nn.Dense(z.shape[-1])(z) + nn.Dense(z.shape[-1])(
            code
        )


class Gabor(nn.Module):
    """Complex weights between real numbers."""

    @nn.compact
    def __call__(self, z):
        kind = jnp.complex128 if z.dtype == jnp.float64 else jnp.complex64
        draw = lambda key, shape, dtype: jax.random.normal(key, shape, dtype) / 2
        v = nn.Dense(z.shape[-1], param_dtype=kind, kernel_init=draw)(z)
        w = jnp.exp(2j * v - jnp.abs(v) ** 2)
        return nn.Dense(z.shape[-1], param_dtype=kind, kernel_init=draw)(w).real


class Products(nn.Module):
    """A matrix on the left, one whose transpose is used, and a bias that is used again."""

    @nn.compact
    def __call__(self, z):
        draw, F = nn.initializers.normal(0.5), z.shape[-1]
        A, B = self.param("A", draw, (F, F)), self.param("B", draw, (F, F))
        b = self.param("b", draw, (F,))
        return jnp.sin((A @ z.T).T + b) @ B.T + b**2 + jnp.einsum("nf,gf->ng", z, z[:1] * 0 + B[:1])


class Half(nn.Module):
    """Computes in bfloat16 between."""

    @nn.compact
    def __call__(self, z):
        return nn.Dense(1, dtype=jnp.bfloat16)(z).astype(z.dtype)


class Centred(nn.Module):
    """Mixes samples, openly or behind a stopped gradient."""

    stop: bool

    @nn.compact
    def __call__(self, z):
        mean = jnp.mean(z, axis=0)
        return nn.Dense(1)(z - (lax.stop_gradient(mean) if self.stop else mean))


class Frozen(nn.Module):
    """A matrix that no gradient reaches."""

    @nn.compact
    def __call__(self, z):
        W = self.param("W", nn.initializers.normal(1.0), (z.shape[-1], WIDTH))
        return nn.Dense(WIDTH)(z @ lax.stop_gradient(W) + 0.5)


BLOCKS = {
    "frozen": Frozen,
    "dense": lambda: nn.Dense(WIDTH),
    "dense without bias": lambda: nn.Dense(WIDTH, use_bias=False),
    "subclass": lambda: Sine(WIDTH),
    "weight norm": lambda: nn.WeightNorm(nn.Dense(WIDTH)),
    "lora": lambda: LoRA(WIDTH),
    "tied": Tied,
    "shared": Shared,
    "scan": Scanned,
    "remat": lambda: nn.remat(nn.Dense)(WIDTH),
    "jit": lambda: nn.jit(nn.Dense)(WIDTH),
    "encoders": Encoders,
    "layer norm": nn.LayerNorm,
    "batch norm": lambda: nn.BatchNorm(use_running_average=True),
    "general dense": lambda: nn.DenseGeneral(WIDTH),
    "convolution": Convolved,
    "multiplied": Multiplied,
    "complex": Gabor,
}


class Drawn(nn.Module):
    """Dense, then blocks with a sine or nothing behind them, then dense."""

    blocks: tuple[str, ...]
    outputs: int = 1

    @nn.compact
    def __call__(self, r):
        z = nn.Dense(WIDTH)(r)
        for number, block in enumerate(self.blocks):
            z = BLOCKS[block]()(jnp.sin(z) if number % 2 == 0 else z)
        return nn.Dense(self.outputs)(jnp.tanh(z))


def start(network, r):
    """Random numbers of the right shapes, with no zeros among them and none that compiles."""
    rng = np.random.default_rng(0)

    def draw(path, like):
        x = rng.normal(0, 0.5, like.shape)
        x = x + 1j * rng.normal(0, 0.5, like.shape) if like.dtype == jnp.complex64 else x
        return jnp.asarray(x if path[0].key == "params" else 1 + x**2, like.dtype)

    return jax.tree.map_with_path(draw, jax.eval_shape(network.init, jax.random.key(0), r))


def check(network):
    r = coordinates(2, 9, seed=1)
    theta = start(network, r)
    expected = explicit(network, theta, r, r)

    @jax.jit
    def kernels(theta, r):
        product = ntk.operator(network, theta, r, chunk=4)
        return ntk.gram(network, theta, r), ntk.gram(network, theta, r[:4], r), product(jnp.eye(9))

    with jax.enable_x64(True):
        square, rectangle, product = kernels(*double((theta, r)))
    assert square.dtype == jnp.float64
    assert error(square, expected) < 1e-10
    assert error(rectangle, expected[:4]) < 1e-10
    assert error(product, expected) < 1e-10


@pytest.mark.parametrize("block", BLOCKS)
def test_the_kernel_of_every_kind_of_block(block):
    check(Drawn((block,), outputs=1 + len(block) % 2))


@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_of_a_network_drawn_at_random(seed):
    rng = np.random.default_rng(seed)
    blocks = tuple(str(b) for b in rng.choice(list(BLOCKS), rng.integers(2, 4)))
    check(Drawn(blocks, outputs=int(rng.integers(1, 4))))


def test_matrices_that_are_used_otherwise():
    check(nn.Sequential((nn.Dense(WIDTH), Products(), nn.Dense(2))))


FAMILIES = {
    networks.SIREN((8, 6), mapping_width=4): 0,
    networks.SIREN((8, 6), 3, mapping_width=4, trainable=False): 0,
    networks.FFN((8, 6), mapping_width=4): 0,
    networks.FFN((8, 6), mapping_width=4, trainable=True): 0,
    networks.SingleFrequency((8, 6)): 0,
    networks.SingleFrequency((8, 6), 2, trainable=True): 2,  # f0, for two outputs
    networks.PositionalEncoding((8, 6)): 0,
    networks.MLP((8, 6)): 0,
    networks.MFN((4, 4), mapping_width=4): 12,  # φ
}


@pytest.mark.parametrize("network", FAMILIES, ids=lambda network: type(network).__name__)
def test_all_matrices_and_biases_of_the_families_are_found(network):
    """Else their kernels are as right, and many times slower."""
    r = jnp.zeros((3, 2))
    assert layers.left_over(network, start(network, r), r) == FAMILIES[network]


class Modules:
    """What a reader brings, and what it is told."""

    class Two(nn.Module):
        @nn.compact
        def __call__(self, r):
            return nn.Dense(1)(r), nn.Dense(3)(r)

    class Flat(nn.Module):
        @nn.compact
        def __call__(self, r):
            return nn.Dense(1)(r)[:, 0]

    class Complex(nn.Module):
        @nn.compact
        def __call__(self, r):
            return nn.Dense(1, param_dtype=jnp.complex64)(r)

    class Fourier(nn.Module):
        B: jax.Array

        @nn.compact
        def __call__(self, r):
            return nn.Dense(1)(jnp.sin(r @ self.B))

    class PerSample(nn.Module):
        @nn.compact
        def __call__(self, r):
            return nn.Dense(1)(r + self.param("code", nn.initializers.normal(1.0), (9, 2)))


@pytest.mark.parametrize("name", ["gram", "operator"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Modules.Two(), "returns a tuple; wrap it"),
        (Modules.Flat(), r"returns \(1,\) for one sample; it must return \(1, C\)"),
        (Modules.PerSample(), r"returns \(9, 1\) for one sample"),
        (Modules.Complex(), "return real and imaginary part as two channels"),
        (Modules.Fourier(jnp.ones((2, 4))), "attribute B cannot be hashed"),
        (nn.Sequential([nn.Dense(8), jnp.sin, nn.Dense(1)]), "attribute layers cannot be hashed"),
        (nn.Dense(1, param_dtype=jnp.bfloat16), "bfloat16 parameters.* cast them to float32"),
        (nn.Dense(1, param_dtype=jnp.float16), "float16 parameters"),
        (Half(), "half precision"),
        (Centred(stop=False), "mixes its samples"),
        (Centred(stop=True), "mixes its samples"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_has_no_such_kernel_is_refused_in_a_sentence(name, network, message):
    r = coordinates(2, 9, seed=1)
    theta = start(network, r)
    with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
        getattr(ntk, name)(network, theta, r)


def test_what_is_no_linen_module_is_refused_with_the_way_to_make_it_one():
    from flax import nnx

    r = coordinates(2, 9, seed=1)
    inner = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    for other in (inner, lambda theta, r: r):
        with pytest.raises(ValueError, match=r"no Flax Linen module; .*ToLinen\(Class"):
            layers.check("gram", other, {"params": {"w": r}}, r)
    bridged = nnx.bridge.ToLinen(nnx.Linear, args=(2, 1))
    theta = bridged.init(jax.random.key(0), r)
    assert error(ntk.gram(bridged, theta, r), np.asarray(r @ r.T + 1, float)) < 1e-5
