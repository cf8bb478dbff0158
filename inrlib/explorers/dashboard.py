"""One network from all sides.

>>> from inrlib import explorers
>>> explorers.dashboard().at(width=32, omega0=12).frame["level"].shape
(64, 64)
"""

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import atoms, fitting, networks, ntk, plots, signals, spectra
from inrlib.explorers import parts
from inrlib.live import Explorer, Upload, choice, knob, named, whole
from inrlib.live.explorer import Frame
from inrlib.networks import INR
from inrlib.weights import Weights

_SIZE, _COARSE, _STEPS = 64, 32, 500
"""Pixels a side of the picture and of the atoms' grid; steps of Adam 1e-3."""

_ORDER = np.random.default_rng(0).permutation(_SIZE**2)
_SEEN, _UNSEEN = np.sort(_ORDER[: _SIZE**2 // 2]), np.sort(_ORDER[_SIZE**2 // 2 :])


@partial(jax.jit, static_argnums=0)
def _reconstruction(network, theta, r, g) -> Frame:
    """What the network makes of the picture, its spectrum, and how close it comes."""
    f = network.apply(theta, r)
    seen, unseen = (fitting.psnr(f[half], g[half]) for half in (_SEEN, _UNSEEN))
    picture = f.reshape(_SIZE, _SIZE, -1)
    level = spectra.decibels(spectra.centred(picture))
    return {"fit": picture, "level": level, "seen": seen, "unseen": unseen}


@partial(jax.jit, static_argnums=0)
def _leading(network, theta, previous, r, g) -> Frame:
    """Eight atoms of a network of one channel, and their share of the picture's energy."""
    eigen = atoms.eigenfunctions(ntk.gram(network, theta, r), 8, previous)
    every = slice(None, None, _SIZE // _COARSE)
    grey = g.reshape(_SIZE, _SIZE, -1).mean(-1)[every, every].reshape(-1, 1)
    share = atoms.energy_concentration(eigen, grey - grey.mean(), jnp.zeros(1))[0]
    return {"eigen": eigen, "wall": eigen.functions.T.reshape(8, _COARSE, _COARSE), "share": share}


def _draw(target, half, fit, level, state, scale, wall, share, **_):
    """Picture, what training sees of it, reconstruction and spectrum above; eight atoms below."""
    fig = plots.Figure(figsize=(10.5, 4.9))
    upper, lower = fig.subfigures(2, 1, height_ratios=(3.4, 1.5))
    axes = upper.subplots(1, 4)
    spectrum = plots.spectrum(axes[3], level, (-80, 0))
    fig.colorbar(axes[3].images[0], ax=axes[3], shrink=0.8, label="dB")
    *below, beside = lower.subplots(1, 9, width_ratios=(1,) * 8 + (1.3,))
    beside.axis("off")
    note = beside.text(0, 0.5, "", va="center")
    tell = lambda share: note.set_text(f"These eight hold\n{share:.0%} of the\npicture's energy.")
    tell(share)
    return fig, {
        "target": plots.picture(axes[0], target, "target"),
        "half": plots.picture(axes[1], half, "what training sees"),
        "fit": plots.picture(axes[2], fit),
        "state": plots.title(axes[2], "{}", state, fontsize=9.5),
        "level": spectrum,
        "scale": plots.title(axes[3], "DFT magnitude\n{}", scale, fontsize=9.5),
        "wall": parts.atoms(below, wall),
        "share": tell,
    }


def _sliders(families: dict[str, type[INR]], family: str) -> dict:
    """A slider for every knob; families with a knob of one name share it, one shows at a time."""
    sliders = {}
    for one in families.values():
        if one.knob.name not in sliders:
            sliders[one.knob.name] = knob(one)
    menu = choice("family", families, family)

    def only_its_own(change=None):
        for name, slider in sliders.items():
            slider.layout.display = None if name == families[menu.value].knob.name else "none"

    menu.observe(only_its_own, names="value")
    only_its_own()
    return sliders | {"family": menu}


def _drawn(seed: int) -> tuple[dict, Callable]:
    """Sliders for every family, and the network that they name: (channels, **settings) → both."""
    families = networks.families()
    draw = lru_cache(lambda network: networks.init(network, jax.random.key(seed), 2))
    controls = _sliders(families, "SIREN") | {
        "depth": whole("depth", 1, 4, 2),
        "width": choice("width", (32, 64, 128, 256), 128),
    }

    def start(channels, family, width, depth, **settings):
        name = families[family].knob.name
        network = families[family].sized(width, depth, channels)
        return network, networks.tune(draw(network), **{name: settings[name]})

    return controls, start


def _given(weights: Weights) -> tuple[dict, Callable]:
    """The same for a reader's own network: its knob alone is moved."""
    network, theta, slider = parts.given(weights)

    def start(channels, **settings):
        first = jax.tree.map(lambda leaf: leaf[..., :channels], theta["params"]["readout"])
        params = dict(theta["params"]) | {"readout": first}
        tuned = networks.tune({**theta, "params": params}, **settings)
        return network.clone(outputs=channels), tuned

    return slider, start


def _own_picture(weights: Weights, r: jax.Array, otherwise: np.ndarray) -> np.ndarray:
    """What a network draws, in 8 bits as a file has it; if it draws nothing, another."""
    f = np.asarray(weights.network.apply(weights.theta, r)).reshape(_SIZE, _SIZE, -1)
    pixels = np.round(255 * f.clip(0, 1)) / 255
    return pixels if np.ptp(pixels) > 0.01 else otherwise


@named
def dashboard(seed: int = 0, weights: Weights | None = None) -> Explorer:
    """One network from all sides, one set of sliders.

    Above: a picture, the half of its pixels that training sees, what the network makes of all of
    them, and the spectrum of that. Below: the eight leading eigenfunctions of the NTK of its first
    channel at the start, and their share of the picture's energy.

    Args:
      seed: of the initial weights.
      weights: a network of your own with its numbers, as `imported.from_torch` reads it, on
        [−1, 1)² and with values in [0, 1]. The picture is its own, in 8 bits, until you upload
        another (the astronaut if it draws nothing yet), and training goes on from where it is.

    Raises:
      ValueError: weights of a network that makes no picture.
    """
    controls, start = _drawn(seed) if weights is None else _given(weights)
    channels, first = (3, "untrained") if weights is None else (weights.network.outputs, "yours")
    astronaut = signals.picture(size=_SIZE)
    r, _ = signals.samples(astronaut)
    usual = astronaut if weights is None else _own_picture(weights, r, astronaut)
    r_coarse, spacing = signals.grid((_COARSE,) * 2, -1, 1), 2 / _SIZE

    def target_of(picture):
        pixels = usual if picture is None else picture
        pixels = pixels if channels == 3 else pixels.mean(-1)
        return jnp.asarray(pixels.reshape(-1, channels), jnp.float32)

    def frame(network, theta, g, step):
        shown = _reconstruction(network, theta, r, g)
        levels = shown["seen"], shown["unseen"]
        return shown | {"state": parts.state(step, _STEPS, *levels, first)}

    def compute(picture, previous, **settings):
        network, theta = start(channels, **settings)
        g, before = target_of(picture), parts.before(previous, _COARSE**2, 8)
        target = np.asarray(g).reshape(_SIZE, _SIZE, channels)
        half = np.ones_like(target).reshape(-1, channels)
        half[_SEEN] = g[_SEEN]
        setting = network.knob and settings[network.knob.name]
        return (
            {"target": target, "half": half.reshape(target.shape)}
            | {"scale": parts.scale(network.knob, setting, spacing)}
            | frame(network, theta, g, 0)
            | _leading(*start(1, **settings), before, r_coarse, g)
        )

    def train(pace, picture, **settings):
        network, theta = start(channels, **settings)
        g = target_of(picture)
        options = {"steps": _STEPS, "learning_rate": 1e-3, "stretch": pace}
        for stage in fitting.training(network, theta, r[_SEEN], g[_SEEN], **options):
            make = partial(frame, network, stage.theta, g, stage.step)
            yield stage.step / _STEPS, make

    controls |= {"picture": Upload(_SIZE)}
    return Explorer(controls, compute, _draw, train, stops=(6, 12, 30, 100))
