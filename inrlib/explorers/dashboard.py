"""One network from all sides.

>>> from inrlib import explorers
>>> explorers.dashboard().at(width=32, omega0=12).frame["level"].shape
(64, 64)
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import atoms, fitting, networks, ntk, plots, signals, spectra
from inrlib.explorers import parts
from inrlib.live import Explorer, Upload, choice, knob, named, whole
from inrlib.live.explorer import Frame
from inrlib.networks import INR

_SIZE, _COARSE, _STEPS = 64, 32, 500
"""Pixels a side of the picture and of the atoms' grid; steps of Adam 1e-3."""

_ORDER = np.random.default_rng(0).permutation(_SIZE**2)
_SEEN, _UNSEEN = np.sort(_ORDER[: _SIZE**2 // 2]), np.sort(_ORDER[_SIZE**2 // 2 :])


@partial(jax.jit, static_argnums=0)
def _reconstruction(network, theta, r, g) -> Frame:
    """What the network makes of the picture, its spectrum, and how close it comes."""
    f = network.apply(theta, r)
    seen, unseen = (fitting.psnr(f[half], g[half]) for half in (_SEEN, _UNSEEN))
    picture = f.reshape(_SIZE, _SIZE, 3)
    level = spectra.decibels(spectra.centred(picture))
    return {"fit": picture, "level": level, "seen": seen, "unseen": unseen}


@partial(jax.jit, static_argnums=0)
def _leading(network, theta, previous, r, g) -> Frame:
    """Eight atoms of the network's first channel, and their share of the picture's energy."""
    first = jax.tree.map(lambda leaf: leaf[..., :1], theta["params"]["readout"])
    theta = theta | {"params": dict(theta["params"]) | {"readout": first}}
    eigen = atoms.eigenfunctions(ntk.gram(network, theta, r), 8, previous)
    every = slice(None, None, _SIZE // _COARSE)
    grey = g.reshape(_SIZE, _SIZE, 3).mean(-1)[every, every].reshape(-1, 1)
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
    sliders = {one.knob.name: knob(one) for one in reversed(families.values())}
    menu = choice("family", families, family)

    def only_its_own(change=None):
        for name, slider in sliders.items():
            slider.layout.display = None if name == families[menu.value].knob.name else "none"

    menu.observe(only_its_own, names="value")
    only_its_own()
    return sliders | {"family": menu}


@named
def dashboard(seed: int = 0) -> Explorer:
    """One network from all sides, one set of sliders.

    Above: a picture, the half of its pixels that training sees, what the network makes of all of
    them, and the spectrum of that. Below: the eight leading eigenfunctions of the NTK of its first
    channel at initialisation, and their share of the picture's energy.

    Args:
      seed: of the initial weights.
    """
    astronaut = signals.picture(size=_SIZE)
    r, _ = signals.samples(astronaut)
    r_coarse, spacing = signals.grid((_COARSE,) * 2, -1, 1), 2 / _SIZE
    families = networks.families()
    drawn = lru_cache(lambda network: networks.init(network, jax.random.key(seed), 2))

    def start(family, width, depth, picture, settings, channels=3):
        name = families[family].knob.name
        network = families[family].sized(width, depth, channels)
        theta = networks.tune(drawn(network), **{name: settings[name]})
        pixels = astronaut if picture is None else picture
        return network, theta, jnp.asarray(pixels.reshape(-1, 3), jnp.float32)

    def frame(network, theta, g, step):
        shown = _reconstruction(network, theta, r, g)
        return shown | {"state": parts.state(step, _STEPS, shown["seen"], shown["unseen"])}

    def compute(family, width, depth, picture, previous, **settings):
        network, theta, g = start(family, width, depth, picture, settings)
        one_channel, one, _ = start(family, width, depth, picture, settings, 1)
        target = np.asarray(g).reshape(_SIZE, _SIZE, 3)
        half = np.ones_like(target).reshape(-1, 3)
        half[_SEEN] = g[_SEEN]
        setting = settings[network.knob.name]
        return (
            {"target": target, "half": half.reshape(target.shape)}
            | {"scale": parts.scale(network.knob, setting, spacing)}
            | frame(network, theta, g, 0)
            | _leading(one_channel, one, previous and previous["eigen"], r_coarse, g)
        )

    def train(pace, family, width, depth, picture, **settings):
        network, theta, g = start(family, width, depth, picture, settings)
        options = {"steps": _STEPS, "learning_rate": 1e-3, "stretch": pace}
        for stage in fitting.training(network, theta, r[_SEEN], g[_SEEN], **options):
            make = partial(frame, network, stage.theta, g, stage.step)
            yield stage.step / _STEPS, make

    controls = _sliders(families, "SIREN") | {
        "depth": whole("depth", 1, 4, 2),
        "width": choice("width", (32, 64, 128, 256), 128),
        "picture": Upload(_SIZE),
    }
    return Explorer(controls, compute, _draw, train, stops=(6, 12, 30, 100))
