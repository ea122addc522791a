"""How far a camera's trajectory is from the true one, as the literature has it: ATE, and RPE of neighbouring frames.

The definitions are those of Sturm et al. 2012 (A Benchmark for the Evaluation of RGB-D SLAM Systems) with the
similarity of Umeyama 1991, and of the program evo (``evo_ape -as``; ``evo_rpe -as --delta 1 --delta_unit f
--all_pairs``), which tests hold them to. evo itself refuses trajectories on a line or a point; here each figure that
they still define is given.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geometrycrafter.errors import InputError

STILL = 1e-4
"""A true camera that keeps this near to its mean place, in the truth's unit, stands still."""

Alignment = Literal["sim3", "se3", "none"]


class Similarity(NamedTuple):
    """``scale rotation x + translation``."""

    rotation: NDArray[np.float64]
    """``[3, 3]``."""
    translation: NDArray[np.float64]
    """``[3]``."""
    scale: float

    def of_poses(self, poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Camera-to-world poses ``[T, 4, 4]`` in the other world, ``[T, 4, 4]``."""
        out = poses.copy()
        out[:, :3, :3] = self.rotation @ poses[:, :3, :3]
        out[:, :3, 3] = self.scale * poses[:, :3, 3] @ self.rotation.T + self.translation
        return out


def umeyama(found: NDArray[np.float64], truth: NDArray[np.float64], with_scale: bool = True) -> Similarity:
    """The similarity that brings points nearest to others, by least squares (Umeyama 1991, eq. 40 to 42).

    Args:
        found: ``[N, 3]``.
        truth: ``[N, 3]``.
        with_scale: else the scale is 1.
    """
    middle, true_middle = found.mean(0), truth.mean(0)
    spread = np.square(found - middle).sum(1).mean()
    u, d, vt = np.linalg.svd((truth - true_middle).T @ (found - middle) / len(found))
    sign = np.array([1, 1, np.linalg.det(u) * np.linalg.det(vt)])
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum() / spread) if with_scale and spread > 0 else 1.0
    return Similarity(rotation, true_middle - scale * rotation @ middle, scale)


def score_trajectory(
    poses: NDArray[np.floating],
    gt_poses: NDArray[np.floating],
    known: NDArray[np.bool_] | None = None,
    alignment: Alignment = "sim3",
) -> dict[str, float]:
    """Errors of a trajectory.

    Where the true camera stands still, no scale can be found (each estimate, shrunk to a point, would be perfect):
    errors of place are then not numbers when the alignment has a scale, and only the rotation is judged. A trajectory
    on a line leaves the alignment free to spin about it, which no figure depends on.

    Args:
        poses: ``[T, 4, 4]`` camera-to-world.
        gt_poses: ``[T, 4, 4]`` true ones, of any world and unit.
        known: ``[T]`` bool, frames whose pose was found, and whose true one is known; others are left out. None: all.
        alignment: "sim3" fits rotation, place and scale to the truth, "se3" no scale, "none" nothing.

    Returns:
        ``ate`` root mean square distance of places, ``rpe_translation`` and ``rpe_rotation`` (degrees) root mean
        squares over pairs of neighbouring frames, ``ate_share`` of the true path, ``path`` its length, ``scale`` found,
        ``frames`` judged; lengths in the truth's unit.

    Raises:
        InputError: where shapes disagree, the truth is not finite, or fewer than two frames can be judged.
    """
    found, truth = np.asarray(poses, np.float64), np.asarray(gt_poses, np.float64)
    if found.shape != truth.shape or found.shape[1:] != (4, 4):
        raise InputError(f"poses {list(found.shape)} and true ones {list(truth.shape)} should both be [T, 4, 4].")
    good = np.asarray(np.isfinite(found).all((1, 2)))
    if known is not None:
        good &= known
    true = np.asarray(np.isfinite(truth).all((1, 2)))
    if not (true.all() if known is None else true[good].all()):
        raise InputError("true poses are not finite; leave out the frames that have none.")
    if good.sum() < 2:
        raise InputError(f"poses are known of {int(good.sum())} of {len(found)} frames; two or more are wanted.")
    places = truth[good, :3, 3]
    path = float(np.linalg.norm(np.diff(truth[true, :3, 3], axis=0), axis=1).sum())
    still = bool(np.linalg.norm(places - places.mean(0), axis=1).max() < STILL)
    similarity = Similarity(np.eye(3), np.zeros(3), 1.0)
    if alignment != "none":
        similarity = umeyama(found[good, :3, 3], places, alignment == "sim3" and not still)
    aligned = similarity.of_poses(found)
    ate = _root_mean_square(aligned[good, :3, 3] - places)
    pairs = np.flatnonzero(good[:-1] & good[1:])
    error = np.linalg.inv(_steps(truth, pairs)) @ _steps(aligned, pairs)
    rpe = _root_mean_square(error[:, :3, 3])
    figures = {"ate": ate, "rpe_translation": rpe, "ate_share": ate / path if path > 0 else float("nan")}
    if still and alignment == "sim3":
        figures = dict.fromkeys(figures, float("nan"))
    figures["rpe_rotation"] = float(np.rad2deg(np.sqrt(np.square(_angles(error)).mean()))) if len(pairs) else np.nan
    return figures | {"path": path, "scale": similarity.scale, "frames": float(good.sum()), "still": float(still)}


def _steps(poses: NDArray[np.float64], first: NDArray[np.intp]) -> NDArray[np.float64]:
    """Motions ``[N, 4, 4]`` from frames to the next ones."""
    return np.asarray(np.linalg.inv(poses[first]) @ poses[first + 1])


def _root_mean_square(vectors: NDArray[np.float64]) -> float:
    """Of the lengths of ``[N, 3]``; not a number where there is none."""
    return float(np.sqrt(np.square(vectors).sum(1).mean())) if len(vectors) else float("nan")


def _angles(motions: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much ``[N, 4, 4]`` turn, ``[N]`` radians; exact for small ones, too."""
    r = motions[:, :3, :3]
    axis = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], -1)
    return np.asarray(np.arctan2(np.linalg.norm(axis, axis=1), np.trace(r, axis1=1, axis2=2) - 1))
