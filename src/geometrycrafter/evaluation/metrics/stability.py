"""Steadiness over time: what still points do from frame to frame, the camera's own motion removed.

Points are moved by torch, which loads when it is needed: the other metrics want numbers alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.alignment import LeastSquares
from geometrycrafter.evaluation.metrics.valid import agree, mask_of, pixels_of
from geometrycrafter.settings import Count, Positive, value_of

if TYPE_CHECKING:
    from torch import Tensor

PAIRS = 64
"""Of frames that are far apart, at most."""


def flicker(
    depth: Frames,
    gt_depth: Frames,
    gt_mask: Frames,
    intrinsics: np.ndarray,
    poses: np.ndarray,
    moving: Frames | None = None,
    visible: float = 0.02,
    lag: int = 1,
) -> float:
    """How much the depth of points that stand still changes from frame to frame, the camera's own motion removed.

    Each pixel's true point is followed into the next frame, or one that is ``lag`` frames later; the change is that of
    ``log(depth / true depth)`` along the way, so that perfect depth, and depth wrong by one factor for the whole clip,
    have none.

    Args:
        depth: ``[T, H, W]``, any scale.
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.
        intrinsics: ``[T, 3, 3]`` true, pixels.
        poses: ``[T, 4, 4]`` true camera-to-world, in the unit of ``gt_depth``.
        moving: ``[T, H, W]`` bool, pixels to leave out.
        visible: a point counts where the later frame's true depth is this close to its own, relative.
        lag: frames between the two that are compared. Beyond 1, 64 pairs are looked at, evenly spread, and no more.

    Returns:
        the mean absolute change, a relative one (0.01 is 1 %), over all points of all pairs of frames.

    Raises:
        InputError: where shapes disagree or no point is seen twice.
    """
    import torch

    from geometrycrafter.geometry.reprojection import follow

    _check_motion(depth, gt_depth, gt_mask, poses)
    value_of(Positive, visible, "visible")
    value_of(Count, lag, "lag")
    k, c = _frame(intrinsics), _frame(poses)
    total, count = 0.0, 0

    def seen(t: int) -> tuple[Tensor, Tensor, Tensor]:
        truth = _frame(gt_depth[t])
        return _still(depth, gt_mask, moving, t), truth, (_frame(depth[t]) / truth).log().flatten()

    later: tuple[int, tuple[Tensor, Tensor, Tensor]] | None = None
    for s in _pairs(len(depth), lag):
        t = s + lag
        # Neighbouring pairs share a frame, which is read once.
        before_still, before_truth, before_ratio = later[1] if later is not None and later[0] == s else seen(s)
        still, truth, ratio = seen(t)
        landed = follow(before_truth, before_still, k[s], c[s], k[t], c[t])
        # What is not still is at no depth, so that nothing is close to it.
        there = torch.where(still, truth, torch.nan).flatten()[landed.target]
        found = (there / landed.depth - 1).abs() < visible
        change = (ratio[landed.target] - before_ratio[landed.source]).abs()
        total += torch.where(found, change, 0.0).sum().item()
        count += int(found.sum())
        later = t, (still, truth, ratio)
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
    import torch

    from geometrycrafter.geometry.reprojection import follow

    _check_motion(depth, gt_depth, gt_mask, poses)
    fit = LeastSquares(shift=False)
    for t in range(len(depth)):
        found, true, good = pixels_of(depth, gt_depth, gt_mask, t)
        fit.add(found[good], true[good])
    scale = fit.solve().scale
    k, c = _frame(intrinsics), _frame(poses)
    errors: list[float] = []
    previous: tuple[Tensor, Tensor] | None = None
    for t in range(len(depth)):
        frame = _frame(depth[t]).mul_(scale), _still(depth, gt_mask, moving, t)
        if previous is not None:
            for (here, still), (there, still_there), a, b in ((previous, frame, t - 1, t), (frame, previous, t, t - 1)):
                landed = follow(here, still, k[a], c[a], k[b], c[b])
                # What is not still is at no depth, so that nothing is close to it.
                own = torch.where(still_there, there, torch.nan).flatten()[landed.target]
                error = (landed.depth - own).abs_().div_(own).nanmean().item()
                errors += [error] if math.isfinite(error) else []
        previous = frame
    if not errors:
        raise InputError("nothing is seen in two frames; the temporal alignment of this clip can't be measured.")
    return float(np.mean(errors))


def _pairs(frames: int, lag: int) -> list[int]:
    """Frames that are compared with later ones: all of them, or beyond a lag of 1 so many that are evenly spread."""
    firsts = max(frames - lag, 0)
    if lag == 1 or firsts <= PAIRS:
        return list(range(firsts))
    return [int(s) for s in np.linspace(0, firsts - 1, PAIRS).round()]


def _check_motion(depth: Frames, gt_depth: Frames, gt_mask: Frames, poses: np.ndarray) -> None:
    agree(depth=depth, gt_depth=gt_depth, gt_mask=gt_mask)
    if len(poses) != len(depth) or len(depth) == 1:
        raise InputError(
            f"depth {list(depth.shape)} and {len(poses)} poses: two frames or more are wanted, a pose each."
        )


def _frame(values: np.ndarray) -> Tensor:
    """Whatever array, in double precision."""
    import torch

    return torch.from_numpy(np.array(values, np.float64, order="C"))


def _still(depth: Frames, gt_mask: Frames, moving: Frames | None, t: int) -> Tensor:
    """Pixels that are known on both sides and don't move by themselves, ``[H, W]`` bool."""
    import torch

    d = np.asarray(depth[t])
    still: np.ndarray = mask_of(gt_mask, t) & np.isfinite(d) & (d > 0)
    return torch.from_numpy(still if moving is None else still & ~mask_of(moving, t))
