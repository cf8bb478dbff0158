"""Sections 2 and 4: what a network makes of a signal, and the spectrum of that.

>>> from inrlib import explorers
>>> explorers.aliasing("FFN").at(sigma=3).frame["level"].shape
(129,)
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import networks, plots, signals, spectra
from inrlib.explorers.parts import beside, choose, follow
from inrlib.fitting import psnr
from inrlib.live import Explorer, choice, knob, named, slider
from inrlib.networks import FFN, SIREN, Prefiltered, SingleFrequency


@named
def first_look(seed: int = 0) -> Explorer:
    """A SIREN before any training: the function that ω0 makes, and its spectrum."""
    network = SIREN(widths=(64, 64), mapping_width=64)
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r = signals.grid(512)

    @jax.jit
    def compute(omega0):
        f = network.apply(networks.tune(theta, omega0=omega0), r)
        f = (f - f.mean()) / f.std()
        return {"curve": f[:, 0], "level": spectra.level(f, hann=True)}

    def draw(curve, level):
        labels = {"xlabel": "coordinate r", "ylabel": "f(r), scaled to variance 1"}
        fig, (left, right), updates = beside(r[:, 0], {"SIREN": curve}, {"SIREN": level}, **labels)
        left.set(ylim=(-3.5, 3.5), title="an untrained SIREN")
        right.set_title("its spectrum")
        return fig, updates

    return Explorer({"omega0": knob(SIREN)}, compute, draw)


@named
def families(pixels_a_side: int = 64, seed: int = 0) -> Explorer:
    """Eq. 1 before any training: the family, its mapping frequencies, what it draws.

    One slider moves every family's own knob: the scale multiplies its usual value. Another moves a
    SIREN's ωh, which before training cancels but for the biases. A mapping that
    is not made of sines has no frequencies to show; its plane is empty and says so.
    """
    r = signals.grid((pixels_a_side,) * 2, -1, 1)
    key = jax.random.key(seed)

    @lru_cache
    def looker(label):
        family = networks.families()[label]
        network = family((128, 128, 128))
        theta = networks.init(network, key, 2)

        @jax.jit
        def look(value, omega_h):
            tuned = networks.tune(theta, **{family.knob.name: value})
            tuned = networks.with_hidden_omega0(network, tuned, omega_h)
            f = network.apply(tuned, r).reshape(pixels_a_side, pixels_a_side, 1)
            f = (f - f.mean()) / f.std()
            try:
                Omega, _ = networks.frequencies(network, tuned, 2)
            except ValueError:  # a mapping that is not made of sines
                Omega = jnp.zeros((0, 2))
            return {
                "Omega": Omega,
                "picture": f / 5 + 0.5,
                "level": spectra.decibels(spectra.centred(f)),
            }

        return lambda scale, omega_h: look(scale * family.knob.usual, omega_h)

    def compute(family, scale, omega_h):
        frame = looker(family)(scale, omega_h)
        words = "mapping frequencies Ω" if len(frame["Omega"]) else "a mapping without sines"
        return frame | {"Omega": (frame["Omega"], plots.COLOURS[family]), "mapping": words}

    def draw(Omega, mapping, picture, level):
        fig, (axes,) = plots.figure(1, 3, width=10.5, height=3.4)
        points = plots.plane(axes[0], Omega[0], limit=17)
        shown = plots.picture(axes[1], picture, "untrained output")
        spectrum = plots.spectrum(axes[2], level, (-60, 0), "its DFT magnitude")
        fig.colorbar(axes[2].images[0], ax=axes[2], label="dB", shrink=0.8)
        return fig, {
            "Omega": lambda part: points(*part),
            "mapping": plots.title(axes[0], "{}", mapping),
            "picture": shown,
            "level": spectrum,
        }

    controls = {
        "family": choice("family", networks.families()),
        "scale": slider("scale", "× usual", 0.1, 10, 1),
        "omega_h": slider("ωh", "hidden layers", 1, 300, 30),
    }
    return Explorer(controls, compute, draw)


@named
def aliasing(
    family: str = "SIREN", seed: int = 0, frequency: int = 23, rate: int = 128
) -> Explorer:
    """Section 4.2: a tone learned from `rate` samples, looked at on a grid twice as fine.

    Args:
      family: "SIREN", with a slider for ω0, "FFN", with a slider for σ, or "prefiltered", with σ =
        100 and a slider for the cut-off.
      seed: of the initial weights.
      frequency: of the tone, in Hz.
      rate: training samples on [0, 1). The alias falls at rate − frequency.

    Raises:
      ValueError: another family.
    """
    network, control, stops = choose(
        family,
        {
            "SIREN": (SIREN((128,), mapping_width=128), knob(SIREN, 10, 400, 300), (30, 300)),
            "FFN": (FFN((128, 128), mapping_width=256), knob(FFN, 1, 200, 100), (3, 100)),
            "prefiltered": (
                Prefiltered((128, 128), mapping_width=256),
                knob(Prefiltered, 8, 400, 40),
                (20, 40, 400),
            ),
        },
    )
    wide = {"sigma": 100.0} if family == "prefiltered" else {}
    theta = networks.init(network, jax.random.key(seed), 1, **wide)
    r, curve_r = signals.grid(rate), signals.grid(8 * rate)
    g, target = signals.tone(frequency, r), signals.tone(frequency, curve_r)
    level_of = lambda f: spectra.level(f[::4])

    def look(theta):
        f = network.apply(theta, curve_r)
        seen, unseen = (psnr(f[start::8], target[start::8]) for start in (0, 4))
        return {"curve": f[:, 0], "level": level_of(f), "seen": seen, "unseen": unseen}

    def draw(curve, level, state, scale, **_):
        curves = {"target": target[:, 0], family: curve}
        levels = {"target": level_of(target), family: level}
        labels = {"xlabel": "coordinate r", "ylabel": "signal"}
        marks = (frequency, rate - frequency)
        fig, (left, right), updates = beside(curve_r[:, 0], curves, levels, marks, **labels)
        left.plot(r[:, 0], g[:, 0], "o", ms=5, color=plots.COLOURS["target"], label="samples")
        left.set(xlim=(0, 0.25), ylim=(-2.6, 2))
        plots.legend(left, ncols=3, loc="lower left", bbox_to_anchor=(0, 0))
        return fig, updates | {
            "state": plots.title(left, "{}", state),
            "scale": plots.title(right, "{}", scale),
        }

    compute, train = follow(network, theta, (r, g), look, 1 / rate, steps=2000, learning_rate=1e-4)
    return Explorer({network.knob.name: control}, compute, draw, train, stops)


def _draw_recovery(target, picture, level, centre, state, scale, **_):
    """What training sees, what comes out, and the spectrum of that."""
    fig, (axes,) = plots.figure(1, 4, width=10.5, height=3.1)
    plots.picture(axes[0], target, "what training sees")
    updates = {
        "picture": plots.picture(axes[1], picture),
        "level": plots.spectrum(axes[2], level),
        "centre": plots.spectrum(axes[3], centre, title="its centre, 32×32"),
        "state": plots.title(axes[1], "{}", state, fontsize=9.5),
        "scale": plots.title(axes[2], "DFT magnitude\n{}", scale, fontsize=9.5),
    }
    fig.colorbar(axes[3].images[0], ax=axes[3], label="dB", shrink=0.8)
    return fig, updates


@named
def imperfect_recovery(
    family: str = "single frequency", pixels: np.ndarray | None = None, seed: int = 0
) -> Explorer:
    """Section 4.1: a picture through a mapping that may not reach all frequencies.

    Training sees every second pixel along both axes; the others lie between its samples.

    Args:
      family: "single frequency", with a slider for f0, or "FFN", with a slider for σ.
      pixels: (H, W, 3) in [0, 1], H and W even and at least 64; None takes the astronaut at
        128×128.
      seed: of the initial weights.

    Raises:
      ValueError: another family, or a picture that `signals.check_picture` refuses.
    """
    widths = (128, 128, 128)
    network, control, stops = choose(
        family,
        {
            "single frequency": (
                SingleFrequency(widths, 3),
                knob(SingleFrequency, value=1),
                (0.5, 1),
            ),
            "FFN": (FFN(widths, 3, mapping_width=128), knob(FFN, value=1.25), (1.25, 10)),
        },
    )
    pixels = signals.picture(size=128) if pixels is None else signals.check_picture(pixels, 3)
    height, width, _ = pixels.shape
    if min(height, width) < 64 or height % 2 or width % 2:
        raise ValueError(f"pixels: {height}×{width} must be even and at least 64×64.")
    every = (slice(None, None, 2),) * 2
    (r, g), (fine_r, _) = signals.samples(pixels[every]), signals.samples(pixels)
    between = np.ones((height, width), bool)
    between[every] = False
    theta = networks.init(network, jax.random.key(seed), dims=2)

    def look(theta):
        fine = network.apply(theta, fine_r).reshape(pixels.shape)
        f = fine[every]
        level = spectra.decibels(spectra.centred(f))
        return {
            "picture": f, "level": level, "centre": spectra.centre_crop(level, 32),
            "seen": psnr(f.reshape(g.shape), g),
            "unseen": psnr(fine[between], jnp.asarray(pixels[between], jnp.float32)),
        }  # fmt: skip

    compute, train = follow(
        network, theta, (r, g), look, 2 * 2 / height, steps=200, learning_rate=1e-3
    )
    draw = partial(_draw_recovery, pixels[every])
    return Explorer({network.knob.name: control}, compute, draw, train, stops)
