"""Frames from video files, image folders, globs, arrays and iterators, one at a time.

Everything comes out as ``[H, W, 3]`` uint8, or float32 in [0, 1] where the source has more than eight bits,
turned upright, with alpha laid over black, in display order.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import fingerprint
from geometrycrafter.settings import Count, Index, value_of
from geometrycrafter.video.decoding import Header, decode, picture_size, read_header, read_image
from geometrycrafter.video.frames import as_array, as_frame, check_video
from geometrycrafter.video.sequences import find, places
from geometrycrafter.video.streams import RATE


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
    rate: float
    """Frames a second of the whole source."""
    total: int | None
    """Frames of the whole source, where that is known without decoding; the headers of videos may lie."""
    pixel_aspect: float = 1.0
    """Width over height of a pixel, as tagged."""
    orientation: int = 0
    """Degrees, counterclockwise, that frames were turned by to stand upright: 0, 90, 180 or 270."""
    start: int = 0
    end: int | None = None
    stride: int = 1
    places: tuple[int, ...] = ()
    """Where each picture of a sequence stands in time, in frames; numbers that are missing leave a gap."""

    @property
    def once(self) -> bool:
        """True where the frames can be had a single time."""
        return self.kind == "iterator"

    @property
    def fps(self) -> float:
        """Frames a second of the chosen frames."""
        return self.rate / self.stride

    @property
    def count(self) -> int | None:
        """Number of chosen frames, where it is known without decoding."""
        return None if self.total is None else len(self._indices(self.total))

    def _indices(self, total: int) -> range:
        return range(self.start, total if self.end is None else min(self.end, total), self.stride)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (frame for _, frame in self.timed())

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """The chosen frames ``[H, W, 3]`` with their times: seconds since the source's first frame.

        Nothing is decoded, or drawn from an iterator, beyond the last frame that is chosen.

        Raises:
            InputError: where the source is damaged before that, or its frames differ in size; names the frame.
        """
        chosen = self._streamed() if self.kind in ("video", "iterator") else self._looked_up()
        for index, seconds, frame in chosen:
            if frame.shape[:2] != (self.height, self.width):
                named = self.origin[index] if self.kind == "images" else f"{self.name}: frame {index}"
                raise InputError(
                    f"{named} is {frame.shape[1]}x{frame.shape[0]} but the first is {self.width}x{self.height}; "
                    "resize them to one size."
                )
            yield seconds, frame

    def _looked_up(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """Index in the source, time and picture of each chosen frame."""
        for index in self._indices(len(self.origin)):
            read = read_image(Path(self.origin[index])) if self.kind == "images" else self.origin[index]
            place = self.places[index] if self.places else index
            yield index, place / self.rate, as_frame(read, self.name)

    def _streamed(self) -> Iterator[tuple[int, float, np.ndarray]]:
        """The same from what has to be gone through from its beginning."""
        last = None if self.end is None else self._indices(self.end)[-1]
        first: float | None = None
        for index, (stamp, frame) in enumerate(self._all()):
            first = stamp if first is None else first
            if index >= self.start and (index - self.start) % self.stride == 0:
                seconds = index / self.rate if stamp is None or first is None else stamp - first
                yield index, seconds, as_frame(frame, self.name)
            if index == last:
                return

    def _all(self) -> Iterator[tuple[float | None, Any]]:
        return decode(Path(self.origin)) if self.kind == "video" else ((None, frame) for frame in self.origin)

    def content(self) -> str | None:
        """A digest of what the chosen frames are read from: two sources that differ in it are not the same.

        Of a video's file, of names and content of the images, of an array's values; None for an iterator.

        Raises:
            InputError: where a file can't be read.
        """
        if self.kind == "iterator":
            return None
        if self.kind == "video":
            return fingerprint(Path(self.origin))
        digest = hashlib.sha256()
        if self.kind == "array":
            digest.update(f"{list(self.origin.shape[1:])} {self.origin.dtype.str}".encode())
        for index in self._indices(len(self.origin)):
            if self.kind == "images":
                path = Path(self.origin[index])
                digest.update(f"{path.name} {fingerprint(path)}\n".encode("utf-8", "surrogateescape"))
            else:
                digest.update(np.ascontiguousarray(self.origin[index]).data)
        return digest.hexdigest()

    def cut(self, start: int = 0, end: int | None = None, stride: int = 1) -> FrameSource:
        """The source's frames ``start, start + stride, ...`` before ``end``.

        Raises:
            InputError: on a range that is empty or not possible.
        """
        start, end = value_of(Index, start, "start"), value_of(Count | None, end, "end")
        stride = value_of(Count, stride, "stride")
        if end is not None and end <= start:
            raise InputError(f"--start {start} --end {end} selects no frame: end must be beyond start.")
        chosen = replace(self, start=start, end=end, stride=stride)
        if chosen.count == 0:
            raise InputError(f"{self.name} has {self.total} frames, so --start {start} selects none.")
        return chosen


def open_frames(source: Any) -> FrameSource:
    """Open a source of frames.

    Args:
        source: a path of a video file, of a folder of images, a glob of images; an array ``[T, H, W, 3]`` (or
            ``[T, H, W]`` grey) uint8, uint16 or float in [0, 1]; or an iterator of frames ``[H, W, 3]``.

    Raises:
        InputError: where there is nothing to decode; the message names the input.
    """
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        try:
            return _open_path(text)
        except OSError as error:
            raise InputError(f"{text}: this can't be read ({reason(error)}); check the path.") from error
    if isinstance(source, np.ndarray) or hasattr(source, "detach"):
        name, array = "the video array", as_array(source)
        check_video(array, name)
        first = as_frame(array[0], name)
        return FrameSource(name, "array", array, first.shape[0], first.shape[1], RATE, len(array))
    if isinstance(source, Iterable):
        name, iterator = "the iterator of frames", iter(source)
        raw = next(iterator, None)
        if raw is None:
            raise InputError("the iterator of frames is empty; give at least one frame.")
        first = as_frame(raw, name)
        frames = itertools.chain([first], iterator)
        return FrameSource(name, "iterator", frames, first.shape[0], first.shape[1], RATE, None)
    raise InputError(f"a {type(source).__name__} is no video; give a path, an array [T, H, W, 3] or an iterator.")


def _open_path(text: str) -> FrameSource:
    images = find(text)
    if images is not None:
        return _of_pictures(text, images)
    path = Path(text)
    if not path.exists():
        raise InputError(f"{text}: there is no such file; check the path.")
    header = read_header(path)
    return _of_pictures(text, [path]) if header.still else _of_header(text, "video", text, header)


def _of_pictures(text: str, images: list[Path]) -> FrameSource:
    """Pictures as a clip, all of one size."""
    header = read_header(images[0])
    size = header.height, header.width
    for path in images[1:]:
        if (found := picture_size(path)) != size:
            raise InputError(
                f"{path} is {found[1]}x{found[0]} but {images[0].name} is {size[1]}x{size[0]}; resize them to one size."
            )
    source = _of_header(text, "images", [str(p) for p in images], replace(header, rate=RATE, count=len(images)))
    return replace(source, places=tuple(places(images)))


def _of_header(text: str, kind: str, origin: Any, header: Header) -> FrameSource:
    size = header.height, header.width
    return FrameSource(text, kind, origin, *size, header.rate, header.count, header.pixel_aspect, header.orientation)
