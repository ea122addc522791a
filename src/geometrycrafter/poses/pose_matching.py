"""Which frame each pose of a file is of: by time, by the images' names, or in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.files import natural
from geometrycrafter.scene import Scene
from geometrycrafter.video.options import Reading

NEAR = 0.02
"""Seconds that a pose may be away from its frame, if that is less than half of a frame."""
FEWEST = 2
"""Poses whose times are frames' times, below which a file's clock counts as another."""
OFF = 2
"""Frames that the header of a video may be wrong by."""


@dataclass(frozen=True)
class Frames:
    """The frames that poses are wanted for."""

    times: np.ndarray
    """Seconds ``[T]``."""
    numbers: np.ndarray | None = None
    """``[T]``, which frames of the source they are; None where that can't be told."""
    total: int | None = None
    """Frames of the source, where that is known."""
    names: Sequence[str] | None = None
    """Of all the source's pictures, where it is a sequence."""
    slack: int = 0
    """By how much ``total`` may be wrong."""
    source_times: np.ndarray | None = None
    """Seconds ``[T]`` in the source of which the scene was said to be a part; NaN: pictures have none."""

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def of(cls, scene: Scene, source: Any = None) -> Frames:
        """Those of a scene.

        Args:
            scene: whole.
            source: a :class:`FrameSource`, or other frames, that it was made from; None: they aren't looked at.
        """
        record, times = scene.source, scene.times
        numbers = None
        if record is not None and record.reading.fps is None:
            by_time = (record.reading.start_time, record.reading.end_time) != (None, None)
            numbers = record.start + record.stride * np.arange(len(times))
            if by_time:
                exact = times * record.fps * record.stride
                numbers = exact.round().astype(int)
                if np.abs(exact - numbers).max() > 0.1:
                    numbers = None
        how, source_times = getattr(source, "how", None), None
        if how is not None and how != Reading() and (record is None or how != record.reading):
            numbers = how.start + how.stride * np.arange(len(times))
            source_times = numbers / (source.rate if source.kind == "video" else np.nan)
        names = [Path(p).name for p in source.origin] if getattr(source, "kind", None) == "images" else None
        video = getattr(source, "kind", None) == "video"
        return cls(times, numbers, getattr(source, "total", None), names, OFF if video else 0, source_times)

    def of_whole(self, count: int) -> np.ndarray | None:
        """Numbers ``[T]`` of the frames among ``count`` of the whole source; None where those are not all of it."""
        if self.numbers is None or not len(self) or self.numbers[-1] >= count:
            return None
        all_of_it = self.total is None or abs(self.total - count) <= self.slack
        return self.numbers if all_of_it else None


@dataclass(frozen=True)
class Trajectory:
    """Poses as a file has them."""

    place: Path
    poses: np.ndarray
    """Camera-to-world ``[N, 4, 4]`` float64."""
    times: np.ndarray | None = None
    """Seconds ``[N]``."""
    names: Sequence[str] | None = None
    """Of the images ``[N]``."""
    pictures: Sequence[str] = ()
    """Names of all images that there are beside it, in order; some may have no pose."""
    exported: int | None = None
    """Frames of the scene that this program exported it from: names count those."""
    known: np.ndarray | None = None
    """``[N]`` bool, where a pose is one; None: all are."""

    def at(self, frames: Frames) -> np.ndarray:
        """Poses ``[T, 4, 4]`` of frames; NaN where there is none.

        Raises:
            InputError: where it can't be told which frames they are of.
        """
        places = self._places(frames)
        out = np.full((len(frames), 4, 4), np.nan)
        have = places >= 0
        if self.known is not None:
            have[have] = self.known[places[have]]
        out[have] = self.poses[places[have]]
        if not have.any():
            raise InputError(f"{self.place}: there is no pose of any of the {len(frames)} frames; give others.")
        return out

    def _places(self, frames: Frames) -> np.ndarray:
        """Which pose each frame has ``[T]``, -1 where it has none."""
        count, own = len(frames), len(self.poses)
        if self.names is not None and (found := self._by_name(frames)) is not None:
            return found
        if self.times is not None and (found := self._by_time(frames, whole=True)) is not None:
            return found
        order = np.arange(own) if self.times is None else np.argsort(self.times, kind="stable")
        found = None if self.times is None else self._by_time(frames, whole=False)
        if own == count and (found is None or frames.source_times is None):
            return order
        numbers = frames.of_whole(own) if self._even else None
        if numbers is not None and (found is None or own == frames.total):
            return np.asarray(order[numbers])
        if found is not None:
            return found
        asked = "give one for each"
        if self.names is not None:
            asked += ", or images whose names are those of the video's frames, counted from 0 or 1"
        raise InputError(f"{self.place}: there are {own} poses for {count} frames; {asked}.")

    @property
    def _even(self) -> bool:
        """Whether no poses seem to lack between others."""
        steps = np.diff(np.sort(self.times)) if self.times is not None and len(self.times) > 1 else np.ones(1)
        return bool(steps.max() < 1.5 * np.median(steps))

    def _by_time(self, frames: Frames, whole: bool) -> np.ndarray | None:
        """Nearest in time; ``whole``: all frames have one, also where the file's clock begins elsewhere.

        Where poses lack, a clock that is the frames' own would fit as well with its first pose put at the first frame.
        """
        assert self.times is not None
        times, own = frames.times, self.times - self.times.min()
        step = float(np.median(np.diff(times))) if len(times) > 1 else np.inf
        longer = len(own) > len(times) or own.max() > times[-1] - times[0] + step  # few lines may be of the whole, too
        if frames.source_times is not None and longer:
            times = frames.source_times
            step = float(np.median(np.diff(times))) if len(times) > 1 else np.inf
        near = min(NEAR, step / 2)
        clocks = [self.times]
        if whole and (len(own) == len(times) or self._by_time(frames, whole=False) is None):
            clocks.append(own)
            # Of a part of a video, poses that go on for longer than it may begin with the whole as well.
            if frames.numbers is None or frames.numbers[0] == 0 or own.max() < times[-1] - times[0] + step:
                clocks.append(own + times[0])
        for clock in clocks:
            nearest = np.abs(clock[None] - times[:, None]).argmin(1)
            met = np.abs(clock[nearest] - times) < near
            if whole and met.all():
                return nearest
            within = ((clock > times[0] - near) & (clock < times[-1] + near)).sum()
            if not whole and met.sum() >= max(FEWEST, min(within, len(times)) / 2):
                return np.where(met, nearest, -1)
        return None

    def _by_name(self, frames: Frames) -> np.ndarray | None:
        """By names of the source's pictures, by frame numbers of an export, or by what place a picture has."""
        assert self.names is not None
        if (twice := next((name for name, times in Counter(self.names).items() if times > 1), None)) is not None:
            raise InputError(f"{self.place}: there are several poses of {twice}; leave one of them.")
        if self.exported is not None:
            if self.exported != len(frames):
                raise InputError(
                    f"{self.place}: this was exported from a scene of {self.exported} frames, and this one has "
                    f"{len(frames)}; export the poses of this scene."
                )
            return _placed(np.array([_number(name) for name in self.names]), np.arange(len(frames)))
        if frames.names is not None and frames.numbers is not None and frames.numbers[-1] < len(frames.names):
            found = _alike(self.names, frames.names)
            if found is not None:
                return _placed(found, frames.numbers)
        if len(self.names) == len(frames):
            return np.array(sorted(range(len(self.names)), key=lambda i: natural(self.names[i])))  # type: ignore[index]
        if self.pictures:
            found = _alike(self.names, self.pictures)
            chosen = np.arange(len(frames)) if len(self.pictures) == len(frames) else None
            chosen = frames.of_whole(len(self.pictures)) if chosen is None else chosen
            if found is not None and chosen is not None:
                return _placed(found, chosen)
        if (whole := frames.of_whole(len(self.names))) is not None:
            return np.array(sorted(range(len(self.names)), key=lambda i: natural(self.names[i])))[whole]  # type: ignore[index]
        return self._by_number(len(frames))

    def _by_number(self, count: int) -> np.ndarray | None:
        """Numbers at the end of names, that begin at 0, or end at the number of the last frame, counted from 1."""
        assert self.names is not None
        numbers = np.array([_number(name) for name in self.names])
        if (numbers < 0).any() or len(set(numbers.tolist())) < len(numbers):
            return None
        if numbers.min() == 0 and numbers.max() < count:
            return _placed(numbers, np.arange(count))
        if numbers.min() >= 1 and numbers.max() == count:
            return _placed(numbers - 1, np.arange(count))
        return None


def _placed(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted number ``[T]`` stands among numbers ``[N]``; -1: nowhere."""
    where = {int(n): i for i, n in enumerate(numbers) if n >= 0}
    return np.array([where.get(int(n), -1) for n in wanted])


def _number(name: str) -> int:
    """The last number of a name, without its suffix; -1 where there is none."""
    found = re.findall(r"\d{1,9}", Path(name).stem)
    return int(found[-1]) if found else -1


def _alike(names: Sequence[str], pictures: Sequence[str]) -> np.ndarray | None:
    """Which picture each name is that of ``[N]``, -1: none; None where it is none of any.

    Suffixes differ where pictures were made anew: ``frame-3.color.jpg``, ``frame-3.pose.txt``, ``frame-3.png``.
    """
    for key in (_stem, _beginning):
        mine, theirs = [key(n) for n in names], [key(p) for p in pictures]
        if len(set(mine)) < len(mine) or len(set(theirs)) < len(theirs):
            continue
        where = {name: i for i, name in enumerate(theirs)}
        found = np.array([where.get(name, -1) for name in mine])
        if (found >= 0).any():
            return found
    return None


def _stem(name: str) -> str:
    return Path(name).stem


def _beginning(name: str) -> str:
    return Path(name).name.partition(".")[0]
