"""The elements of Matroska and WebM files (RFC 8794, RFC 9559), as far as they tell whether all of a file is there."""

from __future__ import annotations

from typing import BinaryIO

EBML, SEGMENT, CLUSTER, TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
"""Identifiers of elements."""
KNOWN = frozenset(
    (
        *(EBML, SEGMENT, CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469),
        *(0xEC, 0xBF),  # filling, checksums
        *(0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854),  # of a cluster: its time, blocks, places and sizes
    )
)
"""Those that a file or a cluster consists of."""


def number(data: bytes, position: int, marked: bool = False) -> tuple[int, int] | None:
    """A number of variable length: its value and where it ends; None where there is none.

    Args:
        data: bytes.
        position: where it begins.
        marked: whether the bit that tells its length belongs to it, as with identifiers.
    """
    if position >= len(data) or not data[position]:
        return None
    length = 9 - data[position].bit_length()
    if position + length > len(data):
        return None
    value = int.from_bytes(data[position : position + length], "big")
    return value if marked else value & ((1 << 7 * length) - 1), position + length


def element(data: bytes) -> tuple[int, int | None, int] | None:
    """Identifier, size and length of the head of the element that some bytes begin with.

    The size is None where it is left open; the whole is None where the bytes begin with no element.
    """
    identifier = number(data, 0, marked=True)
    size = number(data, identifier[1]) if identifier else None
    if identifier is None or size is None:
        return None
    left_open = size[0] == (1 << 7 * (size[1] - identifier[1])) - 1
    return identifier[0], None if left_open else size[0], size[1]


def segment_end(head: bytes) -> int | None:
    """Where the segment of a file ends, by its first bytes; None where that is left open."""
    first = element(head)
    if first is None or first[0] != EBML or first[1] is None:
        return None
    start = first[1] + first[2]
    segment = element(head[start:])
    if segment is None or segment[0] != SEGMENT or segment[1] is None:
        return None
    return start + segment[2] + segment[1]


def is_torn(file: BinaryIO, size: int) -> bool:
    """Whether a file, such as a live stream's, ends inside an element, or in what is none.

    Args:
        file: open for reading.
        size: of it, bytes.
    """
    position = 0
    while position < size:
        file.seek(position)
        found = element(file.read(12))
        if found is None:
            return True
        identifier, length, head = found
        position += head
        if identifier not in (SEGMENT, CLUSTER):
            if length is None:
                return False
            position += length
    return position > size
