"""All devices that JAX sees, in one row: what is split over them, and what each of them does.

An array is split along one axis where that comes out even, else it stays whole. With one device
nothing here does anything: the programs are those of one device. Whoever wants one of several says
`with jax.default_device(one)`; whoever has set a mesh of his own splits things himself.

>>> array = split(jnp.ones((8, 2)))
>>> parts = 1 if (row := several(8)) is None else row.size
>>> {shard.data.shape for shard in array.addressable_shards} == {(8 // parts, 2)}
True
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = [
    "SPLIT", "WHOLE", "each", "everywhere", "gathered", "several", "share", "size", "split",
    "summed",
]  # fmt: skip

_ROW = "devices"

WHOLE, SPLIT = PartitionSpec(), PartitionSpec(_ROW)
"""The same array on every device; an array whose first axis is split over them."""


def several(count: int = 0) -> Mesh | None:
    """All devices, if there are several and `count` comes out even over them; else None."""
    if jax.config.jax_default_device is not None or not jax.sharding.get_abstract_mesh().empty:
        return None
    found = jax.devices()
    return None if len(found) == 1 or count % len(found) else Mesh(np.asarray(found), (_ROW,))


def size(mesh: Mesh | None) -> int:
    """How many devices these are."""
    return 1 if mesh is None else mesh.size


def share(count: int, most: int, parts: int) -> int:
    """The samples of a chunk, at most so many: chunks of one size that hardly fill a device up."""
    own = -(-count // parts)
    return min(own, most) if parts == 1 else -(-own // -(-own // most))


def split(array: Any, axis: int = 0) -> jax.Array:
    """The array with this axis split over all devices, where it comes out even; else as it is."""
    array = jnp.asarray(array)
    axis %= array.ndim
    mesh = several(array.shape[axis])
    if mesh is None:
        return array
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*(None,) * axis, _ROW)))


def everywhere(tree: Any) -> Any:
    """The same arrays on every device, so that no later call has to bring them there."""
    mesh = several()
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, WHOLE))


# --- One program for each device ---------------------------------------------------------------


def each(mesh: Mesh | None, function: Callable, inputs: Any, outputs: Any) -> Callable:
    """The function, run by every device on its parts; without a mesh the function itself.

    Args:
      inputs, outputs: `SPLIT` or `WHOLE` for each argument and result.
    """
    if mesh is None:
        return function
    return jax.shard_map(
        function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False
    )  # fmt: skip


def gathered(mesh: Mesh | None, tree: Any) -> Any:
    """Inside of `each`: all devices' arrays, one after the other along the first axis."""
    if mesh is None:
        return tree
    join = lambda leaf: lax.all_gather(leaf, _ROW, tiled=True)
    return jax.tree.map(lambda leaf: join(leaf) if isinstance(leaf, jax.Array) else leaf, tree)


def summed(mesh: Mesh | None, tree: Any) -> Any:
    """Inside of `each`: the sum of all devices' arrays."""
    return tree if mesh is None else lax.psum(tree, _ROW)
