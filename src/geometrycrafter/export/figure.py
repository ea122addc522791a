"""The paper's figures 1 and 2: frames of a clip, disparity by several methods, and their point clouds from the side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import ComparisonOptions
from geometrycrafter.export.mp4 import disparity_ranges
from geometrycrafter.export.targets import check_target, landing
from geometrycrafter.export.views import view_of_points
from geometrycrafter.files import appearing, explained
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

    A row of frames; for each scene a row of its disparity, coloured over each shot, and at the right its point cloud of
    the middle frame, turned about the vertical. Scenes may differ in size. Depth of all is brought to the first one's
    median over the frames that are shown of the middle one's shot.

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
    target = target_of_figure(path, *scenes)
    chosen = chosen_frames(scenes, names, options.frames)
    figure, axes = _grid(scenes[0], len(scenes) + 1, len(chosen) + 1)
    for axis, t in zip(axes[0], chosen):
        show(axis, Colours(scenes[0])[t], f"frame {t}")
    middle = chosen[len(chosen) // 2]
    alike = [t for t in chosen if any(first <= t < end and first <= middle < end for first, end in scenes[0].shots)]
    reference = _median(scenes[0], alike)
    for number, (row, scene, name) in enumerate(zip(axes[1:], scenes, names, strict=True)):
        title = f"points, turned {options.angle:.0f}°" if number == 0 else ""
        _draw_row(row, scene, name, chosen, reference / _median(scene, alike), options.angle, title)
    return save_figure(figure, target)


def target_of_figure(path: str | os.PathLike[str], *scenes: Scene) -> Path:
    """Where a figure of scenes is written.

    Raises:
        InputError: where it can't be, or the name is of no kind of figure.
    """
    target = check_target(path, *scenes)
    if target.suffix[1:].lower() not in KINDS:
        raise InputError(f"{target}: figures are written as {', '.join(KINDS)}; give such a name.")
    return target


def save_figure(figure: Any, target: Path) -> Path:
    """Write a figure; the file appears whole."""
    with explained(target), appearing(landing(target)) as temporary:
        figure.savefig(temporary, dpi=200, format=target.suffix[1:].lower())
    return target


def begin_figure(width: float, height: float) -> Any:
    """A figure of a size in inches.

    Raises:
        InputError: where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(f"compare wants matplotlib; {how_to_install('figures')}.") from error
    return Figure(figsize=(width, height), layout="compressed")


def chosen_frames(
    scenes: Sequence[Scene],
    names: Sequence[str],
    frames: tuple[int, ...] | None,
    shown: int = 4,
    span: tuple[int, int] | None = None,
) -> list[int]:
    """The frames that are shown: those named, else so many, evenly spread over the clip or a span of it.

    Raises:
        InputError: where scenes are of different lengths, or a frame is not there.
    """
    count = len(scenes[0])
    for scene, name in zip(scenes, names, strict=True):
        if len(scene) != count:
            raise InputError(f"{name}: {len(scene)} frames where {names[0]} has {count}; compare scenes of one video.")
    if not frames:
        first, end = span or (0, count)
        return sorted({round(x) for x in np.linspace(first, end - 1, min(shown, end - first))})
    if not all(t < count for t in frames):
        raise InputError(f"--frames {','.join(map(str, frames))}: the scenes have frames 0 to {count - 1}.")
    return list(frames)


def _grid(scene: Scene, down: int, across: int) -> tuple[Any, Any]:
    """A figure and its axes, ``[down, across]``, in the shape of a scene's frames."""
    height, width = scene.depth.shape[1:]
    tall = 2.6 * height / width
    figure = begin_figure(2.6 * across + 0.4, (tall + 0.06) * down + 0.3)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _draw_row(row: Any, scene: Scene, name: str, chosen: list[int], scale: float, angle: float, title: str) -> None:
    """A scene's disparity and its point cloud."""
    ranges = disparity_ranges(scene)
    for axis, t in zip(row, chosen):
        show(axis, disparity_picture(scene.depth[t], scene.mask[t], *ranges[t]))
    row[0].text(-0.03, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=8)
    middle = chosen[len(chosen) // 2]
    points, mask = scene.points[middle] * scale, scene.mask[middle]
    show(row[-1], view_of_points(points, mask, Colours(scene)[middle], angle), title)


def show(axis: Any, picture: np.ndarray, title: str = "", most: int = TILE) -> None:
    """Put a picture ``[H, W, 3]`` into an axis, thinned out to a width."""
    step = max(1, -(-picture.shape[1] // most))
    axis.imshow(picture[::step, ::step], interpolation="nearest")
    if title:
        axis.set_title(title, fontsize=8)


def _median(scene: Scene, frames: Sequence[int]) -> float:
    """Of the valid depth of some frames; 1 where there is none, or it is no scale."""
    valid = np.concatenate([scene.depth[t][scene.mask[t]] for t in frames])
    valid = valid[np.isfinite(valid)]
    median = float(np.median(valid)) if valid.size else 1.0
    return median if median > 0 else 1.0
