"""Where scenes are: on disk, or at a URL that fsspec knows (``s3://``, ``https://``, ``memory://``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import is_url, on_disk
from geometrycrafter.urls import last_name, opened, protocol_of, storage_options


def store_of(place: str | os.PathLike[str], writable: bool = False) -> Store:
    """The store of a place: the one spot that knows where a scene can be.

    Args:
        place: of a scene, or of one array in it.
        writable: else nothing is ever opened for writing.

    Raises:
        InputError: for a URL that is to be written, of a kind that is unknown, or whose package is missing.
    """
    if writable or not is_url(place):
        return LocalStore(on_disk(place, "a scene"), read_only=not writable)
    url = os.fspath(place)
    with opened(url):
        return FsspecStore.from_url(url, storage_options=storage_options(protocol_of(url)), read_only=True)


@contextlib.contextmanager
def reading(place: str) -> Iterator[None]:
    """Turn what a store says of a failed read into a sentence that names the place.

    Backends raise what they like: ``OSError``, but also exceptions of their own for refused logins and damaged
    chunks. A wrong index stays an ``IndexError``.

    Raises:
        InputError: for every exception of the block that is not one of those two.
    """
    try:
        yield
    except (InputError, IndexError, MemoryError):
        raise
    except Exception as error:
        remedy = "check the URL and the connection" if is_url(place) else "it is damaged or out of reach"
        raise InputError(f"{place}: reading failed ({reason(error)}); {remedy}.") from error


def name_of(place: str | os.PathLike[str]) -> str:
    """What a scene is called: the last part of its place, without ``.gc``."""
    if is_url(place):
        return PurePosixPath(last_name(os.fspath(place))).stem
    return Path(os.path.abspath(on_disk(place))).stem  # noqa: PTH100 (a link keeps its name)
