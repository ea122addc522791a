"""Whether what stands still keeps its scale from the first frame of a clip to the last."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.valid import agree, mask_of


def drift(depth: Frames, gt_depth: Frames, gt_mask: Frames, moving: Frames | None = None) -> float:
    """How far the frames' scales are apart over a clip: the standard deviation of their median log ratios to the truth.

    Of what stands still: what walks into a clip may be off by another factor than what it hides, and no scale wanders.
    One factor for the whole clip, and what is wrong within a frame, have no part in it: that is left to the other
    metrics. Where :func:`flicker` looks at neighbouring frames, this is the same however slowly the scale wanders.

    Args:
        depth: ``[T, H, W]``, any scale.
        gt_depth: ``[T, H, W]``.
        gt_mask: ``[T, H, W]`` bool.
        moving: ``[T, H, W]`` bool, pixels to leave out.

    Returns:
        the deviation, a relative one (0.01 is 1 %); frames without such a pixel or a prediction are left out.

    Raises:
        InputError: where shapes disagree or fewer than two frames have valid pixels.
    """
    agree(depth=depth, gt_depth=gt_depth, gt_mask=gt_mask, **({} if moving is None else {"moving": moving}))
    medians = []
    for t in range(len(depth)):
        found, truth = np.asarray(depth[t], np.float64), np.asarray(gt_depth[t], np.float64)
        good = mask_of(gt_mask, t) & np.isfinite(found) & (found > 0)
        if moving is not None:
            good &= ~mask_of(moving, t)
        if good.any():
            medians.append(float(np.median(np.log(found[good] / truth[good]))))
    if len(medians) < 2:
        raise InputError(
            "fewer than two frames have valid depth that stands still; this clip's drift can't be measured."
        )
    return float(np.std(medians))
