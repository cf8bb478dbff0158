"""Section 3: which harmonics a network makes, and how strong they are.

>>> from inrlib import explorers
>>> bool(explorers.bessel().at(order=16).frame["residual"] < 1e-9)
True
"""

from typing import NamedTuple

import ipywidgets as widgets
import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Audio
from jaxtyping import Array, Float, Int

from inrlib import bessel as series
from inrlib import harmonics, plots, polynomials, signals, spectra
from inrlib.live import Explorer, choice, knob, named, slider, whole
from inrlib.live.explorer import Frame
from inrlib.networks import SIREN

# --- Eqs. 5–7 ------------------------------------------------------------------------------------

_BINS, _SLOWEST, _SAMPLES, _LARGEST = np.array([16, 19, 45]), 16, 2048, 16
"""The frequencies in bins of a grid that holds 16 periods of ω0, and the highest order."""


def _bessel_frame(V, w, b, beta, omega0, many, order) -> Frame:
    """The network and its Bessel sum, as functions and as spectra.

    All sizes are fixed: fewer frequencies are columns of zeros, a lower order of truncation is a
    mask, and no control compiles anything again.
    """
    s = harmonics.combinations(3, _LARGEST)
    bins = s @ _BINS
    Omega = omega0 * _BINS[:, None] / _SLOWEST
    W = beta * V * (jnp.arange(3) < many)
    net = series.SineLayers(Omega, jnp.zeros(3), W, b, w, jnp.zeros(1))
    A = jnp.where((np.abs(s).sum(1) <= order)[:, None], series.amplitudes(net, s), 0)
    # A negative frequency is turned: Im(A exp(−jx)) = Im(−A* exp(jx)).
    turned = jnp.where((bins < 0)[:, None], -jnp.conj(A), A)[:, 0]
    lines = jnp.zeros(_SAMPLES // 2 + 1, A.dtype).at[np.abs(bins)].add(turned)
    lines = lines.at[0].set(1j * lines[0].imag)
    r = 2 * jnp.pi * _SLOWEST / omega0 * signals.grid(_SAMPLES)
    f = jnp.sin(jnp.sin(r @ Omega.T) @ W.T + b) @ w
    # Σ Im(A exp(jx)) = Σ Re(−jA exp(jx)): an inverse DFT sums the predicted lines.
    g = jnp.fft.irfft(-0.5j * _SAMPLES * lines.at[0].multiply(2), _SAMPLES)
    peak = jnp.max(jnp.abs(f))
    frequency = omega0 / (2 * jnp.pi * _SLOWEST) * jnp.arange(_SAMPLES // 2 + 1)
    levels = [spectra.decibels(a, -320) for a in (spectra.lines(f)[1][:, 0], jnp.abs(lines))]
    return {
        "network": (r[:, 0], f[:, 0]),
        "expansion": (r[:, 0], g),
        "measured": (frequency, levels[0]),
        "predicted": (frequency, levels[1]),
        "residual": jnp.max(jnp.abs(f[:, 0] - g)) / peak,
        "bound": series.truncation_bound(net, order)[0] / peak,
    }


@named
def bessel(seed: int = 0, units: int = 8) -> Explorer:
    """Eqs. 5–7: the Bessel coefficients of a three-layer sine network on its measured spectrum.

        f(r) = Σ_m w_m sin(β Σ_t V_mt sin(ω_t r) + b_m),      ω = ω0 (1, 19/16, 45/16)

    The spectrum is that of samples over exactly 16 periods of ω0, so that every line falls on a bin
    whatever ω0 is.

    Args:
      seed: of w, V and b.
      units: hidden units m.
    """
    rng = np.random.default_rng(seed)
    V = rng.choice([-1, 1], (units, 3)) * rng.uniform(0.5, 1, (units, 3))
    w = rng.normal(size=(units, 1)) / units**0.5
    b = rng.uniform(-1, 1, units)
    look = jax.jit(_bessel_frame)

    def compute(beta, omega0, many, order):
        with jax.enable_x64(True):
            numbers = map(float, (beta, omega0, many, order))
            frame = jax.device_get(look(V, w, b, *numbers))
        return frame | {"title": (frame["residual"], frame["bound"])}

    def draw(network, expansion, measured, predicted, title, **_):
        fig, ((left, right),) = plots.figure(1, 2, width=10.5, height=3.4, width_ratios=[2, 3])
        black, blue = plots.COLOURS["target"], plots.COLOURS["SIREN"]
        thick = left.plot(*network, color=black, lw=4, alpha=0.35, label="network")[0]
        thin = left.plot(*expansion, color=blue, lw=1.6, label="Bessel sum")[0]
        left.set(xlabel="coordinate r", ylabel="f(r)", xlim=(0, 1), ylim=(-3, 3))
        left.grid(True)
        lines = plots.comb(right, *measured, "#999999", "measured", width=3)
        heads = plots.comb(right, *predicted, blue, "predicted", head="o")
        right.set(xlim=(0, 40), xlabel="frequency (cycles per unit)")
        plots.legend(right)

        def tell(title):
            residual, bound = title
            left_out = f"{bound:.0e}" if bound < 1 else "all of it"
            left.set_title(f"residual {residual:.0e}; left out at most {left_out}", fontsize=10)

        return fig, {
            "network": lambda curve: thick.set_data(*curve),
            "expansion": lambda curve: thin.set_data(*curve),
            "measured": lines,
            "predicted": heads,
            "title": tell,
        }

    controls = {
        "beta": slider("weight scale β", "rad", 0.05, 5, 1.5),
        "omega0": knob(SIREN, 3, 60, 20),
        "many": whole("frequencies", 1, 3, 2),
        "order": whole("truncation Σ|s|", 0, _LARGEST, 8),
    }
    return Explorer(controls, compute, draw)


# --- Theorem 1 -----------------------------------------------------------------------------------

ACTIVATIONS = ("polynomial", "sin", "ReLU")
"""What `depth` offers for ρ."""


class _Stack(NamedTuple):
    """A random network whose layers can be looked at one by one, and the orders on its grid."""

    layers: list[Float[np.ndarray, "F F2"]]
    readouts: list[Float[np.ndarray, "F 1"]]
    waves: Float[Array, "N T"]
    reach: Int[np.ndarray, "*shape"]

    def look(self, degree: Array, depth: Array, kind: Array) -> Frame:
        """The spectrum after `depth` layers, the orders that are allowed, the energy elsewhere."""
        c = jnp.where(np.arange(5) <= degree, np.array([0.1, 0.3, 0.6, 1.0, 1.0]), 0)
        c = c / jnp.sum(c)
        rho = [
            lambda v: polynomials.chebyshev(c, v),
            lambda v: jnp.sin(np.pi * v),
            jax.nn.relu,
        ]
        z = self.waves
        f = [z @ self.readouts[0]]
        for W, w in zip(self.layers, self.readouts[1:], strict=True):
            z = jax.lax.switch(kind, rho, z @ W)
            f.append(z @ w)
        f = jnp.stack(f)[depth - 1].reshape(self.reach.shape)
        magnitude = jnp.fft.fftshift(jnp.abs(jnp.fft.fftn(f))) / f.size
        magnitude /= jnp.sqrt(jnp.sum(magnitude**2))
        allowed = jnp.where(self.reach <= degree ** (depth - 1), self.reach, -1)
        outside = jnp.sum(jnp.where(allowed < 0, magnitude, 0) ** 2)
        return {
            "level": spectra.decibels(magnitude, -320), "allowed": allowed,
            "title": (jnp.max(allowed), outside),
        }  # fmt: skip


def _random_stack(k: Int[np.ndarray, "T D"], size: int, seed: int, units: int = 8) -> _Stack:
    rng = np.random.default_rng(seed)
    shapes = [(len(k), units), (units, units), (units, units)]
    # Rows of sum 1: every pre-activation stays in [−1, 1], where Chebyshev's polynomials live.
    layers = [W / np.abs(W).sum(0) for W in (rng.normal(size=shape) for shape in shapes)]
    readouts = [rng.normal(size=(W.shape[0], 1)) for W in (*layers, np.zeros((units, 1)))]
    phi = rng.uniform(-np.pi, np.pi, len(k))
    with jax.enable_x64(True):
        waves = jnp.sin(2 * np.pi * signals.grid((size,) * k.shape[1]) @ k.T + phi)
    reach = harmonics.lattice_order(k, 64)
    margin = [(size // 2 - n // 2, (size - 1) // 2 - n // 2) for n in reach.shape]
    return _Stack(layers, readouts, waves, np.pad(reach, margin, constant_values=-1))


def _draw_line(level, allowed):
    """One dimension: allowed frequencies as grey bars behind the measured lines."""
    fig, ((ax,),) = plots.figure(1, 1, width=10, height=3.2)
    half = len(level) // 2
    x, blue = np.arange(half), plots.COLOURS["SIREN"]
    inside = lambda allowed: (x, np.where(np.asarray(allowed)[half:] >= 0, -2.0, -300))
    support = plots.comb(ax, *inside(allowed), "#dddddd", "allowed", -120, width=5)
    lines = plots.comb(ax, x, level[half:], blue, "measured", -120, width=2)
    ax.set(xlim=(-1, 200), xlabel="frequency (cycles per unit)", ylabel="share (dB)")
    plots.legend(ax)
    return fig, ax, {
        "allowed": lambda allowed: support(inside(allowed)),
        "level": lambda level: lines((x, level[half:])),
    }  # fmt: skip


def _draw_plane(level, allowed, shown=128):
    """Two dimensions: the middle of the frequency plane, allowed orders beside the spectrum."""
    corner = level.shape[0] // 2 - shown // 2
    middle = lambda plane: plane[(slice(corner, corner + shown),) * 2]
    fig, ((left, ax),) = plots.figure(1, 2, width=9.6, height=4.4)
    support = plots.orders(left, middle(allowed), "allowed: order Σ|s|")
    lines = plots.spectrum(ax, middle(level), (-120, 0))
    fig.colorbar(left.images[0], ax=left, shrink=0.7)
    fig.colorbar(ax.images[0], ax=ax, shrink=0.7, label="share (dB)")
    return fig, ax, {
        "allowed": lambda allowed: support(middle(allowed)),
        "level": lambda level: lines(middle(level)),
    }  # fmt: skip


@named
def depth(dims: int = 1, seed: int = 0) -> Explorer:
    """Theorem 1: the support K^(L−1) against what a random network of that depth fills.

    One frequency of 3 cycles per unit along a line, or two frequencies (2, 1) and (−1, 2) in the
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
    k, size = (np.array([[3]]), 390) if dims == 1 else (np.array([[2, 1], [-1, 2]]), 270)
    stack = _random_stack(k, size, seed)
    look = jax.jit(lambda *controls: stack.look(*controls))

    def compute(degree, depth, rho):
        with jax.enable_x64(True):
            return jax.device_get(look(degree, depth, ACTIVATIONS.index(rho)))

    def draw(level, allowed, title):
        fig, ax, updates = (_draw_line if dims == 1 else _draw_plane)(level, allowed)
        words = "order up to {}; energy outside {:.0e}"
        tell = plots.title(ax, words, title, loc="right" if dims == 1 else "center")
        return fig, updates | {"title": tell}

    controls = {
        "depth": whole("layers L", 1, 4, 3),
        "degree": whole("degree K", 1, 4, 3),
        "rho": choice("activation ρ", ACTIVATIONS),
    }
    return Explorer(controls, compute, draw)


# --- Frequency modulation ------------------------------------------------------------------------


@named
def modulation(rate: int = 22050, seconds: float = 1.0) -> Explorer:
    """Frequency modulation, sin(β sin ω0 r): its lines, Carson's band, and its sound (r in s).

    Args:
      rate: samples per second of the tone.
      seconds: its length.
    """
    n = np.arange(1, 64)
    time = jnp.arange(int(rate * seconds)) / rate
    first = slice(0, rate // 50)
    player = widgets.Audio(format="wav", autoplay=False, loop=False)

    @jax.jit
    def compute(beta, frequency):
        # Lines at odd harmonics only: those of s and −s cancel where s is even.
        amplitude = jnp.where(n % 2 == 1, 2 * jnp.abs(series.bessel(beta, 63)[64:]), 0)
        sound = jnp.sin(beta * jnp.sin(2 * jnp.pi * frequency * time))
        band = series.carson(beta, frequency)
        inside = jnp.sum(jnp.where(n * frequency <= band * (1 + 1e-6), amplitude, 0) ** 2)
        share = inside / jnp.sum(amplitude**2)
        lines = n * frequency, spectra.decibels(amplitude)
        return {"lines": lines, "band": band, "percent": 100 * share, "sound": sound}

    def draw(lines, band, percent, sound):
        fig, ((left, right),) = plots.figure(1, 2, width=10.5, height=3.2, width_ratios=[2, 3])
        labels = {"xlabel": "r (s)", "ylabel": "sin(β sin ω0 r)", "ylim": (-1.1, 1.1)}
        colours = {"f": plots.COLOURS["SIREN"]}
        curve = plots.curves(left, time[first], {"f": sound[first]}, colours, **labels)
        box = right.axvspan(0, band, color="#cfe3f2", label="Carson's band (β + 1) ω0")
        comb = plots.comb(right, *lines, plots.COLOURS["SIREN"], "lines", width=3)
        right.set(xlim=(0, 5400))
        plots.legend(right, ncols=2)

        def play(sound):
            curve({"f": sound[first]})
            player.value = Audio(np.asarray(sound), rate=rate, normalize=False).data

        tell = plots.title(left, "{:.2f} % of the power in Carson's band", percent)
        widen = lambda band: box.set_width(float(band))
        return fig, {"sound": play, "lines": comb, "band": widen, "percent": tell}

    controls = {
        "beta": slider("β", "rad", 0.1, 12, 5),
        "frequency": slider("ω0/2π", "Hz", 100, 400, 220),
    }
    explorer = Explorer(controls, compute, draw)
    explorer.box.children = (*explorer.box.children, player)
    return explorer
