"""Coloured point clouds, binary PLY."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from geometrycrafter.errors import InputError
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene

VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def write_ply(scene: Scene, path: Path, frame: int = 0, step: int = 1) -> Path:
    """Write the valid points of one frame, in world axes where poses are known, else in the camera's.

    Args:
        scene: to write.
        path: of the file.
        frame: index; negative ones count from the end.
        step: take every n-th pixel of every n-th row.
    """
    if not -len(scene) <= frame < len(scene) or step < 1:
        raise InputError(f"--frame {frame} --step {step}: the scene has {len(scene)} frames and step is at least 1.")
    frame %= len(scene)
    keep = np.asarray(scene.mask[frame], bool)[::step, ::step]
    points = scene.points[frame][::step, ::step][keep]
    if scene.poses is not None:
        points = rigid.apply(torch.tensor(scene.poses[frame]), torch.tensor(points)).numpy()
    return write_points(path, points, colours(scene, frame)[::step, ::step][keep], f"frame {frame}")


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


def colours(scene: Scene, frame: int) -> np.ndarray:
    """Colours of a frame at the size of its depth, ``[H, W, 3]`` uint8; grey where the scene has no frames."""
    height, width = scene.depth.shape[1:]
    if scene.frames is None:
        return np.full((height, width, 3), 160, np.uint8)
    small = torch.from_numpy(scene.frames[frame]).permute(2, 0, 1)[None].float()
    image = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
