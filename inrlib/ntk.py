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

two matrix products a layer. Samples do not mix, so one backward pass from the sum of all outputs
finds every row of every Δ at once. That is what makes the kernel fast enough for a slider. Its
eigenfunctions, the atoms of the network's dictionary, are in `atoms`.

>>> import jax
>>> from inrlib import networks, signals
>>> network, r = networks.SIREN((16,), mapping_width=8), signals.grid(6)
>>> theta = networks.init(network, jax.random.key(0), dims=1)
>>> gram(network, theta, r).shape
(6, 6)
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float

from inrlib.fitting import free_memory
from inrlib.networks import Theta, function

__all__ = ["Matvec", "check_memory", "gram", "operator", "regression"]

Matvec = Callable[[Float[Array, "N K"]], Float[Array, "N K"]]
"""V ↦ Θ V, for a block of vectors."""


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
        check_memory("gram", len(r1), len(columns), pairs, itemsize)
        return _gram_full(network, theta, r1, columns)
    check_memory("gram", len(r1), len(columns), 1, itemsize)
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
        return function(network, theta)(params, r[None])[0]

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
    f = function(network, theta)
    C = jax.eval_shape(network.apply, theta, r[0]).shape[1]
    channels = jnp.eye(C, dtype=V.dtype)

    def at(r):
        return lambda params: f(params, r)

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


def check_memory(name: str, rows: int, columns: int, pairs: int, itemsize: int) -> None:
    needed = rows * columns * pairs * itemsize
    if needed > (free := free_memory()):
        raise ValueError(
            f"{name}: {rows:,} × {columns:,} numbers need {needed / 2**30:.1f} GiB and the device "
            f"has {free / 2**30:.1f} GiB; call atoms.leading(ntk.operator(network, theta, r), "
            "len(r), k), which needs no matrix."
        )
