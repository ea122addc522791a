"""A scene in world axes: which frames have a pose, their cameras, and the static points of all of them as one cloud."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.geometry import rigid
from geometrycrafter.geometry.voxels import VoxelCloud
from geometrycrafter.scene import Scene

SLANTED = 1.1
"""A pixel whose neighbours' depths differ by more is at an edge, where depth is a mixture of two surfaces."""
VIEWS = 150
"""Frames that a cloud for looking at is fused from, at most."""
SAMPLED = 8
"""Frames whose depth says how fine the first voxels are."""


@dataclass(frozen=True)
class Cloud:
    """Points of the world."""

    points: np.ndarray
    """``[P, 3]`` float64."""
    rgb: np.ndarray
    """``[P, 3]`` uint8."""
    counts: np.ndarray
    """``[P]``, pixels that each was merged from."""
    size: float
    """Side of the voxels, in the scene's unit."""
    more: np.ndarray
    """``[P, C]``, means of further values."""

    def __len__(self) -> int:
        return len(self.points)


class World:
    """A scene whose cameras are known, or one of its shots: each has a world of its own.

    Args:
        scene: with poses.
        shot: which, from 0; None: the only one.

    Raises:
        InputError: where it has no poses, or none that is known, or several shots and none is chosen.
    """

    def __init__(self, scene: Scene, shot: int | None = None):
        if scene.poses is None:
            raise InputError(f"{scene.place}: the scene has no poses; run 'geometrycrafter poses {scene.place}' first.")
        self.scene = scene
        self.poses = np.asarray(scene.poses, np.float64)
        quality = scene.array("pose_quality")
        known = np.ones(len(scene), bool) if quality is None else quality[:] > 0
        span = range(*chosen_shot(scene, shot))
        own = np.isin(np.arange(len(scene)), span)
        self.frames = np.flatnonzero(known & np.isfinite(self.poses).all((1, 2)) & own)
        """``[N]``, those whose pose is known."""
        if not len(self.frames):
            raise InputError(f"{scene.place}: no frame's pose is known; run 'geometrycrafter poses {scene.place}'.")
        if len(self.frames) < len(span):
            warnings.warn(f"{len(span) - len(self.frames)} frames whose poses are not known are left out", stacklevel=3)
        self._moving = scene.array("moving")

    def moving(self, t: int) -> np.ndarray | None:
        """``[H, W]`` bool, what moves by itself in a frame; None where the scene doesn't say."""
        return None if self._moving is None else np.asarray(self._moving[t], bool)

    def static(self, t: int) -> np.ndarray:
        """``[H, W]`` bool: valid, not at an edge of depth, and not moving."""
        depth = self.scene.depth[t]
        good = np.asarray(self.scene.mask[t], bool) & np.isfinite(depth) & (depth > 0)
        moving = self.moving(t)
        return off_edges(depth, good) if moving is None else off_edges(depth, good) & ~moving

    def points(self, t: int) -> np.ndarray:
        """``[H, W, 3]`` float64, a frame's points in world axes."""
        own = torch.from_numpy(self.scene.points[t].reshape(-1, 3).astype(np.float64))
        return rigid.apply(torch.from_numpy(self.poses[t]), own).numpy().reshape(*self.scene.depth.shape[1:], 3)

    def fuse(
        self,
        pictures: Iterable[np.ndarray],
        most: int,
        size: float | None = None,
        more: Callable[[int], np.ndarray] | None = None,
    ) -> Cloud:
        """The static points of all frames as one cloud, merged by voxels; memory holds one frame and the cloud.

        Args:
            pictures: of all the scene's frames in turn, ``[H, W, 3]`` uint8.
            most: points of the cloud; voxels grow until there are no more.
            size: side of the voxels at first; None: what a pixel covers at the middle depth.
            more: further values ``[H, W, C]`` of a frame's pixels, whose means are kept.
        """
        channels = 3 if more is None else 3 + more(int(self.frames[0])).shape[-1]
        voxels = VoxelCloud(size or self._pixel(), most, channels)
        known = set(self.frames.tolist())
        for t, picture in zip(range(len(self.scene)), pictures):
            if t in known:
                static = self.static(t)
                values = picture if more is None else np.concatenate([picture, more(t)], -1)
                voxels.add(self.points(t)[static], values[static])
        values = voxels.values
        rgb = values[:, :3].round().clip(0, 255).astype(np.uint8)
        return Cloud(voxels.points, rgb, voxels.counts, voxels.size, values[:, 3:])

    def fuse_finely(self, pictures: Iterable[np.ndarray], most: int) -> Cloud:
        """As :meth:`fuse`, of frames evenly spread, for looking at: voxels are as fine as so many points allow.

        Args:
            pictures: of all the scene's frames in turn, ``[H, W, 3]`` uint8; they may be gone through twice.
            most: points of the cloud.
        """
        some = copy.copy(self)
        some.frames = self.frames[:: -(-len(self.frames) // VIEWS)]
        first = some.fuse(pictures, most)
        if len(first) > most / 2 or not len(first) or first.size <= some._pixel():
            return first
        # Voxels half as large are four times as many on a surface, and up to eight times as many where it is noisy.
        second = some.fuse(pictures, most, first.size * (len(first) / (0.75 * most)) ** (1 / 2.7))
        return max(first, second, key=len)

    def _pixel(self) -> float:
        """What a pixel covers at the middle of valid depths."""
        chosen = np.unique(self.frames[np.linspace(0, len(self.frames) - 1, SAMPLED).astype(int)])
        depths = np.concatenate([self.scene.depth[t][self.static(t)] for t in chosen])
        focal = float(self.scene.intrinsics[int(self.frames[0])][0, 0])
        return float(np.median(depths)) / focal if len(depths) else 1.0

    def seen(self, t: int, points: np.ndarray, nearness: float) -> tuple[np.ndarray, np.ndarray]:
        """Which points of the world a frame sees, and where.

        Args:
            t: the frame.
            points: ``[P, 3]`` in world axes.
            nearness: how far the frame's own depth may be from a point's, relative.

        Returns:
            numbers ``[n]`` of the points that the frame's static depth agrees with, and the pixels ``[n, 2]`` (x, y)
            that they fall on, pixel centres being integers.
        """
        height, width = self.scene.depth.shape[1:]
        own = rigid.apply(rigid.inverse(torch.from_numpy(self.poses[t])), torch.from_numpy(points)).numpy()
        front = np.flatnonzero(own[:, 2] > 0)
        k = np.asarray(self.scene.intrinsics[t], np.float64)
        image = own[front] @ k.T
        xy = image[:, :2] / image[:, 2:]
        inside = (xy > -0.5).all(1) & (xy[:, 0] < width - 0.5) & (xy[:, 1] < height - 0.5)
        front, xy = front[inside], xy[inside]
        column, row = xy.round().astype(int).T
        depth, static = self.scene.depth[t], self.static(t)
        ratio = own[front, 2] / np.where(static, depth, np.nan)[row, column]
        near = np.abs(np.log(ratio)) < nearness
        return front[near], xy[near]


def chosen_shot(scene: Scene, shot: int | None) -> tuple[int, int]:
    """First frame, and the one after the last, of a shot.

    Raises:
        InputError: where there is no such shot, or there are several and none is chosen.
    """
    spans = scene.shots
    if shot is None and len(spans) > 1:
        raise InputError(f"{scene.place}: each of its {len(spans)} shots has a world of its own; choose by --shot N.")
    if shot is not None and shot >= len(spans):
        raise InputError(f"--shot {shot}: {scene.place} has shots 0 to {len(spans) - 1}.")
    return spans[shot or 0]


def off_edges(depth: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Good pixels ``[H, W]`` whose depth is near that of each good neighbour."""
    log = np.log(np.where(good, depth, 1.0))
    sound = good.copy()
    for axis in (0, 1):
        first, second = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        step = (np.abs(log[first] - log[second]) > np.log(SLANTED)) & good[first] & good[second]
        sound[first] &= ~step
        sound[second] &= ~step
    return sound


def told_unit(scene: Scene) -> str:
    """What depth, points and poses are measured in, in words."""
    return "metres" if scene.unit == "m" else "the scene's own unit"
