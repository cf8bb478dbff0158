"""The workflows are valid, and call what the README tells a reader to call."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text())


def jobs(workflow):
    return workflow["jobs"].values()


def steps(workflow):
    return [step for job in jobs(workflow) for step in job["steps"]]


def test_a_workflow_has_what_one_must_have(workflow):
    assert workflow["name"]
    assert workflow[True]  # YAML reads `on` as a truth value
    assert "permissions" in workflow
    for job in jobs(workflow):
        assert job["runs-on"]
        assert job["timeout-minutes"] <= 90
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)


def test_actions_are_official_and_of_one_version(workflow):
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_what_is_run_exists(workflow):
    for command in (step["run"] for step in steps(workflow) if "run" in step):
        for line in command.strip().splitlines():
            name, *arguments = line.split()
            if name == "make":
                assert [a for a in arguments if "=" not in a]
                assert {a for a in arguments if "=" not in a} <= set(TARGETS)
            elif name.startswith(".ci/"):
                assert (ROOT / name).stat().st_mode & 0o111
            else:
                assert name in ("sudo", "npm", "pip", "python")


def test_the_oldest_and_the_newest_python_are_checked():
    check = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())
    matrix = check["jobs"]["check"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = re.findall(r"3\.(\d+)", project["requires-python"])
    assert matrix["python"] == [f"3.{low}", f"3.{int(high) - 1}"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}
