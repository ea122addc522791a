"""What formats with a file a frame are made of: depth, points and normals where they are valid, and the camera."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.normals import known_normals
from geometrycrafter.scene import Scene

SENSIBLE = 2_000_000
"""Points of a file, at most, where it isn't said how dense they are."""


def valid_depth(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame's depth ``[H, W]`` float32, 0 where there is none, and where there is, ``[H, W]`` bool."""
    depth = np.asarray(scene.depth[t], np.float32)
    valid = np.asarray(scene.mask[t], bool) & np.isfinite(depth) & (depth > 0)
    return np.where(valid, depth, np.float32(0)), valid


def valid_points(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame's points in its camera's axes ``[H, W, 3]`` float32, 0 where there is none, and where there is."""
    points = np.asarray(scene.points[t], np.float32)
    valid = valid_depth(scene, t)[1] & np.isfinite(points).all(-1)
    return np.where(valid[..., None], points, np.float32(0)), valid


def normals(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Unit normals ``[H, W, 3]`` float32 towards the camera; 0 where a neighbour of the pixel is not valid."""
    return np.nan_to_num(known_normals(points, valid))


def known_pose(scene: Scene, t: int) -> np.ndarray | None:
    """Camera to world ``[4, 4]`` float64 of a frame; None where the scene has none, or that frame's is not known."""
    if scene.poses is None:
        return None
    quality = scene.array("pose_quality")
    pose = np.asarray(scene.poses[t], np.float64)
    return pose if np.isfinite(pose).all() and (quality is None or quality[t] > 0) else None


def placed_frames(scene: Scene, pictures: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames that can be shown together, each with its picture ``[H, W, 3]``.

    All, where the scene has no poses; else those whose pose is known, as another's points would be elsewhere.

    Args:
        scene: whose frames.
        pictures: of all of them in turn.

    Raises:
        InputError: where there are poses and none is known.
    """
    lost = 0
    for t, picture in zip(range(len(scene)), pictures):
        if scene.poses is None or known_pose(scene, t) is not None:
            yield t, picture
        else:
            lost += 1
    if lost == len(scene):
        raise InputError(f"{scene.place}: no frame's pose is known; run 'geometrycrafter poses {scene.place}'.")
    if lost:
        warnings.warn(f"{lost} frames whose poses are not known are left out", stacklevel=3)


def sensible_step(scene: Scene, frames: int) -> int:
    """Every how many pixels of every how many rows to take, so that a file of so many frames isn't too large."""
    height, width = scene.depth.shape[1:]
    return max(1, math.ceil((frames * height * width / SENSIBLE) ** 0.5))


def depth_range(scene: Scene) -> tuple[float, float]:
    """The least and the largest valid depth of all frames; 1 and 1 where there is none. One frame at a time is read."""
    near, far = np.inf, 0.0
    for t in range(len(scene)):
        depth, valid = valid_depth(scene, t)
        if valid.any():
            near, far = min(near, float(depth[valid].min())), max(far, float(depth[valid].max()))
    return (near, far) if far else (1.0, 1.0)
