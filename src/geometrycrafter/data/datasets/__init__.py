"""The data sets that train and judge the published system, one module each, by name.

A module defines ``DATASET``; adding one is adding a file here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from geometrycrafter.data.dataset import DataSet
from geometrycrafter.errors import InputError


@cache
def data_sets() -> dict[str, DataSet]:
    """All of them, those that train first."""
    found = [import_module(f"{__name__}.{module.name}").DATASET for module in iter_modules(__path__)]
    return {d.name: d for d in sorted(found, key=lambda d: (d.evaluation is not None, d.name))}


def data_set(name: str) -> DataSet:
    """The data set of a name.

    Raises:
        InputError: where there is none; lists them.
    """
    for found in data_sets().values():
        if _plain(name) in (_plain(found.name), _plain(found.title)):
            return found
    raise InputError(f"{name}: there is no such data set; there are {', '.join(data_sets())}.")


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
