from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
from jacobians import coordinates, draw, error, explicit

from inrlib import atoms, faces, networks, ntk, signals, spectra
from inrlib.networks import SIREN


def test_sliding_compiles_nothing(compiled):
    network = SIREN((16, 12), mapping_width=20)
    theta, r = draw(network, 2), coordinates(2, 300, seed=1)

    def frame(omega0, previous):
        theta_omega = networks.tune(theta, omega0=omega0)
        return atoms.eigenfunctions(ntk.gram(network, theta_omega, r), 5, previous)

    first = frame(20.0, frame(10.0, None))
    before = len(compiled)
    second = frame(30.0, first)
    assert len(compiled) == before
    assert error(second.values, np.asarray(first.values, float)) > 0.01


def test_sliding_without_the_matrix_compiles_nothing(compiled):
    network = SIREN((16, 12), mapping_width=20)
    theta, r = draw(network, 2), coordinates(2, 120, seed=1)

    def frame(omega0):
        return atoms.leading(
            ntk.operator(network, networks.tune(theta, omega0=omega0), r, chunk=50), 120, 2
        )

    frame(10.0)
    before = len(compiled)
    frame(30.0)
    assert len(compiled) == before


@pytest.fixture(scope="module")
def kernel():
    """A SIREN on a 16×16 grid, its Gram matrix, and SciPy's decomposition of it in float64."""
    network = SIREN((32, 32), mapping_width=32)
    theta = networks.init(network, jax.random.key(0), dims=2, omega0=20.0)
    r = signals.grid((16, 16))
    values, vectors = scipy.linalg.eigh(explicit(network, theta, r, r))
    return network, theta, r, values[::-1] / 256, vectors[:, ::-1] * 16


def in_numpy(eigen):
    """For products in all digits: by itself a GPU rounds the factors of one to ten bits."""
    return atoms.Eigen(*map(np.asarray, eigen))


def test_eigenfunctions_all(kernel):
    network, theta, r, values, functions = kernel
    eigen = in_numpy(atoms.eigenfunctions(ntk.gram(network, theta, r)))
    assert error(eigen.values, values) < 1e-5
    assert np.allclose(eigen.functions.T @ eigen.functions / 256, np.eye(256), atol=1e-4)
    assert np.allclose(
        np.abs(np.sum(eigen.functions[:, :10] * functions[:, :10], 0)), 256, rtol=1e-3
    )
    rebuilt = (eigen.functions * eigen.values) @ eigen.functions.T
    assert error(rebuilt, (functions * values) @ functions.T) < 1e-5


def test_a_frame_of_nothing_is_no_frame(kernel):
    """So explorers need no program of its own for the first frame."""
    network, theta, r, *_ = kernel
    K = ntk.gram(network, theta, r)
    nothing = lambda *shape: jnp.full(shape, jnp.nan, jnp.float32)
    blank = atoms.Eigen(nothing(10), nothing(256, 10), nothing(10))
    first, same = (in_numpy(atoms.eigenfunctions(K, 10, before)) for before in (None, blank))
    assert np.allclose(same.values, first.values, rtol=1e-5)
    assert np.allclose(same.functions, first.functions, atol=1e-2)
    largest = np.abs(same.functions).argmax(axis=0)
    assert (same.functions[largest, np.arange(10)] > 0).all()


def test_leading_against_arpack(kernel):
    """Dense and matrix-free, against Lanczos on the explicit matrix."""
    network, theta, r, values, functions = kernel
    reference = (functions * values) @ functions.T
    lanczos = scipy.sparse.linalg.eigsh(reference / 256, k=10)[0][::-1] * 1.0
    matrix = atoms.eigenfunctions(ntk.gram(network, theta, r), 10)
    free = atoms.leading(ntk.operator(network, theta, r, chunk=100), 256, 10)
    for eigen in map(in_numpy, (matrix, free)):
        assert np.abs(eigen.values / lanczos - 1).max() < 1e-4
        assert np.allclose(eigen.functions.T @ eigen.functions / 256, np.eye(10), atol=1e-4)
    assert np.abs(free.values / matrix.values - 1).max() < 1e-4


@pytest.mark.parametrize("decay", [0.5, 0.95])
def test_leading_reports_its_residual(decay):
    """For any symmetric matrix an eigenvalue lies within the residual of the estimate."""
    values = decay ** np.arange(120.0)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(120, 120)))[0]
    matrix = jnp.asarray(rotation * values @ rotation.T, jnp.float32)
    for steps in (1, 4):
        eigen = atoms.leading(lambda V: matrix @ V, 120, 6, steps=steps)
        miss = np.abs(eigen.values[:, None] * 120 - values).min(axis=1)
        assert (miss <= eigen.residuals * values[0] + 1e-6).all()
    assert np.allclose(eigen.values * 120, values[:6], rtol=1e-3)


@pytest.mark.parametrize("samples", [1, 5, 20])
def test_leading_of_a_tiny_matrix(samples):
    matrix = jnp.diag(jnp.arange(samples, 0, -1.0))
    eigen = atoms.eigenfunctions(matrix, min(3, samples))
    assert np.allclose(eigen.values * samples, np.arange(samples, 0, -1)[:3], rtol=1e-3)


def frame(values, functions):
    values = jnp.asarray(values)
    return atoms.Eigen(values, jnp.asarray(functions), jnp.zeros_like(values))


def test_align_keeps_signs_and_the_order_of_close_pairs():
    functions = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 3)))[0] * 50**0.5
    before = frame([1.0, 0.50, 0.49], functions)
    # The second and the third have changed places and all signs have flipped.
    after = frame([1.0, 0.505, 0.495], -functions[:, [0, 2, 1]])
    aligned = atoms.align(after, before)
    assert np.allclose(aligned.functions, functions, atol=1e-6)
    assert np.allclose(aligned.values, [1.0, 0.495, 0.505])
    # Eigenvalues far apart keep their order whatever the functions look like.
    apart = atoms.align(frame([1.0, 0.8, 0.2], -functions[:, [0, 2, 1]]), before)
    assert np.allclose(apart.values, [1.0, 0.8, 0.2])


def test_align_without_a_frame_before():
    functions = np.array([[1.0, 1.0], [-3.0, 2.0]])
    assert np.allclose(atoms.align(frame([2.0, 1.0], functions)).functions, functions * [-1, 1])


def test_energy_concentration(kernel):
    network, theta, r, values, functions = kernel
    eigen = atoms.eigenfunctions(ntk.gram(network, theta, r))
    g = jnp.asarray(functions[:, [0]] + 2 * functions[:, [3]], jnp.float32)
    just_below = (values[[0, 1, 3]] / values[0]) * 0.999
    energy = atoms.energy_concentration(eigen, g, jnp.asarray([*just_below, 0.0]))
    assert np.allclose(energy, [0.2, 0.2, 1.0, 1.0], atol=1e-3)
    # The mean over signals of different size: each counts alike.
    both = jnp.concatenate([100 * g, jnp.asarray(functions[:, [0]], jnp.float32)], axis=1)
    assert np.isclose(atoms.energy_concentration(eigen, both, just_below[:1])[0], 0.6, atol=1e-3)


@pytest.mark.parametrize("omega0", [5.0, 30.0, 100.0])
def test_energy_from_products_follows_all_eigenfunctions(omega0):
    """Against Eq. 11 from LAPACK in float64, on faces: no further than one point's weight."""
    size = 24
    network = networks.SIREN((64,) * 3, mapping_width=64, zero_bias=True)
    theta = networks.tune(draw(network, 2), omega0=omega0)
    gram = ntk.gram(network, theta, signals.grid((size, size)))
    values, functions = np.linalg.eigh(np.asarray(gram, np.float64))
    g = faces.load(size=size).validation[:4].reshape(4, -1).T
    g = g - g.mean(axis=0)
    share = np.mean((functions.T @ g) ** 2 / np.sum(g**2, axis=0), axis=1)
    thresholds = np.logspace(-4, 0, 81)
    direct = np.array([share[values / values[-1] >= t].sum() for t in thresholds])
    largest = values[-1] / size**2
    product = partial(jnp.matmul, gram)
    energy = atoms.energy_from_products(product, jnp.asarray(g, jnp.float32), thresholds, largest)
    assert np.abs(energy - direct).mean() < 0.01
    assert np.abs(energy - direct).max() < 0.08
    assert (np.diff(energy) <= 1e-6).all()


def test_energy_from_products_of_few_eigenfunctions_is_exact(kernel):
    """Lanczos ends early there, and what comes after must not count."""
    network, theta, r, values, functions = kernel
    gram = ntk.gram(network, theta, r)
    g = jnp.asarray(functions[:, [0]] + 2 * functions[:, [3]], jnp.float32)
    thresholds = jnp.asarray([*(values[[0, 1, 3]] / values[0]) * 0.999, 0.0])
    energy = atoms.energy_from_products(partial(jnp.matmul, gram), g, thresholds, values[0])
    assert np.allclose(energy, [0.2, 0.2, 1.0, 1.0], atol=1e-3)
    everything = atoms.energy_from_products(lambda V: V, g, thresholds, 1 / len(g))
    assert np.allclose(everything, 1.0, atol=1e-5)


def identity(samples):
    return frame(np.ones(samples), np.eye(samples) * samples**0.5)


def test_the_identity_kernel_has_all_energy_above_every_threshold_and_none_in_few_atoms():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(400, 30)), jnp.float32)
    eigen = identity(400)
    assert np.allclose(atoms.energy_concentration(eigen, g, jnp.array([0.1, 0.99])), 1, atol=1e-5)
    assert np.allclose(
        atoms.energy_by_number(eigen, g), np.arange(1, 401) / 400, atol=0.02
    )  # noise has the same energy everywhere
    assert np.allclose(atoms.alignment(eigen, g), 400**-0.5, rtol=1e-4)


def test_energy_by_number_does_not_depend_on_the_order_of_the_columns(kernel):
    _, _, _, values, functions = kernel
    g = jnp.asarray(functions[:, [0]] + 2 * functions[:, [3]], jnp.float32)
    eigen = frame(values, functions)
    energy = atoms.energy_by_number(eigen, g)
    assert np.allclose(energy[:5], [0.2, 0.2, 0.2, 1, 1], atol=1e-4)
    order = np.random.default_rng(0).permutation(256)
    mixed = atoms.energy_by_number(frame(values[order], functions[:, order]), g)
    assert np.allclose(mixed, energy, atol=1e-4)


def test_alignment_against_its_definition_with_matrices(kernel):
    _, _, _, values, functions = kernel
    g = np.random.default_rng(0).normal(size=(256, 3)) + 2 * functions[:, :3]
    theta = (functions * values) @ functions.T
    outer = [np.outer(one, one) for one in g.T]
    direct = [np.sum(theta * o) / np.linalg.norm(theta) / np.linalg.norm(o) for o in outer]
    found = atoms.alignment(frame(values, functions), jnp.asarray(g, jnp.float32))
    assert np.allclose(found, direct, rtol=1e-4)
    alone = frame([3.0], functions[:, [5]])  # the kernel g gᵀ
    both = jnp.asarray(functions[:, 5:7], jnp.float32)
    assert np.allclose(atoms.alignment(alone, both), [1, 0], atol=1e-4)


def test_swapping_exchanges_the_factors_of_two_kernels(kernel):
    _, _, _, values, functions = kernel
    one, other = frame(values, functions), identity(256)
    assert np.allclose(atoms.swapped(one, one).values, values)
    both = atoms.swapped(one, other)
    functions = np.asarray(both.functions)  # NumPy's products have all digits on every device
    rebuilt = (functions * np.asarray(both.values)) @ functions.T / 256
    assert np.allclose(rebuilt, np.diag(values), atol=1e-5)
    with pytest.raises(ValueError, match="take both on one grid"):
        atoms.swapped(one, identity(4))


def test_taught_against_matrices_and_its_closed_form(kernel):
    """Everything seen: an error shrinks by 1 − λ_i/λ_0 a step, along each eigenfunction."""
    _, _, _, values, functions = kernel
    eigen = frame(values, functions)
    g = jnp.asarray(functions[:, [0, 2, 7]] * [1.0, 2.0, 3.0], jnp.float32)
    left = g - atoms.taught(eigen, g, np.arange(256), 4)
    shrinks = (1 - values[[0, 2, 7]] / values[0])[None] ** np.arange(5)[:, None]
    assert np.allclose(left, g * shrinks[:, None], atol=2e-3)
    seen = np.random.default_rng(0).permutation(256)[:100]
    theta = (functions * values) @ functions.T / values[0]
    f = expected = np.full(g.shape, 0.5)
    for f in atoms.taught(eigen, g, seen, 3, first=0.5):
        assert np.allclose(f, expected, atol=2e-3)
        expected = expected + theta[:, seen] @ np.asarray(g - expected)[seen] / 100


def test_an_identity_kernel_teaches_nothing_about_what_was_not_seen():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(36, 2)), jnp.float32)
    seen, unseen = np.arange(18), np.arange(18, 36)
    f = atoms.taught(identity(36), g, seen, 30, first=0.25)
    assert np.allclose(f[:, unseen], 0.25)
    assert np.allclose(f[1, seen], 0.25 + 2 * (g - 0.25)[seen], atol=1e-5)


def test_energy_is_the_same_in_the_convention_of_eq_67(kernel):
    _, _, _, values, functions = kernel
    g = np.random.default_rng(0).normal(size=(256, 3))
    unit = functions / 16  # vectors of length 1, inner products as sums
    share = ((unit.T @ g) ** 2 / np.sum(g**2, axis=0)).mean(axis=1)
    direct = [share[values / values[0] >= t].sum() for t in (0.5, 0.1, 0.01)]
    energy = atoms.energy_concentration(
        frame(values, functions), jnp.asarray(g), jnp.array([0.5, 0.1, 0.01])
    )
    assert np.allclose(energy, direct, atol=1e-5)


def test_an_identity_kernel_scores_as_the_null():
    """All energy above any threshold, for noise as for a face; only the alignment tells."""
    size = 16
    g = faces.load(size=size).validation[:4].reshape(4, -1).T
    noise = np.random.default_rng(0).normal(size=g.shape)
    both = jnp.asarray(np.concatenate([g, noise], axis=1), jnp.float32)
    eigen = atoms.eigenfunctions(jnp.eye(size**2))
    assert np.allclose(atoms.energy_concentration(eigen, both, jnp.array([0.999])), 1, atol=1e-4)
    null = np.asarray(ntk.centred_alignment(jnp.eye(size**2), both))
    assert np.allclose(null, (size**2 - 1) ** -0.5, rtol=1e-4)
    r = signals.grid((size, size))
    network = SIREN((32, 32), mapping_width=32, zero_bias=True)
    K = ntk.gram(network, networks.init(network, jax.random.key(0), 2, omega0=10.0), r)
    aligned = np.asarray(ntk.centred_alignment(K, both))
    assert aligned[:4].mean() > 2 * null[0]
    assert aligned[4:].max() < 1.5 * null[0]


def test_alignment_is_the_mean_eigenvalue_at_the_signal(kernel):
    """Against its eigenfunctions in float64, and 1 for a kernel made of the signal."""
    _, _, _, values, functions = kernel
    K = (functions * values) @ functions.T
    g = np.random.default_rng(1).normal(size=(256, 3)) + 5
    H = np.eye(256) - 1 / 256
    centred_values, centred = np.linalg.eigh(H @ K @ H)
    shares = (centred.T @ H @ g) ** 2 / np.sum((H @ g) ** 2, axis=0)
    expected = centred_values @ shares / np.linalg.norm(centred_values)
    assert np.allclose(
        ntk.centred_alignment(jnp.asarray(K, jnp.float32), jnp.asarray(g)), expected, 1e-3
    )
    assert np.allclose(ntk.centred_alignment(g[:, :1] @ g[:, :1].T, g[:, :1]), 1, atol=1e-4)
    assert np.allclose(ntk.centred_alignment(1e3 * K, g), ntk.centred_alignment(K, g), rtol=1e-4)


def test_without_the_mean_a_constant_in_the_kernel_does_not_count(kernel):
    """A constant of any size hides all else behind λ0; projected out, the curve is as before."""
    _, _, _, values, functions = kernel
    K = (functions * values) @ functions.T
    assert np.allclose(ntk.without_mean(K + 100), ntk.without_mean(K), atol=2e-4)
    g = np.random.default_rng(2).normal(size=(256, 3)) + functions[:, 1:4] * 3
    g = jnp.asarray(g - g.mean(axis=0), jnp.float32)
    energy = lambda K: atoms.energy_concentration(
        atoms.eigenfunctions(jnp.asarray(K, jnp.float32)), g, jnp.array([0.1])
    )
    assert energy(K + 100) < 0.01
    assert np.allclose(energy(ntk.without_mean(K + 100)), energy(ntk.without_mean(K)), atol=1e-3)
    assert energy(ntk.without_mean(K)) > 0.1


def test_kernel_norm(kernel):
    """‖φ_i‖² = 1/λ_i, and for any g it is gᵀ Θ⁻¹ g in the mean over the grid."""
    _, _, _, values, functions = kernel
    eigen = frame(values, functions)
    norms = atoms.kernel_norm(eigen, eigen.functions[:, :5], cutoff=0.0)
    assert np.allclose(norms, 1 / values[:5], rtol=1e-3)
    g = functions[:, :20] @ np.arange(20.0)
    theta = (functions[:, :20] * values[:20]) @ functions[:, :20].T
    direct = g @ np.linalg.lstsq(theta, g, rcond=1e-9)[0]
    assert np.isclose(atoms.kernel_norm(eigen, jnp.asarray(g)[:, None])[0], direct, rtol=1e-3)
    rough = atoms.kernel_norm(eigen, eigen.functions[:, -1:], cutoff=0.1)
    assert np.isclose(rough[0], 10 / values[0], rtol=1e-3)


@pytest.mark.parametrize("shape", [(16, 24), (64,)])
def test_centroids(shape):
    r = signals.grid(shape)
    waves = np.stack([np.sin(2 * np.pi * 3 * r[:, -1]), np.cos(2 * np.pi * 5 * r[:, 0])], axis=-1)
    assert np.allclose(atoms.centroids(jnp.asarray(waves), shape), [3, 5], atol=1e-3)


def test_centroid_agrees_with_spectra(kernel):
    functions = kernel[-1][:, :3]
    one = spectra.centroid(spectra.centred(jnp.asarray(functions[:, 2].reshape(16, 16, 1))))
    assert np.isclose(atoms.centroids(jnp.asarray(functions), (16, 16))[2], one, rtol=1e-4)


SLIDERS = {
    "SIREN": SIREN((32, 32), mapping_width=32),
    "FFN": networks.FFN((32, 32), mapping_width=32),
    "single frequency": networks.SingleFrequency((32, 32)),
    "positional encoding": networks.PositionalEncoding((32, 32)),
    "MFN": networks.MFN((32, 32), mapping_width=32),
}


def exact(K):
    """λ in descending order and orthonormal vectors, by LAPACK in float64."""
    values, vectors = np.linalg.eigh(np.asarray(K, np.float64))
    return values[::-1] / len(K), vectors[:, ::-1]


def check(eigen, K):
    """λ to 1e-4 of the largest, φ orthonormal, subspaces to 1e-2 where a gap bounds them."""
    values, vectors = exact(K)
    k = len(eigen.values)
    order = np.argsort(-eigen.values)  # `align` may have swapped neighbours
    eigen = eigen._replace(values=eigen.values[order], functions=eigen.functions[:, order])
    unit = np.asarray(eigen.functions, np.float64) / len(K) ** 0.5
    assert np.abs(eigen.values - values[:k]).max() <= 1e-4 * values[0]
    assert np.abs(unit.T @ unit - np.eye(k)).max() < 1e-4
    for m in range(1, min(k + 1, len(K))):
        if values[m - 1] - values[m] > 1e-2 * values[0]:
            ours, theirs = unit[:, :m], vectors[:, :m]
            assert np.linalg.norm(ours - theirs @ (theirs.T @ ours), 2) < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("label", SLIDERS)
def test_leading_against_lapack_over_a_whole_slider(label):
    """From the matrix and without it, from random columns and from the frame before."""
    network, r = SLIDERS[label], signals.grid((18, 18))
    knob, previous = network.knob, None
    frame = jax.jit(lambda K, previous: atoms.eigenfunctions(K, 10, previous))
    for number, value in enumerate(np.geomspace(knob.low, knob.high, 7)):
        theta = networks.init(network, jax.random.key(number % 3), 2, **{knob.name: float(value)})
        K = ntk.gram(network, theta, r)
        previous = frame(K, previous)
        check(previous, K)
        if number % 3 == 0:
            check(atoms.leading(ntk.operator(network, theta, r), len(r), 10), K)


class Constant(nn.Module):
    """Says one number everywhere."""

    @nn.compact
    def __call__(self, r):
        return self.param("b", nn.initializers.ones, (1,)) + 0 * r[:, :1]


POOR = {
    "σ = 0": (networks.FFN((16, 16), mapping_width=16), {"sigma": 0.0}),
    "f0 at the end of its slider": (networks.SingleFrequency((16, 16)), {"f0": 4.0}),
    "a linear model": (networks.MLP(()), {}),
    "a linear model of three outputs": (networks.MLP((), 3), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 8, 24])
@pytest.mark.parametrize("case", POOR)
def test_leading_where_the_kernel_has_few_directions(case, k):
    network, settings = POOR[case]
    theta, r = networks.init(network, jax.random.key(1), 2, **settings), signals.grid((16, 16))
    K = ntk.gram(network, theta, r)
    check(atoms.eigenfunctions(K, k), K)
    for steps in (2, 5, 9):
        check(atoms.leading(ntk.operator(network, theta, r), len(r), k, steps=steps), K)


def test_leading_of_a_constant_of_copies_and_of_few_samples():
    r = signals.grid((16, 16))
    network = Constant()
    K = ntk.gram(network, network.init(jax.random.key(0), r), r)
    check(atoms.eigenfunctions(K, 4), K)
    siren = SLIDERS["SIREN"]
    theta = networks.init(siren, jax.random.key(0), 2)
    for samples in (jnp.repeat(r[:5], 50, axis=0), r[:3], jnp.concatenate([r, r])):
        K = ntk.gram(siren, theta, samples)
        check(atoms.eigenfunctions(K, 3), K)
        check(atoms.leading(ntk.operator(siren, theta, samples), len(samples), 3), K)


def test_a_frame_after_one_that_did_not_settle_is_found_all_the_same():
    """Of a frame before that has lost an eigenfunction, or all, nothing is lost in the next."""
    network, r = SLIDERS["SIREN"], signals.grid((16, 16))
    K = ntk.gram(network, networks.init(network, jax.random.key(0), 2), r)
    before = atoms.eigenfunctions(K, 5)
    for lost in ([3], range(5)):
        nowhere = before.functions.at[:, jnp.array(lost)].set(jnp.nan)
        check(atoms.eigenfunctions(K, 5, before._replace(functions=nowhere)), K)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))])
@pytest.mark.few(1)
def test_leading_of_any_spectrum(seed):
    """Flat, clustered, falling, of low rank and zero."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    index = np.arange(300.0)
    for values in (
        1 - index / 600, np.repeat(rng.uniform(0.1, 1, 30), 10), rng.uniform(0, 1) ** index,
        np.where(index < 7, 1 + index, 0), 0 * index, np.ones(300),
    ):  # fmt: skip
        K = jnp.asarray(rotation * values @ rotation.T, jnp.float32)
        check(atoms.eigenfunctions((K + K.T) / 2, int(rng.integers(1, 20))), (K + K.T) / 2)


def test_what_has_no_eigenfunctions_is_never_returned_in_silence():
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(300, 300)), jnp.float32)
    with pytest.raises(ValueError, match="symmetric matrix"):
        atoms.eigenfunctions(matrix, 5)
    assert jnp.isnan(jax.jit(lambda K: atoms.eigenfunctions(K, 5).values)(matrix)).any()
    with pytest.raises(ValueError, match="finite"):
        atoms.eigenfunctions(matrix * jnp.nan, 5)


def test_energy_of_a_kernel_of_low_rank():
    """All of a signal's energy lies on all eigenfunctions, rounded below zero or not."""
    r = signals.grid((16, 16))
    network, settings = POOR["f0 at the end of its slider"]
    K = ntk.gram(network, networks.init(network, jax.random.key(0), 2, **settings), r)
    values, vectors = exact(K)
    g = np.random.default_rng(0).normal(size=(256, 2)) + 1
    share = np.mean((vectors.T @ g) ** 2 / np.sum(g**2, axis=0), axis=1)
    thresholds = jnp.array([0.0, 1e-3, 0.3, 0.999, 1.001])
    expected = [share[values.clip(0) / values[0] >= t].sum() for t in np.asarray(thresholds)]
    g = jnp.asarray(g, jnp.float32)
    direct = atoms.energy_concentration(atoms.eigenfunctions(K), g, thresholds)
    assert np.allclose(direct, expected, atol=1e-4)
    products = atoms.energy_from_products(partial(jnp.matmul, K), g, thresholds, values[0])
    assert np.allclose(products, expected, atol=1e-4)


def refusals():
    eigen = frame([1.0], np.ones((9, 1)))
    yield "must be square", lambda: atoms.eigenfunctions(jnp.ones((3, 2)))
    yield "real", lambda: atoms.eigenfunctions(jnp.eye(3) * 1j)
    yield "NaN or infinite", lambda: atoms.eigenfunctions(jnp.full((3, 3), jnp.nan))
    yield "k=0", lambda: atoms.eigenfunctions(jnp.eye(3), 0)
    yield "k=4", lambda: atoms.eigenfunctions(jnp.eye(3), 4)
    yield "steps=0", lambda: atoms.leading(lambda V: V, 9, 2, steps=0)
    yield "previous=None", lambda: atoms.align(eigen, frame([1.0], np.ones((8, 1))))
    yield "must be .N, M., N=", lambda: atoms.inner_products(eigen, jnp.ones((8, 1)))
    yield (
        "a signal that is zero",
        lambda: atoms.energy_concentration(eigen, jnp.zeros((9, 1)), [0.1]),
    )
    product = lambda g, steps: atoms.energy_from_products(lambda V: V, g, [0.1], 1.0, steps=steps)
    yield "a signal that is zero", lambda: atoms.energy_by_number(eigen, jnp.zeros((9, 1)))
    yield "a signal that is zero", lambda: atoms.alignment(eigen, jnp.zeros((9, 1)))
    yield "steps=10 must lie between 1 and 9", lambda: product(jnp.ones((9, 1)), 10)
    yield "a signal that is zero", lambda: product(jnp.zeros((9, 1)), 3)
    yield "with N=9", lambda: ntk.centred_alignment(jnp.eye(9), jnp.ones((8, 1)))
    yield "constant; leave", lambda: ntk.centred_alignment(jnp.eye(9), jnp.ones((9, 1)))
    yield "must be \\(H, W\\)", lambda: atoms.centroids(jnp.ones((9, 1)), (2, 2))


@pytest.mark.parametrize("number", range(len(list(refusals()))))
def test_refuses(number, unchecked):
    message, call = list(refusals())[number]
    with pytest.raises(ValueError, match=message):
        call()
