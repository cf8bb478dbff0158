"""Section 7: how a network is started, and what depth then makes of its kernel.

>>> from inrlib import explorers
>>> explorers.depth_kernel().at(weights=1.5).frame["values"]["yours"].shape
(7,)
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import layers, networks, plots, published, signals
from inrlib.live import Explorer, choice, named, slider
from inrlib.networks import SIREN

DEPTHS = (1, 2, 3, 4, 6, 8, 10)
"""Hidden layers behind the mapping."""

_WIDTH, _DRAWS, _LINE = 64, 4, 512
_BIASES = {"as published": 30 / (3 * _WIDTH) ** 0.5, "none": 0.0, "depth-stable": 0.488}
"""Their standard deviations, in rad: c_b."""

_COLOURS = {"published": "#777777", "depth-stable": "#009E73", "yours": plots.COLOURS["your own"]}
_SHADES = {"depth 2": plots.colour("SIREN", 0.5), "depth 10": plots.colour("SIREN", -0.3)}


def _rescaled(network: SIREN, theta: networks.Theta, weights, biases) -> networks.Theta:
    """The same draw with c_w and c_b in the place of √6 and ωh/√(3F)."""
    params = dict(theta["params"])
    for name in (name for name in params if name.startswith("hidden")):
        layer = params[name]
        params[name] = {
            "kernel": weights / 6**0.5 * layer["kernel"],
            "bias": biases / _BIASES["as published"] * layer["bias"],
        }
    return {**theta, "params": params}


@partial(jax.jit, static_argnums=0)
def _mean_eigenvalue(network, thetas, weights, biases, r):
    """tr Θ/N, the mean over the draws."""
    one = lambda theta: layers.diagonal(network, _rescaled(network, theta, weights, biases), r)
    return jax.vmap(one)(thetas).mean()


@partial(jax.jit, static_argnums=0)
def _line_spectrum(network, thetas, weights, biases, line):
    """|DFT|² of the untrained output along a line, in dB below its sum, the mean of the draws."""
    f = lambda theta: network.apply(_rescaled(network, theta, weights, biases), line)[:, 0]
    outputs = jax.vmap(f)(thetas) * jnp.hanning(len(line))
    power = jnp.abs(jnp.fft.rfft(outputs - outputs.mean(1, keepdims=True))) ** 2
    power = (power / power.sum(1, keepdims=True)).mean(0)
    return 10 * jnp.log10(jnp.maximum(power[: len(line) // 4], 1e-12))


@named
def depth_kernel(seed: int = 0) -> Explorer:
    """What each further layer of sines does to the kernel, and to the untrained output.

    Left: the mean eigenvalue of Θ against depth, in units of that of one hidden layer; four draws
    of 64 units. A straight line is exponential growth. Right: the spectrum of the untrained
    output along a line, of a shallow and of a deep network. The hidden weights are from
    U(−c_w, c_w)/(ωh √F); published is c_w = √6 with the biases of a linear layer, which ωh
    multiplies; depth-stable is c_w = 2.30, c_b = 0.49. Mapping and readout are a SIREN's.

    Args:
      seed: of the weights.
    """
    keys = jax.random.split(jax.random.key(seed), _DRAWS)
    r = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (32, 2)), jnp.float32)
    line = signals.grid(_LINE, -1, 1) * np.array([[0.6, 0.8]], np.float32)

    deepest = SIREN.sized(_WIDTH, DEPTHS[-1])
    thetas = jax.vmap(lambda key: published.drawn(deepest, key, 2))(keys)
    thetas = networks.tune(thetas, omega0=15.0)
    drawn = {L: (SIREN.sized(_WIDTH, L), published.first_layers(thetas, L)) for L in DEPTHS}

    def curve(weights, biases):
        found = [_mean_eigenvalue(*drawn[depth], weights, biases, r) for depth in DEPTHS]
        return np.array(found) / found[0]

    fixed = {"published": curve(6**0.5, _BIASES["as published"])}
    fixed["depth-stable"] = curve(2.299, _BIASES["depth-stable"])

    def compute(weights, biases):
        c_b = _BIASES[biases]
        yours = curve(weights, c_b)
        levels = {name: _line_spectrum(*drawn[int(name[6:])], weights, c_b, line)
                  for name in _SHADES}  # fmt: skip
        variance, growth = published.layer_growth(weights, c_b)
        title = (published.fitted_growth(DEPTHS, yours), float(growth), float(variance))
        return {"values": fixed | {"yours": yours}, "levels": levels, "title": title}

    def draw(values, levels, title):
        fig, ((left, right),) = plots.figure(1, 2, width=10.5, height=3.6)
        labels = {"xlabel": "hidden layers", "ylabel": "mean eigenvalue / that of one layer"}
        labels |= {"yscale": "log", "ylim": (0.3, 3e4), "xticks": DEPTHS}
        updates = {"values": plots.curves(left, DEPTHS, values, _COLOURS, **labels)}
        left.legend(loc="upper left")
        labels = {"xlabel": "cycles along the line", "ylabel": "share of the energy (dB)"}
        labels |= {"ylim": (-70, 0)}
        updates["levels"] = plots.curves(right, np.arange(_LINE // 4), levels, _SHADES, **labels)
        right.legend(loc="upper right")
        right.set_title("untrained output")
        words = "× {:.2f} a layer (limit {:.2f}), σ² = {:.2f}"
        return fig, updates | {"title": plots.title(left, words, title)}

    controls = {
        "weights": slider("weights c_w", "rad", 1, 4, 6**0.5),
        "biases": choice("biases", _BIASES, "none"),
    }
    return Explorer(controls, compute, draw, stops=(2.299, 6**0.5))
