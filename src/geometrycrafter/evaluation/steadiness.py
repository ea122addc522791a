"""How steady a scene is without any truth: what stands still is carried by the camera's poses into later frames.

Without poses, a scene whose camera stands nearly still is judged by what its pictures show to go with the whole."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.still_tracks import SEEN, NotStillError, still_tracks
from geometrycrafter.geometry.reprojection import disagreement
from geometrycrafter.scene import Scene
from geometrycrafter.settings import Count, value_of

PAIRS = 64
"""Of frames that are compared, at most."""
STILL_PIXELS, STILL_SHARE = 0.5, 2e-3
"""A camera that turns by fewer pixels, and moves by a smaller share of the middle depth, stands still."""


class Steadiness:
    """Static, valid depth of one shot of a scene, and its cameras.

    Args:
        scene: with poses, or with frames of a camera that stands still.
        first: frame of the shot.
        end: the frame after its last; None: of the scene.

    Raises:
        InputError: where the scene has no poses, and no frames or a camera that moves.
    """

    def __init__(self, scene: Scene, first: int = 0, end: int | None = None):
        self._scene, self._moving = scene, scene.array("moving")
        self._span = range(first, len(scene) if end is None else end)
        self._looked, self._tracks = list(self._span), None
        if scene.poses is None:
            self._looked, self._tracks = self._followed()
        quality = scene.array("pose_quality")
        self._known = np.ones(len(scene), bool) if quality is None else quality[:] > 0
        standing = np.tile(np.eye(4), (len(scene), 1, 1))
        self._poses = standing if scene.poses is None else np.asarray(scene.poses, np.float64)
        self._intrinsics = np.asarray(scene.intrinsics, np.float64)

    def _followed(self) -> tuple[list[int], NDArray[np.int32]]:
        """Frames of the shot, and pixels ``[n, N]`` of what stands still in them, where there are no poses."""
        frames, size = self._scene.frames, (self._scene.depth.shape[1], self._scene.depth.shape[2])
        place, why = self._scene.place, "has neither poses nor frames, by which it could be told what stands still"
        if frames is not None:
            try:
                return still_tracks(frames, self._span, size)
            except NotStillError as error:
                why = f"has no poses, and {error}"
        raise InputError(f"{place}: the scene {why}; run 'geometrycrafter poses {place}' first.")

    def _depth(self, t: int) -> NDArray[np.float64]:
        """``[H, W]`` float64, zero where it is not valid or moves."""
        depth = np.asarray(self._scene.depth[t], np.float64)
        good = np.asarray(self._scene.mask[t], bool) & np.isfinite(depth) & (depth > 0)
        if self._moving is not None:
            good &= ~np.asarray(self._moving[t], bool)
        return np.where(good, depth, 0.0)

    def _along(self, t: int) -> NDArray[np.float64]:
        """Depth ``[N]`` along tracks, zero where it isn't seen or not valid; without tracks, that of all pixels."""
        depth = self._depth(t).ravel()
        if self._tracks is None:
            return depth
        at = self._tracks[self._looked.index(t)]
        return np.where(at >= 0, depth[at], 0.0)

    def _view(self, t: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Depth ``[H, W]``, intrinsics and pose of a frame."""
        depth, k, pose = map(torch.from_numpy, (self._depth(t), self._intrinsics[t], self._poses[t]))
        return depth, k, pose

    def change(self, lag: int) -> float:
        """How far depth is from that of so many frames before, carried there by the poses: relative, in the median.

        The mean over at most 64 pairs of frames, evenly spread. What is hidden in one of the two is an outlier to the
        median. Errors of the poses count, too.

        Args:
            lag: frames between the two. Without poses, of shots over 256 frames, one of 1, 8 and 32.

        Returns:
            the change (0.01 is 1 %); not a number where the shot is not that long, or nothing is seen twice.
        """
        value_of(Count, lag, "lag")
        looked = set(self._looked)
        firsts = [t for t in self._looked if t + lag in looked and self._known[t] and self._known[t + lag]]
        found = []
        for i in sorted({round(x) for x in np.linspace(0, len(firsts) - 1, PAIRS)} if firsts else ()):
            found.append(self._between(firsts[i], firsts[i] + lag))
        known = [x for x in found if math.isfinite(x)]
        return float(np.mean(known)) if known else float("nan")

    def _between(self, t: int, later: int) -> float:
        """Relative change of depth from a frame to a later one, in the median."""
        if self._tracks is None:
            return disagreement(*self._view(t), *self._view(later))
        first, second = self._along(t), self._along(later)
        both = (first > 0) & (second > 0)
        return float(np.median(np.abs(first[both] / second[both] - 1))) if both.any() else float("nan")

    @property
    def still(self) -> bool:
        """Whether the camera stands still."""
        if self._tracks is not None:
            return True
        frames = [t for t in self._span if self._known[t]]
        if not frames:
            return False
        middle = self._depth(frames[len(frames) // 2])
        if not middle.any():
            return False
        motion = np.linalg.inv(self._poses[frames[0]]) @ self._poses[frames]
        turn = np.abs(motion[:, :3, :3] - np.eye(3)).max() * self._intrinsics[frames[0], 0, 0]
        return bool(
            turn < STILL_PIXELS
            and np.linalg.norm(motion[:, :3, 3], axis=1).max() < STILL_SHARE * np.median(middle[middle > 0])
        )

    def extent(self) -> float:
        """Largest over smallest depth over the shot of what stands still, in the median.

        With poses, of pixels that see it in all frames; without, of points that are followed through most of them.

        Returns:
            the ratio (1 is perfect); not a number where the camera moves, nothing is still all the time, or the
            shot has one frame.
        """
        if len(self._span) < 2 or not self.still:
            return float("nan")
        count = self._scene.depth[0].size if self._tracks is None else self._tracks.shape[1]
        low, high, seen = np.full(count, np.inf), np.zeros(count), np.zeros(count, int)
        for t in self._looked:
            depth = self._along(t)
            known = depth > 0
            low, high, seen = np.where(known, np.minimum(low, depth), low), np.maximum(high, depth), seen + known
        good = seen >= (1 if self._tracks is None else SEEN) * len(self._looked)
        return float(np.median(high[good] / low[good])) if good.any() else float("nan")
