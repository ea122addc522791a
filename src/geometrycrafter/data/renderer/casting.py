"""Rays against boxes and ellipsoids, in closed form.

Rays come in groups that point about the same way, tiles of a picture. What a whole group misses for certain is not
looked at ray by ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from geometrycrafter.data.renderer.world import Primitives

NEAREST = 1e-3
"""In ray lengths; what is nearer is behind the eye."""
_SIDE = 16
"""Of a tile, pixels."""
_AT_ONCE = 2**15
"""Pairs of rays and primitives."""
_MARGIN = 1e-3
"""By which tiles and primitives are taken larger than they are, for rounding."""


def tiles_of(height: int, width: int) -> Tensor:
    """Which pixels of a picture belong together, ``[G, 256]``; the last of a tile is repeated where it is cut off."""
    index = torch.arange(height * width).view(height, width)
    rows, columns = (torch.arange(0, -(-n // _SIDE) * _SIDE).clamp_max(n - 1) for n in (height, width))
    return index[rows][:, columns].unfold(0, _SIDE, _SIDE).unfold(1, _SIDE, _SIDE).reshape(-1, _SIDE * _SIDE)


def cast(
    origin: Tensor, rays: Tensor, primitives: Primitives, time: float, tiles: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The nearest hits of rays from one point.

    Args:
        origin: ``[3]``.
        rays: ``[P, 3]``, of any length.
        primitives: N of them.
        time: seconds; what moves has moved by then.
        tiles: groups of rays that point about the same way, ``[G, R]``, each ray in one at least; None: one group.

    Returns:
        distance in ray lengths ``[P]``, infinite where nothing is hit, and the index of what is, ``[P]``.
    """
    offset = origin - (primitives.centre + time * primitives.velocity) - primitives.swing_at(time)
    # In the axes of each primitive, and in its half sizes: boxes are cubes and ellipsoids spheres of radius one.
    own_origin = primitives.into_own_axes(offset) / primitives.half_size
    if tiles is None:
        tiles = torch.arange(len(rays))[None]
    groups = rays.T[:, tiles]  # [3, G, R]
    met = _may_meet(own_origin, groups, primitives)
    best = torch.full(tiles.shape, torch.inf)
    which = torch.zeros(tiles.shape, dtype=torch.long)
    for is_ellipsoid, meet in ((False, _meet_cubes), (True, _meet_spheres)):
        index = torch.nonzero(primitives.is_ellipsoid == is_ellipsoid).squeeze(1)
        if len(index):
            _cast_at(own_origin, groups, primitives, index, met[:, index], meet, best, which)
    nearest, what = torch.empty(len(rays)), torch.empty(len(rays), dtype=torch.long)
    nearest[tiles], what[tiles] = best, which
    return nearest, what


def _cast_at(
    own_origin: Tensor,
    groups: Tensor,
    primitives: Primitives,
    index: Tensor,
    met: Tensor,
    meet: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    best: Tensor,
    which: Tensor,
) -> None:
    """Put what is nearer than ``best`` into it and into ``which``, in place, both ``[G, R]``.

    Args:
        own_origin: of the rays, by primitive, ``[N, 3]``.
        groups: rays, ``[3, G, R]``.
        primitives: N of them.
        index: those of one kind.
        met: which of these each group may meet, ``[G, len(index)]``.
        meet: rays with one primitive for each group.
    """
    for of_groups, own in _blocks(met, groups.shape[-1]):
        some = index[own]  # [g, B]
        dx, dy, dz = (dim[of_groups][:, None] for dim in groups)  # [g, 1, R]
        c, s, tc, ts = (getattr(primitives, n)[some][..., None] for n in ("cos", "sin", "tilt_cos", "tilt_sin"))
        half, origin = (v[some].permute(2, 0, 1)[..., None] for v in (primitives.half_size, own_origin))
        ahead = dx * s + dz * c
        x, y, z = (dx * c - dz * s) / half[0], (tc * dy + ts * ahead) / half[1], (tc * ahead - ts * dy) / half[2]
        value, first = meet(origin, x, y, z).min(dim=1)
        before = best[of_groups]
        closer = value < before
        best[of_groups] = torch.where(closer, value, before)
        which[of_groups] = torch.where(closer, some.gather(1, first), which[of_groups])


def _blocks(met: Tensor, rays: int) -> Iterator[tuple[Tensor, Tensor]]:
    """What groups may meet, in order, as many at a time as fit a processor's cache.

    Yields groups that have something left ``[g]``, and the next B of each ``[g, B]``; who has fewer left has one twice.
    """
    listed = met.byte().argsort(dim=1, descending=True, stable=True)
    counts = met.sum(1)
    rank, most = 0, int(counts.max())
    while rank < most:
        of_groups = torch.nonzero(counts > rank).squeeze(1)
        block = max(1, min(_AT_ONCE // (len(of_groups) * rays), most - rank))
        ranks = torch.arange(rank, rank + block).expand(len(of_groups), block)
        yield of_groups, listed[of_groups].gather(1, torch.minimum(ranks, counts[of_groups, None] - 1))
        rank += block


def _may_meet(own_origin: Tensor, groups: Tensor, primitives: Primitives) -> Tensor:
    """``[G, N]`` bool: False where for certain no ray of a group meets a primitive.

    Directions of a group are a box of directions, turned into a larger one in the axes of each primitive; by slabs, as
    single rays are.
    """
    low, high = groups.amin(-1), groups.amax(-1)  # [3, G]
    middle, reach = ((high + low) / 2)[..., None], ((high - low) / 2)[..., None]
    reach = reach + _MARGIN * middle.abs().amax(0)
    c, s, tc, ts = primitives.cos, primitives.sin, primitives.tilt_cos, primitives.tilt_sin

    def turned(v: Tensor, c: Tensor, s: Tensor, tc: Tensor, ts: Tensor, sign: float) -> tuple[Tensor, Tensor, Tensor]:
        ahead = v[0] * s + v[2] * c
        return v[0] * c - sign * v[2] * s, tc * v[1] + ts * ahead, tc * ahead - sign * ts * v[1]

    middles = turned(middle, c, s, tc, ts, 1.0)
    reaches = turned(reach, c.abs(), s.abs(), tc.abs(), ts.abs(), -1.0)
    near, far = torch.zeros(groups.shape[1], len(c)), torch.full((groups.shape[1], len(c)), torch.inf)
    for axis in range(3):
        half = primitives.half_size[:, axis]
        least, most = (middles[axis] - reaches[axis]) / half, (middles[axis] + reaches[axis]) / half
        first, last = -1 - _MARGIN - own_origin[:, axis], 1 + _MARGIN - own_origin[:, axis]
        # Seen from below the slab; from above, all is mirrored; from within, it begins at once.
        above = last < 0
        least, most = torch.where(above, -most, least), torch.where(above, -least, most)
        first, last = torch.where(above, -last, first), torch.where(above, -first, last)
        outside = first > 0
        enters = torch.where(most > 0, first / most.clamp_min(1e-12), torch.inf)
        near = torch.maximum(near, torch.where(outside, enters, 0.0))
        leaves = torch.where(least > 0, last / least.clamp_min(1e-12), torch.inf)
        back = torch.where(most < 0, first / most.clamp_max(-1e-12), torch.inf)  # leaves by the side it came from
        far = torch.minimum(far, torch.where(outside, leaves, torch.minimum(leaves, back)))
    return near <= far * (1 + _MARGIN)


def _meet_spheres(origin: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to unit spheres ``[G, B, R]``, infinite where missed; each has its own origin, ``[3, G, B, 1]``."""
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


def lit_by_lamp(points: Tensor, lamp: Tensor, primitives: Primitives, time: float, tiles: Tensor) -> Tensor:
    """1 where a lamp ``[3]`` reaches points ``[P, 3]``, 0 where something stands between, ``[P]``.

    Points differ by pixel, so rays are cast from the light.
    """
    distance, _ = cast(lamp, points - lamp, primitives, time, tiles)
    return (distance > 0.99).float()


def lit_by_sun(points: Tensor, towards: Tensor, primitives: Primitives, time: float, tiles: Tensor) -> Tensor:
    """The same for the sun, which stands in a direction ``[3]``: a lamp at a great distance, to a thousandth of a
    radian."""
    distance = 2000.0
    far_away = points.mean(0) + towards * distance
    reached, _ = cast(far_away, points - far_away, primitives, time, tiles)
    return (reached * distance > distance - 0.25).float()
