"""What the tests of explorers share: which there are, and how to look at one."""

import io
import re

import nbformat
import numpy as np
from conftest import ROOT
from PIL import Image

from inrlib import explorers


def _calls():
    """Every call of an explorer in a notebook, with `seed=seed` and the like left out."""
    for book in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(book, as_version=4).cells:
            if cell.cell_type == "code":
                for call in re.findall(r"^explorers\.(\w+\([^()]*\))", cell.source, re.MULTILINE):
                    yield re.sub(r"seed=seed", "", call)


CALLS = sorted(set(_calls()))
"""Explorers as the notebooks open them: 'aliasing("FFN")'."""


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
