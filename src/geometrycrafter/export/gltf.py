"""glTF's binary container: arrays go to disk as they come, and memory holds their descriptions only."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError

KINDS = {np.dtype("<f4"): 5126, np.dtype("<u4"): 5125, np.dtype("<u2"): 5123}
SHAPES = {0: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
VERTICES, INDICES = 34962, 34963
"""What a buffer is for, in the words of OpenGL."""
MOST = 2**32 - 2**24
"""Bytes of a file, whose length is written in 32 bits, less room for its descriptions."""


class Gltf:
    """A scene of glTF as it grows.

    Args:
        folder: where arrays lie until the file is written.
    """

    def __init__(self, folder: Path):
        self._bytes = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed with this)
        self._size = 0
        self.parts: dict[str, list[Any]] = {}
        """Nodes, meshes and so on, by their names in the file."""

    def __enter__(self) -> Gltf:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bytes.close()

    def add(self, part: str, entry: dict[str, Any]) -> int:
        """Put in an entry of "nodes", "meshes", ...; its number."""
        self.parts.setdefault(part, []).append(entry)
        return len(self.parts[part]) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        """Put in bytes; the number of their view.

        Raises:
            InputError: where the file would be larger than the format allows.
        """
        if self._size + len(data) > MOST:
            raise InputError("the file would be larger than GLB allows, 4 GB; take fewer points by --step.")
        entry = {"buffer": 0, "byteOffset": self._size, "byteLength": len(data)}
        padded = data + bytes(-len(data) % 4)
        self._bytes.write(padded)
        self._size += len(padded)
        return self.add("bufferViews", entry if target is None else {**entry, "target": target})

    def array(
        self, values: np.ndarray, target: int | None = None, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Put in an array ``[N]`` or ``[N, C]``; the number of its accessor.

        Args:
            values: float32, uint32 or uint16.
            target: :data:`VERTICES` or :data:`INDICES`.
            bounds: write its least and largest, which places and times want.
            normalized: whole numbers stand for 0 to 1.
        """
        values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        entry: dict[str, Any] = {"bufferView": self.view(values.tobytes(), target), "count": len(values)}
        entry |= {"componentType": KINDS[values.dtype], "type": SHAPES[values.shape[1] if values.ndim > 1 else 0]}
        if bounds:
            entry |= {"min": np.atleast_1d(values.min(0)).tolist(), "max": np.atleast_1d(values.max(0)).tolist()}
        if normalized:
            entry["normalized"] = True
        return self.add("accessors", entry)

    def write(self, path: Path, **more: Any) -> None:
        """Write the file: what has been put in, and further entries of its top level."""
        whole = {"asset": {"version": "2.0", "generator": "geometrycrafter"}, **more, **self.parts}
        whole["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(whole, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        self._bytes.seek(0)
        with open(path, "wb") as file:
            file.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + self._size))
            file.write(struct.pack("<I4s", len(text), b"JSON") + text)
            file.write(struct.pack("<I4s", self._size, b"BIN\0"))
            shutil.copyfileobj(self._bytes, file)
