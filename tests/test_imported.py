"""Files written as PyTorch writes them, against their formula in NumPy, float64."""

import io
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import scipy.special

from inrlib import atoms, fitting, imported, networks, ntk, signals, weights
from inrlib.imported import from_torch

R = np.random.default_rng(1).uniform(-1, 1, (9, 2))


def state(names, widths=(12, 12, 12), dims=2, outputs=3, seed=0, dtype=np.float32):
    """Layers of these names, drawn as torch.nn.Linear draws: W (out, in) and b, U(±1/√in)."""
    rng, tensors = np.random.default_rng(seed), {}
    for name, fan_in, out in zip(names, (dims, *widths), (*widths, outputs), strict=True):
        draw = lambda *shape, bound=fan_in**-0.5: rng.uniform(-bound, bound, shape).astype(dtype)
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = draw(out, fan_in), draw(out)
    return tensors


def stored(tmp_path, tensors, name="mine.safetensors"):
    path = tmp_path / name
    path.write_bytes(safetensors.numpy.save(tensors))
    return path


def by_hand(tensors, names, rho, r=R, omega0=1.0, hidden=1.0):
    """The formula, layer by layer, in float64 and complex128; ρ(v, ω) if it takes both."""
    z = np.asarray(r, float)
    for i, name in enumerate(names):
        W, b = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        z = z @ W.astype(np.promote_types(W.dtype, float)).T + b
        omega = omega0 if i == 0 else hidden
        if i < len(names) - 1:
            z = rho(z, omega) if rho.__name__ == "both" else rho(omega * z)
    return z


LAYOUTS = {
    "SIREN, modules.py": [f"net.net.{i}.0" for i in range(4)],
    "SIREN, notebook": [*(f"net.{i}.linear" for i in range(3)), "net.3"],
    "siren-pytorch": [*(f"layers.{i}" for i in range(3)), "last_layer"],
    "siren-pytorch, early": [*(f"net.{i}" for i in range(3)), "last_layer"],
    "Sequential": ["0", "2", "4", "6"],
    "data parallel": [f"module.net.{i}" for i in range(4)],
    "from one": [f"fc{i}" for i in range(1, 5)],
    "wider than ten": None,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_output_is_that_of_the_formula(layout, tmp_path):
    names = LAYOUTS[layout] or [f"net.{i}" for i in range(12)]
    tensors = state(names, widths=(12,) * (len(names) - 1))
    path = stored(tmp_path, tensors)
    network, theta, notes = from_torch(path, omega0=20, hidden_omega0=3.0)
    assert type(network) is networks.SIREN
    assert notes["layers"] == names
    assert (notes["omega0"], notes["hidden_omega0"]) == (20, 3.0)
    expected = by_hand(tensors, names, np.sin, omega0=20, hidden=3)
    f = network.apply(theta, jnp.asarray(R, jnp.float32))
    np.testing.assert_allclose(f, expected, atol=3e-5)


FORMULAS = {
    "sine": np.sin,
    "relu": lambda v: np.maximum(v, 0),
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda v: np.log1p(np.exp(v)),
    "elu": lambda v: np.where(v > 0, v, np.expm1(v)),
    "selu": lambda v: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(v)),
    "silu": lambda v: v * scipy.special.expit(v),
    "gelu": lambda v: v * scipy.special.ndtr(v),
}


def test_every_activation_has_its_formula():
    assert {*FORMULAS, "finer", "wire", "gaussian"} == set(imported.ACTIVATIONS)


@pytest.mark.parametrize("activation", FORMULAS)
def test_every_activation_is_pytorchs(activation, tmp_path):
    names = LAYOUTS["Sequential"]
    tensors = state(names)
    network, theta, _ = from_torch(stored(tmp_path, tensors), activation)
    usual = 30 if activation == "sine" else 1
    expected = by_hand(tensors, names, FORMULAS[activation], omega0=usual, hidden=usual)
    f = network.apply(theta, jnp.asarray(R, jnp.float32))
    np.testing.assert_allclose(f, expected, atol=3e-4 if usual == 30 else 1e-6)


NOTEBOOK = LAYOUTS["SIREN, notebook"]


def test_finer_is_the_published_formula(tmp_path):
    def both(v, omega):
        return np.sin(omega * (np.abs(v) + 1) * v)

    tensors = state(NOTEBOOK)
    network, theta, _ = from_torch(stored(tmp_path, tensors), "finer", omega0=10, hidden_omega0=5)
    assert type(network) is networks.FINER
    f = network.apply(theta, jnp.asarray(R, jnp.float32))
    np.testing.assert_allclose(f, by_hand(tensors, NOTEBOOK, both, R, 10, 5), atol=1e-4)


def test_gaussian_is_the_published_formula_and_asks_for_its_scale(tmp_path):
    tensors = state(NOTEBOOK)
    path = stored(tmp_path, tensors)
    with pytest.raises(ValueError, match=r"does not hold s0; give s0=… \(10 in WIRE's code, 30 in"):
        from_torch(path, "gaussian")
    network, theta, _ = from_torch(path, "gaussian", s0=4)
    assert type(network) is networks.Gaussian
    expected = by_hand(tensors, NOTEBOOK, lambda v: np.exp(-((4 * v) ** 2)))
    f = network.apply(theta, jnp.asarray(R, jnp.float32))
    np.testing.assert_allclose(f, expected, atol=1e-5)


def wire(omegas=(9.0, 7.0, 7.0), scales=(3.0, 3.0, 3.0)):
    """As its repository has it: the first layer real, the others complex, ω0 and s0 in the file."""
    one, two = state(NOTEBOOK), state(NOTEBOOK, seed=5)
    tensors = {}
    for name, a in one.items():
        tensors[name] = a if ".0." in name else (a + 1j * two[name]).astype(np.complex64)
    for i, (omega, scale) in enumerate(zip(omegas, scales, strict=True)):
        tensors[f"net.{i}.omega_0"] = np.array([omega], np.float32)
        tensors[f"net.{i}.scale_0"] = np.array([scale], np.float32)
    return tensors


def as_pairs(tensors):
    """What torch.view_as_real makes."""
    pair = lambda a: np.stack([a.real, a.imag], -1) if np.iscomplexobj(a) else a
    return {name: pair(a) for name, a in tensors.items()}


@pytest.mark.parametrize("layout", [dict, as_pairs])
def test_wire_is_the_published_formula(layout, tmp_path):
    def both(v, omega):
        return np.exp(1j * omega * v - np.abs(3 * v) ** 2)

    tensors = wire()
    network, theta, notes = from_torch(stored(tmp_path, layout(tensors)), "wire")
    assert type(network) is networks.WIRE
    assert (notes["omega0"], notes["hidden_omega0"], notes["s0"]) == (9, 7, 3)
    expected = by_hand(tensors, NOTEBOOK, both, R, 9, 7).real
    f = network.apply(theta, jnp.asarray(R, jnp.float32))
    np.testing.assert_allclose(f, expected, atol=1e-5 * np.abs(expected).max())


def test_wire_refuses(tmp_path):
    bare = {name: a for name, a in wire().items() if name.endswith(("weight", "bias"))}
    real = wire() | {"net.1.weight": np.zeros((12, 12), np.float32)}
    for tensors, message in (
        (bare, r"does not hold omega0; give omega0=… \(20"),
        (real, "the complex layers are net.2.linear, net.3; of WIRE's code all but the first"),
        (wire(omegas=(9.0, 7.0, 6.0)), "differ from layer to layer"),
        (wire(scales=(3.0, 2.0, 3.0)), "differ from layer to layer"),
    ):
        tensors = {n.replace("net.1.weight", "net.1.linear.weight"): a for n, a in tensors.items()}
        with pytest.raises(ValueError, match=message):
            from_torch(stored(tmp_path, tensors), "wire")
    with pytest.raises(ValueError, match="complex layers are"):
        from_torch(stored(tmp_path, bare), "sine")
    network, _, _ = from_torch(stored(tmp_path, bare), "wire", omega0=9, hidden_omega0=7, s0=3)
    assert network.hidden_omega0 == 7


def test_the_numbers_are_those_of_a_network_of_the_package(tmp_path):
    """The same names, shapes and types as `init` makes, so that all that takes one takes it."""
    for activation in ("sine", "relu", "tanh", "finer", "gaussian", "wire"):
        tensors = wire() if activation == "wire" else state(NOTEBOOK)
        scale = {"s0": 10} if activation == "gaussian" else {}
        network, theta, _ = from_torch(stored(tmp_path, tensors), activation, **scale)
        own = networks.init(network, jax.random.key(0), 2)
        shape = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
        assert shape(dict(theta)) == shape(own)


def test_what_takes_a_network_takes_it(tmp_path):
    tensors = state(LAYOUTS["SIREN, notebook"], outputs=1)
    network, theta, _ = from_torch(stored(tmp_path, tensors))
    r = signals.grid((8, 8), -1, 1)
    K = ntk.gram(network, theta, r)
    assert atoms.eigenfunctions(K, 4).functions.shape == (64, 4)
    g = jnp.sin(3 * r[:, :1])
    fit = fitting.fit(network, theta, r, g, steps=20, learning_rate=1e-3, progress=False)
    assert fit.psnr[-1] > fit.psnr[0]
    weights.save(tmp_path / "kept.safetensors", network, theta)
    kept = weights.load(tmp_path / "kept.safetensors")
    np.testing.assert_array_equal(kept.network.apply(kept.theta, r), network.apply(theta, r))


def test_a_network_with_a_function_is_not_saved(tmp_path):
    network, theta, _ = from_torch(stored(tmp_path, state(["0", "2", "4", "6"])), "tanh")
    with pytest.raises(ValueError, match="rho is a function"):
        weights.save(tmp_path / "kept.safetensors", network, theta)


def test_columns_first_and_signed(tmp_path):
    names = LAYOUTS["SIREN, notebook"]
    tensors = state(names)
    path = stored(tmp_path, tensors)
    network, theta, _ = from_torch(path, columns_first=True, signed=True)
    expected = (by_hand(tensors, names, np.sin, R[:, ::-1], 30, 30) + 1) / 2
    f = network.apply(theta, jnp.asarray(R, jnp.float32))
    np.testing.assert_allclose(f, expected, atol=3e-4)


def test_half_and_double_precision_become_float32(tmp_path):
    names = LAYOUTS["Sequential"]
    for dtype in (np.float16, np.float64):
        tensors = state(names, dtype=dtype)
        network, theta, _ = from_torch(stored(tmp_path, tensors), "tanh")
        assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype("float32")}
        f = network.apply(theta, jnp.asarray(R, jnp.float32))
        np.testing.assert_allclose(f, by_hand(tensors, names, np.tanh), atol=1e-6)


def test_bfloat16_is_read_to_the_bit(tmp_path):
    tensors = state(LAYOUTS["Sequential"])
    coarse = {name: np.asarray(jnp.asarray(a, jnp.bfloat16)) for name, a in tensors.items()}
    _, theta, _ = from_torch(stored(tmp_path, coarse), "relu")
    expected = np.asarray(coarse["0.weight"].astype(np.float32)).T
    np.testing.assert_array_equal(theta["params"]["hidden_0"]["kernel"], expected)


def without(*names):
    return lambda t: [t.pop(name) for name in names]


def put(**arrays):
    return lambda t: t.update({name.replace("__", "."): a for name, a in arrays.items()})


def transpose(t):
    t.update({name: np.ascontiguousarray(a.T) for name, a in t.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("net.1.bias"), r"net\.1 has no bias.*zeros of shape \(12,\)"),
        (without("net.1.weight"), r"numbered 0, 2, 3"),
        (without("net.1.weight", "net.1.bias"), r"numbered 0, 2, 3, so one is missing"),
        (without("net.3.weight"), r"net\.3 has a bias and no weight"),
        (without("net.0.weight", "net.0.bias"), "takes 12 numbers, which are no coordinates"),
        (transpose, "stored as .in, out.*transpose every weight"),
        (put(net__1__weight=np.zeros((12, 5), np.float32)), "net.0 makes 12 .* net.1 takes 5"),
        (put(net__1__bias=np.zeros(5, np.float32)), r"a bias \(5,\) for a weight \(12, 12\)"),
        (put(net__1__weight=np.zeros((12, 12, 2), np.float32)), "a linear layer has .out, in"),
        (put(net__1__weight=np.full((12, 12), np.nan, np.float32)), "NaN or infinity in net.1"),
        (put(net__1__weight=np.full((12, 12), 1e300)), "NaN or infinity in net.1"),
        (put(net__1__weight=np.zeros((12, 12), np.int8)), "type I8; weights are floats"),
        (put(net__0__weight_g=np.zeros(12, np.float32)), "remove weight_norm"),
        (put(other__0__weight=np.zeros((12, 12), np.float32)), "the same number"),
        (put(a__weight=np.zeros((3, 3), np.float32), b__weight=np.zeros((3, 3), np.float32)),
         "order of .* is not clear"),
    ],
)  # fmt: skip
def test_what_is_no_stack_is_refused_in_a_sentence(change, message, tmp_path):
    tensors = state([f"net.{i}" for i in range(4)])
    change(tensors)
    with pytest.raises(ValueError, match=message) as caught:
        from_torch(stored(tmp_path, tensors))
    assert "\n" not in str(caught.value)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("data.pkl", pickle.dumps({"a": 1}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(), "was written by torch.save.*save_file"),
        (pickle.dumps({"net.0.weight": 1}), "was written by torch.save.*save_file"),
        (b"", "damaged or no safetensors file"),
        (b"\x10" + b"\0" * 30, "damaged or no safetensors file"),
        (safetensors.numpy.save(state(["0", "1", "2", "3"]))[:-1], "damaged or no safetensors"),
        (safetensors.numpy.save({}), "0 layers with a number"),
    ],
    ids=["zip", "pickle", "nothing", "zeros", "torn", "empty"],  # a zip has its second in it
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        from_torch(path)


def test_what_the_reader_says_is_checked(tmp_path):
    path = stored(tmp_path, state(LAYOUTS["siren-pytorch"]))
    with pytest.raises(ValueError, match=r"give hidden_omega0=… .*siren-pytorch"):
        from_torch(path)
    with pytest.raises(ValueError, match="'swish' must be one of sine, finer"):
        from_torch(path, "swish")
    with pytest.raises(ValueError, match="omega0: the activation 'relu' has none"):
        from_torch(path, "relu", omega0=30)
    with pytest.raises(ValueError, match=r"omega0=-1\.0 must be a finite number greater than 0"):
        from_torch(path, omega0=-1, hidden_omega0=1)
    with pytest.raises(FileNotFoundError, match="no file"):
        from_torch(tmp_path / "none.safetensors")
