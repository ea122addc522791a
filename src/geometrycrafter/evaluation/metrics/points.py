"""Accuracy of point maps (the paper, section 4.1), as the authors' evaluation computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.alignment import alignment as aligned
from geometrycrafter.evaluation.metrics.valid import Pixels, Tally, length, pixels_of
from geometrycrafter.settings import value_of

FLOOR = 1e-2
"""Smallest denominator of a relative error."""
INLIER = 0.25
Extent = Literal["clip", "frame"]
"""What one scale is for."""


def score_points(
    points: Frames,
    gt_points: Frames,
    gt_mask: Frames,
    weighted: bool = False,
    alignment: Extent = "clip",
    robust: bool = False,
) -> dict[str, float]:
    """Point-map accuracy with one scale for the clip.

    The scale minimises ``sum w^2 |s p - q|^2`` over valid pixels of all frames, ``w`` being 1, or 1/z of the truth; the
    depth figures have a scale of their own, from the third coordinate alone. Errors are means over each frame's valid
    pixels, then over frames; frames without any are left out.

    Args:
        points: ``[T, H, W, 3]``, any scale.
        gt_points: ``[T, H, W, 3]``.
        gt_mask: ``[T, H, W]`` bool.
        weighted: by inverse depth (Sintel, KITTI, Monkaa).
        alignment: one scale for the ``clip``, or one for each ``frame``, for comparison.
        robust: the scale minimises ``sum w |s p - q|_1`` instead (as MoGe's evaluation does).

    Returns:
        ``point_rel``, the mean of |s p - q| / |q|; ``point_inlier``, the share of points where that is below 0.25;
        ``depth_rel`` and ``depth_inlier`` (ratio below 1.25) of depth; ``scale``, the points' (of the last frame where
        each has its own); ``frames``, the number scored; ``empty``; ``missing``.

    Raises:
        InputError: where shapes disagree, the truth is not finite at a valid pixel, or no pixel is valid.
    """
    if points.shape != gt_points.shape or gt_mask.shape != points.shape[:-1] or points.shape[-1:] != (3,):
        raise InputError(
            f"points {list(points.shape)}, gt_points {list(gt_points.shape)} and gt_mask "
            f"{list(gt_mask.shape)} disagree; "
            "give [T, H, W, 3] twice and [T, H, W]."
        )
    by_clip = value_of(Extent, alignment, "alignment") == "clip"

    def scales_of(frames: Sequence[int]) -> tuple[float, float]:
        whole, deep = aligned(False, robust), aligned(False, robust)
        for t in frames:
            p, q, good = pixels_of(points, gt_points, gt_mask, t)
            p, q = p[good], q[good]
            weight = 1 / np.maximum(q[:, 2], 1e-6) if weighted else None
            whole.add(p, q, weight)
            deep.add(p[:, 2], q[:, 2], weight)
        return whole.solve().scale, deep.solve().scale

    scales = scales_of(range(len(points))) if by_clip else (0.0, 0.0)
    tally = Tally("point_rel", "point_inlier", "depth_rel", "depth_inlier")
    for t in range(len(points)):
        pixels = pixels_of(points, gt_points, gt_mask, t)
        if not by_clip and len(pixels.true):
            scales = scales_of([t])
        tally.add(pixels, **_errors(pixels, *scales))
    means = tally.means()
    return means | {"scale": scales[0]}


def _errors(pixels: Pixels, scale: float, depth_scale: float) -> dict[str, np.ndarray]:
    """Of each valid pixel, ``[N]``."""
    p, q, good = pixels
    p = np.where(good[:, None], p, 0)
    point = length(scale * p - q) / np.maximum(length(q), FLOOR)
    z, truth = depth_scale * p[:, 2], q[:, 2]
    depth = np.abs(z - truth) / np.maximum(truth, FLOOR)
    ratio = np.maximum(z / np.maximum(truth, 1e-9), truth / np.where(np.abs(z) < 1e-9, 1e-9, z))
    point, depth = np.where(good, point, 1.0), np.where(good, depth, 1.0)
    return {
        "point_rel": point,
        "point_inlier": point < INLIER,
        "depth_rel": depth,
        "depth_inlier": (ratio < 1 + INLIER) & (z > 0) & good,
    }
