"""Camera poses as TUM's RGB-D benchmark has them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import TumOptions
from geometrycrafter.export.world import chosen_shot, told_unit
from geometrycrafter.geometry.rigid import quaternion_of_rotation
from geometrycrafter.scene import Scene


def write_tum(scene: Scene, path: Path, options: TumOptions | None = None) -> Path:
    """Write lines ``time tx ty tz qx qy qz qw``: camera-to-world, seconds, the scene's unit.

    Args:
        scene: with poses.
        path: of the file.
        options: which shot.

    Raises:
        InputError: where the scene has no poses, none that is known, or not this shot.
    """
    if scene.poses is None:
        raise InputError(f"{scene.place}: the scene has no poses; run 'geometrycrafter poses {scene.place}' first.")
    shot = None if options is None else options.shot
    first, end = (0, len(scene)) if shot is None else chosen_shot(scene, shot)
    if shot is None and len(scene.shots) > 1:
        warnings.warn(
            f"{scene.place}: each of the {len(scene.shots)} shots has a world of its own; --shot N writes one",
            stacklevel=2,
        )
    quality = scene.array("pose_quality")
    known = np.ones(len(scene), bool) if quality is None else quality[:] > 0
    frames = first + np.flatnonzero(known[first:end])
    if not len(frames):
        raise InputError(f"{scene.place}: no frame's pose is known; run 'geometrycrafter poses {scene.place}'.")
    if len(frames) < end - first:
        warnings.warn(f"{end - first - len(frames)} frames whose poses are not known are left out", stacklevel=2)
    poses = torch.from_numpy(np.asarray(scene.poses[:], np.float64)[frames])
    w, x, y, z = quaternion_of_rotation(poses[:, :3, :3]).unbind(-1)
    rows = torch.stack([torch.from_numpy(scene.times[frames]), *poses[:, :3, 3].unbind(-1), x, y, z, w], -1)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"# time tx ty tz qx qy qz qw; places in {told_unit(scene)}\n")
        for row in rows.tolist():
            file.write(" ".join(f"{value:.9g}" for value in row) + "\n")
    return path
