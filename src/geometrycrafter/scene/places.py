"""Where scenes are: on disk, or at a URL that fsspec knows (``s3://``, ``https://``, ``memory://``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import is_url, on_disk

PACKAGES = {
    "http": "geometrycrafter[remote]",
    "https": "geometrycrafter[remote]",
    "s3": "geometrycrafter[remote]",
    "s3a": "geometrycrafter[remote]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
    "ssh": "paramiko",
    "sftp": "paramiko",
}
"""What reading a kind of URL wants beside the base installation."""
CONNECT, READ = 20, 60
"""Seconds that a server may take to answer, and between two pieces of an answer."""


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
    protocol = url.split("://")[0].split("::")[-1].lower()
    try:
        return FsspecStore.from_url(url, storage_options=_options(protocol), read_only=True)
    except ImportError as error:
        wanted = PACKAGES.get(protocol)
        remedy = f"pip install '{wanted}'" if wanted else reason(error)
        raise InputError(f"{url}: a package that reads {protocol}:// is missing; {remedy}.") from error
    except Exception as error:
        if isinstance(error, ValueError) and "rotocol not known" in str(error):
            raise InputError(f"{url}: {protocol}:// is no kind of URL that can be read; check it.") from error
        raise InputError(f"{url}: the URL can't be read ({reason(error)}).") from error


def _options(protocol: str) -> dict[str, Any]:
    """A server that has gone silent is given up."""
    if protocol not in ("http", "https"):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)}}


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
        parts = urlsplit(os.fspath(place).split("::")[-1])
        return PurePosixPath(parts.path.rstrip("/") or parts.netloc).stem
    return Path(os.path.abspath(on_disk(place))).stem  # noqa: PTH100 (a link keeps its name)
