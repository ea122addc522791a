"""The static world as 3-D Gaussians: a PLY with the properties that splat viewers and trainers agree on.

Each is a disc on its surface, as wide as points are apart there, in the world's axes (the first camera's: y down).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import SplatOptions
from geometrycrafter.export.maps import normals, valid_points
from geometrycrafter.export.world import World, told_unit
from geometrycrafter.scene import Scene

BAND = 0.28209479177387814
"""The first spherical harmonic: colours are 0.5 and so many times their coefficient."""
OPACITY = 0.95
WIDTH = 0.6
"""A Gaussian's deviation along its surface, where points are one apart: neighbours then close up."""
THICKNESS = 0.1
"""Its deviation across the surface."""
BLOCK = 100_000
"""Gaussians that are written at once."""


def write_splats(scene: Scene, path: Path, options: SplatOptions | None = None) -> Path:
    """Write Gaussians; memory holds one frame and the points of the world.

    Args:
        scene: with poses.
        path: of the file.
        options: how many, in which colours.

    Raises:
        InputError: where the scene has no poses.
    """
    options = options or SplatOptions()
    world = World(scene, options.shot)
    cloud = world.fuse(Colours(scene, options), options.points, more=lambda t: _surface(world, t))
    spacing = np.maximum(cloud.more[:, 3], cloud.size)
    names = _names(options.degree)
    header = "ply\nformat binary_little_endian 1.0\n" + f"comment static points of all frames, in {told_unit(scene)}\n"
    header += f"element vertex {len(cloud)}\n" + "".join(f"property float {name}\n" for name in names) + "end_header\n"
    with open(path, "wb") as file:
        file.write(header.encode())
        for first in range(0, len(cloud), BLOCK):
            part = slice(first, first + BLOCK)
            rows = _gaussians(cloud.points[part], cloud.rgb[part], cloud.more[part, :3], spacing[part], names)
            file.write(rows.tobytes())
    return path


def _names(degree: int) -> list[str]:
    """Properties in the order that the first trainer wrote them in."""
    rest = [f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1))]
    colour = [f"f_dc_{i}" for i in range(3)]
    return [*"xyz", "nx", "ny", "nz", *colour, *rest, "opacity", *(f"scale_{i}" for i in range(3))] + [
        f"rot_{i}" for i in range(4)
    ]


def _surface(world: World, t: int) -> np.ndarray:
    """Of each pixel the normal in world axes, and how far apart points are there: ``[H, W, 4]`` float64."""
    points, valid = valid_points(world.scene, t)
    turned = normals(points, valid).astype(np.float64) @ world.poses[t, :3, :3].T
    across = points[..., 2:].astype(np.float64) / float(world.scene.intrinsics[t][0, 0])
    return np.concatenate([turned, across], -1)


def _gaussians(
    points: np.ndarray, rgb: np.ndarray, normal: np.ndarray, spacing: np.ndarray, names: list[str]
) -> np.ndarray:
    """Rows ``[N, P]`` float32 of points ``[N, 3]``, colours ``[N, 3]``, mean normals ``[N, 3]``, distances ``[N]``."""
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    known = length[:, 0] > 1e-3
    unit = np.where(known[:, None], normal / np.maximum(length, 1e-12), [0.0, 0.0, 1.0])
    along, across = np.log(WIDTH * spacing), np.log(np.where(known, THICKNESS, WIDTH) * spacing)
    rows = np.zeros((len(points), len(names)), "<f4")
    at = {name: i for i, name in enumerate(names)}
    rows[:, at["x"] : at["x"] + 3] = points
    rows[:, at["nx"] : at["nx"] + 3] = np.where(known[:, None], unit, 0)
    rows[:, at["f_dc_0"] : at["f_dc_0"] + 3] = (rgb / 255.0 - 0.5) / BAND
    rows[:, at["opacity"]] = np.log(OPACITY / (1 - OPACITY))
    rows[:, at["scale_0"] : at["scale_0"] + 3] = np.stack([along, along, across], 1)
    rows[:, at["rot_0"] : at["rot_0"] + 4] = _turn_to(unit)
    return rows


def _turn_to(unit: np.ndarray) -> np.ndarray:
    """Quaternions ``[N, 4]`` (w, x, y, z) that turn the z axis to unit vectors ``[N, 3]``."""
    x, y, z = unit.T
    q = np.stack([1 + z, -y, x, np.zeros_like(z)], 1)
    q = np.where((z < -1 + 1e-9)[:, None], [0.0, 1.0, 0.0, 0.0], q)
    return q / np.linalg.norm(q, axis=1, keepdims=True)
