"""Points sought again where poses and depth say that they are: the last pixel's tenth of a track.

A patch followed from picture to picture turns, grows and slants, and what is followed drifts. Once cameras are known
nearly, the other picture can be drawn as it would be seen from where the patch was taken, pixel by pixel through the
point map; in it the patch is itself again, and is found where it ought to be but for what is left to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.problem import Problem, State
from geometrycrafter.poses.tracks import EDGE, Tracks
from geometrycrafter.scene import Scene

Array = np.ndarray
OUTSIDE = -1e4
"""A pixel that no picture has."""


@dataclass(frozen=True)
class GuidedMatching:
    """Corners of every few frames, matched with the frames around, each by its own patch and so without drift."""

    points: int = 300
    """Wanted of each frame that is searched."""
    every: int = 6
    """Frames between searches."""
    reach: int = 12
    """Frames before and after that a corner is sought in."""
    window: int = 15
    """Side of a patch, pixels."""
    there_and_back: float = 0.3
    """Pixels that a point may be off when it is followed back."""
    far: float = 8.0
    """Pixels from where it ought to be within which a patch is believed."""

    def __call__(
        self,
        scene: Scene,
        grey: Sequence[Array],
        state: State,
        problem: Problem,
        static: Sequence[Array] | None = None,
        part: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tracks:
        """Tracks in the scene's pixels.

        Args:
            scene: with depth and mask.
            grey: ``[H, W]`` uint8 pictures of its frames.
            state: cameras and corrections that are nearly right.
            problem: that they solve.
            static: ``[H, W]`` bool for each frame, where points may be; None: everywhere.
            part: ``[T]``, frames of one number know of one another, and only those are matched, but for -1;
                None: all do.
            progress: called with how many frames are done.
        """
        height, width = grey[0].shape
        sides = torch.tensor([width / problem.size[1], height / problem.size[0]], dtype=torch.float64)
        focal = (problem.focal * torch.tensor(state.log_focal).exp() * sides).numpy()
        centre = ((problem.centre + 0.5) * sides - 0.5).numpy()
        view = _View(focal.astype(np.float32), centre.astype(np.float32), height, width)
        found = self._found(scene, grey, state, problem, view, static, part, progress)
        return Tracks.of(found).scaled(1 / float(sides[0]), 1 / float(sides[1]))

    def _found(
        self,
        scene: Scene,
        grey: Sequence[Array],
        state: State,
        problem: Problem,
        view: _View,
        static: Sequence[Array] | None,
        part: Tensor | None,
        progress: Callable[[int], None] | None,
    ) -> Iterator[tuple[Tensor, int, Tensor]]:
        follow = LucasKanade(points=self.points, window=self.window, there_and_back=self.there_and_back)
        turn, shift = state.rotation.numpy(), state.translation.numpy()
        new = 0
        for key in range(0, len(grey), self.every):
            depth, valid = problem.corrected(scene, key, state.correction[key], view.height, view.width)
            allowed = valid if static is None else valid & static[key]
            xy = follow.corners(grey[key], cv2.erode(allowed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
            names = torch.arange(new, new + len(xy))
            new += len(xy)
            points = view.rays * np.where(valid, depth, 1)[..., None]
            for t in range(max(key - self.reach, 0), min(key + self.reach + 1, len(grey))):
                if part is not None and (part[t] != part[key] or part[key] < 0):
                    continue
                if t == key:
                    yield names, t, torch.from_numpy(xy.astype(np.float64))
                    continue
                rotation = turn[t] @ turn[key].T
                ought = view.seen(points, rotation, shift[t] - rotation @ shift[key], valid)
                drawn: Array = cv2.remap(grey[t], ought, np.empty(0, np.float32), cv2.INTER_CUBIC)
                there, kept = follow.between(grey[key], drawn, xy)
                kept &= (np.abs(there - xy) < self.far).all(1) & view.within(there)
                at, one = _between_pixels(ought, np.where(valid, depth, np.nan), there)
                kept &= one & view.within(at)
                if static is not None:
                    column, row = at.round().astype(int).clip(0, [view.width - 1, view.height - 1]).T
                    kept &= static[t][row, column]
                yield names[torch.from_numpy(kept)], t, torch.from_numpy(at[kept])
            if progress:
                progress(min(key + self.every, len(grey)))


class _View:
    """A camera's pixels."""

    def __init__(self, focal: Array, centre: Array, height: int, width: int):
        self.focal, self.centre, self.height, self.width = focal, centre, height, width
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self.rays = np.stack([(x - centre[0]) / focal[0], (y - centre[1]) / focal[1], np.ones_like(x)], -1)

    def seen(self, points: Array, rotation: Array, shift: Array, valid: Array) -> Array:
        """Where points ``[H, W, 3]`` lie in a camera that is moved, pixels ``[H, W, 2]``; outside where not valid."""
        moved = points @ rotation.T.astype(np.float32) + shift.astype(np.float32)
        front = valid & (moved[..., 2] > 1e-3 * points[..., 2])
        depth = np.where(front, moved[..., 2], 1)[..., None]
        pixels = self.focal * moved[..., :2] / depth + self.centre
        return np.where(front[..., None] & (np.abs(pixels) < -OUTSIDE), pixels, OUTSIDE).astype(np.float32)

    def within(self, xy: Array) -> Array:
        """Which pixels ``[N, 2]`` the picture has."""
        return np.asarray(((xy >= 0) & (xy <= [self.width - 1, self.height - 1])).all(1))


def _between_pixels(where: Array, depth: Array, xy: Array) -> tuple[Array, Array]:
    """Bilinear values ``[N, 2]`` of ``[H, W, 2]`` at pixels ``[N, 2]``, and whether the four around are one surface."""
    height, width = depth.shape
    at = xy.astype(np.float64)
    low = np.floor(at).astype(int).clip(0, [max(width - 2, 0), max(height - 2, 0)])
    share = at - low
    total = np.zeros_like(at)
    around = []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = np.minimum(low[:, 0] + dx, width - 1), np.minimum(low[:, 1] + dy, height - 1)
        weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
        total += weight[:, None] * where[row, column]
        around.append(depth[row, column])
    nearest, farthest = np.min(around, 0), np.max(around, 0)
    return total, np.asarray(farthest < EDGE * nearest)
