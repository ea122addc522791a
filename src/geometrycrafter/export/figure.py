"""The paper's figures 1 and 2: frames of a clip, disparity by several methods, and their point clouds from the side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import ComparisonOptions
from geometrycrafter.export.mp4 import disparity_range
from geometrycrafter.export.targets import check_target, landing
from geometrycrafter.files import appearing, explained
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import disparity_picture

TILE = 480
"""Width of a picture, pixels, at most."""
KINDS = ("png", "pdf", "svg")


def draw_comparison(
    scenes: Sequence[Scene],
    names: Sequence[str],
    path: str | os.PathLike[str],
    frames: Sequence[int] | None = None,
    angle: float = 25.0,
) -> Path:
    """Draw scenes of the same video side by side.

    A row of frames; for each scene a row of its disparity, coloured over the clip, and at the right its point cloud of
    the middle frame, turned about the vertical. Scenes may differ in size. Depth of all is brought to the first one's
    median over the frames that are shown.

    Args:
        scenes: of one video, as many frames each.
        names: one each.
        path: PNG, PDF or SVG.
        frames: which to show; None: four, evenly spread.
        angle: that point clouds are turned by, degrees.

    Raises:
        InputError: where the scenes are of different lengths, a frame is not there, the place can't be written, or
            matplotlib is not installed.
    """
    options = ComparisonOptions(None if frames is None else tuple(frames), angle)
    target = check_target(path, *scenes)
    kind = target.suffix[1:].lower()
    if kind not in KINDS:
        raise InputError(f"{target}: figures are written as {', '.join(KINDS)}; give such a name.")
    chosen = _chosen(scenes, names, options.frames)
    figure, axes = _grid(scenes[0], len(scenes) + 1, len(chosen) + 1)
    for axis, t in zip(axes[0], chosen):
        _show(axis, Colours(scenes[0])[t], f"frame {t}")
    reference = _median(scenes[0], chosen)
    for number, (row, scene, name) in enumerate(zip(axes[1:], scenes, names, strict=True)):
        title = f"points, turned {options.angle:.0f}°" if number == 0 else ""
        _draw_row(row, scene, name, chosen, reference / _median(scene, chosen), options.angle, title)
    with explained(target), appearing(landing(target)) as temporary:
        figure.savefig(temporary, dpi=200, format=kind)
    return target


def _chosen(scenes: Sequence[Scene], names: Sequence[str], frames: tuple[int, ...] | None) -> list[int]:
    """The frames that are shown."""
    count = len(scenes[0])
    for scene, name in zip(scenes, names, strict=True):
        if len(scene) != count:
            raise InputError(f"{name}: {len(scene)} frames where {names[0]} has {count}; compare scenes of one video.")
    if not frames:
        return sorted({round(x) for x in np.linspace(0, count - 1, min(4, count))})
    if not all(t < count for t in frames):
        raise InputError(f"--frames {','.join(map(str, frames))}: the scenes have frames 0 to {count - 1}.")
    return list(frames)


def _grid(scene: Scene, down: int, across: int) -> tuple[Any, Any]:
    """A figure and its axes, ``[down, across]``, in the shape of a scene's frames."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("compare wants matplotlib; pip install 'geometrycrafter[figures]'.") from error
    height, width = scene.depth.shape[1:]
    tall = 2.6 * height / width
    figure = Figure(figsize=(2.6 * across + 0.4, (tall + 0.06) * down + 0.3), layout="compressed")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _draw_row(row: Any, scene: Scene, name: str, chosen: list[int], scale: float, angle: float, title: str) -> None:
    """A scene's disparity and its point cloud."""
    low, high = disparity_range(scene)
    for axis, t in zip(row, chosen):
        _show(axis, disparity_picture(scene.depth[t], scene.mask[t], low, high))
    row[0].text(-0.03, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=8)
    middle = chosen[len(chosen) // 2]
    points, mask = scene.points[middle] * scale, scene.mask[middle]
    _show(row[-1], view_of_points(points, mask, Colours(scene)[middle], angle), title)


def _show(axis: Any, picture: np.ndarray, title: str = "") -> None:
    step = max(1, -(-picture.shape[1] // TILE))
    axis.imshow(picture[::step, ::step], interpolation="nearest")
    if title:
        axis.set_title(title, fontsize=8)


def _median(scene: Scene, frames: Sequence[int]) -> float:
    """Of the valid depth of some frames; 1 where there is none, or it is no scale."""
    valid = np.concatenate([scene.depth[t][scene.mask[t]] for t in frames])
    valid = valid[np.isfinite(valid)]
    median = float(np.median(valid)) if valid.size else 1.0
    return median if median > 0 else 1.0


def view_of_points(points: np.ndarray, mask: np.ndarray, picture: np.ndarray, angle: float) -> np.ndarray:
    """A point cloud from another side, ``[H, W, 3]`` uint8 on white, nearer points before farther ones.

    Args:
        points: ``[H, W, 3]`` in camera axes.
        mask: ``[H, W]`` bool.
        picture: ``[H, W, 3]`` uint8, the points' colours.
        angle: degrees about the vertical through the cloud's middle; the camera moves to the left.
    """
    height, width = mask.shape
    canvas = np.full((height, width, 3), 255, np.uint8)
    good = mask & np.isfinite(points).all(-1)
    if not good.any():
        return canvas
    p = points[good].astype(np.float64)
    far = np.quantile(p[:, 2], 0.95)
    kept = p[:, 2] <= far
    p, colour = p[kept], picture[good][kept]
    middle = np.median(p, axis=0)
    rotation = rigid.rotation_about("y", torch.deg2rad(torch.tensor(angle, dtype=torch.float64))).numpy()
    q = (p - middle) @ rotation.T
    q[:, 2] += 1.3 * middle[2]  # a step back, so that what stands out stays in view
    front = q[:, 2] > 0.05 * abs(middle[2])
    q, colour = q[front], colour[front]
    focal = 0.9 * width * middle[2] / max(np.ptp(p[:, 0]), 1e-9)
    focal = min(focal, 1.2 * width)
    u = np.rint(q[:, 0] / q[:, 2] * focal + width / 2).astype(int)
    v = np.rint(q[:, 1] / q[:, 2] * focal + height / 2).astype(int)
    order = np.argsort(-q[:, 2])
    for dy in (0, 1):
        for dx in (0, 1):  # a point is two pixels wide, so that surfaces close
            x, y = u[order] + dx, v[order] + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            canvas[y[inside], x[inside]] = colour[order][inside]
    return canvas
