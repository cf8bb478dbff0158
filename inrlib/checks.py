"""What a reader brings to training: numbers, samples, a network, and whether the memory holds them.

What can be taken is brought into one type; what cannot is refused in one sentence with the remedy.

>>> r, g = pair("fit", [[0.0], [0.5]], [[True], [False]], jnp.float32)
>>> r.shape, g.ravel().tolist()
((2, 1), [1.0, 0.0])
"""

import ctypes
import gc
import math
import os
import sys
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from inrlib.inr import Theta

__all__ = [
    "apply", "check_activations", "check_memory", "check_module", "check_network", "check_rho",
    "check_sets", "free_memory", "members_of", "numbers", "pair", "precision", "release", "whole",
]  # fmt: skip


@partial(jax.jit, static_argnums=0)
def apply(network: nn.Module, theta: Theta, r: Array) -> Any:
    """f_θ(r), compiled once per architecture and grid."""
    return network.apply(theta, r)


def precision(theta: Theta) -> Any:
    """float64 if any of the numbers is, else float32: what samples and rates are taken in."""
    types = {jnp.asarray(leaf).dtype.name for leaf in jax.tree.leaves(theta)}
    return jnp.float64 if types & {"float64", "complex128"} else jnp.float32


def numbers(name: str, array: Any, dtype: Any) -> Array:
    """Real numbers of any kind in one type."""
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer, np.bool_)):
        raise ValueError(
            f"{name}: {array.dtype} is no real number; give floats (of complex values the real and "
            "the imaginary part as two channels)."
        )
    return jnp.asarray(array.astype(dtype))


Whole = int | float | np.integer
"""A whole number, also where it is written 1e3."""


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, also where it is written 1e3."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or not value >= least:
        raise ValueError(f"{name}={value} must be at least {least}.")
    if not np.isfinite(value) or value != int(value):
        raise ValueError(f"{name}={value} must be a whole number.")
    return int(value)


def pair(name: str, r: Any, g: Any, dtype: Any) -> tuple[Array, Array]:
    """Coordinates and values in one type, finite and of shapes that fit."""
    r, g = numbers(f"{name}: r", r, dtype), numbers(f"{name}: g", g, dtype)
    if r.ndim != 2 or g.ndim not in (2, 3) or r.shape[0] != g.shape[-2]:
        raise ValueError(
            f"{name}: coordinates {r.shape} and values {g.shape} must be (N, D) and (N, C)."
        )
    if not len(r):
        raise ValueError(f"{name}: there are no samples; give at least one.")
    known = [array for array in (r, g) if not isinstance(array, jax.core.Tracer)]
    if not all(np.isfinite(np.asarray(array)).all() for array in known):
        raise ValueError(f"{name}: the samples contain NaN or infinity; replace them first.")
    return r, g


def check_module(network: Any) -> None:
    kind = type(network).__name__
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"network: {kind} is no Flax Linen module; an NNX class goes in as "
            "flax.nnx.bridge.to_linen(Class, …)."
        )
    try:
        hash(network)
    except TypeError as error:
        raise ValueError(
            f"network: an attribute of {kind} is a list, a dict or an array, which has no hash; "
            "use tuples such as widths=(64, 64), and keep arrays in theta."
        ) from error


def check_network(network: Any, theta: Theta, r: Array, many: bool = False) -> int:
    """The channels that the network gives at r; what is no network to train is refused."""
    check_module(network)
    spec = lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf)[int(many) :], leaf.dtype)
    kind = type(network).__name__
    try:
        f = apply.eval_shape(network, jax.tree.map(spec, theta), r)
    except Exception as error:  # a module may raise anything
        first = str(error).splitlines()[0]
        raise ValueError(
            f"network: {kind} does not take these numbers at r of shape {r.shape}: {first}"
        ) from error
    if not isinstance(f, jax.ShapeDtypeStruct) or f.ndim != 2 or len(f) != len(r):
        raise ValueError(
            f"network: {kind} makes {jax.tree.map(jnp.shape, f)} of r {r.shape}; wrap it in a "
            "module that gives one array (N, C)."
        )
    if not jnp.issubdtype(f.dtype, np.floating):
        raise ValueError(
            f"network: {kind} gives {f.dtype}; let it give real numbers, such as the real and the "
            "imaginary part as two channels."
        )
    return f.shape[1]


def check_rho(rho: Any) -> None:
    """Whether a network can have this activation: a function of one array, tried on [−10, 10].

    Raises:
      ValueError: no function; one that JAX cannot trace or differentiate; one that gives another
        shape, no real numbers, NaN or infinity, a constant, other values at each call, or that does
        not treat every number by itself.
    """
    if not callable(rho):
        raise ValueError(
            f"rho is of type {type(rho).__name__}; give a function of an array, such as "
            "lambda v: jnp.exp(-(v**2))."
        )
    v = jnp.asarray(np.random.default_rng(0).permutation(np.linspace(-10, 10, 41)), jnp.float32)
    alone = lambda x: rho(x[None])[0]
    try:
        made = jax.eval_shape(lambda v: rho(v), v)  # each lambda is traced anew
        _check_values(made, v)
        once, again = (np.asarray(jax.jit(lambda v: rho(v))(v)) for _ in range(2))
        each, slope = jax.jit(jax.vmap(jax.value_and_grad(alone)))(v)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a reader's function may raise anything
        if _needs_numbers(rho):
            raise ValueError(
                "rho cannot be traced by JAX: write jnp.… in the place of np.… or math.…, and "
                "jnp.where in the place of if."
            ) from error
        first = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"rho fails, or its derivative does, on an array of {len(v)} numbers: "
            f"{type(error).__name__}: {first[0]}"
        ) from error
    if not np.array_equal(once, again, equal_nan=True):
        raise ValueError("rho gives other values at each call; let it depend on v alone.")
    if not np.isfinite(once).all():
        bad = min(np.asarray(v)[~np.isfinite(once)], key=abs)
        raise ValueError(f"rho is not finite at v = {bad:g}; define it for all real numbers.")
    if not np.allclose(each, once, rtol=1e-4, atol=1e-5 * np.abs(once).max()):
        raise ValueError(
            "rho does not treat every number by itself; leave out sums, means, softmax and sorting."
        )
    if np.ptp(once) == 0:
        raise ValueError("rho is a constant; a network of constants has no atoms.")
    if not np.isfinite(np.asarray(slope)[np.asarray(v) != 0]).all():
        raise ValueError(
            "rho has a derivative that is not finite; JAX differentiates both branches of "
            "jnp.where, so keep each of them defined everywhere."
        )


def _needs_numbers(rho: Any) -> bool:
    """Whether a function asks a traced number for its value, as `if`, NumPy and `math` do."""
    asks = jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError
    try:
        jax.eval_shape(lambda v: rho(v), jnp.float32(0))
    except Exception as error:
        return isinstance(error, asks)
    return False


class _Refused(Exception):
    """What is wrong with the output of a ρ."""


def _check_values(made: Any, v: Array) -> None:
    if not hasattr(made, "dtype") or not hasattr(made, "shape"):
        raise _Refused(f"rho returns a {type(made).__name__}; let it return one array.")
    if made.shape != v.shape:
        raise _Refused(
            f"rho makes an array of shape {made.shape} of one of shape {v.shape}; let it treat "
            "every number by itself."
        )
    if made.dtype != v.dtype:
        raise _Refused(
            f"rho returns {made.dtype}; let it return {v.dtype}, as v comes: of complex numbers "
            "the real part, of others .astype(v.dtype)."
        )


def check_sets(data, outputs: int, members: tuple, many: bool) -> None:
    """Whether the samples, and the held-out ones, are for this network and these members."""
    dims = data[0][0].shape[1]
    for name, (r, g) in zip(("g", "held_out"), data, strict=False):
        if g.shape[-1] != outputs:
            raise ValueError(
                f"{name}: {g.shape[-1]} channels for a network with outputs={outputs}; "
                "convert the signal or change the network."
            )
        if g.ndim != 2 and not many:
            raise ValueError(f"{name}: shape={g.shape} is a stack of targets; use fit_many.")
        if g.ndim == 3 and g.shape[:1] != members:
            raise ValueError(
                f"{name}: {len(g)} targets for {members[0]} networks; give one, or one for each."
            )
        if r.shape[1] != dims:
            raise ValueError(f"{name}: {r.shape[1]} coordinates where r has {dims}.")


def members_of(thetas: Theta) -> tuple[int]:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(thetas)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            "fit_many: every leaf of thetas needs the same leading axis; jax.vmap(init) makes it."
        )
    return sizes.pop()


def check_activations(network, count: int, members: tuple, dtype, parts: int = 1) -> None:
    widths = sum(getattr(network, "widths", ())) + getattr(network, "mapping_width", 0)
    each = 4 * math.prod(members) * widths * np.dtype(dtype).itemsize
    check_memory("activations", count, each, "pass batch=… or ", parts)


def check_memory(what: str, count: int, each: int, remedy: str = "pass ", parts: int = 1) -> None:
    needed, free = count * each, free_memory(parts)
    if needed > free:
        where = "the device has" if parts == 1 else f"{parts} devices have"
        raise ValueError(
            f"r: {count:,} samples need about {needed / 2**30:.1f} GiB for {what} and {where} "
            f"{free / 2**30:.1f} GiB; {remedy}a coarser grid."
        )


def free_memory(parts: int = 1) -> int:
    """Bytes for an array in so many equal parts: that the default device, or all, can still give.

    Processors that are several devices share one memory.
    """
    stats = [device.memory_stats() for device in jax.devices()[:parts]]
    if all(stats):
        return parts * min(some["bytes_limit"] - some["bytes_in_use"] for some in stats)
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages)


def release() -> None:
    """Gives back the memory of compiled programs, and what the allocator keeps for later.

    A notebook that compiles hundreds of networks grows by a gigabyte. Between two sections, whose
    programs differ, that can go; what is needed again is compiled again.
    """
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":  # the GNU allocator alone has to be asked
        trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: 0)
        trim(0)
