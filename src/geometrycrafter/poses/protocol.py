"""What the stages before the solver take and give: masks of what moves, keypoints, tracks.

Pixels are (x, y) with their centres at integers. Frames are ``[H, W, 3]`` uint8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from geometrycrafter.errors import InputError


class MovingMasks(Protocol):
    """Finds what moves by itself."""

    def __call__(self, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.bool_]:
        """Frames ``[H, W, 3]`` in order -> ``[T, H, W]``, true where something moves."""

    def carry(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.bool_]]:
        """The same, a mask ``[H, W]`` as each frame comes, in bounded memory."""


def no_frames() -> NoReturn:
    """Say so.

    Raises:
        InputError: always.
    """
    raise InputError("there are no frames to carry the mask through.")


class Keypoints(Protocol):
    """Finds points that can be met again, spread over the picture."""

    def __call__(self, frame: NDArray[np.uint8], mask: NDArray[np.bool_] | None, count: int) -> NDArray[np.float32]:
        """At most ``count`` pixels ``[N, 2]`` of a frame ``[H, W, 3]``, where the mask ``[H, W]`` lets them lie."""


class PointTracks(NamedTuple):
    """Where N points are in T frames."""

    positions: NDArray[np.float32]
    """``[T, N, 2]`` pixels."""
    visible: NDArray[np.bool_]
    """``[T, N]``."""
    depth: NDArray[np.float32] | None = None
    """``[T, N]``, from trackers in 3-D."""


class PointTracker(Protocol):
    """Follows points through the frames."""

    def __call__(
        self,
        frames: NDArray[np.uint8],
        depth: NDArray[np.float32],
        intrinsics: NDArray[np.float32],
        queries: NDArray[np.float32],
    ) -> PointTracks:
        """Frames ``[T, H, W, 3]``, depth ``[T, H, W]``, ``[T, 3, 3]``, queries ``[N, 3]`` (frame, x, y) -> tracks."""


def spread(
    points: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int], count: int
) -> NDArray[np.intp]:
    """Which of points ``[N, 2]`` to keep: the best of every part of the picture, then the second best, and so on.

    Args:
        points: pixels.
        scores: ``[N]``, higher is better.
        size: height and width of the picture.
        count: how many at most.

    Returns:
        indices ``[M]``, the most wanted first.
    """
    cell = max((size[0] * size[1] / max(count, 1)) ** 0.5, 1.0)
    across = int(size[1] / cell) + 1
    part = (points[:, 1] / cell).astype(np.intp) * across + (points[:, 0] / cell).astype(np.intp)
    order = np.lexsort((-scores, part))
    starts = np.flatnonzero(np.diff(part[order], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    rank = np.empty(len(points), np.intp)
    rank[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return np.lexsort((-scores, rank))[:count]
