"""The pins stand in pyproject.toml; everything else reads them or agrees with them."""

import re
import tomllib
from importlib import metadata

import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
PIP = next(entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))


def pins():
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    return [
        *PROJECT["project"]["dependencies"],
        *(pin for part in [*extras, *groups] for pin in part),
    ]


@pytest.mark.parametrize("pin", pins())
def test_every_direct_dependency_is_pinned_exactly(pin):
    assert re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", pin)


@pytest.mark.parametrize("pin", [p for p in pins() if "neural-tangents" not in p])
def test_the_lock_holds_the_pin(pin):
    name, version = re.sub(r"\[\w+\]", "", pin).split("==")
    locked = re.findall(rf"^{re.escape(name)}(?:\[.*?\])?==(\S+)", LOCK, re.MULTILINE)
    assert set(locked) == {version}


def test_the_lock_is_whole_and_holds_no_address():
    lines = LOCK.splitlines()
    assert len(lines) > 100
    assert all(re.match(r"[\w.-]+(\[.*\])?==\S+( ;.*)?$", line) for line in lines)
    assert "://" not in LOCK
    assert not re.search(r"^(tensorflow|torch|tf2jax)\b", LOCK, re.MULTILINE)


def test_environment_agrees_with_pyproject():
    """environment.yml names the project and the lock; a version there would be a second place."""
    assert PIP == ["-c requirements.lock", "-e .[lab]"]
    assert "lab" in PROJECT["project"]["optional-dependencies"]
    python, pip = CONDA
    assert pip == "pip"
    low, high = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    assert int(low) <= int(python.removeprefix("python=3.")) < int(high)


@pytest.mark.parametrize("pin", PROJECT["project"]["dependencies"])
def test_this_environment_is_the_pinned_one(pin):
    name, version = pin.split("==")
    assert metadata.version(name) == version
