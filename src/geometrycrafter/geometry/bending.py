"""What lenses do to rays, and the rays of their pixels: the formulas of :mod:`.lens`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from geometrycrafter.geometry.cameras import rays_of_intrinsics
from geometrycrafter.geometry.lens import Lens

WIDEST = math.radians(89.9)
"""From the axis, for the perspective models, which never see sideways."""
EXACT = 1e-9
"""Pixels by which a ray may miss the pixel that it was found for."""

BLOCK = 1 << 14
"""Pixels whose rays are found together."""


class Bending:
    """A lens at work.

    Args:
        lens: whose parameters count.
    """

    def __init__(self, lens: Lens):
        self.lens = lens

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Lens.project`; ``[..., 3]`` -> ``[..., 2]`` and ``[...]``."""
        points = points.double()
        x, y, z = points.unbind(-1)
        focal, centre = points.new_tensor(self.lens.focal), points.new_tensor(self.lens.centre)
        if self.lens.fisheye:
            radius = torch.hypot(x, y)
            angle = torch.atan2(radius, z)
            scale = torch.where(radius > 0, self._bent_angle(angle) / radius.clamp_min(1e-300), 0.0)
            bent, seen = points[..., :2] * scale[..., None], angle < self._limit
        else:
            ahead = z > 0
            flat = points[..., :2] / torch.where(ahead, z, 1.0)[..., None]
            bent, _ = self._bent(flat)
            seen = ahead & (flat.norm(dim=-1) < self._limit)
        return bent * focal + centre, seen & points.isfinite().all(-1)

    def unproject(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Lens.unproject`; ``[..., 2]`` -> ``[..., 3]`` and ``[...]``."""
        pixels = pixels.double()
        wanted = ((pixels - pixels.new_tensor(self.lens.centre)) / pixels.new_tensor(self.lens.focal)).reshape(-1, 2)
        find = self._unbent_angles if self.lens.fisheye else self._unbent
        blocks = [find(block) for block in torch.split(wanted, BLOCK)]  # that fit into the processor's caches
        rays, seen = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        rays = torch.where(seen[:, None], rays, rays.new_tensor([0.0, 0, 1]))
        return rays.reshape(*pixels.shape[:-1], 3), seen.reshape(pixels.shape[:-1])

    @cached_property
    def _limit(self) -> float:
        """Tangent (perspective) or angle (fisheye) from the axis up to which the lens doesn't fold."""
        if self.lens.fisheye:
            return _first_below_zero(lambda angle: _polynomial(self._angle_slopes, angle.square()), 0.999 * math.pi)
        limit = math.tan(_first_below_zero(lambda angle: self._radial_slope(angle.tan()), WIDEST))
        return self._limit_of_tangential(limit)

    def _radial_slope(self, radius: Tensor) -> Tensor:
        """Of the radius as the lens bends it, times what is positive; below zero too where the fraction has turned."""
        s = radius.square()
        (n, dn), (d, dd) = ((_polynomial(t, s), _polynomial(_derivative(t), s)) for t in self._radial_terms)
        return torch.minimum((n + 2 * s * dn) * d - 2 * s * n * dd, d)

    def _limit_of_tangential(self, limit: float) -> float:
        """The radius, up to a limit, where the lens first folds in some direction; p1 and p2 make them differ."""
        if not any(self._tangential):
            return limit
        radius = torch.linspace(0, math.atan(limit), 1024, dtype=torch.float64).tan()
        around = torch.linspace(0, 2 * math.pi, 181, dtype=torch.float64)[:-1]
        _, jacobian = self._bent(radius[:, None, None] * torch.stack([around.cos(), around.sin()], -1))
        folded = (_determinant(jacobian) <= 0).any(-1).nonzero()
        return float(radius[max(int(folded[0]) - 1, 0)]) if len(folded) else limit

    @cached_property
    def _angle_terms(self) -> tuple[float, ...]:
        return (1.0, *(self.lens.named.get(f"k{i}", 0.0) for i in range(1, 5)))

    @cached_property
    def _angle_slopes(self) -> tuple[float, ...]:
        return tuple((2 * i + 1) * term for i, term in enumerate(self._angle_terms))

    @cached_property
    def _radial_terms(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Above and below the line, by powers of s."""
        k = [self.lens.named.get(f"k{i}", 0.0) for i in range(1, 7)]
        return (1.0, *k[:3]), (1.0, *k[3:])

    @cached_property
    def _tangential(self) -> tuple[float, float]:
        return self.lens.named.get("p1", 0.0), self.lens.named.get("p2", 0.0)

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """Radii as the lens bends them ``[4096]``, rising, and the tangents or angles ``[4096]`` of rays."""
        if self.lens.fisheye:
            angles = torch.linspace(0, self._limit, 4096, dtype=torch.float64)
            return self._bent_angle(angles), angles
        radii = torch.linspace(0, math.atan(self._limit), 4096, dtype=torch.float64).tan()
        above, below = self._radial_terms
        return radii * _polynomial(above, radii.square()) / _polynomial(below, radii.square()), radii

    def _bent_angle(self, angle: Tensor) -> Tensor:
        return angle * _polynomial(self._angle_terms, angle.square())

    def _bent(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Tangents ``[..., 2]`` as the lens bends them, and the derivative ``[..., 3]``: xx, xy = yx, yy."""
        x, y = flat.unbind(-1)
        s = x * x + y * y
        above, below = self._radial_terms
        n, d = _polynomial(above, s), _polynomial(below, s)
        p1, p2 = self._tangential
        g = n / d
        dg = 2 * (_polynomial(_derivative(above), s) - g * _polynomial(_derivative(below), s)) / d
        bent = torch.stack(
            [x * g + 2 * p1 * x * y + p2 * (s + 2 * x * x), y * g + p1 * (s + 2 * y * y) + 2 * p2 * x * y], -1
        )
        cross = x * y * dg + 2 * (p1 * x + p2 * y)
        along_x, along_y = g + x * x * dg + 2 * p1 * y + 6 * p2 * x, g + y * y * dg + 6 * p1 * y + 2 * p2 * x
        return bent, torch.stack([along_x, cross, along_y], -1)

    def _unbent(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Rays ``[N, 3]`` of bent tangents ``[N, 2]``, by Newton's steps from where they are without p1, p2."""
        bent, radii = self._table
        length = wanted.norm(dim=-1)
        flat = wanted * (_looked_up(bent, radii, length) / length.clamp_min(1e-300))[:, None]
        seen = torch.zeros(len(wanted), dtype=torch.bool)
        active = wanted.isfinite().all(-1).nonzero()[:, 0]
        focal = wanted.new_tensor(self.lens.focal)
        exact = _exact((wanted * focal).norm(dim=-1))
        for _ in range(40):
            now, jacobian = self._bent(flat[active])
            missed = wanted[active] - now
            found = (missed * focal).norm(dim=-1) < exact[active] / 4
            seen[active[found]] = True
            active, missed, jacobian = active[~found], missed[~found], jacobian[~found]
            if not len(active):
                break
            stepped = flat[active] + _solved(jacobian, missed)
            too_far = stepped.norm(dim=-1, keepdim=True) / self._limit
            flat[active] = stepped / too_far.clamp_min(1.0)
        seen &= flat.norm(dim=-1) < self._limit
        ahead = torch.cat([flat, torch.ones_like(flat[:, :1])], -1)
        return ahead / ahead.norm(dim=-1, keepdim=True), seen

    def _unbent_angles(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a fisheye lens."""
        length = wanted.norm(dim=-1)
        angle = _looked_up(*self._table, length)
        for _ in range(12):
            slope = _polynomial(self._angle_slopes, angle.square())
            step = (length - self._bent_angle(angle)) / torch.where(slope.abs() > 1e-12, slope, 1e-12)
            angle = (angle + step).clamp(0, self._limit)
        missed = (length - self._bent_angle(angle)).abs() * max(self.lens.focal)
        seen = (missed < _exact(length * max(self.lens.focal)) / 2) & (angle < self._limit)
        away = wanted / length.clamp_min(1e-300)[:, None] * angle.sin()[:, None]
        return torch.cat([away, angle.cos()[:, None]], -1), seen


def pinhole_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Rays ``[H, W, 3]`` float64 with z = 1 of a pinhole ``[3, 3]``."""
    flat = rays_of_intrinsics(intrinsics.double(), height, width)
    return torch.cat([flat, torch.ones_like(flat[..., :1])], -1)


def _polynomial(terms: tuple[float, ...], s: Tensor) -> Tensor:
    """By Horner's rule."""
    value = torch.full_like(s, terms[-1])
    for term in terms[-2::-1]:
        value = value * s + term
    return value


def _derivative(terms: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(i * term for i, term in enumerate(terms))[1:]


def _first_below_zero(function: Callable[[Tensor], Tensor], end: float) -> float:
    """Where a function that begins above zero is first at or below it; ``end`` where it isn't before."""
    grid = torch.linspace(0, end, 8192, dtype=torch.float64)
    below = (function(grid) <= 0).nonzero()
    if not len(below):
        return end
    low, high = grid[below[0, 0] - 1], grid[below[0, 0]]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if bool(function(middle) > 0) else (low, middle)
    return float(low)


def _determinant(symmetric: Tensor) -> Tensor:
    return symmetric[..., 0] * symmetric[..., 2] - symmetric[..., 1].square()


def _solved(symmetric: Tensor, right: Tensor) -> Tensor:
    """Of symmetric matrices ``[N, 3]`` (xx, xy, yy) and right sides ``[N, 2]``."""
    determinant = _determinant(symmetric)
    determinant = torch.where(determinant.abs() > 1e-12, determinant, 1e-12)
    xx, xy, yy = symmetric.unbind(-1)
    x, y = right.unbind(-1)
    return torch.stack([yy * x - xy * y, xx * y - xy * x], -1) / determinant[:, None]


def _exact(away: Tensor) -> Tensor:
    """Pixels ``[N]`` that a ray may miss its own by, so many ``[N]`` pixels from the middle, where rounding grows."""
    return EXACT * (away / 1000).clamp_min(1.0)


def _looked_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Values ``[N]`` at what is wanted ``[N]``, on straight lines between rising keys; the last beyond them."""
    above = torch.searchsorted(keys, wanted.contiguous()).clamp(1, len(keys) - 1)
    left, right = keys[above - 1], keys[above]
    share = ((wanted - left) / (right - left).clamp_min(1e-300)).clamp(0, 1)
    return values[above - 1] + share * (values[above] - values[above - 1])
