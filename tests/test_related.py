"""The families that came after the paper, and the options of all, against NumPy in float64."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jacobians import coordinates, double, draw, error, explicit

from inrlib import explorers, layers, networks, ntk, plots, weights
from inrlib.fitting import fit
from inrlib.networks import FINER, IPE, SIREN, STAF, WIRE, Gaussian, Grid, Prefiltered

KEY = jax.random.key(0)
NEW = {
    "FINER": FINER((8, 6), 2, mapping_width=5),
    "WIRE": WIRE((8, 6), 2, mapping_width=5),
    "Gaussian": Gaussian((8, 6), 2, mapping_width=5),
    "STAF": STAF((8, 6), 2, mapping_width=5, tau=3),
    "IPE": IPE((8, 6), 2, octaves=4),
    "prefiltered": Prefiltered((8, 6), 2, mapping_width=10),
    "box": Prefiltered((8, 6), 2, mapping_width=10, response="box"),
    "grid": Grid((8, 6), 2, levels=2, cells=8),
}
every = pytest.mark.parametrize("name", NEW)
slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)


def table(T, u):
    """Linear between nodes, which repeat: the sum over all nodes of products of hats."""
    side, out = T.shape[0], 0
    for node in np.ndindex(*T.shape[:-1]):
        away = np.abs((u - np.array(node) + side / 2) % side - side / 2)
        out = out + np.maximum(1 - away, 0).prod(-1, keepdims=True) * T[node]
    return out


def by_hand(name, p, fixed, r):
    """f(r) as the papers have it; p and fixed are plain NumPy."""
    dense = lambda z, layer: z @ p[layer]["kernel"] + p[layer]["bias"]
    finer = lambda v, omega: np.sin(omega * (np.abs(v) + 1) * v)
    gabor = lambda v, omega: np.exp(1j * omega * v - np.abs(fixed["s0"] * v) ** 2)
    bell = lambda v, _: np.exp(-((fixed["s0"] * v) ** 2))
    if name == "STAF":
        z, omega = r, fixed["omega0"]
        for i, layer in enumerate(("first", "hidden_0", "hidden_1")):
            v = dense(z, layer)
            w, phi, b = omega * p["u"][i], p["phi"][i], p["b"][i]
            z, omega = sum(b[t] * np.sin(w[t] * v + phi[t]) for t in range(3)), 30
        return dense(z, "readout")
    if name in ("FINER", "WIRE", "Gaussian"):
        rho, omega = {"FINER": (finer, 30), "WIRE": (gabor, 20), "Gaussian": (bell, 0)}[name]
        z = rho(dense(r, "first"), fixed.get("omega0"))
        for layer in ("hidden_0", "hidden_1"):
            z = rho(dense(z, layer), omega)
        if name == "WIRE":  # the complex readout's real part
            W = p["readout"]["kernel"]
            W = W[: len(W) // 2] + 1j * W[len(W) // 2 :]
            return (z @ W).real + p["readout"]["bias"]
        return dense(z, "readout")
    if name == "IPE":
        omegas = [2 * np.pi * fixed["f0"] * 2**k for k in range(4)]
        blur = lambda omega: np.exp(-0.5 * fixed["blur"] ** 2 * omega**2)
        z = [blur(w) * wave(w * r) for wave in (np.sin, np.cos) for w in omegas]
    elif name == "grid":
        n = fixed["resolution"]
        z = [table(p[f"tables_{i}"]["table"], n * r / (2 - i)) for i in range(2)]
    else:
        f = fixed["sigma"] * fixed["B"]["kernel"]
        H = {
            "prefiltered": 0.5 ** ((f**2).sum(0) / fixed["cutoff"] ** 2),
            "box": np.sinc(0.60336 * f / fixed["cutoff"]).prod(0),
        }[name]
        z = [H * np.sin(2 * np.pi * r @ f), H * np.cos(2 * np.pi * r @ f)]
    z = np.concatenate(z, axis=-1)
    for layer in ("hidden_0", "hidden_1"):
        z = np.maximum(dense(z, layer), 0)
    return dense(z, "readout")


@every
@pytest.mark.parametrize("dims", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.few(4)
def test_a_family_is_its_formula(name, dims, float64):
    theta = double(draw(NEW[name], dims))
    r = np.random.default_rng(0).uniform(-1, 1, (9, dims))
    p, fixed = (jax.tree.map(np.asarray, theta[part]) for part in ("params", "fixed"))
    np.testing.assert_allclose(
        NEW[name].apply(theta, r), by_hand(name, p, fixed, r), rtol=1e-9, atol=1e-10
    )


def test_a_table_stands_on_its_nodes_in_three_dimensions():
    network = Grid((4,), levels=2, cells=4)
    theta = networks.init(network, KEY, 3, resolution=4.0)
    z = network.apply(theta, jnp.array([[0.25, 0.5, 1.75]]), method="mapping")
    assert z[0, 2:].tolist() == theta["params"]["tables_1"]["table"][1, 2, 3].tolist()
    with pytest.raises(ValueError, match=r"4 coordinates .* at most 3\."):
        networks.init(network, KEY, 4)


@every
@pytest.mark.few(3)
def test_a_kernel_is_its_jacobians(name):
    network = NEW[name]
    theta, r = draw(network, 2), coordinates(2, 15, seed=1)
    expected = explicit(network, theta, r, r)
    with jax.enable_x64(True):
        wide = double((theta, r))
        assert error(ntk.gram(network, *wide), expected) < 1e-12
        assert error(ntk.operator(network, *wide)(jnp.eye(15)), expected) < 1e-12


def test_complex_matrices_have_factors():
    theta, r = draw(NEW["WIRE"], 2), coordinates(2, 3, seed=1)
    found, columns = layers.factors(NEW["WIRE"], theta, r)
    assert columns.shape == (3, 0)
    assert [layer.delta.dtype.kind for layer in found] == ["f", "c", "c", "f"]
    assert error(ntk.gram(NEW["WIRE"], theta, r), explicit(NEW["WIRE"], theta, r, r)) < 1e-5


def normalised(v, statistics, scale, shift):
    mean, variance = statistics(v)
    return scale * (v - mean) / np.sqrt(variance + 1e-5) + shift


@pytest.mark.parametrize(
    ("family", "norm"),
    [(SIREN, "layer"), (WIRE, "batch"), slow(SIREN, "batch"), slow(WIRE, "layer")],
)
@pytest.mark.few(1)
def test_a_norm_is_its_formula_and_its_kernel_the_jacobians(family, norm, float64):
    network = family((7, 6), mapping_width=5, norm=norm)
    theta, r = double(draw(network, 2)), np.random.default_rng(1).uniform(-1, 1, (15, 2))
    axis = {"layer": -1, "batch": 0}[norm]
    moments = lambda v: (v.mean(axis, keepdims=True), v.var(axis, keepdims=True))
    if norm == "batch":
        theta = networks.calibrate(network, theta, r)
    p = jax.tree.map(np.asarray, theta["params"])
    rho = {
        SIREN: lambda v, omega: np.sin(omega * v),
        WIRE: lambda v, omega: np.exp(1j * omega * v - 100 * np.abs(v) ** 2),
    }[family]
    omega = {SIREN: 30, WIRE: 20}[family]
    z = rho(r @ p["first"]["kernel"] + p["first"]["bias"], omega)
    for i in range(2):
        v = z @ p[f"hidden_{i}"]["kernel"] + p[f"hidden_{i}"]["bias"]
        z = rho(normalised(v, moments, p[f"norms_{i}"]["scale"], p[f"norms_{i}"]["shift"]), omega)
    z = np.concatenate([z.real, -z.imag], -1) if family is WIRE else z
    f = z @ p["readout"]["kernel"] + p["readout"]["bias"]
    np.testing.assert_allclose(network.apply(theta, r), f, rtol=0, atol=1e-10)
    # Of one sample alone, too: what was measured stays.
    np.testing.assert_allclose(network.apply(theta, r[:1]), f[:1], rtol=0, atol=1e-10)
    expected = explicit(network, theta, r, r)
    assert error(ntk.gram(network, theta, jnp.asarray(r)), expected) < 1e-12


def test_what_goes_into_a_normalised_sine_starts_with_variance_1():
    network = SIREN((64,), mapping_width=64, norm="batch")
    r = coordinates(2, 256, seed=1)
    theta = networks.calibrate(network, networks.init(network, KEY, 2), r)
    z = network.apply(theta, r, method="mapping")
    v = network.apply(theta, 0, z, method="before")
    np.testing.assert_allclose((30 * v).var(0), 1, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"norm": "layer"}, {"norm": "batch"}, {"alpha": 2.0}], ids=str)
@pytest.mark.parametrize("family", networks.families())
def test_every_family_with_every_option_has_the_jacobians_kernel(family, options, float64):
    small = {"cells": 8, "levels": 2} if family == "grid" else {}
    network = networks.families()[family].sized(8, 2, 2, **options, **small)
    theta, r = double(draw(network, 2)), double(coordinates(2, 15, seed=1))
    if options.get("norm") == "batch":
        theta = networks.calibrate(network, theta, r)
    expected = explicit(network, theta, r, r)
    assert error(ntk.gram(network, theta, r), expected) < 1e-12
    assert error(ntk.operator(network, theta, r)(jnp.eye(15)), expected) < 1e-12


@pytest.mark.parametrize("name", ["WIRE", "prefiltered"])
@pytest.mark.few(1)
def test_alpha_scales_all_matrices_but_the_readouts(name):
    network = NEW[name]
    plain, scaled = (networks.init(network.clone(alpha=a), KEY, 2) for a in (1.0, 2.5))
    places = jax.tree_util.tree_leaves_with_path(plain)
    for (place, one), other in zip(places, jax.tree.leaves(scaled), strict=True):
        names = jax.tree_util.keystr(place)
        is_scaled = "kernel" in names and "readout" not in names
        np.testing.assert_allclose(other, (2.5 if is_scaled else 1) * one, rtol=1e-6)


def test_draws_are_as_published():
    p = networks.init(FINER((256,), bias_scale=5.0), KEY, 2)["params"]
    assert 4.8 < jnp.abs(p["first"]["bias"]).max() <= 5
    assert 0.45 < jnp.abs(p["first"]["kernel"]).max() <= 0.5
    assert float(p["hidden_0"]["kernel"].std()) == pytest.approx((2 / 256) ** 0.5 / 30, rel=0.02)
    p = networks.init(WIRE((256,)), KEY, 2)["params"]
    for part in (jnp.real, jnp.imag):
        assert float(part(p["hidden_0"]["kernel"]).std()) == pytest.approx(3**-0.5 / 16, rel=0.02)
    assert p["first"]["kernel"].dtype == jnp.float32
    p = networks.init(STAF((8,), tau=5000), KEY, 2)["params"]
    assert float(p["u"].mean()) == pytest.approx(0.5, abs=0.02)
    assert float((p["b"] ** 2).mean()) == pytest.approx(1 / 10000, rel=0.05)
    largest = [jnp.abs(t["table"]).max() for n, t in networks.init(Grid(), KEY, 2)["params"].items()
               if "tables" in n]  # fmt: skip
    assert len(largest) == 4
    assert all(0.9e-4 < size <= 1e-4 for size in largest)


def test_s0_is_the_standard_deviation_of_a_ridges_energy():
    """The DFT of exp(−(s0 v)²), squared, in rad per unit."""
    v = np.arange(-4096, 4096) / 512
    energy = np.abs(np.fft.fft(np.exp(-((10 * v) ** 2)))) ** 2
    rad = 2 * np.pi * np.fft.fftfreq(len(v), 1 / 512)
    assert np.sqrt((energy * rad**2).sum() / energy.sum()) == pytest.approx(10, rel=1e-3)


def test_finers_derivative_is_the_true_one(float64):
    network = FINER((), mapping_width=1)
    theta = networks.init(network, KEY, 1)
    slope = jax.vmap(jax.grad(lambda v: network.apply(theta, v, method="activation")))
    v = jnp.linspace(-1, 1, 101)
    np.testing.assert_allclose(
        slope(v), 30 * (2 * abs(v) + 1) * np.cos(30 * (abs(v) + 1) * v), atol=1e-10
    )


@every
@pytest.mark.few(3)
def test_a_slider_compiles_nothing(name, compiled):
    network = NEW[name]
    theta, r = networks.init(network, KEY, 2), jnp.full((3, 2), 0.3)
    knob, apply = network.knob, jax.jit(network.apply)
    apply(networks.tune(theta, **{knob.name: knob.usual}), r)
    compiled.clear()
    drawn = [
        apply(networks.tune(theta, **{knob.name: x}), r) for x in (knob.low + 0.1, 2 * knob.usual)
    ]
    assert not compiled
    assert not np.allclose(*drawn, rtol=1e-4, atol=0)


@every
@pytest.mark.few(2)
def test_fit_trains_it(name):
    network, r = type(NEW[name]).sized(16, 1), jnp.linspace(-1, 1, 48)[:, None]
    theta = networks.init(network, KEY, 1)
    rate = 1e-2 if name in ("grid", "Gaussian", "WIRE") else 3e-3
    g = jnp.sin(2 * jnp.pi * r)
    result = fit(network, theta, r, g, steps=150, learning_rate=rate, progress=False)
    assert result.psnr[-1] > result.psnr[0] + 6


def test_numbers_keep_their_type():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        for network in (*NEW.values(), WIRE((4,), norm="layer"), STAF((4,), norm="batch")):
            for dtype, wide in ((jnp.float32, jnp.complex64), (jnp.float64, jnp.complex128)):
                make = lambda network=network, dtype=dtype: networks.init(network, KEY, 2, dtype)
                theta = jax.eval_shape(make)
                kinds = {leaf.dtype for leaf in jax.tree.leaves(theta)}
                assert kinds <= {jnp.dtype(dtype), jnp.dtype(wide)}
                shape = jax.eval_shape(network.apply, theta, jnp.zeros((3, 2), dtype))
                assert shape.dtype == dtype


def test_weights_take_complex_numbers_tables_and_options(tmp_path):
    for network in (WIRE((70,), mapping_width=70), Grid((8,)), SIREN((4,), norm="batch", alpha=2)):
        theta = networks.init(network, KEY, 2)
        weights.save(tmp_path / "w.safetensors", network, theta)
        found = weights.load(tmp_path / "w.safetensors")
        assert found.network == network
        for a, b in zip(jax.tree.leaves(found.theta), jax.tree.leaves(theta), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, atol=float(jnp.abs(b).max()) / 250)


@pytest.mark.parametrize("labels", [("FINER", "SIREN"), slow(None)])
def test_the_explorer_shows_every_family_and_says_where_there_are_no_sines(labels):
    explorer = explorers.families(pixels_a_side=16)
    sines = set()
    for label in labels or networks.families():
        frame = explorer.at(family=label).frame
        assert np.isfinite(frame["picture"]).all()
        assert np.ptp(frame["picture"]) > 0.1
        assert (len(frame["Omega"][0]) > 0) == (frame["mapping"] == "mapping frequencies Ω")
        sines |= {label} if len(frame["Omega"][0]) else set()
    without = {"FINER", "WIRE", "Gaussian", "grid"}
    assert set(labels or networks.families()) - sines == without & set(labels or without)


@pytest.mark.parametrize("family", ["WIRE", slow("grid"), slow("STAF"), slow("prefiltered")])
def test_the_dashboard_takes_it(family):
    frame = explorers.dashboard().at(family=family, width=32, depth=1).frame
    assert all(np.isfinite(frame[part]).all() for part in ("fit", "level", "wall"))


def colour_distance(one, other):
    """Euclid in CIELAB, the least of full, protan and deutan vision (Machado et al. 2009)."""
    machado = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]],
    ]  # fmt: skip
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip

    def lab(colour, vision):
        c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        x = to_xyz @ np.clip(vision @ c, 0, 1) / [0.95047, 1, 1.08883]
        f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    return min(np.linalg.norm(lab(one, np.array(v)) - lab(other, np.array(v))) for v in machado)


def test_colours_can_be_told_apart():
    """No new pair is nearer than the nearest of Okabe and Ito's palette."""
    names = list(plots.COLOURS)
    old = names[: names.index("FINER")]
    pair = lambda a, b: colour_distance(plots.COLOURS[a], plots.COLOURS[b])
    least = min(pair(a, b) for a in old for b in old if a < b)
    new = [label for label in names if label not in old]
    assert all(pair(a, b) > least for a in new for b in names if a != b)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.init(FINER((4,)), KEY, 2, omega0=0), "^omega0=0 .* greater than 0"),
        (lambda: networks.init(WIRE((4,)), KEY, 2, omega0=-1), "^omega0=-1 .* greater than 0"),
        (lambda: networks.init(WIRE((4,)), KEY, 2, s0=-1), "^s0=-1 .* at least 0"),
        (lambda: networks.init(Gaussian((4,)), KEY, 2, s0=-0.5), "^s0=-0.5 .* at least 0"),
        (lambda: networks.init(IPE((4,)), KEY, 2, blur=-1), "^blur=-1 .* at least 0"),
        (lambda: networks.init(Prefiltered((4,)), KEY, 2, cutoff=0), "^cutoff=0 .* than 0"),
        (lambda: networks.init(Grid((4,)), KEY, 2, resolution=0), "^resolution=0 .* than 0"),
        (lambda: FINER((4,), bias_scale=-1.0), "^bias_scale=-1.0 .* greater than 0"),
        (lambda: WIRE((4,), hidden_omega0=0.0), "^hidden_omega0=0.0 .* greater than 0"),
        (lambda: STAF((4,), tau=0), "^tau=0 .* at least 1"),
        (lambda: SIREN((4,), alpha=0.0), "^alpha=0.0 .* greater than 0"),
        (lambda: SIREN((4,), alpha=-2), "^alpha=-2 .* greater than 0"),
        (lambda: SIREN((4,), alpha=np.inf), "^alpha=inf .* finite"),
        (lambda: SIREN((4,), alpha="2"), "^alpha='2' .* number"),
        (lambda: SIREN((4,), norm="group"), "^norm='group' must be one of '', 'layer', 'batch'"),
        (lambda: Prefiltered((4,), response="lanczos"), "^response='lanczos' must be one of"),
        (lambda: Grid((4,), cells=12), "^cells=12 must be divisible by 8"),
        (lambda: networks.calibrate(SIREN((4,)), {}, np.ones((3, 2))), "take norm=\"batch\""),
        (lambda: networks.calibrate(SIREN((4,), norm="batch"), {}, np.ones((1, 2))), "2 samples"),
    ],
)  # fmt: skip
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_the_papers_families_come_first():
    gc.collect()
    first = ["SIREN", "FFN", "single frequency", "positional encoding", "MFN"]
    assert list(networks.families())[:5] == first
    assert all(getattr(networks, kind.__name__) is kind for kind in networks.families().values())
