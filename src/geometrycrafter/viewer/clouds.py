"""What is drawn of a scene: a frame's points, the static world, and where the cameras are. Few frames are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.maps import known_pose, valid_points
from geometrycrafter.export.mp4 import disparity_ranges
from geometrycrafter.export.world import World
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene
from geometrycrafter.viewer.colouring import available, coloured
from geometrycrafter.viewer.look import Look

KEPT = 24
"""Frames whose points are kept, those looked at last."""
SKY = 1.5
"""How far away what has no depth is, in depths that few are beyond."""
LIVE = 100_000
"""Points of a frame, where it isn't said."""
WORLD = 3
"""How many times as many points the static world has as a frame,"""
MOST = 1_000_000
"""and how many at most."""


@dataclass(frozen=True)
class Points:
    """Points that are drawn together."""

    places: np.ndarray
    """``[N, 3]`` float32 in the world's axes."""
    rgb: np.ndarray
    """``[N, 3]`` uint8."""
    spacing: np.ndarray
    """``[N]`` float32, how far each is from its neighbours: what it covers."""

    def __len__(self) -> int:
        return len(self.places)

    @staticmethod
    def of_all(parts: list[Points]) -> Points:
        """Several as one."""
        if not parts:
            return Points(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
        places, rgb, spacing = zip(*((p.places, p.rgb, p.spacing) for p in parts), strict=True)
        return Points(np.concatenate(places), np.concatenate(rgb), np.concatenate(spacing))


class Clouds:
    """The points of a scene, frame by frame as they are asked for; several threads may ask.

    Args:
        scene: to look at. Without poses each frame stands where the first one does.

    Raises:
        InputError: where the scene has poses and none is known.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.colours = Colours(scene)
        self.bounds = disparity_ranges(scene)
        self.shots = [i for i, (first, end) in enumerate(scene.shots) for _ in range(first, end)]
        self._poses = None if scene.poses is None else [known_pose(scene, t) for t in range(len(scene))]
        if self._poses is not None and all(pose is None for pose in self._poses):
            raise InputError(f"{scene.place}: no frame's pose is known; run 'geometrycrafter poses {scene.place}'.")
        self._kept: OrderedDict[tuple[int, Look], Points] = OrderedDict()
        self._worlds: dict[tuple[int, int], Points] = {}
        self._begun: set[tuple[int, int]] = set()
        self._failed: dict[tuple[int, int], InputError] = {}
        self._guard, self._fusing = threading.RLock(), threading.Lock()

    def pose(self, t: int) -> np.ndarray | None:
        """A frame's camera to world ``[4, 4]``; None where there are poses and this one isn't known."""
        return np.eye(4) if self._poses is None else self._poses[t]

    def check(self, look: Look) -> None:
        """Whether the scene has what is to be shown.

        Raises:
            InputError: where it hasn't; says which command makes it, where one does.
        """
        place = self.scene.place
        if look.show != "frame" and self._poses is None:
            raise InputError(
                f"{place}: the scene has no poses, as --show {look.show} wants; run 'geometrycrafter poses'."
            )
        if look.show in ("moving", "both") and self.scene.array("moving") is None:
            raise InputError(
                f"{place}: the scene doesn't say what moves, as --show {look.show} wants; try --show static."
            )
        if look.colour not in available(self.scene) or (look.confident > 0 and self.scene.array("confidence") is None):
            missing = "what moves" if look.colour == "motion" else "a confidence"
            raise InputError(f"{place}: the scene doesn't have {missing}; choose --colour picture, depth or normal.")

    def middle(self, t: int = 0) -> float:
        """The middle depth of a frame, or of the next that has any; 1 where none has."""
        for other in [*range(t, len(self.scene)), *range(t)]:
            points, valid = valid_points(self.scene, other)
            if valid.any():
                return float(np.median(points[..., 2][valid]))
        return 1.0

    def drawn(self, t: int, look: Look) -> Points:
        """All that is to be seen at a frame."""
        parts = [] if look.show == "static" else [self.frame(t, look)]
        if look.show in ("static", "both"):
            parts.append(self.world(self.shots[t], look))
        return Points.of_all(parts)

    def frame(self, t: int, look: Look) -> Points:
        """A frame's points, none where its pose isn't known; with "both" and "moving" those that move."""
        asked = t, replace(look, show="moving" if look.show == "both" else look.show)
        with self._guard:
            if asked in self._kept:
                self._kept.move_to_end(asked)
                return self._kept[asked]
        found = self._frame(t, asked[1])
        with self._guard:
            self._kept[asked] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _frame(self, t: int, look: Look) -> Points:
        pose = self.pose(t)
        if pose is None:
            return Points.of_all([])
        points, valid = valid_points(self.scene, t)
        picture = self.colours[t]
        rgb = coloured(self.scene, t, look.colour, picture, points, valid, self.bounds[t])
        step = look.step or max(1, int(np.ceil((valid.size / (look.points or LIVE)) ** 0.5)))
        points, valid, rgb, picture = (a[::step, ::step] for a in (points, valid, rgb, picture))
        kept = self._chosen(t, look, points[..., 2], valid, step)
        focal = float(self.scene.intrinsics[t][0, 0]) / step
        parts = [Points(points[kept], rgb[kept], points[..., 2][kept] / focal)]
        if look.sky and look.show == "frame" and valid.any() and not valid.all():
            parts.append(self._sky(t, valid, picture, float(np.quantile(points[..., 2][valid], 0.98)) * SKY, step))
        whole = Points.of_all(parts)
        moved = rigid.apply(torch.from_numpy(pose), torch.from_numpy(whole.places).double())
        return replace(whole, places=moved.float().numpy())

    def _chosen(self, t: int, look: Look, depth: np.ndarray, valid: np.ndarray, step: int) -> np.ndarray:
        """Which pixels are shown, ``[H, W]`` bool."""
        kept = valid & off_jumps(depth, valid, look.edges) if look.edges > 0 else valid.copy()
        moving, confidence = self.scene.array("moving"), self.scene.array("confidence")
        if look.show == "moving":
            kept &= np.zeros_like(kept) if moving is None else np.asarray(moving[t], bool)[::step, ::step]
        if look.confident > 0 and confidence is not None and kept.any():
            values = np.nan_to_num(np.asarray(confidence[t], np.float32)[::step, ::step])
            kept &= values >= np.quantile(values[valid], look.confident)
        return kept

    def _sky(self, t: int, valid: np.ndarray, picture: np.ndarray, far: float, step: int) -> Points:
        rows, columns = np.nonzero(~valid)
        k = np.asarray(self.scene.intrinsics[t], np.float64)
        rays = np.stack([(columns * step - k[0, 2]) / k[0, 0], (rows * step - k[1, 2]) / k[1, 1]], 1)
        places = np.concatenate([rays, np.ones((len(rays), 1))], 1) * far
        spacing = np.full(len(rays), far * step / k[0, 0], np.float32)
        return Points(places.astype(np.float32), picture[rows, columns], spacing)

    def world(self, shot: int, look: Look) -> Points:
        """The static points of a shot, fused; none where there are no poses. Found once, which takes a while."""
        key = shot, min(WORLD * (look.points or LIVE), MOST)
        with self._fusing:  # frames are drawn meanwhile
            if key not in self._worlds:
                self._worlds[key] = self._fused(*key)
            return self._worlds[key]

    def world_soon(self, shot: int, look: Look, then: Callable[[], None]) -> Points | None:
        """The same where it has been found; else None, and it is looked for in the background.

        Args:
            shot: which.
            look: how many points.
            then: called when it is there, or can't be.

        Raises:
            InputError: where the scene can't be read; it isn't looked for again.
        """
        key = shot, min(WORLD * (look.points or LIVE), MOST)
        with self._guard:
            if key in self._worlds:
                return self._worlds[key]
            if key in self._failed:
                raise self._failed[key]
            if key in self._begun:
                return None
            self._begun.add(key)

        def find() -> None:
            try:
                self.world(shot, look)
            except InputError as error:
                self._failed[key] = error
            then()

        threading.Thread(target=find, daemon=True).start()
        return None

    def _fused(self, shot: int, most: int) -> Points:
        if self.scene.poses is None or not any(
            self.pose(t) is not None for t in range(len(self.shots)) if self.shots[t] == shot
        ):
            return Points.of_all([])
        cloud = World(self.scene, shot).fuse_finely(self.colours, most)
        spacing = np.full(len(cloud), cloud.size, np.float32)
        return Points(cloud.points.astype(np.float32), cloud.rgb, spacing)

    def path(self, t: int) -> np.ndarray:
        """Where the cameras of a frame's shot are, ``[N, 3]``; those whose poses are known."""
        if self.scene.poses is None:
            return np.zeros((0, 3))
        first, end = self.scene.shots[self.shots[t]]
        known = [pose[:3, 3] for i in range(first, end) if (pose := self.pose(i)) is not None]
        return np.stack(known) if known else np.zeros((0, 3))


def off_jumps(depth: np.ndarray, valid: np.ndarray, jump: float) -> np.ndarray:
    """Pixels ``[H, W]`` bool, none of whose valid neighbours is nearer or farther by more than a share ``jump``."""
    log = np.log(np.where(valid, depth, 1.0))
    sound = np.ones_like(valid)
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        step = (np.abs(log[first] - log[second]) > np.log1p(jump)) & valid[first] & valid[second]
        sound[first] &= ~step
        sound[second] &= ~step
    return sound
