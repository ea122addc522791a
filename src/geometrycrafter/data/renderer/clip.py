"""A seed to a clip: a world, a camera that moves through it, and what it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.renderer.camera_path import FPS, View, camera_path, view_in_room, view_outdoors
from geometrycrafter.data.renderer.casting import cast, tiles_of
from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.outdoors import furnish_outdoors
from geometrycrafter.data.renderer.photography import photograph
from geometrycrafter.data.renderer.rooms import furnish_room
from geometrycrafter.data.renderer.shading import Light, draw_light, shade, sky_colour, surface_at
from geometrycrafter.data.renderer.world import FAR, Materials, Primitives, World
from geometrycrafter.geometry.lens import Lens

VERSION = 1
"""Raised where a seed becomes another clip than before."""


@dataclass(frozen=True)
class RenderedClip:
    """One rendered clip."""

    frames: Tensor
    """``[T, 3, H, W]`` in [0, 1], display-referred."""
    depth: Tensor
    """``[T, H, W]`` planar depth, metres; zero where there is sky."""
    mask: Tensor
    """``[T, H, W]`` bool, False in the sky."""
    dynamic: Tensor
    """``[T, H, W]`` bool, True on things that move by themselves."""
    intrinsics: Tensor
    """``[3, 3]`` pixels, pixel centres at half integers; of a lens, the pinhole's in its middle."""
    poses: Tensor
    """``[T, 4, 4]`` camera-to-world."""


class Seen(NamedTuple):
    """One frame, pixel by pixel."""

    image: Tensor
    """``[P, 3]``, linear."""
    depth: Tensor
    """``[P]``; zero where there is sky."""
    mask: Tensor
    """``[P]`` bool."""
    dynamic: Tensor
    """``[P]`` bool."""


def render_clip(seed: int, frames: int, height: int, width: int, lens: Lens | None = None) -> RenderedClip:
    """Render the clip of a seed.

    What a lens doesn't see is black, without depth and masked.

    Args:
        seed: fixes everything: world, camera, motion, light, lens and noise.
        frames: length T of the clip, at 12 frames a second.
        height: of a frame, pixels.
        width: of a frame, pixels.
        lens: that the camera looks through; None: a pinhole whose field of view is drawn from the seed.

    Raises:
        InputError: where the lens is of another size.
    """
    rng = Draws(seed)
    world, view, indoors = _staged(rng)
    poses = camera_path(rng, frames, view)
    half_diagonal = math.tan(math.radians(rng.uniform(25, 52)))  # theta_diag
    focal = math.hypot(width, height) / 2 / half_diagonal
    primitives, materials = world.freeze()
    free = _out_of_the_way(primitives, view.position)
    primitives, materials = primitives[free], materials[free]
    light = draw_light(rng, indoors)
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    rays, blind = _camera_rays(height, width, focal), None
    if lens is not None:
        intrinsics = lens.intrinsics.float() + torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        rays, blind = _lens_rays(lens.sized(height, width))
    tiles = tiles_of(height, width)
    seen = [_render(rays, pose, t / FPS, primitives, materials, light, tiles) for t, pose in enumerate(poses)]
    image, depth, mask, dynamic = map(torch.stack, zip(*seen, strict=True))
    if blind is not None:
        for values in (image, depth, mask, dynamic):
            values[:, blind] = 0
    shape = (frames, height, width)
    return RenderedClip(
        frames=photograph(image.view(*shape, 3).permute(0, 3, 1, 2), rng),
        depth=depth.view(shape),
        mask=mask.view(shape),
        dynamic=dynamic.view(shape),
        intrinsics=intrinsics,
        poses=poses,
    )


def _staged(rng: Draws) -> tuple[World, View, bool]:
    """A world, how the camera begins in it, and whether it is a room: 6 in 10 are, 2 open ground, 2 streets."""
    world = World(rng)
    setting = rng.uniform(0, 1)
    if setting < 0.6:
        room = furnish_room(world, rng)
        return world, view_in_room(world, rng, room), True
    street = setting > 0.8
    furnish_outdoors(world, rng, street)
    return world, view_outdoors(rng, street), False


def _out_of_the_way(primitives: Primitives, position: Tensor) -> Tensor:
    """``[N]`` bool: nothing may stand where the camera is, or it would see the inside of a cupboard first."""
    clear = ((primitives.centre - position).abs() > primitives.half_size + 0.3).any(-1)
    return clear | (primitives.half_size.amax(-1) > 2.5)


def _camera_rays(height: int, width: int, focal: float) -> Tensor:
    """``[P, 3]`` with z = 1, camera axes."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([(x - width / 2) / focal, (y - height / 2) / focal, torch.ones_like(x)], -1).view(-1, 3)


def _lens_rays(lens: Lens) -> tuple[Tensor, Tensor]:
    """``[P, 3]`` with z = 1, camera axes, and ``[P]`` bool: which pixels see nothing that is ahead."""
    rays, seen = lens.rays()
    ahead = seen & (rays[..., 2] > 1e-3)
    rays = torch.where(ahead[..., None], rays / rays[..., 2:], rays.new_tensor([0.0, 0, 1]))
    return rays.float().view(-1, 3), ~ahead.flatten()


def _render(
    camera_rays: Tensor,
    pose: Tensor,
    time: float,
    primitives: Primitives,
    materials: Materials,
    light: Light,
    tiles: Tensor,
) -> Seen:
    rays, origin = camera_rays @ pose[:3, :3].T, pose[:3, 3]
    distance, which = cast(origin, rays, primitives, time, tiles)  # rays have z = 1: their lengths are planar depth
    hit = distance < FAR
    distance = torch.where(hit, distance, FAR)
    surface = surface_at(origin + distance[:, None] * rays, primitives[which], time)
    direction = F.normalize(rays, dim=-1)
    shaded = shade(surface, materials[which], direction, light, primitives, time, tiles)
    sky = sky_colour(direction, light)
    if light.fog:
        shaded = torch.lerp(shaded, sky, 1 - torch.exp(-light.fog * distance)[:, None])
    return Seen(
        image=torch.where(hit[:, None], shaded, sky) * light.tint,
        depth=torch.where(hit, distance, 0.0),
        mask=hit,
        dynamic=hit & primitives.moving[which],
    )
