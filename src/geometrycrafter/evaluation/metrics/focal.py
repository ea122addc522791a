"""Accuracy of the focal length."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def focal_of_points(points: np.ndarray, mask: np.ndarray) -> float:
    """The focal length that explains a point map best, the principal point being the middle.

    Args:
        points: ``[H, W, 3]``, camera axes, any scale.
        mask: ``[H, W]`` bool, the points that count; those that are not finite or not in front of the camera don't.

    Returns:
        pixels; not a number where no point, or none beside the axis, says anything.
    """
    height, width = mask.shape
    good = mask & np.isfinite(points).all(-1) & (points[..., 2] > 1e-6)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x - (width - 1) / 2, y - (height - 1) / 2], -1)[good]
    rays = points[good][:, :2].astype(np.float64) / points[good][:, 2:]
    square = float((rays * rays).sum())
    return float((pixels * rays).sum()) / square if square else float("nan")


def score_focal(focal: ArrayLike, gt_intrinsics: ArrayLike) -> dict[str, float]:
    """Error of the focal length.

    Args:
        focal: ``[T]`` pixels.
        gt_intrinsics: ``[T, 3, 3]`` pixels.

    Returns:
        ``focal_rel``, the mean of |f / f_true - 1|, f_true being the geometric mean of both axes; 1 where ``focal`` is
        not finite.
    """
    k = np.asarray(gt_intrinsics, np.float64)
    f = np.asarray(focal, np.float64)
    error = np.abs(f / np.sqrt(k[:, 0, 0] * k[:, 1, 1]) - 1)
    return {"focal_rel": float(np.where(np.isfinite(f), error, 1.0).mean())}
