"""The paper's figures 3 and 4: point maps of eight frames in world axes, with their cameras, in two views."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.figure import begin_figure, chosen_frames, save_figure, show, target_of_figure
from geometrycrafter.export.formats import ComparisonOptions
from geometrycrafter.export.views import FARTHEST, View, view_of_world
from geometrycrafter.export.world import World, off_edges
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene

SHOWN = 8
"""Point maps, where none are named."""
MOST = 400_000
"""Points that are drawn of a frame, about."""
ABOVE = 20.0
"""Degrees from above, in the second view."""
WIDTH, HEIGHT = 1200, 800
"""Of a view, pixels."""
TITLE = 40
"""Rows above a cloud, for the title."""
FIRST, LAST = np.array([40, 90, 200]), np.array([220, 60, 40])
"""Colours of the cameras, from the first frame to the last."""


def draw_world(
    scenes: Sequence[Scene],
    names: Sequence[str],
    path: str | os.PathLike[str],
    frames: Sequence[int] | None = None,
    angle: float = 25.0,
) -> Path:
    """Draw scenes of the same video in their worlds.

    A row of the frames; for each scene two views of the point maps of all of them in world axes, what moves included,
    with the cameras from blue to red: one from where the camera was in the middle of the clip, and one from above,
    turned about the vertical.

    Args:
        scenes: of one video, as many frames each, with poses.
        names: one each.
        path: PNG, PDF or SVG.
        frames: which to show, of one shot; None: eight, evenly spread over the longest.
        angle: that the second view is turned by, degrees.

    Raises:
        InputError: where a scene has no poses, they are of different lengths, a frame is not there or has no pose, the
            place can't be written, or matplotlib is not installed.
    """
    options = ComparisonOptions(None if frames is None else tuple(frames), angle)
    target = target_of_figure(path, *scenes)
    spans = scenes[0].shots
    shot = max(range(len(spans)), key=lambda s: spans[s][1] - spans[s][0])
    if options.frames:
        shot = next((s for s, (first, end) in enumerate(spans) if first <= options.frames[0] < end), shot)
    chosen = chosen_frames(scenes, names, options.frames, SHOWN, spans[shot])
    worlds = [World(scene, shot) for scene in scenes]
    for world in worlds:
        missing = next((t for t in chosen if t not in world.frames), None)
        if missing is not None:
            raise InputError(
                f"{world.scene.place}: the pose of frame {missing} is not known; choose others by --frames."
            )
    views = [_views(world, chosen, (View(0.0), View(options.angle, ABOVE))) for world in worlds]
    height, width = scenes[0].depth.shape[1:]
    heights = [12 / len(chosen) * height / width, *(6 * v[0].shape[0] / v[0].shape[1] for v in views)]
    figure = begin_figure(12.4, sum(heights) + 0.4)
    grid = figure.add_gridspec(len(heights), 2 * len(chosen), height_ratios=heights)
    for i, t in enumerate(chosen):
        show(_axis(figure, grid[0, 2 * i : 2 * i + 2]), Colours(scenes[0])[t], f"frame {t}")
    for row, (pictures, name) in enumerate(zip(views, names, strict=True)):
        titles = ("from the middle camera", f"turned by {options.angle:.0f}°, from above")
        for half, (picture, title) in enumerate(zip(pictures, titles)):
            axis = _axis(figure, grid[row + 1, half * len(chosen) : (half + 1) * len(chosen)])
            show(axis, picture, most=WIDTH)
            axis.text(0.01, 0.99, title, transform=axis.transAxes, va="top", fontsize=8)
            if half == 0:
                told = f"the cameras' path: {_path(scenes[row], chosen):.3g} {scenes[row].unit or 'of its own unit'}"
                axis.text(0.01, 0.01, told, transform=axis.transAxes, va="bottom", fontsize=7)
                axis.text(-0.01, 0.5, name, transform=axis.transAxes, rotation=90, ha="right", va="center", fontsize=8)
    return save_figure(figure, target)


def _path(scene: Scene, chosen: Sequence[int]) -> float:
    """How long the way of the cameras is, from the first chosen frame to the last."""
    assert scene.poses is not None
    places = np.asarray(scene.poses[:], np.float64)[chosen[0] : chosen[-1] + 1, :3, 3]
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def _axis(figure: Any, place: Any) -> Any:
    axis = figure.add_subplot(place)
    axis.set_axis_off()
    return axis


def _views(world: World, chosen: Sequence[int], views: Sequence[View]) -> list[np.ndarray]:
    """Pictures ``[h, WIDTH, 3]`` of a world from several sides, without the rows that are white in all."""
    points, rgb, lines = _cloud(world, chosen)
    pictures = [view_of_world(points, rgb, view, HEIGHT, WIDTH, lines) for view in views]
    rows = np.flatnonzero((np.stack(pictures) < 255).any((0, 2, 3)))
    kept = slice(max(rows[0] - TITLE, 0), rows[-1] + 1) if len(rows) else slice(None)
    return [picture[kept] for picture in pictures]


def _cloud(world: World, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Points ``[N, 3]`` of frames and outlines of their cameras, in the middle one's axes, colours ``[N, 3]``, and how
    many of the points are of outlines, which come last."""
    scene = world.scene
    back = rigid.inverse(torch.from_numpy(world.poses[chosen[len(chosen) // 2]]))
    height, width = scene.depth.shape[1:]
    step = max(1, round((height * width / MOST) ** 0.5))
    colours, points, rgb, depths = Colours(scene), [], [], []
    for t in chosen:
        depth = scene.depth[t]
        good = np.asarray(scene.mask[t], bool) & np.isfinite(depth) & (depth > 0)
        if good.any():
            good &= depth <= np.quantile(depth[good], FARTHEST)
        good = off_edges(depth, good)[::step, ::step]
        points.append(world.points(t)[::step, ::step][good])
        rgb.append(colours[t][::step, ::step][good])
        depths.append(depth[::step, ::step][good])
    size = 0.06 * float(np.median(np.concatenate(depths))) if any(map(len, depths)) else 1.0
    lines = 0
    for i, t in enumerate(chosen):
        outline = rigid.apply(torch.from_numpy(world.poses[t]), torch.from_numpy(_frustum(scene, t, size))).numpy()
        lines += len(outline)
        share = i / max(len(chosen) - 1, 1)
        points.append(outline)
        rgb.append(np.broadcast_to((FIRST + share * (LAST - FIRST)).astype(np.uint8), outline.shape))
    whole = rigid.apply(back, torch.from_numpy(np.concatenate(points))).numpy()
    return whole, np.concatenate(rgb), lines


def _frustum(scene: Scene, t: int, size: float) -> np.ndarray:
    """Edges of a camera's pyramid of a depth, as points ``[N, 3]`` in its axes."""
    height, width = scene.depth.shape[1:]
    k = np.linalg.inv(np.asarray(scene.intrinsics[t], np.float64))
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]) @ k.T * size
    ends = [(np.zeros(3), c) for c in corners] + [(corners[i], corners[i - 1]) for i in range(4)]
    along = np.linspace(0, 1, 200)[:, None]
    return np.concatenate([a + along * (b - a) for a, b in ends])
