"""Points followed through a video, as a flat list of observations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Tracks:
    """Where points of the world are seen. Pixel centres are integers; observations are in order of their track, then
    of their frame."""

    track: Array
    """``[N]`` int, which point."""
    frame: Array
    """``[N]`` int, in which frame."""
    xy: Array
    """``[N, 2]`` float, at which pixel."""
    count: int
    """Of tracks."""

    def __len__(self) -> int:
        return len(self.track)

    def where(self, kept: Array) -> Tracks:
        """Some of the observations ``[N]`` bool, under the same numbers."""
        return Tracks(self.track[kept], self.frame[kept], self.xy[kept], self.count)

    def at_least(self, length: int) -> Tracks:
        """Tracks of so many observations or more, numbered anew."""
        seen = np.bincount(self.track, minlength=self.count)
        long = seen >= length
        number = np.cumsum(long) - 1
        kept = long[self.track]
        return Tracks(number[self.track[kept]], self.frame[kept], self.xy[kept], int(long.sum()))

    def split(self, span: int) -> Tracks:
        """Tracks that last for more than so many frames, cut there into several."""
        start = np.searchsorted(self.track, self.track)
        part = (self.frame - self.frame[start]) // span
        same = np.zeros(len(self), bool)
        same[1:] = (self.track[1:] == self.track[:-1]) & (part[1:] == part[:-1])
        number = np.cumsum(~same) - 1
        return Tracks(number, self.frame, self.xy, int(number[-1]) + 1 if len(number) else 0)

    @staticmethod
    def of(pieces: Iterable[tuple[Array, int, Array]]) -> Tracks:
        """From pieces: numbers ``[n]``, a frame, and pixels ``[n, 2]`` there."""
        pieces = list(pieces)
        if not pieces:
            return Tracks(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), 0)
        track = np.concatenate([t for t, _, _ in pieces])
        frame = np.concatenate([np.full(len(t), f) for t, f, _ in pieces])
        xy = np.concatenate([x for _, _, x in pieces]).astype(np.float64)
        order = np.lexsort((frame, track))
        return Tracks(track[order], frame[order], xy[order], int(track.max()) + 1 if len(track) else 0)


@dataclass(frozen=True)
class LucasKanade:
    """Corners, spread over the picture and followed by pyramidal Lucas-Kanade, there and back.

    As in the paper's section 4, points are sought where its windows of 12 frames begin and end, every 6 frames, away
    from those that are followed already; each goes on for as long as it holds.
    """

    points: int = 600
    """Wanted in each frame."""
    every: int = 6
    """Frames between searches."""
    window: int = 31
    """Side of the patch, pixels."""
    levels: int = 4
    there_and_back: float = 0.7
    """Pixels that a point may be off after it was followed back."""
    renew: int = 12
    strict: bool = True

    def __call__(self, frames: Iterable[Array], static: Iterable[Array] | None = None) -> Tracks:
        """Follow points.

        Args:
            frames: ``[H, W, 3]`` uint8 or ``[H, W]`` grey, in order.
            static: ``[H, W]`` bool for each frame, where points may be; None: everywhere.
        """
        return Tracks.of(self._pieces(frames, static))

    def _pieces(self, frames: Iterable[Array], static: Iterable[Array] | None) -> Iterator[tuple[Array, int, Array]]:
        before: Array | None = None
        xy, number, new = np.zeros((0, 2), np.float32), np.zeros(0, int), 0
        ref = np.zeros(0, int)  # the frame whose patch each point is held to
        home = np.zeros((0, 2), np.float32)
        keys: dict[int, Array] = {}
        masks = iter(static) if static is not None else None
        for t, frame in enumerate(frames):
            grey = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            allowed = None if masks is None else np.ascontiguousarray(next(masks))
            if before is not None and len(xy):
                xy, kept = self._followed(before, grey, xy)
                if allowed is not None:
                    kept &= allowed[tuple(xy.round().astype(int).T[::-1].clip(0, np.array(grey.shape)[:, None] - 1))]
                for k in np.unique(ref):
                    rows = np.flatnonzero(kept & (ref == k))
                    if k < t - 1 and len(rows):
                        xy[rows], kept[rows] = self._held(keys[k], grey, home[rows], xy[rows])
                xy, number, ref, home = xy[kept], number[kept], ref[kept], home[kept]
            if t % self.every == 0 or len(xy) < self.points // 3:
                fresh = self._corners(grey, xy, allowed)
                xy = np.concatenate([xy, fresh])
                number = np.concatenate([number, new + np.arange(len(fresh))])
                new += len(fresh)
                renew = np.concatenate([t - ref >= self.renew, np.ones(len(fresh), bool)])
                ref = np.where(renew, t, np.concatenate([ref, np.full(len(fresh), t)]))
                home = np.where(renew[:, None], xy, np.concatenate([home, fresh]))
                keys[t] = grey
                keys = {k: v for k, v in keys.items() if k in ref}
            yield number, t, xy
            before = grey

    def _held(self, key: Array, grey: Array, home: Array, xy: Array) -> tuple[Array, Array]:
        """Points put right by the patch that they began with, where it is found again nearby."""
        how = {
            "winSize": (self.window, self.window),
            "maxLevel": 0,
            "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01),
            "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
        }
        guess = xy.copy().reshape(-1, 1, 2)
        there, found, _ = cv2.calcOpticalFlowPyrLK(key, grey, home.copy().reshape(-1, 1, 2), guess, **how)
        back, again, _ = cv2.calcOpticalFlowPyrLK(grey, key, there, home.copy().reshape(-1, 1, 2), **how)
        there, back = there[:, 0], back[:, 0]
        good = (found[:, 0] > 0) & (again[:, 0] > 0) & (np.linalg.norm(back - home, axis=1) < self.there_and_back)
        good &= np.linalg.norm(there - xy, axis=1) < 2.5
        return np.where(good[:, None], there, xy), (good | (not self.strict))

    def _followed(self, before: Array, grey: Array, xy: Array) -> tuple[Array, Array]:
        how = {
            "winSize": (self.window, self.window),
            "maxLevel": self.levels,
            "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.02),
        }
        there, found, _ = cv2.calcOpticalFlowPyrLK(before, grey, xy[:, None], None, **how)
        back, again, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, None, **how)
        there, back = there[:, 0], back[:, 0]
        kept = (found[:, 0] > 0) & (again[:, 0] > 0)
        kept &= np.linalg.norm(back - xy, axis=1) < self.there_and_back
        h, w = grey.shape
        kept &= (there >= 0).all(1) & (there[:, 0] <= w - 1) & (there[:, 1] <= h - 1)
        return there, kept

    def _corners(self, grey: Array, xy: Array, allowed: Array | None) -> Array:
        """New corners ``[n, 2]`` away from points that are there."""
        wanted = self.points - len(xy)
        if wanted <= 0:
            return np.zeros((0, 2), np.float32)
        h, w = grey.shape
        apart = max(3.0, 0.6 * (h * w / self.points) ** 0.5)
        free = np.full((h, w), 255, np.uint8) if allowed is None else allowed.astype(np.uint8) * 255
        for x, y in xy:
            cv2.circle(free, (round(float(x)), round(float(y))), round(apart), 0, -1)
        found = cv2.goodFeaturesToTrack(grey, wanted, 0.003, apart, mask=free, blockSize=5)
        if found is None:
            return np.zeros((0, 2), np.float32)
        found = cv2.cornerSubPix(grey, found, (3, 3), (-1, -1), (cv2.TERM_CRITERIA_COUNT, 5, 0.1))
        return found[:, 0]
