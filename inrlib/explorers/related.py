"""Section 6: any network in the same frame.

>>> from inrlib import explorers
>>> explorers.own_activation(jnp.tanh).at(omega0=60, width=32).frame["decay"].shape
(3, 49)
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import atoms, checks, fitting, networks, ntk, plots, polynomials, signals, spectra
from inrlib.explorers import parts
from inrlib.live import Explorer, choice, knob, named
from inrlib.live.explorer import Frame
from inrlib.networks import SIREN, OwnActivation

_SIZE, _COARSE, _STEPS = 64, 32, 300
"""Pixels a side of the picture and of the atoms' grid; steps of Adam 1e-3."""

_DEGREE, _ATOMS, _THRESHOLDS = 48, 5, jnp.logspace(-4, 0, 81)
_V = jnp.linspace(-10, 10, 401)
"""Where ρ is drawn."""

_ORDER = np.random.default_rng(0).permutation(_SIZE**2)
_SEEN, _UNSEEN = np.sort(_ORDER[: _SIZE**2 // 2]), np.sort(_ORDER[_SIZE**2 // 2 :])


@partial(jax.jit, static_argnums=0)
def _harmonics(network: OwnActivation, theta: networks.Theta, r: jax.Array) -> Frame:
    """How far ρ is driven behind the mapping, and its Chebyshev coefficients there.

    Beside those of sin and of ReLU: from every degree on, the largest that is still to come, in
    units of the largest of all.
    """
    layer = theta["params"]["hidden_0"]
    z = network.apply(theta, r, method="mapping")
    reach = network.hidden_omega0 * jnp.abs(z @ layer["kernel"] + layer["bias"]).max()

    def decay(rho):
        c = jnp.abs(polynomials.coefficients(rho, -reach, reach, 8 * _DEGREE))
        return (jnp.flip(jax.lax.cummax(jnp.flip(c))) / c.max())[: _DEGREE + 1]

    rhos = (jnp.sin, jax.nn.relu, network.rho)
    return {"reach": reach, "decay": jnp.stack([decay(rho) for rho in rhos])}


@partial(jax.jit, static_argnums=0)
def _reconstruction(network: OwnActivation, theta: networks.Theta, r: jax.Array, g) -> Frame:
    """What the network makes of the picture, and how close it comes."""
    f = network.apply(theta, r)
    seen, unseen = (fitting.psnr(f[half], g[half]) for half in (_SEEN, _UNSEEN))
    picture = f.reshape(_SIZE, _SIZE, 1)
    level = spectra.decibels(spectra.centred(picture) / jnp.std(picture))
    return {"fit": picture, "level": level, "seen": seen, "unseen": unseen}


@partial(jax.jit, static_argnums=0)
def _dictionary(network: OwnActivation, theta: networks.Theta, previous, r, g) -> Frame:
    """The leading atoms, and the energy of a picture without its mean on all atoms."""
    gram = ntk.gram(network, theta, r)
    eigen = atoms.eigenfunctions(gram, _ATOMS, previous)
    largest, product = jnp.nanmax(eigen.values), partial(jnp.matmul, gram)
    return {
        "eigen": eigen,
        "wall": eigen.functions.T.reshape(_ATOMS, _COARSE, _COARSE),
        "energy": atoms.energy_from_products(product, g, _THRESHOLDS, largest),
    }


def _draw(name, rho, reach, decay, energy, level, target, fit, state, scale, wall, **_):
    """ρ, its coefficients, the energy and the spectrum above; the picture and the atoms below."""
    fig = plots.Figure(figsize=(10.5, 5.2))
    upper, lower = fig.subfigures(2, 1, height_ratios=(3, 2.1))
    left, middle, right, last = upper.subplots(1, 4)
    known = zip(("sin", "ReLU", name), ("SIREN", "MLP", "your own"), strict=True)
    colours = {label: plots.COLOURS[family] for label, family in known}
    plots.curves(left, _V, {name: rho}, colours, xlabel="v")
    fall = plots.curves(
        middle, np.arange(_DEGREE + 1), dict(zip(colours, decay, strict=True)), colours,
        xlabel="degree k", ylabel="largest |c| from k on", yscale="log", ylim=(1e-7, 2),
    )  # fmt: skip
    middle.legend(loc="upper right", fontsize=8)
    middle.set_title("its coefficients")
    share = parts.energy(right, _THRESHOLDS, "your own", energy)
    right.set(ylabel="", title="energy of the picture")
    spectrum = plots.spectrum(last, level, (-60, 0))
    upper.colorbar(last.images[0], ax=last, shrink=0.7, label="dB")
    first, second, *rest = lower.subplots(1, 2 + _ATOMS, width_ratios=(1.35, 1.35) + (1,) * _ATOMS)
    plots.picture(first, target, "target")
    return fig, {
        "reach": plots.title(left, name + "\ndriven to ±{:.1f}", reach),
        "decay": lambda decay: fall(dict(zip(colours, decay, strict=True))),
        "energy": share,
        "level": spectrum,
        "scale": plots.title(last, "spectrum\n{}", scale, fontsize=9),
        "fit": plots.picture(second, fit),
        "state": plots.title(second, "{}", state, fontsize=9),
        "wall": parts.atoms(rest, wall),
    }


def _trouble(rho: Any) -> str:
    """Why a network cannot have this ρ; empty if it can."""
    try:
        checks.check_rho(rho)
        OwnActivation(rho=rho)
    except ValueError as error:
        return str(error)
    return ""


@named
def own_activation(rho: Callable | Any = jnp.tanh, seed: int = 0) -> Explorer:
    """Section 6: an activation of your own, in the place of a SIREN's sine.

        γ(r) = ρ(ω0 (W⁰ r + b⁰)),     zˡ = ρ(ωh (Wˡ zˡ⁻¹ + bˡ)),     two hidden layers

    Above: ρ, and how far the first hidden layer drives it; its Chebyshev coefficients on that
    range; the energy of a picture on the network's atoms; the spectrum of what it draws. Below: the
    picture, what the network makes of it, trained on half of its pixels, and the leading atoms.

    ρ is handed ω0 v and ωh v, v = W z + b. So FINER's sin(30 (|v| + 1) v) is, of u = 30 v, the
    function `lambda u: jnp.sin((jnp.abs(u) / 30 + 1) * u)`.

    If no network can have this ρ, the reason stands below the figure, and sin in its place.

    Args:
      rho: of an array, in JAX, element by element; seed: of the initial weights.
    """
    trouble = _trouble(rho)
    rho, name = (jnp.sin, "sin in the place of ρ") if trouble else (rho, "your ρ")
    grey, curve, every = signals.picture(size=_SIZE).mean(-1), rho(_V), _SIZE // _COARSE
    r, r_coarse = (signals.grid((side, side), -1, 1) for side in (_SIZE, _COARSE))
    column = lambda picture: jnp.asarray(picture.reshape(-1, 1), jnp.float32)
    g, coarse = column(grey), column(grey[::every, ::every] - grey[::every, ::every].mean())
    drawn = lru_cache(lambda network: networks.init(network, jax.random.key(seed), 2))

    def start(width, hidden_omega0, omega0):
        network = OwnActivation.sized(width, 2, rho=rho, hidden_omega0=float(hidden_omega0))
        return network, networks.tune(drawn(network), omega0=omega0)

    def look(network, theta, step):
        shown = _reconstruction(network, theta, r, g)
        return shown | {"state": parts.state(step, _STEPS, shown["seen"], shown["unseen"])}

    def compute(previous, omega0, **settings):
        if trouble and previous is not None:  # there is a figure to stand below
            raise ValueError(trouble)
        network, theta = start(omega0=omega0, **settings)
        first = look(network, theta, 0)
        if previous is not None and not np.isfinite(first["unseen"]):
            raise ValueError("rho: the network's output is not finite; lower ω0, or bound ρ.")
        before = parts.before(previous, len(r_coarse), _ATOMS)
        return (
            {"target": grey, "rho": curve, "scale": parts.scale(SIREN.knob, omega0, 2 / _SIZE)}
            | first
            | _harmonics(network, theta, r_coarse)
            | _dictionary(network, theta, before, r_coarse, coarse)
        )

    def train(pace, **settings):
        network, theta = start(**settings)
        options = {"steps": _STEPS, "learning_rate": 1e-3, "stretch": pace}
        for stage in fitting.training(network, theta, r[_SEEN], g[_SEEN], **options):
            yield stage.step / _STEPS, partial(look, network, stage.theta, stage.step)

    controls = {
        "omega0": knob(SIREN),
        "width": choice("width", (32, 64, 128, 256), 128),
        "hidden_omega0": choice("ωh", (1, 3, 10, 30), 30),
    }
    return Explorer(controls, compute, partial(_draw, name), None if trouble else train)
