"""The paper's figures 1 and 2: frames of a clip, disparity by several methods, and their point clouds from the side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.mp4 import disparity_range
from geometrycrafter.export.ply import colours
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import disparity_picture

TILE = 480
"""Width of a picture, pixels, at most."""


def draw_comparison(
    scenes: Sequence[Scene],
    names: Sequence[str],
    path: Path,
    frames: Sequence[int] | None = None,
    angle: float = 25.0,
) -> Path:
    """Draw scenes of the same video side by side.

    A row of frames; for each scene a row of its disparity, coloured over the clip, and at the right its point cloud of
    the middle frame, turned about the vertical. Depth of all scenes is brought to the first one's median.

    Args:
        scenes: of one video, as many frames each.
        names: one each.
        path: PNG, PDF or SVG.
        frames: which to show; None: four, evenly spread.
        angle: that point clouds are turned by, degrees.

    Raises:
        InputError: where the scenes are of different lengths, a frame is not there, or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("compare wants matplotlib; pip install 'geometrycrafter[figures]'.") from error
    count = len(scenes[0])
    for scene, name in zip(scenes, names, strict=True):
        if len(scene) != count:
            raise InputError(f"{name}: {len(scene)} frames where {names[0]} has {count}; compare scenes of one video.")
    chosen = list(frames) if frames else sorted({round(x) for x in np.linspace(0, count - 1, min(4, count))})
    if not all(0 <= t < count for t in chosen):
        raise InputError(f"--frames {','.join(map(str, chosen))}: the scenes have frames 0 to {count - 1}.")
    middle = chosen[len(chosen) // 2]
    height, width = scenes[0].depth.shape[1:]
    across, down = len(chosen) + 1, len(scenes) + 1
    tall = 2.6 * height / width
    figure = Figure(figsize=(2.6 * across + 0.4, (tall + 0.06) * down + 0.3), layout="compressed")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    step = max(1, -(-width // TILE))

    def show(axis: Any, picture: np.ndarray, title: str = "") -> None:
        axis.imshow(picture, interpolation="nearest")
        if title:
            axis.set_title(title, fontsize=8)

    for column, t in enumerate(chosen):
        show(axes[0][column], colours(scenes[0], t)[::step, ::step], f"frame {t}")
    reference = _median(scenes[0], middle)
    for row, (scene, name) in enumerate(zip(scenes, names, strict=True), 1):
        low, high = disparity_range(scene)
        for column, t in enumerate(chosen):
            picture = disparity_picture(scene.depth[t], scene.mask[t], low, high)
            show(axes[row][column], picture[::step, ::step])
        axes[row][0].text(
            -0.03, 0.5, name, transform=axes[row][0].transAxes, rotation=90, ha="right", va="center", fontsize=8
        )
        scale = reference / _median(scene, middle)
        cloud = view_of_points(scene.points[middle] * scale, scene.mask[middle], colours(scene, middle), angle)
        show(axes[row][-1], cloud[::step, ::step], f"points, turned {angle:.0f}°" if row == 1 else "")
    try:
        figure.savefig(path, dpi=200)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the figure can't be written there ({error}).") from error
    return path


def _median(scene: Scene, t: int) -> float:
    depth, mask = scene.depth[t], scene.mask[t]
    return float(np.median(depth[mask])) if mask.any() else 1.0


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
