"""What every parameter adds to the gradient of a network's output, sample by sample.

If a network multiplies by a matrix W once in all, v = z W, then the gradient by W is the outer
product of z and δ = ∂f/∂v, whatever is around it: two vectors instead of a matrix. If v goes
nowhere but into v + b, and b nowhere else, the gradient by b is δ too. Both are read off the
network's own program (its jaxpr), so they hold for any module: a matrix that is shared, mapped,
scanned over, normalised or cast is not multiplied by as it is stored, or not once. Such parameters,
and all others, have a column of the Jacobian each.

A complex W is two trained numbers a place. With δ = ∂f/∂Re v − j ∂f/∂Im v the gradients by both are
the real and, but for its sign, the imaginary part of z δᵀ: two vectors again.

>>> import flax.linen as nn
>>> network, r = nn.Dense(3), jnp.ones((5, 2))
>>> (layer,), columns = factors(network, network.init(jax.random.key(0), r), r)
>>> layer.Z.shape, layer.delta.shape, layer.bias, columns.shape
((5, 2), (5, 9), True, (5, 0))
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, Literal, jaxpr_as_fun, subjaxprs
from jaxtyping import Array, Float, Inexact

from inrlib.inr import Theta

__all__ = ["Layer", "check", "diagonal", "factors", "left_over", "one_sample", "rest"]


class Layer(NamedTuple):
    """One matrix: its share of every gradient by W is z δᵀ, and by b it is δ.

    Attributes:
      Z: what the matrix is multiplied by.
      delta: the derivative of the C outputs by the result, side by side, divided by √C. Complex if
        the matrix is; then the share of the kernel is Re (Z1 Z2ᴴ + 1) ∘ (Δ1 Δ2ᴴ).
      bias: whether a b is added to the result.
    """

    Z: Inexact[Array, "N F"]
    delta: Inexact[Array, "N CG"]
    bias: bool


def one_sample(network: nn.Module, theta: Theta) -> tuple[Callable, list[Array]]:
    """(numbers, r (D,)) ↦ f(r) (C,), and the trained numbers as a list of real arrays.

    A complex parameter is two of them, its real and its imaginary part.
    """
    leaves, tree = jax.tree.flatten(theta["params"])
    parts = lambda x: [jnp.real(x), jnp.imag(x)] if jnp.iscomplexobj(x) else [jnp.asarray(x)]
    split = [parts(leaf) for leaf in leaves]

    def f(numbers, r):
        rest = iter(numbers)
        whole = [next(rest) if len(p) == 1 else lax.complex(next(rest), next(rest)) for p in split]
        return network.apply({**theta, "params": tree.unflatten(whole)}, r[None])[0]

    return f, [part for both in split for part in both]


def _whole(network: nn.Module, theta: Theta) -> tuple[Callable, list[Array]]:
    """The same with complex parameters as they are."""
    leaves, tree = jax.tree.flatten(theta["params"])
    apply = lambda whole, r: network.apply({**theta, "params": tree.unflatten(whole)}, r[None])[0]
    return apply, [jnp.asarray(leaf) for leaf in leaves]


class _Plan(NamedTuple):
    """The program of one sample, {equation: (W, b or None)} and the parameters left over."""

    program: Any
    matrices: dict[int, tuple[int, int | None]]
    rest: list[int]


def _plan(f: Callable, numbers: list[Array], r: Float[Array, "N D"]) -> _Plan:
    program = jax.make_jaxpr(f)(numbers, r[0])
    equations, inputs = program.jaxpr.eqns, program.jaxpr.invars[: len(numbers)]
    place = {var: i for i, var in enumerate(inputs)}
    uses = Counter(v for e in equations for v in _variables(e.invars))
    uses.update(_variables(program.jaxpr.outvars))
    maker = {var: e for e in equations for var in e.outvars}

    def bias_of(v):
        """b in v + b, where neither is used otherwise."""
        add = next((e for e in equations if v in _variables(e.invars)), None)
        if uses[v] != 1 or add is None or add.primitive.name != "add":
            return None
        other = add.invars[1] if add.invars[0] is v else add.invars[0]
        if isinstance(other, Literal) or other.aval.shape != v.aval.shape or uses[other] != 1:
            return None
        made = maker.get(other)
        if made is not None and made.primitive.name in ("reshape", "broadcast_in_dim"):
            (other,) = made.invars
        if isinstance(other, Literal) or uses[other] != 1 or other.aval.size != v.aval.size:
            return None
        return place.get(other)

    matrices = {}
    for number, e in enumerate(equations):
        if e.primitive.name == "dot_general" and not isinstance(e.invars[1], Literal):
            z, W = e.invars
            (_, rows), batches = e.params["dimension_numbers"]
            is_vector = not any(batches) and rows == (0,) and z.aval.size == W.aval.shape[0]
            if W in place and uses[W] == 1 and W.aval.ndim == 2 and is_vector:
                matrices[number] = (place[W], bias_of(e.outvars[0]))
    taken = {i for pair in matrices.values() for i in pair}
    return _Plan(program, matrices, [i for i in range(len(numbers)) if i not in taken])


def _run(plan: _Plan, zeros: dict[int, Array], numbers: list[Array], r: Float[Array, " D"]):
    """f(r), with a zero added to every v, and the vectors z."""
    jaxpr = plan.program.jaxpr
    known = dict(zip(jaxpr.constvars, plan.program.consts, strict=True))
    known |= dict(zip(jaxpr.invars, [*numbers, r], strict=True))
    seen = {}
    for number, e in enumerate(jaxpr.eqns):
        inputs = list(dict.fromkeys(_variables(e.invars)))
        outputs = [v for v in e.outvars if not isinstance(v, DropVar)]
        alone = jaxpr.replace(constvars=[], invars=inputs, outvars=outputs, eqns=[e])
        results = jaxpr_as_fun(ClosedJaxpr(alone, []))(*(known[v] for v in inputs))
        if number in zeros:
            seen[number] = jnp.ravel(known[e.invars[0]])
            results = [results[0] + zeros[number]]
        known |= dict(zip(outputs, results, strict=True))
    return known[jaxpr.outvars[0]], seen


def _variables(atoms: list) -> list:
    return [v for v in atoms if not isinstance(v, Literal)]


def left_over(network: nn.Module, theta: Theta, r: Float[Array, "N D"]) -> int:
    """How many columns `factors` has: C times the parameters that are in no `Layer`."""
    f, numbers = _whole(network, theta)
    plan = _plan(f, numbers, r)
    sizes = (numbers[i].size * (1 + jnp.iscomplexobj(numbers[i])) for i in plan.rest)
    return plan.program.out_avals[0].size * sum(sizes)


def rest(network: nn.Module, theta: Theta, r: Float[Array, "N D"]) -> tuple[Callable, list[Array]]:
    """(numbers, r (N, D)) ↦ f(r) (N, C), and the numbers that are in no `Layer`, as real arrays."""
    f, whole = _whole(network, theta)
    free = _plan(f, whole, r).rest
    split = [i for i in free if jnp.iscomplexobj(whole[i])]
    imaginary = [jnp.imag(whole[i]) for i in split]

    def run(numbers, r):
        parts = dict(zip(free, numbers, strict=False))
        parts |= {
            i: lax.complex(parts[i], imag)
            for i, imag in zip(split, numbers[len(free) :], strict=True)
        }
        return jax.vmap(lambda r: f([parts.get(i, x) for i, x in enumerate(whole)], r))(r)

    return run, [jnp.real(whole[i]) for i in free] + imaginary


def factors(
    network: nn.Module, theta: Theta, r: Float[Array, "N D"], *, with_columns: bool = True
) -> tuple[list[Layer], Float[Array, "N CP"] | None]:
    """The gradients of all outputs by all parameters, without forming those by matrices.

    Returns:
      A `Layer` for every matrix, and the derivatives of the C outputs by each of the P parameters
      left over, side by side. All derivatives are divided by √C, so that products of them are means
      over the outputs.
    """
    f, numbers = _whole(network, theta)
    plan = _plan(f, numbers, r)
    (out,) = plan.program.out_avals
    zeros = {
        i: jnp.zeros(v.aval.shape, v.aval.dtype)
        for i in plan.matrices
        for v in plan.program.jaxpr.eqns[i].outvars
    }
    rest = {i: numbers[i] for i in plan.rest if with_columns}

    def gradients(r):
        run = lambda zeros, rest: _run(
            plan, zeros, [rest.get(i, x) for i, x in enumerate(numbers)], r
        )
        _, pullback, Z = jax.vjp(run, zeros, rest, has_aux=True)
        return Z, jax.vmap(pullback)(jnp.eye(out.size, dtype=out.dtype))

    Z, (deltas, columns) = jax.vmap(gradients)(r)
    flat = lambda part: part.reshape(len(r), -1) / out.size**0.5
    layers = [
        Layer(Z[i], flat(deltas[i]), bias is not None) for i, (_, bias) in plan.matrices.items()
    ]
    parts = lambda x: [jnp.real(x), jnp.imag(x)] if jnp.iscomplexobj(x) else [x]
    empty = jnp.zeros((len(r), 0), out.dtype)
    columns = [flat(part) for column in columns.values() for part in parts(column)]
    columns = jnp.concatenate([empty, *columns], axis=1)
    return layers, columns if with_columns else None


@partial(jax.jit, static_argnums=0)
def diagonal(network: nn.Module, theta: Theta, r: Float[Array, "N D"]) -> Float[Array, " N"]:
    """Θ(r, r) of every sample, without any other entry of the kernel.

        Θ(r, r) = Σ_layers (|z|² + 1) |δ|²

    Its mean is the trace of Θ over N: the mean of the eigenvalues of Θ, and the sum of those of
    Θ/N. May be vmapped over theta.
    """
    square = lambda rows: jnp.sum(jnp.real(rows * jnp.conj(rows)), axis=1)
    found, columns = factors(network, theta, r)
    parts = [(square(layer.Z) + float(layer.bias)) * square(layer.delta) for layer in found]
    return sum(parts, square(columns))


# --- What has no gradient of this kind ----------------------------------------------------------


def check(name: str, network: nn.Module, theta: Theta, r: Float[Array, "N D"]) -> None:
    """Refuse what is no function of one sample in single or double precision.

    Raises:
      ValueError: no Flax Linen module; an attribute that cannot be hashed; an output that is not
        (N, C) or not real; numbers or steps of half precision; samples that are mixed.
    """
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"{name}: network is a {type(network).__name__} and no Flax Linen module; wrap a "
            "function in a module whose __call__ calls it, an NNX class in "
            "flax.nnx.bridge.ToLinen(Class, args=(…))."
        )
    for attribute in (a for a in vars(network) if not a.startswith("_") and a != "parent"):
        try:
            hash(getattr(network, attribute))
        except TypeError:
            raise ValueError(
                f"{name}: the network's attribute {attribute} cannot be hashed; make a list a "
                "tuple, and an array a variable: self.variable('fixed', name, lambda: array)."
            ) from None
    kinds = {str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(theta["params"])}
    if odd := kinds - {"float32", "float64", "complex64", "complex128"}:
        raise ValueError(
            f"{name}: theta has {odd.pop()} parameters, whose gradient is too coarse or none; cast "
            "them to float32, or move them out of theta['params']."
        )
    shape = lambda x: jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x))
    leaves, tree = jax.tree.flatten(theta)
    r = jax.ShapeDtypeStruct((1, np.shape(r)[1]), jnp.result_type(r))
    problem = _problem(network, tree, tuple(shape(leaf) for leaf in leaves), r)
    if problem:
        raise ValueError(f"{name}: the network {problem}.")


@lru_cache(maxsize=256)
def _problem(network: nn.Module, tree: Any, shapes: tuple, r: jax.ShapeDtypeStruct) -> str:
    """What is wrong with a network of such numbers; empty if nothing is."""
    apply = lambda leaves, r: network.apply(tree.unflatten(leaves), r)
    program, f = jax.make_jaxpr(apply, return_shape=True)(shapes, r)
    if not hasattr(f, "shape"):
        return f"returns a {type(f).__name__}; wrap it in a module that returns one array (N, C)"
    if f.ndim != 2 or len(f) != 1:
        return f"returns {f.shape} for one sample; it must return (1, C)"
    if jnp.issubdtype(f.dtype, jnp.complexfloating):
        return "returns complex numbers; return real and imaginary part as two channels"
    if f.dtype.itemsize < 4 or _has_half(program.jaxpr):
        return "computes in half precision; give its layers dtype=jnp.float32"
    if _mixes(apply, list(shapes), r):
        return "mixes its samples; replace a mean over them by a fixed number, as BatchNorm does "\
            "with use_running_average=True"  # fmt: skip
    return ""


def _has_half(jaxpr: Jaxpr) -> bool:
    made = [var.aval.dtype for e in jaxpr.eqns for var in e.outvars if hasattr(var.aval, "dtype")]
    coarse = any(jnp.issubdtype(d, jnp.floating) and jnp.finfo(d).bits < 32 for d in made)
    return coarse or any(_has_half(inner) for inner in subjaxprs(jaxpr))


def _mixes(apply: Callable, shapes: list, r: jax.ShapeDtypeStruct) -> bool:
    """Whether four samples' outputs change, by a single bit, when four others do.

    The numbers are drawn here: mixing is a matter of the program, not of its numbers.
    """
    rng = np.random.default_rng(0)
    draw = lambda like, shape: rng.uniform(0.1, 1, shape).astype(like.dtype)
    leaves = [draw(like, like.shape) for like in shapes]
    same, some, other = (draw(r, (4, *r.shape[1:])) for _ in range(3))
    eight = jax.ShapeDtypeStruct((8, *r.shape[1:]), r.dtype)
    run = jax.jit(apply).lower(shapes, eight).compile()  # runs while others are traced, too
    before, after = (np.asarray(run(leaves, np.concatenate([same, x]))) for x in (some, other))
    return not np.array_equal(before[:4], after[:4], equal_nan=True)
