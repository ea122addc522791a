"""Accuracy of depth with scale and shift (the paper, section 4.1), as the authors' evaluation computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.alignment import Line
from geometrycrafter.evaluation.metrics.alignment import alignment as aligned
from geometrycrafter.evaluation.metrics.points import INLIER, Extent
from geometrycrafter.evaluation.metrics.valid import Pixels, Tally, agree, pixels_of
from geometrycrafter.settings import Positive, value_of

NEAREST = 1e-3
"""Fitted depth is no less, in the unit of the truth."""


def score_depth(
    gt_depth: Frames,
    gt_mask: Frames,
    depth: Frames | None = None,
    disparity: Frames | None = None,
    weighted: bool = False,
    max_depth: float = 70.0,
    alignment: Extent = "clip",
    robust: bool = False,
    shift: bool = True,
) -> dict[str, float]:
    """Depth accuracy with one scale and one shift for the clip.

    Depth is fitted as ``s d + b`` to the true depth, disparity to its inverse, and inverted after; both by least
    squares over all frames. Errors are means over each frame's valid pixels, then over frames that have any.

    Args:
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.
        depth: ``[T, H, W]``, any scale and shift; or
        disparity: ``[T, H, W]``, inverse depth, any scale and shift.
        weighted: residuals of depth are divided by the true depth (Sintel, KITTI, Monkaa).
        max_depth: fitted depth is cut off there, in the unit of ``gt_depth``; infinity is nowhere.
        alignment: one scale and shift for the ``clip``, or one for each ``frame``, for comparison.
        robust: the sum of absolute residuals is minimised instead.
        shift: False: a scale alone.

    Returns:
        ``depth_rel``, the mean of |d - g| / g; ``depth_inlier``, the share of pixels whose ratio is below 1.25;
        ``scale``, ``shift`` and ``frames``, the number scored; ``empty``; ``missing``.

    Raises:
        InputError: where not exactly one prediction is given, shapes disagree, ``max_depth`` is no depth, the truth is
            not finite at a valid pixel, or no pixel is valid.
    """
    predicted = disparity if depth is None else depth
    if predicted is None or (depth is not None and disparity is not None):
        raise InputError("score_depth wants depth or disparity, one of the two.")
    agree(prediction=predicted, gt_depth=gt_depth, gt_mask=gt_mask)
    value_of(Positive, min(max_depth, 1e9), "max_depth")
    by_clip = value_of(Extent, alignment, "alignment") == "clip"
    inverse = disparity is not None

    def line_of(frames: Sequence[int]) -> Line:
        fit = aligned(shift, robust)
        for t in frames:
            x, y, good = pixels_of(predicted, gt_depth, gt_mask, t)
            near = 1 / np.maximum(y[good], 1e-6)
            fit.add(x[good], near if inverse else y[good], near if weighted and not inverse else None)
        return fit.solve()

    line = line_of(range(len(gt_depth))) if by_clip else Line(0.0)
    tally = Tally("depth_rel", "depth_inlier")
    for t in range(len(gt_depth)):
        pixels = pixels_of(predicted, gt_depth, gt_mask, t)
        if not by_clip and len(pixels.true):
            line = line_of([t])
        tally.add(pixels, **_errors(pixels, line, inverse, max_depth))
    return tally.means() | line._asdict()


def _errors(pixels: Pixels, line: Line, inverse: bool, max_depth: float) -> dict[str, np.ndarray]:
    """Of each valid pixel, ``[N]``."""
    x, truth, good = pixels
    fitted, truth = line.scale * np.where(good, x, 0) + line.shift, np.maximum(truth, 1e-9)
    found = 1 / np.maximum(fitted, 1 / max_depth) if inverse else fitted.clip(NEAREST, max_depth)
    ratio = np.maximum(found / truth, truth / found)
    return {
        "depth_rel": np.where(good, np.abs(found - truth) / truth, 1.0),
        "depth_inlier": (ratio < 1 + INLIER) & good,
    }
