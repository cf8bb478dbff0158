"""What the tests of explorers share: which there are, and how to look at one."""

import io
import re

import nbformat
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from inrlib import explorers


def _alone(call: str) -> str:
    """A call without what its notebook defines: `seed=seed`, a function, weights."""
    name, arguments = call.removesuffix(")").split("(")
    own = lambda argument: re.fullmatch(r"(\w+=)?[a-z_]\w*", argument)
    kept = [part for part in re.split(r",\s*", arguments) if part and not own(part)]
    return f"{name}({', '.join(kept)})"


def _calls():
    """Every call of an explorer in a notebook, as it can be made by itself."""
    for book in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(book, as_version=4).cells:
            if cell.cell_type == "code":
                for call in re.findall(r"^explorers\.(\w+\([^()]*\))", cell.source, re.MULTILINE):
                    yield _alone(call)


CALLS = sorted(set(_calls()))
"""Explorers as the notebooks open them: 'aliasing("FFN")'."""


def others_slow(names: list[str], kept) -> list:
    """Cases for `parametrize`: those that are not kept are left to `make slow`."""
    return [name if name in kept else pytest.param(name, marks=pytest.mark.slow) for name in names]


def _first(of):
    """Of the calls that share what `of` says, the first."""
    return {of(call): call for call in reversed(CALLS)}.values()


_maker = lambda call: explorers.ALL[call.split("(")[0]]

EACH = others_slow(CALLS, _first(_maker))
"""A call of each explorer."""

A_MODULE = others_slow(CALLS, _first(lambda call: _maker(call).__module__))
"""A call of each module, for what `inrlib.live` does alike for all of them."""


def opened(call: str) -> explorers.Explorer:
    """The explorer of one of `CALLS`."""
    return eval(f"explorers.{call}", {"explorers": explorers})


def pixels(explorer: explorers.Explorer) -> np.ndarray:
    """The picture that the page shows, in grey levels."""
    return np.asarray(Image.open(io.BytesIO(explorer.image.value)), int)


def main_slider(explorer: explorers.Explorer):
    return explorer.controls[explorer.main]


def words(explorer: explorers.Explorer) -> str:
    """The line below the figure, without its markup."""
    return re.sub("<[^>]*>", "", explorer.status.value)
