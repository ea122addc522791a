"""A folder that nerfstudio trains on: ``transforms.json``, pictures, masks, depth, and the static world as a cloud.

Cameras look along -z with y up (OpenGL), pixel centres are at halves, and depth is in thousandths of the scene's unit,
which is what ``ns-train`` expects by default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import NerfstudioOptions
from geometrycrafter.export.pictures import named, write_pictures
from geometrycrafter.export.ply import write_points
from geometrycrafter.export.world import World, told_unit
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import encode_png

FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes x right, y up, z backward -> x right, y down, z forward."""
UNIT = 1000
"""What depth is written in: parts of the scene's unit."""
LARGEST = 2**16 - 1


def write_nerfstudio(scene: Scene, path: Path, options: NerfstudioOptions | None = None) -> Path:
    """Write a nerfstudio data set; memory holds a frame and the points of the world.

    Args:
        scene: with poses.
        path: of the folder.
        options: how many points, whether depth is written, in which pictures and colours.

    Raises:
        InputError: where the scene has no poses.
    """
    options = options or NerfstudioOptions()
    world = World(scene, options.shot)
    path.mkdir(exist_ok=True)
    cloud = world.fuse(write_pictures(world, path, Colours(scene, options), options.images), options.points)
    write_points(path / "points.ply", cloud.points, cloud.rgb, f"static points of all frames, in {told_unit(scene)}")
    if options.depth == "on":
        (path / "depths").mkdir()
    frames = []
    for t in world.frames.tolist():
        name = named(t, options.images)
        entry: dict[str, Any] = {"file_path": f"images/{name}"}
        entry["transform_matrix"] = (world.poses[t] @ FROM_OPENGL).tolist()
        entry |= _camera(scene, t)
        if world.moving(t) is not None:
            entry["mask_path"] = f"masks/{name}.png"
        if options.depth == "on":
            entry["depth_file_path"] = f"depths/{named(t, 'png')}"
            (path / entry["depth_file_path"]).write_bytes(encode_png(_depth(scene, t)))
        frames.append(entry)
    height, width = scene.depth.shape[1:]
    whole = {"camera_model": "OPENCV", "w": width, "h": height, **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)}
    for name in ("fl_x", "fl_y", "cx", "cy"):
        if all(f[name] == frames[0][name] for f in frames):
            whole[name] = frames[0][name]
            for f in frames:
                del f[name]
    whole["unit"] = told_unit(scene)  # of places; depth is in thousandths of it
    whole |= {"ply_file_path": "points.ply", "frames": frames}
    (path / "transforms.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="ascii")
    return path


def _camera(scene: Scene, t: int) -> dict[str, float]:
    k = np.asarray(scene.intrinsics[t], np.float64)
    values = k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5
    return dict(zip(("fl_x", "fl_y", "cx", "cy"), map(float, values)))


def _depth(scene: Scene, t: int) -> np.ndarray:
    """``[H, W]`` uint16, 0 where there is none, or it is too far to be written."""
    depth = scene.depth[t] * float(UNIT)
    good = np.asarray(scene.mask[t], bool) & (depth >= 0.5) & (depth <= LARGEST)
    return np.where(good, depth, 0).round().astype(np.uint16)
