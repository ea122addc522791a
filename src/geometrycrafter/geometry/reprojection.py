"""Pixels of one picture followed into another by depth and pose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Landings(NamedTuple):
    """Where pixels land, those that land inside."""

    source: np.ndarray
    """``[N]`` index into the flattened first picture."""
    target: np.ndarray
    """``[N]`` index into the flattened second picture, the nearest pixel."""
    depth: np.ndarray
    """``[N]`` depth that the point has there."""


def follow(
    depth: np.ndarray,
    mask: np.ndarray,
    intrinsics: np.ndarray,
    pose: np.ndarray,
    to_intrinsics: np.ndarray,
    to_pose: np.ndarray,
) -> Landings:
    """Follow the points behind a picture's pixels into another picture of the same size.

    Args:
        depth: ``[H, W]`` planar depth.
        mask: ``[H, W]`` bool, the pixels to follow.
        intrinsics: ``[3, 3]``, pixels.
        pose: ``[4, 4]`` camera-to-world.
        to_intrinsics: ``[3, 3]`` of the other picture.
        to_pose: ``[4, 4]`` of the other picture.
    """
    height, width = depth.shape
    source = np.flatnonzero(mask)
    v, u = np.divmod(source, width)
    pixels = np.stack([u, v, np.ones_like(u)], -1).astype(np.float64)
    motion = np.linalg.inv(to_pose.astype(np.float64)) @ pose.astype(np.float64)
    points = pixels @ np.linalg.inv(intrinsics.astype(np.float64)).T * depth.reshape(-1)[source, None]
    seen = points @ motion[:3, :3].T + motion[:3, 3]
    z = np.maximum(seen[:, 2], 1e-9)
    landed = seen @ to_intrinsics.T.astype(np.float64) / z[:, None]
    x, y = (np.rint(landed[:, i]).clip(-1, max(width, height)).astype(int) for i in (0, 1))
    inside = (seen[:, 2] > 1e-6) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return Landings(source[inside], (y * width + x)[inside], z[inside])


def disagreement(
    depth: np.ndarray,
    intrinsics: np.ndarray,
    pose: np.ndarray,
    to_depth: np.ndarray,
    to_intrinsics: np.ndarray,
    to_pose: np.ndarray,
) -> float:
    """How far apart the depths of two pictures are where they see the same, relative, in the median.

    Moving things and what is hidden in one of them are outliers, so right poses give nearly zero. Depth is zero where
    it is unknown. Not a number where nothing is seen twice.
    """
    landed = follow(depth, depth > 0, intrinsics, pose, to_intrinsics, to_pose)
    there = to_depth.reshape(-1)[landed.target]
    both = there > 0
    return float(np.median(np.abs(landed.depth[both] / there[both] - 1))) if both.any() else float("nan")
