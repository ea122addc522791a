"""How surfaces and the sky look."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.renderer.casting import lit_by_lamp, lit_by_sun
from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.pictures import SIDE, Pictures
from geometrycrafter.data.renderer.world import Materials, Primitives

_CORNERS = torch.tensor([[i & 1, (i >> 1) & 1, i >> 2] for i in range(8)])


@dataclass(frozen=True)
class Light:
    """What lights a clip."""

    sun: Tensor
    """Direction to the sun, ``[3]``, of length one."""
    lamp: Tensor | None
    """Where the lamp hangs, ``[3]``; there is one indoors, in place of the sun."""
    ambient: float
    tint: Tensor
    """``[3]``."""
    shadows: bool
    horizon: Tensor
    """Colour of the sky there, ``[3]``."""
    zenith: Tensor
    """``[3]``."""
    overcast: float
    """0: clear, 1: clouds all over."""
    fog: float
    """Share of light that is lost in a metre."""
    sky: float = 1.0
    """How much brighter than usual the sky is."""


def draw_light(rng: Draws, indoors: bool) -> Light:
    """The light of a clip."""
    sun = F.normalize(torch.tensor([rng.uniform(-1, 1), -rng.uniform(0.4, 1.5), rng.uniform(-1, 1)]), dim=0)
    lamp = torch.tensor([rng.uniform(-1, 1), -2.2, rng.uniform(-1.5, 1.5)])
    return Light(
        sun=sun,
        lamp=lamp if indoors else None,
        ambient=rng.uniform(0.25, 0.6),
        tint=1 + rng.tensor(-0.12, 0.12, 3),
        shadows=rng.chance(0.5),
        horizon=rng.tensor(0.6, 1.0, 3),
        zenith=torch.tensor([0.3, 0.5, 0.85]) * rng.uniform(0.5, 1.1),
        overcast=rng.uniform(0, 1),
        fog=rng.uniform(0, 0.012) if rng.chance(0.4) else 0.0,
    )


def vary_light(rng: Draws, light: Light) -> Light:
    """A light under which skies are blown out, dull, dark or coloured, and far things hazy, as often as not."""
    warm = torch.tensor([1.0, rng.uniform(0.7, 1), rng.uniform(0.4, 1)]) if rng.chance(0.3) else torch.ones(3)
    grey = torch.lerp(light.horizon, light.horizon.mean().expand(3), 0.75)
    return replace(
        light,
        sky=math.exp(rng.uniform(math.log(0.2), math.log(4))) if rng.chance(0.6) else 1.0,
        horizon=grey * warm,
        zenith=light.zenith if rng.chance(0.6) else grey * rng.uniform(0.6, 1),
        ambient=light.ambient * rng.uniform(0.7, 1.8),
        fog=math.exp(rng.uniform(math.log(0.0005), math.log(0.02))) if rng.chance(0.4) and light.lamp is None else 0.0,
    )


@dataclass(frozen=True)
class Surface:
    """What each pixel sees."""

    point: Tensor
    """``[P, 3]``, world."""
    own_point: Tensor
    """``[P, 3]``, in the axes of the primitive."""
    normal: Tensor
    """``[P, 3]``, world."""
    own_normal: Tensor
    """``[P, 3]``, in the axes of the primitive."""
    half_size: Tensor
    """``[P, 3]``, of the primitive."""


def surface_at(point: Tensor, seen: Primitives, time: float) -> Surface:
    """Points ``[P, 3]`` on the primitives that each pixel sees."""
    own = seen.into_own_axes(point - seen.centre - time * seen.velocity - seen.swing_at(time))
    unit = own / seen.half_size
    face = F.one_hot(unit.abs().argmax(-1), 3) * unit.sign()
    round_normal = F.normalize(unit / seen.half_size, dim=-1)
    own_normal = torch.where(seen.is_ellipsoid[:, None], round_normal, face)
    return Surface(point, own, seen.into_world_axes(own_normal), own_normal, seen.half_size)


def shade(
    surface: Surface,
    materials: Materials,
    direction: Tensor,
    light: Light,
    primitives: Primitives,
    time: float,
    tiles: Tensor,
    pictures: Pictures | None = None,
    pixel: Tensor | None = None,
) -> Tensor:
    """Colours ``[P, 3]`` of surfaces under a light, linear.

    Args:
        surface: what each of P pixels sees.
        materials: of each.
        direction: from the eye, ``[P, 3]`` of length one.
        light: of the clip.
        primitives: all of them, for shadows.
        time: seconds.
        tiles: pixels that lie together, ``[G, R]``.
        pictures: of the clip, if it has any.
        pixel: metres that each pixel covers of what faces it, ``[P]``, for these.
    """
    if pictures is None or pixel is None:
        colour = albedo(surface.own_point, surface.own_normal, materials)
    else:
        facing = (surface.normal * direction).sum(-1).abs().clamp_min(0.05)
        colour = _with_pictures(surface, materials, pictures, pixel / facing.sqrt())
    towards, strength = _light_at(surface.point, light)
    lambert = (surface.normal * towards).sum(-1).clamp_min(0)
    if light.shadows:
        raised = surface.point + 2e-3 * surface.normal
        lit = (
            lit_by_sun(raised, light.sun, primitives, time, tiles)
            if light.lamp is None
            else lit_by_lamp(raised, light.lamp, primitives, time, tiles)
        )
        lambert = lambert * (0.25 + 0.75 * lit)
    half_way = F.normalize(towards - direction, dim=-1)
    highlight = materials.gloss[:, 0] * (surface.normal * half_way).sum(-1).clamp_min(0) ** 24
    sky_light = 0.75 - 0.25 * surface.normal[:, 1]
    return colour * (light.ambient * sky_light + lambert * strength)[:, None] + highlight[:, None]


def _light_at(point: Tensor, light: Light) -> tuple[Tensor, Tensor]:
    """Direction to the light ``[P, 3]`` and its strength ``[P]`` at points ``[P, 3]``."""
    if light.lamp is None:
        return light.sun.expand_as(point), torch.ones(len(point)) * (1.1 - 0.6 * light.overcast)
    to_lamp = light.lamp - point
    reach = to_lamp.norm(dim=-1)
    return to_lamp / reach[:, None], 1.8 / (1 + 0.2 * reach**2)


def sky_colour(direction: Tensor, light: Light) -> Tensor:
    """Colours ``[P, 3]`` of the sky in directions ``[P, 3]`` of length one."""
    up = (-direction[:, 1]).clamp(0, 1)
    clouds = noise(direction / (up[:, None] + 0.15) * 2.0) * light.overcast
    sky = torch.lerp(light.horizon.expand_as(direction), light.zenith.expand_as(direction), up.sqrt()[:, None])
    return torch.lerp(sky, torch.full_like(sky, 0.9), clouds[:, None]) * light.sky


def albedo(own_point: Tensor, own_normal: Tensor, materials: Materials) -> Tensor:
    """Colour of surface points: a pattern mixes two colours, noise roughens it.

    Args:
        own_point: ``[P, 3]``, in the axes of the primitive.
        own_normal: ``[P, 3]``, likewise.
        materials: of each point.

    Returns:
        ``[P, 3]``.
    """
    q = (own_point + materials.salt * 17.3) * materials.scale
    fine = noise(q * 4.1)
    cloud = 0.6 * noise(q) + 0.4 * fine
    along = _along(q, own_normal)  # stripes, checks and bricks are drawn on these two axes
    checks = ((torch.floor(along).sum(-1) % 2) > 0.5).float()
    stripes = (torch.sin(along[:, 0] * 6.3) > 0).float()
    row = torch.floor(along[:, 1] * 2)
    brick_x = along[:, 0] + 0.5 * (row % 2)
    bricks = ((brick_x % 1 > 0.06) & ((along[:, 1] * 2) % 1 > 0.1)).float()
    blotches = ((cloud > 0.55).float() + 0.3 * fine).clamp(0, 1)
    patterns = torch.stack([cloud, checks, stripes, bricks, blotches], dim=-1)
    mix = patterns.gather(1, materials.pattern.long()) * materials.contrast
    return torch.lerp(materials.base, materials.other, mix) * (0.85 + 0.3 * fine[:, None])


def _along(points: Tensor, normals: Tensor) -> Tensor:
    """Of points ``[P, 3]`` the two axes along the surface, ``[P, 2]``."""
    across = normals.abs().argmax(-1, keepdim=True)
    along = torch.where(across == 0, points[:, [2, 1]], points[:, [0, 1]])
    return torch.where(across == 1, points[:, [0, 2]], along)


def _with_pictures(surface: Surface, materials: Materials, pictures: Pictures, pixel: Tensor) -> Tensor:
    """Colours ``[P, 3]``, from patterns and from pictures."""
    colour = torch.empty_like(surface.point)
    carries = materials.picture[:, 0] >= 0
    some = torch.nonzero(carries).squeeze(1)
    rest = torch.nonzero(~carries).squeeze(1)
    if len(rest):
        colour[rest] = albedo(surface.own_point[rest], surface.own_normal[rest], materials[rest])
    if len(some):
        own, normal, half = surface.own_point[some], surface.own_normal[some], surface.half_size[some]
        metres = materials.metres[some]
        whole = 2 * _along(half, normal)
        wide = torch.where(metres > 0, metres, whole)
        start = torch.where(metres > 0, 7.3 * materials.salt[some], 0.5 * whole)
        place = (_along(own, normal) + start) / wide
        covered = SIDE * pixel[some] / wide.amax(-1)
        colour[some] = pictures.at(materials.picture[some, 0].long(), place[:, 0], place[:, 1], covered)
        colour[some] *= materials.base[some]
    return colour


def noise(p: Tensor) -> Tensor:
    """Smooth value noise ``[P]`` at ``[P, 3]``."""
    cell = torch.floor(p)
    f = p - cell
    f = f * f * (3 - 2 * f)
    cell = cell.long()
    total = torch.zeros(len(p))
    for corner in _CORNERS:
        total += torch.where(corner.bool(), f, 1 - f).prod(-1) * _hash(cell + corner)
    return total


def _hash(cell: Tensor) -> Tensor:
    """A pseudo-random number in [0, 1) for each integer cell ``[..., 3]``."""
    h = cell[..., 0] * 374761393 + cell[..., 1] * 668265263 + cell[..., 2] * 2147483647
    h = (h ^ (h >> 13)) * 1274126177
    return ((h ^ (h >> 16)) & 0xFFFF).float() / 65536.0
