"""Eq. 9: the neural tangent kernel.

Near its initial numbers a network is linear in its parameters, and what it then learns easily is
decided by one kernel (Eq. 9),

    Θ(r1, r2) = ⟨∇θ f(r1), ∇θ f(r2)⟩.

The gradients have hundreds of thousands of entries each; nothing here ever stores them. In a dense
layer v = W z + b the gradient by W is the outer product of δ = ∂f/∂v and z, and the gradient by b
is δ. So the layer adds

    ⟨δ1, δ2⟩ (⟨z1, z2⟩ + 1)

to Θ(r1, r2), and for N samples with inputs Z (N, F) and derivatives Δ (N, G)

    Θ = Σ_layers (Z1 Z2ᵀ + 1) ∘ (Δ1 Δ2ᵀ):

two matrix products a layer, after one backward pass that finds every row of every Δ. That is what
makes the kernel fast enough for a slider. `layers` says which parameters have such factors; the
kernel's eigenfunctions, the atoms of the network's dictionary, are in `atoms`.

>>> import jax
>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((16,), mapping_width=8), signals.grid(6)
>>> theta = networks.init(network, jax.random.key(0), dims=1)
>>> gram(network, theta, r).shape
(6, 6)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Inexact

from inrlib import devices, layers, products
from inrlib.devices import SPLIT, WHOLE
from inrlib.fitting import free_memory
from inrlib.inr import Theta
from inrlib.moved import moved

__all__ = [
    "Matvec",
    "centred_alignment",
    "check_memory",
    "gram",
    "operator",
    "regression",
    "without_mean",
]

Matvec = Callable[[Float[Array, "N K"]], Float[Array, "N K"]]
"""V ↦ Θ V, for a block of vectors."""

_ATOMS = (
    "Eigen", "align", "centroids", "eigenfunctions", "energy_concentration", "energy_from_products",
    "kernel_norm", "leading",
)  # fmt: skip
_HOMES = {name: f"inrlib.atoms.{name}" for name in _ATOMS}
__getattr__ = moved(__name__, coefficients="inrlib.atoms.inner_products", **_HOMES)


def gram(
    network: nn.Module,
    theta: Theta,
    r1: Float[Array | np.ndarray, "N D"],
    r2: Float[Array | np.ndarray, "M D"] | None = None,
) -> Float[Array, "N M"]:
    """The empirical NTK between two sets of coordinates, Eq. 9.

        Θ = Σ_layers (Z1 Z2ᵀ + 1) ∘ (Δ1 Δ2ᵀ)

    With C outputs it is Σ_c Θ_cc / C, the kernel that all channels share on average.

    Args:
      network: any of `networks`, or any Flax module that maps (N, D) to real (N, C), sample by
        sample. Matrices that are multiplied by once are taken as above; every other parameter (a
        trainable f0, a filter, a shared or normalised matrix) by its own column of the Jacobian,
        which takes longer but no more memory. Of a complex parameter both parts are trained, and a
        matrix of them has the share Re (Z1 Z2ᴴ + 1) ∘ (Δ1 Δ2ᴴ).
      theta: its numbers, at initialisation, trained or learned. What is in theta["fixed"] has no
        gradient.
      r1, r2: coordinates. Without r2 the kernel is that of r1 with itself, which is symmetric: half
        the work.

    Returns:
      The kernel. The function may be jitted and vmapped; settings in `theta` are traced, so a
      slider compiles nothing. Where N comes out even over several devices each makes its own rows,
      all columns of them, and keeps them.

    Raises:
      ValueError: coordinates of the wrong shape, numbers that are not finite, a network that
        `layers.check` refuses, or a matrix that does not fit into memory.
    """
    _check("gram", network, theta, r1, *([] if r2 is None else [r2]))
    r1 = jnp.asarray(r1)
    r2 = None if r2 is None else jnp.asarray(r2)
    itemsize = jnp.result_type(float, *jax.tree.leaves(theta["params"])).itemsize
    mesh = devices.several(len(r1))
    check_memory("gram", len(r1), len(r1 if r2 is None else r2), 1, itemsize, devices.size(mesh))
    return _gram(network, _tiles(), mesh, theta, r1, r2)


_MOST = 2**26
"""How many entries of the Jacobian are held at once: a quarter of a GiB."""


@partial(jax.jit, static_argnums=(0, 1, 2))
def _gram(network, tiles, mesh, theta, r1, r2):
    rows = devices.each(mesh, partial(_rows, network, tiles, mesh), (WHOLE, SPLIT, WHOLE), SPLIT)
    return rows(theta, r1, r2)


def _rows(network, tiles, mesh, theta, r1, r2):
    """Θ between r1 and r2; without r2, between r1 and the r1 of all devices."""
    cut = lax.dynamic_slice_in_dim
    symmetric = mesh is None and r2 is None
    width = layers.left_over(network, theta, r1)
    columns = devices.size(mesh) * len(r1) if r2 is None else len(r2)
    whole = max(len(r1), columns) * width <= _MOST
    if not whole:  # as many rows of the Jacobian at a time as may be held
        tiles = (max(1, min(tiles[0], _MOST // width)), tiles[1])

    with jax.default_matmul_precision("highest"):  # a GPU would round float32 to 10 bits
        of = partial(layers.factors, network, theta, with_columns=whole)
        one, some = of(r1)
        if r2 is None:  # every device finds the factors of its own samples alone
            two, others, r2 = devices.gathered(mesh, (one, some, r1))
        else:
            two, others = of(r2)
        rows = lambda r, i, size: layers.factors(network, theta, cut(r, i, size))[1]

        def block(i, j, height, width):
            part = sum(
                jnp.real(
                    (_products(cut(a.Z, i, height), cut(b.Z, j, width)) + float(a.bias))
                    * _products(cut(a.delta, i, height), cut(b.delta, j, width))
                )
                for a, b in zip(one, two, strict=True)
            )
            if whole:
                return part + _products(cut(some, i, height), cut(others, j, width))
            left = rows(r1, i, height)
            return part + _products(left, rows(r2, j, width))

        return _assemble(block, len(r1), columns, symmetric, tiles)


def _products(
    a: Inexact[Array, "N F"], b: Inexact[Array, "M F"]
) -> Inexact[Array, "N M"] | Inexact[Array, ""]:
    """a bᴴ; for a few columns written out, so that the compiler fuses it with what follows."""
    b = jnp.conj(b)
    if a.shape[1] > 4:
        return a @ b.T
    return sum((x[:, None] * y for x, y in zip(a.T, b.T, strict=True)), jnp.zeros((), a.dtype))


def _tiles() -> tuple[int, int]:
    """Sides of the blocks in which Θ is made, and of the strips in which a block is transposed.

    A processor keeps a block of 512 and its factors in its cache, and is slow at transposing more
    than a few rows at a time; a GPU wants large blocks.
    """
    return (512, 64) if jax.default_backend() == "cpu" else (4096, 4096)


def _assemble(block, rows: int, columns: int, symmetric: bool, tiles: tuple[int, int]) -> Array:
    """Θ block by block; the last blocks overlap those before them, so that all are of one size."""
    height, width = min(tiles[0], rows), min(tiles[0], columns)
    strip = min(tiles[1], height)
    places = lambda size, step: [min(i, size - step) for i in range(0, size, step)]
    corners = jnp.asarray(
        [(i, j) for i in places(rows, height) for j in places(columns, width)
         if j <= i or not symmetric], jnp.int32,
    )  # fmt: skip
    strips = jnp.asarray(places(height, strip), jnp.int32)

    def fill(s, K):
        i, j = corners[s]
        part = block(i, j, height, width)
        K = lax.dynamic_update_slice(K, part, (i, j))
        if not symmetric:
            return K

        def mirror(s, K):
            some_rows = lax.dynamic_slice_in_dim(part, strips[s], strip)
            return lax.dynamic_update_slice(K, some_rows.T, (j, i + strips[s]))

        return lax.fori_loop(0, len(strips), mirror, K)

    dtype = jax.eval_shape(lambda: block(0, 0, height, width)).dtype
    return lax.fori_loop(0, len(corners), fill, jnp.zeros((rows, columns), dtype))


# --- The same without the matrix ---------------------------------------------------------------


def operator(
    network: nn.Module, theta: Theta, r: Float[Array, "N D"], *, chunk: int = 1024
) -> Matvec:
    """V ↦ Θ V without Θ, for grids where N² numbers do not fit.

        Θ V = J (Jᵀ V),     J = ∇θ f(r), (N, parameters)

    by matrix products with the layers' factors (`products`), chunk by chunk of samples, so memory
    does not grow with N. Several devices share the samples; the result is the same on each.

    Args:
      network, theta, r: as `gram`; several outputs by trace.
      chunk: samples at a time.

    Returns:
      A function of V (N, K), for `leading`.

    Raises:
      ValueError: as `gram`; chunk < 1.
    """
    if chunk < 1:
        raise ValueError(f"operator: chunk={chunk} must be at least 1 sample.")
    _check("operator", network, theta, r)
    r, mesh = jnp.asarray(r), devices.several()
    chunk = devices.share(len(r), chunk, devices.size(mesh))
    return jax.tree_util.Partial(_Operator(network, chunk, mesh), theta, r)


class _Operator(NamedTuple):
    """What is static in V ↦ Θ V; equal for equal networks, so that a slider compiles nothing."""

    network: nn.Module
    chunk: int
    mesh: Mesh | None

    def __call__(self, theta, r, V):
        return products.product(*self, theta, r, V)


# --- Regression --------------------------------------------------------------------------------


def regression(
    network: nn.Module,
    theta: Theta,
    r: Float[Array, "N D"],
    g: Float[Array, "N C"],
    r_new: Float[Array, "M D"],
    ridge: float | Array = 1e-6,
) -> Float[Array, "M C"]:
    """What the linearised network (Eq. 8) says after training to the end: kernel regression.

        f(r') = f_θ(r') + Θ(r', r) (Θ(r, r) + ε I)⁻¹ (g − f_θ(r)),    ε = ridge · tr Θ(r, r) / N

    The ridge leaves unlearned what gradient descent would need 1/ridge times as long for as for the
    average. A smooth kernel, or one of a sample twice, has eigenvalues below the rounding of its
    largest, some of them negative: nothing is learned along them, and ε is at least four roundings
    of the largest. Else a Cholesky factorisation ends in NaN, any other solution in amplified
    rounding.

    Raises:
      ValueError: samples that do not fit each other, or as `gram`.
    """
    if g.ndim != 2 or len(g) != len(r):
        raise ValueError(f"regression: r {r.shape} and g {g.shape} must be (N, D) and (N, C).")
    K = gram(network, theta, r)
    missing = g - network.apply(theta, r)
    with jax.default_matmul_precision("highest"):
        values, V = jnp.linalg.eigh(K)
        rounding = 4 * jnp.finfo(K.dtype).eps * values[-1]
        epsilon = jnp.maximum(ridge * jnp.trace(K) / len(K), rounding)
        shrunk = jnp.where(values > rounding, 1 / (jnp.abs(values) + epsilon), 0)
        weights = V @ (shrunk[:, None] * (V.T @ missing))
        return network.apply(theta, r_new) + gram(network, theta, r_new, r) @ weights


# --- A kernel beside a signal, without a threshold ---------------------------------------------


def without_mean(K: Float[Array | np.ndarray, "N N"]) -> Float[Array, "N N"]:
    """H Θ H with H = I − 11ᵀ/N: the kernel on functions of mean zero.

    A network with biases learns the mean first, and how much faster than all else differs between
    families. Eigenvalues in units of the largest compare them only once the mean is projected out.
    """
    K = jnp.asarray(K)
    rows = K.mean(axis=1, keepdims=True)
    return K - rows - K.mean(axis=0, keepdims=True) + rows.mean()


def centred_alignment(
    K: Float[Array | np.ndarray, "N N"], g: Float[Array | np.ndarray, "N M"]
) -> Float[Array, " M"]:
    """How much of a kernel points at a signal, both without their means; no threshold in it.

        A(Θ, g) = ⟨g, HΘH g⟩ / (⟨g, Hg⟩ ‖HΘH‖_F) = Σ_i (λ_i / √Σ_j λ_j²) |⟨φ_i, g⟩|² / ⟨g, g⟩

    with the eigenvalues and eigenfunctions of HΘH (centred alignment, Cortes, Mohri and
    Rostamizadeh 2012). It is 1 for a kernel that is g gᵀ, and for an identity kernel 1/√(N − 1),
    whatever g: a kernel that favours nothing has energy 1 above any threshold of Eq. 11, but no
    alignment. The unit of Θ does not matter.

    Args:
      K: Θ from `gram`.
      g: M signals, one a column.

    Raises:
      ValueError: signals on another grid, or one that is constant.
    """
    if g.ndim != 2 or len(g) != len(K):
        raise ValueError(
            f"centred_alignment: g has shape {g.shape} and must be (N, M) with N={len(K)}."
        )
    K, g = without_mean(K), jnp.asarray(g) - jnp.mean(jnp.asarray(g), axis=0)
    total = jnp.sum(g**2, axis=0)
    if not isinstance(total, jax.core.Tracer) and not (total > 0).all():
        raise ValueError("centred_alignment: g has a signal that is constant; leave it out.")
    with jax.default_matmul_precision("highest"):
        return jnp.sum(g * (K @ g), axis=0) / total / jnp.linalg.norm(K)


# --- Bad input ---------------------------------------------------------------------------------


def _check(name: str, network: nn.Module, theta: Theta, *coordinates) -> None:
    if "params" not in theta or not jax.tree.leaves(theta["params"]):
        raise ValueError(f"{name}: theta has no trained parameters; take it from networks.init.")
    shapes = [np.shape(r) for r in coordinates]
    if any(len(shape) != 2 or shape[0] < 1 for shape in shapes) or len({s[1] for s in shapes}) > 1:
        raise ValueError(f"{name}: coordinates of shape {shapes} must all be (N, D) with one D.")
    layers.check(name, network, theta, coordinates[0])
    leaves = [*coordinates, *jax.tree.leaves(theta)]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return  # the numbers are not known while a function is being traced
    if not all(np.isfinite(leaf).all() for leaf in leaves):
        raise ValueError(
            f"{name}: theta or the coordinates contain NaN or infinity; take the numbers from "
            "before the training left the finite ones."
        )


def check_memory(
    name: str, rows: int, columns: int, pairs: int, itemsize: int, parts: int = 1
) -> None:
    """Whether a matrix fits, the rows of which are split over so many devices."""
    needed = rows * columns * pairs * itemsize
    if needed > (free := free_memory(parts)):
        where = "the device has" if parts == 1 else f"{parts} devices have"
        raise ValueError(
            f"{name}: {rows:,} × {columns:,} numbers need {needed / 2**30:.1f} GiB and {where} "
            f"{free / 2**30:.1f} GiB; call atoms.leading(ntk.operator(network, theta, r), "
            "len(r), k), which needs no matrix."
        )
