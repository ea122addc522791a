"""Rays against boxes and ellipsoids, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from geometrycrafter.data.renderer.world import Primitives

NEAREST = 1e-3
"""In ray lengths; what is nearer is behind the eye."""


def cast(origin: Tensor, rays: Tensor, primitives: Primitives, time: float) -> tuple[Tensor, Tensor]:
    """The nearest hits of rays from one point.

    Args:
        origin: ``[3]``.
        rays: ``[P, 3]``, of any length.
        primitives: N of them.
        time: seconds; what moves has moved by then.

    Returns:
        distance in ray lengths ``[P]``, infinite where nothing is hit, and the index of what is, ``[P]``.
    """
    offset = origin - (primitives.centre + time * primitives.velocity)
    # In the axes of each primitive, and in its half sizes: boxes are cubes and ellipsoids spheres of radius one.
    own_origin = (primitives.into_own_axes(offset) / primitives.half_size).T  # [3, N]
    dx, dy, dz = rays[:, 0:1], rays[:, 1:2], rays[:, 2:3]
    best = torch.full((len(rays),), torch.inf)
    which = torch.zeros(len(rays), dtype=torch.long)
    for is_ellipsoid, meet in ((False, _meet_cubes), (True, _meet_spheres)):
        index = torch.nonzero(primitives.is_ellipsoid == is_ellipsoid).squeeze(1)
        if not len(index):
            continue
        c, s, half = primitives.cos[index], primitives.sin[index], primitives.half_size[index].T
        x = (dx * c - dz * s) / half[0]  # [P, N]
        y = dy / half[1]
        z = (dx * s + dz * c) / half[2]
        value, at = meet(own_origin[:, index], x, y, z).min(dim=1)
        closer = value < best
        best = torch.where(closer, value, best)
        which = torch.where(closer, index[at], which)
    return best, which


def _meet_spheres(origin: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to unit spheres ``[P, N]``, infinite where they are missed; each has its own origin, ``[3, N]``."""
    a = x * x + y * y + z * z
    b = x * origin[0] + y * origin[1] + z * origin[2]
    root = b * b - a * ((origin * origin).sum(0) - 1)
    t = (-b - root.clamp_min(0).sqrt()) / a
    return torch.where((root > 0) & (t > NEAREST), t, torch.inf)


def _meet_cubes(origin: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The same for cubes from -1 to 1, by slabs."""
    near, far = torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
    for axis, direction in enumerate((x, y, z)):
        inverse = 1.0 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
        first, second = (-1 - origin[axis]) * inverse, (1 - origin[axis]) * inverse
        near = torch.maximum(near, torch.minimum(first, second))
        far = torch.minimum(far, torch.maximum(first, second))
    return torch.where((near < far) & (near > NEAREST), near, torch.inf)


def lit_by_lamp(points: Tensor, lamp: Tensor, primitives: Primitives, time: float) -> Tensor:
    """1 where a lamp ``[3]`` reaches points ``[P, 3]``, 0 where something stands between, ``[P]``.

    Points differ by pixel, so rays are cast from the light.
    """
    distance, _ = cast(lamp, points - lamp, primitives, time)
    return (distance > 0.99).float()


def lit_by_sun(points: Tensor, towards: Tensor, primitives: Primitives, time: float) -> Tensor:
    """The same for the sun, which stands in a direction ``[3]``: a lamp at a great distance, to a thousandth of a
    radian."""
    distance = 2000.0
    far_away = points.mean(0) + towards * distance
    reached, _ = cast(far_away, points - far_away, primitives, time)
    return (reached * distance > distance - 0.25).float()
