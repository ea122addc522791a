"""Places in a file where its container's order is broken, as where a disk has lost a block: what stood there is gone.

ffmpeg's libraries go on behind them and say nothing. What is missing shows in the frames' times; a pause of a variable
rate looks the same, but for the hole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from geometrycrafter.video.endings import ASF_FILE_PROPERTIES, FILLING, HEADER, after_filling
from geometrycrafter.video.matroska import CLUSTER, KNOWN, SEGMENT, element
from geometrycrafter.video.transport import gone

PIECE = 2**20
"""Bytes that are searched at a time."""


@dataclass(frozen=True)
class Gap:
    """Two packets of a video between which time passes for others."""

    after: int
    """Where the first is in the file."""
    before: int
    """Where the second is."""
    frames: int
    """That would fit between them."""
    shown: int
    """Frames that were shown when it was met."""


Step = Callable[[BinaryIO, int], int | None]
"""From where something begins to where the next does; None where nothing begins."""


def holes(path: os.PathLike[str], container: Any) -> list[tuple[int, int]]:
    """Where a file's order is broken, and where it goes on; none of formats that aren't known here.

    Args:
        path: of the file.
        container: it, opened.
    """
    name = next((n for n in container.format.name.split(",") if n in (*_FORMATS, "asf", "mpegts")), None)
    if name is None:
        return []
    if name in ("asf", "mpegts"):
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            return gone(file, size) if name == "mpegts" else _asf_holes(file, size)
    start, step, again = _FORMATS[name]
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        position, found = start(file), []
        while position < size:
            after = step(file, position)
            if after is None:
                broken, position = position, _resumed(file, position + 1, size, step, again)
                found.append((broken, position))
            else:
                position = after
        return found


def lost_in(gaps: Sequence[Gap], holes: Sequence[tuple[int, int]]) -> list[Gap]:
    """Those gaps in time that lie where the file's order is broken; of some formats packets' places are rough."""
    return [g for g in gaps if any(a <= 2 * g.before - g.after and b >= 2 * g.after - g.before for a, b in holes)]


def _resumed(file: BinaryIO, position: int, size: int, step: Step, again: re.Pattern[bytes]) -> int:
    """Where the order goes on: two in a row are in it."""
    while position < size:
        file.seek(position)
        piece = file.read(PIECE)
        for match in again.finditer(piece):
            begins = position + match.start()
            after = step(file, begins)
            if after is not None and (after >= size or step(file, after) is not None):
                return begins
        position += max(len(piece) - 16, 1)
    return size


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _matroska(file: BinaryIO, position: int) -> int | None:
    found = element(_read(file, position, 12))
    if found is None or found[0] not in KNOWN:
        return None
    identifier, length, head = found
    inside = identifier in (SEGMENT, CLUSTER)
    return None if length is None and not inside else position + head + (0 if inside else length or 0)


def _avi(file: BinaryIO, position: int) -> int | None:
    head = _read(file, position, 8)
    if head[:4] in (b"RIFF", b"LIST"):
        return position + 12
    if len(head) < 8 or not all(32 <= letter < 127 for letter in head[:4]):
        return None
    length = int.from_bytes(head[4:], "little")
    return position + 8 + length + length % 2


def _flv(file: BinaryIO, position: int) -> int | None:
    head = _read(file, position, 11)
    if len(head) < 11 or head[0] & 0x1F not in (8, 9, 18):
        return None
    length = 11 + int.from_bytes(head[1:4], "big")
    back = _read(file, position + length, 4)
    return position + length + 4 if len(back) < 4 or int.from_bytes(back, "big") in (length, length - 11, 0) else None


def _program(file: BinaryIO, position: int) -> int | None:
    head = _read(file, position, FILLING + 14)
    filled = after_filling(head)
    head, position = head[filled : filled + 14], position + filled
    if head[:3] != b"\0\0\1" or len(head) < 4 or head[3] < 0xB9:
        return None
    if head[3] == 0xBA:
        return position + (14 + (head[-1] & 7) if head[4:5] and head[4] >> 6 == 1 else 12)
    return position + (4 if head[3] == 0xB9 else 6 + int.from_bytes(head[4:6], "big"))


def _mxf(file: BinaryIO, position: int) -> int | None:
    head = _read(file, position, 25)
    if head[:4] != b"\x06\x0e\x2b\x34" or len(head) < 17:
        return None
    short = head[16] < 0x80
    more = 0 if short else head[16] & 0x7F
    return position + 17 + more + (head[16] if short else int.from_bytes(head[17 : 17 + more], "big"))


def _asf_holes(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Data packets, all of one length, that begin with zeros."""
    head = _read(file, 0, HEADER)
    at = head.find(ASF_FILE_PROPERTIES)
    length = int.from_bytes(head[at + 92 : at + 96], "little") if at >= 0 else 0
    if length < 64:
        return []
    first = int.from_bytes(head[16:24], "little") + 50
    count = int.from_bytes(_read(file, first - 10, 8), "little") or size // length  # of packets; others follow
    places = range(first, min(size, first + count * length), length)
    return [(place, place + length) for place in places if not any(_read(file, place, 16))]


_FORMATS: dict[str, tuple[Callable[[BinaryIO], int], Step, re.Pattern[bytes]]] = {
    "matroska": (lambda file: 0, _matroska, re.compile(rb"\x1f\x43\xb6\x75")),
    "avi": (lambda file: 0, _avi, re.compile(rb"\d\d(?:dc|db|wb)", re.DOTALL)),
    "flv": (lambda file: int.from_bytes(_read(file, 5, 4), "big") + 4, _flv, re.compile(rb"[\x08\x09\x12]")),
    "mpeg": (lambda file: 0, _program, re.compile(rb"\x00\x00\x01\xba")),
    "mxf": (lambda file: 0, _mxf, re.compile(rb"\x06\x0e\x2b\x34")),
}
"""By ffmpeg's name of a format: where its order begins, how it goes on, and what it may go on with after a hole."""
