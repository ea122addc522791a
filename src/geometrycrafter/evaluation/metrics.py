"""Metrics of the paper (section 4.1), as the authors' evaluation computes them."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError

FLOOR = 1e-2
"""Smallest denominator of a relative error."""
INLIER = 0.25


def score_points(
    points: np.ndarray, gt_points: np.ndarray, gt_mask: np.ndarray, weighted: bool = False
) -> dict[str, float]:
    """Point-map accuracy with one scale for the clip.

    The scale minimises ``sum w |s p - q|^2`` over valid pixels of all frames, ``w`` being 1, or 1/z of the truth.
    Errors are means over each frame's valid pixels, then over frames; frames without any are left out.

    Args:
        points: ``[T, H, W, 3]``, any scale.
        gt_points: ``[T, H, W, 3]``.
        gt_mask: ``[T, H, W]`` bool.
        weighted: by inverse depth (Sintel, KITTI, Monkaa).

    Returns:
        ``point_rel``, the mean of |s p - q| / |q|; ``point_inlier``, the share of points where that is below 0.25;
        ``depth_rel`` and ``depth_inlier`` (ratio below 1.25) of the same aligned points' depth; ``scale`` and
        ``frames``, the number scored.

    Raises:
        InputError: where shapes disagree or no pixel is valid.
    """
    if points.shape != gt_points.shape or gt_mask.shape != points.shape[:-1] or points.shape[-1:] != (3,):
        raise InputError(
            f"points {list(points.shape)}, gt_points {list(gt_points.shape)} and gt_mask "
            f"{list(gt_mask.shape)} disagree; "
            "give [T, H, W, 3] twice and [T, H, W]."
        )
    above = below = 0.0
    for p, q, m in zip(points, gt_points, gt_mask, strict=True):
        a, b = p[m].astype(np.float64), q[m].astype(np.float64)
        w = 1 / np.maximum(b[:, 2:], 1e-6) if weighted else 1.0
        above += float((w * a * b).sum())
        below += float((w * a * a).sum())
    if below == 0:
        raise InputError("no pixel of gt_mask is valid, or all points there are zero; nothing can be scored.")
    scale = above / below
    rows = []
    for p, q, m in zip(points, gt_points, gt_mask, strict=True):
        if not m.any():
            continue
        a, b = scale * p[m].astype(np.float64), q[m].astype(np.float64)
        point = np.linalg.norm(a - b, axis=-1) / np.maximum(np.linalg.norm(b, axis=-1), FLOOR)
        z, truth = a[:, 2], b[:, 2]
        depth = np.abs(z - truth) / np.maximum(truth, FLOOR)
        ratio = np.maximum(z / np.maximum(truth, 1e-9), truth / np.where(np.abs(z) < 1e-9, 1e-9, z))
        inlier = (ratio < 1 + INLIER) & (z > 0)
        rows.append([point.mean(), (point < INLIER).mean(), depth.mean(), inlier.mean()])
    names = ("point_rel", "point_inlier", "depth_rel", "depth_inlier")
    means = np.mean(rows, axis=0)
    return dict(zip(names, map(float, means), strict=True)) | {"scale": scale, "frames": float(len(rows))}
