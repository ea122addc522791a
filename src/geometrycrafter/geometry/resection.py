"""The motion of a camera, or its zoom, from points that it sees and where it sees them again, some of them wrongly."""

from __future__ import annotations

import torch
from torch import Tensor

from geometrycrafter.geometry.rigid import apply, motion, rotation_of_vector

ROUNDS = 6
REST = 1e-5
"""Of the weight of all points, which is on staying where one is: it tells where nothing else does."""
LOOSE, SHARP = 0.2, 0.1
"""Of log depth, and pixels, that points are taken to be off by: a camera is led by depth where pixels tell less."""
FARTHEST = 2.0
"""Of log depth: no point moves farther along its ray."""
RIGID, ZOOMING = [0, 1, 2, 3, 4, 5], [0, 1, 2, 6]
"""What is free of a turn, a shift and the logarithm of the focal length."""


def resected(
    points: Tensor,
    pixels: Tensor,
    weight: Tensor,
    focal: Tensor,
    centre: Tensor,
    off: float,
    begun: Tensor | None = None,
) -> Tensor:
    """Motions ``[B, 4, 4]`` after which points project to pixels, by Gauss and Newton under a robust loss.

    Args:
        points: ``[B, N, 3]`` in the camera's axes, before.
        pixels: ``[B, N, 2]`` where they are seen after.
        weight: ``[B, N]`` of each.
        focal: ``[2]`` pixels.
        centre: ``[2]`` the principal point.
        off: pixels beyond which a point hardly counts.
        begun: ``[B, 4, 4]`` motions that are nearly right; None: nothing is known.
    """
    return _fitted(points, pixels, weight, focal, centre, off, begun, RIGID)[0]


def zoomed(
    points: Tensor, pixels: Tensor, weight: Tensor, focal: Tensor, centre: Tensor, off: float
) -> tuple[Tensor, Tensor]:
    """Turns ``[B, 4, 4]`` of a camera that stays in its place, and how many times as long its focal length is after
    ``[B]``, by which points project to pixels, whatever their depth.

    Args:
        points: ``[B, N, 3]`` in the camera's axes, before.
        pixels: ``[B, N, 2]`` where they are seen after.
        weight: ``[B, N]`` of each.
        focal: ``[2]`` pixels, before.
        centre: ``[2]`` the principal point.
        off: pixels beyond which a point hardly counts.
    """
    return _fitted(points, pixels, weight, focal, centre, off, None, ZOOMING)


def _fitted(
    points: Tensor,
    pixels: Tensor,
    weight: Tensor,
    focal: Tensor,
    centre: Tensor,
    off: float,
    begun: Tensor | None,
    free: list[int],
) -> tuple[Tensor, Tensor]:
    """Motions and zooms of which some parameters are free."""
    batch = len(points)
    found = torch.eye(4, dtype=points.dtype).repeat(batch, 1, 1) if begun is None else begun
    zoom = points.new_ones(batch)
    for round_ in range(0 if begun is None else ROUNDS // 2, ROUNDS):
        own = focal * zoom[:, None, None]  # [B, 1, 2]
        seen, moved = projected(apply(found, points), own, centre)
        missed = seen - pixels
        far = missed.norm(dim=-1)
        wide = torch.full((batch, 1), off, dtype=points.dtype)
        if round_ < ROUNDS // 2:  # where it begins, most are off
            known = torch.where(weight > 0, far, torch.nan).nanmedian(-1, keepdim=True).values.nan_to_num(off)
            wide = wide.maximum(1.5 * known)
        counts = weight / (1 + (far / wide).square()).square()
        jacobian = torch.cat([_jacobian(moved, own), (seen - centre)[..., None]], -1)[..., free]
        weighted = jacobian * counts[..., None, None]
        square = torch.einsum("bnki,bnkj->bij", weighted, jacobian)
        right = torch.einsum("bnki,bnk->bi", weighted, missed)
        step = points.new_zeros(batch, 7)
        step[:, free] = torch.linalg.solve(square + _rest(moved, weight, focal)[:, free][..., free], -right)
        found = motion(rotation_of_vector(step[:, :3]), step[:, 3:6]) @ found
        zoom = zoom * step[:, 6].clamp(-1, 1).exp()
    return found, zoom


def adjusted(
    points: Tensor, pixels: Tensor, weight: Tensor, focal: Tensor, centre: Tensor, off: float, begun: Tensor
) -> tuple[Tensor, Tensor]:
    """Such motions of points whose depth is only nearly right, and the points ``[B, N, 3]``, moved along their rays.

    Depth that is off by chance makes motions that are found by it too short. Here each point's own is found with them:
    bundle adjustment of two views, in which depth says no more than what :data:`LOOSE` grants it, each point being
    solved for before the camera is.

    Args:
        points: ``[B, N, 3]`` in the camera's axes, before.
        pixels: ``[B, N, 2]`` where they are seen after.
        weight: ``[B, N]`` of each.
        focal: ``[2]`` pixels.
        centre: ``[2]`` the principal point.
        off: pixels beyond which a point hardly counts.
        begun: ``[B, 4, 4]`` motions that are nearly right.
    """
    found, along = begun, torch.zeros_like(weight)
    for _ in range(ROUNDS):
        turned = apply(found, points * along.exp()[..., None])
        missed, moved = projected(turned, focal, centre)
        missed = missed - pixels
        counts = weight / (1 + (missed.norm(dim=-1) / off).square()).square()
        held = weight * (SHARP / LOOSE) ** 2 / (1 + (along / (2 * LOOSE)).square()).square()
        jacobian, ray = _jacobian(moved, focal), turned - found[:, None, :3, 3]
        own = focal * (ray[..., :2] - moved[..., :2] / moved[..., 2:] * ray[..., 2:]) / moved[..., 2:]  # [B, N, 2]
        stiff = counts * own.square().sum(-1) + held + 1e-12
        pull = counts * (own * missed).sum(-1) + held * along
        both = torch.einsum("bnki,bnk->bni", jacobian, own) * counts[..., None]
        weighted = jacobian * counts[..., None, None]
        square = torch.einsum("bnki,bnkj->bij", weighted, jacobian) - (both / stiff[..., None]).mT @ both
        right = torch.einsum("bnki,bnk->bi", weighted, missed) - torch.einsum("bni,bn->bi", both, pull / stiff)
        step = torch.linalg.solve(square + _rest(moved, weight, focal)[:, :6, :6], -right)
        along = (along - (pull + torch.einsum("bni,bi->bn", both, step)) / stiff).clamp(-FARTHEST, FARTHEST)
        found = motion(rotation_of_vector(step[:, :3]), step[:, 3:]) @ found
    return found, points * along.exp()[..., None]


def projected(points: Tensor, focal: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels ``[..., 2]`` of points ``[..., 3]``, and the points, none of them behind the camera."""
    ahead = torch.cat([points[..., :2], points[..., 2:].clamp_min(1e-3)], -1)
    return focal * ahead[..., :2] / ahead[..., 2:] + centre, ahead


def _jacobian(points: Tensor, focal: Tensor) -> Tensor:
    """Of pixels by a turn and a shift after it, ``[B, N, 2, 6]``; focal is ``[..., 2]``."""
    x, y, z = points.unbind(-1)
    i, j, zero = x / z, y / z, torch.zeros_like(z)
    rows = [
        torch.stack([-i * j, 1 + i * i, -j, 1 / z, zero, -i / z], -1),
        torch.stack([-1 - j * j, i * j, i, zero, 1 / z, -j / z], -1),
    ]
    return torch.stack(rows, -2) * focal[..., None]


def _rest(points: Tensor, weight: Tensor, focal: Tensor) -> Tensor:
    """``[B, 7, 7]`` that holds a camera and its lens where nothing else does."""
    depth = points[..., 2].median(-1).values
    rest = torch.stack([torch.ones_like(depth)] * 3 + [1 / depth] * 3 + [torch.ones_like(depth)], -1).square()
    return torch.diag_embed(rest * (REST * focal.prod() * (weight.sum(-1, keepdim=True) + 1e-6)))
