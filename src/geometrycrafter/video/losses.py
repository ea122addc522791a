"""What could not be shown of a video: counted while it is read, and told at its end."""

from __future__ import annotations

import os
import warnings
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from geometrycrafter.errors import InputError, reason
from geometrycrafter.video.endings import declared, ending, is_followed, share_in_time
from geometrycrafter.video.holes import Gap, holes, lost_in
from geometrycrafter.video.timing import RATE

MOST_DAMAGED = 0.1
"""Share of a video's packets that may be damaged or missing; beyond that it is refused."""
MANY = 20
"""A video of fewer packets, or whose number is not known yet, is taken to have so many."""
MOST_GAPS = 10_000
"""Gaps in a video's times that are looked into."""


@dataclass
class Losses:
    """What could not be shown of a video."""

    packets: int = 0
    """That were read."""
    shown: int = 0
    """Frames that came of them."""
    damaged: int = 0
    """Packets that could not be decoded."""
    absent: int = 0
    """Packets that were not there, counted with both."""
    before: int = 0
    """Frames before the first that can be decoded: the video begins in the middle of something."""
    began: bool = False
    """Whether a keyframe was read."""
    stamps: list[int] = field(default_factory=list)
    """Of the packets before the first frame."""
    first: str = ""
    """What was wrong with the first damaged packet."""
    good: int = 0
    """Frames before it."""
    latest: deque[int] = field(default_factory=lambda: deque(maxlen=2 * MANY))
    """When the packets that came last are to be shown."""
    last: int = -(2**63)
    """When the last frame is shown."""
    until: float | None = None
    """Seconds at which the last packet ends."""
    since: float = 0.0
    """Seconds at which the first begins."""
    smeared: int = 0
    """Frames that the decoder has covered damage of."""
    rate: float = RATE
    """Frames a second."""
    gaps: list[Gap] = field(default_factory=list)
    """In the packets' times."""
    before_it: tuple[int, float] | None = None
    """Place in the file and seconds of the packet that came last."""

    def read(self, packet: Any) -> None:
        """Count a packet."""
        self.packets += 1
        self.began = self.began or packet.is_keyframe
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            if self.until is None:
                self.since = float(packet.pts * packet.time_base)
            self.until = end if self.until is None else max(self.until, end)
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None and packet.pos is not None:
            place = packet.pos, float(stamp * packet.time_base)
            between = (place[1] - self.before_it[1]) * self.rate if self.before_it else 1
            if self.before_it and between > 1.5 and len(self.gaps) < MOST_GAPS:
                self.gaps.append(Gap(self.before_it[0], place[0], round(between) - 1, self.shown))
            self.before_it = place
        if packet.pts is not None and not packet.is_discard:
            self.latest.append(packet.pts)
        if not self.shown and not packet.is_discard:
            self.before += not self.began
            if packet.pts is not None:
                self.stamps.append(packet.pts)

    def show(self, frame: Any) -> None:
        """Count a frame; at the first, what should have come before it."""
        if not self.shown and frame.pts is not None:
            earlier = sum(stamp < frame.pts for stamp in self.stamps)
            # Some formats (SWF) mark no packet as a keyframe; the frame itself knows.
            self.before = 0 if frame.key_frame and not earlier else max(self.before, earlier)
        self.shown += 1
        if frame.is_corrupt:
            self.smeared += 1
            if not self.damaged and self.smeared == 1:
                self.first, self.good = "parts of a frame can't be decoded", self.shown - 1
        self.stamps = []
        if frame.pts is not None:
            self.last = max(self.last, frame.pts)

    def note(self, error: Exception, at_end: bool = False) -> None:
        """Count a packet that can't be decoded; at the end, all that the decoder still had."""
        if not self.damaged:
            self.first, self.good = reason(error), self.shown
        held = self.packets - self.shown - self.damaged if at_end else 1
        self.damaged += min(max(held, 1), MANY)

    def miss(self, frames: int, what: str, good: int | None = None) -> None:
        """Count frames of which not even a packet is there, after so many good ones; None: those shown until now."""
        if frames and not self.damaged:
            self.first, self.good = what, self.shown if good is None else good
        self.packets += frames
        self.damaged += frames
        self.absent += frames

    def end(self) -> None:
        """Count packets of the end that no frame came of: some decoders drop these and say nothing."""
        silent = self.packets - self.shown - self.damaged
        if not self.shown or self.packets > 1.5 * self.shown + MANY:  # each packet is half a frame
            return
        late = min(sum(stamp > self.last for stamp in self.latest), silent)
        if late > 0:
            self.first, self.good = self.first or "its end can't be decoded", self.good if self.damaged else self.shown
            self.damaged += late


def _look_into(path: os.PathLike[str], container: Any, stream: Any, losses: Losses) -> None:
    """Count frames whose packets were lost with a part of the file, which the libraries pass over in silence."""
    indexed = [e.pos for e in stream.index_entries if e.size] if container.format.name == "avi" else []
    absent = max(0, len(indexed) - losses.packets)
    delay = losses.since if 0 < losses.since * losses.rate < 3 else 0  # of frames that are held back for their order
    seconds = declared(container) or 0.0
    ends_early = (seconds + delay - (losses.until or 0)) * losses.rate
    if not losses.gaps and not absent and ends_early < 0.75:
        return
    broken = holes(path, container)
    if broken and broken[-1][1] >= container.size and is_followed(container, seconds):
        broken.pop()
    lost = lost_in(losses.gaps, broken)
    if losses.before_it and ends_early > 0.75 and broken and broken[-1][0] > losses.before_it[0]:
        lost.append(Gap(losses.before_it[0], container.size, round(ends_early), losses.shown))
    frames = sum(gap.frames for gap in lost) or (absent if broken else 0)
    if frames:
        good = lost[0].shown if lost else sum(position < broken[0][0] for position in indexed) - 1
        losses.miss(frames, "part of the file is lost", max(0, min(good, losses.shown)))


def damaged(path: os.PathLike[str], losses: Losses) -> InputError:
    """The refusal of a video that is damaged."""
    if not losses.shown:
        said = f" ({losses.first})" if losses.first else ""
        return InputError(f"{path}: not one frame could be decoded{said}; the file is empty or damaged.")
    return InputError(
        f"{path}: the video is damaged after frame {losses.good} ({losses.first}); copy it anew, or take what is good "
        f"with --end {losses.good}."
    )


def account(
    path: os.PathLike[str], container: Any, stream: Any, losses: Losses, entries: int = 0, strict: bool = False
) -> None:
    """At the end of a video: say what was lost.

    Args:
        path: of the file.
        container: it, opened.
        stream: its video.
        losses: until now.
        entries: frames in the file's table; 0 where there is none.
        strict: refuse any loss.

    Raises:
        InputError: where much is lost, or anything with ``strict``.
    """
    losses.end()
    _look_into(path, container, stream, losses)
    if strict and (losses.damaged or losses.smeared):
        raise damaged(path, losses)
    end = ending(path, container)
    share = min(end.share, share_in_time(container, stream, losses.until))
    missing = max(0, entries - losses.packets, round((losses.packets - losses.absent) / share) - losses.packets)
    _report(path, losses, missing, end.torn, strict)


def _report(path: os.PathLike[str], losses: Losses, missing: int, torn: bool, strict: bool) -> None:
    """Say what was lost, or refuse it where it is much."""
    whole = losses.packets + missing
    if strict and losses.shown and (missing or torn):
        raise InputError(
            f"{path}: the video is cut short after frame {losses.shown}; copy it anew, or take what is there with "
            f"--end {losses.shown}."
        )
    if not losses.shown or losses.damaged > MOST_DAMAGED * whole:
        raise damaged(path, losses)
    if missing > MOST_DAMAGED * whole:
        raise InputError(
            f"{path}: the video is cut short, {losses.shown} of {whole} frames can be decoded; copy it anew, or take "
            f"what is there with --end {losses.shown}."
        )
    if missing or losses.damaged:
        what = "cut short" if missing else f"damaged after frame {losses.good} ({losses.first})"
        warnings.warn(
            f"{path}: the video is {what}; {missing + losses.damaged} of {whole} frames are missing", stacklevel=3
        )
    if losses.smeared:
        warnings.warn(
            f"{path}: {losses.smeared} of {whole} frames are damaged, and shown as far as they can be decoded",
            stacklevel=3,
        )
    if torn and not missing:
        warnings.warn(
            f"{path}: the file breaks off, and is cut short; how much of the video is missing is not known",
            stacklevel=3,
        )
    if losses.before:
        warnings.warn(
            f"{path}: the video begins in the middle: {losses.before} frames before its first keyframe are skipped",
            stacklevel=3,
        )
