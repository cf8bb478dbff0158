import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import data

from inrlib import signals


@pytest.mark.parametrize("shape", [7, (4, 6), (2, 3, 5)])
def test_grid_excludes_the_end_point(shape):
    r = signals.grid(shape, -1, 1)
    sides = np.atleast_1d(shape)
    assert r.shape == (np.prod(sides), len(sides))
    assert r.min() == -1
    np.testing.assert_allclose(r.max(axis=0), 1 - 2 / sides)


def test_grid_varies_the_first_axis_slowest():
    np.testing.assert_array_equal(signals.grid((2, 2)), [[0, 0], [0, 0.5], [0.5, 0], [0.5, 0.5]])


def test_grid_puts_a_whole_number_of_periods_into_one_bin():
    spectrum = np.abs(np.fft.fft(np.sin(2 * np.pi * 5 * signals.grid(32)[:, 0])))
    assert set(np.flatnonzero(spectrum > 1e-4)) == {5, 27}


@pytest.mark.parametrize("shape", [0, (4, 0), ()])
def test_grid_refuses_empty_axes(shape):
    with pytest.raises(ValueError, match="at least one sample"):
        signals.grid(shape)


def test_grid_refuses_an_empty_interval():
    with pytest.raises(ValueError, match="low=1 must be smaller than high=0"):
        signals.grid(4, 1, 0)


def test_grid_has_the_precision_of_jax():
    assert signals.grid((3, 5)).dtype == jnp.float32
    with jax.enable_x64(True):
        r = signals.grid(7)
        assert r.dtype == jnp.float64
        np.testing.assert_array_equal(r[:, 0], np.arange(7) / 7)


def test_tone_is_a_sine():
    assert signals.tone(1, np.array([[0.25]])) == pytest.approx(1.0)


@pytest.mark.parametrize("frequency", [23, 1e4, 1e6])
def test_a_tone_is_exact_whatever_its_frequency(frequency):
    """f·r in float32 would be off by whole periods; the values have the type of r."""
    r = signals.grid(128)
    exact = np.sin(2 * np.pi * frequency * np.asarray(r, np.float64))
    g = signals.tone(frequency, r)
    assert isinstance(g, jax.Array)
    assert g.dtype == jnp.float32
    np.testing.assert_allclose(g, exact, atol=1e-7)
    plain = signals.tone(frequency, np.asarray(r))
    assert type(plain) is np.ndarray
    np.testing.assert_allclose(plain, exact, atol=1e-7)


@pytest.mark.parametrize("frequency", [-1, np.nan, np.inf])
def test_tone_refuses(frequency):
    with pytest.raises(ValueError, match="frequency="):
        signals.tone(frequency, signals.grid(4))


@pytest.mark.parametrize("name", signals.PICTURES)
def test_pictures_are_real_and_in_range(name):
    pixels = signals.picture(name, 32)
    assert pixels.shape == (32, 32, 3)
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert pixels.std() > 0.1


def test_astronaut_keeps_its_published_size():
    assert signals.picture("astronaut").shape == (512, 512, 3)


def test_picture_reads_a_file_and_crops_its_centre(tmp_path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 10:50] = 255
    Image.fromarray(pixels).save(tmp_path / "bar.png")
    np.testing.assert_array_equal(signals.picture(tmp_path / "bar.png"), np.ones((40, 40, 3)))


def test_picture_names_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png.*astronaut"):
        signals.picture("nowhere.png")


def test_picture_refuses_text_renamed_png(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text.png cannot be read.*PNG or JPEG"):
        signals.picture(tmp_path / "text.png")


def test_picture_refuses_ten_thousand_pixels(tmp_path):
    Image.new("L", (10_000, 2)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="10000×2 pixels"):
        signals.picture(tmp_path / "wide.png")


def test_grey_weighs_the_channels():
    np.testing.assert_allclose(signals.grey(np.eye(3)[None])[0, :, 0], [0.299, 0.587, 0.114])


def test_grey_refuses_a_grey_picture():
    with pytest.raises(ValueError, match="1 channels where 3 are due; repeat the grey channel"):
        signals.grey(np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), np.nan), "16 values are NaN"),
        (np.full((4, 4), 2.0), "rescale them to"),
        (np.full((4, 4), -0.1), "rescale them to"),
        (np.zeros((4, 4), int), "neither float nor uint8"),
        (np.zeros(4), "must be .height, width"),
        (np.zeros((0, 4)), "must be .height, width"),
    ],
)
def test_check_picture_refuses(pixels, message):
    with pytest.raises(ValueError, match=message):
        signals.check_picture(pixels)


def test_resize_keeps_the_mean_and_removes_detail():
    stripes = np.tile([0.0, 1.0], (64, 32))
    small = signals.resize(stripes, 16)
    assert small.shape == (16, 16, 1)
    assert small.mean() == pytest.approx(0.5, abs=0.01)
    assert small.std() < 0.05


@pytest.mark.parametrize("size", [0, -3])
def test_resize_refuses(size):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        signals.resize(np.zeros((4, 4)), size)


def test_samples_pair_each_pixel_with_its_coordinate():
    pixels = np.zeros((4, 8, 1))
    pixels[1, 6] = 1
    r, g = signals.samples(pixels)
    assert r.dtype == g.dtype == jnp.float32
    np.testing.assert_allclose(r[np.argmax(g)], [-0.5, 0.5])


def test_a_large_photograph_is_reduced_before_it_is_filtered(tmp_path):
    """Little is lost by it: against the low-pass filter on all of its pixels."""
    large = Image.fromarray(data.astronaut()).resize((3000, 2000), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.png")
    fast = signals.picture(tmp_path / "large.png", 64)
    slow = signals.resize(signals.picture(tmp_path / "large.png"), 64)
    assert fast.shape == slow.shape == (64, 64, 3)
    assert np.sqrt(np.mean((fast - slow) ** 2)) < 0.01


def test_a_photograph_stands_upright(tmp_path):
    """As the camera's note on its orientation says: 6 is a quarter turn clockwise."""
    image = Image.fromarray(data.astronaut()).resize((40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(np.asarray(image), -1) / 255
    np.testing.assert_array_equal(signals.picture(tmp_path / "turned.png"), upright)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode, tmp_path):
    image = Image.new(mode, (40, 40), (0,) * len(mode))  # black, and transparent
    image.paste((0,) * (len(mode) - 1) + (255,), (0, 0, 20, 40))
    image.save(tmp_path / "logo.png")
    pixels = signals.picture(tmp_path / "logo.png")
    assert (pixels[:, :20] == 0).all()
    assert (pixels[:, 20:] == 1).all()


def test_sixteen_bits_are_scaled(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / "deep.png")
    pixels = signals.picture(tmp_path / "deep.png")
    np.testing.assert_allclose(pixels[0, :, 0], ramp / 65535, atol=1 / 255)
    Image.fromarray(np.eye(64, dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match="without a white level"):
        signals.picture(tmp_path / "float.tiff")


def test_a_picture_may_be_too_small(tmp_path):
    Image.new("RGB", (50, 7)).save(tmp_path / "flat.png")
    with pytest.raises(ValueError, match="side has 7 pixels; take a picture of at least 8×8"):
        signals.picture(tmp_path / "flat.png", 64, smallest=8)
