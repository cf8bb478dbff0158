import re
import socket
import struct
import subprocess
import sys
import zlib
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from io import BytesIO

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from scipy.spatial import cKDTree
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


@pytest.mark.parametrize("shape", [np.int64(7), np.array([4, 6]), [2, 3]])
@pytest.mark.usefixtures("unchecked")
def test_grid_takes_whole_numbers_of_any_kind(shape):
    plain = tuple(map(int, np.atleast_1d(shape)))
    np.testing.assert_array_equal(signals.grid(shape), signals.grid(plain))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [8.0, (4, 2.5), "8", None, (None,)])
def test_grid_refuses_what_is_no_whole_number(shape):
    with pytest.raises(ValueError, match=r"^grid: shape=.* must be whole numbers\.$"):
        signals.grid(shape)


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


def beyond(g, low, high):
    """The share of the energy outside a band, but for the width of a window's main lobe."""
    k = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in g.shape), indexing="ij")
    window = np.prod(np.meshgrid(*map(np.blackman, g.shape), indexing="ij"), axis=0)
    power = np.abs(np.fft.fftn(window * g)) ** 2
    length = np.linalg.norm(k, axis=0)
    return power[(length < low - 3) | (length > high + 3)].sum() / power.sum()


BANDS = [(20, 40, (256,)), (0, 5, (128,)), (12, 15, (64, 64)), (3, 5, (24, 24, 24))]


@pytest.mark.parametrize(("low", "high", "shape"), BANDS)
def test_the_noise_of_a_band_keeps_within_it(low, high, shape):
    r = signals.grid(shape)
    for seed in range(3):
        key = jax.random.key(seed)
        inside = signals.band(low, high, r, key)
        assert beyond(np.reshape(inside, shape), low, high) < 1e-3
        wider = signals.band(low, 2 * high, r, key)
        assert beyond(np.reshape(wider, shape), low, high) > 0.02


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_noise_of_a_band_has_variance_one_anywhere(dims):
    """Over its draws, at places on no grid; and it is a function: a place has one value."""
    r = np.random.default_rng(0).uniform(-3, 7, (400, dims))
    drawn = [signals.band(2, 9, r, jax.random.key(seed))[:, 0] for seed in range(8)]
    assert np.mean(drawn) == pytest.approx(0, abs=0.1)
    assert np.var(drawn) == pytest.approx(1, abs=0.1)
    assert drawn[0].dtype == np.float64
    np.testing.assert_array_equal(
        signals.band(2, 9, r[7:9], jax.random.key(0))[:, 0], drawn[0][7:9]
    )


def test_the_noise_of_a_band_is_flat_in_it():
    """In the plane the power of a ring is as its area: a quarter within half the radius."""
    r, k = signals.grid((64, 64)), np.fft.fftfreq(64, 1 / 64)
    length = np.hypot(k[:, None], k)
    draws = [signals.band(0, 20, r, jax.random.key(seed)) for seed in range(12)]
    power = [np.abs(np.fft.fft2(np.reshape(g, (64, 64)))) ** 2 for g in draws]
    inner = sum(p[length < 10].sum() for p in power) / sum(p.sum() for p in power)
    assert inner == pytest.approx(1 / 4, abs=0.04)


@pytest.mark.parametrize(("low", "high"), [(-1, 2), (2, 2), (3, 2), (0, np.inf), (np.nan, 2)])
def test_band_refuses(low, high):
    with pytest.raises(ValueError, match="must be finite, with 0 ≤ low < high"):
        signals.band(low, high, signals.grid(4), jax.random.key(0))


@pytest.mark.parametrize("shape", ["sphere", "torus"])
def test_a_distance_is_that_to_the_nearest_of_many_points(shape):
    """Points of the surface by their angles; inside and outside told by the defining inequality."""
    u, v = (2 * np.pi * np.asarray(signals.grid((400, 400)), np.float64)).T
    away = 0.5 * np.sin(u) if shape == "sphere" else 0.5 + 0.2 * np.cos(u)
    up = 0.5 * np.cos(u) if shape == "sphere" else 0.2 * np.sin(u)
    surface = np.stack([away * np.cos(v), away * np.sin(v), up], axis=1)
    r = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    nearest, _ = cKDTree(surface).query(r)
    x, y, z = r.T
    ring = (x**2 + y**2 + z**2 + 0.5**2 - 0.2**2) ** 2 < 4 * 0.5**2 * (x**2 + y**2)
    inside = x**2 + y**2 + z**2 < 0.25 if shape == "sphere" else ring
    found = np.asarray(signals.distance(shape, r))[:, 0]
    np.testing.assert_array_equal(found < 0, inside)
    np.testing.assert_allclose(np.abs(found), nearest, atol=3e-3)
    assert inside.any()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", ["sphere", "torus"])
def test_the_gradient_of_a_distance_has_length_one(shape):
    r = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (500, 3)))
    slope = jax.vmap(jax.grad(lambda r: signals.distance(shape, r[None])[0, 0]))(r)
    np.testing.assert_allclose(jnp.linalg.norm(slope, axis=1), 1, atol=1e-12)


def test_distance_refuses_an_unknown_shape():
    with pytest.raises(ValueError, match="'cube' is not known; take sphere, torus or gyroid"):
        signals.distance("cube", np.zeros((2, 3)))


carried = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
SHAPES = {"eeg": (1, 4), "head": (2, 1), "membrane": (1, 1), "terrain": (2, 1)}


@carried
@pytest.mark.parametrize("name", signals.RECORDINGS)
def test_a_recording_is_coordinates_and_values(name):
    r, g = signals.recording(name)
    assert len(r) == len(g)
    assert (r.shape[1], g.shape[1]) == SHAPES[name]
    assert np.isfinite(g).all()
    assert min(np.ptp(g, axis=0)) > 0


@carried
def test_recordings_have_the_units_that_they_say():
    r, g = signals.recording("membrane")
    assert r[-1, 0] == pytest.approx(6 - 1 / 2000)
    assert -90 < g.min() < -40  # mV: a nerve cell at rest, and hardly above zero at its peak
    assert -10 < g.max() < 60
    r, g = signals.recording("eeg")
    assert r[-1, 0] == pytest.approx(10 - 1 / 80)
    r, g = signals.recording("terrain")
    assert (float(g.min()), float(g.max())) == (236, 1076)
    north = g.reshape(344, 403)
    assert (r[403, 0], r[1, 1]) == (3, 3)
    assert np.abs(np.diff(north, axis=0)).mean() < 30  # neighbours are alike: rows are rows
    r, g = signals.recording("head")
    assert g.min() == 0
    assert g.max() == 1
    assert g.reshape(256, 256)[:8].max() < 0.2 < g.reshape(256, 256)[100:150, 100:150].mean()


@carried
def test_a_recording_is_found_without_its_package():
    script = "from inrlib import signals; signals.recording('head'); import sys; "
    script += "assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_recording_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="name='whale' is not one of eeg, head, membrane, terrain"):
        signals.recording("whale")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "'eeg' comes with matplotlib, which is not installed; install it"),
        (ModuleSpec("matplotlib", None, origin="/nowhere/__init__.py"), "not carried by this ver"),
    ],
)
def test_a_recording_that_is_not_there_is_named(monkeypatch, found, message):
    monkeypatch.setattr(signals, "find_spec", lambda name: found)
    with pytest.raises(FileNotFoundError, match=message):
        signals.recording("eeg")


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", signals.PICTURES)
def test_pictures_are_real_and_in_range(name):
    pixels = signals.picture(name, 32)
    assert pixels.shape == (32, 32, 3)
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert pixels.std() > 0.025  # brick, at this size, is nearly one grey


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


@pytest.mark.usefixtures("unchecked")
def test_grey_refuses_a_grey_picture():
    with pytest.raises(ValueError, match="1 channels where 3 are due; repeat the grey channel"):
        signals.grey(np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), np.nan), "16 values are NaN"),
        (np.full((4, 4), 2.0), "rescale them to"),
        (np.full((4, 4), -0.1), "rescale them to"),
        (np.full((4, 4), 1.001), "rescale them to"),
        (np.zeros((4, 4), int), "neither float nor uint8"),
        (np.zeros((4, 4), np.uint16), "divide by the white level"),
        (np.zeros((3, 64, 64)), "np.moveaxis"),
        (np.zeros((4, 32, 48), np.uint8), "np.moveaxis"),
        (np.zeros((1, 28, 28), bool), "np.moveaxis"),
        (np.zeros(4), "must be .height, width"),
        (np.zeros((0, 4)), "must be .height, width"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_check_picture_refuses(pixels, message):
    with pytest.raises(ValueError, match=message):
        signals.check_picture(pixels)


@pytest.mark.parametrize("found", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("due", [1, 3])
def test_the_remedy_for_other_channels_helps(found, due):
    pixels = np.full((8, 8, found), 0.5)
    if found == due:
        assert signals.check_picture(pixels, due).shape == (8, 8, due)
        return
    with pytest.raises(ValueError, match=f"{found} channels where {due} are due; ") as caught:
        signals.check_picture(pixels, due)
    if found == due + 1:
        assert f"pixels[..., :{due}]" in str(caught.value)
    assert found != 1 or "repeat the grey channel" in str(caught.value)


def test_rounding_and_masks_are_taken_for_what_they_stand_for():
    above = np.array([[1 + 1e-7, -1e-7], [0.5, 0.25]])
    np.testing.assert_array_equal(signals.check_picture(above)[..., 0], [[1, 0], [0.5, 0.25]])
    mask = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(signals.check_picture(mask)[..., 0], np.eye(5))
    np.testing.assert_array_equal(signals.samples(mask)[1][:, 0], np.eye(5).ravel())


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


def encoded(image, container="PNG", **options):
    """The bytes of a file."""
    buffer = BytesIO()
    image.save(buffer, container, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("container", ["PNG", "TIFF", "WebP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_what_is_transparent_is_white(mode, container):
    holds = {"PNG": ("RGBA", "LA", "P"), "TIFF": ("RGBA", "LA", "PA"), "WebP": ("RGBA",)}
    if mode not in holds[container]:
        pytest.skip("this container does not hold such pixels")
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))  # black, and transparent
    image.paste((0, 0, 0, 255), (0, 0, 20, 40))
    if mode == "P":
        index = Image.fromarray(np.asarray(image)[..., 3] // 255)
        image = Image.frombytes("P", index.size, index.tobytes())
        image.putpalette([0, 0, 0, 0, 0, 0])
        content = encoded(image, container, transparency=0, lossless=True)
    else:
        content = encoded(image.convert(mode), container, lossless=True)
    pixels = signals.picture(content)
    assert (pixels[:, :20] == 0).all()
    assert (pixels[:, 20:] == 1).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("container", ["PNG", "TIFF", "PPM"])
def test_white_is_the_depth_that_holds_the_brightest_pixel(bits, container):
    """Cameras write 12 bits into 16; taken for 16 bits the picture would be nearly black."""
    ramp = np.linspace(0, 2**bits - 1, 64).astype(np.uint16)
    content = encoded(Image.fromarray(np.tile(ramp, (64, 1))), container)
    np.testing.assert_allclose(
        signals.picture(content)[5, :, 0], ramp / (2**bits - 1), atol=0.51 / 255
    )


def deep_colours(pixels):
    """A PNG with 16 bits a colour, which Pillow reads and does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunk = lambda name, content: struct.pack(">I", len(content)) + name + content
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    signed = (chunk(*part) + struct.pack(">I", zlib.crc32(b"".join(part))) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(signed)


def test_sixteen_bits_a_colour_are_read_or_refused_never_dark():
    image = data.astronaut()[::16, ::16].astype(np.uint16)
    np.testing.assert_allclose(signals.picture(deep_colours(image * 257)), image / 255, atol=1e-9)
    for bits in (8, 10, 12, 14):
        with pytest.raises(ValueError, match="save it with 8 bits a colour"):
            signals.picture(deep_colours(image << (bits - 8)))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_level_are_refused(mode):
    with pytest.raises(ValueError, match="without a white level"):
        signals.picture(encoded(Image.new(mode, (8, 8), 1), "TIFF"))


# The primaries of three colour spaces in XYZ with the white of D50, as profiles hold them.
PRIMARIES = {
    "sRGB": [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]],
    "Display P3": [[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]],
    "Adobe RGB": [[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]],
}


def profile(space, gamma):
    """A colour profile of three primaries and a power law (ICC.1, matrix and curves)."""
    number = lambda x: struct.pack(">i", round(x * 65536))
    place = lambda xyz: b"XYZ \0\0\0\0" + b"".join(map(number, xyz))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    words = lambda t: (
        b"mluc\0\0\0\0"
        + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2 * len(t), 28)
        + t.encode("utf-16-be")
    )
    tags = {b"desc": words(space), b"cprt": words("none"), b"wtpt": place((0.9642, 1, 0.8249))}
    for letter, column in zip(b"rgb", np.transpose(PRIMARIES[space]), strict=True):
        tags |= {bytes([letter]) + b"XYZ": place(column), bytes([letter]) + b"TRC": curve}
    start, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4xI", start + len(body), 0x04300000) + b"mntrRGB XYZ "
    head += (
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
        + b"acsp"
        + b"\0" * 28
        + place((0.9642, 1, 0.8249))[8:]
    )
    return head + b"\0" * (128 - len(head)) + table + body


@pytest.mark.parametrize("space", PRIMARIES)
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("container", ["PNG", "JPEG", "TIFF", "WebP"])
def test_colours_are_those_of_the_profile(space, gamma, container):
    """Against the matrices and curves written out in NumPy; uniform, so that no codec matters."""
    rng = np.random.default_rng(0)
    for colour in rng.integers(60, 200, (4, 3)):
        image = Image.new("RGB", (16, 16), tuple(map(int, colour)))
        options = {"lossless": True} if container == "WebP" else {}
        options |= {"quality": 100, "subsampling": 0} if container == "JPEG" else {}
        content = encoded(image, container, icc_profile=profile(space, gamma), **options)
        plain = signals.picture(encoded(image, container, **options))[8, 8]  # what the codec left
        xyz = np.asarray(PRIMARIES[space]) @ plain**gamma
        linear = np.linalg.solve(PRIMARIES["sRGB"], xyz).clip(0, 1)
        srgb = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(signals.picture(content)[8, 8], srgb, atol=2.5 / 255)


def test_a_profile_reaches_transparent_grey_and_indexed_pictures():
    """Those with a palette, with alpha, and grey ones that carry the profile of a camera."""
    icc = profile("Display P3", 1.8)
    image = Image.new("RGB", (16, 16), (90, 90, 90))
    expected = signals.picture(encoded(image, icc_profile=icc))[8, 8]
    assert expected[0] > 92 / 255  # gamma 1.8 is brighter than sRGB
    for mode in ("L", "P", "LA", "RGBA"):
        other = image.convert(mode, palette=Image.Palette.ADAPTIVE)
        pixels = signals.picture(encoded(other, icc_profile=icc))
        np.testing.assert_allclose(pixels[8, 8], expected, atol=1.5 / 255)


@pytest.mark.parametrize("icc", [b"junk", b"", profile("sRGB", 2.2)[:200], b"\0" * 500])
def test_a_broken_profile_is_passed_over(icc):
    image = Image.fromarray(data.astronaut()).resize((16, 16))
    np.testing.assert_array_equal(
        signals.picture(encoded(image, icc_profile=icc)), signals.picture(encoded(image))
    )


def test_a_profile_of_other_channels_is_passed_over():
    image = Image.new("CMYK", (16, 16), (10, 20, 30, 40))
    tagged = encoded(image, "TIFF", icc_profile=profile("sRGB", 1.0))
    np.testing.assert_array_equal(signals.picture(tagged), signals.picture(encoded(image, "TIFF")))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_pixels_of_every_mode_are_read(mode):
    """Black and white, which are the same in all of them."""
    image = Image.new("RGB", (40, 40), "white")
    image.paste("black", (0, 0, 20, 40))
    if mode == "LAB":
        white, black = (Image.new("LAB", (40, 40), (n, 128, 128)) for n in (255, 0))
        white.paste(black.crop((0, 0, 20, 40)), (0, 0))
        image = white
    pixels = signals.picture(encoded(image.convert(mode), "TIFF"))
    np.testing.assert_allclose(pixels[:, :20], 0, atol=1 / 255)
    np.testing.assert_allclose(pixels[:, 20:], 1, atol=1 / 255)


@pytest.mark.parametrize("container", ["GIF", "PNG", "TIFF", "WebP"])
def test_of_several_frames_the_first_is_taken(container):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], container, save_all=True, append_images=frames[1:])
    pixels = signals.picture(content)
    np.testing.assert_allclose(pixels, np.broadcast_to([1, 0, 0], (32, 32, 3)), atol=0.02)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("container", ["PNG", "JPEG", "GIF", "WebP", "TIFF", "BMP", "PPM"])
def test_a_damaged_file_is_read_or_answered_in_one_sentence(container):
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(data.astronaut()).resize((24, 24)), container)
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 400), rng.integers(1, 6)):
            content[place] = rng.integers(256)
        if rng.random() < 0.3:
            at = rng.integers(8, len(content))
            content = content[:at] + content[rng.integers(len(content)) :]
        answer = answered(bytes(content))
        assert isinstance(answer, np.ndarray) or re.match(r"(?s)picture: .*\.$", answer), answer


def answered(content):
    try:
        return signals.picture(content)
    except ValueError as error:
        return str(error)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("source", [np.ones((4, 4)), Image.new("L", (4, 4)), 3, None, ["coffee"]])
def test_what_is_no_file_is_refused_in_one_sentence(source):
    with pytest.raises(ValueError, match="give a name, a path or a file's bytes"):
        signals.picture(source)


def test_a_picture_may_be_too_small(tmp_path):
    Image.new("RGB", (50, 7)).save(tmp_path / "flat.png")
    with pytest.raises(ValueError, match="side has 7 pixels; take a picture of at least 8×8"):
        signals.picture(tmp_path / "flat.png", 64, smallest=8)
