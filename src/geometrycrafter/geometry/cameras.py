"""Pinhole cameras over point maps. Axes are OpenCV's (x right, y down, z forward); pixel centres are integers.

The published system describes a camera by the tangents of its half field of view, ``nf_x = max x/z`` and
``nf_y = max y/z`` at the centres of the outermost pixels, or by their norm ``theta_diag`` when pixels are square.
"""

from __future__ import annotations

import torch
from torch import Tensor


def half_field_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Normalised image coordinates, -1 and 1 at the centres of the outermost pixels: ``[H, W, 2]`` (u, v)."""
    v = torch.linspace(-1, 1, height, dtype=like.dtype, device=like.device) if height > 1 else like.new_zeros(1)
    u = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device) if width > 1 else like.new_zeros(1)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def intrinsics_from_half_field(half_field: Tensor, height: int, width: int) -> Tensor:
    """``[..., 2]`` tangents (nf_x, nf_y) -> ``[..., 3, 3]`` pixel intrinsics, principal point in the middle."""
    k = half_field.new_zeros(*half_field.shape[:-1], 3, 3)
    k[..., 0, 0] = max(width - 1, 1) / 2 / half_field[..., 0]
    k[..., 1, 1] = max(height - 1, 1) / 2 / half_field[..., 1]
    k[..., 0, 2] = (width - 1) / 2
    k[..., 1, 2] = (height - 1) / 2
    k[..., 2, 2] = 1
    return k


def half_field_of_intrinsics(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """``[..., 3, 3]`` pixels -> ``[..., 2]`` tangents (nf_x, nf_y), the principal point taken as centred."""
    sides = intrinsics.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    return sides / 2 / torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)


def half_field_of_rays(rays: Tensor) -> Tensor:
    """Tangents of the half field of view that explain rays best, by the published mean of ratios.

    Args:
        rays: ``[..., H, W, 2]``, x/z and y/z.

    Returns:
        ``[..., 2]``, the mean of (ray - mean ray) / grid. The middle row and column of odd sizes, where the grid is
        zero, are left out.
    """
    grid = half_field_grid(rays.shape[-3], rays.shape[-2], rays)
    away = grid.abs() > 1e-4
    centred = rays - rays.mean(dim=(-3, -2), keepdim=True)
    ratio = torch.where(away, centred / torch.where(away, grid, 1.0), 0.0)
    return ratio.sum(dim=(-3, -2)) / away.sum(dim=(0, 1)).clamp_min(1)


def half_field_of_valid_rays(rays: Tensor, valid: Tensor) -> Tensor:
    """The same from some of the pixels, by least squares: which ones they are does not pull it.

    Args:
        rays: ``[..., H, W, 2]``, x/z and y/z.
        valid: ``[..., H, W]`` bool, the pixels that take part.

    Returns:
        ``[..., 2]``; NaN where fewer than two columns or rows take part.
    """
    grid = half_field_grid(rays.shape[-3], rays.shape[-2], rays).double()
    weight = valid[..., None].double()
    rays = torch.where(valid[..., None], rays, 0.0).double()
    count = weight.sum((-3, -2)).clamp_min(1)
    middle = (weight * grid).sum((-3, -2)) / count
    away = weight * (grid - middle[..., None, None, :])
    square = (away * grid).sum((-3, -2))
    slope = (away * rays).sum((-3, -2)) / square
    return torch.where(square > 1e-9 * count, slope, torch.nan).to(valid.device, torch.float32)


def half_field_at_size(half_field: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Tangents at the outermost pixel centres of a picture, for the same picture at another size.

    The picture's edges stay where they are; the outermost centres lie half a pixel inside, which is less of a
    larger picture.

    Args:
        half_field: ``[..., 2]`` (nf_x, nf_y) at ``before``.
        before: height and width that it was measured at.
        after: height and width that it is wanted for.
    """
    inside = [[(side - 1) / side if side > 1 else 1.0 for side in size[::-1]] for size in (before, after)]
    return half_field * (half_field.new_tensor(inside[1]) / half_field.new_tensor(inside[0]))


def half_field_of_theta(theta_diag: Tensor, height: int, width: int) -> Tensor:
    """``[...]`` diagonal tangent -> ``[..., 2]`` (nf_x, nf_y), pixels being square (paper's supplementary)."""
    diagonal = (width**2 + height**2) ** 0.5
    return torch.stack([theta_diag * width / diagonal, theta_diag * height / diagonal], dim=-1)


def rays_of_intrinsics(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """``[..., 3, 3]`` pixel intrinsics -> ``[..., H, W, 2]`` rays x/z and y/z of every pixel."""
    x = torch.arange(width, dtype=intrinsics.dtype, device=intrinsics.device)
    y = torch.arange(height, dtype=intrinsics.dtype, device=intrinsics.device)
    rx = (x - intrinsics[..., 0, 2, None]) / intrinsics[..., 0, 0, None]  # [..., W]
    ry = (y - intrinsics[..., 1, 2, None]) / intrinsics[..., 1, 1, None]  # [..., H]
    shape = (*intrinsics.shape[:-2], height, width)
    return torch.stack([rx[..., None, :].expand(shape), ry[..., :, None].expand(shape)], dim=-1)


def unproject(depth: Tensor, rays: Tensor) -> Tensor:
    """Planar depth ``[..., H, W]`` along rays ``[..., H, W, 2]`` -> points ``[..., H, W, 3]``."""
    return torch.cat([rays * depth[..., None], depth[..., None]], dim=-1)
