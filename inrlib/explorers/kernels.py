"""Section 5: the kernel, its atoms, and what meta-learning makes of them.

>>> from inrlib import explorers
>>> explorers.kernel_regression().at(omega0=60).frame["level"].shape
(129,)
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inrlib import atoms, coarse, faces, networks, ntk, plots, signals, spectra
from inrlib.explorers import parts
from inrlib.fitting import decibels, descend, psnr
from inrlib.live import Explorer, choice, knob, named, whole
from inrlib.live.explorer import Frame
from inrlib.networks import FFN, SIREN
from inrlib.weights import Weights, shipped

_COUNT, _THRESHOLDS, _NODES = 24, jnp.logspace(-4, 0, 81), 1024


@named
def kernel_regression(seed: int = 0, frequency: int = 23, rate: int = 128) -> Explorer:
    """Section 5.1: a row of a SIREN's kernel, and what the kernel makes of a tone's samples.

    In float64 and without a ridge: at small ω0 the kernel's eigenvalue at the tone lies below
    float32's rounding, and the tone would seem out of reach.

    Args:
      seed: of the weights. They are never trained.
      frequency: of the tone, in Hz.
      rate: samples on [0, 1). The alias falls at rate − frequency.
    """
    network = SIREN(widths=(128,), mapping_width=128)
    with jax.enable_x64(True):
        theta = networks.init(network, jax.random.key(seed), dims=1, dtype=jnp.float64)
        r, finer = signals.grid(rate), signals.grid(2 * rate)
        g, target = signals.tone(frequency, r), signals.tone(frequency, finer)

    @jax.jit
    def look(omega0):
        tuned = networks.tune(theta, omega0=omega0)
        row = ntk.gram(network, tuned, finer, jnp.array([[0.5]]))[:, 0]
        f = ntk.regression(network, tuned, r, g, finer, ridge=0.0)
        return {"curve": row / row.max(), "level": spectra.level(f)}

    def compute(omega0):
        with jax.enable_x64(True):
            frame = jax.device_get(look(float(omega0)))
        return frame | {"scale": parts.scale(SIREN.knob, omega0, 1 / rate)}

    def draw(curve, level, scale):
        with jax.enable_x64(True):
            levels = {"target": np.asarray(spectra.level(target)), "SIREN": level}
        labels = {"xlabel": "coordinate r", "ylabel": "Θ(r, 0.5) / largest"}
        marks = (frequency, rate - frequency)
        fig, (left, right), updates = parts.beside(
            finer[:, 0], {"SIREN": curve}, levels, marks, **labels
        )
        left.set(ylim=(-0.4, 1.05), title="a row of the kernel")
        right.legend(loc="center right")
        return fig, updates | {"scale": plots.title(right, "kernel regression, {}", scale)}

    return Explorer({"omega0": knob(SIREN, 10, 400, 60)}, compute, draw, stops=(30, 60, 300))


def _faces(size: int, count: int = 8) -> tuple[np.ndarray, jax.Array, jax.Array]:
    """Faces that meta-learning has not seen: as pictures, as samples (N, 1) each, and centred."""
    pictures = faces.load(size=size).validation[:count]
    g = jnp.asarray(pictures.reshape(count, -1, 1), jnp.float32)
    return pictures, g, (g - g.mean(axis=1, keepdims=True))[..., 0].T


def _wall(pictures):
    """Ten atoms in a row, and below them the room for what else there is."""
    fig = plots.Figure(figsize=(10.5, 4.4))
    upper, lower = fig.subfigures(2, 1, height_ratios=(1.4, 3))
    return fig, lower, parts.atoms(upper.subplots(1, 10), pictures)


@partial(jax.jit, static_argnums=0)
def _dictionary(network, theta, previous, r, g, grid) -> Frame:
    """The leading atoms, their eigenvalues, and a signal's energy on all atoms.

    By the nodes of the grid, unless an atom is off by more than a hundredth of λ0: then by the
    whole kernel, as for learned weights, whose atoms are not smooth.
    """
    K = ntk.gram(network, theta, grid.r)
    smooth = coarse.product(K, grid)
    eigen = atoms.leading(smooth, len(r), _COUNT, previous=previous)

    def frame(apply, eigen):
        largest = jnp.nanmax(eigen.values)
        return eigen, atoms.energy_from_products(apply, g, _THRESHOLDS, largest)

    def exact():
        apply = partial(jnp.matmul, ntk.gram(network, theta, r))
        return frame(apply, atoms.leading(apply, len(r), _COUNT, previous=eigen))

    fits = (coarse.missed(network, theta, r, grid, eigen) < 0.01).all()
    by_nodes = lambda: frame(smooth, eigen)
    eigen, energy = by_nodes() if len(grid.r) == len(r) else lax.cond(fits, by_nodes, exact)
    side = round(len(r) ** 0.5)
    return {
        "eigen": eigen,
        "wall": eigen.functions[:, :10].T.reshape(10, side, side),
        # `align` may swap neighbours
        "values": jnp.sort(eigen.values)[::-1] / jnp.nanmax(eigen.values),
        "energy": energy,
    }


def _draw_dictionary(family, wall, values, energy, face, **_):
    """Ten atoms above; eigenvalues, energy and the face below."""
    fig, lower, shown = _wall(wall)
    left, middle, right = lower.subplots(1, 3, width_ratios=(3, 3, 1.6))
    labels = {"xlabel": "index", "ylabel": "eigenvalue / largest", "yscale": "log"}
    index = np.arange(_COUNT)
    decay = plots.curves(left, index, {family: values}, plots.COLOURS, **labels)
    left.set(ylim=(1e-4, 1.5))
    return fig, {
        "wall": shown,
        "values": lambda values: decay({family: values}),
        "energy": parts.energy(middle, _THRESHOLDS, family, energy),
        "face": plots.picture(right, face, "the face"),
    }


def _given_dictionary(weights: Weights, size: int) -> Explorer:
    """The atoms of a reader's own network, on [−1, 1)², where it was trained."""
    network, theta, slider = parts.given(weights)
    r, (pictures, _, centred) = signals.grid((size, size), -1, 1), _faces(size)
    grid = coarse.coarsen(r, (size, size), _NODES)

    def compute(face, previous, **settings):
        tuned = networks.tune(theta, **settings)
        before = parts.before(previous, size**2, _COUNT)
        frame = _dictionary(network, tuned, before, r, centred[:, [face - 1]], grid)
        return frame | {"face": pictures[face - 1]}

    controls = slider | {"face": choice("face", range(1, len(pictures) + 1))}
    return Explorer(controls, compute, partial(_draw_dictionary, network.label))


@named
def eigenfunctions(
    family: str = "SIREN", size: int = 64, weights: Weights | None = None
) -> Explorer:
    """Section 5.2: the atoms of a network, their eigenvalues, and the energy of a face on them.

    A switch goes from random to the meta-learned weights of Section 5.3, first seed; these have a
    width, a depth and a seed of their own, so that only ω0 or σ moves them.

    Args:
      family: "SIREN", with a slider for ω0, or "FFN", with a slider for σ.
      size: side of the grid in pixels, at least 8.
      weights: a network of your own with its numbers, as `imported.from_torch` reads it, in the
        place of these. Its grid is [−1, 1)².

    Raises:
      ValueError: another family, too small a grid, or weights of a network that makes no picture.
    """
    if size < 8:
        raise ValueError(f"eigenfunctions: size={size} is too small; take at least 8.")
    if weights is not None:
        return _given_dictionary(weights, size)
    siren = lambda width, depth: SIREN.sized(width, depth, zero_bias=True)
    ffn = lambda width, depth: FFN((width,) * depth, mapping_width=256)
    offers = {
        "SIREN": (siren, "maml_siren", knob(SIREN, high=150)),
        "FFN": (ffn, "maml_ffn", knob(FFN, value=1)),
    }
    make, stored, control = parts.choose(family, offers)
    learned_network, learned, _ = shipped(stored)
    learned = jax.tree.map(lambda leaf: leaf[0], learned)
    r, (pictures, _, centred) = signals.grid((size, size)), _faces(size)
    grid = coarse.coarsen(r, (size, size), _NODES)

    @partial(jax.jit, static_argnums=0)
    def drawn(network, seed):
        return networks.init(network, jax.random.key(seed), 2)

    def compute(width, depth, seed, face, weights, previous, **settings):
        network, theta = learned_network, learned
        if weights == "random":
            network = make(width, depth)
            theta = drawn(network, seed)
        theta = networks.tune(theta, **settings)
        before = parts.before(previous, size**2, _COUNT)
        frame = _dictionary(network, theta, before, r, centred[:, [face - 1]], grid)
        return frame | {"face": pictures[face - 1]}

    controls = {networks.families()[family].knob.name: control} | {
        "width": choice("width", (32, 64, 128, 256), 256),
        "depth": whole("depth", 1, 5, 3),
        "seed": whole("seed", 0, 99, 0),
        "face": choice("face", range(1, len(pictures) + 1)),
        "weights": choice("weights", ("random", "learned")),
    }
    return Explorer(controls, compute, partial(_draw_dictionary, family))


def _draw_learned(wall, energy, face, fit, steps, level, **_):
    """Ten atoms above; a face's energy, the face and its fit below."""
    fig, lower, shown = _wall(wall)
    left, middle, right = lower.subplots(1, 3, width_ratios=(2.4, 1.6, 1.6))
    return fig, {
        "wall": shown,
        "energy": parts.energy(left, _THRESHOLDS, "SIREN", energy),
        "face": plots.picture(middle, face, "an unseen face"),
        "fit": plots.picture(right, fit),
        "steps": plots.title(left, "after {} steps of meta-training", steps),
        "level": plots.title(right, "fit: {:.1f} dB on unseen pixels", level),
    }


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
    network, thetas, notes = shipped("maml_path")
    lengths = notes["steps"]
    r, (pictures, g, centred) = signals.grid((size, size)), _faces(size)
    order = np.random.default_rng(0).permutation(size**2)
    seen, unseen = order[: size**2 // 2], order[size**2 // 2 :]

    @lru_cache
    def dictionary(checkpoint):
        """The first atoms, and every face's energy on all of them; computed once."""
        eigen = atoms.eigenfunctions(ntk.gram(network, at(checkpoint), r))
        energy = [atoms.energy_concentration(eigen, one[:, None], _THRESHOLDS) for one in centred.T]
        return jax.tree.map(lambda leaf: leaf[..., :10], eigen), energy

    def at(checkpoint):
        return jax.tree.map(lambda leaf: leaf[checkpoint], thetas)

    @jax.jit
    def fitted(theta, g, steps):
        f = networks.function(network, theta)
        loss = lambda params: jnp.mean((f(params, r[seen]) - g[seen]) ** 2) / 2
        after = f(descend(loss, theta["params"], 1e-2, steps), r)
        return after.reshape(size, size), psnr(after[unseen], g[unseen])

    def compute(checkpoint, face, steps, previous):
        eigen, energies = dictionary(checkpoint)
        eigen = atoms.align(eigen, parts.before(previous, *eigen.functions.shape))
        fit, level = fitted(at(checkpoint), g[face - 1], steps)
        return {
            "eigen": eigen,
            "wall": eigen.functions.T.reshape(10, size, size),
            "energy": energies[face - 1],
            "face": pictures[face - 1],
            "fit": fit,
            "steps": lengths[checkpoint],
            "level": level,
        }

    controls = {
        "checkpoint": whole("meta-training", 0, len(lengths) - 1, len(lengths) - 1),
        "steps": whole("gradient steps", 0, most, 3),
        "face": choice("face", range(1, len(pictures) + 1)),
    }
    return Explorer(controls, compute, _draw_learned)


def _draw_swap(wall, values, levels, face, fit, title, **_):
    """Ten atoms above; eigenvalues, PSNR step by step, the face and its fit below."""
    fig, lower, shown = _wall(wall)
    left, middle, right, last = lower.subplots(1, 4, width_ratios=(2.4, 2.8, 1.6, 1.6))
    colours = {"random": "#999999", "MAML": plots.COLOURS["FFN"], "this": plots.COLOURS["SIREN"]}
    index, labels = np.arange(1, len(values) + 1), {"xlabel": "index", "yscale": "log"}
    decay = plots.curves(left, index, {"this": values}, colours, **labels)
    left.set(ylim=(1e-4, 1.5), xscale="log", title="eigenvalue / largest")
    steps = {"xlabel": "gradient steps", "ylim": (8, 38), "title": "PSNR, unseen pixels (dB)"}
    climb = plots.curves(middle, np.arange(len(levels["this"])), levels, colours, **steps)
    middle.legend(loc="lower right")
    return fig, {
        "wall": shown,
        "values": lambda values: decay({"this": values}),
        "levels": climb,
        "face": plots.picture(right, face, "an unseen face"),
        "fit": plots.picture(last, fit),
        "title": plots.title(last, "{} steps: {:.1f} dB", title),
    }


@named
def swap(size: int = 32, most: int = 30) -> Explorer:
    """Section 5.3: a kernel with the eigenvalues of one network on the atoms of another.

    The networks are an untrained SIREN and first seeds of the shipped weights. The face is one
    that meta-training has not seen. Gradient descent with the kernel held as it is (`atoms.taught`)
    sees half of its pixels and starts at grey. The first two curves keep what belongs together.

    Args:
      size: side of the grid in pixels.
      most: gradient steps that can be chosen.
    """
    network, learned, _ = shipped("maml_siren")
    first = lambda theta: jax.tree.map(lambda leaf: leaf[0], theta)
    thetas = {
        "random": networks.init(network, jax.random.key(0), 2),
        "MAML": first(learned),
        "Reptile": first(shipped("reptile_siren").theta),
        "MAML on noise": jax.tree.map(lambda leaf: leaf[0, -1], shipped("maml_noise").theta),
    }
    r, (pictures, g, _) = signals.grid((size, size)), _faces(size)
    kernels = {n: atoms.eigenfunctions(ntk.gram(network, t, r)) for n, t in thetas.items()}
    flat = kernels["random"]._replace(values=jnp.ones(size**2))
    order = np.random.default_rng(0).permutation(size**2)
    seen, unseen = order[: size**2 // 2], order[size**2 // 2 :]

    @jax.jit
    def path(eigen, g):
        f = atoms.taught(eigen, g, seen, most, 0.5)
        return f, decibels(jnp.mean((f - g)[:, unseen] ** 2, axis=(1, 2)))

    whole_ones = {n: [path(kernels[n], one)[1] for one in g] for n in ("random", "MAML")}

    def compute(steps, values, functions, face):
        eigen = atoms.swapped((kernels | {"all equal": flat})[values], kernels[functions])
        f, level = path(eigen, g[face - 1])
        return {
            "wall": eigen.functions[:, :10].T.reshape(10, size, size),
            "values": eigen.values.clip(1e-9) / eigen.values[0],
            "levels": {n: levels[face - 1] for n, levels in whole_ones.items()} | {"this": level},
            "face": pictures[face - 1],
            "fit": f[steps].reshape(size, size),
            "title": (steps, level[steps]),
        }

    controls = {
        "steps": whole("gradient steps", 0, most, 3),
        "values": choice("eigenvalues of", (*kernels, "all equal"), "MAML"),
        "functions": choice("atoms of", kernels, "random"),
        "face": choice("face", range(1, len(pictures) + 1)),
    }
    return Explorer(controls, compute, _draw_swap)
