"""A scene of an RGB-D recording: depth as the sensor measured it, in metres; no network has a part in it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from geometrycrafter.data.formats import read_matrix
from geometrycrafter.data.recordings import Recording, Shot, read_depth
from geometrycrafter.data.transforms import resize_map
from geometrycrafter.errors import InputError
from geometrycrafter.files import appearing, explained, locked, on_disk
from geometrycrafter.inference.output import Output
from geometrycrafter.scene import Scene, open_scene
from geometrycrafter.scene.source import SourceRecord
from geometrycrafter.scene.writer import SceneWriter, check_apart
from geometrycrafter.settings import Intrinsics
from geometrycrafter.version import program_version
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource, open_frames

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress

SMALL = 320 * 256
"""Pixels of the copies of the pictures that the scene keeps, about."""


def recorded_scene(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    how: Reading | None = None,
    intrinsics: Intrinsics | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Scene:
    """Make a scene of a recording, frame by frame; it appears whole or not at all.

    Its camera, and its poses where it has any, come along; ``scene.unit`` is ``"m"``.

    Args:
        folder: with a picture and a depth map for each frame, as :class:`Recording` finds them.
        output: the scene's folder.
        how: which frames: ``start``, ``end`` and ``stride``; nothing else.
        intrinsics: fx, fy, cx, cy of the pictures; None: as a file in the folder has them.
        overwrite: replace a scene that is there.
        progress: called after each frame.

    Raises:
        InputError: where a file is missing, damaged or does not fit the others, or the output may not be written.
    """
    how = how or Reading()
    if how.making != Reading():
        raise InputError(f"{os.fspath(folder)}: of a recording, choose frames by --start, --end and --stride alone.")
    recording = Recording(on_disk(folder), intrinsics=intrinsics)
    shots = recording.shots()
    source = _pictures(recording, shots, how)
    chosen = shots[how.start : how.end : how.stride]
    place = Output(output)
    check_apart(place.named, place.folder, source.place)
    place.check(resume=False, overwrite=overwrite)
    with explained(place.named):
        place.folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.folder, "a scene is made"), explained(place.named), appearing(place.folder) as temporary:
        place.check(resume=False, overwrite=overwrite)
        _write(SceneWriter(temporary), recording, source, chosen, progress)
    return open_scene(place.folder)


def _pictures(recording: Recording, shots: list[Shot], how: Reading) -> FrameSource:
    """The recording's pictures as frames, which poses and exports find again."""
    parents = {shot.colour.parent for shot in shots}
    with warnings.catch_warnings(action="ignore"):  # depth maps beside the pictures are no surprise here
        source = open_frames(next(iter(parents)), how) if len(parents) == 1 else None
    if source is None or [Path(p).name for p in source.origin] != [shot.colour.name for shot in shots]:
        raise InputError(f"{recording.folder}: there are other pictures among the recording's; put them elsewhere.")
    return source


def _write(
    writer: SceneWriter, recording: Recording, source: FrameSource, shots: list[Shot], progress: Progress | None
) -> None:
    count, height, width = len(shots), source.height, source.width
    scale = min(1.0, (SMALL / (height * width)) ** 0.5)
    small = max(1, round(height * scale)), max(1, round(width * scale))
    depth = writer.array("depth", (count, height, width), np.float32)
    mask = writer.array("mask", (count, height, width), np.bool_)
    frames = writer.array("frames", (count, *small, 3), np.uint8)
    times, poses = [], []
    for t, (shot, (seconds, picture)) in enumerate(zip(shots, source.timed(), strict=True)):
        metres = _depth(recording, shot, (height, width))
        depth[t], mask[t] = metres, metres > 0
        frames[t] = _copy(picture, small)
        times.append(seconds)
        poses += [] if shot.pose is None else [_pose(shot.pose)]
        if progress is not None:
            progress("read", t + 1, count)
    k = recording.camera()
    writer.put("intrinsics", np.broadcast_to(k, (count, 3, 3)).copy())
    writer.put("times", np.array(times))
    if poses:
        found = np.stack(poses).astype(np.float32)
        known = np.asarray(np.isfinite(found).all((1, 2)))
        found[~known] = np.eye(4, dtype=np.float32)
        writer.put("pose_quality", known.astype(np.float32))
        writer.put("poses", found)
    camera = (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))
    about = {"model": "recorded", "unit": "m", "program": f"geometrycrafter {program_version()}"}
    writer.finish({"fps": source.fps, **SourceRecord.of(source, camera).stored(), **about})


def _pose(path: Path) -> np.ndarray:
    """A camera-to-world matrix ``[4, 4]``; NaN where the recorder had lost its place, and wrote what is not finite."""
    values = np.asarray(read_matrix(path), np.float64)
    return values if np.isfinite(values).all() else np.full((4, 4), np.nan)


def _depth(recording: Recording, shot: Shot, size: tuple[int, int]) -> np.ndarray:
    """Metres ``[H, W]`` at the pictures' size, 0 where the sensor saw nothing or what is too far."""
    depth = read_depth(shot.depth, recording.unit)
    with np.errstate(invalid="ignore"):
        depth[(depth > recording.farthest) | ~np.isfinite(depth) | (depth < 0)] = 0
    return np.asarray(resize_map(depth[None], *size)[0])


def _copy(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A small copy ``[h, w, 3]`` uint8."""
    values = picture if picture.dtype == np.uint8 else (picture * 255).round().astype(np.uint8)
    if values.shape[:2] == size:
        return values
    image = torch.from_numpy(values).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, size, mode="bilinear", antialias=True)
    return image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
