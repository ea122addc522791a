"""Where the camera begins, and how it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.rooms import SHELL, Room
from geometrycrafter.data.renderer.world import World
from geometrycrafter.geometry import rigid

FPS = 12.0


@dataclass(frozen=True)
class View:
    """How a clip's camera begins."""

    position: Tensor
    """``[3]``, metres."""
    yaw: float
    """Radians to the right of z."""
    pitch: float
    """Radians downwards."""
    speed: float
    """Metres a second."""


def view_in_room(world: World, rng: Draws, room: Room) -> View:
    """From somewhere in a room, mostly at a thing in it."""
    eye = min(rng.uniform(0.7, 1.9), room.height - 0.3)
    position = torch.tensor([rng.uniform(-0.3, 0.3) * room.width, -eye, rng.uniform(-0.42, -0.05) * room.depth])
    view = View(position, rng.uniform(-0.7, 0.7), rng.uniform(-0.15, 0.65), rng.uniform(0, 0.6))
    return _view_of_something(world, rng, room, view) if rng.chance(0.7) else view


def _view_of_something(world: World, rng: Draws, room: Room, view: View) -> View:
    """As a person stands who looks at a thing; as before where there is no place for one."""
    things = [thing for thing in world.primitives[SHELL:] if max(thing.half_size) < 2.0]
    for _ in range(20 if things else 0):
        at = things[rng.integer(0, len(things) - 1)].centre
        distance, heading = math.exp(rng.uniform(math.log(0.6), math.log(3.5))), rng.uniform(0, 2 * math.pi)
        eye = min(rng.uniform(0.9, 1.9), room.height - 0.3)
        x, z = at[0] + distance * math.cos(heading), at[2] + distance * math.sin(heading)
        if abs(x) > room.width / 2 - 0.3 or abs(z) > room.depth / 2 - 0.3:
            continue
        dx, dy, dz = at[0] - x, at[1] + eye, at[2] - z
        reach = math.hypot(dx, dz)
        yaw = math.atan2(dx, dz) + rng.uniform(-0.3, 0.3)
        pitch = min(max(math.atan2(dy, reach) + rng.uniform(-0.25, 0.15), -0.4), 1.0)
        return replace(view, position=torch.tensor([x, -eye, z]), yaw=yaw, pitch=pitch)
    return view


def view_outdoors(rng: Draws, street: bool) -> View:
    """Along a street, or over open ground; sometimes from above."""
    eye = rng.uniform(1.0, 2.2) if rng.chance(0.85) else rng.uniform(2.5, 12)
    position = torch.tensor([rng.uniform(-2, 2), -eye, -2.0])
    yaw = rng.uniform(-0.25, 0.25) if street else rng.uniform(-0.6, 0.6)
    pitch, speed = rng.uniform(-0.12, 0.35), rng.uniform(0, 8) if street else rng.uniform(0, 1.5)
    if eye > 2.5:
        pitch += rng.uniform(0.1, 0.5)
    return View(position, yaw, pitch, speed)


def camera_path(rng: Draws, frames: int, view: View) -> Tensor:
    """Camera-to-world ``[T, 4, 4]``: a steady motion with slow turns and hand shake."""
    time = torch.arange(frames) / FPS
    heading = rng.uniform(0, 2 * math.pi)
    forward = torch.tensor([math.sin(view.yaw), 0.0, math.cos(view.yaw)])
    drift = torch.tensor([math.cos(heading), 0.3 * rng.uniform(-1, 1), math.sin(heading)])
    direction = forward if rng.chance(0.4) else drift
    position = view.position + time[:, None] * view.speed * direction

    def sway(amount: float) -> Tensor:
        rate, phase = rng.uniform(0.5, 4), rng.uniform(0, 6.3)
        return amount * (torch.sin(rate * time + phase) - math.sin(phase))

    shake = rng.uniform(0, 1) ** 2
    position = position + torch.stack([sway(0.04 * shake), sway(0.04 * shake), sway(0.04 * shake)], dim=-1)
    turn = rng.uniform(-0.5, 0.5) * (rng.uniform(0, 1) ** 2)
    yaw = view.yaw + turn * time + sway(0.06 * shake)
    pitch = view.pitch + sway(0.05 * shake)
    roll = rng.uniform(-0.08, 0.08) + sway(0.04 * shake)
    # The camera rolls first. Looking down is a turn against x, which points right, y pointing down.
    rotation = rigid.rotation_about("y", yaw) @ rigid.rotation_about("x", -pitch) @ rigid.rotation_about("z", roll)
    return rigid.motion(rotation, position)
