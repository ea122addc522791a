"""USD: the points of all frames and the camera, animated. Samples go to disk frame by frame.

The stage is y up; what hangs on ``/Scene`` is in OpenCV's axes (y down, z forward), which that turns. A camera's focal
length and aperture are in tenths of a unit, as USD has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.export.colours import LINEAR, Colours
from geometrycrafter.export.formats import UsdOptions
from geometrycrafter.export.maps import known_pose, placed_frames, sensible_step
from geometrycrafter.export.nerfstudio import FROM_OPENGL
from geometrycrafter.export.ply import frame_cloud
from geometrycrafter.export.targets import library_writing
from geometrycrafter.export.world import told_unit
from geometrycrafter.scene import Scene

FILM = 0.36
"""Width of the film, in tenths of a unit: 36 mm where that is a metre."""
CLIPPING = 0.01, 1e6


def write_usd(scene: Scene, path: Path, options: UsdOptions | None = None, suffix: str = ".usd") -> Path:
    """Write a stage, in USD's binary form; memory holds one frame.

    Args:
        scene: to write.
        path: of the file.
        options: how densely, in which colours.
        suffix: of the file's name; what is in it is the same.

    Raises:
        InputError: where the library is missing, or poses are there and none is known.
    """
    options = options or UsdOptions()
    try:
        from pxr import Sdf, Usd
    except ImportError as error:
        raise InputError(f"export usd wants USD's library; {how_to_install('usd')}.") from error
    layer = Sdf.Layer.New(Sdf.FileFormat.FindById("usdc"), str(path.absolute()))
    stage = Usd.Stage.Open(layer)
    points, colours, camera = _begun(stage, scene)
    step = options.step or sensible_step(scene, len(scene))
    at = (np.asarray(scene.times, np.float64) - scene.times[0]) * scene.fps
    for t, picture in placed_frames(scene, Colours(scene, options)):
        places, rgb = frame_cloud(scene, t, picture, step)
        _show(points, colours, places, rgb, step * _spacing(scene, t, places), at[t])
        _aim(camera, scene, t, at[t])
        with library_writing():
            layer.Save()  # what is saved leaves the memory
    return path


def _begun(stage: Any, scene: Scene) -> tuple[Any, Any, Any]:
    """A stage with its root, no points yet, their colours, and a camera."""
    from pxr import Gf, Sdf, UsdGeom

    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(scene.fps)
    stage.SetFramesPerSecond(scene.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(float((scene.times[-1] - scene.times[0]) * scene.fps))
    root = UsdGeom.Xform.Define(stage, "/Scene")
    root.AddRotateXOp().Set(180.0)
    stage.SetDefaultPrim(root.GetPrim())
    root.GetPrim().SetCustomDataByKey("unit", told_unit(scene))
    points = UsdGeom.Points.Define(stage, "/Scene/Points")
    points.CreatePointsAttr()
    points.CreateWidthsAttr()
    points.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    kind = Sdf.ValueTypeNames.Color3fArray
    colours = UsdGeom.PrimvarsAPI(points).CreatePrimvar("displayColor", kind, UsdGeom.Tokens.vertex)
    camera = UsdGeom.Camera.Define(stage, "/Scene/Camera")
    camera.CreateClippingRangeAttr(Gf.Vec2f(*CLIPPING))
    camera.AddTransformOp()
    return points, colours, camera


def _spacing(scene: Scene, t: int, places: np.ndarray) -> np.ndarray:
    """How far apart pixels' points are that touch at their corners, at each of a frame's points ``[N, 3]``, ``[N]``."""
    pose = known_pose(scene, t)
    along = places[:, 2] if pose is None else (places - pose[:3, 3]) @ pose[:3, 2]
    focal = min(scene.intrinsics[t][0, 0], scene.intrinsics[t][1, 1])
    return np.asarray(2**0.5 * along / focal, np.float32)


def _show(points: Any, colours: Any, places: np.ndarray, rgb: np.ndarray, widths: np.ndarray, at: float) -> None:
    """A frame's points ``[N, 3]``, their widths ``[N]`` and colours ``[N, 3]`` uint8 at a time."""
    from pxr import Vt

    light = LINEAR[rgb].astype(np.float32)
    points.GetPointsAttr().Set(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(places, np.float32)), at)
    points.GetWidthsAttr().Set(Vt.FloatArray.FromNumpy(widths), at)
    colours.Set(Vt.Vec3fArray.FromNumpy(light), at)


def _aim(camera: Any, scene: Scene, t: int, at: float) -> None:
    """A frame's camera at a time."""
    from pxr import Gf

    height, width = scene.depth.shape[1:]
    (fx, _, cx), (_, fy, cy) = np.asarray(scene.intrinsics[t], np.float64)[:2]
    tall = FILM * height / width * fx / fy
    camera.CreateFocalLengthAttr().Set(FILM * fx / width, at)
    camera.CreateHorizontalApertureAttr().Set(FILM, at)
    camera.CreateVerticalApertureAttr().Set(tall, at)
    camera.CreateHorizontalApertureOffsetAttr().Set(FILM * (0.5 - (cx + 0.5) / width), at)
    camera.CreateVerticalApertureOffsetAttr().Set(tall * ((cy + 0.5) / height - 0.5), at)
    pose = known_pose(scene, t)
    matrix = (np.eye(4) if pose is None else pose) @ FROM_OPENGL
    camera.GetOrderedXformOps()[0].Set(Gf.Matrix4d(matrix.T.tolist()), at)  # rows are vectors there
