"""What a visitor reads first: it is short, agrees with itself, and its files are there."""

import io
import json
import re
import tomllib
from types import SimpleNamespace

import gallery
import pytest
import yaml
from conftest import ROOT
from PIL import Image

from inrlib import claims, explorers

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


def test_the_readme_is_short_and_moves():
    assert len(README.splitlines()) <= 150
    with Image.open(ROOT / "docs" / "gallery" / "drag.webp") as drag:
        assert drag.n_frames > 10
    assert (ROOT / "docs" / "gallery" / "drag.webp").stat().st_size < 2**20


def test_the_badges_are_those_of_the_one_setting():
    """Run `make gallery` when this fails."""
    between = re.search(r"<!-- badges -->\n(.*?)\n<!-- /badges -->", README, re.DOTALL)[1]
    assert between == gallery.badges()
    assert CITATION["repository-code"] == PROJECT["urls"]["Repository"]


def test_one_line_renames_every_badge(tmp_path, monkeypatch):
    """Without any executed notebook; what is left out says so."""
    for name in ("README.md", "CITATION.cff", "pyproject.toml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        if name == "pyproject.toml":
            text = text.replace("github.com/inrlib/inrlib", "github.com/me/mine")
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(gallery, "ROOT", tmp_path)
    monkeypatch.setattr(gallery, "BUILD", tmp_path / "build")
    assert gallery.main() == 1
    for name in ("README.md", "CITATION.cff"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "me/mine" in text
        assert "inrlib/inrlib" not in text


def test_the_version_is_said_alike_everywhere():
    assert CITATION["version"] == PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{PROJECT['version']}]" in changes
    assert re.findall(r"^## \[(.*?)\]", changes, re.MULTILINE)[0] == "Unreleased"


def test_the_citation_has_what_the_format_asks_for():
    """Required keys of CFF 1.2.0, here and in a reference."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert CITATION["license"] == PROJECT["license"]
    (paper,) = CITATION["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert paper["authors"][0]["family-names"] == "Yüce"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_linked_is_there(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        if not re.match(r"https?:|#", link):
            assert (document.parent / link.partition("#")[0]).exists(), link


def test_what_is_stable_exists():
    house = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    part = house.split("## What is stable")[1]
    table = re.findall(r"^\| `(\w+)` \|", house, re.MULTILINE)
    named = re.findall(r"`(\w+)`", part.split("Everything else")[0].replace("`__all__`", ""))
    assert len(named) > 5
    assert set(named) <= set(table)


def test_a_drag_is_made_of_an_explorers_frames(monkeypatch):
    monkeypatch.setattr(gallery, "POSITIONS", 3)
    monkeypatch.setattr(explorers, "families", explorers.first_look)
    moving = Image.open(io.BytesIO(gallery.moving()))
    assert moving.format == "WEBP"
    assert moving.n_frames >= 4  # there and back


def test_counts_are_four_numbers():
    rows = [
        SimpleNamespace(key=key, verdict=verdict, scale="demo")
        for key, verdict in (("a", "holds"), ("b", "holds"), ("c", "mixed"))
    ]
    assert "| **2** | **0** | **1** | **0** |" in gallery.counts(rows, {})
    assert "3 claims, demo scale" in gallery.counts(rows, {})
    over = {"a": {"holds": 19, "does not hold": 1}, "b": {"holds": 20}}
    told = gallery.counts(rows, over)
    assert "| **1** | **0** | **2** | **0** |" in told  # one that a seed can turn is mixed
    assert "2 of them were swept over 20 seeds: 1 hold in all, 1 in some" in told
    over = {"a": {"does not hold": 19, "mixed": 1}, "b": {"does not hold": 20}}
    assert "| **1** | **0** | **2** | **0** |" in gallery.counts(rows, over)


@pytest.mark.parametrize(("seeds", "words"), [({"holds": 3}, "holds"), ({}, "some fall behind")])
def test_a_claim_that_a_seed_can_turn_says_why(seeds, words):
    """Its reason, although it holds in the seed of the notebook."""
    record = claims.Claims(section="1", scale="demo")
    given = {"measure": "dB", "measured": 2.0, "mark": claims.above(1, "set")}
    record.add("a", "identity", "It is more.", **given, reason="some fall behind")
    over = seeds or {"holds": 2, "mixed": 1}
    told = gallery.page(record.rows, {"a": over})
    (line,) = (line for line in told.splitlines() if "`a`" in line)
    assert line.endswith(f"{words} |") or f"{words} (holds in 3 of 3 seeds) |" in line
    assert ("some fall behind" in line) == (not seeds)


def test_claims_at_the_published_sizes_stand_beside_the_demos(monkeypatch, tmp_path):
    """A later run takes an earlier one's place; a claim that is no more is left out."""
    demo, large, later = (claims.Claims(section="1", scale=s) for s in ("demo", "paper", "paper"))
    mark = {"measure": "dB", "mark": claims.above(1, "set")}
    for record, key, value in (
        (demo, "a", 2.0), (demo, "b", 2.0), (large, "a", 0.25), (large, "gone", 2.0),
        (later, "b", 3.5),
    ):  # fmt: skip
        record.add(key, "identity", "It is more.", measured=value, **mark)
    monkeypatch.setattr(gallery, "PUBLISHED", tmp_path / "published.json")
    monkeypatch.setattr(gallery, "BUILD", tmp_path)
    (tmp_path / "paper").mkdir()
    for path, record in ((gallery.PUBLISHED, large), (tmp_path / "paper" / "claims.json", later)):
        path.write_text(json.dumps([row.record() for row in record.rows]), encoding="utf-8")
    found = gallery.published()
    assert [row.key for row in found] == ["a", "gone", "b"]
    told = gallery.page(demo.rows, {}, found).split("## At the published sizes")[1]
    a, b = (line for line in told.splitlines() if line.startswith("| 1 |"))
    assert "`a`" in a
    assert "0.25" in a
    assert a.split(" | ")[-2].startswith("does not hold")
    assert a.endswith("| holds |")
    assert "3.5" in b
