"""Names that live elsewhere now, found at their old place.

A module that lost a name keeps a sign to its new home, so that yesterday's script still runs.

>>> with warnings.catch_warnings(record=True, action="always") as said:
...     tau = moved("circles", two_pi="math.tau")("two_pi")
>>> tau, str(said[0].message)
(6.283185307179586, 'circles.two_pi is math.tau now; take it from there.')
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["moved"]


def moved(module: str, **homes: str) -> Callable[[str], Any]:
    """The module-level `__getattr__` of a module whose names have moved (PEP 562).

    The new home is imported when a name is asked for, so it may stand below the old one.

    Args:
      module: the old home, `__name__`.
      homes: what each name is called now, with its module.

    Returns:
      name ↦ what is meant, with a DeprecationWarning. It raises AttributeError for other names.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, now = homes[name].rpartition(".")
        warnings.warn(
            f"{module}.{name} is {homes[name]} now; take it from there.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(home), now)

    return __getattr__
