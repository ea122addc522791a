"""Pixels of one picture followed into another by depth and pose."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geometrycrafter.geometry import rigid


class Landings(NamedTuple):
    """Where pixels land, those that land inside."""

    source: Tensor
    """``[N]`` index into the flattened first picture."""
    target: Tensor
    """``[N]`` index into the flattened second picture, the nearest pixel."""
    depth: Tensor
    """``[N]`` float64, depth that the point has there."""


def follow(
    depth: Tensor, mask: Tensor, intrinsics: Tensor, pose: Tensor, to_intrinsics: Tensor, to_pose: Tensor
) -> Landings:
    """Follow the points behind a picture's pixels into another picture of the same size.

    Args:
        depth: ``[H, W]`` planar depth, in the unit of the poses.
        mask: ``[H, W]`` bool, the pixels to follow.
        intrinsics: ``[3, 3]``, pixels.
        pose: ``[4, 4]`` camera-to-world.
        to_intrinsics: ``[3, 3]`` of the other picture.
        to_pose: ``[4, 4]`` of the other picture.
    """
    height, width = depth.shape
    # A pixel p of depth d lands at K' (R K^-1 p d + t), z being the last of the three. All pixels at once: to pick the
    # valid ones first takes longer than to move them.
    motion, to_k = rigid.relative(pose.double(), to_pose.double()), to_intrinsics.double()
    warp = (to_k @ motion[:3, :3] @ torch.linalg.inv(intrinsics.double()))[..., None, None]  # [3, 3, 1, 1]
    epipole = (to_k @ motion[:3, 3])[:, None, None]
    x = torch.arange(width, dtype=torch.float64, device=depth.device)
    y = torch.arange(height, dtype=torch.float64, device=depth.device)[:, None]
    landed = (warp[:, 0] * x + warp[:, 1] * y + warp[:, 2]) * depth + epipole  # [3, H, W]
    z = landed[2]
    ahead = z > 0
    column, row = (landed[:2] / torch.where(ahead, z, 1.0)).round_()
    inside = mask & ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = inside.flatten().nonzero()[:, 0]
    target = (row * width + column).flatten()[source].long()
    return Landings(source, target, z.flatten()[source])


def disagreement(
    depth: Tensor, intrinsics: Tensor, pose: Tensor, to_depth: Tensor, to_intrinsics: Tensor, to_pose: Tensor
) -> float:
    """How far apart the depths of two pictures are where they see the same, relative, in the median.

    Moving things and what is hidden in one of them are outliers, so right poses give nearly zero.

    Args:
        depth: ``[H, W]`` planar depth, in the unit of the poses; zero where it is unknown.
        intrinsics: ``[3, 3]``, pixels.
        pose: ``[4, 4]`` camera-to-world.
        to_depth: ``[H, W]`` of the other picture.
        to_intrinsics: ``[3, 3]`` of the other picture.
        to_pose: ``[4, 4]`` of the other picture.

    Returns:
        the median; not a number where nothing is seen twice.
    """
    landed = follow(depth, depth > 0, intrinsics, pose, to_intrinsics, to_pose)
    there = to_depth.flatten()[landed.target].double()
    both = there > 0
    return (landed.depth[both] / there[both] - 1).abs().median().item()
