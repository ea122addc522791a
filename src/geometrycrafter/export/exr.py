"""OpenEXR, a file a frame: depth, points, normals and mask as named layers, the camera in the header.

Points and normals are in the camera's axes: x right, y down, z forward. What is not valid is 0 in every layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.export.formats import ExrOptions
from geometrycrafter.export.maps import known_pose, normals, valid_points
from geometrycrafter.export.pictures import named
from geometrycrafter.export.targets import library_writing
from geometrycrafter.scene import Scene

LARGEST_HALF = 65504.0


def write_exr(scene: Scene, path: Path, options: ExrOptions | None = None) -> Path:
    """Write a folder of pictures; memory holds one frame.

    Args:
        scene: to write.
        path: of the folder.
        options: how exact values are.

    Raises:
        InputError: where the library is missing, or half floats can't hold a point.
    """
    options = options or ExrOptions()
    try:
        import OpenEXR
    except ImportError as error:
        raise InputError(f"export exr wants OpenEXR; {how_to_install('data')}.") from error
    path.mkdir(exist_ok=True)
    for t in range(len(scene)):
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **_camera(scene, t)}
        with OpenEXR.File(header, _layers(scene, t, options)) as file, library_writing():
            file.write(str(path / named(t, "exr")))
    return path


def _layers(scene: Scene, t: int, options: ExrOptions) -> dict[str, np.ndarray]:
    points, valid = valid_points(scene, t)
    kind = np.float16 if options.pixel == "half" else np.float32
    if options.pixel == "half" and np.abs(points).max(initial=0) > LARGEST_HALF:
        raise InputError(f"{scene.place}: frame {t} has points beyond 65504, which half floats end at; --pixel float.")
    along = normals(points, valid)
    layers = {"depth.Z": points[..., 2], "mask.A": valid}
    layers |= {f"points.{axis}": points[..., i] for i, axis in enumerate("XYZ")}
    layers |= {f"normals.{axis}": along[..., i] for i, axis in enumerate("XYZ")}
    return {name: np.ascontiguousarray(layer, kind) for name, layer in layers.items()}


def _camera(scene: Scene, t: int) -> dict[str, Any]:
    """The header's own entries; matrices are as written on paper, for columns ``[x, y, z, 1]``."""
    camera: dict[str, Any] = {
        "intrinsics": np.asarray(scene.intrinsics[t], np.float32),
        "axes": "x right, y down, z forward; pixel centres are integers",
        "unit": "metres" if scene.unit == "m" else "the scene's own",
        "frame": t,
        "time": float(scene.times[t]),
    }
    pose = known_pose(scene, t)
    return camera if pose is None else {**camera, "cameraToWorld": pose.astype(np.float32)}
