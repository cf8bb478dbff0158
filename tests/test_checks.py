"""What a reader's own activation may be."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
import scipy.special

from inrlib import checks, networks

CALLS = []


def counts(v):
    CALLS.append(1)
    return v * len(CALLS)


@pytest.mark.parametrize(
    "rho",
    [
        jnp.sin,
        jax.nn.relu,
        jnp.sign,
        lambda v: jnp.exp(-(v**2)),
        lambda v: jnp.sin((jnp.abs(v) + 1) * v),
        lambda v: jnp.sin(v) * jnp.sqrt(jnp.abs(v)),  # its derivative at 0 alone is not finite
        lambda v: jnp.where(v > 0, v, 0.1 * v),
    ],
)
def test_what_a_network_can_have_is_taken(rho):
    checks.check_rho(rho)


@pytest.mark.parametrize(
    ("rho", "message"),
    [
        (3, "of type int; give a function"),
        ("tanh", "of type str; give a function"),
        (np.sin, "cannot be traced.*jnp"),
        (scipy.special.erf, "cannot be traced.*jnp"),
        (lambda v: math.sin(v), "cannot be traced.*jnp"),
        (lambda v: v if v > 0 else 0 * v, "cannot be traced.*jnp.where"),
        (lambda v: jnp.exp(1j * v), "returns complex64.*the real part"),
        (lambda v: (v > 0).astype(int), "returns int32.*astype"),
        (lambda v: v > 0, "returns bool.*astype"),
        (lambda v: v.astype(jnp.bfloat16), "returns bfloat16.*astype"),
        (lambda v: (v, v), "returns a tuple; let it return one array"),
        (lambda v: None, "returns a NoneType"),
        (lambda v: v.sum(), r"makes an array of shape \(\)"),
        (lambda v: v[:3], r"makes an array of shape \(3,\)"),
        (jax.nn.softmax, "does not treat every number by itself"),
        (lambda v: v / jnp.abs(v).max(), "does not treat every number by itself"),
        (jnp.sort, "does not treat|derivative"),
        (lambda v: 0 * v + 1, "is a constant"),
        (jnp.log, "not finite at v = 0"),
        (lambda v: 1 / v, "not finite at v = 0"),
        (lambda v: jnp.exp(v**2), "not finite at v = -?9.5"),
        (lambda v: jnp.where(v > 0, jnp.sqrt(v), 0.0), "derivative that is not finite.*where"),
        (counts, "other values at each call"),
        (lambda v: v * np.random.default_rng().random(), "other values at each call"),
        (lambda v, w: v, "TypeError: .*missing 1 required"),
        (lambda v: v.nope, "AttributeError"),
        (lambda v: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda v: jax.lax.while_loop(lambda c: c.sum() < 0, lambda c: c + 1, v),
         "or its derivative does.*Reverse-mode"),
    ],
)  # fmt: skip
def test_what_it_cannot_have_is_refused_in_a_sentence(rho, message):
    with pytest.raises(ValueError, match=message) as caught:
        checks.check_rho(rho)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("rho")


def test_a_network_refuses_what_is_no_function(unchecked):
    with pytest.raises(ValueError, match="of type str; give a function"):
        networks.OwnActivation((8,), rho="tanh")


def test_release_gives_programs_and_memory_back():
    """Two hundred programs take tens of megabytes, and not once they are released."""
    ours = lambda: psutil.Process().memory_info().rss / 2**20
    checks.release()
    before = ours()
    for n in range(2, 202):
        jax.jit(lambda x: jnp.sin(x @ x.T).sum())(jnp.ones((n, n)))
    held = ours() - before
    checks.release()
    assert held > 10
    assert ours() - before < held / 2
