"""Features on three planes: splatted forward onto them, sampled from them, compared with points' own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def splat(features: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Every pixel's features land where it says; those that meet are averaged (Niklaus & Liu, CVPR 2020, "average").

    Args:
        features: ``[S, C, h, w]``.
        places: ``[S, 2, h, w]``, across and down, in pixels of the result; what falls outside is lost.
        size: height and width of the result.

    Returns:
        ``[S, C, *size]``; zero where nothing landed.
    """
    height, width = size
    frames, channels = features.shape[:2]
    values = torch.cat([features, torch.ones_like(features[:, :1])], 1).flatten(2)
    landed = values.new_zeros(frames, channels + 1, height * width)
    low = places.floor()
    for across in (0, 1):
        for down in (0, 1):
            x, y = low[:, 0] + across, low[:, 1] + down
            weight = (1 - (places[:, 0] - x).abs()) * (1 - (places[:, 1] - y).abs())
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = torch.where(inside, y * width + x, 0).long().flatten(1)[:, None].expand(-1, channels + 1, -1)
            landed.scatter_add_(2, index, values * torch.where(inside, weight, 0).flatten(1)[:, None])
    return (landed[:, :-1] / (landed[:, -1:] + 1e-7)).unflatten(-1, size)


def sample(plane: Tensor, frames: Tensor, places: Tensor) -> Tensor:
    """Features ``[N, C]`` of a plane ``[S, C, h, w]`` at places ``[N, 2]`` (across, down) of frames ``[N]``."""
    grid = _grid(places, plane)[:, None, None]
    return F.grid_sample(plane[frames], grid, align_corners=True, padding_mode="border")[..., 0, 0]


def pyramid(plane: Tensor, levels: int = 4) -> list[Tensor]:
    """A plane ``[S, C, h, w]`` and its halves, quarters and so on, as long as there is something to halve."""
    found = [plane]
    while len(found) < levels:
        last = found[-1]
        found.append(F.avg_pool2d(last, (min(2, last.shape[-2]), min(2, last.shape[-1]))))
    return found


def correlate(levels: list[Tensor], features: Tensor, places: Tensor, radius: int = 3) -> Tensor:
    """How alike points' features are to what lies around them.

    Args:
        levels: of a plane, each ``[S, C, h, w]``.
        features: ``[S, N, C]``, the points' own.
        places: ``[S, N, 2]``, across and down, in cells of the first level.
        radius: cells of each level that are looked at to every side; outside of the plane is zero.

    Returns:
        ``[S, N, levels * (2 radius + 1)^2]``.
    """
    steps = torch.arange(-radius, radius + 1, device=places.device, dtype=places.dtype)
    around = torch.cartesian_prod(steps, steps)
    found = []
    for level, plane in enumerate(levels):
        grid = _grid(places[:, :, None] / 2**level + around, plane)
        patches = F.grid_sample(plane, grid, align_corners=True)  # [S, C, N, around]
        found.append(torch.einsum("snc,scna->sna", features, patches))
    return torch.cat(found, -1) / features.shape[-1] ** 0.5


def _grid(places: Tensor, plane: Tensor) -> Tensor:
    """Places ``[..., 2]`` in cells as grid_sample takes them, ``[..., 2]`` in [-1, 1] between the outer centres."""
    last = places.new_tensor([max(plane.shape[-1] - 1, 1), max(plane.shape[-2] - 1, 1)])
    return 2 * places / last - 1
