"""Eq. 8: networks as their tangents, through neural-tangents on current JAX.

neural-tangents (Novak et al. 2020) knows what a network becomes in the limits: linear in its
parameters, trained for infinitely small steps, infinitely wide. Its last release, 0.6.5, imports a
dozen names that JAX has moved since, and an `experimental` package that needs TensorFlow. Here the
names are put back while it is being imported, and taken away again: afterwards `jax` is as it was.
The package stays out of the way of the rest of `inrlib`; only this module imports it.

What works and is used: linearisation, closed-form training dynamics, infinite-width kernels, and
empirical kernels by Jacobian contraction, an independent check of `inrlib.ntk`. What no longer
works on this JAX, and is not offered: its "structured derivatives".
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal

import jax
import jax.extend.core
import jax.interpreters.ad
import jax.numpy as jnp
from jaxtyping import Array, Float

from inrlib.networks import INR, SIREN, Theta

__all__ = ["gradient_flow", "gram", "infinite_width", "linearise", "product"]


def _safe_map(function: Callable, *lists) -> list:
    return [function(*row) for row in zip(*lists, strict=True)]


def _safe_zip(*lists) -> list[tuple]:
    return list(zip(*lists, strict=True))


def _moved_names() -> dict[str, dict[str, Any]]:
    """Where neural-tangents looks for them → what they are today."""
    core = jax.extend.core
    names = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    return {
        "jax.core": {name: getattr(core, name) for name in names},
        "jax.random": {"KeyArray": jax.Array},
        "jax.util": {"safe_map": _safe_map, "safe_zip": _safe_zip},
        "jax.interpreters.ad": {"zeros_like_p": core.Primitive("zeros_like")},
    }


@contextmanager
def _restored_names() -> Iterator[None]:
    """The names that JAX moved, back in their old places for as long as this lasts."""
    undo = []
    try:
        for place, names in _moved_names().items():
            try:
                module = importlib.import_module(place)
            except ModuleNotFoundError:
                module = sys.modules[place] = ModuleType(place)
                undo.append((sys.modules.pop, place))
            for name, value in names.items():
                if name not in vars(module):
                    setattr(module, name, value)
                    undo.append((lambda pair: delattr(*pair), (module, name)))
        # The part that needs TensorFlow, and nothing else needs.
        experimental = "neural_tangents.experimental"
        if experimental not in sys.modules:
            sys.modules[experimental] = ModuleType(experimental)
            undo.append((sys.modules.pop, experimental))
        yield
    finally:
        for action, argument in reversed(undo):
            action(argument)


def _import() -> ModuleType:
    try:
        with _restored_names():
            import neural_tangents
    except ImportError as error:
        raise ImportError(
            f"neural-tangents cannot be imported ({error}); run ./postBuild, or "
            "pip install frozendict && pip install --no-deps neural-tangents==0.6.5."
        ) from error
    return neural_tangents


_nt = _import()


def _function(network: INR, theta: Theta) -> Callable:
    """f(params, r), as neural-tangents wants it."""
    rest = {name: leaves for name, leaves in theta.items() if name != "params"}
    return lambda params, r: network.apply({**rest, "params": params}, r)


def linearise(network: INR, theta: Theta) -> Callable[[Theta, Array], Array]:
    """Eq. 8: the network's tangent at theta, as a function of other numbers and coordinates.

        f_lin(θ', r) = f_θ(r) + ∇θ f_θ(r)ᵀ (θ' − θ)

    Returns:
      A function (theta', r (N, D)) → (N, C). theta' has the structure of theta; its "fixed" numbers
      are not looked at.
    """
    linear = _nt.linearize(_function(network, theta), theta["params"])
    return lambda other, r: linear(other["params"], r)


def gram(
    network: INR,
    theta: Theta,
    r1: Float[Array, "N D"],
    r2: Float[Array, "M D"] | None = None,
    *,
    outputs: Literal["trace", "full"] = "trace",
) -> Float[Array, "N M *CC"]:
    """Eq. 9 by contraction of the whole Jacobian: what `ntk.gram` computes, slowly.

    Its memory is N times the number of parameters. It is here to check the other one.
    """
    kernel = _nt.empirical_ntk_fn(
        _function(network, theta),
        trace_axes=(-1,) if outputs == "trace" else (),
        vmap_axes=0,
        implementation=_nt.NtkImplementation.JACOBIAN_CONTRACTION,
    )
    return kernel(r1, r2, theta["params"])


def product(
    network: INR, theta: Theta, r: Float[Array, "N D"]
) -> Callable[[Float[Array, "N C"]], Float[Array, "N C"]]:
    """V ↦ Θ V for one vector-valued V, without the matrix: an independent `ntk.operator`."""
    return _nt.empirical_ntk_vp_fn(_function(network, theta), r, None, theta["params"])


def gradient_flow(
    K: Float[Array, "N N"],
    f0: Float[Array, "N C"],
    g: Float[Array, "N C"],
    steps: Float[Array, " T"],
    learning_rate: float,
    K_new: Float[Array, "M N"] | None = None,
    f0_new: Float[Array, "M C"] | None = None,
) -> Float[Array, "T N C"] | tuple[Float[Array, "T N C"], Float[Array, "T M C"]]:
    """What the linearised network says after so many steps of gradient descent, in closed form.

        f_t(r) = g + exp(−η t Θ/(N C)) (f_0 − g),     loss ½ mean |f − g|², steps infinitely small

    and with Θ(r', r) before it for coordinates r' that it was not trained on.

    Args:
      K: Θ on the training samples, from `ntk.gram` or `infinite_width`.
      f0, g: the outputs at the start and the targets.
      steps: t, in units of the learning rate η, as `fitting.fit` counts them with `optax.sgd`.
      K_new, f0_new: Θ(r', r) and f_0(r') for other coordinates.

    Returns:
      f_t on the training samples; with K_new also on the others.
    """
    predict = _nt.predict.gradient_descent_mse(K, g, learning_rate)
    if K_new is None:
        return predict(jnp.asarray(steps), f0)
    return predict(jnp.asarray(steps), f0, f0_new, K_new)


def infinite_width(
    network: INR, theta: Theta, *, get: Literal["ntk", "nngp"] = "ntk"
) -> Callable[..., Float[Array, "N M"]]:
    """The kernel that the layers behind the mapping tend to as they grow wide.

    ReLU networks (MLP, FFN, single frequency, positional encoding): layers of Gaussian weights of
    variance 1/F and trained biases that start at 0, as in `networks`. The mapping γ is the finite
    one of theta, and not trained.

    SIREN: all layers, the first with Gaussian weights of the variance that `networks` draws. That
    is a limit over mappings too: it equals a network's kernel where the first layer is wide and
    drawn from a Gaussian, and differs in shape for the uniform W⁰ (there the sinc-shaped transform
    of a box takes the Gaussian's place).

    The parameterisation is the networks' own ("standard"), so every layer weighs as much as in a
    finite network of these widths, and one can be laid over the other.

    Args:
      network: one of `networks`, without trained numbers in its mapping (SIREN excepted).
      theta: for ω0 or the mapping.
      get: "ntk", or "nngp" for the covariance of the outputs at initialisation.

    Returns:
      A function (r1 (N, D), r2 (M, D) or None) → (N, M).

    Raises:
      ValueError: a network whose mapping is trained.
    """
    if isinstance(network, SIREN):
        layers, mapping = _sine_layers(network, theta), lambda r: r
    else:
        _check_mapping(theta["params"])
        layers = _relu_layers(network)
        mapping = lambda r: network.apply(theta, r, method="mapping")
    kernel = _nt.stax.serial(*layers)[2]

    def of(r1, r2=None):
        return kernel(mapping(r1), None if r2 is None else mapping(r2), get)

    return of


def _dense(width: int, W_std: float, b_std: float):
    return _nt.stax.Dense(width, W_std, b_std, parameterization="standard")


def _relu_layers(network: INR) -> list:
    relu = _nt.stax.Relu()
    hidden = [layer for width in network.widths for layer in (_dense(width, 1.0, 0.0), relu)]
    return [*hidden, _dense(network.outputs, 1.0, 0.0)]


def _sine_layers(network: SIREN, theta: Theta) -> list:
    D = _dims(theta)
    omega0 = next(leaves["omega0"] for leaves in theta.values() if "omega0" in leaves)
    bias = 0.0 if network.zero_bias else 1.0
    scale = 3**-0.5  # U(−1, 1) has variance 1/3
    # Dense draws weights of variance W_std²/fan-in.
    layers = [_dense(network.mapping_width, scale * D**-0.5, scale * bias), _sine(omega0)]
    fan_ins = (network.mapping_width, *network.widths)
    for fan_in, width in zip(fan_ins, (*network.widths, network.outputs), strict=True):
        layers.append(_dense(width, 2**0.5 / network.hidden_omega0, scale * bias * fan_in**-0.5))
        layers.append(_sine(network.hidden_omega0))
    return layers[:-1]


def _sine(omega: float):
    return _nt.stax.Sin(1.0, omega, 0.0)


def _dims(theta: Theta) -> int:
    home = next(leaves for leaves in theta.values() if "first" in leaves)
    return home["first"]["kernel"].shape[0]


def _check_mapping(params: Mapping) -> None:
    trained = [name for name in params if name != "readout" and not name.startswith("hidden")]
    if trained:
        raise ValueError(
            f"infinite_width: the mapping's {', '.join(trained)} is trained; take the network with "
            "trainable=False."
        )
