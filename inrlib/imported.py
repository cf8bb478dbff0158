"""Networks trained in PyTorch, read without PyTorch.

In PyTorch, write the numbers to a file that holds nothing but numbers:

    safetensors.torch.save_file(model.state_dict(), "mine.safetensors")

`from_torch` makes of it a network of this package with the same output: what takes a network takes
yours. A file says which layers there are, not what stands between them: you name the activation,
and ω0 where it is not the usual one.

Layers are tensors "….weight" (out, in) and "….bias" (out,), in the order of the one number that
differs among their names; a layer without a number is the last. That holds for

    net.net.0.0.weight, net.net.1.0.weight, …               modules.py of SIREN's repository
    net.0.linear.weight, …, net.3.linear.weight, net.4.weight    its notebook; FINER's, WIRE's
    layers.0.weight, …, last_layer.weight                   siren-pytorch
    0.weight, 2.weight, 4.weight, …                         nn.Sequential

Behind its first layer WIRE is complex: C64, or where safetensors is older than 0.6 pairs of real
numbers on a last axis, {name: torch.view_as_real(t) if t.is_complex() else t for …}. Half precision
becomes float32.

>>> import tempfile
>>> from safetensors.numpy import save
>>> state = {"0.weight": np.eye(3, 2), "0.bias": np.zeros(3)}
>>> state |= {"2.weight": np.ones((1, 3)), "2.bias": np.zeros(1)}
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder, "mine.safetensors")
...     _ = path.write_bytes(save(state))
...     network, theta, notes = from_torch(path, "relu")
>>> network.widths, network.apply(theta, jnp.ones((1, 2))).tolist(), notes["layers"]
((3,), [[2.0]], ['0', '2'])
"""

import re
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import safetensors

from inrlib import networks
from inrlib.networks import INR, Theta, tune
from inrlib.weights import Weights

__all__ = ["ACTIVATIONS", "from_torch"]

_PLAIN = {
    "elu": nn.elu,
    "gelu": partial(nn.gelu, approximate=False),
    "selu": nn.selu,
    "sigmoid": nn.sigmoid,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "tanh": jnp.tanh,
}
_USUAL = {"sine": 30.0, "finer": 30.0, "wire": None, "gaussian": None, "relu": None}
"""ω0 and ωh of those that have them; None where a file or the reader must say."""

ACTIVATIONS = (*_USUAL, *_PLAIN)
"""The names that `from_torch` knows."""

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8"}
_MOST_COORDINATES = 6
"""A ray has six; more numbers are an encoding."""


class _Linear(NamedTuple):
    """PyTorch's W (out, in) and b (out,), under their common name."""

    name: str
    W: np.ndarray
    b: np.ndarray

    def flax(self) -> dict[str, Any]:
        return {"kernel": jnp.asarray(self.W.T), "bias": jnp.asarray(self.b)}


def from_torch(
    path: str | Path,
    activation: str = "sine",
    *,
    omega0: float | None = None,
    hidden_omega0: float | None = None,
    s0: float | None = None,
    columns_first: bool = False,
    signed: bool = False,
) -> Weights:
    """A stack of linear layers with one activation between them, from a PyTorch state_dict.

        f(r) = Wᴸ ρ(… ρ(ω0 (W⁰ r + b⁰)) …) + bᴸ

    Coordinates mean what they meant in training: [−1, 1] in the repositories above. This package
    writes (row, column), so do SIREN's and FINER's; WIRE's writes (column, row).

    Args:
      path: a .safetensors file; its layouts stand at the head of this module.
      activation: one of `ACTIVATIONS`. "sine" makes a `SIREN`, "finer", "wire" and "gaussian" the
        families of that name, "relu" an `MLP`, all others an `OwnActivation`.
      omega0, hidden_omega0: of the first layer and of the others. None: 30 for "sine" and "finer",
        the file's for "wire", 1 for others.
      s0: of "wire" and "gaussian", exp(−(s0 v)²); None is the file's.
      columns_first: the network takes (column, row). W⁰ is turned, so that it takes (row, column).
      signed: it was trained on values in [−1, 1], as SIREN's and FINER's are; for pictures in
        [0, 1] the output is (f + 1)/2.

    Returns:
      The network, its numbers in float32, and notes: the names of the layers in order, and what was
      chosen.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no safetensors file; layers that are no such stack; numbers that are not finite or
        no floats; what the file does not say and you have to.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r} must be one of {', '.join(ACTIVATIONS)}.")
    tensors = _tensors(Path(path))
    said = _said(str(path), tensors) if activation == "wire" else {}
    given = {"omega0": omega0, "hidden_omega0": hidden_omega0, "s0": s0}
    said |= {name: float(value) for name, value in given.items() if value is not None}
    layers = _stack(str(path), _paired(tensors) if activation == "wire" else tensors)
    settings = _settings(str(path), activation, layers[-1].name, said)
    if columns_first:
        layers[0] = layers[0]._replace(W=layers[0].W[:, ::-1])
    if signed:
        last = layers[-1]
        layers[-1] = last._replace(W=last.W / 2, b=last.b / 2 + np.float32(0.5))
    network, theta = _network(str(path), activation, layers, **settings)
    chosen = {"activation": activation, "columns_first": columns_first, "signed": signed}
    names = [layer.name for layer in layers]
    return Weights(network, theta, {"layers": names} | chosen | settings)


def _settings(path: str, activation: str, last: str, said: dict[str, float]) -> dict[str, float]:
    """ω0, ωh and s0, as many of them as the activation has."""
    has = {"wire": ("omega0", "hidden_omega0", "s0"), "gaussian": ("s0",), "relu": ()}
    names = has.get(activation, ("omega0", "hidden_omega0"))
    if more := [name for name in said if name not in names]:
        raise ValueError(f"{more[0]}: the activation {activation!r} has none; leave it out.")
    usual = dict.fromkeys(names, _USUAL.get(activation, 1.0))
    if activation == "sine" and last.endswith("last_layer"):  # siren-pytorch
        usual["hidden_omega0"] = None
    settings = usual | said
    hints = {
        "omega0": "20 in WIRE's code",
        "hidden_omega0": "20 in WIRE's code; siren-pytorch's w0 was 30 first and is 1 now",
        "s0": "10 in WIRE's code, 30 in FINER's",
    }
    if missing := [name for name in names if settings[name] is None]:
        name = missing[0]
        raise ValueError(f"{path} does not hold {name}; give {name}=… ({hints[name]}).")
    return settings


def _network(
    path: str, activation: str, layers: list[_Linear], **settings: float
) -> tuple[INR, Theta]:
    """The family with these layers, and its numbers."""
    complex_ones = [layer.name for layer in layers if np.iscomplexobj(layer.W)]
    if complex_ones != ([layer.name for layer in layers[1:]] if activation == "wire" else []):
        raise ValueError(
            f"{path}: the complex layers are {', '.join(complex_ones) or 'none'}; of WIRE's code "
            "all but the first are, of any other none."
        )
    *before, last = layers
    widths, outputs = tuple(len(layer.b) for layer in before), len(last.b)
    if activation == "relu":
        params = {f"hidden_{i}": layer.flax() for i, layer in enumerate(before)}
        return networks.MLP(widths, outputs), {
            "params": params | {"readout": last.flax()}, "fixed": {}
        }  # fmt: skip
    if activation == "wire":  # Re(W z + b) = [Re W, Im W] [Re z, −Im z] + Re b
        last = last._replace(W=np.concatenate([last.W.real, last.W.imag], axis=1), b=last.b.real)
    params = {f"hidden_{i}": layer.flax() for i, layer in enumerate(before[1:])}
    params |= {"first": before[0].flax(), "readout": last.flax()}
    fixed = {name: jnp.float32(1) for name in settings if name != "hidden_omega0"}
    sizes = {"mapping_width": widths[0]}
    if "hidden_omega0" in settings:
        sizes["hidden_omega0"] = settings.pop("hidden_omega0")
    families = {"sine": "SIREN", "finer": "FINER", "wire": "WIRE", "gaussian": "Gaussian"}
    if activation in _PLAIN:
        network = networks.OwnActivation(widths[1:], outputs, **sizes, rho=_PLAIN[activation])
    else:
        network = getattr(networks, families[activation])(widths[1:], outputs, **sizes)
    return network, tune({"params": params, "fixed": fixed}, **settings)


def _said(path: str, tensors: dict[str, np.ndarray]) -> dict[str, float]:
    """ω0, ωh and s0 of WIRE's layers, "….omega_0" and "….scale_0", taken out of the tensors."""
    found = {"omega_0": {}, "scale_0": {}}
    for name in list(tensors):
        layer, _, kind = name.rpartition(".")
        if kind in found and tensors[name].size == 1:
            found[kind][layer] = float(tensors.pop(name).ravel()[0])
    order = lambda layer: [int(number) for number in re.findall(r"\d+", layer)]
    omegas = [found["omega_0"][layer] for layer in sorted(found["omega_0"], key=order)]
    scales = set(found["scale_0"].values())
    if len(set(omegas[1:])) > 1 or len(scales) > 1:
        raise ValueError(
            f"{path}: omega_0 or scale_0 were trained and differ from layer to layer; here all "
            "layers behind the first have one ωh, and all have one s0."
        )
    said = dict(zip(("omega0", "hidden_omega0"), omegas, strict=False))
    return said | ({"s0": scales.pop()} if scales else {})


def _paired(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pairs of real numbers on a last axis as complex numbers: what torch.view_as_real makes."""

    def whole(name, a):
        usual = 2 if name.endswith(".weight") else 1
        pairs = a.ndim == usual + 1 and a.shape[-1] == 2 and np.isrealobj(a)
        return a[..., 0] + np.complex64(1j) * a[..., 1] if pairs else a

    return {name: whole(name, a) for name, a in tensors.items()}


# --- The file ----------------------------------------------------------------------------------


def _tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, in float32 and complex64."""
    if not path.is_file():
        raise FileNotFoundError(f"from_torch: there is no file {path}.")
    content = path.read_bytes()
    if content[:1] == b"\x80" or content[:2] == b"PK":
        raise ValueError(
            f"{path} was written by torch.save: a pickle, which is a program and is not read here. "
            "In PyTorch: safetensors.torch.save_file(state_dict, 'mine.safetensors')."
        )
    try:
        entries = safetensors.deserialize(content)
    except Exception as error:  # the library raises its own kind
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); write it again."
        ) from error
    return {name: _numbers(path, name, **entry) for name, entry in entries}


def _numbers(
    path: Path, name: str, dtype: str, shape: list[int], data: bytes | bytearray
) -> np.ndarray:
    if dtype == "BF16":  # the upper half of a float32
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in _FLOATS:
        with np.errstate(over="ignore"):
            kind = np.complex64 if dtype == "C64" else np.float32
            values = np.frombuffer(data, _FLOATS[dtype]).astype(kind)
    else:
        raise ValueError(
            f"{path}: {name} is of type {dtype}; weights are floats: save them as float32."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: NaN or infinity in {name}; take an earlier checkpoint.")
    return values.reshape(shape)


def _stack(path: str, tensors: Mapping[str, np.ndarray]) -> list[_Linear]:
    """The layers in order; whatever is no stack of linear layers is refused."""
    parts = {name: name.rpartition(".") for name in tensors}
    if odd := [name for name, (_, _, kind) in parts.items() if kind not in ("weight", "bias")]:
        raise ValueError(
            f"{path} holds {', '.join(sorted(odd)[:3])}, which no stack of linear layers has; "
            "leave out what is no .weight or .bias, and remove weight_norm before saving."
        )
    names = _in_order(path, {layer for layer, _, kind in parts.values() if kind == "weight"})
    if alone := {layer for layer, *_ in parts.values()} - set(names):
        raise ValueError(f"{path}: {min(alone)} has a bias and no weight.")
    of = lambda name: name and name + "."
    layers = []
    for name in names:
        W, b = tensors[of(name) + "weight"], tensors.get(of(name) + "bias")
        if W.ndim != 2:
            raise ValueError(
                f"{path}: {of(name)}weight has shape {W.shape}; a linear layer has (out, in)."
            )
        if b is None:
            raise ValueError(
                f"{path}: {name} has no bias, and every layer here has one, which is trained; add "
                f"{of(name)}bias, zeros of shape ({len(W)},), to the state_dict."
            )
        layers.append(_Linear(name, W, b))
    _check_chain(path, layers)
    return layers


def _in_order(path: str, names: set[str]) -> list[str]:
    """Names by the one number that differs among them; one without numbers is the last."""
    numbers = {name: tuple(map(int, re.findall(r"\d+", name))) for name in names}
    bare = [name for name, found in numbers.items() if not found]
    counted = {name: found for name, found in numbers.items() if found}
    renamed = "rename the layers 0, 1, 2, … in their order."
    if len(names) < 2 or not counted:
        raise ValueError(f"{path} has {len(names)} layers with a number in their name; {renamed}")
    columns = list(zip(*counted.values(), strict=False))
    moving = [column for column in columns if len(set(column)) > 1]
    if len(bare) > 1 or len(set(map(len, counted.values()))) > 1 or len(moving) > 1:
        raise ValueError(f"{path}: the order of {', '.join(sorted(names))} is not clear; {renamed}")
    order = moving[0] if moving else columns[0]
    if len(set(order)) < len(order):
        raise ValueError(f"{path}: several layers have the same number; {renamed}")
    place = dict(zip(counted, order, strict=True))
    steps = set(np.diff(sorted(order)).tolist())
    blocks = bare or any(not re.search(r"\d$", name) for name in counted)
    if len(steps) > 1 or (blocks and steps - {1}) or min(order) > 1:
        raise ValueError(
            f"{path}: the layers are numbered {', '.join(map(str, sorted(order)))}, so one is "
            f"missing; save the whole state_dict, or {renamed}"
        )
    return [*sorted(counted, key=place.get), *bare]


def _check_chain(path: str, layers: list[_Linear]) -> None:
    """Whether each layer takes what the one before it makes."""
    shapes = [layer.W.shape for layer in layers]
    fits = lambda shapes: all(a[0] == b[1] for a, b in pairwise(shapes))
    if not fits(shapes):
        if fits([shape[::-1] for shape in shapes]):
            raise ValueError(
                f"{path}: the weights are stored as (in, out) and PyTorch's are (out, in); "
                "transpose every weight."
            )
        one, two = next((a, b) for a, b in pairwise(layers) if len(a.W) != b.W.shape[1])
        raise ValueError(
            f"{path}: {one.name} makes {len(one.W)} numbers and {two.name} takes "
            f"{two.W.shape[1]}; a layer is missing between them, or the order is another."
        )
    for name, W, b in layers:
        if b.shape != (len(W),):
            raise ValueError(f"{path}: {name} has a bias {b.shape} for a weight {W.shape}.")
    if shapes[0][1] > _MOST_COORDINATES:
        raise ValueError(
            f"{path}: {layers[0].name} takes {shapes[0][1]} numbers, which are no coordinates; a "
            "layer is missing before it, or an encoding that the file does not hold."
        )
