import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrlib import signals, spectra

RNG = np.random.default_rng(0)


def direct_dft(values):
    """The definition, as a matrix product in complex128."""
    n = len(values)
    k = np.arange(n)
    return np.exp(-2j * np.pi * np.outer(k, k) / n) @ values / n


@pytest.mark.parametrize("n", [8, 9, 64])
def test_lines_against_the_definition(n):
    values = RNG.normal(size=(n, 2)).astype(np.float32)
    frequencies, amplitude = spectra.lines(values)
    expected = np.abs(direct_dft(values.astype(float)))[: n // 2 + 1]
    expected[1 : (n + 1) // 2] *= 2
    assert list(frequencies) == list(range(n // 2 + 1))
    np.testing.assert_allclose(amplitude, expected, atol=1e-6)


def test_a_tone_has_its_amplitude():
    r = signals.grid(100)
    _, amplitude = spectra.lines(0.7 * signals.tone(13, r))
    assert amplitude[13, 0] == pytest.approx(0.7, rel=1e-5)
    assert np.delete(np.asarray(amplitude), 13).max() < 1e-6


def test_hann_keeps_a_tone_and_stops_the_leak():
    r = signals.grid(256)
    assert spectra.lines(signals.tone(40, r), hann=True)[1][40, 0] == pytest.approx(1, rel=1e-5)
    ramp = [spectra.lines(r - 0.5, hann)[1][100, 0] for hann in (False, True)]
    assert ramp[1] < 1e-3 * ramp[0]


def test_centred_against_the_definition():
    pixels = RNG.uniform(size=(6, 8, 3)).astype(np.float32)
    rows = np.stack([direct_dft(column) for column in np.moveaxis(pixels.astype(float), 1, 0)], 1)
    both = np.stack([direct_dft(row) for row in rows], 0)
    expected = np.sqrt((np.abs(both) ** 2).mean(-1))
    found = spectra.centred(pixels)
    for i, k in enumerate(spectra.bins(6)):
        np.testing.assert_allclose(found[i, 4], expected[k % 6, 0], atol=1e-6)
        for j, m in enumerate(spectra.bins(8)):
            np.testing.assert_allclose(found[i, j], expected[k % 6, m % 8], atol=1e-6)


def test_energy_is_kept():
    pixels = RNG.uniform(size=(16, 16, 3))
    energy = jnp.sum(spectra.centred(pixels) ** 2)
    assert energy == pytest.approx((pixels**2).mean(), rel=1e-5)


def test_decibels():
    np.testing.assert_allclose(spectra.decibels(jnp.array([1, 0.1, 0.0]), -80), [0, -20, -80])


@pytest.mark.parametrize("hann", [False, True])
def test_level_is_the_whole_spectrum_in_decibels(hann):
    tone = signals.tone(23, signals.grid(128))
    level = spectra.level(0.1 * tone, hann)
    assert level.shape == (65,)
    assert level[23] == pytest.approx(-20, abs=1e-3)
    both = jnp.concatenate([tone, 7 * tone], axis=1)  # root mean square of 1 and 7: 5
    assert spectra.level(both, hann)[23] == pytest.approx(20 * np.log10(5), abs=1e-3)


def waves(rows, columns, size=32):
    x, y = np.moveaxis(signals.grid((size, size)).reshape(size, size, 2), -1, 0)
    return np.cos(2 * np.pi * (rows * x + columns * y))[..., None]


@pytest.mark.parametrize(
    ("k", "share"), [((2, 4), 0), ((1, 2), 1), ((2, 3), 1), ((1, 1), 1), ((0, 0), 0)]
)
def test_odd_energy(k, share):
    assert spectra.odd_energy(spectra.centred(waves(*k))) == pytest.approx(share, abs=1e-10)


@pytest.mark.parametrize(("k", "share"), [((7, 7), 0), ((8, 0), 1), ((0, 12), 1)])
def test_high_band(k, share):
    magnitude = spectra.centred(waves(*k) + 5.0)
    assert spectra.high_band(magnitude) == pytest.approx(share, abs=1e-6)


def test_high_band_refuses():
    with pytest.raises(ValueError, match="share=1"):
        spectra.high_band(np.ones((4, 4)), 1)


def test_centroid_of_a_wave_is_its_frequency():
    assert spectra.centroid(spectra.centred(waves(3, 4))) == pytest.approx(5, rel=1e-4)


@pytest.mark.parametrize("constant", [0.0, 1.0, -30.0])
@pytest.mark.parametrize("frequency", [7, 40, 90])
def test_mean_frequency_of_a_tone_on_a_constant_is_the_tones(constant, frequency):
    r = np.arange(512)[:, None] / 512
    values = constant + np.sin(2 * np.pi * frequency * r)
    assert spectra.mean_frequency(values) == pytest.approx(frequency, rel=1e-4)


def test_mean_frequency_weighs_by_energy():
    r = np.arange(512)[:, None] / 512
    values = np.sin(2 * np.pi * 20 * r) + 2 * np.sin(2 * np.pi * 100 * r)
    assert spectra.mean_frequency(values) == pytest.approx((20 + 4 * 100) / 5, rel=1e-3)


def test_centre_crop_keeps_frequency_zero():
    magnitude = np.zeros((16, 20))
    magnitude[8, 10] = 1
    crop = spectra.centre_crop(magnitude, 6)
    assert crop.shape == (6, 6)
    assert crop[3, 3] == 1


@pytest.mark.parametrize("size", [5, 0, 34])
def test_centre_crop_refuses(size):
    with pytest.raises(ValueError, match=f"size={size} must be even"):
        spectra.centre_crop(np.zeros((32, 32)), size)


def test_functions_run_compiled_and_batched():
    pictures = RNG.uniform(size=(3, 16, 16, 1))
    magnitudes = jax.jit(jax.vmap(spectra.centred))(pictures)
    for measure in (spectra.odd_energy, spectra.high_band, spectra.centroid):
        batched = jax.jit(jax.vmap(measure))(magnitudes)
        np.testing.assert_allclose(batched, [measure(m) for m in magnitudes], rtol=1e-5)
