"""Metrics of point maps and depth. The paper's (section 4.1) are computed as the authors' evaluation does.

Arrays are ``[T, ...]``; anything that has a shape and gives one frame after another will do in their place, so that
no more than a frame is in memory (two passes are made: one aligns, one measures).

Two rules hold everywhere. A frame whose truth has no valid pixel is left out and counted (``empty``). A prediction that
is not finite at a valid pixel takes no part in the alignment, has an error of 1 (100 %) and is no inlier; ``missing``
is the share of such pixels. A prediction can't win by leaving out what is hard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.normals import eroded, normals_of
from geometrycrafter.geometry.reprojection import follow

FLOOR = 1e-2
"""Smallest denominator of a relative error."""
INLIER = 0.25
SAMPLE = 2**20
"""Pixels that a robust alignment looks at, evenly taken from all; exact where a clip has no more."""
Alignment = Literal["clip", "frame"]


class FrameSequence:
    """Frames that are computed when they are asked for, in an array's place."""

    def __init__(self, shape: tuple[int, ...], read: Callable[[int], np.ndarray]):
        self.shape, self._read = shape, read

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(index)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(t) for t in range(len(self)))


class _Fit:
    """Scale, and shift where wanted, that bring x to y: weighted least squares, or least absolute errors."""

    def __init__(self, shift: bool, robust: bool, expected: int):
        self.shift, self.robust, self.every = shift, robust, max(1, -(-expected // SAMPLE))
        self.normal, self.right = np.zeros((2, 2)), np.zeros(2)
        self.sample: list[np.ndarray] = []

    def add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | float) -> None:
        """Values to be fitted; the residual of each counts ``weight`` times (its square ``weight`` squared times)."""
        if self.robust:
            rows = np.stack(np.broadcast_arrays(x, y, weight))
            self.sample.append(rows[:, :: self.every])
        w = np.broadcast_to(np.square(weight), x.shape)
        weighted = x * w
        self.normal[0, 0] += weighted @ x
        self.right[0] += weighted @ y
        if self.shift:
            self.normal += [[0, weighted.sum()], [weighted.sum(), w.sum()]]
            self.right[1] += w @ y

    def solve(self) -> tuple[float, float]:
        """Scale and shift."""
        if not self.shift:
            scale, shift = (self.right[0] / self.normal[0, 0] if self.normal[0, 0] else 0.0), 0.0
        else:
            scale, shift = np.linalg.lstsq(self.normal, self.right, rcond=None)[0]
        if self.robust and self.sample:
            x, y, w = np.concatenate(self.sample, axis=1)
            scale, shift = (
                _least_absolute(x, y, w, float(scale), float(shift)) if self.shift else (_median(x, y, w), 0.0)
            )
        return float(scale), float(shift)


def _median(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """The scale of least absolute errors: a median of ratios, each weighted by how much it moves its residual."""
    return _median_of_ratios(x, y, weight)[0]


def _median_of_ratios(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, int]:
    """The scale that minimises ``sum weight |scale x - y|``, and the place of the ratio that it is."""
    used = np.flatnonzero(weight * np.abs(x) > 0)
    if not len(used):
        return 0.0, 0
    ratio = y[used] / x[used]
    order = np.argsort(ratio)
    total = np.cumsum((weight * np.abs(x))[used][order])
    found = order[np.searchsorted(total, total[-1] / 2)]
    return float(ratio[found]), int(used[found])


def _least_absolute(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, scale: float, shift: float
) -> tuple[float, float]:
    """Scale and shift of least absolute errors, from those of least squares.

    A best line goes through two of the points. A few reweighted least squares come near it; then lines turn about one
    point to the best slope, which another point has, and about that one in turn, while the sum falls (Wesolowsky 1981).
    """
    for _ in range(10):
        residual = np.abs(scale * x + shift - y)
        w = weight / np.maximum(residual, max(0.1 * float(np.median(residual)), 1e-12))
        normal = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])
        scale, shift = np.linalg.lstsq(normal, np.array([(w * x * y).sum(), (w * y).sum()]), rcond=None)[0]
    cost = np.inf
    pivot = int(np.argmin(np.abs(scale * x + shift - y)))
    for _ in range(100):
        turned, following = _median_of_ratios(x - x[pivot], y - y[pivot], weight)
        offset = y[pivot] - turned * x[pivot]
        total = float((weight * np.abs(turned * x + offset - y)).sum())
        if total >= cost * (1 - 1e-12):
            break
        scale, shift, cost, pivot = turned, float(offset), total, following
    return float(scale), float(shift)


def _agree(**arrays: Any) -> None:
    """Stop where arrays have different shapes."""
    if len({tuple(a.shape) for a in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
        raise InputError(f"{shapes}: these should have one shape, [T, H, W].")


def score_points(
    points: Any,
    gt_points: Any,
    gt_mask: Any,
    weighted: bool = False,
    alignment: Alignment = "clip",
    robust: bool = False,
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
        alignment: one scale for the ``clip``, or one for each ``frame``, for comparison.
        robust: the scale minimises ``sum w |s p - q|_1`` instead (as MoGe's evaluation does).

    Returns:
        ``point_rel``, the mean of |s p - q| / |q|; ``point_inlier``, the share of points where that is below 0.25;
        ``depth_rel`` and ``depth_inlier`` (ratio below 1.25) of depth; ``scale``, the points' (of the last frame where
        each has its own); ``frames``, the number scored; ``empty``; ``missing``.

    Raises:
        InputError: where shapes disagree or no pixel is valid.
    """
    if points.shape != gt_points.shape or gt_mask.shape != points.shape[:-1] or points.shape[-1:] != (3,):
        raise InputError(
            f"points {list(points.shape)}, gt_points {list(gt_points.shape)} and gt_mask "
            f"{list(gt_mask.shape)} disagree; "
            "give [T, H, W, 3] twice and [T, H, W]."
        )

    def fitted(frames: Sequence[int] | range) -> tuple[float, float]:
        expected = 3 * len(frames) * int(np.prod(points.shape[1:3]))
        whole, deep = _Fit(False, robust, expected), _Fit(False, robust, expected // 3)
        for t in frames:
            a, b, good = _valid(points[t], gt_points[t], gt_mask[t])
            a, b = a[good], b[good]
            w = 1 / np.maximum(b[:, 2:], 1e-6) if weighted else np.ones((len(b), 1))
            whole.add(a.ravel(), b.ravel(), np.repeat(w, 3, axis=1).ravel())
            deep.add(a[:, 2], b[:, 2], w[:, 0])
        return whole.solve()[0], deep.solve()[0]

    count = len(points)
    scales = fitted(range(count)) if alignment == "clip" else (0.0, 0.0)
    rows, missing, valid = [], 0, 0
    for t in range(count):
        mask = np.asarray(gt_mask[t])
        if not mask.any():
            continue
        if alignment == "frame":
            scales = fitted([t])
        a, b, good = _valid(points[t], gt_points[t], mask)
        missing, valid = missing + int((~good).sum()), valid + len(good)
        a = np.where(good[:, None], a, 0) * scales[0]
        point = _length(a - b) / np.maximum(_length(b), FLOOR)
        z, truth = a[:, 2] * (scales[1] / scales[0] if scales[0] else 0.0), b[:, 2]
        depth = np.abs(z - truth) / np.maximum(truth, FLOOR)
        ratio = np.maximum(z / np.maximum(truth, 1e-9), truth / np.where(np.abs(z) < 1e-9, 1e-9, z))
        point, depth = np.where(good, point, 1.0), np.where(good, depth, 1.0)
        inlier = (ratio < 1 + INLIER) & (z > 0) & good
        rows.append([point.mean(), (point < INLIER).mean(), depth.mean(), inlier.mean()])
    if not rows:
        raise InputError("no pixel of gt_mask is valid; nothing can be scored.")
    names = ("point_rel", "point_inlier", "depth_rel", "depth_inlier")
    means = dict(zip(names, map(float, np.mean(rows, axis=0)), strict=True))
    return means | {"scale": scales[0]} | _counts(rows, count, missing, valid)


def _valid(prediction: Any, truth: Any, mask: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values at valid pixels, prediction and truth, and where the prediction is finite."""
    m = np.asarray(mask)
    a, b = np.asarray(prediction)[m].astype(np.float64), np.asarray(truth)[m].astype(np.float64)
    return a, b, np.isfinite(a @ np.ones(3)) if a.ndim == 2 else np.isfinite(a)


def _length(vectors: np.ndarray) -> np.ndarray:
    """Of each row."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def _counts(rows: Sequence[Any], count: int, missing: int, valid: int) -> dict[str, float]:
    return {"frames": float(len(rows)), "empty": float(count - len(rows)), "missing": missing / max(valid, 1)}


def score_depth(
    gt_depth: Any,
    gt_mask: Any,
    depth: Any = None,
    disparity: Any = None,
    weighted: bool = False,
    max_depth: float = 70.0,
    alignment: Alignment = "clip",
    robust: bool = False,
    shift: bool = True,
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
        alignment: one scale and shift for the ``clip``, or one for each ``frame``, for comparison.
        robust: the sum of absolute residuals is minimised instead.
        shift: False: a scale alone.

    Returns:
        ``depth_rel``, the mean of |d - g| / g; ``depth_inlier``, the share of pixels whose ratio is below 1.25;
        ``scale``, ``shift`` and ``frames``, the number scored; ``empty``; ``missing``.

    Raises:
        InputError: where not exactly one prediction is given, shapes disagree or no pixel is valid.
    """
    if (depth is None) == (disparity is None):
        raise InputError("score_depth wants depth or disparity, one of the two.")
    predicted = disparity if depth is None else depth
    _agree(prediction=predicted, gt_depth=gt_depth, gt_mask=gt_mask)

    def fitted(frames: Sequence[int] | range) -> tuple[float, float]:
        fit = _Fit(shift, robust, len(frames) * int(np.prod(gt_depth.shape[1:])))
        for t in frames:
            x, y, good = _valid(predicted[t], gt_depth[t], gt_mask[t])
            x, y = x[good], y[good]
            w = 1 / np.maximum(y, 1e-6) if weighted else np.ones_like(y)
            if disparity is not None:
                y, w = 1 / np.maximum(y, 1e-6), np.ones_like(y)
            fit.add(x, y, w)
        return fit.solve()

    count = len(gt_depth)
    scale, offset = fitted(range(count)) if alignment == "clip" else (0.0, 0.0)
    rows, missing, valid = [], 0, 0
    for t in range(count):
        mask = np.asarray(gt_mask[t])
        if not mask.any():
            continue
        if alignment == "frame":
            scale, offset = fitted([t])
        x, truth, good = _valid(predicted[t], gt_depth[t], mask)
        missing, valid = missing + int((~good).sum()), valid + len(good)
        found, truth = scale * np.where(good, x, 0) + offset, np.maximum(truth, 1e-9)
        found = found.clip(1e-3, max_depth) if disparity is None else 1 / np.maximum(found, 1 / max_depth)
        error = np.where(good, np.abs(found - truth) / truth, 1.0)
        rows.append([error.mean(), ((np.maximum(found / truth, truth / found) < 1 + INLIER) & good).mean()])
    if not rows:
        raise InputError("no pixel of gt_mask is valid; nothing can be scored.")
    rel, inlier = np.mean(rows, axis=0)
    figures = {"depth_rel": float(rel), "depth_inlier": float(inlier), "scale": scale, "shift": offset}
    return figures | _counts(rows, count, missing, valid)


def score_boundaries(depth: Any, gt_depth: Any, gt_mask: Any) -> dict[str, float]:
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
    """
    _agree(depth=depth, gt_depth=gt_depth, gt_mask=gt_mask)
    thresholds = np.linspace(1.05, 1.25, 10)
    weights = thresholds / thresholds.sum()
    f1s, recalls = [], []
    for d, g, m in zip(depth, gt_depth, gt_mask):
        usable = np.asarray(m) & (np.asarray(g) > 0)
        logs = [
            np.log(np.where(np.isfinite(x) & (x > 0), x, 1.0))
            for x in (np.asarray(d, np.float64), np.asarray(g, np.float64))
        ]
        pairs = []
        for axis in (0, 1):
            both = np.logical_and(*(np.take(usable, range(s, usable.shape[axis] - 1 + s), axis) for s in (0, 1)))
            pairs.append([np.diff(x, axis=axis)[both] for x in logs])
        ours, true = (np.concatenate([p[i] for p in pairs]) for i in (0, 1))
        scores, recall = [], []
        for level in np.log(thresholds):
            a = np.stack([ours > level, ours < -level])
            b = np.stack([true > level, true < -level])
            hit = (a & b).sum()
            scores.append(2 * hit / max(a.sum() + b.sum(), 1))
            recall.append(hit / max(b.sum(), 1))
        if (np.abs(true) > np.log(thresholds[-1])).any():
            f1s.append(weights @ scores)
            recalls.append(weights @ recall)
    return {
        "boundary_f1": float(np.mean(f1s)) if f1s else float("nan"),
        "boundary_recall": float(np.mean(recalls)) if f1s else float("nan"),
        "boundary_frames": float(len(f1s)),
    }


def score_normals(points: Any, gt_points: Any, gt_mask: Any) -> dict[str, float]:
    """Angle between the normals of two point maps, by central differences, where the 3x3 neighbourhood is valid.

    Args:
        points: ``[T, H, W, 3]``, any scale.
        gt_points: ``[T, H, W, 3]``.
        gt_mask: ``[T, H, W]`` bool.

    Returns:
        ``normal_mean`` and ``normal_median``, degrees (the median to a tenth, over all pixels of all frames), and
        ``normal_11``, the share below 11.25 degrees. A prediction that is not finite is 90 degrees off.
    """
    counts = np.zeros(1801, np.int64)
    for p, q, m in zip(points, gt_points, gt_mask):
        a, b = (torch.from_numpy(np.asarray(x, np.float32)).permute(2, 0, 1)[None] for x in (p, q))
        inside = eroded(torch.from_numpy(np.asarray(m))[None, None])[0, 0].numpy()
        cosine = (normals_of(a) * normals_of(b)).sum(1)[0].numpy()[inside]
        angle = np.degrees(np.arccos(np.clip(np.nan_to_num(cosine, nan=0.0), -1, 1)))
        counts += np.bincount(np.rint(angle * 10).astype(int), minlength=1801)
    total = counts.sum()
    if not total:
        return dict.fromkeys(("normal_mean", "normal_median", "normal_11"), float("nan"))
    degrees = np.arange(1801) / 10
    return {
        "normal_mean": float((counts * degrees).sum() / total),
        "normal_median": float(degrees[np.searchsorted(np.cumsum(counts), total / 2)]),
        "normal_11": float(counts[:113].sum() / total),
    }


def focal_of_points(points: np.ndarray, mask: np.ndarray) -> float:
    """Focal length, pixels, that explains a point map ``[H, W, 3]`` best, the principal point being the middle."""
    height, width = mask.shape
    good = mask & np.isfinite(points).all(-1) & (points[..., 2] > 1e-6)
    if not good.any():
        return float("nan")
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x - (width - 1) / 2, y - (height - 1) / 2], -1)[good]
    rays = points[good][:, :2].astype(np.float64) / points[good][:, 2:]
    return float((pixels * rays).sum() / max((rays * rays).sum(), 1e-12))


def score_focal(focal: Any, gt_intrinsics: Any) -> dict[str, float]:
    """Error of the focal length.

    Args:
        focal: ``[T]`` pixels.
        gt_intrinsics: ``[T, 3, 3]`` pixels.

    Returns:
        ``focal_rel``, the mean of |f / f_true - 1|, f_true being the geometric mean of both axes; 1 where ``focal`` is
        not finite.
    """
    k = np.asarray(gt_intrinsics, np.float64)
    error = np.abs(np.asarray(focal, np.float64) / np.sqrt(k[:, 0, 0] * k[:, 1, 1]) - 1)
    return {"focal_rel": float(np.nan_to_num(error, nan=1.0).mean())}


def _still(depth: Any, gt_mask: Any, moving: Any, t: int) -> np.ndarray:
    d = np.asarray(depth[t])
    still = np.asarray(gt_mask[t]) & np.isfinite(d) & (d > 0)
    return still if moving is None else still & ~np.asarray(moving[t])


def flicker(
    depth: Any,
    gt_depth: Any,
    gt_mask: Any,
    intrinsics: np.ndarray,
    poses: np.ndarray,
    moving: Any = None,
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


def _check_motion(depth: Any, gt_depth: Any, gt_mask: Any, poses: Any) -> None:
    _agree(depth=depth, gt_depth=gt_depth, gt_mask=gt_mask)
    if len(poses) != len(depth) or len(depth) == 1:
        raise InputError(
            f"depth {list(depth.shape)} and {len(poses)} poses: two frames or more are wanted, a pose each."
        )


def temporal_alignment_error(
    depth: Any,
    gt_depth: Any,
    gt_mask: Any,
    intrinsics: np.ndarray,
    poses: np.ndarray,
    moving: Any = None,
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
    fit = _Fit(False, False, 0)
    for t in range(len(depth)):
        x, y, good = _valid(depth[t], gt_depth[t], gt_mask[t])
        fit.add(x[good], y[good], 1.0)
    scale = fit.solve()[0]
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
