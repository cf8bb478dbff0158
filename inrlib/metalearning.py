"""Section 5.3: initial numbers that are learned from many images.

Training on an image starts somewhere, and the kernel of that place decides what is learned easily.
The place itself can be trained: θ is good if a few gradient steps from it fit any image of a set,

    MAML      min_θ E_g L(U_g(θ), g),      U_g = K steps θ ← θ − α ∇L(θ, g)
    Reptile   the outer gradient is θ − E_g U_g(θ)

with L(θ, g) = mean |f_θ(r) − g(r)|². MAML's gradient goes through the inner steps and so sees
second derivatives of f: through them it reshapes the kernel. With K = 0 it is ordinary training.

L is the mean square, as in the authors' code of the meta-learning; `fitting.fit` has half of it, as
theirs has where it fits images. A step of 1e-2 here is one of 2e-2 there.

The second half of the module keeps weights on disk: the ones shipped with the package, and the
authors' own. Reading a file never runs anything that stands in it.
"""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import pickle
import pickletools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from inrlib import networks
from inrlib.faces import cache_folder
from inrlib.fitting import Progress
from inrlib.networks import INR, SIREN, Theta

__all__ = [
    "AUTHORS",
    "Learned",
    "Weights",
    "authors",
    "load",
    "meta_learn",
    "outer_gradient",
    "pretrain",
    "save",
    "shipped",
]

Method = Literal["maml", "reptile"]


class Learned(NamedTuple):
    """What `meta_learn` returns.

    Attributes:
      theta: the learned numbers.
      psnr: (steps,) dB after the inner steps, in the mean over each step's images.
      snapshots: the numbers after the chosen steps, stacked on a leading axis, or None.
    """

    theta: Theta
    psnr: Float[np.ndarray, " steps"]
    snapshots: Theta | None


# --- The outer loop ----------------------------------------------------------------------------


def outer_gradient(
    network: INR,
    theta: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "B N C"],
    *,
    method: Method = "maml",
    inner_steps: int = 2,
    inner_rate: float | Array = 1e-2,
) -> tuple[Float[Array, ""], Any]:
    """The loss after the inner steps and the outer gradient, both in the mean over B images.

        maml:     ∇θ L(U_g(θ), g), through the inner steps (Finn et al. 2017)
        reptile:  θ − U_g(θ), no second derivative (Nichol et al. 2018)

    Args:
      network, theta: from `networks`; theta["fixed"] has no gradient.
      r, g: one grid, B images on it.
      inner_steps: K. With 0, maml is the ordinary gradient of L.
      inner_rate: α.

    Returns:
      L, and a pytree like theta["params"]. The function may be jitted.
    """

    def loss(params, g):
        f = network.apply({"params": params, "fixed": theta["fixed"]}, r)
        return jnp.mean((f - g) ** 2)

    def adapted(params, g):
        for _ in range(inner_steps):
            steepest = jax.grad(loss)(params, g)
            params = jax.tree.map(lambda p, d: p - inner_rate * d, params, steepest)
        return params

    def one(g):
        if method == "maml":
            return jax.value_and_grad(lambda params: loss(adapted(params, g), g))(theta["params"])
        after = adapted(theta["params"], g)
        return loss(after, g), jax.tree.map(jnp.subtract, theta["params"], after)

    # One image fills a processor, and its arrays stay in the cache; a GPU wants all at once.
    each = partial(jax.lax.map, one) if jax.default_backend() == "cpu" else jax.vmap(one)
    return jax.tree.map(lambda a: jnp.mean(a, axis=0), each(g))


class _Rule(NamedTuple):
    """What is static: a new one compiles a new program, a new number never does."""

    network: INR
    method: Method
    inner_steps: int
    batch: int


_CHUNK = 8  # the most steps between two reports, checkpoints and looks at the loss


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(rule: _Rule, state, arrays, key, start, stop):
    """Outer steps start … stop − 1 and their losses; both traced, so that any stretch is the same
    program. That makes a resumed run equal to an uninterrupted one to the last bit."""
    r, images, fixed, inner_rate, outer_rate = arrays

    def body(i, carry):
        params, opt_state, losses = carry
        g = images
        if rule.batch < len(images):
            pick = jax.random.permutation(jax.random.fold_in(key, i), len(images))[: rule.batch]
            g = images[pick]
        theta = {"params": params, "fixed": fixed}
        loss, gradient = outer_gradient(
            rule.network, theta, r, g, method=rule.method,
            inner_steps=rule.inner_steps, inner_rate=inner_rate,
        )  # fmt: skip
        updates, opt_state = optax.adam(outer_rate).update(gradient, opt_state, params)
        losses = losses.at[i - start].set(loss)
        return optax.apply_updates(params, updates), opt_state, losses

    losses = jnp.full(_CHUNK, jnp.nan, images.dtype)
    params, opt_state, losses = jax.lax.fori_loop(start, stop, body, (*state, losses))
    return (params, opt_state), losses


def meta_learn(
    network: INR,
    theta: Theta,
    r: Float[Array, "N D"],
    images: Float[Array, "M N C"],
    *,
    key: Array,
    method: Method = "maml",
    steps: int = 5000,
    inner_steps: int = 2,
    inner_rate: float = 1e-2,
    outer_rate: float = 1e-5,
    batch: int = 3,
    snapshots: Sequence[int] = (),
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int], None] = True,
) -> Learned:
    """Learns initial numbers for a set of images: MAML or Reptile with Adam outside.

    The defaults are the paper's. Judge the result by pixels that an adapted network has not seen:
    on a coarse grid or with a larger outer rate the kernel becomes the identity on the grid, which
    fits every training pixel and knows nothing about the others.

    Args:
      network, theta: from `networks`; theta["fixed"] is not touched.
      r, images: one grid and M images on it. float32 in, float32 throughout; float64 likewise.
      key: draws each step's images, without repetition; the draw depends on the step alone.
      method, inner_steps, inner_rate: as `outer_gradient`.
      steps, outer_rate: outer steps of Adam.
      batch: images a step.
      snapshots: steps after which the numbers are kept, each in 0 … steps.
      checkpoint: a file that is written every few steps. If it is there, the run goes on from it,
        and on the same machine ends with the same bits as if it had never stopped. `steps` may
        grow, with later `snapshots`.
      progress: a bar, or a function that is told the number of finished steps.

    Raises:
      ValueError: shapes that do not fit, NaN in the images, numbers out of range, or a checkpoint
        that is damaged or of another run; it is left as it is.
      FloatingPointError: the loss left the finite numbers; the step is named.
    """
    r, images = jnp.asarray(r), jnp.asarray(images)
    _check_task(r, images, network, steps, method, inner_steps, batch, snapshots)
    rule = _Rule(network, method, inner_steps, batch)
    dtype = images.dtype
    rates = (jnp.asarray(inner_rate, dtype), jnp.asarray(outer_rate, dtype))
    params = theta["params"]
    state = jax.tree.map(jnp.array, (params, optax.adam(rates[1]).init(params)))
    here, losses, kept = 0, np.zeros(0, dtype), {}
    stamp = _stamp(rule, key, (theta, r, images, rates))
    if checkpoint is not None and Path(checkpoint).exists():
        here, state, losses, kept = _resume(Path(checkpoint), stamp, state)
    if here > steps or any(stop < here and stop not in kept for stop in snapshots):
        raise ValueError(
            f"checkpoint: {checkpoint} is at step {here} already, too late for steps={steps} and "
            f"snapshots={list(snapshots)}; give another path."
        )
    arrays = (r, images, theta["fixed"], *rates)
    marks = {*range(0, steps, _CHUNK), steps, *snapshots}
    with Progress(progress, steps) as report:
        for stop in sorted(mark for mark in marks if mark >= here):
            state, chunk = _advance(rule, state, arrays, key, here, stop)
            losses = np.append(losses, np.asarray(chunk)[: stop - here])
            if not np.isfinite(losses[here:]).all():
                step = int(np.argmin(np.isfinite(losses)))
                raise FloatingPointError(
                    f"meta_learn: the loss is not finite at step {step}; lower inner_rate."
                )
            here = stop
            if stop in snapshots:
                kept[stop] = jax.tree.map(jnp.copy, state[0])
            if checkpoint is not None:
                _store(Path(checkpoint), stamp, here, state, losses, kept)
            report(here)
    fixed = theta["fixed"]
    stack = {"params": jax.tree.map(lambda *p: jnp.stack(p), *(kept[s] for s in snapshots)),
             "fixed": jax.tree.map(lambda a: jnp.stack([a] * len(snapshots)), fixed),
             } if snapshots else None  # fmt: skip
    theta = {"params": state[0], "fixed": fixed}
    return Learned(theta, -10 * np.log10(losses[:steps]), stack)


def pretrain(
    network: INR, theta: Theta, r: Float[Array, "N D"], g: Float[Array, "N C"], **options
) -> Learned:
    """Ordinary training on one image, the baseline of Appendix E.4: no inner steps, Adam 1e-4.

    Args:
      options: as `meta_learn`; `outer_rate` is the learning rate.
    """
    options = {"outer_rate": 1e-4, "key": jax.random.key(0)} | options
    return meta_learn(network, theta, r, jnp.asarray(g)[None], inner_steps=0, batch=1, **options)


def _check_task(r, images, network, steps, method, inner_steps, batch, snapshots) -> None:
    if r.ndim != 2 or images.ndim != 3 or images.shape[1] != len(r):
        raise ValueError(
            f"meta_learn: coordinates {r.shape} and images {images.shape} must be (N, D) and "
            "(M, N, C)."
        )
    if images.shape[-1] != network.outputs:
        raise ValueError(
            f"images: {images.shape[-1]} channels for a network with outputs={network.outputs}."
        )
    if not (jnp.isfinite(r).all() and jnp.isfinite(images).all()):
        raise ValueError("images: the samples contain NaN or infinity; replace them first.")
    if method not in ("maml", "reptile"):
        raise ValueError(f"method={method!r} must be 'maml' or 'reptile'.")
    if steps < 1 or inner_steps < 0:
        raise ValueError(f"steps={steps} and inner_steps={inner_steps} must be at least 1 and 0.")
    if not 1 <= batch <= len(images):
        raise ValueError(f"batch={batch} must lie between 1 and the {len(images)} images.")
    if any(not 0 <= stop <= steps for stop in snapshots):
        raise ValueError(f"snapshots={list(snapshots)} must lie between 0 and steps={steps}.")


# --- Interrupted and resumed -------------------------------------------------------------------


def _stamp(rule: _Rule, key, arrays) -> str:
    """A fingerprint of all that the run depends on, its length excepted."""
    leaves = [jax.random.key_data(key), *jax.tree.leaves(arrays)]
    digest = hashlib.sha256(repr((rule, jax.tree.structure(arrays))).encode())
    for leaf in leaves:
        digest.update(f"{leaf.dtype}{leaf.shape}".encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _store(path: Path, stamp: str, step: int, state, losses, kept) -> None:
    tensors = {f"state/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
    for stop, params in kept.items():
        tensors |= {f"kept/{stop}/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(params))}
    _write(path, tensors | {"losses": losses}, {"stamp": stamp, "step": step})


def _resume(path: Path, stamp: str, state):
    tensors, header = _read(path)
    if header.get("stamp") != stamp:
        raise ValueError(
            f"checkpoint: {path} is of another run (network, images, key or rates differ); give "
            "another path or remove the file."
        )

    def tree(like, prefix):
        leaves, structure = jax.tree.flatten(like)
        leaves = [jnp.asarray(tensors[f"{prefix}/{i}"]) for i in range(len(leaves))]
        return jax.tree.unflatten(structure, leaves)

    stops = {int(name.split("/")[1]) for name in tensors if name.startswith("kept")}
    kept = {stop: tree(state[0], f"kept/{stop}") for stop in stops}
    return int(header["step"]), tree(state, "state"), tensors["losses"], kept


# --- Weights on disk ---------------------------------------------------------------------------


class Weights(NamedTuple):
    """Numbers read from a file.

    Attributes:
      network: what they belong to.
      theta: the numbers, float32; every leaf may have leading axes (seeds, images, steps).
      notes: what the file says about itself: settings, data, seeds, commit, and the leading axes.
    """

    network: INR
    theta: Theta
    notes: dict[str, Any]


FOLDER = Path(__file__).parent / "weights"
_COARSE = 64  # rows from which a matrix is kept in 8 bits


def save(path: str | Path, network: INR, theta: Theta, **notes: Any) -> None:
    """Writes numbers and what they are to a safetensors file.

    Matrices of many rows are kept in 8 bits and one scale a column, W = s round(W/s) with
    s = max |W| / 127; all else in float16. Each unit adds up many products, so the rounding
    averages out: the tests measure what is left of it. The file is written beside its place and
    then moved there, so an interrupt leaves the old one whole.

    Args:
      path: ends in .safetensors.
      network, theta: every leaf may have the same leading axes before the network's own shape.
      notes: anything that JSON holds: settings, data, seeds, commit.

    Raises:
      ValueError: shapes that are not the network's, or numbers that are not finite.
    """
    _check_theta(str(path), network, theta)
    tensors = {}
    for name, leaf in flatten_dict(dict(theta), sep="/").items():
        leaf = np.asarray(leaf, np.float32)
        if leaf.ndim >= 2 and min(leaf.shape[-2:]) >= _COARSE:
            scale = np.abs(leaf).max(axis=-2, keepdims=True) / 127
            tensors[f"{name}:scale"] = scale
            leaf = np.round(leaf / np.where(scale > 0, scale, 1)).astype(np.int8)
        else:
            with np.errstate(over="ignore"):
                leaf = leaf.astype(np.float16)
        if not np.isfinite(leaf).all():
            raise ValueError(f"weights: {name} has NaN, infinity, or numbers beyond float16.")
        tensors[name] = leaf
    kind = {"family": type(network).__name__} | {
        field.name: getattr(network, field.name) for field in _fields(type(network))
    }
    _write(Path(path), tensors, {"network": kind, "notes": notes})


def load(path: str | Path) -> Weights:
    """Reads what `save` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is damaged, of an unknown network, of other shapes than that
        network's, or with numbers that are not finite.
    """
    tensors, header = _read(Path(path))
    network = _network(path, header.get("network"))
    flat = {}
    for name, leaf in tensors.items():
        if not name.endswith(":scale"):
            scale = tensors.get(f"{name}:scale", np.float32(1))
            flat[name] = jnp.asarray(leaf.astype(np.float32) * scale)
    theta = {"params": {}, "fixed": {}} | unflatten_dict(flat, sep="/")
    _check_theta(str(path), network, theta)
    return Weights(network, theta, dict(header.get("notes", {})))


def shipped(name: str) -> Weights:
    """The weights that come with the package; `make weights` makes them anew.

    Args:
      name: "maml_siren", "reptile_siren", "maml_ffn" (leading axis: seeds), "single_image" (images,
        lengths), or "maml_path" (steps along the first seed of "maml_siren").

    Raises:
      FileNotFoundError: another name, or weights that were not made.
    """
    return load(FOLDER / f"{name}.safetensors")


def _fields(family: type) -> list[dataclasses.Field]:
    return [f for f in dataclasses.fields(family) if f.name not in ("parent", "name")]


def _network(path, header) -> INR:
    """The network that a header names; nothing else can be named."""
    header = dict(header or {})
    family = getattr(networks, str(header.pop("family", None)), None)
    known = isinstance(family, type) and issubclass(family, INR) and family is not INR
    defaults = {f.name: f.default for f in _fields(family)} if known else {}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in header.items()}
    fits = set(values) == set(defaults) and all(
        isinstance(v, type(defaults[name])) or type(v) is int for name, v in values.items()
    )
    if not (known and fits):
        raise ValueError(f"weights: {path} names no network of this package; make it with `save`.")
    return family(**values)


def _check_theta(path: str, network: INR, theta: Theta) -> None:
    draw = partial(networks.init, network, dims=2)
    try:
        expected = jax.eval_shape(draw, jax.random.key(0))
    except Exception as error:  # Flax does not look at the types of what a header says
        raise ValueError(f"weights: {path} names an impossible network ({error}).") from error
    expected = {n: leaf.shape for n, leaf in flatten_dict(dict(expected), sep="/").items()}
    found = {n: np.shape(leaf) for n, leaf in flatten_dict(dict(theta), sep="/").items()}
    if set(found) != set(expected):
        odd = ", ".join(sorted(set(found) ^ set(expected)))
        raise ValueError(f"weights: {path} does not fit {type(network).__name__}: {odd}.")
    leading = {found[n][: len(found[n]) - len(shape)] for n, shape in expected.items()}
    for name, shape in expected.items():
        if found[name][len(found[name]) - len(shape) :] != shape or len(leading) > 1:
            raise ValueError(
                f"weights: {path} has {name} of shape {found[name]}; the network needs {shape}, "
                "behind the same leading axes for all."
            )
    for name, leaf in flatten_dict(dict(theta), sep="/").items():
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(f"weights: {path} has NaN or infinity in {name}.")


def _library(name: str, task: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ImportError(f"{task} needs {package}: pip install {package}.") from error


def _write(path: Path, tensors: Mapping[str, Any], header: dict[str, Any]) -> None:
    tensors = {name: np.asarray(leaf, order="C") for name, leaf in tensors.items()}
    library = _library("safetensors.numpy", "writing weights")
    content = library.save(tensors, {"inrlib": json.dumps(header)})
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_name(f"{path.name}.{os.getpid()}")
    half_written.write_bytes(content)
    half_written.replace(path)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {path}; `make weights` makes them.")
    library = _library("safetensors", "reading weights")
    try:
        with library.safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(json.loads(file.metadata()["inrlib"]))
    except Exception as error:  # the library raises its own kinds, and some of NumPy's
        raise ValueError(
            f"weights: {path} is damaged or no such file of this package ({error}); remove it, "
            "or fetch it anew."
        ) from error


# --- The authors' weights ----------------------------------------------------------------------

AUTHORS = {
    "url": "https://raw.githubusercontent.com/gortizji/inr_dictionaries/"
    "0af2c3d16d829138bdd42db943538e364467e17a/maml_celebA_5000.pickle",
    "known_hash": "sha256:534bb5d11bad5a4e9ba718d69d03d8d34bc5503a5d446f1e8885a1a3f7446764",
}
"""Where the authors published their weights (5,000 faces of CelebA, MAML), and their hash."""


def authors(path: str | Path | None = None, cache: str | Path | None = None) -> Weights:
    """The authors' meta-learned SIREN, from a file or from their repository.

    The download is kept in a cache and its hash is checked. Without a network the shipped weights
    (the first seed of "maml_siren") take its place, and a warning says so.

    Args:
      path: the pickle, if it is here already; None downloads it.
      cache: a folder; None takes the user's cache directory.

    Raises:
      FileNotFoundError: no file at `path`.
      ValueError: a file that is not theirs: another hash after the download, anything in it but
        arrays in plain containers, or other layers.
    """
    if path is None:
        try:
            path = _download(cache)
        except OSError as error:
            warnings.warn(
                f"the authors' weights could not be fetched ({error}); these are the weights "
                "shipped with inrlib, learned on 80 faces.",
                stacklevel=2,
            )
            network, theta, notes = shipped("maml_siren")
            return Weights(network, jax.tree.map(lambda a: a[0], theta), notes)
    content = _unpickle(Path(path))
    network = SIREN((256,) * 3, offset=0.5, zero_bias=True)
    layers = ["first", "hidden_0", "hidden_1", "hidden_2", "readout"]
    params = {}
    for i, name in enumerate(layers):
        layer = content.get(f"siren/siren_layer{f'_{i}' if i else ''}/linear")
        if not (isinstance(layer, dict) and set(layer) == {"w", "b"} and len(content) == 5):
            raise ValueError(f"authors: {path} holds other layers than their SIREN's five.")
        params[name] = {"kernel": jnp.asarray(layer["w"]), "bias": jnp.asarray(layer["b"])}
    theta = {"params": params, "fixed": {"omega0": jnp.float32(30)}}
    _check_theta(str(path), network, theta)
    notes = {"data": "CelebA, 5,000 images, 64×64", "settings": "MAML by the paper's authors"}
    return Weights(network, theta, notes)


def _download(cache: str | Path | None) -> Path:
    pooch = _library("pooch", "the download")
    name = "maml_celebA_5000.pickle"
    return Path(pooch.retrieve(**AUTHORS, path=cache_folder(cache), fname=name))


class _Dtype:
    """Stands in for numpy.dtype while a pickle is read."""

    def __init__(self, kind: str, *_):
        self.kind, self.order = kind, "<"

    def __setstate__(self, state):
        self.order = state[1]


class _Array:
    """Stands in for numpy.ndarray: takes the bytes as they are, and numbers only."""

    def __setstate__(self, state):
        _, self.shape, dtype, self.fortran, self.raw = state
        self.dtype = f"{dtype.order}{dtype.kind}"

    def read(self) -> np.ndarray:
        if self.dtype not in ("<f4", "<f8", ">f4", ">f8"):
            raise pickle.UnpicklingError(f"an array of {self.dtype!r}")
        flat = np.frombuffer(self.raw, self.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C").astype(np.float32)


def _from_buffer(raw, dtype, shape, order) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", raw))
    return array


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the encoding {encoding!r}")
    return text.encode("latin1")


_ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
}
for _core in ("numpy.core", "numpy._core"):  # the name changed with NumPy 2
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = lambda *_: _Array()
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    """Containers, numbers, and arrays that are rebuilt here from their bytes.

    A pickle is a program: it names functions and calls them. Here every name that it can reach is
    one of a few stand-ins that only keep what they are given. Any other is refused when it is
    named, which is before it could be called.
    """

    def find_class(self, module: str, name: str):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


_LARGEST_PICKLE = 2**26


def _unpickle(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"authors: there is no file {path}.")
    try:
        if path.stat().st_size > _LARGEST_PICKLE:
            raise pickle.UnpicklingError("it is larger than 64 MiB")
        program = path.read_bytes()
        for opcode, argument, _ in pickletools.genops(program):
            if "PUT" in opcode.name and int(argument) > len(program):  # would fill the memory
                raise pickle.UnpicklingError("it numbers its parts beyond its length")
        return dict(_arrays(_Unpickler(io.BytesIO(program)).load()))
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(
            f"authors: {path} is refused: {error}. Only arrays in plain containers are read, and "
            "nothing in the file was run."
        ) from error


def _arrays(content):
    """The same containers with the stand-ins turned into arrays."""
    if isinstance(content, _Array):
        return content.read()
    if isinstance(content, dict):
        return {name: _arrays(part) for name, part in content.items()}
    if isinstance(content, (list, tuple)):
        return [_arrays(part) for part in content]
    raise pickle.UnpicklingError(f"a {type(content).__name__}")
