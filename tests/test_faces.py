import zipfile

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
