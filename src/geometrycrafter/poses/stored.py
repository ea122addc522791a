"""Poses in a scene: kept with what belongs to them, and taken out again."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.poses.estimation import Estimate
from geometrycrafter.poses.masks import mask_at_size
from geometrycrafter.poses.static_tracks import NAMES
from geometrycrafter.scene import Scene
from geometrycrafter.scene.writer import FrameByFrame


def store(scene: Scene, found: Estimate) -> None:
    """Keep an estimate with the scene that it was made for; what an earlier one left goes.

    Args:
        scene: to change.
        found: by :func:`estimate`, from the scene as predicted.

    Raises:
        InputError: where another process writes the scene, or it can't be written.
    """
    size = scene.mask.shape
    k = np.asarray(scene.predicted.intrinsics)
    moving = FrameByFrame(size, np.dtype(bool), (mask_at_size(mask, size[1:]) for mask in found.moving))
    tracks = dict.fromkeys(NAMES) if found.tracks is None else found.tracks.arrays()
    scene.set_arrays(
        {
            **tracks,
            "depth_correction": found.correction,
            "intrinsics_refined": None if np.array_equal(found.intrinsics, k) else found.intrinsics,
            "moving": moving,
            "metres": found.metres,
            "pose_covariance": found.covariance,
            "pose_quality": found.quality,
            "poses": found.poses,
        }
    )


def discard(scene: Scene) -> None:
    """Take poses, and all that came with them, out of a scene.

    Raises:
        InputError: where another process writes the scene, or it can't be written.
    """
    names = ("depth_correction", "intrinsics_refined", "metres", "moving", "pose_covariance", "pose_quality", "poses")
    scene.set_arrays(dict.fromkeys((*NAMES, *names)))


def rescale(scene: Scene, metres: float) -> None:
    """Keep a scene in metres, of which one of its units is so many; depth, poses and what came with them follow.

    Args:
        scene: to change, with or without poses.
        metres: positive.

    Raises:
        InputError: where the scene has several shots, another process writes it, or it can't be written.
    """
    if len(scene.shots) > 1:
        raise InputError(
            f"{scene.place}: each of its {len(scene.shots)} shots has a scale of its own; give a distance of each by "
            "'geometrycrafter poses --distance'."
        )

    def kept(name: str, none: np.ndarray) -> np.ndarray:
        found = scene.array(name)
        return none if found is None else np.asarray(found)

    count = len(scene)
    new: dict[str, np.ndarray] = {
        "metres": kept("metres", np.ones(count)) * metres,
        "depth_correction": kept("depth_correction", np.zeros((count, 1, 1))).astype(np.float64) + np.log(metres),
    }
    for name in ("track_points", "pose_covariance", "poses"):
        stored = scene.array(name)
        if stored is None:
            continue
        values = np.array(stored, np.float64)
        if name == "track_points":
            values *= metres
        elif name == "poses":
            values[:, :3, 3] *= metres
        else:
            values[:, 3:] *= metres
            values[:, :, 3:] *= metres
        new[name] = values.astype(stored.dtype)
    scene.set_arrays(new)
