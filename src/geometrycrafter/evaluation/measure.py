"""All figures of a prediction of a clip, as a protocol wants them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation import metrics
from geometrycrafter.evaluation.clips import true_points
from geometrycrafter.evaluation.frames import Frames, FrameSequence
from geometrycrafter.evaluation.methods import Prediction
from geometrycrafter.evaluation.protocols import Protocol

NEAREST = 1e-3
"""Truth that is nearer is not scored where depth has a shift."""
LAGS = (8, 32)
"""Frames between those whose depth of still points is compared, beside neighbours."""


def measure(clip: Clip, prediction: Prediction, protocol: Protocol) -> dict[str, float]:
    """All figures of a prediction; not a number, or absent, where a kind of prediction has none.

    Args:
        clip: the truth.
        prediction: of every frame.
        protocol: weights and the maximum depth.

    Raises:
        InputError: where shapes disagree or not one pixel of the clip can be scored.
    """
    if protocol.poses:
        return _of_trajectory(clip, prediction)
    depth = prediction.depth
    if prediction.points is not None:
        depth = _each(prediction.points, lambda points: points[..., 2])
    figures: dict[str, float] = {}
    if not protocol.depth_only:
        if prediction.points is not None:
            figures |= _of_points(clip, prediction.points, prediction.focal, protocol.weighted)
            if prediction.confidence is not None:
                figures |= metrics.score_confidence(
                    prediction.points, true_points(clip), clip.mask, prediction.confidence, protocol.weighted
                )
        elif depth is not None:
            found = metrics.score_depth(
                clip.depth, clip.mask, depth, weighted=protocol.weighted, max_depth=np.inf, shift=False
            )
            figures |= {key: found[key] for key in ("depth_rel", "depth_inlier")}
    affine = _with_shift(clip, depth, prediction.disparity, protocol)
    figures |= {"affine_rel": affine["depth_rel"], "affine_inlier": affine["depth_inlier"]}
    figures |= {k: affine[k] for k in ("frames", "empty", "missing") if k not in figures}
    if depth is not None:
        figures |= metrics.score_boundaries(depth, clip.depth, clip.mask)
        figures |= _over_time(clip, depth)
        if len(clip) > 1:
            figures["drift"] = _or_nothing(lambda: metrics.drift(depth, clip.depth, clip.mask, clip.dynamic))
    return figures


def _of_trajectory(clip: Clip, prediction: Prediction) -> dict[str, float]:
    if clip.poses is None:
        raise InputError("the true poses of some of its frames are not known.")
    assert prediction.poses is not None  # methods of such protocols give them
    figures = metrics.score_trajectory(prediction.poses, clip.poses, prediction.known)
    return figures | {"known": figures["frames"] / len(clip)}


def _each(frames: Frames, change: Any) -> FrameSequence:
    """Frames ``[T, H, W, ...]`` to others ``[T, H, W]``."""
    return FrameSequence(tuple(frames.shape[:3]), lambda t: change(np.asarray(frames[t])))


def _of_points(clip: Clip, points: Frames, focal: np.ndarray | None, weighted: bool) -> dict[str, float]:
    truth, mask = true_points(clip), clip.mask
    figures = metrics.score_points(points, truth, mask, weighted)
    by_frame = metrics.score_points(points, truth, mask, weighted, alignment="frame")
    robust = metrics.score_points(points, truth, mask, weighted, robust=True)
    for suffix, found in (("frame", by_frame), ("l1", robust)):
        figures |= {f"{k}_{suffix}": found[k] for k in ("point_rel", "point_inlier")}
    figures |= metrics.score_normals(points, truth, mask)
    wide = metrics.score_normals(points, truth, mask, reach=max(2, round(clip.width / 50)))
    figures |= {f"{k}_wide": v for k, v in wide.items()}
    if focal is None:
        focal = np.array([metrics.focal_of_points(np.asarray(points[t]), mask[t]) for t in range(len(clip))])
    return figures | metrics.score_focal(focal, clip.intrinsics)


def _with_shift(clip: Clip, depth: Frames | None, disparity: Frames | None, protocol: Protocol) -> dict[str, float]:
    """With scale and shift, of depth, or of disparity where a method or a protocol speaks of that."""
    if protocol.depth_only and depth is not None:
        disparity = _each(depth, lambda d: 1 / np.maximum(d.astype(np.float64), NEAREST))
        depth = None
    scored = clip.mask & (clip.depth > NEAREST) & (clip.depth < protocol.max_depth)
    return metrics.score_depth(
        clip.depth, scored, depth, disparity, weighted=protocol.weighted, max_depth=protocol.max_depth
    )


def _over_time(clip: Clip, depth: Frames) -> dict[str, float]:
    if clip.poses is None or len(clip) < 2:
        return {}
    about = (depth, clip.depth, clip.mask, clip.intrinsics, clip.poses, clip.dynamic)
    figures = {"flicker": _or_nothing(lambda: metrics.flicker(*about))}
    for lag in LAGS:
        if lag < len(clip):
            figures[f"flicker_{lag}"] = _or_nothing(partial(metrics.flicker, *about, lag=lag))
    return figures | {"tae": _or_nothing(lambda: metrics.temporal_alignment_error(*about))}


def _or_nothing(measured: Callable[[], float]) -> float:
    """A figure; not a number where nothing is seen twice in this clip, or too little at all."""
    try:
        return measured()
    except InputError:
        return float("nan")
