"""Sharpness of depth edges."""

from __future__ import annotations

import numpy as np

from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.valid import agree, mask_of

THRESHOLDS = np.linspace(1.05, 1.25, 10)
"""Ratios of neighbouring depths that make an edge."""


def score_boundaries(depth: Frames, gt_depth: Frames, gt_mask: Frames) -> dict[str, float]:
    """Sharpness of depth edges, without alignment (Depth Pro, Bochkovskii et al. 2024, section 4).

    Between neighbours an edge is where the ratio of depths is above t; precision and recall compare the edges of both
    maps, each side of each of the four directions by itself. F1 is taken for ten thresholds t from 1.05 to 1.25 and
    averaged with t as weight. Pixel pairs count where both are valid.

    Args:
        depth: ``[T, H, W]``, any scale.
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.

    Returns:
        ``boundary_f1`` and ``boundary_recall``, means over frames that have an edge; ``boundary_frames``.

    Raises:
        InputError: where shapes disagree.
    """
    agree(depth=depth, gt_depth=gt_depth, gt_mask=gt_mask)
    weights = THRESHOLDS / THRESHOLDS.sum()
    f1s, recalls = [], []
    for t in range(len(gt_depth)):
        usable = mask_of(gt_mask, t) & (np.asarray(gt_depth[t]) > 0)
        ours, true = (_steps(np.asarray(d[t], np.float64), usable) for d in (depth, gt_depth))
        if (np.abs(true) > np.log(THRESHOLDS[-1])).any():
            scores = np.array([_agreement(ours, true, level) for level in np.log(THRESHOLDS)])
            f1, recall = weights @ scores
            f1s.append(f1)
            recalls.append(recall)
    return {
        "boundary_f1": float(np.mean(f1s)) if f1s else float("nan"),
        "boundary_recall": float(np.mean(recalls)) if f1s else float("nan"),
        "boundary_frames": float(len(f1s)),
    }


def _steps(depth: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Log ratios of all neighbours down and across that are both usable, ``[N]``."""
    logs = np.log(np.where(np.isfinite(depth) & (depth > 0), depth, 1.0))
    down, across = usable[1:] & usable[:-1], usable[:, 1:] & usable[:, :-1]
    return np.concatenate([np.diff(logs, axis=0)[down], np.diff(logs, axis=1)[across]])


def _agreement(ours: np.ndarray, true: np.ndarray, level: float) -> tuple[float, float]:
    """F1 and recall of the edges above a log ratio."""
    a = np.stack([ours > level, ours < -level])
    b = np.stack([true > level, true < -level])
    hit = (a & b).sum()
    return float(2 * hit / max(a.sum() + b.sum(), 1)), float(hit / max(b.sum(), 1))
