"""Numbers on disk: the weights that come with the package, and the authors' own.

A file holds a network's numbers, what network that is, and what the file says about itself. It is
read as strictly as it is written: another part, another shape, another type is refused, and reading
never runs anything that stands in a file.

>>> network, theta, notes = shipped("maml_siren")
>>> network.widths, theta["params"]["readout"]["bias"].shape, notes["axes"]
((256, 256, 256), (3, 1), ['seed'])
"""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from inrlib import networks
from inrlib.faces import cache_folder
from inrlib.networks import INR, SIREN, Theta

__all__ = ["AUTHORS", "FOLDER", "Weights", "authors", "load", "read", "save", "shipped", "write"]


class Weights(NamedTuple):
    """Numbers read from a file.

    Attributes:
      network: what they belong to.
      theta: the numbers; every leaf may have leading axes (seeds, images, steps).
      notes: what the file says about itself: settings, data, seeds, commit, and the leading axes.
    """

    network: INR
    theta: Theta
    notes: dict[str, Any]


FOLDER = Path(__file__).parent / "shipped"
_COARSE = 64  # rows and columns from which a matrix is kept in 8 bits
_SCALE = ":scale"
_LATER = {"norm", "alpha"}  # a file without them is of version 0.1, and of their defaults


def save(path: str | Path, network: INR, theta: Theta, **notes: Any) -> None:
    """Writes numbers and what they are to a safetensors file.

    Matrices of many rows and columns are kept in 8 bits and one scale a column, W = s round(W/s)
    with s = max |W| / 127. Each unit adds up many products, so the rounding averages out: the tests
    measure what is left of it. All else, ω0 and what is complex too, is kept as it is. The file
    is written beside its place and then moved there, so an interrupt leaves the old one whole.

    Args:
      path: ends in .safetensors.
      network, theta: every leaf may have the same leading axes before the network's own shape.
      notes: anything that JSON holds, and arrays: settings, data, seeds, commit.

    Raises:
      ValueError: a network of another package, shapes that are not the network's, numbers that are
        not finite, or notes that JSON does not hold.
    """
    kind = type(network)
    if getattr(networks, kind.__name__, None) is not kind or not issubclass(kind, INR):
        raise ValueError(
            f"weights: {kind.__name__} is no family of inrlib.networks, so `load` could not make "
            "it again; keep its theta with flax.serialization."
        )
    if functions := [name for name in _fields(kind) if callable(getattr(network, name))]:
        raise ValueError(
            f"weights: {functions[0]} is a function, which a file does not hold; keep theta with "
            "flax.serialization and the function as code."
        )
    flat = flatten_dict(dict(theta), sep="/")
    tensors = {}
    for name, leaf in flat.items():
        leaf = _exact(name, leaf)
        if leaf.ndim >= 2 and min(leaf.shape[-2:]) >= _COARSE and np.isrealobj(leaf):
            scale = np.abs(leaf).max(axis=-2, keepdims=True) / 127
            tensors[name + _SCALE] = scale
            leaf = np.round(leaf / np.where(scale > 0, scale, 1)).astype(np.int8)
        tensors[name] = leaf
    _check_shapes(path, network, flat)
    header = {"family": kind.__name__} | {f: getattr(network, f) for f in _fields(kind)}
    write(Path(path), tensors, {"network": header, "notes": notes})


def _exact(name: str, leaf: Any) -> np.ndarray:
    leaf = np.asarray(leaf)
    if leaf.dtype not in (np.float32, np.float64, np.complex64):
        raise ValueError(f"weights: {name} is {leaf.dtype}; make it float32, float64 or complex64.")
    if not np.isfinite(leaf).all():
        raise ValueError(f"weights: NaN or infinity in {name}.")
    return leaf


def load(path: str | Path) -> Weights:
    """Reads what `save` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is damaged, of an unknown network, of other parts, shapes or types
        than that network's, or with numbers that are not finite.
    """
    tensors, header = read(Path(path))
    if set(header) != {"network", "notes"} or not isinstance(header["notes"], dict):
        raise ValueError(f"weights: {path} names no network of this package; make it with `save`.")
    network = _network(path, header["network"])
    flat = {}
    for name in [name for name in tensors if not name.endswith(_SCALE)]:
        leaf = tensors.pop(name)
        if leaf.dtype == np.int8:
            scale = tensors.pop(name + _SCALE, np.zeros(()))
            if scale.shape != (*leaf.shape[:-2], 1, *leaf.shape[-1:]) or leaf.ndim < 2:
                raise ValueError(f"weights: {path} has no fitting scale of {name}; fetch it anew.")
            leaf = leaf.astype(_exact(name, scale).dtype) * scale
        elif leaf.dtype == np.float16:  # as it was written up to version 0.1
            leaf = leaf.astype(np.float32)
        flat[name] = jnp.asarray(_exact(name, leaf))
    if tensors:
        raise ValueError(f"weights: {path} has {', '.join(tensors)} of nothing; fetch it anew.")
    _check_shapes(path, network, flat)
    theta = {"params": {}, "fixed": {}} | unflatten_dict(flat, sep="/")
    return Weights(network, theta, header["notes"])


def shipped(name: str) -> Weights:
    """The weights that come with the package; `make weights` makes them anew.

    Args:
      name: "maml_siren", "reptile_siren", "maml_ffn" (leading axis: seeds), "maml_noise" and
        "single_image" (seeds, lengths), or "maml_path" (steps of the first seed of "maml_siren").

    Raises:
      FileNotFoundError: another name, or weights that were not made.
    """
    return load(FOLDER / f"{name}.safetensors")


def _fields(family: type) -> dict[str, Any]:
    """A family's attributes and their defaults."""
    fields = dataclasses.fields(family)
    return {f.name: f.default for f in fields if f.name not in ("parent", "name")}


def _network(path, header) -> INR:
    """The network that a header names; nothing else can be named."""
    header = dict(header) if isinstance(header, dict) else {}
    family = getattr(networks, str(header.pop("family", None)), None)
    known = isinstance(family, type) and issubclass(family, INR) and family is not INR
    defaults = _fields(family) if known else {}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in header.items()}
    fits = set(defaults) - _LATER <= set(values) <= set(defaults) and all(
        type(v) is type(defaults[name]) or (type(v), type(defaults[name])) == (int, float)
        for name, v in values.items()
    )
    if not (known and fits):
        raise ValueError(f"weights: {path} names no network of this package; make it with `save`.")
    try:
        return family(**values)
    except Exception as error:
        raise ValueError(f"weights: {path} names an impossible network ({error}).") from error


def _check_shapes(path, network: INR, flat: Mapping[str, Any]) -> None:
    """Whether these are the network's numbers, for some number of coordinates."""
    found = {name: np.shape(leaf) for name, leaf in flat.items()}
    try:
        expected = _expected(network, found)
    except Exception as error:  # Flax does not look at the types of what a header says
        raise ValueError(f"weights: {path} names an impossible network ({error}).") from error
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


def _expected(network: INR, found: Mapping[str, tuple]) -> dict[str, tuple]:
    """The shapes of the network's numbers, for as many coordinates D as those found speak of."""

    def shapes(dims):
        theta = jax.eval_shape(lambda key: networks.init(network, key, dims), jax.random.key(0))
        return {name: leaf.shape for name, leaf in flatten_dict(dict(theta), sep="/").items()}

    for dims in (1, 2, 3):  # a table has D axes
        expected = shapes(dims)
        name, shape = next(iter(expected.items()))
        leading = found.get(name, ())
        leading = leading[: len(leading) - len(shape)]
        if {name: (*leading, *shape) for name, shape in expected.items()} == dict(found):
            return expected
    # An axis that depends on D does so in proportion.
    one, two = shapes(1), shapes(2)
    for name, shape in one.items():
        for axis in range(-len(shape), 0):
            if two[name][axis] != shape[axis] and len(found.get(name, ())) >= len(shape):
                return shapes(max(1, found[name][axis] // shape[axis]))
    return one


def write(path: Path, tensors: Mapping[str, Any], header: dict[str, Any]) -> None:
    """A safetensors file with a header; it is whole or not there."""
    try:
        text = json.dumps(header, default=lambda value: np.asarray(value).tolist())
    except (TypeError, ValueError) as error:
        raise ValueError(f"notes: {error}, in JSON; give text, numbers and arrays.") from error
    tensors = {name: np.asarray(leaf, order="C") for name, leaf in tensors.items()}
    content = safetensors.numpy.save(tensors, {"inrlib": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_name(f"{path.name}.{os.getpid()}")
    half_written.write_bytes(content)
    half_written.replace(path)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and the header of a file that `write` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: anything else than such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {path}; `make weights` makes them.")
    try:
        with safetensors.safe_open(path, "np") as file:
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

    Theirs is a pickle, which is a program: nothing in it is looked at before its hash is known to
    be that of the published file. Without a network the shipped weights (the first seed of
    "maml_siren") take its place, and a warning says so.

    Args:
      path: the pickle, if it is here already; None downloads it.
      cache: a folder for the download; None takes the user's cache directory.

    Raises:
      FileNotFoundError: no file at `path`.
      ValueError: a file of another hash; it is not read.
    """
    if path is None:
        import pooch  # only a download needs it

        try:
            name = AUTHORS["url"].rpartition("/")[2]
            path = pooch.retrieve(**AUTHORS, path=cache_folder(cache), fname=name)
        except OSError as error:
            warnings.warn(
                f"the authors' weights could not be fetched ({error}); these are the weights "
                "shipped with inrlib, learned on 80 faces.",
                stacklevel=2,
            )
            network, theta, notes = shipped("maml_siren")
            return Weights(network, jax.tree.map(lambda a: a[0], theta), notes)
    layers = _unpickle(Path(path))
    names = {"first": "", "hidden_0": "_1", "hidden_1": "_2", "hidden_2": "_3", "readout": "_4"}
    theirs = {name: layers[f"siren/siren_layer{suffix}/linear"] for name, suffix in names.items()}
    params = {
        name: {"kernel": jnp.asarray(layer["w"]), "bias": jnp.asarray(layer["b"])}
        for name, layer in theirs.items()
    }
    network = SIREN((256,) * 3, offset=0.5, zero_bias=True)
    notes = {"data": "CelebA, 5,000 images, 64×64", "settings": "MAML by the paper's authors"}
    return Weights(network, {"params": params, "fixed": {"omega0": jnp.float32(30)}}, notes)


class _Arrays(pickle.Unpickler):
    """Admits the names by which NumPy rebuilds an array, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")  # renamed by NumPy 2
        if f"{module}.{name}" not in {
            "numpy.ndarray", "numpy.dtype", "numpy._core.multiarray._reconstruct",
        }:  # fmt: skip
            raise pickle.UnpicklingError(f"{module}.{name} is refused.")
        return super().find_class(module, name)


def _unpickle(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"authors: there is no file {path}.")
    content = path.read_bytes()
    if "sha256:" + hashlib.sha256(content).hexdigest() != AUTHORS["known_hash"]:
        raise ValueError(
            f"authors: {path} is not the file that the authors published (another hash) and was "
            "not read; call authors() without a path to download it."
        )
    return _Arrays(io.BytesIO(content)).load()
