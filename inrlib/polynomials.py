"""Networks to which Theorem 1 applies to the letter: their activations are polynomials.

Theorem 1 asks for polynomials of degree K. A sine or a ReLU is close to one on the range that a
network uses. Here a network's activations are replaced by such polynomials, everything else kept;
then each layer's units are looked at, and how much of a signal they could already write (Fig. 1).

>>> import jax
>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((16,), mapping_width=8), signals.grid(64)
>>> theta = networks.init(network, jax.random.key(0), dims=1)
>>> rho = fit_polynomial(network, theta, r, degree=15)
>>> bool(abs(apply_polynomial(network, theta, r, rho) - network.apply(theta, r)).max() < 0.01)
True
"""

from collections.abc import Callable
from itertools import count
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import Chebyshev

from inrlib.networks import INR, Theta

__all__ = [
    "Polynomial",
    "apply_polynomial",
    "chebyshev",
    "coefficients",
    "fit_polynomial",
    "split",
    "unit_outputs",
]


class Polynomial(NamedTuple):
    """A polynomial for each hidden layer, as arrays: changing a number compiles nothing again.

        ρˡ(v) = Σ_k c_lk T_k(x),      x = (2v − low_l − high_l) / (high_l − low_l)

    T_k are Chebyshev's polynomials; powers α_k zᵏ are the same set, and numerically unusable from
    degree 15 on. Values outside [low, high] are extrapolated.

    Attributes:
      coefficients: (L − 1, K + 1).
      low, high: (L − 1,).
    """

    coefficients: Float[Array | np.ndarray, "L-1 K+1"]
    low: Float[Array | np.ndarray, " L-1"]
    high: Float[Array | np.ndarray, " L-1"]


def chebyshev(
    coefficients: Float[Array | np.ndarray, " terms"], x: Float[Array | np.ndarray, "*N"]
) -> Float[Array, "*N"]:
    """Σ_k c_k T_k(x) by Clenshaw's recurrence."""
    last, before = jnp.zeros_like(x), jnp.zeros_like(x)
    for c in coefficients[:0:-1]:
        last, before = c + 2 * x * last - before, last
    return coefficients[0] + x * last - before


def coefficients(
    rho: Callable, low: float | Array, high: float | Array, degree: int
) -> Float[Array, " terms"]:
    """The Chebyshev coefficients c_0 … c_K of ρ on [low, high], which may be traced.

        c_k = (2 − [k = 0]) / (K + 1) Σ_j ρ(v_j) cos(k t_j),      t_j = π (j + ½) / (K + 1)

    Σ_k c_k T_k(x) equals ρ at v_j = (low + high)/2 + (high − low)/2 cos t_j. How fast the c_k fall
    says how high the harmonics are that a layer makes: a jump gives 1/k, a kink 1/k², a jump of the
    second derivative 1/k³, an entire function less than any power.

    Raises:
      ValueError: degree < 1.
    """
    if degree < 1:
        raise ValueError(f"coefficients: degree={degree} must be at least 1.")
    t = np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)
    low, high = jnp.asarray(low, float), jnp.asarray(high, float)
    waves = jnp.asarray(np.cos(np.outer(np.arange(degree + 1), t)), low.dtype)
    weight = jnp.full(degree + 1, 2 / (degree + 1), low.dtype).at[0].divide(2)
    with jax.default_matmul_precision("highest"):
        return weight * (waves @ rho((low + high) / 2 + (high - low) / 2 * waves[1]))


def _through(
    network: INR, theta: Theta, r: Float[Array | np.ndarray, "N D"], activation: Callable
) -> Float[Array, "N C"]:
    """f(r) with activation(ℓ, v, ρ) in the place of ρ(v), ℓ = 0 … L−2."""
    layer = count()

    def replace(method, args, kwargs, context):
        if context.method_name != "activation":
            return method(*args, **kwargs)
        return activation(next(layer), args[0], method)

    with nn.intercept_methods(replace):
        return network.apply(theta, r)


def apply_polynomial(
    network: INR, theta: Theta, r: Float[Array | np.ndarray, "N D"], rho: Polynomial
) -> Float[Array, "N C"]:
    """f(r) with the network's activations replaced by polynomials, everything else kept.

    Raises:
      ValueError: another number of polynomials than of activations.
    """
    if len(rho.coefficients) != _activations(network):
        raise ValueError(
            f"rho: {len(rho.coefficients)} polynomials for a network with {_activations(network)} "
            "activations; give one to each."
        )
    replace = lambda layer, v, _: _evaluate(rho, layer, v)
    return _through(network, theta, r, replace)


def _activations(network: INR) -> int:
    return len(network.widths) if type(network).features is INR.features else 0


def _evaluate(
    rho: Polynomial, layer: int, v: Float[Array | np.ndarray, "*N"]
) -> Float[Array, "*N"]:
    c, low, high = (jnp.asarray(part[layer], v.dtype) for part in rho)
    return chebyshev(c, (2 * v - low - high) / (high - low))


def fit_polynomial(
    network: INR,
    theta: Theta,
    r: Float[Array | np.ndarray, "N D"],
    degree: int,
    method: Literal["chebyshev", "least squares"] = "chebyshev",
) -> Polynomial:
    """Polynomials of degree K that stand in for ρ on the range which this network uses at r.

    Layer by layer, the earlier ones replaced already, so that errors do not drive a later layer
    out of its range.

    Args:
      degree: K.
      method: "chebyshev" interpolates at Chebyshev's points, close to the smallest largest error;
        "least squares" weighs the error by how often a pre-activation occurs.

    Raises:
      ValueError: degree < 1, another method, a network without activations, or coordinates at
        which all pre-activations of a layer are equal.
    """
    if degree < 1:
        raise ValueError(f"fit_polynomial: degree={degree} must be at least 1.")
    if method not in ("chebyshev", "least squares"):
        raise ValueError(f"method={method!r} must be 'chebyshev' or 'least squares'.")
    if not _activations(network):
        raise ValueError("network: it has no activations to replace; take SIREN or FFN.")
    activation = lambda v: np.asarray(
        network.apply(theta, jnp.asarray(v, r.dtype), method="activation"), float
    )
    rho = Polynomial(*(np.zeros((len(network.widths), *n)) for n in ((degree + 1,), (), ())))
    for layer in range(len(network.widths)):
        v = np.asarray(_preactivation(network, theta, r, rho, layer), float).ravel()
        domain = [v.min(), v.max()]
        if domain[0] == domain[1]:
            raise ValueError(f"r: layer {layer + 1} sees one value only; give more coordinates.")
        if method == "chebyshev":
            fitted = Chebyshev.interpolate(activation, degree, domain)
        else:
            fitted = Chebyshev.fit(v, activation(v), degree, domain)
        for part, value in zip(rho, (fitted.coef, *domain), strict=True):
            part[layer] = value
    return Polynomial(*map(jnp.asarray, rho))


def _preactivation(network, theta, r, rho, layer) -> Float[Array, "N F"]:
    """vˡ with the layers before it replaced."""
    seen = {}

    def replace(here, v, original):
        seen[here] = v
        return _evaluate(rho, here, v) if here < layer else original(v)

    _through(network, theta, r, replace)
    return seen[layer]


def unit_outputs(
    network: INR, theta: Theta, r: Float[Array | np.ndarray, "N D"], rho: Polynomial | None = None
) -> list[Float[Array | np.ndarray, "N _"]]:
    """z⁰, z¹, …, z^(L−1), f at r, the activations replaced by `rho` if given."""
    seen = [network.apply(theta, r, method="mapping")]

    def keep(layer, v, original):
        z = original(v) if rho is None else _evaluate(rho, layer, v)
        seen.append(z)
        return z

    f = _through(network, theta, r, keep)
    return [*seen, f]


def split(
    network: INR,
    theta: Theta,
    r: Float[Array | np.ndarray, "N D"],
    g: Float[Array | np.ndarray, "N C"],
    rho: Polynomial | None = None,
) -> list[Float[np.ndarray, "N C"]]:
    """Figure 1: for each of z⁰ … z^(L−1), the combination of its units that comes closest to g.

    What the network could say about g if it ended after that layer, with a constant, in the sense
    of least squares. Directions that are below rounding are left out.
    """
    closest = []
    for z in unit_outputs(network, theta, r, rho)[:-1]:
        Z = np.concatenate([z, np.ones_like(z[:, :1])], axis=1)
        below = 100 * np.finfo(Z.dtype).eps
        weights = np.linalg.lstsq(Z.astype(float), np.asarray(g, float), rcond=below)[0]
        closest.append(Z @ weights)
    return closest
