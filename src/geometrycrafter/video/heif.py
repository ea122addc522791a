"""How the colours of an AVIF or HEIC picture are coded, by its boxes (ISO/IEC 23008-12, ISO/IEC 14496-12).

Libraries that decode them give red, green and blue and forget the curve. A file holds other pictures beside the one
that is shown (tiles, thumbnails, maps of gain), so that the properties of this one are looked up.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from geometrycrafter.video.boxes import boxes, top_box


class Nclx(NamedTuple):
    """Code points of H.273, and the range."""

    primaries: int
    transfer: int
    matrix: int
    full: bool


def nclx_of(path: os.PathLike[str]) -> Nclx | None:
    """Of the picture that a file shows; None where nothing is said."""
    try:
        meta = dict(boxes(top_box(path, b"meta")[4:]))
        shown = meta[b"pitm"]
        item = int.from_bytes(shown[4:6] if not shown[0] else shown[4:8], "big")
        parts = list(boxes(meta[b"iprp"]))
        properties = list(boxes(next(body for kind, body in parts if kind == b"ipco")))
        for kind, body in parts:
            for index in _associated(body, item) if kind == b"ipma" else ():
                name, colour = properties[index - 1]
                if name == b"colr" and colour[:4] == b"nclx":
                    primaries, transfer, matrix = (int.from_bytes(colour[i : i + 2], "big") for i in (4, 6, 8))
                    return Nclx(primaries, transfer, matrix, bool(colour[10] & 0x80))
    except (KeyError, IndexError, StopIteration):  # boxes of another kind: nothing is said
        pass
    return None


def _associated(body: bytes, item: int) -> list[int]:
    """Numbers of the properties of an item, from one on."""
    version, wide = body[0], body[3] & 1
    count, position = int.from_bytes(body[4:8], "big"), 8
    for _ in range(count):
        length = 2 if version < 1 else 4
        found = int.from_bytes(body[position : position + length], "big")
        position += length
        entries, position = body[position], position + 1
        size = 2 if wide else 1
        mask = 0x7FFF if wide else 0x7F
        places = range(position, position + entries * size, size)
        if found == item:
            return [int.from_bytes(body[p : p + size], "big") & mask for p in places]
        position += entries * size
    return []
