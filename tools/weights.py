"""Makes the weights that the package ships: `make weights`, or `python tools/weights.py`.

The training faces are those that scikit-image carries, 80 of them at 48×48; as a control one start
is learned from as many pictures of noise. It says beforehand how long it will take, shows progress,
and goes on where it was interrupted: its checkpoints are in build/weights. `--small` does the same
in seconds, to try it out.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from inrlib import faces, metalearning, networks, signals, weights

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)  # of the first numbers and the batches; of single_image also the image
PATH = (0, 10, 20, 40, 70, 110, 160, 220, 290, 380, 500, 1000)
SNAPSHOTS = {
    "maml_siren": PATH,
    "reptile_siren": (2500,),
    "maml_ffn": (1000,),
    "maml_noise": (110, 1000),
    "single_image": (50, 250, 1000),
}
"""name → the steps after which the numbers are kept, the last of them the length of the run."""


OUTER_RATES = {"maml_ffn": 1e-4}
"""Ten times the paper's, for a fifth of its steps; ReLU layers start with larger weights."""


def _side(small: bool) -> int:
    return 12 if small else 48


def images_of(name: str, seed: int, small: bool) -> np.ndarray:
    """What is learned from: faces, or for the control noise of their number, (M, side, side)."""
    images = faces.load(size=_side(small)).training
    if name == "maml_noise":
        return np.clip(np.random.default_rng(seed).normal(0.5, 0.2, images.shape), 0, 1)
    return images


def runner(name: str, seed: int, small: bool):
    """The network, and a function of `steps`, `snapshots`, `checkpoint` that trains it."""
    side, width = _side(small), 64 if small else 256
    images = images_of(name, seed, small)
    r = signals.grid((side, side))
    g = jnp.asarray(images.reshape(len(images), -1, 1), jnp.float32)
    if name == "maml_ffn":
        network, setting = networks.FFN((width,) * 3, mapping_width=width, offset=0.5), {"sigma": 1}
    else:
        network, setting = (
            networks.SIREN((width,) * 3, mapping_width=width, offset=0.5, zero_bias=True),
            {"omega0": 30},
        )
    key = jax.random.key(seed)
    theta = networks.init(network, key, 2, **setting)

    def train(**options):
        if name == "single_image":
            return metalearning.pretrain(network, theta, r, g[seed], **options)
        method = name.split("_")[0]
        options = {"outer_rate": OUTER_RATES.get(name, 1e-5), "key": key} | options
        return metalearning.meta_learn(network, theta, r, g, method=method, **options)

    return network, train


def estimate(small: bool) -> float:
    """Seconds for everything: a few steps of each kind, timed once they are compiled."""
    total = 0.0
    for name, steps in SNAPSHOTS.items():
        _, train = runner(name, SEEDS[0], small)
        train(steps=1, progress=False)
        start = perf_counter()
        train(steps=4, progress=False)
        total += len(SEEDS) * steps[-1] * (perf_counter() - start) / 4
    return total / 100 if small else total


def commit() -> str:
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def make(folder: Path, checkpoints: Path, small: bool) -> None:
    """Trains what is missing and writes one file for each of `SNAPSHOTS`, and the path."""
    made_from = commit()  # asked now: the first file that is written makes the tree dirty
    for name, steps in SNAPSHOTS.items():
        steps = sorted({-(-step // 100) for step in steps}) if small else list(steps)
        results = []
        for seed in SEEDS:
            network, train = runner(name, seed, small)
            print(f"{name}, seed {seed}: {steps[-1]} steps", flush=True)
            checkpoint = checkpoints / f"{name}-{seed}.safetensors"
            results.append(train(steps=steps[-1], snapshots=steps, checkpoint=checkpoint))
        notes = {
            "settings": "the defaults of inrlib.metalearning"
            + (f", outer_rate={OUTER_RATES[name]:g}" if name in OUTER_RATES else ""),
            "data": f"faces.load(size={_side(small)}).training"
            if name != "maml_noise"
            else f"N(0.5, 0.2²) in [0, 1], 80 pictures of {_side(small)}×{_side(small)}",
            "seed": SEEDS,
            "commit": made_from,
        }
        stack = lambda thetas: jax.tree.map(lambda *a: jnp.stack(a), *thetas)
        kept = stack([result.snapshots for result in results])
        if name in ("maml_noise", "single_image"):  # of these every length is kept
            notes |= {"axes": ["seed", "steps"], "steps": steps}
        else:
            kept, path = jax.tree.map(lambda a: a[:, -1], kept), jax.tree.map(lambda a: a[0], kept)
            notes |= {"axes": ["seed"], "steps": steps[-1:]}
            if len(steps) > 1:
                along = notes | {"axes": ["steps"], "steps": steps, "seed": SEEDS[:1]}
                weights.save(folder / "maml_path.safetensors", network, path, **along)
        weights.save(folder / f"{name}.safetensors", network, kept, **notes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--small", action="store_true", help="a hundredth of the steps, narrow networks"
    )
    parser.add_argument("--folder", type=Path, default=weights.FOLDER, help="where to write")
    options = parser.parse_args(arguments)
    if options.small and options.folder == weights.FOLDER:
        parser.error("--small would overwrite the package's weights; give a --folder")
    minutes = estimate(options.small) / 60
    print(f"This will take about {minutes:.1f} minutes on this machine.", flush=True)
    checkpoints = (options.folder if options.small else ROOT / "build" / "weights") / "checkpoints"
    make(options.folder, checkpoints, options.small)
    size = sum(file.stat().st_size for file in options.folder.glob("*.safetensors"))
    print(f"{size / 1e6:.1f} MB in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
