"""Corners, spread over the picture and followed by pyramidal Lucas-Kanade, there and back: tracks without weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from geometrycrafter.poses.protocol import Keypoints
from geometrycrafter.poses.tracks import Tracks

Array = np.ndarray
QUALITY = 0.003
"""Of a corner, as a share of the best one's."""
FAR = 2.5
"""Pixels from where a point was followed to, within which its first patch must be found again."""


@dataclass(frozen=True)
class LucasKanade:
    """As in the paper's section 4, points are sought where its windows of 12 frames begin and end, every 6 frames, away
    from those that are followed already; each goes on, also across windows, for as long as it holds.

    What is followed from frame to frame drifts; so each point is also sought near where it has come to by the patch
    that it had at the beginning of its window, and stays in the middle between the two.
    """

    points: int = 600
    """Wanted in each frame."""
    every: int = 6
    """Frames between searches."""
    window: int = 31
    """Side of a patch, pixels."""
    levels: int = 4
    """Of the pyramid, above the picture's own."""
    there_and_back: float = 0.7
    """Pixels that a point may be off when it is followed back."""
    keypoints: Keypoints | None = None
    """Finds what is followed; None: corners."""

    def __call__(self, frames: Iterable[Array], static: Iterable[Array] | None = None) -> Tracks:
        """Follow points.

        Args:
            frames: ``[H, W, 3]`` uint8 or ``[H, W]`` grey, in order.
            static: ``[H, W]`` bool for each frame, where points may be; None: everywhere.
        """
        return Tracks.of(self._seen(frames, static))

    def _seen(
        self, frames: Iterable[Array], static: Iterable[Array] | None
    ) -> Iterator[tuple[torch.Tensor, int, torch.Tensor]]:
        before: Array | None = None
        keys: dict[int, Array] = {}  # pictures that points have their first patches in
        # of each point: x, y, x and y in its key picture; its number and the key's
        at, names, new = np.zeros((0, 4), np.float32), np.zeros((0, 2), np.int64), 0
        masks = iter(static) if static is not None else None
        for t, frame in enumerate(frames):
            grey = frame if frame.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
            allowed = None if masks is None else np.asarray(next(masks), bool)
            if before is not None and len(at):
                at, kept = self._followed(before, grey, at, names[:, 1], keys)
                if allowed is not None:
                    column, row = at[:, :2].round().astype(int).clip(0, np.array(grey.shape)[::-1] - 1).T
                    kept &= allowed[row, column]
                at, names = at[kept], names[kept]
            if t % self.every == 0 or len(at) < self.points // 3:
                fresh = self._corners(grey, at[:, :2], allowed)
                old = t - names[:, 1] >= 2 * self.every
                at[old, 2:], names[old, 1] = at[old, :2], t
                at = np.concatenate([at, np.concatenate([fresh, fresh], 1)])
                numbers = new + np.arange(len(fresh))
                names = np.concatenate([names, np.stack([numbers, np.full(len(fresh), t)], 1)])
                new += len(fresh)
                keys = {k: picture for k, picture in [*keys.items(), (t, grey)] if k in names[:, 1]}
            yield torch.from_numpy(names[:, 0].copy()), t, torch.from_numpy(at[:, :2].astype(np.float64))
            before = grey

    def _followed(
        self, before: Array, grey: Array, at: Array, key: Array, keys: dict[int, Array]
    ) -> tuple[Array, Array]:
        """Where points are in the next picture, and which were followed."""
        there, kept = self._there_and_back(before, grey, at[:, :2], at[:, :2], self.levels)
        for k, picture in keys.items():
            rows = np.flatnonzero(kept & (key == k))
            if picture is before or not len(rows):
                continue
            again, held = self._there_and_back(picture, grey, at[rows, 2:], there[rows], 0)
            held &= np.linalg.norm(again - there[rows], axis=1) < FAR
            there[rows], kept[rows] = (there[rows] + again) / 2, held
        sides = np.array(grey.shape)[::-1]
        kept &= ((there >= 0) & (there <= sides - 1)).all(1)
        return np.concatenate([there, at[:, 2:]], 1), kept

    def _there_and_back(self, a: Array, b: Array, xy: Array, guess: Array, levels: int) -> tuple[Array, Array]:
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.02)
        window = (self.window, self.window)
        flags = cv2.OPTFLOW_USE_INITIAL_FLOW

        def follow(one: Array, other: Array, points: Array, near: Array) -> tuple[Array, Array]:
            start, end = (x.astype(np.float32).reshape(-1, 1, 2).copy() for x in (points, near))
            found, status, _ = cv2.calcOpticalFlowPyrLK(
                one, other, start, end, None, None, window, levels, criteria, flags
            )
            return found.reshape(-1, 2), status.reshape(-1) > 0

        there, found = follow(a, b, xy, guess)
        back, again = follow(b, a, there, xy if levels == 0 else there)
        return there, found & again & (np.linalg.norm(back - xy, axis=1) < self.there_and_back)

    def corners(self, grey: Array, allowed: Array | None) -> Array:
        """Corners ``[n, 2]`` of a picture ``[H, W]``, where ``[H, W]`` bool allows."""
        return self._corners(grey, np.zeros((0, 2), np.float32), allowed)

    def between(self, a: Array, b: Array, xy: Array) -> tuple[Array, Array]:
        """Where points ``[n, 2]`` of one picture are in one that is nearly the same, and which were followed."""
        return self._there_and_back(a, b, xy, xy, 1) if len(xy) else (xy, np.zeros(0, bool))

    def _corners(self, grey: Array, xy: Array, allowed: Array | None) -> Array:
        """New corners ``[n, 2]``, away from points that are followed already."""
        wanted = self.points - len(xy)
        if wanted <= 0:
            return np.zeros((0, 2), np.float32)
        apart = max(3.0, 0.6 * (grey.size / self.points) ** 0.5)
        free = np.full(grey.shape, 255, np.uint8) if allowed is None else allowed.astype(np.uint8) * 255
        for x, y in xy:
            cv2.circle(free, (round(float(x)), round(float(y))), round(apart), 0, -1)
        if self.keypoints is not None:
            points = self.keypoints(np.repeat(grey[..., None], 3, -1), free > 0, wanted)
            return np.asarray(points, np.float32).reshape(-1, 2)
        found = cv2.goodFeaturesToTrack(grey, wanted, QUALITY, apart, mask=free, blockSize=5)
        if found is None:
            return np.zeros((0, 2), np.float32)
        return cv2.cornerSubPix(grey, found, (3, 3), (-1, -1), (cv2.TERM_CRITERIA_COUNT, 5, 0.1)).reshape(-1, 2)
