"""Packets of MPEG transport streams (ISO/IEC 13818-1, 2.4.3): whether all of a frame's are there.

ffmpeg's libraries mark a frame as corrupt where packets' counters don't go on. They don't where two recordings were
joined, either; and the mark may stand on the frame before.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, NamedTuple

LENGTHS = {188: 0, 192: 4, 204: 0}
"""Bytes from one packet to the next, and of them those before its first."""
SYNC = b"\x47"
"""What packets begin with."""
MANY = 4096
"""Packets that are looked at together."""
FURTHEST = 2**26
"""Bytes that a frame and what lies between its packets may have."""


class Packet(NamedTuple):
    """The head of a transport packet."""

    stream: int
    begins: bool
    """Whether a frame begins in it."""
    wrong: bool
    """Whether a receiver has found bits of it to be wrong."""
    payload: bool
    counter: int
    filled: bool
    """Whether it holds filling, as the last packet of a frame does."""


def packet_length(head: bytes) -> int | None:
    """Bytes from one packet to the next, by the first kilobyte of a file; None of another format."""
    for length, first in LENGTHS.items():
        if all(head[first + n * length : first + n * length + 1] == SYNC for n in range(5)):
            return length
    return None


def parsed(data: bytes) -> Packet | None:
    """The head of a packet of 188 bytes; None where these are none."""
    if len(data) < 188 or data[0] != 0x47:
        return None
    adaptation = data[4] if data[3] & 0x20 else 0
    # Flags, and the clocks, the splice point and the private data that they announce; the rest is filling.
    used = 1
    if adaptation:
        used += 6 * bool(data[5] & 0x10) + 6 * bool(data[5] & 8) + bool(data[5] & 4)
        used += 1 + data[5 + used] if data[5] & 2 and 5 + used < 188 else 0
    zero = bool(data[3] & 0x20) and adaptation == 0  # filling of one byte is a field without any
    return Packet(
        stream=(data[1] & 0x1F) << 8 | data[2],
        begins=bool(data[1] & 0x40),
        wrong=bool(data[1] & 0x80),
        payload=bool(data[3] & 0x10),
        counter=data[3] & 15,
        filled=zero or adaptation > used or (adaptation == 1 and not data[5]),
    )


def gone(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Where a file holds no packets, and where they go on.

    Args:
        file: open for reading.
        size: of it, bytes.
    """
    file.seek(0)
    length = packet_length(file.read(5 * 204))
    found: list[tuple[int, int]] = []
    position = 0
    while length is not None and position < size:
        file.seek(position)
        piece = file.read(MANY * length)
        marks = piece[LENGTHS[length] :: length]
        good = len(marks) - len(marks.lstrip(SYNC))
        position += good * length if good < len(marks) else len(piece)
        if good < len(marks):
            again = _again(file, position, size, length)
            found.append((position, again))
            position = again
    return found


def _again(file: BinaryIO, position: int, size: int, length: int) -> int:
    """Where packets go on: five in a row, or as many as are left."""
    while position < size:
        file.seek(position)
        piece = file.read(MANY * length)
        at = piece.find(SYNC, LENGTHS[length])
        while at >= 0:
            marks = piece[at::length][:5]
            if not marks.strip(SYNC) and (len(marks) == 5 or position + len(piece) == size):
                return position + at - LENGTHS[length]
            at = piece.find(SYNC, at + 1)
        position += max(len(piece) - 5 * length, length)
    return size


def is_whole(path: os.PathLike[str], position: int) -> bool:
    """Whether all packets of the frame are there that begins at a place in a file.

    The end of a frame is told by the next one's beginning; where counters don't go on there, by filling.

    Args:
        path: of the file.
        position: of the frame's first packet.
    """
    with open(path, "rb") as file:
        length = packet_length(file.read(5 * 204))
        if length is None:
            return False
        file.seek(position)
        first = before = None
        for _ in range(FURTHEST // length):
            found = parsed(file.read(length)[LENGTHS[length] :][:188])
            if found is None:
                return first is not None
            if first is None:
                if not found.begins:
                    return False
                first = before = found
                continue
            assert before is not None
            if found.stream != first.stream:
                continue
            goes_on = found.counter == (before.counter + found.payload) % 16 or found.counter == before.counter
            if found.begins:
                return not before.wrong and (goes_on or before.filled)
            if not goes_on or found.wrong:
                return False
            before = found
    return False


class Broken:
    """Which packets of a video are not whole.

    Args:
        path: of the file.
        container: it, opened.
        rate: frames a second.
    """

    def __init__(self, path: os.PathLike[str], container: Any, rate: float):
        self._path, self._rate = path, rate
        self._counted = container.format.name == "mpegts"
        # A program stream's packet holds several frames: cut short it marks them all, and the decoder knows which one.
        self._told = container.format.name != "mpeg"
        self._marked = 0
        self._before: float | None = None
        self.lost = 0
        """Frames before the packet that came last, of which nothing is there."""

    def holds(self, packet: Any) -> bool:
        """Whether the next packet is broken."""
        self._marked = 3 if packet.is_corrupt else max(0, self._marked - 1)
        self.lost = 0
        if not packet.size or not self._counted or packet.pos is None:
            return bool(packet.is_corrupt and packet.size and self._told)
        stamp = None if packet.dts is None else float(packet.dts * packet.time_base)
        if self._marked in (1, 2) and stamp is not None and self._before is not None:
            step = (stamp - self._before) * self._rate
            self.lost = round(step) - 1 if 1.5 < step < self._rate else 0  # beyond a second it is another recording
        self._before = stamp
        return self._marked > 1 and not is_whole(self._path, packet.pos)
