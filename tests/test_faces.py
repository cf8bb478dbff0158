import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data, transform

from inrlib import faces

NAMES = [f"{i:06d}.jpg" for i in range(1, 8)]
PARTS = [0, 0, 0, 1, 0, 1, 2]  # training, validation, test


@pytest.fixture(params=["folder", "parent of the folder", "zip", "zip with the list inside"])
def celeba(request, tmp_path):
    """A CelebA of seven pictures in the official layout."""
    images = tmp_path / "img_align_celeba"
    images.mkdir()
    rng = np.random.default_rng(0)
    for i, name in enumerate(NAMES):
        smooth = transform.resize(rng.random((6, 5, 3)), (218, 178)) * 255
        smooth[:20] = 255 * (i % 2)  # outside the square
        Image.fromarray(smooth.astype(np.uint8)).save(images / name, quality=95)
    rows = "".join(f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True))
    listing = tmp_path / "list_eval_partition.txt"
    listing.write_text(rows)
    originals = {name: np.asarray(Image.open(images / name)) for name in NAMES}
    if request.param == "folder":
        return images, originals
    if request.param == "parent of the folder":
        return tmp_path, originals
    archive = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name in NAMES:
            opened.write(images / name, f"img_align_celeba/{name}")
            (images / name).unlink()
        if request.param == "zip with the list inside":
            opened.write(listing, listing.name)
            listing.unlink()
    images.rmdir()
    return archive, originals


def test_celeba(celeba, tmp_path):
    source, originals = celeba
    found = faces.load(source, 32, training=3, validation=2, cache=tmp_path / "cache")
    for part, names in zip(found, ([0, 1, 2], [3, 5]), strict=True):
        assert part.shape == (len(names), 32, 32, 1)
        for face, i in zip(part, names, strict=True):
            luma = originals[NAMES[i]] @ np.array([0.299, 0.587, 0.114]) / 255
            square = luma[20:198]
            expected = transform.resize(square, (32, 32), anti_aliasing=True)
            assert np.abs(face[..., 0] - expected).max() < 1e-5


def test_celeba_is_read_once(celeba, tmp_path):
    source, _ = celeba
    first = faces.load(source, 16, 2, 1, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    stamp = kept.stat().st_mtime_ns
    again = faces.load(source, 16, 2, 1, cache=tmp_path / "cache")
    assert kept.stat().st_mtime_ns == stamp
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    faces.load(source, 24, 2, 1, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_default_faces():
    found = faces.load(size=25)
    assert found.training.shape == (80, 25, 25, 1)
    assert found.validation.shape == (20, 25, 25, 1)
    assert np.allclose(found.validation[0, ..., 0], data.lfw_subset()[80])
    assert faces.load(size=48, training=3, validation=1).training.shape == (3, 48, 48, 1)


def test_missing_data_says_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"download img_align_celeba\.zip"):
        faces.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no CelebA images"):
        faces.load(tmp_path / "nowhere")


def test_missing_partition(celeba):
    source, _ = celeba
    for listing in source.parent.rglob("list_eval_partition.txt"):
        listing.unlink()
    if (
        source.suffix != ".zip"
        or "list_eval_partition.txt" not in zipfile.ZipFile(source).namelist()
    ):
        with pytest.raises(FileNotFoundError, match=r"no list_eval_partition\.txt"):
            faces.load(source)


def test_too_many_are_asked_for(celeba, tmp_path):
    with pytest.raises(ValueError, match="validation=3, but there are 2"):
        faces.load(celeba[0], 8, 1, 3, cache=tmp_path)
    with pytest.raises(ValueError, match="training=81, but there are 80"):
        faces.load(training=81)
    with pytest.raises(ValueError, match="size=0"):
        faces.load(size=0)


@pytest.mark.parametrize("name", ["training", "validation"])
@pytest.mark.parametrize("asked", [0, -1])
def test_none_are_not_all(name, asked, celeba, tmp_path):
    for source in (None, celeba[0]):
        with pytest.raises(ValueError, match=f"{name}={asked}, but there are"):
            faces.load(source, 8, **{"training": 2, "validation": 1} | {name: asked})


def damage(source, name, content):
    """Another content for one image of the folder or of the archive."""
    if source.suffix != ".zip":
        image = next(source.rglob(name))
        image.write_bytes(content(image.read_bytes()))
        return
    with zipfile.ZipFile(source) as opened:
        entries = {entry: opened.read(entry) for entry in opened.namelist()}
    with zipfile.ZipFile(source, "w") as opened:
        for entry, old in entries.items():
            opened.writestr(entry, content(old) if Path(entry).name == name else old)


@pytest.mark.parametrize(
    "content",
    [
        lambda old: old[:500],
        lambda old: old[: len(old) // 2],
        lambda old: b"",
        lambda old: b"<html>quota exceeded</html>",
        lambda old: old[:2] + b"\0" * 300,
    ],
    ids=["cut early", "cut late", "empty", "a page", "zeros"],
)
def test_a_damaged_image_is_named(celeba, content, tmp_path):
    source, _ = celeba
    damage(source, NAMES[1], content)
    with pytest.raises(ValueError, match=rf"^faces: {NAMES[1]} cannot be read .* again\.$"):
        faces.load(source, 8, 3, 2, cache=tmp_path / "cache")
    assert faces.load(source, 8, 1, 2, cache=tmp_path / "cache").training.shape == (1, 8, 8, 1)


def test_an_archive_whose_bytes_rotted_names_the_image(celeba, tmp_path):
    source, _ = celeba
    if source.suffix != ".zip":
        pytest.skip("a folder has no checksums")
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as opened:
        start = opened.getinfo(f"img_align_celeba/{NAMES[0]}").header_offset
    content[start + 300] ^= 255
    source.write_bytes(content)
    with pytest.raises(ValueError, match=f"{NAMES[0]} cannot be read"):
        faces.load(source, 8, 3, 2, cache=tmp_path / "cache")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_lists_of_every_editor_are_read(celeba, mark, ending, tmp_path):
    source, _ = celeba
    rows = ending.join(f"{name}\t{part} " for name, part in zip(NAMES, PARTS, strict=True))
    (source.parent / "list_eval_partition.txt").write_bytes(mark + rows.encode())
    assert faces.load(source, 8, 3, 2, cache=tmp_path / "cache").training.shape == (3, 8, 8, 1)


@pytest.mark.parametrize("line", ["000002.jpg", "000002.jpg,0", "000002.jpg 7", "a b c", "\0\xff"])
def test_a_list_that_is_none_is_refused_with_the_line(line, tmp_path):
    (tmp_path / NAMES[0]).write_bytes(b"")
    listing = f"{NAMES[0]} 0\n{line}\n".encode("latin-1")
    (tmp_path / "list_eval_partition.txt").write_bytes(listing)
    with pytest.raises(ValueError, match=r"^faces: .* is no name with 0, 1 or 2; download"):
        faces.load(tmp_path, 8, 1, 1)


@pytest.mark.parametrize("content", [b"", b"PK\3\4junk", b"text", None])
def test_a_damaged_file_in_the_cache_is_made_anew(celeba, content, tmp_path):
    source, _ = celeba
    first = faces.load(source, 8, 3, 2, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[: whole // 2] if content is None else content)
    for _ in range(2):
        again = faces.load(source, 8, 3, 2, cache=tmp_path / "cache")
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert kept.stat().st_size == whole


def test_a_cache_that_cannot_be_written_costs_time_only(celeba, tmp_path):
    (tmp_path / "occupied").write_text("a file where a folder should be")
    found = faces.load(celeba[0], 8, 3, 2, cache=tmp_path / "occupied" / "cache")
    kept = faces.load(celeba[0], 8, 3, 2, cache=tmp_path / "cache")
    assert all(np.array_equal(a, b) for a, b in zip(found, kept, strict=True))


def test_the_cache_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert faces.cache_folder("there") == Path("there")
    assert faces.cache_folder(None) == tmp_path / "xdg" / "inrlib"
    for unset in ("", "relative/folder", "."):  # the specification: take no notice of these
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert faces.cache_folder(None) == tmp_path / "home" / ".cache" / "inrlib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert faces.cache_folder(None) == tmp_path / "home" / ".cache" / "inrlib"


@pytest.mark.parametrize("home", [None, "read-only", "occupied", "/dev/null"])
def test_without_a_home_the_cache_is_among_temporary_files(home, tmp_path, monkeypatch):
    """A container's user that the system does not know; a disk that cannot be written."""
    access = os.access
    monkeypatch.setattr("inrlib.faces.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "access", lambda at, mode: "only" not in str(at) and access(at, mode))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    (tmp_path / "read-only").mkdir()
    (tmp_path / "occupied").write_text("a file")
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", unknown)
    else:
        monkeypatch.setenv("HOME", str(tmp_path / home))
    folder = faces.cache_folder(None)
    assert folder.parent == tmp_path
    folder.mkdir()


def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")


@pytest.mark.parametrize(
    ("asked", "found"),
    [({}, (80, 20)), ({"validation": 100}, (80, 20)), ({"training": 7}, (7, 20))],
)
def test_without_celeba_it_says_so_and_takes_those_at_hand(asked, found, tmp_path):
    """A notebook at the published size goes on; a damaged CelebA is still an error."""
    with pytest.warns(UserWarning, match=r"no CelebA images at .*download"):
        people = faces.load(tmp_path / "celeba", 16, **asked, or_embedded=True)
    assert tuple(map(len, people)) == found
    np.testing.assert_array_equal(people.validation, faces.load(size=16).validation)
    with pytest.raises(FileNotFoundError):
        faces.load(tmp_path / "celeba", 16, **asked)


def test_with_celeba_nothing_takes_its_place(celeba, tmp_path):
    options = {"training": 3, "validation": 2, "cache": tmp_path / "cache"}
    plain = faces.load(celeba[0], 16, **options)
    for a, b in zip(faces.load(celeba[0], 16, **options, or_embedded=True), plain, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="training=300"):
        faces.load(celeba[0], 16, training=300, or_embedded=True)
