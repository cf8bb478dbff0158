"""Matrix products in all digits, on every device: a GPU's own precision keeps ten bits of a number.

What a program asks of each product stands in it when it is traced, so no GPU is needed to see it.
"""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.extend import core

from inrlib import advice, atoms, bessel, fitting, metalearning, networks, ntk, published

R = jnp.linspace(-1, 1, 12)[:, None]
G = jnp.sin(3 * R)


def inside(jaxpr):
    """Every equation of a program, those of its loops and branches included."""
    for equation in jaxpr.eqns:
        yield equation
        for part in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns")):
            if isinstance(part, core.ClosedJaxpr):
                yield from inside(part.jaxpr)
            elif isinstance(part, core.Jaxpr):
                yield from inside(part)


def products(function, *arguments):
    found = inside(jax.make_jaxpr(function)(*arguments).jaxpr)
    return [e.params["precision"] for e in found if e.primitive.name == "dot_general"]


def all_digits(precisions):
    highest = (lax.Precision.HIGHEST,) * 2
    return [precision in (highest, lax.Precision.HIGHEST) for precision in precisions]


def started(family):
    network = family.sized(8, 2)
    return network, networks.init(network, jax.random.key(0), 1)


def many(theta):
    return jax.tree.map(lambda leaf: leaf[None], theta)


@pytest.mark.parametrize("family", networks.families().values(), ids=networks.families())
@pytest.mark.few(4)
def test_a_network_its_gradient_and_its_kernel(family):
    network, theta = started(family)
    loss = lambda params: jnp.sum((network.apply({**theta, "params": params}, R) - G) ** 2)
    for work, argument in (
        (jax.value_and_grad(loss), theta["params"]),
        (lambda theta: ntk.gram(network, theta, R), theta),
        (lambda theta: ntk.operator(network, theta, R)(jnp.ones((12, 2))), theta),
    ):
        asked = products(work, argument)
        assert asked
        assert all(all_digits(asked))


@pytest.mark.parametrize(
    "work",
    [
        lambda network, theta: fitting.readout(network, theta, R, G),
        lambda network, theta: ntk.regression(network, theta, R, G, R),
        lambda network, theta: metalearning.outer_gradient(network, theta, R, G[None]),
        lambda network, theta: advice._forecast(network, many(theta), R, G),
        lambda network, theta: published.nearness(*2 * (ntk.gram(network, theta, R),), 2),
    ],
    ids=["readout", "regression", "meta-learning", "advice", "nearness"],
)  # fmt: skip
def test_what_is_made_of_them(work):
    network, theta = started(networks.SIREN)
    asked = products(lambda theta: work(network, theta), theta)
    assert asked
    assert all(all_digits(asked))


def test_what_is_said_of_eigenfunctions():
    eigen = atoms.eigenfunctions(ntk.gram(*started(networks.SIREN), R), 4)
    for work in (atoms.inner_products, atoms.alignment, atoms.energy_by_number):
        asked = products(lambda eigen, work=work: work(eigen, G), eigen)
        assert asked
        assert all(all_digits(asked))


def test_coefficients_and_sums_of_them():
    network = networks.SIREN((8,), mapping_width=2)
    net = bessel.sine_layers(network, networks.init(network, jax.random.key(0), 1), 1)
    s = jnp.array([[1, 0], [0, 1], [2, -1]])
    for work in (
        lambda net: bessel._amplitudes(net, s, 2),
        lambda net: bessel.expand(net, jnp.ones((3, 1), jnp.complex64), s, R),
        lambda net: bessel.truncation_bound(net, 3),
    ):
        asked = products(work, net)
        assert asked
        assert all(all_digits(asked))


def test_a_product_that_asks_for_nothing_is_noticed():
    assert not any(all_digits(products(lambda a: a @ a, jnp.ones((3, 3)))))
