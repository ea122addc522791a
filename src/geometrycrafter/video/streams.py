"""Which stream of a file is its video, and the frames of it that a player shows.

The choice is ffmpeg's own: the stream that is marked as the default, then the largest; never a cover, a thumbnail or
another picture that comes with music. Damaged packets are passed over and counted, as players do.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from geometrycrafter.errors import InputError, reason
from geometrycrafter.video.endings import half_drawn
from geometrycrafter.video.losses import MANY, MOST_DAMAGED, Losses, account, damaged
from geometrycrafter.video.timing import RATE
from geometrycrafter.video.transport import Broken

MAX_PIXELS = 64 * 2**20
"""Frames with more pixels are refused: hostile headers claim any size."""
FASTEST, SLOWEST = 1000.0, 1e-3
"""Rates, in frames a second, that a video may have; others are marks of a file without times."""
DEFAULT_WEIGHT = 5_000_000
"""Pixels that a mark as the default is worth, in ffmpeg's choice."""
REFUSED = frozenset(
    (
        *("hls", "concat", "dash", "sdp", "rtsp", "rtp", "sap", "imf", "webm_dash_manifest"),  # name files or servers
        *("vobsub", "avisynth", "vapoursynth", "lavfi"),  # likewise, or are programs
        *("tty", "bin", "xbin", "adf", "idf"),  # text, which is drawn
    )
)
"""Formats of ffmpeg's libraries that are no video of their own."""
_PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def open_container(path: os.PathLike[str]) -> Any:
    """A file, opened by its name alone: ``12:30.mp4`` is no protocol, ``-x.mp4`` no flag, ``%04d.png`` no pattern.

    No other file is opened with it, and no server asked, whatever it says.

    Raises:
        InputError: where it is nothing that can be read.
    """
    try:
        return av.open(f"file:{os.fspath(path)}", metadata_errors="replace", options=_alone())
    except (av.FFmpegError, OSError, ValueError) as error:
        head = _head(path)
        if not head and os.path.isfile(path) and not os.path.getsize(path):  # noqa: PTH113, PTH202 (may be bytes)
            raise InputError(f"{path}: the file is empty; copy or download it again.") from error
        if head.startswith((b"#EXTM3U", b"ffconcat version", b"v=0", b"[playlist]")) or b"<MPD" in head:
            raise InputError(
                f"{path}: this is a list of other files or streams, which are not followed; give the video itself."
            ) from error
        if head.lower().startswith((b"<!doctype html", b"<html")):
            raise InputError(f"{path}: this is a web page, and no video; give the address of the video.") from error
        said = "it is text or a script" if isinstance(error, av.ArgumentError) else reason(error)
        raise InputError(
            f"{path}: this is no video that can be read ({said}); check that it is one, and whole."
        ) from error


@functools.cache
def _alone() -> dict[str, str]:
    """Options of ffmpeg's libraries with which a file stands for itself."""
    formats = ",".join(sorted(f for f in av.formats_available if f not in REFUSED))
    return {"protocol_whitelist": "file", "format_whitelist": formats, "pattern_type": "none", "enable_drefs": "0"}


def _head(path: os.PathLike[str]) -> bytes:
    """How a file begins, where that may be text: playlists, descriptions of streams, web pages."""
    try:
        with open(path, "rb") as file:
            return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return b""


def video_stream(container: Any, path: os.PathLike[str]) -> Any:
    """The stream that ffmpeg would take.

    Raises:
        InputError: where there is none, none that can be decoded, or its frames are too large.
    """
    streams = [s for s in container.streams.video if not s.disposition & _PICTURES]
    if not streams:
        what = "only a cover or thumbnail" if container.streams.video else "sound alone"
        if not container.streams.audio and not container.streams.video:
            what = "neither picture nor sound"
        raise InputError(f"{path}: the file holds {what}, and no video stream; give one with moving pictures.")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise InputError(f"{path}: the video is in a format that has no decoder here; convert it.")
    best = max(known, key=_score)  # of equals the first
    if best.codec_context.width * best.codec_context.height > MAX_PIXELS:
        raise InputError(f"{path}: its frames are larger than {MAX_PIXELS} pixels; make the video smaller.")
    return best


def _score(stream: Any) -> int:
    default = bool(stream.disposition & av.stream.Disposition.default)
    return int(stream.codec_context.width * stream.codec_context.height + DEFAULT_WEIGHT * default)


def rate_of(stream: Any) -> float:
    """Frames a second, as far as the header can be believed."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and SLOWEST <= rate <= FASTEST:
            return float(rate)
    return RATE


def pixel_aspect_of(stream: Any) -> Fraction:
    """Width over height of a stored pixel, as tagged; 1 where nothing sensible is said."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    return aspect if Fraction(1, 8) <= aspect <= 8 else Fraction(1)


def shown_count(container: Any, stream: Any) -> int | None:
    """Number of frames that will be shown, where the file's own table of all of them is there; else None.

    Headers count a fragmented file's first fragment, an AVI's frames that were dropped, and what an edit list cuts.
    """
    if not _complete_table(container, stream):
        return None
    return sum(not entry.is_discard for entry in stream.index_entries) or None


def _complete_table(container: Any, stream: Any) -> bool:
    """Whether the file begins or ends with a table of all of its frames."""
    if "mp4" not in container.format.name or not stream.frames:
        return False
    return len(stream.index_entries) >= stream.frames and not _fragmented(container)


def _fragmented(container: Any) -> bool:
    """Whether an MP4 goes on in fragments (``mvex`` in its header says that it may)."""
    with open(container.name.removeprefix("file:"), "rb") as file:
        position = 0
        while True:
            head = file.read(16)
            if len(head) < 8:
                return False
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if kind == b"moof":
                return True
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                return False
            if kind == b"moov":
                file.seek(position + 8)
                if b"mvex" in file.read(min(size - 8, 64 * 2**20)):
                    return True
            position += size
            file.seek(position)


def shown_frames(path: os.PathLike[str], container: Any, stream: Any, strict: bool = False) -> Iterator[Any]:
    """The frames that a player shows, in display order, decoded.

    Args:
        path: of the file, for messages.
        container: it, opened.
        stream: of it.
        strict: refuse the first packet that is damaged.

    Raises:
        InputError: where nothing can be decoded, more than a tenth is damaged or missing, or anything with ``strict``.
    """
    decoder = _decoder(stream)
    losses = Losses(rate=rate_of(stream))
    entries = len(stream.index_entries) if _complete_table(container, stream) else 0
    broken = Broken(path, container, losses.rate)
    for packet in _packets(container, stream, losses):
        try:
            cut = broken.holds(packet) or half_drawn(path, container, packet)
            if broken.lost and losses.gaps:
                losses.gaps.pop()
            losses.miss(broken.lost, "packets are missing")
            if cut:
                raise ValueError("a packet is cut short or has a wrong checksum")
            frames = decoder.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, av.EOFError) and packet.size == 0:  # the end, said twice
                break
            losses.note(error, packet.size == 0)
            if strict or losses.damaged > MOST_DAMAGED * max(entries, losses.packets, MANY):
                raise damaged(path, losses) from error
            continue
        for frame in frames:
            if frame.is_corrupt and not losses.shown and not frame.key_frame:
                continue
            losses.show(frame)
            yield frame
    account(path, container, stream, losses, entries, strict)


def _decoder(stream: Any) -> Any:
    """What decodes a stream: ffmpeg's choice, but for transparent VP8 and VP9, which only libvpx knows whole."""
    context = stream.codec_context
    context.thread_type = "AUTO"
    if stream.metadata.get("alpha_mode") != "1" or context.name not in ("vp8", "vp9"):
        return context
    try:
        decoder = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[context.name], "r")
    except (av.FFmpegError, ValueError):
        return context
    decoder.extradata = context.extradata
    return decoder


def _packets(container: Any, stream: Any, losses: Losses) -> Iterator[Any]:
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed)
        except (StopIteration, av.EOFError):
            return
        except IndexError:  # a packet of a stream that began after the header: PyAV doesn't know it
            demuxed = container.demux(stream)
            continue
        except (av.FFmpegError, OSError, ValueError) as error:
            losses.note(error)
            last = av.Packet()  # an empty one: what the decoder still holds is shown
            last.time_base = stream.time_base
            yield last
            return
        if packet.size:
            losses.read(packet)
        yield packet
