"""Video and image files to upright frames with their times, through ffmpeg's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from geometrycrafter.errors import InputError, reason
from geometrycrafter.video.frames import as_frame

MAX_PIXELS = 64 * 2**20
"""Frames with more pixels are refused: hostile headers claim any size."""


@dataclass(frozen=True)
class Header:
    """What a file says of its video, and its first frame shows."""

    height: int
    width: int
    """Of upright frames."""
    rate: float
    """Frames a second."""
    count: int | None
    """Frames, where the header speaks of them; it may lie."""
    pixel_aspect: float
    """Width over height of a pixel of the upright frames, as tagged; 1 where nothing is said."""
    orientation: int
    """Degrees, counterclockwise, that frames are turned by to stand upright: 0, 90, 180 or 270."""


def read_header(path: Path) -> Header:
    """What a video file says of itself.

    Raises:
        InputError: where it holds no video, or none that can be decoded.
    """
    with _container(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or Fraction(24))
        count = stream.frames or None
        aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        frame = next(_frames(path, container), None)
        if frame is None:
            raise InputError(f"{path}: not one frame could be decoded; the file is empty or damaged.")
        height, width = _upright(frame, path, 0).shape[:2]
        turns = _quarter_turns(frame)
    return Header(height, width, rate, count, 1 / aspect if turns % 2 else aspect, 90 * turns)


def decode(path: Path) -> Iterator[tuple[float | None, np.ndarray]]:
    """Time stamp in seconds, where there is one, and picture ``[H, W, 3]`` of every frame, in display order.

    Pictures are uint8, or float32 in [0, 1] where the source has more than eight bits.

    Raises:
        InputError: where the file holds no video, or at its first frame that can't be decoded.
    """
    with _container(path) as container:
        for index, frame in enumerate(_frames(path, container)):
            yield frame.time, _upright(frame, path, index)


def read_image(path: Path) -> np.ndarray:
    """A picture, or a file's first one: ``[H, W, 3]`` uint8, or float32 in [0, 1].

    Raises:
        InputError: where the file holds none that can be decoded.
    """
    found = next(decode(path), None)
    if found is None:
        raise InputError(f"{path}: no picture could be decoded; the file is empty or damaged.")
    return found[1]


def _container(path: Path) -> Any:
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: this is no video that can be read ({reason(error)}).") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: the file holds no video stream; give one with pictures.")
    stream = container.streams.video[0]
    if stream.codec_context is None or stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        container.close()
        raise InputError(f"{path}: frames are missing a decoder or larger than {MAX_PIXELS} pixels; convert the video.")
    return container


def _frames(path: Path, container: Any) -> Iterator[Any]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    decoded = container.decode(stream)
    index = 0
    while True:
        try:
            frame = next(decoded)
        except (StopIteration, av.EOFError):
            return
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _damaged(path, index, error) from error
        yield frame
        index += 1


def _damaged(path: Path, index: int, error: Exception) -> InputError:
    if index == 0:
        return InputError(f"{path}: no frame could be decoded ({reason(error)}); the file is damaged.")
    return InputError(
        f"{path}: the video is damaged after frame {index} ({reason(error)}); "
        f"copy it anew, or take what is good with --end {index}."
    )


def _quarter_turns(frame: Any) -> int:
    """Counterclockwise."""
    return round(frame.rotation / 90) % 4


def _upright(frame: Any, path: Path, index: int) -> np.ndarray:
    """A decoded frame as ``[H, W, 3]``: uint8, or float32 for deeper or floating sources."""
    components = frame.format.components
    deep = max(c.bits for c in components) > 8 and not frame.format.name.startswith("pal")
    alpha = any(c.is_alpha for c in components)
    try:
        if frame.format.name.startswith("gbr") and "f" in frame.format.name[4:]:
            array = _tone(frame.to_ndarray()[..., :3])
        elif deep:
            array = as_frame(frame.to_ndarray(format="rgba64le" if alpha else "rgb48le"), "the video")
        else:
            array = as_frame(frame.to_ndarray(format="rgba" if alpha else "rgb24"), "the video")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _damaged(path, index, error) from error
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def _tone(linear: np.ndarray) -> np.ndarray:
    """Scene-linear colour (EXR) to display-referred [0, 1] by the sRGB curve."""
    linear = np.nan_to_num(linear.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)
