"""How much of a video's file is there, by what its container says of the whole: sizes, durations, marks of the end.

A copy that broke off, or a disk that was full, leaves the beginning of a file. Some containers tell how much is
missing; of others one sees that they end inside of something; of raw streams nothing can be known.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import av

from geometrycrafter.video.matroska import is_torn, segment_end
from geometrycrafter.video.transport import LENGTHS, SYNC, packet_length

NEAR_END = 2**20
"""Bytes of a file's end that are looked at."""
HEADER = 2**16
"""Bytes of its beginning that hold its header."""
DECLARING = ("flv", "matroska", "mxf", "rm", "ivf", "asf", "gxf", "ogg", "yuv4mpegpipe")
"""Formats of ffmpeg's libraries whose duration is that of the header or of the last page; of others it is guessed."""
HEADER_SAYS = ("asf", "rm")
"""Of these, formats whose header gives each stream the end of the whole, to which the libraries add a late start."""
PADDING = 4096
"""Zeros that may follow a file's last packet."""
FILLING = 64
"""Zeros that may stand between packets of a program stream, whose sectors are as long on a disc (20 on Video CDs)."""
UNSURE = 0.02
"""Share of a declared duration that may be missing: headers are rounded, and sound ends later than the picture."""
NEARLY = 0.05
"""Seconds by which sound may end before the file does."""
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@dataclass(frozen=True)
class Ending:
    """How a file ends."""

    share: float = 1.0
    """How much of it is there, as far as it says: above 0, at most 1."""
    torn: bool = False
    """It ends inside of something, or without its mark of the end; how much is missing isn't known."""


def ending(path: os.PathLike[str], container: Any) -> Ending:
    """How a file ends, by its bytes.

    Args:
        path: of the file.
        container: it, opened.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        for name, told in _TOLD.items():
            if name in container.format.name.split(","):
                file.seek(0)
                said = told(file, size)
                if said is True or not said:
                    return Ending(torn=bool(said))
                return Ending(share=min(1.0, size / said))
    if container.format.name in ("yuv4mpegpipe", "dv"):
        return Ending(torn=_uneven(path, container, size))
    return Ending()


def half_drawn(path: os.PathLike[str], container: Any, packet: Any) -> bool:
    """Whether a packet is the last picture of a GIF that breaks off in it; the decoder says nothing.

    Args:
        path: of the file.
        container: it, opened.
        packet: of its video.
    """
    last = container.format.name == "gif" and packet.size and packet.pos + packet.size >= container.size
    return bool(last) and ending(path, container).torn


def declared(container: Any) -> float | None:
    """Seconds that a file's header says it lasts; None where it says nothing."""
    names = container.format.name.split(",")
    if not container.duration or not any(n in names for n in DECLARING):
        return None
    if any(n in names for n in HEADER_SAYS):
        ends = [float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base]
        return max(ends, default=None)
    return float(container.duration / av.time_base)


def is_followed(container: Any, seconds: float) -> bool:
    """Whether some stream goes on to so many seconds, or nearly: what comes behind it is no part of the video.

    Args:
        container: the file, opened.
        seconds: that its header says it lasts.
    """
    return len(container.streams) > 1 and _last(container) >= seconds - NEARLY


def share_in_time(container: Any, stream: Any, end: float | None) -> float:
    """How much of a video is there, by the duration that its header declares: above 0, at most 1.

    Sound that goes on after the last picture belongs to a whole file: it is looked for where pictures end early.

    Args:
        container: the file, opened.
        stream: its video.
        end: seconds at which its last packet ends; None where packets have no times.
    """
    seconds = declared(container)
    if seconds is None or end is None:
        return 1.0
    enough = seconds * (1 - UNSURE) - 2 / float(stream.average_rate or 24)
    if end >= enough or (len(container.streams) > 1 and _last(container) >= enough):
        return 1.0
    return max(end, 1e-3) / seconds


def _anew(container: Any) -> Any:
    """The same file, read from its beginning, as the same format and with the same bounds."""
    name, options = container.format.name, container.options
    return av.open(container.name, format=name, options=options, metadata_errors="replace")


def _last(container: Any) -> float:
    """Seconds at which the last packet of any stream ends."""
    end = 0.0
    with _anew(container) as again:
        try:
            for packet in again.demux():
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None:
                    end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
        except (av.FFmpegError, OSError, ValueError, IndexError):
            pass
    return end


def _uneven(path: os.PathLike[str], container: Any, size: int) -> bool:
    """Whether a file of frames that are all as long ends inside one."""
    with _anew(container) as again:
        first = next((p.size for p in again.demux(video=0) if p.size), 0)
    if container.format.name == "dv":
        return bool(first) and size % first != 0
    with open(path, "rb") as file:
        header = len(file.readline(HEADER))
        each = first + len(file.readline(HEADER))
    return bool(first) and (size - header) % each != 0


def _riff(file: BinaryIO, size: int) -> int | None:
    """Where the last part of an AVI that has begun is to end."""
    position = end = 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] not in (b"AVI ", b"AVIX"):
            break
        position += int.from_bytes(head[4:8], "little") + 8
        end = position
        position += position % 2
    return end or None


def _matroska(file: BinaryIO, size: int) -> int | bool:
    return segment_end(file.read(HEADER)) or is_torn(file, size)


def _asf(file: BinaryIO, size: int) -> int | None:
    """The size that the header says, unless it was written for a broadcast."""
    head = file.read(HEADER)
    at = head.find(ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return None
    return int.from_bytes(head[at + 40 : at + 48], "little")


def _ogg(file: BinaryIO, size: int) -> bool:
    """Whether the last page ends early, or isn't marked as a stream's last."""
    file.seek(max(0, size - NEAR_END))
    rest = file.read()
    at = rest.rfind(b"OggS")
    if at < 0 or len(rest) < at + 27:
        return True
    segments = rest[at + 27 : at + 27 + rest[at + 26]]
    return not rest[at + 5] & 4 or len(segments) < rest[at + 26] or at + 27 + len(segments) + sum(segments) > len(rest)


def _transport(file: BinaryIO, size: int) -> bool:
    """Whether an MPEG transport stream ends inside a packet, or in what is none."""
    length = packet_length(file.read(5 * 204))
    if length is None:
        return False
    start = max(0, size // length - NEAR_END // length) * length
    file.seek(start)
    rest = file.read()
    marks = rest[LENGTHS[length] :: length]
    packets = len(marks) - len(marks.lstrip(SYNC))
    return packets * length > len(rest) or not _is_padding(rest[packets * length :])


def _is_padding(rest: bytes) -> bool:
    """Whether what follows a file's last packet is nothing."""
    return len(rest) <= PADDING and not rest.strip(b"\0")


def after_filling(data: bytes, position: int = 0) -> int:
    """Where the start code (``00 00 01``) of an MPEG stream stands that a place is filled up to; else the place."""
    rest = data[position : position + FILLING]
    zeros = len(rest) - len(rest.lstrip(b"\0"))
    return position + zeros - 2 if zeros > 2 and rest[zeros : zeros + 1] == b"\1" else position


def _program(file: BinaryIO, size: int) -> bool:
    """Whether an MPEG program stream ends inside a packet, or in what is none (ISO/IEC 13818-1, 2.5.3)."""
    file.seek(max(0, size - NEAR_END))
    rest = file.read()
    at = rest.find(b"\0\0\1\xba")
    while 0 <= at < len(rest):
        at = after_filling(rest, at)
        if rest[at : at + 3] != b"\0\0\1"[: len(rest) - at]:
            return not _is_padding(rest[at:])
        if len(rest) < at + 14 and rest[at + 3 : at + 4] != b"\xb9":
            return True
        code = rest[at + 3]
        if code == 0xBA:
            at += 14 + (rest[at + 13] & 7) if rest[at + 4] >> 6 == 1 else 12
        else:
            at += 4 if code == 0xB9 else 6 + int.from_bytes(rest[at + 4 : at + 6], "big")
    return at > len(rest)


def _boxes(file: BinaryIO, size: int) -> int | bool:
    """Where an MP4 of fragments is to end, by its index of segments; else whether it ends inside a box."""
    position = end = 0
    fragmented = False
    while position < size:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return fragmented and (end or True)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:
            file.seek(position)
            return fragmented and kind != b"mdat" and not _is_padding(file.read(PADDING + 1))
        fragmented = fragmented or kind == b"moof"
        position += length
        if kind == b"sidx":
            file.seek(position - length)
            end = max(end, _segments(file.read(min(length, NEAR_END)), position))
    if not fragmented:  # then the table of frames tells more
        return False
    return end or position > size


def _segments(box: bytes, after: int) -> int:
    """Where the segments of a segment index end (ISO/IEC 14496-12, 8.16.3)."""
    wide = 8 if box[8] else 4
    at = 20 + wide
    first = int.from_bytes(box[at : at + wide], "big")
    at += wide + 2
    count = int.from_bytes(box[at : at + 2], "big")
    parts = [int.from_bytes(box[at + 2 + 12 * n : at + 6 + 12 * n], "big") & 0x7FFFFFFF for n in range(count)]
    return after + first + sum(parts)


def _gif(file: BinaryIO, size: int) -> bool:
    """Whether a GIF ends inside a picture."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def blocks() -> bool:
        while length := file.read(1):
            if length == b"\0":
                return True
            file.seek(length[0], 1)
        return False

    head = file.read(13)
    file.seek(table(head[10]) if len(head) == 13 else 0, 1)
    while kind := file.read(1):
        if kind == b";":
            return False
        if kind == b",":
            place = file.read(9)
            file.seek(table(place[8]) + 1 if len(place) == 9 else 0, 1)
        elif kind == b"!":
            file.seek(1, 1)
        else:
            return False  # something else follows: nothing is known
        if not blocks():
            return True
    return False  # the trailer alone is missing


_TOLD: dict[str, Callable[[BinaryIO, int], int | bool | None]] = {
    "avi": _riff,
    "matroska": _matroska,
    "asf": _asf,
    "ogg": _ogg,
    "mpegts": _transport,
    "mpeg": _program,
    "mp4": _boxes,
    "gif": _gif,
}
"""By ffmpeg's name of a format: the size that the whole has, or whether the file ends inside of something."""
