"""Files of every kind: read to the number, or refused in one sentence before memory is taken."""

import re
import struct
import tracemalloc
import wave
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from inrlib import files, signals

RAMP = np.array([[-1.0, 1], [-0.5, 0.25], [0, 0], [0.5, -0.75]])


def wav(samples, rate=8000, code=1, bits=None, channels=None, claimed=None, rest=b""):
    """A RIFF file written by hand, as its specification says."""
    samples = np.asarray(samples)
    channels = samples.shape[1] if channels is None else channels
    bits = 8 * samples.dtype.itemsize if bits is None else bits
    block, content = channels * bits // 8, rest or samples.tobytes()
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    length = len(content) if claimed is None else claimed
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) & 0xFFFFFFFF) + b"WAVE" + chunks


def npy(array, **options):
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(save=np.savez, **arrays):
    stream = BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def header(shape, descr="<f8", content=b""):
    """An .npy file that claims a shape, and holds as little as it likes."""
    stream = BytesIO()
    entries = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, entries)
    return stream.getvalue() + content


# --- sound ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_whole_numbers_are_what_the_standard_library_reads(bits):
    """Against `wave`, which gives bytes, and the two's complement by hand."""
    rng = np.random.default_rng(bits)
    frames = rng.integers(0, 256, 50 * 3 * bits // 8, dtype=np.uint8).tobytes()
    stream = BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((3, bits // 8, 11025, 0, "NONE", ""))
        file.writeframes(frames)
    size = bits // 8
    parts = [frames[at : at + size] for at in range(0, len(frames), size)]
    whole = [
        int.from_bytes(part, "little", signed=bits > 8) - (128 if bits == 8 else 0)
        for part in parts
    ]
    values, rate = signals.sound(stream.getvalue())
    assert rate == 11025
    np.testing.assert_array_equal(values, np.reshape(whole, (50, 3)) / 2 ** (bits - 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_taken_as_they_are(dtype, tmp_path):
    wavfile.write(tmp_path / "a.wav", 44100, RAMP.astype(dtype))
    values, rate = signals.sound(tmp_path / "a.wav")
    np.testing.assert_array_equal(values, RAMP)
    assert (rate, values.dtype) == (44100, np.float64)


def test_floats_louder_than_one_are_divided_by_the_loudest():
    values, _ = signals.sound(wav((20000 * RAMP).astype(np.float32), code=3))
    np.testing.assert_allclose(values, RAMP, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_columns(channels, tmp_path):
    counted = np.arange(5 * channels, dtype=np.int16).reshape(5, channels)
    wavfile.write(tmp_path / "a.wav", 100, counted)
    np.testing.assert_array_equal(signals.sound(str(tmp_path / "a.wav"))[0] * 32768, counted)


def test_chunks_of_other_things_are_passed_over():
    """A list of names between format and samples, of an odd length, and another after them."""
    plain = wav(np.int16([[1], [2], [-3]]))
    at = plain.index(b"data")
    names = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"
    whole = plain[8:at] + names + plain[at:] + names
    values, _ = signals.sound(b"RIFF" + struct.pack("<I", len(whole)) + whole)
    np.testing.assert_array_equal(values[:, 0] * 32768, [1, 2, -3])


TONE = np.int16([[1], [200], [-3], [4]])
BAD_SOUNDS = {
    "text": (b"do re mi fa sol", "is no WAV file"),
    "nothing": (b"", "is no WAV file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "is no WAV file"),
    "big-endian": (b"RIFX" + wav(TONE)[4:], "is no WAV file"),
    "cut in its header": (wav(TONE)[:30], "ends before its samples begin"),
    "without a format": (b"RIFF\0\0\0\0WAVEdata\2\0\0\0\1\1", "ends before its samples begin"),
    "truncated": (wav(TONE)[:-3], "ends after 5 of 8 bytes of samples"),
    "streamed": (wav(TONE, claimed=2**27), "ends after 8 of 134,217,728 bytes"),
    "a thousand million": (wav(TONE, claimed=2 * 10**9), "1,000,000,000 samples; cut out at most"),
    "zero length": (wav(TONE[:0]), "has no samples"),
    "half a sample": (wav(TONE, rest=b"\1"), "has no samples"),
    "rate 0": (wav(TONE, rate=0), "at 0 Hz"),
    "no channels": (wav(TONE, channels=0), "0 channels"),
    "MP3": (wav(TONE, code=0x55), "is compressed .format 85."),
    "A-law": (wav(TONE, code=6), "is compressed .format 6."),
    "ADPCM in 4 bits": (wav(TONE, code=2, bits=4), "is compressed .format 2."),
    "extensible, of nothing": (wav(TONE, code=0xFFFE), "cannot be read"),
    "float of 16 bits": (wav(TONE, code=3), "cannot be read"),
    "of no size": (b"RIFF\0\0\0\0" + wav(TONE)[8:], "cannot be read; give a WAV"),
    "silence": (wav(0 * TONE), "all of the file has one value"),
    "NaN": (wav(np.float32([[0], [np.nan]]), code=3), "1 numbers of the file are NaN"),
    "infinite": (wav(np.float32([[0], [-np.inf]]), code=3), "1 numbers of the file are NaN"),
}


@pytest.mark.parametrize("case", BAD_SOUNDS)
def test_sound_refuses(case):
    content, message = BAD_SOUNDS[case]
    with pytest.raises(ValueError, match=rf"(?s)^sound: .*{message}.*\.$"):
        signals.sound(content)


# --- volumes --------------------------------------------------------------------------------------

CUBE = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f8", "<i2", ">i4", "<u2", "<i8"])
@pytest.mark.parametrize("axes", [3, 4])
def test_numbers_of_a_volume_stay_as_they_are(dtype, axes, tmp_path):
    cube = (np.stack([CUBE, -CUBE], -1) if axes == 4 and dtype[1] != "u" else CUBE).astype(dtype)
    (tmp_path / "a.npy").write_bytes(npy(cube))
    found = signals.volume(tmp_path / "a.npy")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, cube if cube.ndim == 4 else cube[..., None])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_array_of_an_archive_is_a_volume(save):
    np.testing.assert_array_equal(signals.volume(npz(save, density=CUBE))[..., 0], CUBE)


def test_columns_first_is_the_same_volume():
    np.testing.assert_array_equal(signals.volume(npy(np.asfortranarray(CUBE)))[..., 0], CUBE)


def test_bytes_and_masks_become_numbers_from_0_to_1():
    grey = (10 * CUBE).astype(np.uint8)
    np.testing.assert_allclose(signals.volume(npy(grey))[..., 0], grey / 255)
    np.testing.assert_array_equal(signals.volume(npy(CUBE > 7))[..., 0], CUBE > 7)


class Harmful:
    """What unpickling would call, if anything were unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("/nowhere/it was executed"),))


PICKLED = npy(np.array([Harmful(), None], dtype=object), allow_pickle=True)
HUGE = (1000, 1000, 1000)
BAD_VOLUMES = {
    "text": (b"1 2 3", "is neither .npy nor .npz"),
    "nothing": (b"", "is neither .npy nor .npz"),
    "a bare pickle": (b"\x80\x04N.", "is neither .npy nor .npz"),
    "a pickle": (PICKLED, "holds Python objects, which are never loaded; save plain numbers"),
    "a pickle in an archive": (
        npz(a=np.array([Harmful()], dtype=object)),
        "a.npy in the file holds Python objects",
    ),
    "strings": (npy(np.full((2, 2, 2), "x")), "holds dtype=<U1; save real numbers"),
    "complex": (npy(1j * CUBE), "holds dtype=complex128; save real numbers"),
    "dates": (npy(np.zeros((2, 2, 2), "M8[s]")), "holds dtype=datetime64"),
    "records": (npy(np.zeros((2, 2, 2), "i4,f4")), "save real numbers"),
    "a thousand million": (header(HUGE), r"1,000,000,000 numbers; save a coarser copy"),
    "beyond 64 bits": (header((2**40, 2**40, 2)), "numbers; save a coarser copy"),
    "less than nothing": (header((-4, -4, 4)), "holds no numbers"),
    "empty": (npy(np.zeros((0, 4, 4))), "holds no numbers"),
    "a number": (npy(np.array(3.0)), r"shape=\(\) must be \(depth"),
    "a picture": (npy(np.eye(4)), r"shape=\(4, 4\) must be \(depth, height, width"),
    "five axes": (npy(np.zeros((2,) * 5)), "must be .depth, height, width"),
    "one slice": (npy(np.ones((1, 8, 8))), "at least 2×2×2"),
    "channels first": (npy(np.ones((3, 8, 8, 8))), "np.moveaxis"),
    "a colour picture": (npy(np.ones((8, 8, 3))), "looks like a colour picture"),
    "constant": (npy(np.full((4, 4, 4), 7.0)), "has one value"),
    "NaN": (npy(np.where(CUBE > 21, np.nan, CUBE)), "2 numbers of the file are NaN"),
    "truncated": (npy(CUBE)[:-8], "cannot be read"),
    "truncated in its header": (npy(CUBE)[:40], "cannot be read"),
    "a header of code": (
        b"\x93NUMPY\1\0" + struct.pack("<H", 20) + b"print('harm')      \n",
        "cannot be read",
    ),
    "two arrays": (npz(a=CUBE, b=CUBE), r"holds 2 arrays \(a, b\); save the one alone"),
    "no arrays": (npz(), "is neither|cannot be read|holds 0 arrays"),
    "a truncated archive": (npz(a=CUBE)[:-30], "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_VOLUMES)
def test_volume_refuses(case):
    content, message = BAD_VOLUMES[case]
    with pytest.raises(ValueError, match=rf"(?s)^volume: .*({message}).*\.$"):
        signals.volume(content)


def test_a_member_that_is_no_array_is_refused():
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "not numbers")
    with pytest.raises(ValueError, match=r"^volume: readme.txt in the file cannot be read"):
        signals.volume(stream.getvalue())


@pytest.mark.parametrize("kind", ["sound", "volume", "volume, packed", "table"])
def test_what_is_too_large_is_refused_before_memory_is_taken(kind, tmp_path):
    """Files that are as large as they claim: sparse on disk, or zeros packed a thousandfold."""
    path = tmp_path / "large"
    if kind == "volume, packed":  # 2^28 zeros
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a.npy", "w", force_zip64=True) as member,
        ):
            member.write(header((2**9, 2**9, 2**10), "|u1") + bytes(2**22))
    else:
        start = wav(np.zeros((0, 1), np.uint8), claimed=10**9) if kind == "sound" else header(HUGE)
        with path.open("wb") as file:
            file.write(start if kind != "table" else header((10**9, 1)))
            file.truncate(8 * 10**9 + 200)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"1,000,000,000|268,435,456"):
            {"sound": files.sound, "table": files.table}.get(kind, files.volume)(path)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


# --- scattered samples ----------------------------------------------------------------------------

R, G = np.array([[0.0, 3], [1, 4], [1, 4], [2, 9]]), np.array([[1.0], [2], [-2], [5]])
ROWS = np.hstack([R, G])
TEXT = "\n".join(",".join(f"{number:g}" for number in row) for row in ROWS)


@pytest.mark.parametrize(
    "content",
    [
        npz(r=R, g=G),
        npz(np.savez_compressed, g=G, r=R),
        npy(ROWS),
        npy(ROWS.astype(">f4")),
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),  # as a spreadsheet writes it
        f"x,y,value\n{TEXT}\n".encode(),
        f'"x","y","value"\r\n{TEXT}'.replace("\n", "\r\n").encode(),
        TEXT.replace(",", " ").encode(),
        TEXT.replace(",", "\t").encode(),
        f"# measured\n{TEXT}".encode(),
    ],
)
def test_a_table_is_places_and_values_a_place_may_come_twice(content):
    r, g = signals.table(content, dims=2)
    assert r.dtype == g.dtype == np.float64
    np.testing.assert_array_equal(r, R)
    np.testing.assert_array_equal(g, G)


def test_a_table_may_have_one_coordinate_and_several_values(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    r, g = signals.table(tmp_path / "a.csv", dims=1)
    assert (r.shape, g.shape) == ((4, 1), (4, 2))
    r, g = signals.table(tmp_path / "a.csv")  # all columns but the last
    np.testing.assert_array_equal(r, R)
    r, g = signals.table(npz(r=R[:, 0], g=G[:, 0]))
    assert (r.shape, g.shape) == ((4, 1), (4, 1))


BAD_TABLES = {
    "words": (b"a rose is a rose", "it has no rows of numbers"),
    "words after numbers": (b"1 2 3\na b c", "cannot be read"),
    "nothing": (b"", "cannot be read .it has no rows of numbers."),
    "names alone": (b"x,y,g", "cannot be read .it has no rows of numbers."),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "cannot be read"),
    "a row too short": (b"1,2,3\n1,2\n1,2,3", "cannot be read"),
    "decimal commas": (b"1,5;2,5;3,5\n4,5;5,5;6,5", "cannot be read"),
    "one sample": (npy(ROWS[:1]), "1 coordinates and 1 values; give two samples or more"),
    "one sample in text": (b"1,2,3", "1 coordinates and 1 values; give two samples or more"),
    "as many columns as dims": (npy(R), "dims=2 of 2 columns"),
    "three axes": (npy(CUBE), r"shape=\(2, 3, 4\); give rows and columns"),
    "another length": (npz(r=R, g=G[:3]), "4 coordinates and 3 values"),
    "other names": (npz(x=R, y=G), "holds x, y; give an .npz with r and g"),
    "no g": (npz(r=R), "holds r; give an .npz with r and g"),
    "a pickle": (PICKLED, "holds Python objects"),
    "a pickle for g": (npz(r=R, g=np.array([Harmful()] * 4, object)), "holds Python objects"),
    "strings": (npy(np.full((4, 3), "1")), "holds dtype=<U1"),
    "complex": (npz(r=R, g=1j * G), "holds dtype=complex128"),
    "NaN": (npz(r=R, g=np.where(G > 3, np.nan, G)), "1 numbers of the file are NaN"),
    "NaN in text": (TEXT.replace("9", "nan").encode(), "1 numbers of the file are NaN"),
    "infinite": (npz(r=np.where(R > 8, np.inf, R), g=G), "1 numbers of the file are NaN"),
    "a constant coordinate": (npy(np.insert(R, 1, 7, axis=1)), "coordinate 1, counted from 0"),
    "constant values": (npz(r=R, g=0 * G), "has one value"),
    "a thousand million": (header((10**9, 3)), "3,000,000,000 numbers; save a coarser copy"),
    "truncated": (npy(ROWS)[:-1], "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_table_refuses(case):
    content, message = BAD_TABLES[case]
    with pytest.raises(ValueError, match=rf"(?s)^table: .*({message}).*\.$"):
        signals.table(content, dims=2)


@pytest.mark.parametrize("dims", [0, -1, 3, 10**9])
def test_table_needs_columns_of_both_kinds(dims):
    with pytest.raises(ValueError, match=rf"dims={dims} of 3 columns; say how many"):
        signals.table(npy(ROWS), dims=dims)


# --- all of them ----------------------------------------------------------------------------------

READERS = {
    "sound": (signals.sound, wav(TONE)),
    "volume": (signals.volume, npy(CUBE)),
    "volume, packed": (signals.volume, npz(np.savez_compressed, a=CUBE)),
    "table": (lambda content: signals.table(content, dims=2), npy(ROWS)),
    "table, packed": (signals.table, npz(np.savez_compressed, r=R, g=G)),
    "table in text": (lambda content: signals.table(content, dims=2), TEXT.encode()),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_answered_in_one_sentence(name):
    read, whole = READERS[name]
    rng, read_well = np.random.default_rng(0), 0
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 400), rng.integers(1, 6)):
            content[place] = rng.integers(256)
        if rng.random() < 0.3:
            content = content[: rng.integers(len(content))]
        try:
            read(bytes(content))
            read_well += 1
        except ValueError as error:
            assert re.match(rf"(?s){name[:5]}\w?: .*\.$", str(error)), str(error)  # noqa: PT017
    assert read_well < 150


@pytest.mark.parametrize("read", [signals.sound, signals.volume, signals.table])
def test_a_missing_file_is_named(read, tmp_path):
    for missing in ("nowhere.dat", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^\w+: source='.*' is no file; give an? "):
            read(str(missing))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("source", [np.ones((4, 4)), 3, None, ["a.wav"]])
@pytest.mark.parametrize("read", [signals.sound, signals.volume, signals.table])
def test_what_is_no_file_is_refused_in_one_sentence(read, source):
    with pytest.raises(ValueError, match="give the path of a file or its bytes"):
        read(source)
