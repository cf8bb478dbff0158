"""Eq. 8: networks as their tangents, through neural-tangents on current JAX.

neural-tangents (Novak et al. 2020) knows what a network becomes in the limits: linear in its
parameters, trained for infinitely small steps, infinitely wide. Its last release, 0.6.5, imports a
dozen names that JAX has moved since, and an `experimental` package that needs TensorFlow. Here the
names are put back while it is being imported, and taken away again: afterwards `jax` is as it was.
The package stays out of the way of the rest of `inrlib`; only this module imports it.

What works and is used: linearisation, closed-form training dynamics and infinite-width kernels.
Its empirical kernels by Jacobian contraction work too; `inrlib.ntk` is tested against them.

>>> from inrlib import networks
>>> network, r = networks.MLP((64,)), jnp.ones((5, 2))
>>> theta = networks.init(network, jax.random.key(0), dims=2)
>>> infinite_width(network, theta)(r).shape
(5, 5)
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import jax
import jax.extend.core
import jax.interpreters.ad
import jax.numpy as jnp
from jaxtyping import Array, Float

from inrlib.inr import INR, Theta, function
from inrlib.networks import SIREN

__all__ = ["gradient_flow", "infinite_width", "linearise"]


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


def linearise(network: INR, theta: Theta) -> Callable[[Theta, Array], Array]:
    """Eq. 8: the network's tangent at theta, as a function of other numbers and coordinates.

        f_lin(θ', r) = f_θ(r) + ∇θ f_θ(r)ᵀ (θ' − θ)

    Returns:
      A function (theta', r (N, D)) → (N, C). theta' has the structure of theta; its "fixed" numbers
      are not looked at.
    """
    linear = _nt.linearize(function(network, theta), theta["params"])
    return lambda other, r: linear(other["params"], r)


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
    with jax.numpy_dtype_promotion("standard"):
        predict = _nt.predict.gradient_descent_mse(K, g, learning_rate)
        if K_new is None:
            return predict(jnp.asarray(steps), f0)
        return predict(jnp.asarray(steps), f0, f0_new, K_new)


def infinite_width(network: INR, theta: Theta) -> Callable[..., Float[Array, "N M"]]:
    """The NTK that the layers behind the mapping tend to as they grow wide.

    ReLU networks (MLP, FFN, single frequency, positional encoding): layers of Gaussian weights of
    variance 1/F and trained biases that start at 0, as in `networks`. The mapping γ is the finite
    one of theta, and not trained.

    SIREN: layers of the variances that `networks` draws, biases too from a Gaussian. With
    trainable=False they are those behind the finite mapping of theta; the uniform biases of the
    first of them, ±30/√T rad behind T frequencies, put networks 6 % off for T = 64. Else the first
    layer is one of them, with Gaussian weights. That is a limit over mappings too: it equals a
    network's kernel where the first layer is wide and drawn from a Gaussian, and differs in shape
    for the uniform W⁰ (there the sinc-shaped transform of a box takes the Gaussian's place).

    The parameterisation is the networks' own ("standard"), so every layer weighs as much as in a
    finite network of these widths, and one can be laid over the other.

    Args:
      network: a SIREN or a network of ReLU layers, its mapping not trained (SIREN excepted).
      theta: for ω0 or the mapping.

    Returns:
      A function (r1 (N, D), r2 (M, D) or None) → (N, M).

    Raises:
      ValueError: a network of other layers, such as an MFN, or one whose mapping is trained.
    """
    is_siren = _is_like(network, SIREN)
    if not is_siren and not _is_like(network, INR):
        raise ValueError(
            f"infinite_width: {type(network).__name__} has layers of its own, whose limit is not "
            "known here; take a SIREN or a family of ReLU layers."
        )
    has_free_mapping = is_siren and network.trainable
    trained = [n for n in theta["params"] if n != "readout" and not n.startswith("hidden")]
    if trained and not has_free_mapping:
        raise ValueError(
            f"infinite_width: the mapping's {', '.join(trained)} is trained; take the network with "
            "trainable=False."
        )
    layers = _sine_layers(network, theta) if is_siren else _relu_layers(network)
    kernel = _nt.stax.serial(*layers)[2]

    def mapping(r):
        return r if has_free_mapping else network.apply(theta, r, method="mapping")

    def of(r1, r2=None):
        with jax.numpy_dtype_promotion("standard"), jax.debug_nans(False):  # it needs both
            return kernel(mapping(r1), None if r2 is None else mapping(r2), "ntk")

    return of


def _is_like(network: INR, family: type[INR]) -> bool:
    """Whether the layers behind the mapping are those of `family`."""
    names = ("__call__", "features", "activation", "dense", "before", "last")
    if family is SIREN:  # its layers are made in setup
        names += ("setup", "phases", "mapping")
    is_plain = not getattr(network, "norm", "") and getattr(network, "alpha", 1) == 1
    same = (getattr(type(network), name, None) is getattr(family, name) for name in names)
    return is_plain and all(same)


def _dense(width: int, W_std: float, b_std: float):
    return _nt.stax.Dense(width, W_std, b_std, parameterization="standard")


def _relu_layers(network: INR) -> list:
    relu = _nt.stax.Relu()
    hidden = [layer for width in network.widths for layer in (_dense(width, 1.0, 0.0), relu)]
    return [*hidden, _dense(network.outputs, 1.0, 0.0)]


def _sine_layers(network: SIREN, theta: Theta) -> list:
    bias = 0.0 if network.zero_bias else 1.0
    scale = 3**-0.5  # U(−1, 1) has variance 1/3
    sine = lambda omega: _nt.stax.Sin(1.0, omega, 0.0)
    layers = []
    if network.trainable:
        D = theta["params"]["first"]["kernel"].shape[0]
        # Dense draws weights of variance W_std²/fan-in.
        first = _dense(network.mapping_width, scale * D**-0.5, scale * bias)
        layers = [first, sine(theta["fixed"]["omega0"])]
    fan_ins = (network.mapping_width, *network.widths)
    for fan_in, width in zip(fan_ins, (*network.widths, network.outputs), strict=True):
        layers.append(_dense(width, 2**0.5 / network.hidden_omega0, scale * bias * fan_in**-0.5))
        layers.append(sine(network.hidden_omega0))
    return layers[:-1]
