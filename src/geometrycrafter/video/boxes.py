"""Boxes of MP4, QuickTime and HEIF files (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator

LARGEST = 2**26
"""Bytes of a box that are read."""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that some bytes consist of."""
    position = 0
    while position + 8 <= len(data):
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        size = size or len(data) - position
        if size < 8:
            return
        yield kind, data[position + 8 : position + size]
        position += size


def inside(data: bytes, *kinds: bytes) -> Iterator[bytes]:
    """Content of all boxes of a kind, in boxes of the kinds before it."""
    for kind, body in boxes(data):
        if kind == kinds[0]:
            yield from inside(body, *kinds[1:]) if len(kinds) > 1 else (body,)


def top_box(path: os.PathLike[str], wanted: bytes) -> bytes:
    """Content of the first box of a kind that stands in a file itself; nothing where there is none."""
    with open(path, "rb") as file:
        position = 0
        while True:
            file.seek(position)
            head = file.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            start = 16 if size == 1 else 8
            size = int.from_bytes(head[8:], "big") if size == 1 else size
            if kind == wanted:
                file.seek(position + start)
                return file.read(min(size - start, LARGEST) if size else LARGEST)
            if len(head) < 8 or size < start:
                return b""
            position += size
