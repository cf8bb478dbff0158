"""The explorers: one figure of the paper each, with its controls.

Each is a short declaration on top of `live`: controls, one computation, artists.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ipywidgets as widgets
import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Audio

from inrlib import atoms as atoms_
from inrlib import bessel as bessel_
from inrlib import faces as faces_
from inrlib import harmonics, metalearning, networks, ntk, plots, polynomials, signals, spectra
from inrlib.fitting import fit, psnr, readout
from inrlib.live import Explorer, Upload, choice, named, slider, whole
from inrlib.networks import FFN, SIREN, PositionalEncoding, SingleFrequency

__all__ = [
    "Explorer",
    "aliasing",
    "bessel",
    "dashboard",
    "depth",
    "eigenfunctions",
    "families",
    "first_look",
    "imperfect_recovery",
    "kernel_regression",
    "meta_learning",
    "modulation",
]


def _follow(
    network: networks.INR,
    theta: networks.Theta,
    samples: tuple[jax.Array, jax.Array],
    look: Callable[[networks.Theta], Any],
    steps: int,
    learning_rate: float,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What Section 4's explorers compute: at once, and behind the button.

    At once: the network at initialisation with its last layer fitted by least squares. That is
    exact, takes milliseconds, and spans the same harmonics as the trained network. Behind the
    button: all layers trained with Adam. `look` turns the numbers into a frame.
    """
    exact = jax.jit(lambda theta: look(readout(network, theta, *samples)))
    look = jax.jit(look)

    def compute(**settings):
        return exact(networks.tune(theta, **settings))

    def train(report, **settings):
        start = networks.tune(theta, **settings)
        tell = lambda step: report(step / steps)
        options = {"steps": steps, "learning_rate": learning_rate, "progress": tell}
        return look(fit(network, start, *samples, **options).theta)

    return compute, train


def _beside(x, curves, frequencies, levels, marks=(), **labels):
    """Curves and spectra side by side: the figure, its axes, and update(curves, levels)."""
    fig, ((left, right),) = plots.figure(1, 2, width=9.6, height=3.2)
    curve = plots.curves(left, x, curves, plots.COLOURS, **labels)
    stem = plots.stems(right, frequencies, levels, plots.COLOURS, marks=marks)

    def update(curves, levels):
        curve(curves)
        stem(levels)

    return fig, (left, right), update


def _atoms(axes, pictures):
    """Eigenfunctions φ0, φ1, … one an axes; update(pictures)."""
    changes = [
        plots.atom(ax, p, f"φ{i}") for i, (ax, p) in enumerate(zip(axes, pictures, strict=True))
    ]

    def update(pictures):
        for change, picture in zip(changes, pictures, strict=True):
            change(picture)

    return update


def _energy(ax, thresholds, series):
    """Share of energy above a threshold, large eigenvalues at the left; update(series)."""
    labels = {"xlabel": "eigenvalue / largest", "ylabel": "share of energy", "xscale": "log"}
    limits = {"xlim": (1, thresholds[0]), "ylim": (0, 1.02)}
    return plots.curves(ax, thresholds, series, plots.COLOURS, **labels, **limits)


def _choose(family: str, families: Mapping[str, Any]) -> Any:
    if family not in families:
        raise ValueError(f"family={family!r} has no explorer here; choose {' or '.join(families)}.")
    return families[family]


@named
def first_look(seed: int = 0) -> Explorer:
    """A SIREN before any training: the function that ω0 makes, and its spectrum."""
    network = SIREN(widths=(64, 64), mapping_width=64)
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r = signals.grid(512)

    @jax.jit
    def look(theta):
        f = network.apply(theta, r)
        f = (f - f.mean()) / f.std()
        return f[:, 0], spectra.level(f, hann=True)

    def draw(frame):
        curve, level = ({"SIREN": part} for part in frame)
        labels = {"xlabel": "coordinate r", "ylabel": "f(r), scaled to variance 1"}
        fig, (left, right), update = _beside(r[:, 0], curve, np.arange(257), level, **labels)
        left.set(ylim=(-3.5, 3.5), title="an untrained SIREN")
        right.set_title("its spectrum")
        return fig, lambda frame: update(*({"SIREN": part} for part in frame))

    controls = {"omega0": slider("ω0", "rad per unit", 3, 300, 30)}
    return Explorer(controls, lambda omega0: look(networks.tune(theta, omega0=omega0)), None, draw)


@named
def families(pixels_a_side: int = 64, seed: int = 0) -> Explorer:
    """Eq. 1 before any training: the family, its mapping frequencies, what it draws.

    One slider moves every family's own setting: the scale multiplies ω0 = 30, σ = 3, f0 = 0.5.
    """
    r = signals.grid((pixels_a_side,) * 2, -1, 1)
    cases = {
        "SIREN": (SIREN((128,) * 3), "omega0", 30.0),
        "FFN": (FFN((128,) * 3), "sigma", 3.0),
        "single frequency": (SingleFrequency((128,) * 3), "f0", 0.5),
        "positional encoding": (PositionalEncoding((128,) * 3, octaves=5), "f0", 0.5),
    }

    def looker(network, theta):
        @jax.jit
        def look(theta):
            f = network.apply(theta, r).reshape(pixels_a_side, pixels_a_side, 1)
            f = (f - f.mean()) / f.std()
            Omega, _ = networks.frequencies(network, theta, 2)
            return Omega, f / 5 + 0.5, spectra.decibels(spectra.centred(f))

        return lambda **setting: look(networks.tune(theta, **setting))

    key = jax.random.key(seed)
    looks = {
        name: (looker(network, networks.init(network, key, 2)), setting, usual)
        for name, (network, setting, usual) in cases.items()
    }

    def compute(family, scale):
        look, setting, usual = looks[family]
        return family, *look(**{setting: scale * usual})

    def draw(frame):
        fig, (axes,) = plots.figure(1, 3, width=10.5, height=3.4)
        points = plots.plane(axes[0], frame[1], limit=16)
        axes[0].set_title("mapping frequencies Ω")
        picture = plots.picture(axes[1], frame[2], "untrained output")
        level = plots.spectrum(axes[2], frame[3], (-60, 0), "its DFT magnitude")
        fig.colorbar(axes[2].images[0], ax=axes[2], label="dB", shrink=0.8)

        def update(frame):
            points(frame[1], plots.COLOURS[frame[0]])
            picture(frame[2])
            level(frame[3])

        return fig, update

    controls = {
        "family": choice("family", cases),
        "scale": slider("scale", "× usual", 0.1, 10, 1),
    }
    return Explorer(controls, compute, None, draw)


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
    network, controls = _choose(
        family,
        {
            "SIREN": (
                SIREN(widths=(128,), mapping_width=128),
                {"omega0": slider("ω0", "rad per unit", 10, 400, 300)},
            ),
            "FFN": (
                FFN(widths=(128, 128), mapping_width=256),
                {"sigma": slider("σ", "cycles per unit", 1, 200, 100)},
            ),
        },
    )
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r, curve_r = (signals.grid(size) for size in (rate, 8 * rate))
    g, target = (signals.tone(frequency, r) for r in (r, curve_r))

    def level(f):
        return spectra.level(f[::4])

    def look(theta):
        f = network.apply(theta, curve_r)
        return f[:, 0], level(f)

    def draw(frame):
        labels = {"xlabel": "coordinate r", "ylabel": "signal"}
        fig, (left, _), update = _beside(
            curve_r[:, 0], {"target": target[:, 0], family: frame[0]},
            np.arange(rate + 1), {"target": level(target), family: frame[1]},
            marks=(frequency, rate - frequency), **labels,
        )  # fmt: skip
        left.plot(r[:, 0], g[:, 0], "o", ms=5, color=plots.COLOURS["target"], label="samples")
        left.set(xlim=(0, 0.25), ylim=(-2, 2))
        plots.legend(left, ncols=3)
        return fig, lambda frame: update(*({family: part} for part in frame))

    return Explorer(controls, *_follow(network, theta, (r, g), look, 2000, 1e-4), draw)


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
    network, controls = _choose(
        family,
        {
            "single frequency": (
                SingleFrequency((128, 128, 128), 3),
                {"f0": slider("f0", "cycles per unit", 0.25, 4, 1)},
            ),
            "FFN": (
                FFN((128, 128, 128), 3, mapping_width=128),
                {"sigma": slider("σ", "cycles per unit", 0.1, 30, 10)},
            ),
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
        return f, level, spectra.centre_crop(level, 32)

    def draw(frame):
        fig, (axes,) = plots.figure(1, 4, width=10.5, height=2.9)
        plots.picture(axes[0], pixels, "target")
        picture = plots.picture(axes[1], frame[0], "reconstruction")
        level = plots.spectrum(axes[2], frame[1], title="DFT magnitude")
        crop = plots.spectrum(axes[3], frame[2], title="its centre, 32×32")
        fig.colorbar(axes[3].images[0], ax=axes[3], label="dB", shrink=0.8)

        def update(frame):
            for change, part in zip((picture, level, crop), frame, strict=True):
                change(part)

        return fig, update

    return Explorer(controls, *_follow(network, theta, (r, g), look, 500, 1e-3), draw)


@named
def eigenfunctions(family: str = "SIREN", size: int = 32) -> Explorer:
    """Section 5.2: the atoms of a network, their eigenvalues, and the energy of a face on them.

    A switch goes from random to the meta-learned weights of Section 5.3, first seed; these have a
    width, a depth and a seed of their own, so that only ω0 or σ moves them.

    Args:
      family: "SIREN", with a slider for ω0, or "FFN", with a slider for σ.
      size: side of the grid in pixels, at least 8.

    Raises:
      ValueError: another family, or too small a grid.
    """
    if size < 8:
        raise ValueError(f"eigenfunctions: size={size} is too small; take at least 8.")
    make, weights, controls = _choose(
        family,
        {
            "SIREN": (
                lambda width, depth: SIREN((width,) * depth, mapping_width=width, zero_bias=True),
                "maml_siren",
                {"omega0": slider("ω0", "rad per unit", 3, 150, 30)},
            ),
            "FFN": (
                lambda width, depth: FFN((width,) * depth, mapping_width=256),
                "maml_ffn",
                {"sigma": slider("σ", "cycles per unit", 0.1, 30, 1)},
            ),
        },
    )
    learned_network, learned, _ = metalearning.shipped(weights)
    learned = jax.tree.map(lambda leaf: leaf[0], learned)
    r = signals.grid((size, size))
    faces = faces_.load(size=size).validation[:8]
    g = jnp.asarray(faces.reshape(len(faces), -1).T, jnp.float32)
    g = g - g.mean(axis=0)
    count, thresholds = 24, jnp.logspace(-4, 0, 81)
    drawn, last = {}, {}

    @partial(jax.jit, static_argnums=0)
    def look(network, theta, previous, g):
        gram = ntk.gram(network, theta, r)
        eigen = atoms_.eigenfunctions(gram, count, previous)
        largest = eigen.values.max()
        energy = atoms_.energy_from_products(partial(jnp.matmul, gram), g, thresholds, largest)
        values = jnp.sort(eigen.values)[::-1] / largest  # `align` may swap neighbours
        return eigen, eigen.functions[:, :10].T.reshape(10, size, size), values, energy

    def compute(width, depth, seed, face, weights, **settings):
        network, theta = learned_network, learned
        if weights == "random":
            network = make(width, depth)
            if (network, seed) not in drawn:
                drawn.clear()
                drawn[network, seed] = networks.init(network, jax.random.key(seed), 2)
            theta = drawn[network, seed]
        theta = networks.tune(theta, **settings)
        last["eigen"], *shown = look(network, theta, last.get("eigen"), g[:, [face - 1]])
        return *shown, faces[face - 1]

    def draw(frame):
        pictures, values, energy, face = frame
        fig = plots.Figure(figsize=(10.5, 4.4))
        upper, lower = fig.subfigures(2, 1, height_ratios=(1.4, 3))
        atoms = _atoms(upper.subplots(1, 10), pictures)
        left, middle, right = lower.subplots(1, 3, width_ratios=(3, 3, 1.6))
        labels = {"xlabel": "index", "ylabel": "eigenvalue / largest", "yscale": "log"}
        decay = plots.curves(left, np.arange(count), {family: values}, plots.COLOURS, **labels)
        left.set(ylim=(1e-4, 1.5))
        curve = _energy(middle, thresholds, {family: energy})
        shown = plots.picture(right, face, "the face")

        def update(frame):
            pictures, values, energy, face = frame
            atoms(pictures)
            decay({family: values})
            curve({family: energy})
            shown(face)

        return fig, update

    choices = {
        "width": choice("width", (32, 64, 128, 256), 128),  # the paper's 256 takes twice the time
        "depth": whole("depth", 1, 5, 3),
        "seed": whole("seed", 0, 99, 0),
        "face": choice("face", range(1, len(faces) + 1)),
        "weights": choice("weights", ("random", "learned")),
    }
    return Explorer(controls | choices, compute, None, draw)


@named
def kernel_regression(seed: int = 0, frequency: int = 23, rate: int = 128) -> Explorer:
    """Section 5.1: a row of a SIREN's kernel, and what the kernel makes of a tone's samples.

    Args:
      seed: of the weights. They are never trained.
      frequency: of the tone, in Hz.
      rate: samples on [0, 1). The alias falls at rate − frequency.
    """
    network = SIREN(widths=(128,), mapping_width=128)
    theta = networks.init(network, jax.random.key(seed), dims=1)
    r, finer = (signals.grid(size) for size in (rate, 2 * rate))
    g, target = (signals.tone(frequency, r) for r in (r, finer))
    middle = jnp.array([[0.5]])
    level = spectra.level

    @jax.jit
    def look(theta):
        row = ntk.gram(network, theta, finer, middle)[:, 0]
        return row / row.max(), level(ntk.regression(network, theta, r, g, finer))

    def draw(frame):
        labels = {"xlabel": "coordinate r", "ylabel": "Θ(r, 0.5) / largest"}
        fig, (left, _), update = _beside(
            finer[:, 0], {"SIREN": frame[0]},
            np.arange(rate + 1), {"target": level(target), "SIREN": frame[1]},
            marks=(frequency, rate - frequency), **labels,
        )  # fmt: skip
        left.set(ylim=(-0.4, 1.05), title="a row of the kernel")
        return fig, lambda frame: update(*({"SIREN": part} for part in frame))

    controls = {"omega0": slider("ω0", "rad per unit", 10, 400, 60)}
    return Explorer(controls, lambda omega0: look(networks.tune(theta, omega0=omega0)), None, draw)


@named
def bessel(seed: int = 0, units: int = 8) -> Explorer:
    """Eqs. 5–7: the Bessel coefficients of a three-layer sine network on its measured spectrum.

        f(r) = Σ_m w_m sin(β Σ_t V_mt sin(ω_t r) + b_m),      ω = ω0 (1, 19/16, 45/16)

    The spectrum is that of samples over exactly 16 periods of ω0, so that every line falls on a bin
    whatever ω0 is. All sizes are fixed: fewer frequencies are columns of zeros, a lower order of
    truncation is a mask, and no control compiles anything again.

    Args:
      seed: of w, V and b.
      units: hidden units m.
    """
    k, slowest, samples, largest = np.array([16, 19, 45]), 16, 2048, 16
    rng = np.random.default_rng(seed)
    V = rng.choice([-1, 1], (units, 3)) * rng.uniform(0.5, 1, (units, 3))
    w = rng.normal(size=(units, 1)) / units**0.5
    b = rng.uniform(-1, 1, units)
    s = harmonics.combinations(3, largest)
    bins = s @ k

    @jax.jit
    def look(beta, omega0, many, order):
        Omega = omega0 * k[:, None] / slowest
        W = beta * V * (jnp.arange(3) < many)
        net = bessel_.SineLayers(Omega, jnp.zeros(3), W, b, w, jnp.zeros(1))
        A = bessel_.amplitudes(net, s)
        A = jnp.where((np.abs(s).sum(1) <= order)[:, None], A, 0)
        # A negative frequency is turned: Im(A exp(−jx)) = Im(−A* exp(jx)).
        turned = jnp.where((bins < 0)[:, None], -jnp.conj(A), A)[:, 0]
        lines = jnp.zeros(samples // 2 + 1, A.dtype).at[np.abs(bins)].add(turned)
        lines = lines.at[0].set(1j * lines[0].imag)
        predicted = jnp.abs(lines)
        r = 2 * jnp.pi * slowest / omega0 * signals.grid(samples)
        f = jnp.sin(jnp.sin(r @ Omega.T) @ W.T + b) @ w
        measured = spectra.lines(f)[1][:, 0]
        # Σ Im(A exp(jx)) = Σ Re(−jA exp(jx)): an inverse DFT sums the predicted lines.
        g = jnp.fft.irfft(-0.5j * samples * lines.at[0].multiply(2), samples)
        residual = jnp.max(jnp.abs(f[:, 0] - g)) / jnp.max(jnp.abs(f))
        bound = bessel_.truncation_bound(net, order)[0] / jnp.max(jnp.abs(f))
        frequency = omega0 / (2 * jnp.pi * slowest) * jnp.arange(samples // 2 + 1)
        levels = [spectra.decibels(a, -320) for a in (measured, predicted)]
        return r[:, 0], f[:, 0], g, frequency, *levels, residual, bound

    def compute(beta, omega0, many, order):
        with jax.enable_x64(True):
            return jax.device_get(look(float(beta), float(omega0), float(many), float(order)))

    def draw(frame):
        r, f, g, frequency, measured, predicted, *_ = frame
        fig, ((left, right),) = plots.figure(1, 2, width=10.5, height=3.4, width_ratios=[2, 3])
        curves = [
            left.plot(r, f, color=plots.COLOURS["target"], lw=4, alpha=0.35, label="network")[0],
            left.plot(r, g, color=plots.COLOURS["SIREN"], lw=1.6, label="Bessel sum")[0],
        ]
        left.set(xlabel="coordinate r", ylabel="f(r)", xlim=(0, 1), ylim=(-3, 3))
        left.grid(True)
        lines = plots.comb(right, frequency, measured, "#999999", "measured", width=3)
        heads = plots.comb(
            right, frequency, predicted, plots.COLOURS["SIREN"], "predicted", head="o"
        )
        right.set(xlim=(0, 40), xlabel="frequency (periods per unit)")
        plots.legend(right)

        def update(frame):
            r, f, g, frequency, measured, predicted, residual, bound = frame
            for curve, y in zip(curves, (f, g), strict=True):
                curve.set_data(r, y)
            lines((frequency, measured))
            heads((frequency, predicted))
            left_out = f"{bound:.0e}" if bound < 1 else "all of it"
            left.set_title(f"residual {residual:.0e}; left out at most {left_out}", fontsize=10)

        update(frame)
        return fig, update

    controls = {
        "beta": slider("weight scale β", "rad", 0.05, 5, 1.5),
        "omega0": slider("ω0", "rad per unit", 3, 60, 20),
        "many": whole("frequencies", 1, 3, 2),
        "order": whole("truncation Σ|s|", 0, largest, 8),
    }
    return Explorer(controls, compute, None, draw)


ACTIVATIONS = ("polynomial", "sin", "ReLU")
"""What `depth` offers for ρ."""


@named
def depth(dims: int = 1, seed: int = 0) -> Explorer:
    """Theorem 1: the support K^(L−1) against what a random network of that depth fills.

    One frequency of 3 periods per unit along a line, or two frequencies (2, 1) and (−1, 2) in the
    plane. The grid resolves order 64, so nothing of a polynomial network is aliased; it is made of
    whole periods, so that what sin and ReLU alias falls on harmonics again. Depth selects among the
    layers of one network, degree sets higher coefficients to zero: nothing is compiled again.

    Args:
      dims: D, 1 or 2.
      seed: of the weights.

    Raises:
      ValueError: other dims.
    """
    if dims not in (1, 2):
        raise ValueError(f"dims={dims} has no explorer here; choose 1 or 2.")
    largest, units = 64, 8
    k, size = (np.array([[3]]), 390) if dims == 1 else (np.array([[2, 1], [-1, 2]]), 270)
    rng = np.random.default_rng(seed)
    shapes = [(len(k), units), (units, units), (units, units)]
    # Rows of sum 1: every pre-activation stays in [−1, 1], where Chebyshev's polynomials live.
    layers = [W / np.abs(W).sum(0) for W in (rng.normal(size=shape) for shape in shapes)]
    readouts = [rng.normal(size=(W.shape[0], 1)) for W in (*layers, np.zeros((units, 1)))]
    phi = rng.uniform(-np.pi, np.pi, len(k))
    with jax.enable_x64(True):
        r = signals.grid((size,) * dims)
    reach = harmonics.lattice_order(k, largest)
    margin = [(size // 2 - n // 2, (size - 1) // 2 - n // 2) for n in reach.shape]
    reach = np.pad(reach, margin, constant_values=-1)

    @jax.jit
    def look(degree, depth, kind):
        c = jnp.where(np.arange(5) <= degree, np.array([0.1, 0.3, 0.6, 1.0, 1.0]), 0)
        c = c / jnp.sum(c)
        rho = [lambda v: polynomials.chebyshev(c, v), lambda v: jnp.sin(np.pi * v), jax.nn.relu]
        z = jnp.sin(2 * np.pi * r @ k.T + phi)
        f = [z @ readouts[0]]
        for W, w in zip(layers, readouts[1:], strict=True):
            z = jax.lax.switch(kind, rho, z @ W)
            f.append(z @ w)
        f = jnp.stack(f)[depth - 1].reshape((size,) * dims)
        magnitude = jnp.fft.fftshift(jnp.abs(jnp.fft.fftn(f))) / f.size
        magnitude /= jnp.sqrt(jnp.sum(magnitude**2))
        allowed = jnp.where(reach <= degree ** (depth - 1), reach, -1)
        outside = jnp.sum(jnp.where(allowed < 0, magnitude, 0) ** 2)
        return spectra.decibels(magnitude, -320), allowed, outside

    def compute(degree, depth, rho):
        with jax.enable_x64(True):
            return jax.device_get(look(degree, depth, ACTIVATIONS.index(rho)))

    shown = size if dims == 1 else 128
    middle = (slice(size // 2 - shown // 2, size // 2 + shown // 2),) * dims

    def draw(frame):
        level, allowed = (part[middle] for part in frame[:2])
        if dims == 1:
            fig, ((ax,),) = plots.figure(1, 1, width=10, height=3.2)
            half, x = size // 2, np.arange(size // 2)
            inside = lambda allowed: np.where(allowed[half:] >= 0, -2.0, -300)
            support = plots.comb(ax, x, inside(allowed), "#dddddd", "allowed", -120, width=5)
            lines = plots.comb(
                ax, x, level[half:], plots.COLOURS["SIREN"], "measured", -120, width=2
            )
            ax.set(xlim=(-1, 200), xlabel="frequency (periods per unit)", ylabel="share (dB)")
            plots.legend(ax)
        else:
            fig, ((left, ax),) = plots.figure(1, 2, width=9.6, height=4.4)
            support = plots.orders(left, allowed, "allowed: order Σ|s|")
            lines = plots.spectrum(ax, level, (-120, 0))
            fig.colorbar(left.images[0], ax=left, shrink=0.7)
            fig.colorbar(ax.images[0], ax=ax, shrink=0.7, label="share (dB)")

        def update(frame):
            reached, outside = frame[1].max(), frame[2]
            level, allowed = (part[middle] for part in frame[:2])
            if dims == 1:
                support((x, inside(allowed)))
                lines((x, level[half:]))
            else:
                support(allowed)
                lines(level)
            ax.set_title(
                f"order up to {reached}; energy outside {outside:.0e}",
                loc="right" if dims == 1 else "center",
            )

        update(frame)
        return fig, update

    controls = {
        "depth": whole("layers L", 1, 4, 3),
        "degree": whole("degree K", 1, 4, 3),
        "rho": choice("activation ρ", ACTIVATIONS),
    }
    return Explorer(controls, compute, None, draw)


@named
def modulation(rate: int = 22050, seconds: float = 1.0) -> Explorer:
    """Frequency modulation, sin(β sin ω0 r): its lines, Carson's band, and its sound (r in s).

    Args:
      rate: samples per second of the tone.
      seconds: its length.
    """
    n = np.arange(1, 64)
    time = jnp.arange(int(rate * seconds)) / rate

    @jax.jit
    def look(beta, frequency):
        # Lines at odd harmonics only: those of s and −s cancel where s is even.
        amplitude = jnp.where(n % 2 == 1, 2 * jnp.abs(bessel_.bessel(beta, 63)[64:]), 0)
        sound = jnp.sin(beta * jnp.sin(2 * jnp.pi * frequency * time))
        band = bessel_.carson(beta, frequency)
        inside = jnp.sum(jnp.where(n * frequency <= band * (1 + 1e-6), amplitude, 0) ** 2)
        share = inside / jnp.sum(amplitude**2)
        return n * frequency, spectra.decibels(amplitude), band, share, sound

    sound = lambda frame: Audio(np.asarray(frame[-1]), rate=rate, normalize=False).data
    player = widgets.Audio(format="wav", autoplay=False, loop=False)

    def draw(frame):
        fig, ((left, right),) = plots.figure(1, 2, width=10.5, height=3.2, width_ratios=[2, 3])
        first = slice(0, rate // 50)
        labels = {"xlabel": "r (s)", "ylabel": "sin(β sin ω0 r)", "ylim": (-1.1, 1.1)}
        colours = {"f": plots.COLOURS["SIREN"]}
        curve = plots.curves(left, time[first], {"f": frame[-1][first]}, colours, **labels)
        band = right.axvspan(0, frame[2], color="#cfe3f2", label="Carson's band (β + 1) ω0")
        lines = plots.comb(right, *frame[:2], plots.COLOURS["SIREN"], "lines", width=3)
        right.set(xlim=(0, 5400))
        plots.legend(right, ncols=2)

        def update(frame):
            curve({"f": frame[-1][first]})
            lines(frame[:2])
            band.set_width(float(frame[2]))
            left.set_title(f"{100 * float(frame[3]):.2f} % of the power in Carson's band")
            player.value = sound(frame)

        update(frame)
        return fig, update

    controls = {
        "beta": slider("β", "rad", 0.1, 12, 5),
        "frequency": slider("ω0/2π", "Hz", 100, 400, 220),
    }
    explorer = Explorer(controls, look, None, draw)
    explorer.box.children = (*explorer.box.children, player)
    return explorer


@named
def meta_learning(size: int = 32, most: int = 10) -> Explorer:
    """Section 5.3: what MAML does to a SIREN's atoms, to the energy of a face, and to its fit.

    The main slider goes through the shipped numbers along meta-training. The face is one that
    meta-training has not seen; gradient descent (steps of 1e-2, as `fitting.fit` counts them) sees
    half of its pixels.

    Args:
      size: side of the grid in pixels.
      most: gradient steps that can be chosen.
    """
    network, thetas, notes = metalearning.shipped("maml_path")
    r = signals.grid((size, size))
    faces = faces_.load(size=size).validation[:8]
    g = jnp.asarray(faces.reshape(len(faces), -1, 1), jnp.float32)
    order = np.random.default_rng(0).permutation(size**2)
    seen, unseen = order[: size**2 // 2], order[size**2 // 2 :]
    centred = (g - g.mean(axis=1, keepdims=True))[..., 0].T
    thresholds, kept, last = jnp.logspace(-4, 0, 81), {}, {}

    def kernel_of(checkpoint, theta):
        """The first atoms, and every face's energy on all of them; computed once."""
        if checkpoint not in kept:
            eigen = atoms_.eigenfunctions(ntk.gram(network, theta, r))
            energy = [
                atoms_.energy_concentration(eigen, one[:, None], thresholds) for one in centred.T
            ]
            kept[checkpoint] = jax.tree.map(lambda leaf: leaf[..., :10], eigen), energy
        return kept[checkpoint]

    @jax.jit
    def fitted(theta, g, steps):
        def loss(params):
            f = network.apply({**theta, "params": params}, r[seen])
            return jnp.mean((f - g[seen]) ** 2) / 2

        def step(_, params):
            return jax.tree.map(lambda p, d: p - 1e-2 * d, params, jax.grad(loss)(params))

        params = jax.lax.fori_loop(0, steps, step, theta["params"])
        f = network.apply({**theta, "params": params}, r)
        return f, psnr(f[unseen], g[unseen])

    def compute(checkpoint, face, steps):
        theta = jax.tree.map(lambda a: a[checkpoint], thetas)
        eigen, energies = kernel_of(checkpoint, theta)
        last["eigen"] = atoms_.align(eigen, last.get("eigen"))
        pictures, energy = last["eigen"].functions.T.reshape(10, size, size), energies[face - 1]
        f, level = fitted(theta, g[face - 1], steps)
        return pictures, energy, faces[face - 1], f.reshape(size, size), level, checkpoint

    def draw(frame):
        pictures, energy, face, f, *_ = frame
        fig = plots.Figure(figsize=(10.5, 4.4))
        upper, lower = fig.subfigures(2, 1, height_ratios=(1.4, 3))
        atoms = _atoms(upper.subplots(1, 10), pictures)
        left, middle, right = lower.subplots(1, 3, width_ratios=(2.4, 1.6, 1.6))
        curve = _energy(left, thresholds, {"SIREN": energy})
        target = plots.picture(middle, face, "an unseen face")
        picture = plots.picture(right, f, " ")

        def update(frame):
            pictures, energy, face, f, level, checkpoint = frame
            atoms(pictures)
            curve({"SIREN": energy})
            target(face)
            picture(f)
            left.set_title(f"after {notes['steps'][checkpoint]} steps of meta-training")
            right.set_title(f"fit: {float(level):.1f} dB on unseen pixels")

        update(frame)
        return fig, update

    controls = {
        "checkpoint": whole("meta-training", 0, len(notes["steps"]) - 1, len(notes["steps"]) - 1),
        "steps": whole("gradient steps", 0, most, 3),
        "face": choice("face", range(1, len(faces) + 1)),
    }
    return Explorer(controls, compute, None, draw)


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
    size, coarse, orders = 64, 32, 24
    families = {
        "SIREN": (
            lambda width, depth, C: SIREN((width,) * depth, C, mapping_width=width),
            "omega0",
            slider("ω0", "rad per unit", 3, 300, 12),
        ),
        "FFN": (
            lambda width, depth, C: FFN((width,) * depth, C, mapping_width=2 * width),
            "sigma",
            slider("σ", "cycles per unit", 0.1, 30, 3),
        ),
        "single frequency": (
            lambda width, depth, C: SingleFrequency((width,) * depth, C),
            "f0",
            slider("f0", "cycles per unit", 0.25, 4, 1),
        ),
    }
    astronaut = signals.picture(size=size)
    r, _ = signals.samples(astronaut)
    r_coarse = signals.grid((coarse,) * 2, -1, 1)
    s = jnp.arange(orders + 1)
    drawn, last = {}, {}

    @partial(jax.jit, static_argnums=0)
    def look(network, theta, g):
        f = network.apply(readout(network, theta, r, g), r)
        Omega, _ = networks.frequencies(network, theta, 2)
        omega = jnp.median(jnp.linalg.norm(Omega, axis=1))
        strength = jnp.median(jnp.linalg.norm(theta["params"]["hidden_0"]["kernel"], axis=0))
        if isinstance(network, SIREN):
            beta = network.hidden_omega0 * strength
            harmonic = jnp.abs(bessel_.bessel(beta, orders)[orders:])
        else:
            beta, t = strength, 2 * jnp.pi * signals.grid(1024)[:, 0]
            harmonic = jnp.abs(jnp.fft.rfft(jax.nn.relu(beta * jnp.sin(t)))[: orders + 1]) / 1024
        harmonic = harmonic / harmonic.max()
        lines = s * omega / (2 * jnp.pi), spectra.decibels(harmonic)
        level = spectra.decibels(spectra.centred(f.reshape(size, size, 3)))
        return f.reshape(size, size, 3), psnr(f, g), level, lines, beta

    @partial(jax.jit, static_argnums=0)
    def atoms(network, theta, previous, g):
        readout = jax.tree.map(lambda leaf: leaf[..., :1], theta["params"]["readout"])
        theta = theta | {"params": dict(theta["params"]) | {"readout": readout}}
        eigen = atoms_.eigenfunctions(ntk.gram(network, theta, r_coarse), 8, previous)
        every = slice(None, None, size // coarse)
        grey = g.reshape(size, size, 3).mean(-1)[every, every].reshape(-1, 1)
        share = atoms_.energy_concentration(eigen, grey - grey.mean(), jnp.zeros(1))[0]
        return eigen, eigen.functions.T.reshape(8, coarse, coarse), share

    def compute(family, width, depth, picture, **settings):
        make, setting, _ = families[family]
        network, one_channel = make(width, depth, 3), make(width, depth, 1)
        if network not in drawn:
            drawn[network] = networks.init(network, jax.random.key(seed), 2)
        theta = networks.tune(drawn[network], **{setting: settings[setting]})
        pixels = astronaut if picture is None else picture
        g = jnp.asarray(pixels.reshape(-1, 3), jnp.float32)
        last["eigen"], pictures, share = atoms(one_channel, theta, last.get("eigen"), g)
        return family, pixels, *look(network, theta, g), pictures, share

    def draw(frame):
        family, pixels, f, _, level, lines, _, pictures, _ = frame
        fig = plots.Figure(figsize=(10.5, 4.4))
        upper, lower = fig.subfigures(2, 1, height_ratios=(2.9, 1.5))
        axes = upper.subplots(1, 4, width_ratios=(1, 1, 1, 1.4))
        target = plots.picture(axes[0], pixels, "target")
        fitted = plots.picture(axes[1], f, "reconstruction, 00.0 dB")
        spectrum = plots.spectrum(axes[2], level, (-80, 0), "its DFT (dB)")
        fig.colorbar(axes[2].images[0], ax=axes[2], shrink=0.8)
        comb = plots.comb(axes[3], *lines, plots.COLOURS[family], floor=-60, width=3)
        axes[3].axvspan(size / 4, 100, color="#eeeeee", zorder=0)
        axes[3].set(xlim=(-0.5, 40), xlabel="frequency (cycles per unit)", ylabel="share (dB)")
        axes[3].text(size / 4 + 0.5, 6, "aliased", fontsize=10)
        *below, beside = lower.subplots(1, 9, width_ratios=(1,) * 8 + (1.3,))
        shown = _atoms(below, pictures)
        beside.axis("off")
        note = beside.text(0, 0.5, "", va="center")

        def update(frame):
            family, pixels, f, quality, level, lines, beta, pictures, share = frame
            target(pixels)
            fitted(f)
            axes[1].set_title(f"reconstruction, {quality:.1f} dB")
            spectrum(level)
            comb(lines, plots.COLOURS[family])
            name = "|J_s(β)|" if family == "SIREN" else "ReLU's harmonics"
            axes[3].set_title(f"one unit: {name}, β = {beta:.2g}")
            shown(pictures)
            note.set_text(f"These eight hold\n{share:.0%} of the\npicture's energy.")

        update(frame)
        return fig, update

    controls = {
        **{setting: control for _, setting, control in families.values()},
        "family": choice("family", families),
        "depth": whole("depth", 1, 4, 2),
        "width": choice("width", (32, 64, 128, 256), 128),
        "picture": Upload(size),
    }

    def only_its_own(change=None):
        for family, (_, _, control) in families.items():
            mine = family == controls["family"].value
            control.layout.display = None if mine else "none"

    controls["family"].observe(only_its_own, names="value")
    only_its_own()
    return Explorer(controls, compute, None, draw)
