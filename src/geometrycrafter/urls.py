"""URLs that fsspec reads (``https://``, ``s3://``, ``memory://``): what each kind wants, and what failed, in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from geometrycrafter.errors import InputError, how_to_install, reason

EXTRA = ("http", "https", "s3", "s3a")
"""Protocols that the extra ``remote`` reads."""
PACKAGES = {
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


def protocol_of(url: str) -> str:
    """``s3`` of ``s3://bucket/name``; of a chain, the last: what answers in the end."""
    return url.split("://")[0].split("::")[-1].lower()


def storage_options(protocol: str) -> dict[str, Any]:
    """What fsspec is told for a kind of URL: a server that has gone silent is given up."""
    if protocol not in ("http", "https"):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)}}


@contextlib.contextmanager
def opened(url: str) -> Iterator[None]:
    """Turn what fsspec says where a URL can't be opened into a sentence.

    Raises:
        InputError: for every exception of the block: a package is missing, the kind is unknown, the server refuses.
    """
    shown = without_password(url)
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        protocol = protocol_of(url)
        if protocol in EXTRA:
            remedy = how_to_install("remote")
        else:
            remedy = f"pip install '{PACKAGES[protocol]}'" if protocol in PACKAGES else reason(error)
        raise InputError(f"{shown}: a package that reads {protocol}:// is missing; {remedy}.") from error
    except Exception as error:
        if isinstance(error, ValueError) and "rotocol not known" in str(error):
            raise InputError(f"{shown}: {protocol_of(url)}:// is no kind of URL that can be read; check it.") from error
        nothing = "nothing is there" if isinstance(error, FileNotFoundError) else type(error).__name__
        said = _answer(error) or reason(error).replace(url, "").strip(" ,:") or nothing
        raise InputError(f"{shown}: the URL can't be read ({said}).") from error


def _answer(error: BaseException) -> str:
    """What a server said that refuses: a number and its meaning; nothing where it is not known."""
    for cause in (error, error.__cause__, error.__context__):
        status, message = getattr(cause, "status", None), getattr(cause, "message", None)
        if isinstance(status, int) and isinstance(message, str) and 300 <= status < 600:
            return f"the server says {status} {message}".strip().splitlines()[0][:100]
    return ""


def without_password(url: str) -> str:
    """A URL as it may be shown and kept: without a name and password before its host."""
    start, mark, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{start}{mark}{host.rpartition('@')[2]}{slash}{path}"


def last_name(url: str) -> str:
    """The last part of a URL's path, as a file would be called; its host where it has none."""
    parts = urlsplit(url.split("::")[-1])
    return PurePosixPath(unquote(parts.path).rstrip("/") or parts.netloc.rpartition("@")[2]).name
