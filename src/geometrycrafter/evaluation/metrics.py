"""Metrics of the paper (section 4.1), as the authors' evaluation computes them."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.reprojection import follow

FLOOR = 1e-2
"""Smallest denominator of a relative error."""
INLIER = 0.25


def score_points(
    points: np.ndarray, gt_points: np.ndarray, gt_mask: np.ndarray, weighted: bool = False
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

    Returns:
        ``point_rel``, the mean of |s p - q| / |q|; ``point_inlier``, the share of points where that is below 0.25;
        ``depth_rel`` and ``depth_inlier`` (ratio below 1.25) of depth; ``scale``, the points', and ``frames``, the
        number scored.

    Raises:
        InputError: where shapes disagree or no pixel is valid.
    """
    if points.shape != gt_points.shape or gt_mask.shape != points.shape[:-1] or points.shape[-1:] != (3,):
        raise InputError(
            f"points {list(points.shape)}, gt_points {list(gt_points.shape)} and gt_mask "
            f"{list(gt_mask.shape)} disagree; "
            "give [T, H, W, 3] twice and [T, H, W]."
        )
    above, below = np.zeros(3), np.zeros(3)  # per axis
    for p, q, m in zip(points, gt_points, gt_mask, strict=True):
        a, b = p[m].astype(np.float64), q[m].astype(np.float64)
        w = 1 / np.maximum(b[:, 2:], 1e-6) if weighted else 1.0
        above += (w**2 * a * b).sum(0)
        below += (w**2 * a * a).sum(0)
    if below[2] == 0:
        raise InputError("no pixel of gt_mask is valid, or all points there are zero; nothing can be scored.")
    scale, depth_scale = above.sum() / below.sum(), above[2] / below[2]
    rows = []
    for p, q, m in zip(points, gt_points, gt_mask, strict=True):
        if not m.any():
            continue
        a, b = scale * p[m].astype(np.float64), q[m].astype(np.float64)
        point = np.linalg.norm(a - b, axis=-1) / np.maximum(np.linalg.norm(b, axis=-1), FLOOR)
        z, truth = a[:, 2] * (depth_scale / scale), b[:, 2]
        depth = np.abs(z - truth) / np.maximum(truth, FLOOR)
        ratio = np.maximum(z / np.maximum(truth, 1e-9), truth / np.where(np.abs(z) < 1e-9, 1e-9, z))
        inlier = (ratio < 1 + INLIER) & (z > 0)
        rows.append([point.mean(), (point < INLIER).mean(), depth.mean(), inlier.mean()])
    names = ("point_rel", "point_inlier", "depth_rel", "depth_inlier")
    means = np.mean(rows, axis=0)
    return dict(zip(names, map(float, means), strict=True)) | {"scale": float(scale), "frames": float(len(rows))}


def score_depth(
    gt_depth: np.ndarray,
    gt_mask: np.ndarray,
    depth: np.ndarray | None = None,
    disparity: np.ndarray | None = None,
    weighted: bool = False,
    max_depth: float = 70.0,
) -> dict[str, float]:
    """Depth accuracy with one scale and one shift for the clip.

    Depth is fitted as ``s d + b`` to the true depth; disparity to its inverse, and inverted after. Both minimise the
    sum of squares over valid pixels of all frames. Errors are means over each frame's valid pixels, then over frames;
    frames without any are left out.

    Args:
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.
        depth: ``[T, H, W]``, any scale and shift; or
        disparity: ``[T, H, W]``, inverse depth, any scale and shift.
        weighted: residuals of depth are divided by the true depth (Sintel, KITTI, Monkaa).
        max_depth: fitted depth is cut off there, in the unit of ``gt_depth``.

    Returns:
        ``depth_rel``, the mean of |d - g| / g; ``depth_inlier``, the share of pixels whose ratio is below 1.25;
        ``scale``, ``shift`` and ``frames``, the number scored.

    Raises:
        InputError: where not exactly one prediction is given, shapes disagree or no pixel is valid.
    """
    if (depth is None) == (disparity is None):
        raise InputError("score_depth wants depth or disparity, one of the two.")
    predicted: np.ndarray = disparity if depth is None else depth  # type: ignore[assignment]
    if predicted.shape != gt_depth.shape or gt_mask.shape != gt_depth.shape:
        raise InputError(
            f"prediction {list(predicted.shape)}, gt_depth {list(gt_depth.shape)} and gt_mask {list(gt_mask.shape)} "
            "disagree; give [T, H, W] three times."
        )
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for d, g, m in zip(predicted, gt_depth, gt_mask, strict=True):
        x, y = d[m].astype(np.float64), g[m].astype(np.float64)
        w = 1 / np.maximum(y, 1e-6) ** 2 if weighted else np.ones_like(y)
        if disparity is not None:
            y, w = 1 / np.maximum(y, 1e-6), np.ones_like(y)
        normal += [[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]]
        right += [(w * x * y).sum(), (w * y).sum()]
    if normal[1, 1] == 0:
        raise InputError("no pixel of gt_mask is valid; nothing can be scored.")
    scale, shift = np.linalg.lstsq(normal, right, rcond=None)[0]
    rows = []
    for d, g, m in zip(predicted, gt_depth, gt_mask, strict=True):
        if not m.any():
            continue
        fitted, truth = scale * d[m].astype(np.float64) + shift, np.maximum(g[m].astype(np.float64), 1e-9)
        fitted = fitted.clip(1e-3, max_depth) if disparity is None else 1 / np.maximum(fitted, 1 / max_depth)
        rows.append(
            [(np.abs(fitted - truth) / truth).mean(), (np.maximum(fitted / truth, truth / fitted) < 1.25).mean()]
        )
    rel, inlier = np.mean(rows, axis=0)
    return {
        "depth_rel": float(rel),
        "depth_inlier": float(inlier),
        "scale": float(scale),
        "shift": float(shift),
        "frames": float(len(rows)),
    }


def flicker(
    depth: np.ndarray,
    gt_depth: np.ndarray,
    gt_mask: np.ndarray,
    intrinsics: np.ndarray,
    poses: np.ndarray,
    moving: np.ndarray | None = None,
    visible: float = 0.02,
) -> float:
    """How much the depth of points that stand still changes from frame to frame, the camera's own motion removed.

    Each pixel's true point is followed into the next frame; the change is that of ``log(depth / true depth)`` along
    the way, so that perfect depth, and depth wrong by one factor for the whole clip, have none.

    Args:
        depth: ``[T, H, W]``, any scale.
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.
        intrinsics: ``[T, 3, 3]`` true, pixels.
        poses: ``[T, 4, 4]`` true camera-to-world, in the unit of ``gt_depth``.
        moving: ``[T, H, W]`` bool, pixels to leave out.
        visible: a point counts where the next frame's true depth is this close to its own, relative.

    Returns:
        the mean absolute change, a relative one (0.01 is 1 %), over all points of all pairs of frames.

    Raises:
        InputError: where shapes disagree or no point is seen twice.
    """
    if depth.shape != gt_depth.shape or gt_mask.shape != depth.shape or len(poses) != len(depth) != 1:
        raise InputError(f"depth {list(depth.shape)}, gt_depth {list(gt_depth.shape)} and poses disagree in shape.")
    still = gt_mask & (depth > 0) & (True if moving is None else ~moving)
    ratio = depth / np.maximum(gt_depth, 1e-9)
    total, count = 0.0, 0
    for t in range(len(depth) - 1):
        landed = follow(gt_depth[t], still[t], intrinsics[t], poses[t], intrinsics[t + 1], poses[t + 1])
        there = gt_depth[t + 1].reshape(-1)[landed.target]
        found = still[t + 1].reshape(-1)[landed.target]
        found &= np.abs(np.where(found, there, 1) / landed.depth - 1) < visible
        before = ratio[t].reshape(-1)[landed.source[found]]
        after = ratio[t + 1].reshape(-1)[landed.target[found]]
        total += float(np.abs(np.log(after / before)).sum())
        count += int(found.sum())
    if not count:
        raise InputError("no still point is seen in two frames; the flicker of this clip can't be measured.")
    return total / count
