"""Coloured point clouds, binary PLY."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import PlyOptions
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene

VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def write_ply(scene: Scene, path: Path, options: PlyOptions | None = None) -> Path:
    """Write the valid points of one frame, in world axes where poses are known, else in the camera's.

    Args:
        scene: to write.
        path: of the file.
        options: which frame, how densely, in which colours.

    Raises:
        InputError: where there is no such frame, the video of the colours is not there, or an array doesn't fit.
    """
    options = options or PlyOptions()
    step, frame = options.step, options.frame
    if not -len(scene) <= frame < len(scene):
        raise InputError(f"--frame {frame}: the scene has frames 0 to {len(scene) - 1}.")
    frame %= len(scene)
    points = scene.points[frame][::step, ::step]
    valid = np.asarray(scene.mask[frame], bool)[::step, ::step] & np.isfinite(points).all(-1)
    points = points[valid]
    if scene.poses is not None:
        pose = np.asarray(scene.poses[frame], np.float32)
        if not np.isfinite(pose).all():
            raise InputError(f"{scene.place}: the pose of frame {frame} is not finite; estimate the poses anew.")
        points = rigid.apply(torch.tensor(pose), torch.tensor(points)).numpy()
    return write_points(path, points, Colours(scene, options)[frame][::step, ::step][valid], f"frame {frame}")


def write_points(path: Path, points: np.ndarray, rgb: np.ndarray, comment: str) -> Path:
    """Write points ``[N, 3]`` with colours ``[N, 3]`` uint8."""
    vertices = np.zeros(len(points), VERTEX)
    vertices["xyz"] = points
    vertices["rgb"] = rgb
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment {comment}\nelement vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    with open(path, "wb") as file:
        file.write(header.encode())
        file.write(vertices.tobytes())
    return path
