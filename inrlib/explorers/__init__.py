"""The explorers: one figure of the paper each, with its controls.

Each is a short declaration on top of `live`: controls, one computation, artists. A function in this
folder that returns an `Explorer` is one of them: it is found, and nothing else lists it.

>>> from inrlib import explorers
>>> "first_look" in explorers.ALL
True
"""

import importlib
import inspect
import pkgutil

from inrlib.live import Explorer


def _found():
    for room in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{room.name}")
        for name, make in inspect.getmembers(module, inspect.isfunction):
            made_here = make.__module__ == module.__name__ and not name.startswith("_")
            if made_here and inspect.signature(make).return_annotation is Explorer:
                yield name, make


ALL = dict(_found())
"""Every explorer by name."""

globals().update(ALL)
__all__ = ["ALL", "Explorer", *ALL]
