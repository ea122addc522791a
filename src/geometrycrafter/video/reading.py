"""Frames from video files, image folders, globs, arrays and iterators, one at a time.

Everything comes out as ``[H, W, 3]`` uint8, or float32 in [0, 1] where the source has more than eight bits,
turned upright, with alpha laid over black, in display order.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from geometrycrafter.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".exr", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 64 * 2**20
"""Frames with more pixels are refused: hostile headers claim any size."""


@dataclass(frozen=True)
class FrameSource:
    """Where frames come from. Iterating decodes anew each time, unless :attr:`once` says it can't."""

    name: str
    """What messages call it: the path as given, or the kind of object."""
    kind: str
    """``video``, ``images``, ``array`` or ``iterator``."""
    origin: Any
    height: int
    width: int
    fps: float
    count: int | None
    """Number of frames after start, end and stride where it is known without decoding; video headers may lie."""
    header_count: int | None = None
    """Frames that a video's header speaks of."""
    start: int = 0
    end: int | None = None
    stride: int = 1

    @property
    def once(self) -> bool:
        """True where the frames can be had a single time."""
        return self.kind == "iterator"

    def __iter__(self) -> Iterator[np.ndarray]:
        index = -1
        for index, frame in enumerate(self._all()):
            if self.end is not None and index >= self.end:
                return
            if index < self.start or (index - self.start) % self.stride:
                continue
            if frame.shape[:2] != (self.height, self.width):
                raise InputError(
                    f"{self.name}: frame {index} is {frame.shape[1]}x{frame.shape[0]} but the first is "
                    f"{self.width}x{self.height}; resize them to one size."
                )
            yield frame
        if self.end is not None and index + 1 >= self.end:
            return
        # Edit lists drop a few frames that the header counts; more missing means that the file was cut.
        if self.kind == "video" and self.header_count and index + 1 < 0.95 * self.header_count - 3:
            raise InputError(
                f"{self.name}: the video is cut short, {index + 1} of {self.header_count} frames can be decoded; "
                f"copy it anew, or take what is there with --end {index + 1}."
            )

    def _all(self) -> Iterator[np.ndarray]:
        if self.kind == "video":
            yield from _decode(Path(self.origin))
        elif self.kind == "images":
            for path in self.origin:
                yield _read_image(path)
        else:
            yield from (as_frame(f, self.name) for f in self.origin)

    def cut(self, start: int = 0, end: int | None = None, stride: int = 1) -> FrameSource:
        """The frames ``start, start + stride, ...`` before ``end``.

        Raises:
            InputError: on a range that is empty or not possible.
        """
        if start < 0 or stride < 1 or (end is not None and end <= start):
            raise InputError(
                f"--start {start} --end {end} --stride {stride} selects no frame: "
                "start must be 0 or more, end beyond start and stride at least 1."
            )
        count = self.count
        if count is not None:
            count = len(range(start, count if end is None else min(end, count), stride))
            if count == 0:
                raise InputError(f"{self.name} has {self.count} frames, so --start {start} selects none.")
        return replace(self, start=start, end=end, stride=stride, count=count, fps=self.fps / stride)


def open_frames(source: Any) -> FrameSource:
    """Open a source of frames.

    Args:
        source: a path of a video file, of a folder of images, a glob of images; an array ``[T, H, W, 3]`` (or
            ``[T, H, W]`` grey) uint8, uint16 or float in [0, 1]; or an iterator of frames.

    Raises:
        InputError: where there is nothing to decode; the message names the input.
    """
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source))
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        if source.ndim not in (3, 4) or 0 in source.shape:
            raise InputError(f"the video array has shape {list(source.shape)}; give [T, H, W, 3] with T at least 1.")
        first = as_frame(source[0], "the video array")
        return FrameSource("the video array", "array", source, first.shape[0], first.shape[1], 24.0, len(source))
    if isinstance(source, Iterable):
        iterator = iter(source)
        raw = next(iterator, None)
        if raw is None:
            raise InputError("the iterator of frames is empty; give at least one frame.")
        first = as_frame(raw, "the iterator of frames")

        def chain() -> Iterator[np.ndarray]:
            yield first
            yield from iterator

        return FrameSource("the iterator of frames", "iterator", chain(), first.shape[0], first.shape[1], 24.0, None)
    raise InputError(f"a {type(source).__name__} is no video; give a path, an array [T, H, W, 3] or an iterator.")


def as_frame(frame: Any, name: str) -> np.ndarray:
    """One frame in any usual form -> ``[H, W, 3]`` uint8 or float32 in [0, 1]."""
    if hasattr(frame, "detach"):
        frame = frame.detach().cpu().numpy()
    frame = np.asarray(frame)
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim != 3 or frame.shape[-1] not in (1, 2, 3, 4) or 0 in frame.shape:
        raise InputError(f"{name} has a frame of shape {list(frame.shape)}; frames are [H, W, 3].")
    if frame.dtype == np.uint16:
        frame = frame.astype(np.float32) / 65535
    elif frame.dtype != np.uint8:
        if not np.issubdtype(frame.dtype, np.floating):
            raise InputError(f"{name} has frames of {frame.dtype}; give uint8, uint16 or float in [0, 1].")
        frame = frame.astype(np.float32)
        if not np.isfinite(frame).all() or frame.max() > 1.001 or frame.min() < -0.001:
            raise InputError(f"{name} has values outside [0, 1]; scale float frames to [0, 1] or give uint8.")
        frame = frame.clip(0, 1)
    if frame.shape[-1] in (2, 4):  # alpha, laid over black
        alpha = frame[..., -1:].astype(np.float32) / (255 if frame.dtype == np.uint8 else 1)
        colour = frame[..., :-1] * alpha
        frame = colour.round().astype(np.uint8) if frame.dtype == np.uint8 else colour
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame


def _natural(path: str) -> list[Any]:
    """Sort key that counts: frame2 before frame10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]


def _open_path(text: str) -> FrameSource:
    path = Path(text)
    if path.is_dir() or (not path.exists() and glob.has_magic(text)):
        found = [str(p) for p in path.iterdir()] if path.is_dir() else glob.glob(text)
        images = sorted((p for p in found if p.lower().endswith(IMAGE_SUFFIXES)), key=_natural)
        if not images:
            what = "the folder" if path.is_dir() else "the pattern"
            raise InputError(f"{text}: {what} holds no images ({', '.join(IMAGE_SUFFIXES)}); name one that does.")
        first = _read_image(images[0])
        return FrameSource(text, "images", images, first.shape[0], first.shape[1], 24.0, len(images))
    if not path.exists():
        raise InputError(f"{text}: there is no such file; check the path.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        first = _read_image(text)
        return FrameSource(text, "images", [text], first.shape[0], first.shape[1], 24.0, 1)
    with _container(path) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate or stream.guessed_rate or Fraction(24))
        count = stream.frames or None
    decoded = next(_decode(path), None)
    if decoded is None:
        raise InputError(f"{text}: not one frame could be decoded; the file is empty or damaged.")
    return FrameSource(text, "video", text, decoded.shape[0], decoded.shape[1], fps, count, count)


def _container(path: Path) -> Any:
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: this is no video that can be read ({_reason(error)}).") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: the file holds no video stream; give one with pictures.")
    stream = container.streams.video[0]
    if stream.codec_context is None or stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        container.close()
        raise InputError(f"{path}: frames are missing a decoder or larger than {MAX_PIXELS} pixels; convert the video.")
    return container


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).split("\n")[0].rstrip(".")


def _decode(path: Path) -> Iterator[np.ndarray]:
    with _container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoded = container.decode(stream)
        index = 0
        while True:
            try:
                frame = next(decoded)
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError as error:
                if index == 0:
                    raise InputError(f"{path}: no frame could be decoded ({_reason(error)}).") from error
                raise InputError(
                    f"{path}: the video is damaged after frame {index} ({_reason(error)}); "
                    f"copy it anew, or take what is good with --end {index}."
                ) from error
            yield _to_array(frame)
            index += 1


def _to_array(frame: Any) -> np.ndarray:
    """A decoded frame upright, as ``[H, W, 3]``: uint8, or float32 for deeper or floating sources."""
    components = frame.format.components
    deep = max(c.bits for c in components) > 8 and not frame.format.name.startswith("pal")
    alpha = any(c.is_alpha for c in components)
    if frame.format.name.startswith("gbr") and "f" in frame.format.name[4:]:
        array = _tone(frame.to_ndarray()[..., :3])
    elif deep:
        array = as_frame(frame.to_ndarray(format="rgba64le" if alpha else "rgb48le"), "the video")
    else:
        array = as_frame(frame.to_ndarray(format="rgba" if alpha else "rgb24"), "the video")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def _tone(linear: np.ndarray) -> np.ndarray:
    """Scene-linear colour (EXR) to display-referred [0, 1] by the sRGB curve."""
    linear = np.nan_to_num(linear.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def _read_image(path: str) -> np.ndarray:
    frame = next(_decode(Path(path)), None)
    if frame is None:
        raise InputError(f"{path}: no picture could be decoded; the file is empty or damaged.")
    return frame
