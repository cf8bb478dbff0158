"""A name that moved is found at its old place, with a word on where it is now."""

import importlib
import subprocess
import sys
import warnings

import pytest
from conftest import ROOT

from inrlib.moved import moved

# What scripts written before the move call.
OLD = {
    "ntk": {
        "Eigen": "atoms.Eigen",
        "align": "atoms.align",
        "centroids": "atoms.centroids",
        "coefficients": "atoms.inner_products",
        "eigenfunctions": "atoms.eigenfunctions",
        "energy_concentration": "atoms.energy_concentration",
        "energy_from_products": "atoms.energy_from_products",
        "kernel_norm": "atoms.kernel_norm",
        "leading": "atoms.leading",
    },
    "signals": {"Faces": "faces.Faces", "faces": "faces.load"},
    "metalearning": {
        "AUTHORS": "weights.AUTHORS",
        "Weights": "weights.Weights",
        "authors": "weights.authors",
        "load": "weights.load",
        "save": "weights.save",
        "shipped": "weights.shipped",
    },
}
EACH = [(old, name, home) for old, names in OLD.items() for name, home in names.items()]


@pytest.mark.parametrize(("old", "name", "home"), EACH)
def test_an_old_name_is_the_new_thing_and_says_where_it_is(old, name, home):
    room, now = home.split(".")
    with pytest.warns(DeprecationWarning, match=rf"inrlib\.{old}\.{name} is inrlib\.{home} now"):
        found = getattr(importlib.import_module(f"inrlib.{old}"), name)
    assert found is getattr(importlib.import_module(f"inrlib.{room}"), now)


def test_the_warning_points_at_the_line_that_uses_the_old_name():
    """As a script sees it, where nothing stands between the two."""
    script = """
from inrlib.moved import moved
find = moved("old", pi="math.pi")
find("pi")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "<string>:4: DeprecationWarning: old.pi is math.pi now" in done.stderr


@pytest.mark.parametrize("module", OLD)
def test_a_name_that_never_was_is_missed_as_in_any_module(module):
    missed = f"module 'inrlib.{module}' has no attribute 'nothing'"
    with pytest.raises(AttributeError, match=missed):
        importlib.import_module(f"inrlib.{module}").nothing  # noqa: B018


def test_a_name_that_stayed_warns_of_nothing():
    from inrlib import ntk

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert callable(ntk.gram)


def test_the_new_home_is_not_imported_before_it_is_asked_for():
    """So the old home may stand above the new one."""
    find = moved("anywhere", thing="inrlib.of_no_such_name.thing")
    with pytest.raises(AttributeError):
        find("other")
    with pytest.warns(DeprecationWarning, match="of_no"), pytest.raises(ModuleNotFoundError):
        find("thing")
