"""Whether a method knows where it errs: error against confidence."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.alignment import alignment
from geometrycrafter.evaluation.metrics.points import FLOOR
from geometrycrafter.evaluation.metrics.valid import length, pixels_of

LEVELS = 1024
"""Confidences that are told apart, evenly between 0 and 1."""
KEPT = 0.8
TENTHS = 10


def score_confidence(
    points: Frames, gt_points: Frames, gt_mask: Frames, confidence: Frames, weighted: bool = False
) -> dict[str, float]:
    """Error of the points that a method is sure of, with the scale that fits all of them.

    Every valid pixel of the clip counts the same. What is missing counts as an error of 1, without confidence.

    Args:
        points: ``[T, H, W, 3]``, any scale.
        gt_points: ``[T, H, W, 3]``.
        gt_mask: ``[T, H, W]`` bool.
        confidence: ``[T, H, W]`` in [0, 1]; not a number counts as 0.
        weighted: by inverse depth, as in :func:`score_points`.

    Returns:
        ``confident_rel``, the mean of |s p - q| / |q| over the 80 % of the pixels with the highest confidence;
        ``confident_gain``, by which share that is less than over all; ``confident_rel_1`` to ``confident_rel_10``, the
        same mean over each tenth of the pixels, from the surest to the least sure. Pixels of equal confidence are
        counted in shares.

    Raises:
        InputError: where shapes disagree or no pixel is valid.
    """
    if confidence.shape != gt_mask.shape or points.shape[:-1] != gt_mask.shape or points.shape != gt_points.shape:
        raise InputError(
            f"points {list(points.shape)}, gt_points {list(gt_points.shape)}, gt_mask {list(gt_mask.shape)} and "
            f"confidence {list(confidence.shape)} disagree; give [T, H, W, 3] twice and [T, H, W] twice."
        )
    fit = alignment(shift=False, robust=False)
    for t in range(len(points)):
        p, q, good = pixels_of(points, gt_points, gt_mask, t)
        weight = 1 / np.maximum(q[good, 2], 1e-6) if weighted else None
        fit.add(p[good], q[good], weight)
    scale = fit.solve().scale
    errors, counts = np.zeros(LEVELS), np.zeros(LEVELS)
    for t in range(len(points)):
        p, q, good = pixels_of(points, gt_points, gt_mask, t)
        off = length(scale * np.where(good[:, None], p, 0) - q) / np.maximum(length(q), FLOOR)
        sure = np.nan_to_num(np.asarray(confidence[t], np.float64)[np.asarray(gt_mask[t], bool)]).clip(0, 1)
        level = np.where(good, (sure * (LEVELS - 1)).round(), 0).astype(int)
        errors += np.bincount(level, np.where(good, off, 1.0), LEVELS)
        counts += np.bincount(level, minlength=LEVELS)
    return _figures(errors[::-1], counts[::-1])


def _figures(errors: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """From sums ``[L]`` of errors and numbers of pixels, the surest first."""
    pixels = counts.sum()
    if not pixels:
        raise InputError("no pixel of gt_mask is valid; nothing can be scored.")
    reached = np.concatenate([[0.0], counts.cumsum() / pixels])
    summed = np.concatenate([[0.0], errors.cumsum() / pixels])

    def until(share: float) -> float:
        return float(np.interp(share, reached, summed))

    kept, every = until(KEPT) / KEPT, float(summed[-1])
    tenths = [(until((i + 1) / TENTHS) - until(i / TENTHS)) * TENTHS for i in range(TENTHS)]
    return {
        "confident_rel": kept,
        "confident_gain": 1 - kept / every if every else 0.0,
        **{f"confident_rel_{i}": value for i, value in enumerate(tenths, start=1)},
    }
