"""Eqs. 9–11: the neural tangent kernel as a dictionary.

Near its initial numbers a network is linear in its parameters, and what it then learns easily is
decided by one kernel (Eq. 9),

    Θ(r1, r2) = ⟨∇θ f(r1), ∇θ f(r2)⟩ = Σ_i λ_i φ_i(r1) φ_i(r2),

whose eigenfunctions φ_i are the atoms of the network's dictionary. The gradients have hundreds of
thousands of entries each; nothing here ever stores them. In a dense layer v = W z + b the gradient
by W is the outer product of δ = ∂f/∂v and z, and the gradient by b is δ. So the layer adds

    ⟨δ1, δ2⟩ (⟨z1, z2⟩ + 1)

to Θ(r1, r2), and for N samples with inputs Z (N, F) and derivatives Δ (N, G)

    Θ = Σ_layers (Z1 Z2ᵀ + 1) ∘ (Δ1 Δ2ᵀ):

two matrix products a layer. Samples do not mix, so one backward pass from the sum of all outputs
finds every row of every Δ at once. That is what makes the kernel fast enough for a slider.

Conventions. ⟨φ, g⟩ = E_r[φ(r) g(r)] is the mean over the grid, as below Eq. 10: eigenfunctions
have mean square 1 and λ_i are the eigenvalues of Θ/N, so neither depends on how fine the grid is.
Eq. 67 sums instead and takes φ of length 1: its φ are ours divided by √N, its λ ours times N, and
the energy concentration is the same.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float

from inrlib import spectra
from inrlib.fitting import free_memory
from inrlib.networks import Theta

__all__ = [
    "Eigen",
    "align",
    "centroids",
    "coefficients",
    "eigenfunctions",
    "energy_concentration",
    "energy_from_products",
    "gram",
    "kernel_norm",
    "leading",
    "operator",
    "regression",
]

Matvec = Callable[[Float[Array, "N K"]], Float[Array, "N K"]]


class Eigen(NamedTuple):
    """The leading eigenvalues and eigenfunctions of a kernel on a grid of N samples.

    Attributes:
      values: λ_0 ≥ λ_1 ≥ …, the eigenvalues of Θ/N.
      functions: φ_i at the grid's samples, one a column, E[φ_i φ_j] = δ_ij.
      residuals: |Θφ_i/N − λ_i φ_i| / λ_0, how far each is from being one; zeros where all of them
        were computed at once.
    """

    values: Float[Array, " K"]
    functions: Float[Array, "N K"]
    residuals: Float[Array, " K"]


# --- Eq. 9: the Gram matrix --------------------------------------------------------------------


class _Layer(NamedTuple):
    """One layer's share of every gradient: by W it is δ zᵀ, by b it is δ.

    A parameter that is no dense layer's has nothing but a δ, its own derivative: Z is empty.
    """

    Z: Float[Array, "N F"]
    delta: Float[Array, "C N G"]
    bias: bool


def gram(
    network: nn.Module,
    theta: Theta,
    r1: Float[Array, "N D"],
    r2: Float[Array, "M D"] | None = None,
    *,
    outputs: Literal["trace", "full"] = "trace",
) -> Float[Array, "N M *CC"]:
    """The empirical NTK between two sets of coordinates, Eq. 9.

        Θ = Σ_layers (Z1 Z2ᵀ + 1) ∘ (Δ1 Δ2ᵀ)

    Args:
      network: any of `networks`, or any Flax module that maps (N, D) to (N, C), sample by sample.
        Dense layers that are called once are taken as above; every other parameter (a trainable
        f0, a filter) by its own column of the Jacobian.
      theta: its numbers, at initialisation, trained or learned. What is in theta["fixed"] has no
        gradient.
      r1, r2: coordinates. Without r2 the kernel is that of r1 with itself, which is symmetric: half
        the work.
      outputs: with several outputs, "trace" takes Σ_c Θ_cc / C, the kernel that all channels share
        on average; "full" keeps all pairs of channels.

    Returns:
      (N, M), or (N, M, C, C) for "full". The function may be jitted and vmapped; settings in
      `theta` are traced, so a slider compiles nothing.

    Raises:
      ValueError: coordinates of the wrong shape, an unknown `outputs`, numbers that are not finite,
        or a matrix that does not fit into memory.
    """
    if outputs not in ("trace", "full"):
        raise ValueError(f"gram: outputs={outputs!r} must be 'trace' or 'full'.")
    _check_coordinates("gram", theta, r1, *([] if r2 is None else [r2]))
    r1 = jnp.asarray(r1)
    r2 = None if r2 is None else jnp.asarray(r2)
    columns = r1 if r2 is None else r2
    itemsize = jnp.result_type(r1, *jax.tree.leaves(theta)).itemsize
    if outputs == "full":
        pairs = jax.eval_shape(network.apply, theta, r1[:1]).shape[-1] ** 2
        _check_memory("gram", len(r1), len(columns), pairs, itemsize)
        return _gram_full(network, theta, r1, columns)
    _check_memory("gram", len(r1), len(columns), 1, itemsize)
    return _gram_trace(network, _tiles(), theta, r1, r2)


@partial(jax.jit, static_argnums=(0, 1))
def _gram_trace(network, tiles, theta, r1, r2):
    with jax.default_matmul_precision("highest"):  # a GPU would round float32 to 10 bits
        one = [_beside(layer) for layer in _layers(network, theta, r1)]
        two = one if r2 is None else [_beside(layer) for layer in _layers(network, theta, r2)]

        def block(i, j, height, width):
            cut = lax.dynamic_slice_in_dim
            return sum(
                (_products(cut(a.Z, i, height), cut(b.Z, j, width)) + float(a.bias))
                * _products(cut(a.delta, i, height), cut(b.delta, j, width))
                for a, b in zip(one, two, strict=True)
            )

        return _assemble(block, len(r1), len(r1 if r2 is None else r2), r2 is None, tiles)


def _products(a: Float[Array, "N F"], b: Float[Array, "M F"]) -> Float[Array, "N M"]:
    """a bᵀ; for a few columns written out, so that the compiler fuses it with what follows."""
    if a.shape[1] > 4:
        return a @ b.T
    return sum((x[:, None] * y for x, y in zip(a.T, b.T, strict=True)), jnp.zeros((), a.dtype))


def _beside(layer: _Layer) -> _Layer:
    """The channels' Δ side by side: one matrix product then adds their kernels up."""
    C, N, G = layer.delta.shape
    delta = jnp.moveaxis(layer.delta, 0, 1).reshape(N, C * G) / C**0.5
    return layer._replace(delta=delta)


@partial(jax.jit, static_argnums=0)
def _gram_full(network, theta, r1, r2):
    with jax.default_matmul_precision("highest"):
        pairs = zip(_layers(network, theta, r1), _layers(network, theta, r2), strict=True)
        return sum(
            (a.Z @ b.Z.T + float(a.bias))[..., None, None]
            * jnp.einsum("cng,dmg->nmcd", a.delta, b.delta)
            for a, b in pairs
        )


def _layers(network: nn.Module, theta: Theta, r: Float[Array, "N D"]) -> list[_Layer]:
    """Z and Δ of every trained layer.

    Flax calls `note` in place of each module's method. There a zero is added to the dense layer's
    result v; the derivative of f by that zero is Δ.
    """
    params = flatten_dict(theta["params"])

    def run(zeros):
        seen = []

        def note(method, args, kwargs, context):
            v = method(*args, **kwargs)
            path = context.module.path
            is_dense = isinstance(context.module, nn.Dense) and context.method_name == "__call__"
            if is_dense and (*path, "kernel") in params:
                if zeros is not None and path in zeros:
                    v = v + zeros[path]
                seen.append((path, args[0], v))
            return v

        with nn.intercept_methods(note):
            return network.apply(theta, r), seen

    calls = []

    def probe():
        f, seen = run(None)
        calls.extend(path for path, _, _ in seen)
        return f, {path: (z, v) for path, z, v in seen}

    f, shapes = jax.eval_shape(probe)
    if f.ndim != 2:
        raise ValueError(f"gram: the network returns {f.shape[1:]} a sample; give it (N, C).")
    plain = {path: v for path, (z, v) in shapes.items() if z.ndim == 2 and calls.count(path) == 1}
    zeros = {path: jnp.zeros(v.shape, v.dtype) for path, v in plain.items()}
    f, pullback, seen = jax.vjp(run, zeros, has_aux=True)
    each_channel = jnp.eye(f.shape[1], dtype=f.dtype)[:, None, :] + jnp.zeros_like(f)
    (delta,) = jax.vmap(pullback)(each_channel)
    layers = [
        _Layer(z, delta[path], (*path, "bias") in params) for path, z, _ in seen if path in plain
    ]
    rest = {path: leaf for path, leaf in params.items() if path[:-1] not in plain}
    return layers + ([_rest(network, theta, rest, r)] if rest else [])


def _rest(network: nn.Module, theta: Theta, rest: dict, r: Float[Array, "N D"]) -> _Layer:
    """The parameters that are no dense layer's: one derivative for each of them."""

    def one_sample(rest, r):
        params = unflatten_dict(flatten_dict(theta["params"]) | rest)
        return network.apply({**theta, "params": params}, r[None])[0]

    columns = jax.vmap(jax.jacrev(one_sample), in_axes=(None, 0))(rest, r)
    columns = [column.reshape(*column.shape[:2], -1) for column in columns.values()]
    delta = jnp.moveaxis(jnp.concatenate(columns, axis=-1), 1, 0)
    return _Layer(jnp.zeros((len(r), 0), delta.dtype), delta, bias=True)


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

    def fill(s, theta):
        i, j = corners[s]
        part = block(i, j, height, width)
        theta = lax.dynamic_update_slice(theta, part, (i, j))
        if not symmetric:
            return theta

        def mirror(s, theta):
            some_rows = lax.dynamic_slice_in_dim(part, strips[s], strip)
            return lax.dynamic_update_slice(theta, some_rows.T, (j, i + strips[s]))

        return lax.fori_loop(0, len(strips), mirror, theta)

    dtype = jax.eval_shape(lambda: block(0, 0, height, width)).dtype
    return lax.fori_loop(0, len(corners), fill, jnp.zeros((rows, columns), dtype))


# --- The same without the matrix ---------------------------------------------------------------


def operator(
    network: nn.Module, theta: Theta, r: Float[Array, "N D"], *, chunk: int = 4096
) -> Matvec:
    """V ↦ Θ V without Θ, for grids where N² numbers do not fit.

        Θ V = J (Jᵀ V),     J = ∇θ f(r), (N, parameters)

    Jᵀ V is one vector-Jacobian product and J U one Jacobian-vector product for each block V; both
    go through the samples chunk by chunk, so memory does not grow with N.

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
    _check_coordinates("operator", theta, r)
    r = jnp.asarray(r)
    chunk = min(chunk, len(r))
    return jax.tree_util.Partial(_Operator(network, chunk), theta, r)


class _Operator(NamedTuple):
    """What is static in V ↦ Θ V; equal for equal networks, so that a slider compiles nothing."""

    network: nn.Module
    chunk: int

    def __call__(self, theta, r, V):
        return _apply(self.network, self.chunk, theta, r, V)


@partial(jax.jit, static_argnums=(0, 1))
def _apply(network, chunk, theta, r, V):
    N, K = V.shape
    fill = -N % chunk  # samples that fill the last chunk up; their V is zero
    r = jnp.concatenate([r, jnp.broadcast_to(r[:1], (fill, r.shape[1]))])
    V = jnp.concatenate([V, jnp.zeros((fill, K), V.dtype)])
    r, V = r.reshape(-1, chunk, r.shape[1]), V.reshape(-1, chunk, K)
    rest = {name: leaves for name, leaves in theta.items() if name != "params"}
    C = jax.eval_shape(network.apply, theta, r[0]).shape[1]
    channels = jnp.eye(C, dtype=V.dtype)

    def at(r):
        return lambda params: network.apply({**rest, "params": params}, r)

    def pull(U, rV):
        r, V = rV
        _, pullback = jax.vjp(at(r), theta["params"])
        cotangents = jnp.einsum("nk,cd->kcnd", V, channels)
        (part,) = jax.vmap(jax.vmap(pullback))(cotangents)
        return jax.tree.map(jnp.add, U, part), None

    def push(r):
        one = lambda U: jax.jvp(at(r), (theta["params"],), (U,))[1]
        return jnp.einsum("kcnc->nk", jax.vmap(jax.vmap(one))(U)) / C

    with jax.default_matmul_precision("highest"):
        nothing = jax.tree.map(lambda p: jnp.zeros((K, C, *p.shape), p.dtype), theta["params"])
        U, _ = lax.scan(pull, nothing, (r, V))
        return lax.map(push, r).reshape(-1, K)[:N]


# --- Eigenfunctions ----------------------------------------------------------------------------


def eigenfunctions(
    theta: Float[Array, "N N"], k: int | None = None, previous: Eigen | None = None
) -> Eigen:
    """Eigenfunctions of a Gram matrix: all of them, or the leading k.

        Θ φ_i / N = λ_i φ_i,     E[φ_i φ_j] = δ_ij

    All of them are one dense decomposition: on a CPU LAPACK's divide and conquer (through SciPy,
    three times as fast as through XLA), which is not traced. The leading k are `leading`.

    In float32 eigenvalues below about 1e-6 λ_0 are rounding; pass a float64 matrix where they
    matter.

    Args:
      theta: from `gram`, symmetric.
      k: how many; None for all.
      previous: the frame before: its signs and order are kept, see `align`.

    Raises:
      ValueError: a matrix that is not square, has numbers that are not finite, or does not fit into
        memory; k out of range.
    """
    if theta.ndim != 2 or theta.shape[0] != theta.shape[1]:
        raise ValueError(
            f"eigenfunctions: theta has shape {theta.shape}; it must be square, gram(network, "
            "theta, r) with outputs='trace'."
        )
    if k is not None:
        product = partial(_product, jnp.asarray(theta))
        return leading(product, len(theta), k, previous=previous, dtype=theta.dtype)
    _check_memory("eigenfunctions", 3 * len(theta), len(theta), 1, theta.dtype.itemsize)
    if not jnp.isfinite(theta).all():
        raise ValueError("eigenfunctions: theta has entries that are NaN or infinite; lower ω0.")
    if jax.default_backend() == "cpu":
        values, vectors = scipy.linalg.eigh(np.asarray(theta), driver="evd", check_finite=False)
    else:
        values, vectors = jnp.linalg.eigh(theta)
    values, vectors = jnp.asarray(values)[::-1], jnp.asarray(vectors)[:, ::-1]
    eigen = Eigen(values / len(theta), vectors * len(theta) ** 0.5, jnp.zeros_like(values))
    return align(eigen, previous)


def _product(matrix, V):
    return matrix @ V


def leading(
    apply: Matvec,
    samples: int,
    k: int = 10,
    *,
    steps: int = 5,
    spare: int = 6,
    previous: Eigen | None = None,
    dtype: Any = jnp.float32,
) -> Eigen:
    """The leading k eigenfunctions from products with Θ alone.

    Block Krylov (Golub and Underwood 1977; Musco and Musco 2015): the span of

        V, ΘV, Θ²V, …, Θ^steps V,     V (N, k + spare),

    orthonormalised block after block, holds the leading eigenfunctions more exactly than any single
    power; the best combinations in it (Rayleigh and Ritz) are returned. It needs steps + 1
    products with a block of vectors, and a product with sixteen vectors takes hardly longer than
    one with one. Hence neither of the two libraries at hand: ARPACK multiplies vector by vector,
    twice the time on a matrix (`make bench`) and far more without one; JAX's LOBPCG stops after its
    first step in float32.

    Args:
      apply: V ↦ ΘV, such as `operator` or the product with a Gram matrix.
      samples: N.
      k: how many eigenfunctions.
      steps: more of them, more exact: `residuals` tells. Eigenvalues are exact to the square of it.
      spare: columns in the block beyond k.
      previous: the frame before. Its eigenfunctions start the block, its signs and order are kept.
      dtype: of the first block.

    Returns:
      An `Eigen` of k eigenfunctions. May be jitted.

    Raises:
      ValueError: k, steps or spare out of range.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"leading: k={k} must lie between 1 and the number of samples {samples}.")
    if steps < 1 or spare < 0:
        raise ValueError(f"leading: steps={steps} and spare={spare} must be at least 1 and 0.")
    width = k + spare
    V = jax.random.normal(jax.random.key(0), (samples, width), dtype)
    if samples <= width * (steps + 1):  # so few that the span would be all of them
        V, steps = jnp.eye(samples, dtype=dtype), 0
    elif previous is not None:
        V = V.at[:, :k].set(previous.functions.astype(V.dtype))
    return align(_leading(apply, V, k, steps), previous)


def _leading(apply, V, k, steps):
    """`apply` as a pytree, so that the arrays in it are arguments of the compiled function."""
    if isinstance(apply, partial):
        apply = jax.tree_util.Partial(apply.func, *apply.args)
    elif not isinstance(apply, jax.tree_util.Partial):
        apply = jax.tree_util.Partial(apply)
    return _krylov(apply, V, k, steps)


@partial(jax.jit, static_argnums=(2, 3))
def _krylov(apply, V, k, steps):
    N, width = V.shape
    with jax.default_matmul_precision("highest"):
        basis = V = jnp.linalg.qr(V)[0]
        image = apply(V)
        for _ in range(steps):
            V = image[:, -width:]
            for _ in range(2):  # once leaves rounding behind, twice is enough (Kahan)
                V = jnp.linalg.qr(V - basis @ (basis.T @ V))[0]
            basis = jnp.concatenate([basis, V], axis=1)
            image = jnp.concatenate([image, apply(V)], axis=1)
        values, mix = jnp.linalg.eigh(_symmetric(basis.T @ image))
        values, mix = values[::-1][:k], mix[:, ::-1][:, :k]
        vectors = basis @ mix
        residuals = jnp.linalg.norm(image @ mix - vectors * values, axis=0) / values[0]
    return Eigen(values / N, vectors * N**0.5, residuals)


def _symmetric(matrix):
    return (matrix + matrix.T) / 2


def align(eigen: Eigen, previous: Eigen | None = None, closeness: float = 0.05) -> Eigen:
    """The same eigenfunctions with the signs and the order of the frame before.

    An eigenfunction's sign is free, and two whose eigenvalues cross change places: under a slider
    both would flicker. Here neighbours whose eigenvalues differ by less than `closeness` are
    swapped where that fits `previous` better, and every sign is chosen so that ⟨φ_i, φ_i^prev⟩ ≥ 0.
    Without a previous frame the entry of largest magnitude is positive.

    Raises:
      ValueError: a previous frame on another grid or of another number of eigenfunctions.
    """
    functions = eigen.functions
    if previous is None:
        largest = jnp.argmax(jnp.abs(functions), axis=0)
        signs = jnp.sign(jnp.take_along_axis(functions, largest[None], axis=0))
        return eigen._replace(functions=functions * signs)
    if previous.functions.shape != functions.shape:
        raise ValueError(
            f"align: previous has shape {previous.functions.shape} and this frame "
            f"{functions.shape}; pass previous=None when the grid changes."
        )
    return _align(eigen, previous.functions, closeness)


@jax.jit
def _align(eigen, previous, closeness):
    overlap = jnp.abs(eigen.functions.T @ previous)

    def visit(i, order):
        a, b = order[i], order[i + 1]
        close = eigen.values[i] - eigen.values[i + 1] < closeness * eigen.values[i]
        better = overlap[a, i] + overlap[b, i + 1] < overlap[b, i] + overlap[a, i + 1]
        swapped = order.at[i].set(b).at[i + 1].set(a)
        return jnp.where(close & better, swapped, order)

    count = len(eigen.values)
    order = lax.fori_loop(0, count - 1, visit, jnp.arange(count))
    values, functions, residuals = eigen.values[order], eigen.functions[:, order], eigen.residuals
    signs = jnp.where(jnp.sum(functions * previous, axis=0) < 0, -1, 1)
    return Eigen(values, functions * signs.astype(functions.dtype), residuals[order])


# --- What the dictionary says about a signal ---------------------------------------------------


def coefficients(eigen: Eigen, g: Float[Array, "N M"]) -> Float[Array, "K M"]:
    """⟨φ_i, g⟩ = E_r[φ_i(r) g(r)] of M signals, one a column.

    Raises:
      ValueError: signals on another grid.
    """
    if g.ndim != 2 or len(g) != len(eigen.functions):
        raise ValueError(
            f"g: shape={g.shape} must be (N, M) with N={len(eigen.functions)} samples of the grid."
        )
    return eigen.functions.T @ g / len(g)


def energy_concentration(
    eigen: Eigen, g: Float[Array, "N M"], thresholds: Float[Array, " T"]
) -> Float[Array, " T"]:
    """Eq. 11: the share of the signals' energy in eigenfunctions of large eigenvalue.

        E(λ) = 1/M Σ_m Σ_{λ_i/λ_0 ≥ λ} |⟨φ_i, g_m⟩|² / ⟨g_m, g_m⟩

    It lies between 0 and 1. (Printed, Eq. 11 has the square of ⟨g, g⟩; the paper's curves have it
    as here.) Figures 4 and 11 take the mean off each image first, and so should a caller.

    Args:
      eigen: from `eigenfunctions`; all of them, or as many as lie above the lowest threshold.
      g: M signals, one a column.
      thresholds: λ, in units of the largest eigenvalue.

    Raises:
      ValueError: signals on another grid, or one that is zero.
    """
    energy = coefficients(eigen, g) ** 2
    total = jnp.mean(g**2, axis=0)
    _check_not_zero(total)
    share = jnp.mean(energy / total, axis=1)
    above = eigen.values / eigen.values.max() >= jnp.asarray(thresholds)[:, None]
    return above @ share


def _check_not_zero(total):
    if not isinstance(total, jax.core.Tracer) and not (total > 0).all():
        raise ValueError("g has a signal that is zero; leave it out.")


def energy_from_products(
    apply: Matvec,
    g: Float[Array, "N M"],
    thresholds: Float[Array, " T"],
    largest: float | Array,
    *,
    steps: int = 48,
) -> Float[Array, " T"]:
    """Eq. 11, the whole curve, from products with Θ alone.

    The share of g's energy per eigenvalue is a measure on the line. Lanczos, started at g, gives
    its Gauss quadrature (Golub and Welsch 1969): `steps` points with weights, exact for every
    polynomial of degree 2·steps − 1. Eigenvalues far apart, the leading ones, are points of their
    own; where they lie close the curve climbs in small steps around the exact one, off by at most
    one point's weight. A slider can have that; all N eigenfunctions take far too long.

    Args:
      apply: V ↦ ΘV, such as `operator` or the product with a Gram matrix.
      g: M signals, one a column.
      thresholds: λ, in units of the largest eigenvalue.
      largest: the largest eigenvalue, as `leading` returns it; g alone may not see it.
      steps: more of them, finer steps.

    Raises:
      ValueError: steps out of range, or a signal that is zero.
    """
    if not 1 <= steps <= len(g):
        raise ValueError(f"energy_from_products: steps={steps} must lie between 1 and {len(g)}.")
    _check_not_zero(jnp.sum(g**2, axis=0))

    def measure(one):
        def step(i, state):
            basis, image, q = state
            w = apply(q[:, None])[:, 0]
            basis, image = basis.at[:, i].set(q), image.at[:, i].set(w)
            for _ in range(2):  # as in `leading`
                w = w - basis @ (basis.T @ w)
            return basis, image, w / jnp.maximum(jnp.linalg.norm(w), jnp.finfo(w.dtype).tiny)

        empty = jnp.zeros((len(g), steps), g.dtype)
        state = empty, empty, one / jnp.linalg.norm(one)
        basis, image, _ = lax.fori_loop(0, steps, step, state)
        values, mix = jnp.linalg.eigh(_symmetric(basis.T @ image))
        return values / len(g), mix[0] ** 2

    with jax.default_matmul_precision("highest"):
        values, weights = jax.vmap(measure, in_axes=1)(g)
    above = values / largest >= jnp.asarray(thresholds)[:, None, None]
    return jnp.mean(jnp.sum(weights * above, axis=-1), axis=-1)


def kernel_norm(
    eigen: Eigen, g: Float[Array, "N M"], cutoff: float | Array = 1e-6
) -> Float[Array, " M"]:
    """Eq. 10: ‖g‖²_Θ = Σ_i |⟨φ_i, g⟩|² / λ_i, how hard g is to learn.

    A finite network's kernel has eigenvalues down to rounding, where a picture always has some
    energy: the sum would be noise. So λ_i counts as at least cutoff · λ_0. A network that is
    trained for a finite time does not see those eigenfunctions either.

    Args:
      eigen: all eigenfunctions.
      g: M signals, one a column.
      cutoff: the smallest eigenvalue that counts, in units of the largest.
    """
    floor = cutoff * eigen.values.max()
    return jnp.sum(coefficients(eigen, g) ** 2 / jnp.maximum(eigen.values, floor)[:, None], axis=0)


def centroids(functions: Float[Array, "N K"], shape: tuple[int, ...]) -> Float[Array, " K"]:
    """Spectral centroid of each eigenfunction, in cycles per grid length (`spectra.centroid`).

    Args:
      functions: one a column, on a grid of `shape`.
      shape: (H, W), or (N,) for a line.

    Raises:
      ValueError: a grid of another size or of more than two axes.
    """
    if len(shape) > 2 or np.prod(shape) != len(functions):
        raise ValueError(
            f"centroids: shape={shape} must be (H, W) or (N,) and hold {len(functions)}."
        )
    pictures = functions.T.reshape(-1, *shape, *((1,) * (3 - len(shape))))
    return jax.vmap(lambda picture: spectra.centroid(spectra.centred(picture)))(pictures)


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
    average. A smooth kernel has eigenvalues below the rounding of its largest, some of them
    negative: they count as zero, and ε is at least four roundings of the largest. Else a Cholesky
    factorisation ends in NaN, and any other solution in amplified rounding.

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
        shrunk = 1 / (jnp.maximum(values, 0) + epsilon)
        weights = V @ (shrunk[:, None] * (V.T @ missing))
        return network.apply(theta, r_new) + gram(network, theta, r_new, r) @ weights


# --- Bad input ---------------------------------------------------------------------------------


def _check_coordinates(name: str, theta: Theta, *coordinates) -> None:
    if "params" not in theta or not jax.tree.leaves(theta["params"]):
        raise ValueError(f"{name}: theta has no trained parameters; take it from networks.init.")
    shapes = [np.shape(r) for r in coordinates]
    if any(len(shape) != 2 or shape[0] < 1 for shape in shapes) or len({s[1] for s in shapes}) > 1:
        raise ValueError(f"{name}: coordinates of shape {shapes} must all be (N, D) with one D.")
    leaves = [*coordinates, *jax.tree.leaves(theta)]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return  # the numbers are not known while a function is being traced
    if not all(np.isfinite(leaf).all() for leaf in leaves):
        raise ValueError(
            f"{name}: theta or the coordinates contain NaN or infinity; take the numbers from "
            "before the training left the finite ones."
        )


def _check_memory(name: str, rows: int, columns: int, pairs: int, itemsize: int) -> None:
    needed = rows * columns * pairs * itemsize
    if needed > (free := free_memory()):
        raise ValueError(
            f"{name}: {rows:,} × {columns:,} numbers need {needed / 2**30:.1f} GiB and the device "
            f"has {free / 2**30:.1f} GiB; call ntk.leading(ntk.operator(network, theta, r), "
            "len(r), k), which needs no matrix."
        )
