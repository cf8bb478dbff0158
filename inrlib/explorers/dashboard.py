"""One network from all sides.

>>> from inrlib import explorers
>>> explorers.dashboard().at(width=32, omega0=12).frame["level"].shape
(64, 64)
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp

from inrlib import atoms, networks, ntk, plots, signals, spectra
from inrlib.bessel import bessel
from inrlib.explorers import parts
from inrlib.fitting import psnr, readout
from inrlib.live import Explorer, Upload, choice, knob, named, whole
from inrlib.live.explorer import Frame
from inrlib.networks import INR, SIREN

_SIZE, _COARSE, _ORDERS = 64, 32, 24
"""Pixels a side of the picture and of the atoms' grid; multiples of one frequency."""


@partial(jax.jit, static_argnums=0)
def _reconstruction(network, theta, r, g) -> Frame:
    """The picture that comes out with the last layer fitted, and its spectrum."""
    f = network.apply(readout(network, theta, r, g), r)
    picture = f.reshape(_SIZE, _SIZE, 3)
    level = spectra.decibels(spectra.centred(picture))
    return {"fit": picture, "psnr": psnr(f, g), "level": level}


@partial(jax.jit, static_argnums=0)
def _one_unit(network, theta) -> Frame:
    """The multiples of one frequency that a unit of the first hidden layer puts out."""
    Omega, _ = networks.frequencies(network, theta, 2)
    omega = jnp.median(jnp.linalg.norm(Omega, axis=1))
    beta = jnp.median(jnp.linalg.norm(theta["params"]["hidden_0"]["kernel"], axis=0))
    if isinstance(network, SIREN):
        beta = network.hidden_omega0 * beta
        amplitude = jnp.abs(bessel(beta, _ORDERS)[_ORDERS:])
    else:
        v = beta * jnp.sin(2 * jnp.pi * signals.grid(1024)[:, 0])
        rho = network.apply(theta, v, method="activation")
        amplitude = jnp.abs(jnp.fft.rfft(rho)[: _ORDERS + 1]) / 1024
    frequency = jnp.arange(_ORDERS + 1) * omega / (2 * jnp.pi)
    return {"lines": (frequency, spectra.decibels(amplitude / amplitude.max())), "beta": beta}


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


def _draw(target, fit, psnr, level, lines, beta, wall, share, **_):
    """Picture, reconstruction, spectrum and one unit above; eight atoms and a note below."""
    fig = plots.Figure(figsize=(10.5, 4.4))
    upper, lower = fig.subfigures(2, 1, height_ratios=(2.9, 1.5))
    axes = upper.subplots(1, 4, width_ratios=(1, 1, 1, 1.4))
    spectrum = plots.spectrum(axes[2], level, (-80, 0), "its DFT (dB)")
    fig.colorbar(axes[2].images[0], ax=axes[2], shrink=0.8)
    comb = plots.comb(axes[3], *lines[0], lines[1], floor=-60, width=3)
    axes[3].axvspan(_SIZE / 4, 100, color="#eeeeee", zorder=0)
    axes[3].set(xlim=(-0.5, 40), xlabel="frequency (cycles per unit)", ylabel="share (dB)")
    axes[3].text(_SIZE / 4 + 0.5, 6, "aliased", fontsize=10)
    *below, beside = lower.subplots(1, 9, width_ratios=(1,) * 8 + (1.3,))
    beside.axis("off")
    note = beside.text(0, 0.5, "", va="center")
    tell = lambda share: note.set_text(f"These eight hold\n{share:.0%} of the\npicture's energy.")
    tell(share)
    return fig, {
        "target": plots.picture(axes[0], target, "target"),
        "fit": plots.picture(axes[1], fit),
        "psnr": plots.title(axes[1], "reconstruction, {:.1f} dB", psnr),
        "level": spectrum,
        "lines": lambda lines: comb(*lines),
        "beta": plots.title(axes[3], "one unit: {}, β = {:.2g}", beta),
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

    Above: a picture, what the network makes of it with its last layer fitted by least squares, the
    spectrum of that, and the harmonics into which one unit of its first hidden layer splits one
    mapping frequency ω. A unit of weights w receives sin(ωr) with strength β = ‖w‖ (times ωh in a
    SIREN) and puts out multiples sω, of strength |J_s(β)| where ρ = sin. ω is the median of |Ω_t|.
    Below: the eight leading eigenfunctions of the NTK of its first channel, and their share of the
    picture's energy.

    Args:
      seed: of the weights. They are never trained.
    """
    astronaut = signals.picture(size=_SIZE)
    r, _ = signals.samples(astronaut)
    r_coarse = signals.grid((_COARSE,) * 2, -1, 1)
    families = networks.families()

    @lru_cache
    def drawn(network):
        return networks.init(network, jax.random.key(seed), 2)

    def compute(family, width, depth, picture, previous, **settings):
        name = families[family].knob.name
        network, one_channel = (families[family].sized(width, depth, C) for C in (3, 1))
        theta = networks.tune(drawn(network), **{name: settings[name]})
        pixels = astronaut if picture is None else picture
        g = jnp.asarray(pixels.reshape(-1, 3), jnp.float32)
        unit = _one_unit(network, theta)
        words = "|J_s(β)|" if family == "SIREN" else "its harmonics"
        return (
            {"target": pixels}
            | _reconstruction(network, theta, r, g)
            | {"lines": (unit["lines"], plots.COLOURS[family]), "beta": (words, unit["beta"])}
            | _leading(one_channel, theta, previous and previous["eigen"], r_coarse, g)
        )

    controls = _sliders(families, "SIREN") | {
        "depth": whole("depth", 1, 4, 2),
        "width": choice("width", (32, 64, 128, 256), 128),
        "picture": Upload(_SIZE),
    }
    return Explorer(controls, compute, _draw)
