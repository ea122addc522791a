"""Videos that come as a stream of bytes, from standard input or a URL: kept in a temporary file while they are used.

Most formats want to be read here and there, and a run looks at its video more than once. A server is asked once, and
nothing but its bytes is believed: ffmpeg's libraries see a file of this disk, and open no other.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.files import remove
from geometrycrafter.urls import last_name, opened, protocol_of, storage_options, without_password

PIECE = 2**20
"""Bytes that are taken at a time."""
LARGEST = 2**38
"""Bytes of a stream; a longer one is refused. Two days of television."""
SPARED = 2**28
"""Bytes of the disk that are left to others."""


class Spooled(os.PathLike[str]):
    """A temporary file, called by the name of what it holds; it goes with this object, at the latest with the process.

    Args:
        name: of what is kept, as messages call it.
        suffix: of the file, for formats that are known by it.

    Raises:
        WriteError: where there is no room for temporary files.
    """

    def __init__(self, name: str, suffix: str = ""):
        self.name = name
        try:
            folder = tempfile.mkdtemp(prefix="geometrycrafter-")
        except OSError as error:
            raise WriteError(f"{name}: no temporary file can be made ({reason(error)}); set TMPDIR.") from error
        self._path = Path(folder) / f"video{suffix if re.fullmatch(r'[.][A-Za-z0-9]{1,8}', suffix) else ''}"
        self.remove = weakref.finalize(self, remove, Path(folder))
        """Called, it removes the file at once."""

    def __fspath__(self) -> str:
        return str(self._path)

    def __str__(self) -> str:
        return self.name

    def fill(self, read: Callable[[int], bytes | None], most: int = LARGEST) -> Spooled:
        """Keep all that a stream gives.

        Args:
            read: gives at most so many bytes, none at the end.
            most: bytes that are taken.

        Returns:
            itself.

        Raises:
            InputError: where the stream is empty, too long, or no stream of bytes.
            WriteError: where the disk has no room for it.
        """
        taken = 0
        with self._kept(taken):
            file = open(self, "wb")  # noqa: SIM115 (closed below)
        with file:
            while piece := read(PIECE):
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise InputError(f"{self}: this gives no bytes; open it in binary mode.")
                taken += len(piece)
                if taken > most:
                    raise InputError(f"{self}: more than {most:,} bytes came; give a file, or a shorter video.")
                with self._kept(taken):
                    if taken // PIECE % 64 == 0 and shutil.disk_usage(self._path.parent).free < SPARED:
                        raise OSError("the disk is nearly full")
                    file.write(piece)
            with self._kept(taken):
                file.flush()
        if not taken:
            raise InputError(f"{self}: not one byte came; give a video.")
        return self

    @contextlib.contextmanager
    def _kept(self, taken: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(
                f"{self}: {taken:,} bytes came, and no more can be kept in {self._path.parent.parent} "
                f"({reason(error)}); set TMPDIR to a folder with room."
            ) from error


def spooled(stream: Any, name: str | None = None) -> Spooled:
    """All bytes of an open file or another stream.

    Args:
        stream: with ``read``, which gives bytes; it is read from where it stands.
        name: what messages call it; None: its own.

    Raises:
        InputError: where it can't be read, is empty or too long.
        WriteError: where there is no room for it.
    """
    own = getattr(stream, "name", None)
    called = name or (own if isinstance(own, str) and own else f"the {type(stream).__name__}")

    def read(most: int) -> bytes | None:
        try:
            return stream.read(most)
        except (OSError, ValueError) as error:  # closed, or not open for reading
            raise InputError(f"{called}: reading failed ({reason(error)}).") from error

    return Spooled(called, PurePosixPath(called).suffix).fill(read)


def fetched(url: str) -> Spooled:
    """A video from a server, whole.

    Args:
        url: that fsspec knows.

    Raises:
        InputError: where a package is missing, the server refuses, falls silent or stops half-way; names the URL.
        WriteError: where there is no room for it.
    """
    kept = Spooled(without_password(url), PurePosixPath(last_name(url)).suffix)
    with contextlib.ExitStack() as undone, opened(url):
        undone.callback(kept.remove)  # an exception may live long, and what it refers to with it
        import fsspec

        protocol = protocol_of(url)
        # One request for the whole, rather than many for parts of it.
        how = {"block_size": 0} if protocol in ("http", "https") else {}
        with fsspec.open(url, "rb", **how, **storage_options(protocol)) as stream:
            kept.fill(stream.read)
        undone.pop_all()
    return kept
