"""A preview: disparity, beside the frames or alone, one colour scale for the clip, each at its own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from geometrycrafter.errors import InputError, reason
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import VideoOptions
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import disparity_bounds, disparity_picture
from geometrycrafter.video.streams import FASTEST, SLOWEST

TICKS = 90_000
"""Of the clock that frames are timed by, a second."""
LEAST = 16
"""Pixels of the shorter side, at least: encoders refuse less."""


@dataclass(frozen=True)
class Container:
    """A kind of file that holds a video."""

    format: str
    """As ffmpeg's libraries call it."""
    codec: str
    options: dict[str, str]
    """Of the codec."""
    muxing: dict[str, str] = field(default_factory=dict)


_H264 = "libx264", {"crf": "18", "bf": "0"}  # no frame before its time: each then lasts as long as it says
CONTAINERS = {
    ".mp4": Container("mp4", *_H264, {"movflags": "+faststart"}),
    ".m4v": Container("mp4", *_H264, {"movflags": "+faststart"}),
    ".mov": Container("mov", *_H264, {"movflags": "+faststart"}),
    ".mkv": Container("matroska", *_H264),
    ".webm": Container("webm", "libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1"}),
}
"""By the suffix of the file's name, in small letters."""


@dataclass(frozen=True)
class Depth:
    """How finely colours are told apart."""

    picture: str
    """Format of pictures, as ffmpeg's libraries call it."""
    video: str
    """Of the video."""
    levels: int
    """What the brightest of a picture is."""


DEPTHS = {"8": Depth("rgb24", "yuv420p", 255), "10": Depth("rgb48le", "yuv420p10le", 65535)}
"""By bits of a video's colours."""


def disparity_ranges(scene: Scene) -> list[tuple[float, float]]:
    """2 % and 98 % quantiles of inverse depth of each frame's shot, from a sample of its pixels: scales are its own."""
    return [bounds for first, end in scene.shots for bounds in [_disparity_range(scene, first, end)] * (end - first)]


def _disparity_range(scene: Scene, first: int, end: int) -> tuple[float, float]:
    frames = end - first
    step = max(1, int((frames * scene.depth.shape[1] * scene.depth.shape[2] / 2e6) ** 0.5))
    samples = []
    for t in range(first, end, max(1, frames // 64)):
        depth, mask = scene.depth[t][::step, ::step], scene.mask[t][::step, ::step]
        samples.append(depth[mask])
    return disparity_bounds(np.concatenate(samples))


def write_mp4(scene: Scene, path: Path, options: VideoOptions | None = None, suffix: str = ".mp4") -> Path:
    """Write disparity, beside the frames or alone.

    Colours are BT.709 of limited range, and tagged so. Frames have the scene's times, the first at zero.

    Args:
        scene: to write.
        path: of the file.
        options: what is shown, how wide, in which colours.
        suffix: which of :data:`CONTAINERS` it is.

    Raises:
        InputError: where the container hasn't so many bits, the video of the colours is not there or ends too soon, or
            the scene's arrays don't fit.
        OSError: where the file can't be written.
    """
    if suffix == ".webm" and options is not None and options.bits != "8":
        raise InputError(f"--bits {options.bits}: the encoder of .webm has 8; name the file .mp4, .mov or .mkv.")
    try:  # the whole path: "12:30.mp4" alone would name a protocol
        _encode(scene, path.absolute(), options or VideoOptions(), CONTAINERS[suffix])
    except av.FFmpegError as error:
        raise OSError(reason(error)) from error
    return path


def _encode(scene: Scene, path: Path, options: VideoOptions, kind: Container) -> None:
    ticks = _ticks(scene)
    lengths = [*np.diff(ticks).tolist(), _last(scene, ticks)]
    encode_video(path, _pictures(scene, options), lengths, _rate(scene, ticks), kind, DEPTHS[options.bits])


def encode_video(
    path: Path, pictures: Iterable[np.ndarray], lengths: Iterable[int], rate: Fraction, kind: Container, depth: Depth
) -> None:
    """Encode pictures ``[H, W, 3]`` one after another.

    Args:
        path: absolute, of the file.
        pictures: uint8 or uint16 as the depth has it, with even sides, all of one size.
        lengths: ticks that each is shown for.
        rate: frames a second, as the file says it.
        kind: of the file.
        depth: of its colours.
    """
    at = 0
    with av.open(f"file:{path}", "w", format=kind.format, options=kind.muxing) as container:
        stream: Any = None
        convert: Any = None
        for picture, length in zip(pictures, lengths):
            if stream is None:
                stream = _stream(container, rate, kind, depth, *picture.shape[:2])
                convert = _conversion(depth, *picture.shape[:2])
            frame = av.VideoFrame.from_ndarray(picture, format=depth.picture)
            frame.pts, frame.time_base, frame.duration = at, Fraction(1, TICKS), int(length)
            at += int(length)
            convert.push(frame)
            container.mux(stream.encode(_tagged(convert.pull())))
        container.mux(stream.encode(None))


def _pictures(scene: Scene, options: VideoOptions) -> Iterator[np.ndarray]:
    """Each frame's disparity, beside it or alone, ``[H, W, 3]`` uint8 or uint16 with even sides."""
    ranges, levels = disparity_ranges(scene), DEPTHS[options.bits].levels
    beside = options.show == "beside"
    step = max(1, -(-(2 if beside else 1) * scene.depth.shape[2] // options.max_width))
    pictures = iter(Colours(scene, options)) if beside else iter(())
    for t in range(len(scene)):
        shown = disparity_picture(scene.depth[t], scene.mask[t], *ranges[t], levels)
        if beside:
            shown = np.concatenate([next(pictures).astype(shown.dtype) * (levels // 255), shown], axis=1)
        shown = shown[::step, ::step]
        more = [max(LEAST, n + n % 2) - n for n in shown.shape[:2]]
        yield np.ascontiguousarray(np.pad(shown, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge"))


def _ticks(scene: Scene) -> list[int]:
    """When each frame is shown, the first at zero, no two at once.

    Raises:
        InputError: where the scene's times are none.
    """
    times = scene.times
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError(f"{scene.place}: the times of its frames are not finite and rising; run it again.")
    ticks = [0]
    for seconds in times[1:] - times[0]:
        ticks.append(max(round(float(seconds) * TICKS), ticks[-1] + 1))
    return ticks


def _last(scene: Scene, ticks: list[int]) -> int:
    """How long the last frame is shown: as long as is usual, or as the rate has it where it is the only one."""
    usual = float(np.median(np.diff(ticks))) if len(ticks) > 1 else TICKS / scene.fps
    return max(1, round(usual))


def _rate(scene: Scene, ticks: list[int]) -> Fraction:
    """Frames a second: the scene's own where its frames keep to it, else as many as there are in the time."""
    even = all(abs(tick - number * TICKS / scene.fps) < TICKS / 1000 for number, tick in enumerate(ticks))
    rate = scene.fps if even else len(ticks) * TICKS / (ticks[-1] + _last(scene, ticks))
    return Fraction(min(max(rate, SLOWEST), FASTEST)).limit_denominator(1001)


def _stream(container: Any, rate: Fraction, kind: Container, depth: Depth, height: int, width: int) -> Any:
    stream = container.add_stream(kind.codec, rate=rate, options=kind.options)
    stream.height, stream.width, stream.pix_fmt = height, width, depth.video
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
    _tagged(stream.codec_context)
    return stream


def _tagged(holder: Any) -> Any:
    """A frame or an encoder that says what its colours are."""
    holder.colorspace, holder.color_range = Colorspace.ITU709, ColorRange.MPEG
    holder.color_primaries, holder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return holder


def _conversion(depth: Depth, height: int, width: int) -> Any:
    """Red, green and blue to BT.709 of limited range."""
    graph = av.filter.Graph()
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    graph.link_nodes(
        graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(depth.picture), time_base=Fraction(1, TICKS)
        ),
        graph.add("scale", f"in_range=pc:out_color_matrix=bt709:out_range=tv:flags={flags}"),
        graph.add("format", depth.video),
        graph.add("buffersink"),
    ).configure()
    return graph
