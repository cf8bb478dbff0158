"""The house keeps its own rules: small rooms, stairs that lead one way, a sign on every door."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

PACKAGE = ROOT / "inrlib"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
TABLE = re.findall(
    r"^\| `(\w+)` \|", (ROOT / "docs" / "house.md").read_text(encoding="utf-8"), re.M
)
WING = TABLE[: TABLE.index("plots")]  # what computes: all that stands above it
FRONT = {"matplotlib", "ipywidgets", "IPython"}
modules = pytest.mark.parametrize("name", [name for name in FILES if name != "inrlib"])
wing = pytest.mark.parametrize("name", [f"inrlib.{name}" for name in WING])


def imports(name):
    """The modules that a module names in its import statements, wherever they stand."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


def own(name):
    return {other for other in imports(name) if other in FILES}


def room(name):
    """The module of the table in docs/house.md in which a file is."""
    return name.split(".")[1]


def lines(name):
    return len(FILES[name].read_text(encoding="utf-8").splitlines())


def test_the_house_lists_every_module():
    assert sorted(TABLE) == sorted({room(name) for name in FILES if name != "inrlib"})


@modules
def test_a_module_imports_only_from_those_above_it(name):
    for other in own(name):
        assert TABLE.index(room(other)) <= TABLE.index(room(name)), f"{name} imports {other}"


def test_imports_form_no_circle():
    assert list(TopologicalSorter({name: own(name) for name in FILES}).static_order())


@wing
def test_what_computes_imports_no_front_end(name):
    assert not FRONT & {other.split(".")[0] for other in imports(name)}


def test_computing_loads_no_front_end():
    """Not through another library either."""
    text = f"import sys, {', '.join('inrlib.' + name for name in WING if name != 'tangents')}\n"
    text += f"assert not set(sys.modules) & {FRONT}, set(sys.modules) & {FRONT}"
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@wing
def test_a_room_of_the_mathematics_is_read_at_one_sitting(name):
    assert lines(name) <= 400


@modules
def test_a_function_fits_on_a_screen(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name}: {length} lines"


@modules
def test_the_head_of_a_module_shows_a_call(name):
    """Doctests: the suite runs them all."""
    assert ">>> " in (ast.get_docstring(TREES[name]) or "")


@modules
def test_all_is_complete_and_in_order(name):
    """Constants, classes, functions: the order of the linter. `explorers` gathers its own."""
    kinds = ast.FunctionDef | ast.ClassDef
    defined = {node.name for node in TREES[name].body if isinstance(node, kinds)}
    stated = [
        ast.literal_eval(node.value)
        for node in TREES[name].body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        if room(name) != "explorers"
    ]
    assert len(stated) == (room(name) != "explorers")
    for names in stated:
        assert not {own for own in defined if not own.startswith("_")} - set(names)
        kind = lambda own: 0 if own.isupper() and len(own) > 1 else 1 if own[0].isupper() else 2
        assert names == sorted(names, key=lambda own: (kind(own), own))
        module = importlib.import_module(name)
        assert all(hasattr(module, own) for own in names)
