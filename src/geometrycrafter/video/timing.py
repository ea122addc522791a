"""Times of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

HARDLY = 1e-6
"""Seconds that make no difference."""
ABOUT = 0.2
"""Share by which a rate may be off the times of the frames, and is still believed."""


def resampled(
    frames: Iterator[tuple[float, np.ndarray]], fps: float, last: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames at a constant rate: at each moment the one that is on show.

    Args:
        frames: times in seconds, rising, and pictures ``[H, W, 3]``.
        fps: wanted frames a second.
        last: seconds that the last one is shown, where there is no other to tell by.
    """
    shown: tuple[float, np.ndarray] | None = None
    origin, number = 0.0, 0
    for seconds, frame in frames:
        if shown is None:
            origin = seconds
        else:
            last = seconds - shown[0]
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
