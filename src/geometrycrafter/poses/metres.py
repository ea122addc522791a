"""Depth and poses in metres: by distances that are known in the picture, or by a prior whose depth is in metres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.grid import Grid
from geometrycrafter.poses.estimation import Estimate
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera
from geometrycrafter.scene import Scene
from geometrycrafter.settings import Coordinate, Index, Range, Settings

LOOKED_AT = 9
"""Frames of a shot that a metric prior sees."""
Metres = Annotated[float, Range(1e-6, 1e9)]


@dataclass(frozen=True)
class Distance(Settings):
    """How far apart two things are that one frame shows."""

    x1: Coordinate
    y1: Coordinate
    x2: Coordinate
    y2: Coordinate
    metres: Metres
    frame: Index = 0

    @classmethod
    def of(cls, text: str) -> Distance:
        """From ``x1,y1,x2,y2,METRES`` or ``x1,y1,x2,y2,METRES@FRAME``.

        Raises:
            InputError: where the text is neither, or a number can't stand there.
        """
        numbers, _, frame = text.partition("@")
        try:
            values = [float(n) for n in numbers.split(",")]
            index = int(frame or "0")
        except ValueError:
            values, index = [], 0
        if len(values) != 5:
            raise InputError(f"{text!r}: give x1,y1,x2,y2,METRES or x1,y1,x2,y2,METRES@FRAME.")
        x1, y1, x2, y2, metres = values
        try:
            return cls(x1, y1, x2, y2, metres, index)
        except InputError as error:
            raise InputError(f"distance {text}: {error}") from error


def scales_of_distances(
    scene: Scene, found: Estimate | None, distances: Sequence[Distance], size: tuple[int, int] | None = None
) -> NDArray[np.float64]:
    """Metres in one unit of each frame's depth, ``[T]``.

    Args:
        scene: as predicted.
        found: its poses, with the depth as they have corrected it; None: as predicted.
        distances: in metres; several of one shot are averaged, as ratios.
        size: height and width of the pictures whose pixels they name; None: the scene's own.

    Raises:
        InputError: where a pixel has no depth, the two are one place, or a shot has no distance.
    """
    logs: dict[int, list[float]] = {}
    shots = [slice(*shot) for shot in scene.shots]
    for d in distances:
        if d.frame >= len(scene):
            raise InputError(f"the distance is in frame {d.frame}, but the scene has {len(scene)}; count from 0.")
        ends = [_point(scene, found, d.frame, xy, size) for xy in ((d.x1, d.y1), (d.x2, d.y2))]
        apart = float(np.linalg.norm(ends[0] - ends[1]))
        if not apart > 0:
            raise InputError(f"the distance in frame {d.frame} is between a place and itself; give two places.")
        shot = next(i for i, s in enumerate(shots) if s.start <= d.frame < s.stop)
        logs.setdefault(shot, []).append(float(np.log(d.metres / apart)))
    missing = [s for i, s in enumerate(shots) if i not in logs]
    if missing:
        raise InputError(
            f"each shot has a scale of its own, and frames {missing[0].start} to {missing[0].stop - 1} have no known "
            "distance; give one of each shot."
        )
    return np.concatenate([np.full(s.stop - s.start, np.exp(np.mean(logs[i]))) for i, s in enumerate(shots)])


def scales_of_prior(scene: Scene, found: Estimate, prior: ClipPrior, frames: Iterable[Any]) -> NDArray[np.float64]:
    """Metres in one unit of each frame's depth, ``[T]``: the middle of what a prior says of some frames of each shot.

    Args:
        scene: as predicted.
        found: its poses, with the depth as they have corrected it.
        prior: in metres; called with ``[1, 3, H, W]`` float in [0, 1] and the camera it gives points ``[1, H, W, 3]``
            and their mask ``[1, H, W]``.
        frames: of the video, ``[H, W, 3]`` uint8 each, in order.

    Raises:
        InputError: where the prior finds nothing in a shot.
    """
    wanted = {int(t): i for i, (a, b) in enumerate(scene.shots) for t in np.linspace(a, b - 1, LOOKED_AT)}
    logs: dict[int, list[float]] = {}
    for t, frame in enumerate(frames):
        if t not in wanted:
            continue
        depth, sound = _depth(scene, found, t)
        picture = torch.from_numpy(np.array(frame)).movedim(-1, 0)[None].float() / 255
        points, mask = prior(
            F.interpolate(picture, depth.shape, mode="bilinear", antialias=True), _camera(scene, found, t)
        )
        z = points[0, ..., 2].cpu().float().numpy()
        ratio = np.where(mask[0].cpu().numpy() & sound & (z > 0), z, np.nan) / np.where(sound, depth, 1)
        if np.isfinite(ratio).any():
            logs.setdefault(wanted[t], []).append(float(np.log(np.nanmedian(ratio))))
    shots = [slice(*shot) for shot in scene.shots]
    if len(logs) < len(shots):
        raise InputError("the prior finds no depth in a shot, so its unit is not known; give a distance instead.")
    return np.concatenate([np.full(s.stop - s.start, np.exp(np.median(logs[i]))) for i, s in enumerate(shots)])


def in_metres(found: Estimate, scales: NDArray[np.float64]) -> Estimate:
    """Poses, and the correction of depth, in metres.

    Args:
        found: in the scene's own unit.
        scales: ``[T]``, metres in one unit of each frame's depth.
    """
    poses, spread = found.poses.copy(), found.covariance.copy()
    poses[:, :3, 3] *= scales[:, None].astype(np.float32)
    spread[:, 3:] *= scales[:, None, None]
    spread[:, :, 3:] *= scales[:, None, None]
    before = np.zeros((len(scales), 1, 1)) if found.correction is None else found.correction
    correction = before + np.log(scales)[:, None, None]
    tracks = None if found.tracks is None else found.tracks.scaled(scales)
    return replace(found, poses=poses, covariance=spread, correction=correction, tracks=tracks, metres=scales)


def _depth(scene: Scene, found: Estimate | None, t: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Depth of a frame ``[H, W]`` as the motion has corrected it, and where it is known."""
    depth = np.array(scene.depth[t], np.float32)
    if found is not None and found.correction is not None:
        values = torch.from_numpy(np.asarray(found.correction[t], np.float32))
        depth *= Grid(*values.shape).picture(values.flatten(), *depth.shape).exp().numpy()
    return depth, np.asarray(scene.mask[t], bool) & np.isfinite(depth) & (depth > 0)


def _camera(scene: Scene, found: Estimate, t: int) -> KnownCamera | None:
    if scene.rays is not None:
        return None
    return KnownCamera(fov_x=2 * float(np.arctan(scene.depth.shape[2] / 2 / found.intrinsics[t, 0, 0])))


def _point(
    scene: Scene, found: Estimate | None, t: int, xy: tuple[float, float], size: tuple[int, int] | None
) -> NDArray[np.float64]:
    """The point ``[3]`` that a pixel sees, in its camera's axes.

    Raises:
        InputError: where it lies outside, or has no depth.
    """
    depth, sound = _depth(scene, found, t)
    height, width = size or depth.shape
    if not (0 <= xy[0] <= width - 1 and 0 <= xy[1] <= height - 1):
        raise InputError(f"{xy[0]:g},{xy[1]:g} lies outside of frames of {width}x{height}; give a pixel within.")
    x = (xy[0] + 0.5) * depth.shape[1] / width - 0.5
    y = (xy[1] + 0.5) * depth.shape[0] / height - 0.5
    column, row = (int(np.clip(round(v), 0, n - 1)) for v, n in ((x, depth.shape[1]), (y, depth.shape[0])))
    if not sound[row, column]:
        raise InputError(f"there is no depth at {xy[0]:g},{xy[1]:g} of frame {t}; give a pixel that has some.")
    if scene.rays is not None:
        ray = np.append(np.asarray(scene.rays[t], np.float64)[row, column], 1.0)
    else:
        k = np.asarray((scene if found is None else found).intrinsics[t], np.float64)
        ray = np.array([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], 1.0])
    return np.asarray(ray * float(depth[row, column]))
