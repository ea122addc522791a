"""Points of the world that poses were found from, and where they are seen: what the solver kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.poses.problem import Problem, State

MOST = 1 << 20
"""Observations that are kept; of more, those of every n-th point."""
NAMES = ("track_points", "track_seen", "track_pixels")
"""Arrays of a scene that hold them."""


@dataclass(frozen=True)
class StaticTracks:
    """Points that agree with the poses, seen in two frames or more."""

    points: np.ndarray
    """``[P, 3]`` float32 in the world of their shot, in the poses' unit."""
    seen: np.ndarray
    """``[N, 2]`` int32, a point's number and the frame, in order of both."""
    pixels: np.ndarray
    """``[N, 2]`` float32, where (x, y) in the scene's pixels."""

    @classmethod
    def of(cls, problem: Problem, state: State, kept: Tensor, intrinsics: np.ndarray) -> StaticTracks:
        """Those of a solution.

        Args:
            problem: that was solved; its pixels are those of the clip's mean camera.
            state: the solution.
            kept: ``[N]`` bool, observations that agree, of frames whose pose is known.
            intrinsics: ``[T, 3, 3]`` of the frames, as they were predicted.
        """
        tracks = problem.tracks
        views = torch.bincount(tracks.track[kept], minlength=tracks.count)
        kept = kept & (views[tracks.track] >= 2)
        step = -(-int(kept.sum()) // MOST)
        if step > 1:
            kept = kept & (tracks.track % step == 0)
        numbers, point = torch.unique(tracks.track[kept], return_inverse=True)
        frame = tracks.frame[kept]
        k = torch.from_numpy(np.asarray(intrinsics, np.float64))[frame]
        own = (tracks.xy[kept] - problem.centre) / problem.focal
        xy = own * k[:, [0, 1], [0, 1]] + k[:, :2, 2]
        return cls(
            state.points[numbers].numpy().astype(np.float32),
            torch.stack([point, frame], -1).numpy().astype(np.int32).reshape(-1, 2),
            xy.numpy().astype(np.float32).reshape(-1, 2),
        )

    @classmethod
    def joined(cls, parts: Sequence[StaticTracks], firsts: Sequence[int]) -> StaticTracks:
        """Of a clip, from those of its shots, which begin with frames."""
        numbers = np.cumsum([0, *(len(part.points) for part in parts)])
        return cls(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.seen + np.array([n, t], np.int32) for part, n, t in zip(parts, numbers, firsts)]),
            np.concatenate([part.pixels for part in parts]),
        )

    def scaled(self, scales: np.ndarray) -> StaticTracks:
        """In another unit, of which each frame's is so many, ``[T]``."""
        of_point = np.ones(len(self.points))
        of_point[self.seen[:, 0]] = scales[self.seen[:, 1]]
        return StaticTracks((self.points * of_point[:, None]).astype(np.float32), self.seen, self.pixels)

    def arrays(self) -> dict[str, np.ndarray]:
        """As a scene keeps them, by name: ``[P, 3]``, ``[N, 2]`` and ``[N, 2]``."""
        return dict(zip(NAMES, (self.points, self.seen, self.pixels), strict=True))
