"""Times of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

RATE = 24.0
"""Frames a second of what has no times of its own."""
HARDLY = 1e-6
"""Seconds that make no difference."""
ABOUT = 0.2
"""Share by which a rate may be off the times of the frames, and is still believed."""
PAUSE = 10.0
"""Seconds beyond which a step of a broadcast's clock is a new clock: ffmpeg's own bound."""
REORDERED = 4
"""Frames by which a time stamp may be early and is merely out of order."""


class Clock:
    """Times of a stream's frames that go on where its own clock begins anew, as in recordings that were joined.

    Of a frame's stamps, that of showing and that of decoding, the one is taken that ran backwards less often, as ffmpeg
    does.

    Args:
        rate: frames a second.
        jumps: whether the format's clock may jump ahead too.
        in_turn: whether the format only numbers packets (AVI): when a frame is shown is a guess, and the order that
            frames come in is not.
    """

    def __init__(self, rate: float, jumps: bool, in_turn: bool = False):
        self._rate, self._jumps, self._in_turn = rate, jumps, in_turn
        self._faults, self._latest = [0, 0], [-math.inf, -math.inf]
        self._offset, self._before = 0.0, -math.inf

    def seconds(self, frame: Any) -> float | None:
        """When a decoded frame is shown; None where nothing is said. They come in the order that they are shown in."""
        stamp = self._turn(frame) if self._in_turn else self._stamp(frame)
        if stamp is None:
            return None
        step = stamp + self._offset - self._before
        back = step < -max(REORDERED / self._rate, 0.1)
        if back or (self._jumps and PAUSE < step < math.inf):
            self._offset += 1 / self._rate - step
        self._before = max(self._before, stamp + self._offset)
        return stamp + self._offset

    def _turn(self, frame: Any) -> float | None:
        if frame.dts is None or frame.time_base is None:  # of those that the decoder held back to the end
            return None if self._before == -math.inf else self._before + 1 / self._rate
        return float(frame.dts * frame.time_base)

    def _stamp(self, frame: Any) -> float | None:
        stamps = frame.pts, frame.dts
        for i, stamp in enumerate(stamps):
            if stamp is not None:
                self._faults[i] += stamp <= self._latest[i]
                self._latest[i] = stamp
        by_decoding = self._faults[0] > self._faults[1] or stamps[0] is None
        stamp = stamps[1] if by_decoding and stamps[1] is not None else stamps[0]
        return None if stamp is None or frame.time_base is None else float(stamp * frame.time_base)


def resampled(
    frames: Iterator[tuple[float, np.ndarray]], fps: float, last: float, even: bool = False
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames at a constant rate: at each moment the one that is on show.

    Args:
        frames: times in seconds, rising, and pictures ``[H, W, 3]``.
        fps: wanted frames a second.
        last: seconds that the last one is shown, where there is no other to tell by.
        even: longer steps than the shortest are gaps, which the last isn't shown as long as.
    """
    shortest = math.inf
    shown: tuple[float, np.ndarray] | None = None
    origin, number = 0.0, 0
    for seconds, frame in frames:
        if shown is None:
            origin = seconds
        else:
            shortest = min(shortest, seconds - shown[0])
            last = shortest if even else seconds - shown[0]
            while origin + number / fps < seconds - HARDLY:
                yield origin + number / fps, shown[1]
                number += 1
        shown = seconds, frame
    while shown is not None and origin + number / fps < shown[0] + last - HARDLY:
        yield origin + number / fps, shown[1]
        number += 1


def believed_rate(times: Sequence[float], said: float) -> float:
    """Frames a second: as said, or of the frames' times where these have nothing to do with it.

    Args:
        times: of the frames, in seconds.
        said: by a header, or by who took the frames.
    """
    steps = np.diff(np.asarray(times, np.float64))
    if not len(steps) or not steps.sum() > 0:
        return said
    usual, mean = float(np.median(steps)), float(steps.mean())
    if any(abs(step * said - 1) <= ABOUT for step in (usual, mean)):  # gaps and pauses are no other rate
        return said
    return 1 / mean
