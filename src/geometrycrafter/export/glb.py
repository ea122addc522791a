"""GLB: a frame as a textured mesh or as points, frames that play one after another, or the static world.

Everything hangs on a node that turns OpenCV's axes (y down, z forward) to glTF's (y up, z backward). Of frames that
play, each is a node that is as large as it is while it is shown, and of no size otherwise. With poses there is the
camera, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import LINEAR, Colours
from geometrycrafter.export.formats import GlbOptions
from geometrycrafter.export.gltf import INDICES, VERTICES, Gltf
from geometrycrafter.export.maps import known_pose, placed_frames, sensible_step, valid_points
from geometrycrafter.export.mesh import triangles
from geometrycrafter.export.nerfstudio import FROM_OPENGL
from geometrycrafter.export.world import World, told_unit
from geometrycrafter.geometry.rigid import quaternion_of_rotation
from geometrycrafter.scene import Scene

QUALITY = 92


def write_glb(scene: Scene, path: Path, options: GlbOptions | None = None) -> Path:
    """Write a scene for glTF; memory holds a frame, or the points of the world.

    Args:
        scene: to write.
        path: of the file.
        options: which frame or all, as what, how densely, in which colours.

    Raises:
        InputError: where options don't go together, there is no such frame, or the world is wanted without poses.
    """
    options = options or GlbOptions()
    _check(scene, options)
    with Gltf(path.parent) as file:
        shown = _world(file, scene, options) if options.world else _frames(file, scene, options)
        root = file.add("nodes", {"name": "scene", "rotation": [1, 0, 0, 0], "children": shown})
        more = {"extensionsUsed": ["KHR_materials_unlit"]} if "materials" in file.parts else {}
        about = {"unit": told_unit(scene), "frames": len(scene)}
        file.write(path, scene=0, scenes=[{"nodes": [root], "extras": about}], **more)
    return path


def _check(scene: Scene, options: GlbOptions) -> None:
    if options.world and (options.animate or options.kind == "mesh" or options.frame != 0 or options.step is not None):
        raise InputError("--world is of points of all frames; add --kind points, and no --animate, --frame or --step.")
    if options.animate and options.frame != 0:
        raise InputError("--frame is of one frame, and --animate of all; leave one out.")
    if not -len(scene) <= options.frame < len(scene):
        raise InputError(f"--frame {options.frame}: the scene has frames 0 to {len(scene) - 1}.")


def _world(file: Gltf, scene: Scene, options: GlbOptions) -> list[int]:
    cloud = World(scene, options.shot).fuse(Colours(scene, options), options.points)
    if not len(cloud):
        raise InputError(f"{scene.place}: no point of the static world is valid; there is nothing to write.")
    return [file.add("nodes", {"name": "static world", "mesh": _points(file, cloud.points, cloud.rgb)})]


def _frames(file: Gltf, scene: Scene, options: GlbOptions) -> list[int]:
    """Nodes of one frame or of all, and of the camera."""
    colours = Colours(scene, options)
    count = len(scene) if options.animate else 1
    step = options.step or sensible_step(scene, count)
    one = options.frame % len(scene)
    chosen = placed_frames(scene, colours) if options.animate else iter([(one, colours[one])])
    nodes, numbers = [], []
    for t, picture in chosen:
        mesh = _frame(file, scene, t, picture, step, options)
        if mesh is not None:
            nodes.append(file.add("nodes", {"name": f"frame {t}", "mesh": mesh, **_placed(known_pose(scene, t))}))
            numbers.append(t)
    if not nodes:
        raise InputError(f"{scene.place}: no point of what is asked is valid; there is nothing to write.")
    camera = _camera(file, scene, numbers[0]) if known_pose(scene, numbers[0]) is not None else None
    if options.animate:
        _animate(file, scene, nodes, numbers, camera)
    return nodes if camera is None else [*nodes, camera]


def _placed(pose: np.ndarray | None) -> dict[str, Any]:
    """A node's place and turn by a pose ``[4, 4]``."""
    if pose is None:
        return {}
    return {"translation": pose[:3, 3].tolist(), "rotation": _quaternion(pose).tolist()}


def _quaternion(pose: np.ndarray) -> np.ndarray:
    """``[4]`` (x, y, z, w) of a pose ``[4, 4]``."""
    w, x, y, z = quaternion_of_rotation(torch.from_numpy(pose[:3, :3].copy())).tolist()
    return np.array([x, y, z, w])


def _frame(file: Gltf, scene: Scene, t: int, picture: np.ndarray, step: int, options: GlbOptions) -> int | None:
    """A frame as a mesh of glTF, in its camera's axes; None where none of it is valid."""
    points, valid = (a[::step, ::step] for a in valid_points(scene, t))
    if options.kind == "points":
        return _points(file, points[valid], picture[::step, ::step][valid]) if valid.any() else None
    corners = triangles(points[..., 2], valid, options.jump)
    if not len(corners):
        return None
    used, corners = np.unique(corners, return_inverse=True)
    rows, columns = np.divmod(used, valid.shape[1])
    at = (np.stack([columns, rows], 1) * step + 0.5) / np.array(picture.shape[1::-1])
    small = len(used) < 2**16 - 1
    image = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), QUALITY, colorsubsampling="444")
    source = file.add("images", {"bufferView": file.view(image), "mimeType": "image/jpeg"})
    texture = file.add("textures", {"source": source})
    surface = {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": texture}, "metallicFactor": 0},
        "extensions": {"KHR_materials_unlit": {}},
        "doubleSided": True,
    }
    primitive = {
        "attributes": {
            "POSITION": file.array(points.reshape(-1, 3)[used], VERTICES, bounds=True),
            "TEXCOORD_0": file.array(at.astype(np.float32), VERTICES),
        },
        "indices": file.array(corners.reshape(-1).astype(np.uint16 if small else np.uint32), INDICES),
        "material": file.add("materials", surface),
    }
    return file.add("meshes", {"primitives": [primitive]})


def _points(file: Gltf, points: np.ndarray, rgb: np.ndarray) -> int:
    """Points ``[N, 3]`` with colours ``[N, 3]`` uint8 as a mesh of glTF."""
    light = np.ones((len(rgb), 4))
    light[:, :3] = LINEAR[rgb]
    attributes = {
        "POSITION": file.array(points.astype(np.float32), VERTICES, bounds=True),
        "COLOR_0": file.array((light * 65535).round().astype(np.uint16), VERTICES, normalized=True),
    }
    return file.add("meshes", {"primitives": [{"attributes": attributes, "mode": 0}]})


def _camera(file: Gltf, scene: Scene, t: int) -> int:
    """The node of a frame's camera."""
    height, width = scene.depth.shape[1:]
    k = np.asarray(scene.intrinsics[t], np.float64)
    lens = {"yfov": 2 * np.arctan(height / 2 / k[1, 1]), "aspectRatio": width / height * k[1, 1] / k[0, 0]}
    number = file.add("cameras", {"type": "perspective", "perspective": {**lens, "znear": 0.01}})
    pose = known_pose(scene, t)
    assert pose is not None
    return file.add("nodes", {"name": "camera", "camera": number, **_placed(pose @ FROM_OPENGL)})


def _animate(file: Gltf, scene: Scene, nodes: list[int], numbers: list[int], camera: int | None) -> None:
    """Show each frame from its time to the next one's, and move the camera."""
    times = (scene.times[numbers] - scene.times[numbers[0]]).astype(np.float64)
    times = np.maximum(times, np.arange(len(times)) * 1e-4)
    end = times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 1 / scene.fps)
    ends = [*times[1:], end]
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def animated(node: int, path: str, at: np.ndarray, values: np.ndarray, how: str) -> None:
        at_of = file.array(at.astype(np.float32), bounds=True)
        samplers.append({"input": at_of, "output": file.array(values.astype(np.float32)), "interpolation": how})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    for i, node in enumerate(nodes):
        last = i == len(nodes) - 1
        at = np.array([0.0, times[i], ends[i]][0 if i else 1 :])
        size = np.array([0.0, 1.0, 1.0 if last else 0.0][0 if i else 1 :])
        animated(node, "scale", at, np.repeat(size[:, None], 3, 1), "STEP")
        if i:
            file.parts["nodes"][node]["scale"] = [0, 0, 0]
    if camera is not None:
        poses = [pose @ FROM_OPENGL for t in numbers if (pose := known_pose(scene, t)) is not None]
        turns = np.stack([_quaternion(pose) for pose in poses])
        signs = np.sign((turns[1:] * turns[:-1]).sum(1))  # the shorter way from each to the next
        turns[1:] *= np.cumprod(np.where(signs == 0, 1, signs))[:, None]
        animated(camera, "translation", times, np.stack([pose[:3, 3] for pose in poses]), "LINEAR")
        animated(camera, "rotation", times, turns, "LINEAR")
    file.add("animations", {"name": "frames", "samplers": samplers, "channels": channels})
