"""Sections 2 and 4: what a network makes of a signal, and the spectrum of that.

>>> from inrlib import explorers
>>> explorers.aliasing("FFN").at(sigma=3).frame["level"].shape
(129,)
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from inrlib import networks, plots, signals, spectra
from inrlib.explorers.parts import beside, choose
from inrlib.fitting import readout, training
from inrlib.live import Explorer, choice, knob, named, slider
from inrlib.live.explorer import Frame
from inrlib.networks import FFN, SIREN, SingleFrequency


def _follow(
    network: networks.INR,
    theta: networks.Theta,
    samples: tuple[jax.Array, jax.Array],
    look: Callable[[networks.Theta], Frame],
    steps: int,
    learning_rate: float,
) -> tuple[Callable[..., Frame], Callable[..., Iterator[tuple[float, Frame]]]]:
    """What Section 4's explorers compute: at once, and behind the button.

    At once: the network at initialisation with its last layer fitted by least squares. That is
    exact, takes milliseconds, and spans the same harmonics as the trained network. Behind the
    button: all layers trained with Adam. `look` turns the numbers into a frame.
    """
    exact = jax.jit(lambda theta: look(readout(network, theta, *samples)))
    look = jax.jit(look)

    def compute(**settings):
        return exact(networks.tune(theta, **settings))

    def train(**settings):
        start = networks.tune(theta, **settings)
        options = {"steps": steps, "learning_rate": learning_rate, "stretch": 40}
        for stage in training(network, start, *samples, **options):
            yield stage.step / steps, look(stage.theta)

    return compute, train


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

    One slider moves every family's own knob: the scale multiplies its usual value.
    """
    r = signals.grid((pixels_a_side,) * 2, -1, 1)
    key = jax.random.key(seed)

    def looker(family):
        network = family((128, 128, 128))
        theta = networks.init(network, key, 2)

        @jax.jit
        def look(value):
            tuned = networks.tune(theta, **{family.knob.name: value})
            f = network.apply(tuned, r).reshape(pixels_a_side, pixels_a_side, 1)
            f = (f - f.mean()) / f.std()
            Omega, _ = networks.frequencies(network, tuned, 2)
            return {
                "Omega": Omega,
                "picture": f / 5 + 0.5,
                "level": spectra.decibels(spectra.centred(f)),
            }

        return lambda scale: look(scale * family.knob.usual)

    looks = {label: looker(family) for label, family in networks.families().items()}

    def compute(family, scale):
        frame = looks[family](scale)
        return frame | {"Omega": (frame["Omega"], plots.COLOURS[family])}

    def draw(Omega, picture, level):
        fig, (axes,) = plots.figure(1, 3, width=10.5, height=3.4)
        points = plots.plane(axes[0], Omega[0], limit=17)
        axes[0].set_title("mapping frequencies Ω")
        shown = plots.picture(axes[1], picture, "untrained output")
        spectrum = plots.spectrum(axes[2], level, (-60, 0), "its DFT magnitude")
        fig.colorbar(axes[2].images[0], ax=axes[2], label="dB", shrink=0.8)
        return fig, {"Omega": lambda part: points(*part), "picture": shown, "level": spectrum}

    controls = {
        "family": choice("family", looks),
        "scale": slider("scale", "× usual", 0.1, 10, 1),
    }
    return Explorer(controls, compute, draw)


@named
def aliasing(
    family: str = "SIREN", seed: int = 0, frequency: int = 23, rate: int = 128
) -> Explorer:
    """Section 4.2: a tone learned from `rate` samples, looked at on a grid twice as fine.

    Args:
      family: "SIREN", with a slider for ω0, or "FFN", with a slider for σ.
      seed: of the initial weights.
      frequency: of the tone, in Hz.
      rate: training samples on [0, 1). The alias falls at rate − frequency.

    Raises:
      ValueError: another family.
    """
    network, control = choose(
        family,
        {
            "SIREN": (SIREN((128,), mapping_width=128), knob(SIREN, 10, 400, 300)),
            "FFN": (FFN((128, 128), mapping_width=256), knob(FFN, 1, 200, 100)),
        },
    )
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r, curve_r = signals.grid(rate), signals.grid(8 * rate)
    g, target = signals.tone(frequency, r), signals.tone(frequency, curve_r)
    level_of = lambda f: spectra.level(f[::4])

    def look(theta):
        f = network.apply(theta, curve_r)
        return {"curve": f[:, 0], "level": level_of(f)}

    def draw(curve, level):
        curves = {"target": target[:, 0], family: curve}
        levels = {"target": level_of(target), family: level}
        labels = {"xlabel": "coordinate r", "ylabel": "signal"}
        marks = (frequency, rate - frequency)
        fig, (left, _), updates = beside(curve_r[:, 0], curves, levels, marks, **labels)
        left.plot(r[:, 0], g[:, 0], "o", ms=5, color=plots.COLOURS["target"], label="samples")
        left.set(xlim=(0, 0.25), ylim=(-2, 2))
        plots.legend(left, ncols=3)
        return fig, updates

    compute, train = _follow(network, theta, (r, g), look, 2000, 1e-4)
    return Explorer({network.knob.name: control}, compute, draw, train)


@named
def imperfect_recovery(
    family: str = "single frequency", pixels: np.ndarray | None = None, seed: int = 0
) -> Explorer:
    """Section 4.1: a picture through a mapping that may not reach all frequencies.

    Args:
      family: "single frequency", with a slider for f0, or "FFN", with a slider for σ.
      pixels: (H, W, 3) in [0, 1], H and W at least 32; None takes the astronaut at 64×64.
      seed: of the initial weights.

    Raises:
      ValueError: another family, or a picture that `signals.check_picture` refuses.
    """
    widths = (128, 128, 128)
    network, control = choose(
        family,
        {
            "single frequency": (SingleFrequency(widths, 3), knob(SingleFrequency, value=1)),
            "FFN": (FFN(widths, 3, mapping_width=128), knob(FFN, value=10)),
        },
    )
    pixels = signals.picture(size=64) if pixels is None else signals.check_picture(pixels, 3)
    if min(pixels.shape[:2]) < 32:
        height, width, _ = pixels.shape
        raise ValueError(f"pixels: {height}×{width} is too small; take at least 32×32.")
    r, g = signals.samples(pixels)
    theta = networks.init(network, jax.random.key(seed), dims=2)

    def look(theta):
        f = network.apply(theta, r).reshape(pixels.shape)
        level = spectra.decibels(spectra.centred(f))
        return {"picture": f, "level": level, "centre": spectra.centre_crop(level, 32)}

    def draw(picture, level, centre):
        fig, (axes,) = plots.figure(1, 4, width=10.5, height=2.9)
        plots.picture(axes[0], pixels, "target")
        updates = {
            "picture": plots.picture(axes[1], picture, "reconstruction"),
            "level": plots.spectrum(axes[2], level, title="DFT magnitude"),
            "centre": plots.spectrum(axes[3], centre, title="its centre, 32×32"),
        }
        fig.colorbar(axes[3].images[0], ax=axes[3], label="dB", shrink=0.8)
        return fig, updates

    compute, train = _follow(network, theta, (r, g), look, 500, 1e-3)
    return Explorer({network.knob.name: control}, compute, draw, train)
