"""Related work: other families in the same frame, and published claims with a slider each.

>>> from inrlib import explorers
>>> levels = explorers.bound().at(c=0.01).frame["exact"]
>>> bool(abs(levels - explorers.bound().at(c=0.01).frame["bound"]).max() < 0.1)
True
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, jv

from inrlib import atoms, baselines, fitting, networks, ntk, plots, published, signals, spectra
from inrlib.explorers import parts
from inrlib.fitting import psnr
from inrlib.live import Explorer, choice, knob, named, slider, whole
from inrlib.live.explorer import Frame
from inrlib.networks import FFN, FINER, MLP, SIREN

_GREY = "#777777"


# --- Every family in the same frame --------------------------------------------------------------


def _half(picture: str, size: int, seed: int):
    """A grey picture, all samples, and the two halves of their indices."""
    pixels = signals.grey(signals.picture(picture, size))
    order = np.random.default_rng(seed).permutation(size**2)
    seen, unseen = np.sort(order[: size**2 // 2]), np.sort(order[size**2 // 2 :])
    return pixels, *signals.samples(pixels), seen, unseen


_ATOMS = 5
"""How many are shown; the first is nearly constant in most families."""


_SIDE = 24
"""Pixels a side of the grid of the atoms."""


@partial(jax.jit, static_argnums=0)
def _mapping(network, theta, line):
    """Three units of z⁰ along a line."""
    return jnp.real(network.apply(theta, line, method="mapping"))[:, :3]


@jax.jit
def _looked_at(f, K, g, seen, unseen) -> Frame:
    """An untrained output and its spectrum; what the kernel learns of the seen half."""
    size = round(len(f) ** 0.5)
    f = (f - f.mean()) / f.std()
    level = spectra.decibels(spectra.centred(f.reshape(size, size, 1)))
    ridge = 1e-3 * jnp.trace(K) / len(K) * jnp.eye(len(seen))
    fit = 0.5 + K[:, seen] @ jnp.linalg.solve(K[seen][:, seen] + ridge, g[seen] - 0.5)
    return {
        "picture": f.reshape(size, size) / 5 + 0.5,
        "level": level - level.max(),
        "fit": fit.reshape(_SIDE, _SIDE),
        "unseen": psnr(fit[unseen], g[unseen]),
    }


def _portrait(network, theta, r, g, halves) -> Frame:
    """An untrained network from all sides."""
    line = signals.grid(256, -1, 1) * np.array([[0.0, 1.0]])
    f = fitting.evaluate(network, theta, signals.grid((64, 64), -1, 1))
    K = ntk.gram(network, theta, r)
    functions = atoms.eigenfunctions(K).functions[:, :_ATOMS]
    return _looked_at(f, K, g, *halves) | {
        "features": _mapping(network, theta, line),
        "atoms": functions.T.reshape(_ATOMS, _SIDE, _SIDE),
    }


def _portrait_row(figure, family, features, picture, level, atoms, fit, unseen, **_):
    """One row of `related`, and the update of it."""
    axes = figure.subplots(1, 4 + _ATOMS, width_ratios=(1.6, 1, 1) + (1,) * _ATOMS + (1,))
    x, colour = np.linspace(-1, 1, len(features)), lambda name: plots.COLOURS[name]
    curves = axes[0].plot(x, features, lw=1.2, color=colour(family))
    axes[0].set(xticks=[-1, 0, 1], yticks=[], xlim=(-1, 1))
    shown = plots.picture(axes[1], picture, "output")
    spectrum = plots.spectrum(axes[2], level, (-60, 0), "spectrum")
    axes[2].set(xlabel="", xticks=[])
    wall = parts.atoms(axes[3:-1], atoms)
    fitted = plots.picture(axes[-1], fit)
    name = plots.title(axes[0], "{}", family)
    tell = plots.title(axes[-1], "fit, {:.1f} dB", unseen)

    def update(row):
        family, frame = row
        name(family)
        tell(frame["unseen"])
        for curve, values in zip(curves, np.asarray(frame["features"]).T, strict=True):
            lowest, highest = values.min(), values.max()
            curve.set_data(x, (2 * values - lowest - highest) / max(highest - lowest, 1e-9))
            curve.set_color(colour(family))
        axes[0].set_ylim(-1.1, 1.1)
        shown(frame["picture"])
        spectrum(frame["level"])
        wall(frame["atoms"])
        fitted(frame["fit"])

    return update


@named
def related(seed: int = 0) -> Explorer:
    """Two families in one frame: mapping, untrained output and spectrum, atoms, what they learn.

    From the left: three units of the mapping along a line through the picture, each scaled to the
    same height; the untrained output, its DFT magnitude; atoms φ0, φ1, …; what kernel regression
    makes of a random half of a photograph's pixels, and the PSNR on the other half.

    Args:
      seed: of the weights and of the half.
    """
    key = jax.random.key(seed)
    _, r, g, *halves = _half("astronaut", _SIDE, seed)

    @lru_cache
    def start(label):
        network = networks.families()[label].sized(64, 2, offset=0.5)
        return network, published.drawn(network, key, 2)

    def look(label, scale):
        network, theta = start(label)
        setting = {network.knob.name: scale * network.knob.usual}
        return _portrait(network, networks.tune(theta, **setting), r, g, halves)

    def compute(upper, lower, scale):
        return {"upper": (upper, look(upper, scale)), "lower": (lower, look(lower, scale))}

    def draw(upper, lower):
        fig = plots.Figure(figsize=(10.5, 3.4))
        rows = zip(fig.subfigures(2, 1), (upper, lower), strict=True)
        updates = [_portrait_row(part, family, **frame) for part, (family, frame) in rows]
        for update, row in zip(updates, (upper, lower), strict=True):
            update(row)
        return fig, dict(zip(("upper", "lower"), updates, strict=True))

    controls = {
        "scale": slider("knob", "× usual", 0.05, 5, 0.4),  # usual is for 64 pixels
        "upper": choice("above", networks.families(), "SIREN"),
        "lower": choice("below", networks.families(), "WIRE"),
    }
    return Explorer(controls, compute, draw)


# --- FINER: a gradient that is stopped -----------------------------------------------------------


@jax.jit
def _stopped(theta, r, omega0, bias):
    """The kernel of FINER's true gradient, and that of the stopped one: row, eigenvalues, both."""
    first = theta["params"]["first"]
    layer = {"first": first | {"bias": bias * first["bias"]}}
    theta = networks.tune(theta | {"params": theta["params"] | layer}, omega0=omega0)
    kinds = {"true": FINER, "published": published.StoppedFINER}
    width = len(first["bias"])
    kernels = {name: ntk.gram(make.sized(width, 2), theta, r) for name, make in kinds.items()}
    values = {name: jnp.linalg.eigvalsh(K)[::-1] for name, K in kernels.items()}
    return {
        "rows": {name: K[len(r) // 2] / K[len(r) // 2].max() for name, K in kernels.items()},
        "values": {name: jnp.maximum(v[:40], 1e-12 * v[0]) / v[0] for name, v in values.items()},
        "title": published.nearness(*kernels.values()),
    }


@named
def stopped_gradient(samples: int = 128, seed: int = 0) -> Explorer:
    """FINER's kernel, and the one that its public code computes: (|v| + 1) taken as a constant.

    Args:
      samples: on [−1, 1).
      seed: of the weights.
    """
    theta = networks.init(FINER.sized(64, 2), jax.random.key(seed), 1)
    r = signals.grid(samples, -1, 1)

    def compute(omega0, bias):
        frame = _stopped(theta, r, omega0, bias)
        return frame | {"title": tuple(frame["title"])}

    def draw(rows, values, title):
        fig, ((left, right),) = plots.figure(1, 2, width=10.5, height=3.4)
        colours = {"true": plots.COLOURS["FINER"], "published": _GREY}
        labels = {"xlabel": "coordinate r", "ylabel": "Θ(r, 0) / largest", "ylim": (-0.4, 1.1)}
        updates = {"rows": plots.curves(left, r[:, 0], rows, colours, **labels)}
        labels = {"xlabel": "index", "ylabel": "eigenvalue / largest", "yscale": "log"}
        updates["values"] = plots.curves(right, np.arange(40), values, colours, **labels)
        right.set(ylim=(1e-5, 2))
        right.legend(loc="upper right")
        words = "distance {:.2f}, cosine {:.3f}, first ten atoms shared {:.0%}"
        return fig, updates | {"title": plots.title(left, words, title, fontsize=10)}

    controls = {
        "omega0": knob(FINER, 3, 100, 30),
        "bias": slider("bias scale", "times", 0.1, 10, 1),
    }
    return Explorer(controls, compute, draw)


# --- Normalisation -------------------------------------------------------------------------------


_NORMS = {"none": _GREY, "layer": plots.COLOURS["SIREN"], "batch": plots.COLOURS["FFN"]}


@partial(jax.jit, static_argnums=(0, 1))
def _eigenvalues(family, norm, key, r, alpha):
    network = family.sized(64, 3, norm="" if norm == "none" else norm)
    setting = {FFN: {"sigma": 0.6}, SIREN: {"omega0": 6.0}}.get(family, {})  # for 12 pixels a side
    theta = published.scaled(networks.init(network, key, 2, **setting), alpha)
    if norm == "batch":  # the means and variances of these samples, differentiated as in training
        f = lambda params: network.apply({**theta, "params": params}, r, mutable=["fixed"])[0][:, 0]
        parts_of = jax.tree.leaves(jax.jacrev(f)(theta["params"]))
        J = jnp.concatenate([part.reshape(len(r), -1) for part in parts_of], axis=1)
        return jnp.linalg.eigvalsh(J @ J.T)[::-1] / len(r)
    return jnp.linalg.eigvalsh(ntk.gram(network, theta, r))[::-1] / len(r)


@named
def normalised(side: int = 12, seed: int = 0) -> Explorer:
    """What layer and batch normalisation make of a kernel's eigenvalues, as the weights grow.

    Batch normalisation is the one that training has: with the statistics of these samples, and
    their derivatives.

    Args:
      side: pixels a side, on [−1, 1).
      seed: of the weights, the same for all three.
    """
    r, key = signals.grid((side, side), -1, 1), jax.random.key(seed)
    families = {family.label: family for family in (MLP, FFN, SIREN)}

    def compute(alpha, family):
        kinds = {norm: np.asarray(_eigenvalues(families[family], norm, key, r, alpha))
                 for norm in _NORMS}  # fmt: skip
        shown = {norm: np.maximum(v[:40], 1e-9 * v[0]) / v.mean() for norm, v in kinds.items()}
        title = tuple(v[0] for v in shown.values())
        return {"eigenvalues": kinds, "values": shown, "title": title}

    def draw(values, title, **_):
        fig, ((ax,),) = plots.figure(1, 1, width=9, height=3.4)
        labels = {"xlabel": "index", "ylabel": "eigenvalue / mean", "yscale": "log"}
        update = plots.curves(ax, np.arange(40), values, _NORMS, **labels)
        ax.set(ylim=(1e-3, side**2))
        ax.legend(loc="upper right", title="normalisation")
        words = "largest / mean: {:.0f} without, {:.0f} with layer, {:.0f} with batch"
        return fig, {"values": update, "title": plots.title(ax, words, title)}

    controls = {
        "alpha": slider("weight scale α", "times", 0.2, 5, 1),
        "family": choice("family", families),
    }
    return Explorer(controls, compute, draw)


# --- TUNER: an amplitude from the weights alone --------------------------------------------------


@named
def bound(most: int = 12, seed: int = 0) -> Explorer:
    """TUNER's bound on the harmonics of one sine unit, and what they are by Eq. 7.

    The unit is sin(Σ_t W_t sin(Ω_t r)) with weights from U(−c, c), of which the first is c itself.
    Shown are the harmonics n Ω_0: |J_n(W_0)| Π_t |J_0(W_t)| against (|W_0|/2)ⁿ/n!.

    Args:
      most: the highest order n.
      seed: of the weights.
    """
    draw_of = np.random.default_rng(seed).uniform(-1, 1, 255)
    n = np.arange(most + 1)
    decibels = lambda amplitude: 20 * np.log10(np.maximum(amplitude, 1e-16))

    def compute(c, many):
        others = np.abs(jv(0, c * draw_of[: many - 1])).prod()
        exact = decibels(np.abs(jv(n, c)) * others)
        limit = decibels(np.exp(n * np.log(c / 2) - gammaln(n + 1)))
        return {"exact": exact, "bound": limit, "title": (limit[1] - exact[1], many)}

    def draw(exact, bound, title):
        fig, ((ax,),) = plots.figure(1, 1, width=9, height=3.4)
        limit = ax.plot(n, bound, "v--", color=_GREY, label="bound from the weights")[0]
        line = ax.plot(n, exact, "o-", color=plots.COLOURS["SIREN"], label="Eq. 7")[0]
        ax.set(xlabel="harmonic n of the first frequency", ylabel="amplitude (dB)")
        ax.set(ylim=(-200, 30), xticks=n)
        ax.grid(True)
        ax.legend(loc="lower left")
        return fig, {
            "exact": line.set_ydata,
            "bound": limit.set_ydata,
            "title": plots.title(
                ax, "n = 1: the bound is {:.1f} dB too high, {} frequencies", title
            ),
        }

    controls = {
        "c": slider("largest weight c", "rad", 0.01, 4, 1),
        "many": whole("frequencies", 1, 256, 64),
    }
    return Explorer(controls, compute, draw, stops=(0.1, 0.3, 1))


# --- Trained on half of a picture ---------------------------------------------------------------


@named
def grid_beside(picture: str = "camera", seed: int = 0) -> Explorer:
    """A SIREN of 1,009 numbers, and a grid of 1,024 with bilinear interpolation.

    Both see a random half of 64×64 pixels. The grid is solved exactly, at once; the network is
    trained. Each has one number to choose.

    Args:
      picture: one of `signals.PICTURES`, or a file.
      seed: of the weights and of the half.
    """
    size, network = 64, SIREN((21, 21), offset=0.5, mapping_width=21)
    pixels, r, g, seen, unseen = _half(picture, size, seed)
    theta = networks.init(network, jax.random.key(seed), 2)
    levels = lambda f: {"seen": psnr(f[seen], g[seen]), "unseen": psnr(f[unseen], g[unseen])}

    def look(theta):
        f = network.apply(theta, r)
        return {"picture": f.reshape(size, size, 1)} | levels(f)

    start, refine = parts.follow(
        network, theta, (r[seen], g[seen]), look, 2 / size, steps=300, learning_rate=3e-3
    )

    def compute(omega0, smooth):
        f = baselines.linear_grid(r[seen], g[seen], 32**2, smooth)(r)
        words = "grid of 32×32 numbers\n{seen:.1f} dB seen · {unseen:.1f} dB unseen"
        of_grid = {"grid": f.reshape(size, size), "levels": words.format(**levels(f))}
        return start(omega0=omega0) | of_grid

    def train(pace, omega0, smooth):
        return refine(pace, omega0=omega0)

    def draw(picture, grid, levels, state, scale, **_):
        fig, (axes,) = plots.figure(1, 3, width=10.5, height=3.7)
        plots.picture(axes[0], pixels, "the picture\nhalf of its pixels are seen")
        updates = {"grid": plots.picture(axes[1], grid), "picture": plots.picture(axes[2], picture)}
        updates["levels"] = plots.title(axes[1], "{}", levels)
        return fig, updates | {"state": plots.title(axes[2], "{}", state)}

    controls = {
        "omega0": knob(SIREN, 3, 100, 15),
        "smooth": slider("grid smoothness", "weight", 1e-4, 1, 0.03),
    }
    return Explorer(controls, compute, draw, train, (8, 15, 30))


@named
def weight_scale(picture: str = "camera", seed: int = 0, steps: int = 150) -> Explorer:
    """All weights but the last layer's times α: how fast training then is.

    The grey curve is α = 1 with Adam 3e-4.

    Args:
      picture: one of `signals.PICTURES`, or a file; a random half of 32×32 pixels is seen.
      seed: of the weights and of the half.
      steps: of Adam.
    """
    size, network = 32, SIREN.sized(64, 2, offset=0.5)
    pixels, r, g, seen, unseen = _half(picture, size, seed)
    theta = networks.init(network, jax.random.key(seed), 2)
    options = {"steps": steps}
    usual = fitting.fit(
        network, theta, r[seen], g[seen], learning_rate=3e-4, progress=False, **options
    ).psnr
    begin = jax.jit(published.scaled)

    def frame(step, theta, curve):
        f = fitting.evaluate(network, theta, r)
        levels = [psnr(f[half], g[half]) for half in (seen, unseen)]
        curve = np.append(curve, levels[0])
        curve = np.pad(curve, (0, steps + 1 - len(curve)), constant_values=np.nan)
        state = parts.state(step, steps, *levels)
        return {"picture": f.reshape(size, size), "curve": curve, "state": state}

    def compute(alpha, rate):
        return frame(0, begin(theta, alpha), np.zeros(0))

    def train(pace, alpha, rate):
        more = options | {"learning_rate": float(rate), "stretch": pace}
        start = begin(theta, alpha)
        for stage in fitting.training(network, start, r[seen], g[seen], **more):
            look = lambda stage=stage: frame(stage.step, stage.theta, stage.psnr)
            yield stage.step / steps, look

    def draw(picture, curve, state):
        fig, ((left, middle, right),) = plots.figure(
            1, 3, width=10.5, height=3.7, width_ratios=(1.7, 1.7, 3)
        )
        plots.picture(left, pixels, "the picture\nhalf of its pixels are seen")
        shown, x = plots.picture(middle, picture), np.arange(steps + 1)
        right.plot(x, usual, color=_GREY, label="α = 1, Adam 3e-4")
        line = right.plot(x, curve, color=plots.COLOURS["SIREN"], label="as set")[0]
        right.set(xlabel="step", ylabel="PSNR, seen pixels (dB)", ylim=(0, 80))
        right.grid(True)
        right.legend(loc="upper left")
        tell = plots.title(middle, "{}", state)
        return fig, {"picture": shown, "curve": line.set_ydata, "state": tell}

    controls = {
        "alpha": slider("weight scale α", "times", 0.5, 8, 2.5),
        "rate": choice("learning rate of Adam", ("1e-4", "3e-4", "1e-3"), "3e-4"),
    }
    return Explorer(controls, compute, draw, train, stops=(1, 2.5))
