"""Clips written by PyAV, frame by frame, with what a case wants said or left out in their headers."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


class Absent(Exception):  # noqa: N818 - named for what it says
    """What a case needs is not installed here; its text is the reason to skip."""


@dataclass(frozen=True)
class Coding:
    """How frames are coded, and what the stream says of them."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: int = 10
    ticks: tuple[int, ...] | None = None
    """Presentation times in units of :attr:`tick`; None counts frames."""
    tick: Fraction | None = None
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    aspect: Fraction | None = None
    tags: dict[str, int] = field(default_factory=dict)
    """``colorspace``, ``color_range``, ``color_primaries``, ``color_trc`` by their ISO code points."""
    field_flags: int = 0
    """libavcodec's flags, for coding as interlaced."""
    setfield: str = ""
    """``tff`` or ``bff``: what each frame says of its fields."""
    display: int = 1
    """EXIF's name for the display matrix."""


def encode(path: Path, frames: Iterable[np.ndarray | av.VideoFrame], coding: Coding = Coding()) -> Path:
    """Write one video stream of ``[H, W, 3]`` uint8 pictures or ready frames."""
    need(coding.codec)
    options = {"update": "1"} if coding.format == "image2" else {}
    with av.open(str(path), "w", format=coding.format, options={**options, **coding.container}) as container:
        add(container, coding, list(frames))
    if coding.display != 1:
        turn(path, coding.display)
    return path


def add(container: Any, coding: Coding, frames: Sequence[Any], disposition: int | None = None) -> Any:
    """One video stream, coded and written whole."""
    first = frames[0]
    height, width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
    stream = container.add_stream(coding.codec, rate=coding.rate)
    stream.width, stream.height, stream.pix_fmt = width, height, coding.pix_fmt
    context = stream.codec_context
    context.options = dict({"crf": "8", "x264-params": "log-level=-1"} if coding.codec == "libx264" else {})
    if coding.codec == "libx265":
        context.options = {"x265-params": "log-level=none:lossless=1:info=0"}
    context.options = {**context.options, **coding.options}
    context.thread_count = 1
    tick = coding.tick or Fraction(1, coding.rate)
    context.time_base = tick
    if coding.codec in ("mpeg4", "mpeg2video", "mjpeg"):
        context.bit_rate = 4_000_000
    if coding.aspect is not None:
        context.sample_aspect_ratio = coding.aspect
    if coding.field_flags:
        context.flags |= coding.field_flags
    for name, value in coding.tags.items():
        setattr(context, name, value)
    for index, given in enumerate(frames):
        frame = given if isinstance(given, av.VideoFrame) else rgb_frame(given, coding.pix_fmt)
        frame.pts, frame.time_base = (coding.ticks[index] if coding.ticks else index), tick
        for name, value in coding.tags.items():
            setattr(frame, name, value)
        container.mux(stream.encode(of_fields(frame, coding.setfield) if coding.setfield else frame))
    container.mux(stream.encode(None))
    return stream


def of_fields(frame: av.VideoFrame, order: str) -> av.VideoFrame:
    """The frame, saying that it is interlaced."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def rgb_frame(picture: np.ndarray, pix_fmt: str) -> av.VideoFrame:
    """``[H, W, 3]`` uint8 in a codec's pixel format; matrix and range are libswscale's own for it."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame if pix_fmt == "rgb24" else frame.reformat(format=pix_fmt)


def plane_frame(pix_fmt: str, planes: Sequence[np.ndarray]) -> av.VideoFrame:
    """A frame of exactly these code values, one array ``[h, w]`` (uint8 or uint16) a plane."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    for plane, values in zip(frame.planes, planes):
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[: raw.shape[0], : raw.shape[1]] = raw
        plane.update(lines.tobytes())
    return frame


def need(codec: str) -> None:
    """Skip the case where the libraries lack an encoder."""
    if codec not in av.codecs_available:
        raise Absent(f"the libraries of PyAV have no {codec}")
    try:
        av.Codec(codec, "w")
    except ValueError as error:
        raise Absent(f"the libraries of PyAV have no encoder {codec}") from error


def ffmpeg(folder: Path, *arguments: str) -> None:
    """Run the ``ffmpeg`` program in a folder."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise Absent("this case is made by the ffmpeg program, which is not installed")
    done = subprocess.run([program, "-v", "error", "-y", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ffmpeg {' '.join(arguments)}: {done.stderr}")


def turn(path: Path, orientation: int) -> Path:
    """Set the display matrix of an MP4's tracks; a, b, c, d as ISO/IEC 14496-12 8.3.2 names them."""
    a, b, c, d = {
        2: (-1, 0, 0, 1),
        3: (-1, 0, 0, -1),
        4: (1, 0, 0, -1),
        5: (0, 1, 1, 0),
        6: (0, 1, -1, 0),
        7: (0, -1, -1, 0),
        8: (0, -1, 1, 0),
    }[orientation]
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd")
    while at >= 0:
        body = at + 4 + (40 if data[at + 4] == 0 else 52)
        width, height = (value >> 16 for value in struct.unpack(">II", data[body + 36 : body + 44]))
        x = width * (a < 0) + height * (c < 0)
        y = width * (b < 0) + height * (d < 0)
        one = 1 << 16
        data[body : body + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
        at = data.find(b"tkhd", at + 4)
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file's bytes, as a broken copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Place and size in the file of each video packet, in decoding order."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def spoil(path: Path, indices: Iterable[int]) -> Path:
    """Overwrite the payload of some packets with noise, after the length that leads each."""
    places = packets(path)
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for index in indices:
        at, size = places[index]
        data[at + 4 : at + size] = noise.integers(0, 256, size - 4, np.uint8).tobytes()
    path.write_bytes(data)
    return path
