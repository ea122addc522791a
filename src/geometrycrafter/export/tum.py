"""Camera poses as TUM's RGB-D benchmark has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import NoOptions
from geometrycrafter.geometry.rigid import quaternion_of_rotation
from geometrycrafter.scene import Scene


def write_tum(scene: Scene, path: Path, options: NoOptions | None = None) -> Path:
    """Write lines ``time tx ty tz qx qy qz qw``: camera-to-world, seconds, the scene's unit.

    Args:
        scene: with poses.
        path: of the file.
        options: none.

    Raises:
        InputError: where the scene has no poses.
    """
    if scene.poses is None:
        raise InputError(f"{scene.place}: the scene has no poses; run 'geometrycrafter poses {scene.place}' first.")
    poses = torch.from_numpy(np.asarray(scene.poses, np.float64))
    w, x, y, z = quaternion_of_rotation(poses[:, :3, :3]).unbind(-1)
    rows = torch.stack([torch.from_numpy(scene.times), *poses[:, :3, 3].unbind(-1), x, y, z, w], -1)
    with open(path, "w", encoding="ascii") as file:
        file.write("# time tx ty tz qx qy qz qw\n")
        for row in rows.tolist():
            file.write(" ".join(f"{value:.9g}" for value in row) + "\n")
    return path
