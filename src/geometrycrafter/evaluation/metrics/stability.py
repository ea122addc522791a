"""Steadiness over time: what still points do from frame to frame, the camera's own motion removed."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.alignment import LeastSquares
from geometrycrafter.evaluation.metrics.valid import agree, mask_of, pixels_of
from geometrycrafter.geometry.reprojection import follow
from geometrycrafter.settings import Positive, value_of


def flicker(
    depth: Frames,
    gt_depth: Frames,
    gt_mask: Frames,
    intrinsics: np.ndarray,
    poses: np.ndarray,
    moving: Frames | None = None,
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
    _check_motion(depth, gt_depth, gt_mask, poses)
    value_of(Positive, visible, "visible")
    total, count = 0.0, 0
    for t in range(len(depth) - 1):
        still, after_still = (_still(depth, gt_mask, moving, i) for i in (t, t + 1))
        truth, after_truth = np.asarray(gt_depth[t]), np.asarray(gt_depth[t + 1]).reshape(-1)
        landed = follow(truth, still, intrinsics[t], poses[t], intrinsics[t + 1], poses[t + 1])
        there = after_truth[landed.target]
        found = after_still.reshape(-1)[landed.target]
        found &= np.abs(np.where(found, there, 1) / landed.depth - 1) < visible
        source, target = landed.source[found], landed.target[found]
        before = np.asarray(depth[t]).reshape(-1)[source] / truth.reshape(-1)[source]
        after = np.asarray(depth[t + 1]).reshape(-1)[target] / after_truth[target]
        total += float(np.abs(np.log(after / before)).sum())
        count += int(found.sum())
    if not count:
        raise InputError("no still point is seen in two frames; the flicker of this clip can't be measured.")
    return total / count


def temporal_alignment_error(
    depth: Frames,
    gt_depth: Frames,
    gt_mask: Frames,
    intrinsics: np.ndarray,
    poses: np.ndarray,
    moving: Frames | None = None,
) -> float:
    """Temporal alignment error (Yang et al. 2024, Depth Any Video, section 4.1): how far a frame's depth, carried into
    its neighbour by the true motion, is from the neighbour's own.

    The relative error is taken forth and back for each pair of frames, and averaged. Depth must be in the unit of the
    poses: it is scaled to the truth first, by least squares over the clip.

    Args:
        depth: ``[T, H, W]``, any scale.
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.
        intrinsics: ``[T, 3, 3]`` true, pixels.
        poses: ``[T, 4, 4]`` true camera-to-world, in the unit of ``gt_depth``.
        moving: ``[T, H, W]`` bool, pixels to leave out.

    Returns:
        the error, relative (0.01 is 1 %).

    Raises:
        InputError: where shapes disagree or nothing is seen twice.
    """
    _check_motion(depth, gt_depth, gt_mask, poses)
    fit = LeastSquares(shift=False)
    for t in range(len(depth)):
        found, true, good = pixels_of(depth, gt_depth, gt_mask, t)
        fit.add(found[good], true[good])
    scale = fit.solve().scale
    errors = []
    for t in range(len(depth) - 1):
        for a, b in ((t, t + 1), (t + 1, t)):
            here, there = (_still(depth, gt_mask, moving, i) for i in (a, b))
            landed = follow(scale * np.asarray(depth[a]), here, intrinsics[a], poses[a], intrinsics[b], poses[b])
            both = there.reshape(-1)[landed.target]
            own = scale * np.asarray(depth[b]).reshape(-1)[landed.target[both]]
            if len(own):
                errors.append(float((np.abs(landed.depth[both] - own) / own).mean()))
    if not errors:
        raise InputError("nothing is seen in two frames; the temporal alignment of this clip can't be measured.")
    return float(np.mean(errors))


def _check_motion(depth: Frames, gt_depth: Frames, gt_mask: Frames, poses: np.ndarray) -> None:
    agree(depth=depth, gt_depth=gt_depth, gt_mask=gt_mask)
    if len(poses) != len(depth) or len(depth) == 1:
        raise InputError(
            f"depth {list(depth.shape)} and {len(poses)} poses: two frames or more are wanted, a pose each."
        )


def _still(depth: Frames, gt_mask: Frames, moving: Frames | None, t: int) -> np.ndarray:
    """Pixels that are known on both sides and don't move by themselves, ``[H, W]`` bool."""
    d = np.asarray(depth[t])
    still: np.ndarray = mask_of(gt_mask, t) & np.isfinite(d) & (d > 0)
    return still if moving is None else still & ~mask_of(moving, t)
