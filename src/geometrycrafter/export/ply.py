"""Coloured point clouds, binary PLY."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import PlyOptions
from geometrycrafter.export.maps import placed_frames
from geometrycrafter.export.pictures import named
from geometrycrafter.export.world import World, told_unit
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene

VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def write_ply(scene: Scene, path: Path, options: PlyOptions | None = None) -> Path:
    """Write the valid points of one frame, in world axes where poses are known, else in the camera's; or of the world.

    Args:
        scene: to write.
        path: of the file.
        options: which frame, how densely, in which colours; or the static points of all frames.

    Raises:
        InputError: where there is no such frame, the world is wanted and the scene has no poses, the video of the
            colours is not there, or an array doesn't fit.
    """
    options = options or PlyOptions()
    if options.world:
        return _write_world(scene, path, options)
    if options.moving is not None:
        raise InputError("--moving is of the world's points; add --world.")
    if options.each:
        return _write_each(scene, path, options)
    frame = options.frame
    if not -len(scene) <= frame < len(scene):
        raise InputError(f"--frame {frame}: the scene has frames 0 to {len(scene) - 1}.")
    frame %= len(scene)
    if scene.poses is not None and not np.isfinite(scene.poses[frame]).all():
        raise InputError(f"{scene.place}: the pose of frame {frame} is not finite; estimate the poses anew.")
    points, rgb = frame_cloud(scene, frame, Colours(scene, options)[frame], options.step)
    return write_points(path, points, rgb, f"frame {frame}, in {told_unit(scene)}")


def frame_cloud(scene: Scene, t: int, picture: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A frame's valid points ``[N, 3]``, in world axes where poses are known, and their colours ``[N, 3]`` uint8.

    Args:
        scene: whose frame.
        t: which.
        picture: ``[H, W, 3]`` uint8.
        step: take every n-th pixel of every n-th row.
    """
    points = scene.points[t][::step, ::step]
    valid = np.asarray(scene.mask[t], bool)[::step, ::step] & np.isfinite(points).all(-1)
    points = points[valid]
    if scene.poses is not None:
        pose = np.asarray(scene.poses[t], np.float32)
        points = rigid.apply(torch.tensor(pose), torch.tensor(points)).numpy()
    return points, picture[::step, ::step][valid]


def _write_each(scene: Scene, path: Path, options: PlyOptions) -> Path:
    """A file a frame; memory holds one. Frames without a pose, where others have one, would be elsewhere: left out."""
    if options.frame != 0:
        raise InputError("--frame is of one frame's points, and --each of all; leave one out.")
    path.mkdir(exist_ok=True)
    for t, picture in placed_frames(scene, Colours(scene, options)):
        points, rgb = frame_cloud(scene, t, picture, options.step)
        write_points(path / named(t, "ply"), points, rgb, f"frame {t}, in {told_unit(scene)}")
    return path


def _write_world(scene: Scene, path: Path, options: PlyOptions) -> Path:
    """Static points of all frames, merged; behind them moving ones of some frames, marked as such."""
    if options.frame != 0 or options.step != 1 or options.each:
        raise InputError("--frame, --step and --each are of frames' own points; leave them out, or --world.")
    chosen = options.moving or ()
    if not all(t < len(scene) for t in chosen):
        raise InputError(f"--moving {','.join(map(str, chosen))}: the scene has frames 0 to {len(scene) - 1}.")
    world = World(scene, options.shot)
    apart: list[tuple[np.ndarray, np.ndarray]] = []

    def noted() -> Iterator[np.ndarray]:
        for t, picture in enumerate(Colours(scene, options)):
            moving = world.moving(t) if t in chosen else None
            if moving is not None:
                good = moving & np.asarray(scene.mask[t], bool)
                points = world.points(t)[good]
                finite = np.isfinite(points).all(-1)
                apart.append((points[finite], picture[good][finite]))
            yield picture

    cloud = world.fuse(noted(), options.points)
    points, rgb = (np.concatenate(x) for x in zip((cloud.points, cloud.rgb), *apart))
    about = f"static points of all frames, merged over {cloud.size:.3g}, in {told_unit(scene)}"
    moving = None if options.moving is None else np.arange(len(points)) >= len(cloud)
    return write_points(path, points, rgb, about, moving)


def write_points(
    path: Path, points: np.ndarray, rgb: np.ndarray, comment: str, moving: np.ndarray | None = None
) -> Path:
    """Write points ``[N, 3]`` with colours ``[N, 3]`` uint8 and, where it is told, which of them move, ``[N]`` bool."""
    vertices = np.zeros(len(points), VERTEX if moving is None else [*VERTEX.descr, ("moving", "u1")])
    vertices["xyz"] = points
    vertices["rgb"] = rgb
    if moving is not None:
        vertices["moving"] = moving
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment {comment}\nelement vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        + ("" if moving is None else "property uchar moving\n")
        + "end_header\n"
    )
    with open(path, "wb") as file:
        file.write(header.encode())
        file.write(vertices.tobytes())
    return path
