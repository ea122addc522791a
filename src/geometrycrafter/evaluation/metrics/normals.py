"""Accuracy of surface normals."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.metrics.valid import mask_of

TENTHS = 1801
"""Bins of a tenth of a degree, 0 to 180."""


def score_normals(points: Frames, gt_points: Frames, gt_mask: Frames, reach: int = 1) -> dict[str, float]:
    """Angle between the normals of two point maps, by central differences.

    Of sensors, differences between next neighbours are the sensor's own steps and noise more than the surface's slope:
    a longer reach says what a surface is like. With a reach of 1 normals count where the 3x3 neighbourhood is valid,
    with a longer one where the point and the four that it is compared by are.

    Args:
        points: ``[T, H, W, 3]``, any scale.
        gt_points: ``[T, H, W, 3]``.
        gt_mask: ``[T, H, W]`` bool.
        reach: pixels from a point to the neighbours that are taken.

    Returns:
        ``normal_mean`` and ``normal_median``, degrees (the median to a tenth, over all pixels of all frames), and
        ``normal_11``, the share below 11.25 degrees. A prediction that is not finite is 90 degrees off.

    Raises:
        InputError: where shapes disagree.
    """
    import torch

    from geometrycrafter.geometry.normals import crossed, eroded, normals_of

    if points.shape != gt_points.shape or gt_mask.shape != gt_points.shape[:-1]:
        raise InputError(
            f"points {list(points.shape)}, gt_points {list(gt_points.shape)} and gt_mask {list(gt_mask.shape)} "
            "disagree; give [T, H, W, 3] twice and [T, H, W]."
        )
    counts = np.zeros(TENTHS, np.int64)
    for t in range(len(gt_points)):
        a, b = (torch.from_numpy(np.asarray(x[t], np.float32)).permute(2, 0, 1)[None] for x in (points, gt_points))
        mask = torch.from_numpy(mask_of(gt_mask, t))[None, None]
        inside = (eroded(mask) if reach == 1 else crossed(mask, reach))[0, 0].numpy()
        cosine = (normals_of(a, reach) * normals_of(b, reach)).sum(1)[0].numpy()[inside]
        angle = np.degrees(np.arccos(np.clip(np.nan_to_num(cosine, nan=0.0), -1, 1)))
        counts += np.bincount(np.rint(angle * 10).astype(int), minlength=TENTHS)
    total = counts.sum()
    if not total:
        return dict.fromkeys(("normal_mean", "normal_median", "normal_11"), float("nan"))
    degrees = np.arange(TENTHS) / 10
    return {
        "normal_mean": float((counts * degrees).sum() / total),
        "normal_median": float(degrees[np.searchsorted(np.cumsum(counts), total / 2)]),
        "normal_11": float(counts[:113].sum() / total),
    }
