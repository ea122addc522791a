"""Rigid motions: ``[..., 4, 4]`` matrices, rotation and translation; a camera's pose is the motion from its axes to the
world's.

Motions compose as matrices do: ``a @ b`` is b, then a.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def motion(rotation: Tensor, translation: Tensor) -> Tensor:
    """``[..., 4, 4]`` from a rotation ``[..., 3, 3]`` and a translation ``[..., 3]``."""
    upper = torch.cat([rotation, translation[..., None].expand(*rotation.shape[:-1], 1)], dim=-1)
    below = rotation.new_tensor([[0.0, 0, 0, 1]]).expand(*rotation.shape[:-2], 1, 4)
    return torch.cat([upper, below], dim=-2)


def inverse(motions: Tensor) -> Tensor:
    """The motions ``[..., 4, 4]`` undone, ``[..., 4, 4]``."""
    back = motions[..., :3, :3].mT
    return motion(back, -(back @ motions[..., :3, 3:])[..., 0])


def relative(pose: Tensor, to_pose: Tensor) -> Tensor:
    """The motion ``[..., 4, 4]`` from one camera's axes to another's, of their poses ``[..., 4, 4]``."""
    return inverse(to_pose) @ pose


def improper(motions: Tensor, tolerance: float = 1e-2) -> Tensor:
    """Where matrices ``[..., 4, 4]`` are no rigid motions, ``[...]`` bool: they stretch, shear or mirror."""
    rotation = motions[..., :3, :3].double()
    identity = torch.eye(3, dtype=torch.float64, device=motions.device)
    bent: Tensor = ~((rotation.mT @ rotation - identity).abs().amax((-2, -1)) < tolerance)
    return bent.logical_or(torch.linalg.det(rotation) < 0)


def apply(motions: Tensor, points: Tensor) -> Tensor:
    """Points ``[..., N, 3]`` moved by ``[..., 4, 4]``, one motion for all N: ``[..., N, 3]``."""
    return points @ motions[..., :3, :3].mT + motions[..., None, :3, 3]


def mirrored(motions: Tensor) -> Tensor:
    """The same motions ``[..., 4, 4]`` in a world whose left and right are exchanged: ``[..., 4, 4]``."""
    flip = motions.new_tensor([-1.0, 1, 1, 1])
    return flip[:, None] * motions * flip


def rotation_about(axis: Literal["x", "y", "z"], angle: Tensor) -> Tensor:
    """Rotation ``[..., 3, 3]`` by an angle ``[...]`` in radians, right-handed about an axis."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    fixed = 3 - first - second
    out = angle.new_zeros(*angle.shape, 3, 3)
    out[..., first, first] = out[..., second, second] = angle.cos()
    out[..., second, first], out[..., first, second] = angle.sin(), -angle.sin()
    out[..., fixed, fixed] = 1
    return out


def rotation_of_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation ``[..., 3, 3]`` of a quaternion (w, x, y, z) ``[..., 4]`` of any length; none, where that is zero."""
    w, x, y, z = quaternion.unbind(-1)
    square = quaternion.square().sum(-1)
    s = torch.where(square > 0, 2 / torch.where(square > 0, square, 1.0), 0.0)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quaternion_of_rotation(rotation: Tensor) -> Tensor:
    """Unit quaternion (w, x, y, z) ``[..., 4]``, w not negative, of a rotation ``[..., 3, 3]``.

    It is the first eigenvector of a symmetric matrix (Bar-Itzhack 2000), so a rotation that rounding has bent gives
    the nearest one.
    """
    (a, b, c), (d, e, f), (g, h, i) = [m.unbind(-1) for m in rotation.unbind(-2)]
    rows = [
        [a + e + i, h - f, c - g, d - b],
        [h - f, a - e - i, b + d, c + g],
        [c - g, b + d, e - a - i, f + h],
        [d - b, c + g, f + h, i - a - e],
    ]
    matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
    out = torch.linalg.eigh(matrix).eigenvectors[..., -1]
    return torch.where(out[..., :1] < 0, -out, out)


def rotation_of_vector(vector: Tensor) -> Tensor:
    """Rotation ``[..., 3, 3]`` about a vector ``[..., 3]`` by its length in radians (Rodrigues)."""
    angle = vector.norm(dim=-1)[..., None, None]
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([torch.stack(r, -1) for r in ([zero, -z, y], [z, zero, -x], [-y, x, zero])], -2)
    small = angle < 1e-6
    safe = torch.where(small, 1.0, angle)
    sine = torch.where(small, 1 - angle.square() / 6, safe.sin() / safe)
    rest = torch.where(small, 0.5 - angle.square() / 24, (1 - safe.cos()) / safe.square())
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + sine * cross + rest * (cross @ cross)
