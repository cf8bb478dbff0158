"""Binder, imitated: what repo2docker does with environment.yml and postBuild, without conda."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

pytestmark = [pytest.mark.install, pytest.mark.slow]


def run(*command, cwd, path=""):
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a clone would hold."""
    target = tmp_path_factory.mktemp("binder") / "repository"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.splitlines()):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def binder(checkout):
    """The environment that environment.yml describes, in the running Python's version."""
    bin_ = checkout.parent / "env" / "bin"
    run(sys.executable, "-m", "venv", bin_.parent, cwd=checkout)
    dependencies = yaml.safe_load((checkout / "environment.yml").read_text())["dependencies"]
    requirements = checkout / "pip-part.txt"
    requirements.write_text("\n".join(dependencies[-1]["pip"]))
    run(bin_ / "pip", "install", "--quiet", "-r", requirements.name, cwd=checkout)
    assert os.access(checkout / "postBuild", os.X_OK)
    run(checkout / "postBuild", cwd=checkout, path=bin_)
    return bin_


def test_binder_runs_a_notebook(checkout, binder):
    out = run(binder / "python", "tools/notebooks.py", "00_start_here", cwd=checkout, path=binder)
    assert "ok" in out
    installed = run(binder / "pip", "list", "--format=freeze", cwd=checkout).lower()
    assert "neural-tangents==" in installed.replace("_", "-")
    assert "tensorflow" not in installed


def test_postbuild_never_fails_without_a_network(checkout, binder):
    environment = {
        "PATH": f"{binder}:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    run(binder / "pip", "uninstall", "--yes", "neural-tangents", cwd=checkout)
    done = subprocess.run(
        [checkout / "postBuild"], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "everything that does not compare with it still works" in done.stdout
