"""A seed to a clip: a world, a camera that moves through it, and what it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.renderer.camera_path import FPS
from geometrycrafter.data.renderer.casting import cast, tiles_of
from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.photography import photograph
from geometrycrafter.data.renderer.shading import shade, sky_colour, surface_at
from geometrycrafter.data.renderer.staging import Stage, first_stage, second_stage
from geometrycrafter.geometry.lens import Lens

STAGES = {1: first_stage, 2: second_stage}
"""Worlds, which seeds are clips of. What one makes of a seed stays; another way is another world."""
WORLD = 1
"""The one that the embedded model was trained on, and that is taken where none is named."""


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


def render_clip(
    seed: int, frames: int, height: int, width: int, lens: Lens | None = None, world: int = WORLD
) -> RenderedClip:
    """Render the clip of a seed.

    What a lens doesn't see is black, without depth and masked.

    Args:
        seed: fixes everything: world, camera, motion, light, lens and noise.
        frames: length T of the clip, at 12 frames a second.
        height: of a frame, pixels.
        width: of a frame, pixels.
        lens: that the camera looks through; None: a pinhole whose field of view is drawn from the seed.
        world: 1 or 2.

    Raises:
        InputError: where the lens is of another size.
    """
    rng = Draws(seed)
    stage = STAGES[world](rng, frames)
    focal = math.hypot(width, height) / 2 / stage.half_diagonal
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    rays, blind = _camera_rays(height, width, focal), None
    if lens is not None:
        intrinsics = lens.intrinsics.float() + torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        rays, blind = _lens_rays(lens.sized(height, width))
    tiles, seen = tiles_of(height, width), []
    for t, pose in enumerate(stage.poses):
        seen.append(_render(rays, pose, t / FPS, stage, tiles, 1 / focal))
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
        poses=stage.poses,
    )


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


def _render(camera_rays: Tensor, pose: Tensor, time: float, stage: Stage, tiles: Tensor, pixel: float) -> Seen:
    """What a camera sees at a time; a pixel is so wide at a distance of one."""
    rays, origin = camera_rays @ pose[:3, :3].T, pose[:3, 3]
    light = stage.light
    distance, which = cast(origin, rays, stage.primitives, time, tiles)  # rays have z = 1: these are planar depths
    hit = distance < stage.far
    distance = torch.where(hit, distance, stage.far)
    surface = surface_at(origin + distance[:, None] * rays, stage.primitives[which], time)
    direction = F.normalize(rays, dim=-1)
    shaded = shade(
        surface,
        stage.materials[which],
        direction,
        light,
        stage.primitives,
        time,
        tiles,
        stage.pictures,
        distance * pixel,
    )
    if light.fog or not hit.all():
        sky = sky_colour(direction, light)
        if light.fog:
            shaded = torch.lerp(shaded, sky, 1 - torch.exp(-light.fog * distance)[:, None])
        shaded = torch.where(hit[:, None], shaded, sky)
    return Seen(
        image=shaded * light.tint,
        depth=torch.where(hit, distance, 0.0),
        mask=hit,
        dynamic=hit & stage.primitives.moving[which],
    )
