"""Frames from video files, streams, URLs, image folders, globs, arrays and iterators, one at a time.

Everything comes out as ``[H, W, 3]`` uint8, or float32 in [0, 1] where the source has more than eight bits,
turned upright, with alpha laid over black, in display order.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import check_named, fingerprint, is_url, on_disk
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.video.bars import Bars, Shown, Sides, brightest
from geometrycrafter.video.cuts import Cuts
from geometrycrafter.video.decoding import Header, decode, glance, picture_size, read_header, read_image
from geometrycrafter.video.frames import as_array, as_frame, check_video
from geometrycrafter.video.options import Reading
from geometrycrafter.video.sequences import find, places
from geometrycrafter.video.spooled import Spooled, fetched, spooled
from geometrycrafter.video.timing import HARDLY, RATE, resampled
from geometrycrafter.video.undistortion import Undistortion, undistorted

EVERYTHING = Reading()
"""Every frame, as the defaults have it."""


class Look(NamedTuple):
    """What a pass over the chosen frames tells of them, before any is used."""

    bars: Bars
    shots: tuple[int, ...] | None
    """The first frame of each; None where frames can be had a single time: shots are found as they are read."""


@dataclass(frozen=True)
class FrameSource:
    """Where frames come from. Iterating decodes anew each time, unless :attr:`once` says it can't."""

    name: str
    """What messages call it: the path or URL as given, or the kind of object."""
    kind: str
    """``video``, ``images``, ``array`` or ``iterator``."""
    origin: Any
    height: int
    width: int
    """Of frames that stand upright and have square pixels; of the pinhole view where the camera's lens is known."""
    rate: float
    """Frames a second of the whole source."""
    total: int | None
    """Frames of the whole source, where that is known without decoding."""
    pixel_aspect: float = 1.0
    """Width over height of a pixel as it is stored; frames have square ones."""
    orientation: int = 0
    """Degrees, counterclockwise, that frames were turned by to stand upright: 0, 90, 180 or 270."""
    how: Reading = EVERYTHING
    places: tuple[int, ...] = ()
    """Where each picture of a sequence stands in time, in frames; numbers that are missing leave a gap."""
    undistortion: Undistortion | None = None
    """What makes the pinhole view of each frame, where the camera's lens is known."""

    @property
    def place(self) -> str | None:
        """Where it can be read again: an absolute path, or a URL; None where there is no such place."""
        if self.kind not in ("video", "images"):
            return None
        first = self.origin[0] if self.kind == "images" else self.origin
        if isinstance(first, Spooled):
            return self.name if is_url(self.name) else None
        return os.path.abspath(self.name)  # noqa: PTH100 (a glob is no path)

    @property
    def once(self) -> bool:
        """True where the frames can be had a single time."""
        return self.kind == "iterator"

    @property
    def start(self) -> int:
        """The first frame that is taken."""
        return self.how.start

    @property
    def end(self) -> int | None:
        """The frame to stop before; None: the end."""
        return self.how.end

    @property
    def stride(self) -> int:
        """Every so many frames are taken."""
        return self.how.stride

    @property
    def fps(self) -> float:
        """Frames a second of the chosen frames."""
        return self.how.fps or self.rate / self.stride

    @property
    def asked(self) -> str:
        """Options that choose frames, as they were given: ``--start-time 5``; nothing where none was."""
        given = {name: getattr(self.how, name) for name in ("start", "end", "stride", "start_time", "end_time", "fps")}
        told = (f"--{k.replace('_', '-')} {v:g}" for k, v in given.items() if v != getattr(EVERYTHING, k))
        return " ".join(told)

    @property
    def count(self) -> int | None:
        """Number of chosen frames, where it is known without decoding."""
        by_time = (self.how.start_time, self.how.end_time, self.how.fps) != (None, None, None)
        return None if self.total is None or by_time else len(self._indices(self.total))

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
        chosen = self._chosen(brightness=False)
        return chosen if self.undistortion is None else undistorted(chosen, self.undistortion)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of what is decoded, before a lens is undone."""
        lens = self.undistortion and self.undistortion.lens
        return (lens.height or 0, lens.width or 0) if lens else (self.height, self.width)

    def shown(self, bars: Bars | None = None) -> Iterator[Shown]:
        """The same, each frame with the part of it that is picture and no bar.

        Args:
            bars: of the chosen frames, from :meth:`find_bars`; None: they are looked for first.

        Raises:
            InputError: as :meth:`timed`.
        """
        bars = bars or self.find_bars()
        for number, (seconds, frame) in enumerate(self.timed()):
            yield Shown(seconds, frame, bars.picture(number))

    def look(
        self, bars: bool = True, cuts: bool | Sequence[int] = True, told: Callable[[int], None] | None = None
    ) -> Look:
        """Look for black bars and cuts, in one pass over the chosen frames that costs little more than decoding.

        What can be had a single time is not looked at: its frames are whole, and so are those of a reading that keeps
        bars, or knows the camera's lens, which bends them. Where the source turns out to be damaged the look ends, and
        who reads the frames is told.

        Args:
            bars: are looked for, in each shot alone; else there are none.
            cuts: likewise; else all is one shot, or those begin with the frames that are given.
            told: called with the number of frames looked at.
        """
        whole, given = Bars.none(self.height, self.width), (0,) if isinstance(cuts, bool) else tuple(cuts)
        if self.once:
            return Look(whole, None if cuts is True else given)
        bars = bars and self._looks
        if not (bars or cuts is True):
            return Look(whole, given)
        with warnings.catch_warnings(action="ignore"):  # they come again when the frames are read
            return self._look(self._looked_at(told), bars, cuts)

    def _look(self, brightness: Iterator[np.ndarray], bars: bool, cuts: bool | Sequence[int]) -> Look:
        watch, sides = Cuts(), Sides()
        if cuts is True:
            brightness = watch.watched(brightness)
        if bars:
            brightness = sides.watched(brightness)
        for _ in brightness:
            pass
        firsts = (tuple(watch.finish()) or (0,)) if isinstance(cuts, bool) else tuple(cuts)
        return Look(sides.bars(self.fps, self.height, self.width, firsts), firsts)

    def find_bars(self, told: Callable[[int], None] | None = None) -> Bars:
        """Look for black bars alone: see :meth:`look`.

        Args:
            told: called with the number of frames looked at.
        """
        return self.look(cuts=False, told=told).bars

    def find_cuts(self, told: Callable[[int], None] | None = None) -> list[int]:
        """The first of the chosen frames of each shot, by a look for cuts alone: see :meth:`look`.

        What can be had a single time is one shot.

        Args:
            told: called with the number of frames looked at.
        """
        return list(self.look(bars=False, told=told).shots or (0,))

    def _looked_at(self, told: Callable[[int], None] | None) -> Iterator[np.ndarray]:
        with contextlib.suppress(InputError):
            for number, frame in enumerate(self._brightness([])):
                yield frame
                if told is not None:
                    told(number + 1)

    def survey(self, cuts: bool | Sequence[int] = True) -> tuple[list[float], Look]:
        """Times of the chosen frames, in seconds, their bars and shots, in one pass that makes no pictures.

        Args:
            cuts: as :meth:`look` takes them.

        Raises:
            InputError: where the source is damaged, or its frames differ in size.
        """
        times: list[float] = []
        look = self._look(self._brightness(times), self._looks, cuts)
        return times, look

    @property
    def _looks(self) -> bool:
        return self.how.bars != "keep" and self.undistortion is None

    def _brightness(self, times: list[float]) -> Iterator[np.ndarray]:
        """Of each chosen frame, ``[H, w]`` uint8; its time is added to a list."""
        for seconds, frame in self._chosen(brightness=True):
            times.append(seconds)
            yield frame

    def _chosen(self, brightness: bool) -> Iterator[tuple[float, np.ndarray]]:
        """Times and pictures ``[H, W, 3]`` of the chosen frames, or their brightness ``[H, w]`` alone."""
        random_access = self.kind in ("images", "array")
        chosen = self._looked_up(brightness) if random_access else self._streamed(brightness)
        sound = self._of_one_size(chosen, brightness)
        if self.how.fps is None:
            return sound
        return resampled(sound, self.how.fps, 1 / self.rate, even=self.kind == "images")

    def _of_one_size(
        self, chosen: Iterator[tuple[int, float, np.ndarray]], brightness: bool
    ) -> Iterator[tuple[float, np.ndarray]]:
        wanted: tuple[int, ...] = self.picture_size
        for count, (index, seconds, frame) in enumerate(chosen):
            if brightness and count == 0:
                wanted = frame.shape[:2]
            if frame.shape[:2] != wanted:
                named = self.origin[index] if self.kind == "images" else f"{self.name}: frame {index}"
                raise InputError(
                    f"{named} is {frame.shape[1]}x{frame.shape[0]} but the first is {wanted[1]}x{wanted[0]}; "
                    "resize them to one size."
                )
            yield seconds, frame

    def _looked_up(self, brightness: bool) -> Iterator[tuple[int, float, np.ndarray]]:
        """Index in the source, time and picture or brightness of each chosen frame."""
        for index in self._indices(len(self.origin)):
            seconds = (self.places[index] if self.places else index) / self.rate
            if self._early(seconds):
                continue
            if self._late(seconds):
                return
            try:
                yield index, seconds, self._of_index(index, brightness)
            except InputError as error:
                if self.how.damaged == "stop" or self.kind != "images":
                    raise
                warnings.warn(f"{error} It is passed over.", stacklevel=4)

    def _of_index(self, index: int, brightness: bool) -> np.ndarray:
        if self.kind == "images":
            path = self.origin[index]
            if brightness:
                return next(glance(path, self.how))[1]
            return as_frame(read_image(path, self.how), self.name, self.how.background)
        frame = as_frame(self.origin[index], self.name, self.how.background)
        return brightest(frame) if brightness else frame

    def _streamed(self, brightness: bool) -> Iterator[tuple[int, float, np.ndarray]]:
        """The same from what has to be gone through from its beginning."""
        last = None if self.end is None else self._indices(self.end)[-1]
        first: float | None = None
        before = -1.0
        for index, (stamp, frame) in enumerate(self._all(brightness)):
            first = stamp if first is None else first
            seconds = index / self.rate if stamp is None or first is None else stamp - first
            if seconds <= before:  # two frames at one time: the clock stands still, or runs backwards
                seconds = before + 0.1 / self.rate
            before = seconds
            if self._late(seconds):
                return
            if index >= self.start and (index - self.start) % self.stride == 0 and not self._early(seconds):
                whole = frame if brightness else as_frame(frame, self.name, self.how.background)
                yield index, seconds, whole
            if index == last:
                return

    def _early(self, seconds: float) -> bool:
        return self.how.start_time is not None and seconds < self.how.start_time - HARDLY

    def _late(self, seconds: float) -> bool:
        return self.how.end_time is not None and seconds >= self.how.end_time - HARDLY

    def _all(self, brightness: bool) -> Iterator[tuple[float | None, Any]]:
        if self.kind == "video":
            return (glance if brightness else decode)(self.origin, self.how)
        return ((None, frame) for frame in self.origin)

    def content(self) -> str | None:
        """A digest of what the chosen frames are read from: two sources that differ in it are not the same.

        Of a video's file, of names and content of the images, of an array's values; None for an iterator.

        Raises:
            InputError: where a file can't be read.
        """
        if self.kind == "iterator":
            return None
        if self.kind == "video":
            return fingerprint(self.origin)
        digest = hashlib.sha256()
        if self.kind == "array":
            digest.update(f"{list(self.origin.shape[1:])} {self.origin.dtype.str}".encode())
        for index in self._indices(len(self.origin)):
            if self.kind == "images":
                path = self.origin[index]
                digest.update(f"{Path(str(path)).name} {fingerprint(path)}\n".encode("utf-8", "surrogateescape"))
            else:
                digest.update(np.ascontiguousarray(self.origin[index]).data)
        return digest.hexdigest()

    def cut(self, start: int = 0, end: int | None = None, stride: int = 1) -> FrameSource:
        """The source's frames ``start, start + stride, ...`` before ``end``.

        Raises:
            InputError: on a range that is empty or not possible.
        """
        return self.read_as(replace(self.how, start=start, end=end, stride=stride))

    def read_as(self, how: Reading) -> FrameSource:
        """The source, read in another way.

        Raises:
            InputError: where no frame is chosen, or a camera is given that has another size.
        """
        chosen = replace(self, how=how)
        if how.camera != self.how.camera:
            chosen = chosen._through(how.camera)
        if chosen.count == 0:
            raise InputError(f"{self.name} has {self.total} frames, so --start {how.start} selects none.")
        return chosen

    def _through(self, camera: Lens | None) -> FrameSource:
        """The source as taken by a camera, or by one of which nothing is known."""
        height, width = self.picture_size
        if camera is None:
            return replace(self, height=height, width=width, undistortion=None)
        try:
            undone = Undistortion.of(camera.sized(height, width))
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        how = replace(self.how, camera=undone.lens)  # with its size
        return replace(self, height=undone.height, width=undone.width, undistortion=undone, how=how)


def open_frames(source: Any, how: Reading | None = None) -> FrameSource:
    """Open a source of frames.

    Args:
        source: a path or URL of a video file, or a binary file that is open for reading; a folder of pictures, a
            pattern or glob of them, a text file that lists them, or a list of their paths; an array
            ``[T, H, W, 3]`` (or ``[T, H, W]`` grey) uint8, uint16 or float in [0, 1]; or an iterator of frames
            ``[H, W, 3]``.
        how: which frames, and how they are made; None: all.

    Raises:
        InputError: where there is nothing to decode; the message names the input.
    """
    opened = source if isinstance(source, FrameSource) else _open(source, how or Reading())
    return opened if how is None else opened.read_as(how)


def _open(source: Any, how: Reading) -> FrameSource:
    if isinstance(source, Spooled):
        return _of_file(source, how)
    if callable(getattr(source, "read", None)):
        return _of_file(spooled(source), how)
    if isinstance(source, str | bytes | os.PathLike):
        text = os.fsdecode(source)
        if is_url(text):
            return _of_file(fetched(text), how)
        try:
            text = str(on_disk(text)) if text.lower().startswith("file://") else text
            return _open_path(text, how)
        except OSError as error:
            raise InputError(f"{text}: this can't be read ({reason(error)}); check the path.") from error
    if (
        isinstance(source, list | tuple)
        and len(source)
        and all(isinstance(p, str | bytes | os.PathLike) for p in source)
    ):
        return _of_pictures("the list of pictures", [Path(os.fsdecode(p)) for p in source], how, numbered=False)
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
        frames = itertools.chain([raw], iterator)
        return FrameSource(name, "iterator", frames, first.shape[0], first.shape[1], RATE, None)
    raise InputError(f"a {type(source).__name__} is no video; give a path, an array [T, H, W, 3] or an iterator.")


def _open_path(text: str, how: Reading) -> FrameSource:
    check_named(text)
    path = on_disk(text, "a video")
    images = find(text)
    if images is not None:
        return _of_pictures(text, images, how)
    if not path.exists():
        raise InputError(f"{text}: there is no such file; check the path.")
    return _of_file(path, how, text)


def _of_file(path: os.PathLike[str], how: Reading, name: str | None = None) -> FrameSource:
    """A video, or a picture, in one file."""
    name = name or str(path)
    header = read_header(path)
    return _of_pictures(name, [path], how, numbered=False) if header.still else _of_header(name, "video", path, header)


def _of_pictures(text: str, images: Sequence[os.PathLike[str]], how: Reading, numbered: bool = True) -> FrameSource:
    """Pictures as a clip, all of one size; the odd one is named before the first is worked on."""
    header: Header | None = None
    first = images[0]
    for path in images:
        try:
            found = picture_size(path) if header else read_header(path)
        except InputError:
            if how.damaged == "skip":
                continue
            raise
        if isinstance(found, Header):
            header, first = found, path
        elif header is not None and found != (header.height, header.width):
            raise InputError(
                f"{path} is {found[1]}x{found[0]} but {Path(str(first)).name} is "
                f"{header.width}x{header.height}; resize them to one size."
            )
    if header is None:
        raise InputError(f"{text}: not one of the pictures can be read.")
    source = _of_header(text, "images", list(images), replace(header, rate=RATE, count=len(images)))
    keep = numbered and how.gaps == "keep"
    return replace(source, places=tuple(places([Path(p) for p in images]))) if keep else source


def _of_header(text: str, kind: str, origin: Any, header: Header) -> FrameSource:
    size = header.height, header.width
    return FrameSource(text, kind, origin, *size, header.rate, header.count, header.pixel_aspect, header.orientation)
