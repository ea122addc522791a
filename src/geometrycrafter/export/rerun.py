"""Rerun's recordings: points, cameras and pictures, frame by frame, on two timelines, ``frame`` and ``time``."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import RerunOptions
from geometrycrafter.export.maps import known_pose, placed_frames, sensible_step
from geometrycrafter.export.ply import frame_cloud
from geometrycrafter.export.targets import library_writing
from geometrycrafter.export.world import told_unit
from geometrycrafter.scene import Scene

QUALITY = 92
ROOM = 2**21
"""Bytes that the disk must have besides a frame's own: the library may wait for ever where it is full."""


def write_rerun(scene: Scene, path: Path, options: RerunOptions | None = None) -> Path:
    """Write a recording; memory holds a few frames.

    Args:
        scene: to write.
        path: of the file.
        options: how densely, in which colours.

    Raises:
        InputError: where the library is missing, or poses are there and none is known.
    """
    options = options or RerunOptions()
    try:
        import rerun as rr
    except ImportError as error:
        raise InputError(f"export rerun wants Rerun's library; {how_to_install('rerun')}.") from error
    step = options.step or sensible_step(scene, len(scene))
    stream = rr.RecordingStream("geometrycrafter")
    for automatic in (stream.set_log_time_enabled, stream.set_log_tick_enabled):
        automatic(False)
    _check_room(path, 0)
    stream.save(path)
    try:
        stream.log("world", rr.ViewCoordinates.RDF, static=True)
        stream.log("about", rr.TextDocument(f"{scene.place}, in {told_unit(scene)}"), static=True)
        for t, picture in placed_frames(scene, Colours(scene, options)):
            stream.set_time("frame", sequence=t)
            stream.set_time("time", duration=float(scene.times[t] - scene.times[0]))
            points, rgb = frame_cloud(scene, t, picture, step)
            _check_room(path, points.nbytes + rgb.nbytes + picture.nbytes)
            stream.log("world/points", rr.Points3D(points, colors=rgb))
            _camera(stream, scene, t, picture)
            with library_writing():
                stream.flush()
    finally:
        stream.disconnect()
    return path


def _check_room(path: Path, size: int) -> None:
    """See that so many bytes can still be written.

    Raises:
        OSError: where they can't.
    """
    if shutil.disk_usage(path.parent).free < size + ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _camera(stream: Any, scene: Scene, t: int, picture: np.ndarray) -> None:
    """A frame's camera, and what it sees ``[H, W, 3]`` uint8."""
    import rerun as rr

    pose = known_pose(scene, t)
    if pose is not None:
        stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    k = np.asarray(scene.intrinsics[t], np.float64).copy()
    k[:2, 2] += 0.5  # its pixels' centres are at halves
    height, width = scene.depth.shape[1:]
    stream.log("world/camera", rr.Pinhole(image_from_camera=k, width=width, height=height))
    image = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), QUALITY, colorsubsampling="444")
    stream.log("world/camera/image", rr.EncodedImage(contents=image, media_type="image/jpeg"))
