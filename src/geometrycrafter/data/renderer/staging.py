"""What a seed's clip is made from, of either world: its surfaces, light, camera and path."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geometrycrafter.data.renderer.camera_path import View, camera_path, view_in_room, view_outdoors
from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.interiors import furnish_interior
from geometrycrafter.data.renderer.landscapes import FARTHEST, furnish_landscape
from geometrycrafter.data.renderer.movement import draw_path
from geometrycrafter.data.renderer.outdoors import furnish_outdoors
from geometrycrafter.data.renderer.pictures import Pictures, draw_pictures
from geometrycrafter.data.renderer.rooms import Room, furnish_room
from geometrycrafter.data.renderer.shading import Light, draw_light, vary_light
from geometrycrafter.data.renderer.surfaces import SecondWorld
from geometrycrafter.data.renderer.world import FAR, Materials, Primitives, Vector, World


@dataclass(frozen=True)
class Stage:
    """Everything that is to be seen, and from where."""

    primitives: Primitives
    materials: Materials
    pictures: Pictures | None
    light: Light
    poses: Tensor
    """Camera-to-world, ``[T, 4, 4]``."""
    half_diagonal: float
    """Tangent of half the diagonal field of view."""
    far: float
    """Beyond is sky, metres."""


def first_stage(rng: Draws, frames: int) -> Stage:
    """Of the first world: 6 in 10 are rooms, 2 open ground, 2 streets."""
    world = World(rng)
    setting = rng.uniform(0, 1)
    indoors = setting < 0.6
    if indoors:
        view = view_in_room(world, rng, furnish_room(world, rng))
    else:
        furnish_outdoors(world, rng, street=setting > 0.8)
        view = view_outdoors(rng, street=setting > 0.8)
    poses = camera_path(rng, frames, view)
    half_diagonal = math.tan(math.radians(rng.uniform(25, 52)))
    primitives, materials = world.freeze()
    free = _out_of_the_way(primitives, view.position[None], 0.3)
    light = draw_light(rng, indoors)
    return Stage(primitives[free], materials[free], None, light, poses, half_diagonal, FAR)


def second_stage(rng: Draws, frames: int) -> Stage:
    """Of the second world: 55 in 100 are interiors."""
    world = SecondWorld(rng)
    pictures = draw_pictures(rng)
    indoors = rng.chance(0.55)
    half_diagonal = math.tan(math.radians(_half_angle(rng, indoors)))
    if indoors:
        room, targets = furnish_interior(world, rng)
        view, reach = _view_inside(rng, room, targets, half_diagonal)
    else:
        view, reach = _view_outside(rng, furnish_landscape(world, rng), half_diagonal)
    poses = draw_path(rng, frames, view, reach)
    primitives, materials = world.freeze()
    free = _out_of_the_way(primitives, poses[:, :3, 3], 0.2)
    light = vary_light(rng, draw_light(rng, indoors))
    return Stage(primitives[free], materials[free], pictures, light, poses, half_diagonal, FARTHEST)


def _out_of_the_way(primitives: Primitives, positions: Tensor, margin: float) -> Tensor:
    """``[N]`` bool: nothing may stand where the camera is, or it would see the inside of a cupboard first."""
    clear = torch.ones(len(primitives), dtype=torch.bool)
    for position in positions:
        clear &= ((primitives.centre - position).abs() > primitives.half_size + margin).any(-1)
    return clear | (primitives.half_size.amax(-1) > 2.5)


def _half_angle(rng: Draws, indoors: bool) -> float:
    """Half the diagonal field of view, degrees: as phones, other cameras and broadcasts' zooms have."""
    kind = rng.uniform(0, 1)
    if kind < 0.5:
        return rng.uniform(33, 42)
    if kind < 0.62:
        return rng.uniform(42, 56)
    return rng.uniform(18, 33) if indoors or kind < 0.8 else rng.uniform(6, 20)


def _view_inside(rng: Draws, room: Room, targets: list[Vector], half_diagonal: float) -> tuple[View, float]:
    """From where a person holds a phone towards one of the targets, and how far there is room to go."""
    speed = rng.uniform(0.05, 0.9)
    for _ in range(30 if targets else 0):
        x, y, z = targets[rng.integer(0, len(targets) - 1)]
        distance = math.exp(rng.uniform(math.log(0.5), math.log(4.5))) * max(1.0, 0.6 / half_diagonal)
        turn, eye = rng.uniform(0, 2 * math.pi), min(rng.uniform(0.8, 1.8), room.height - 0.3)
        at = (x + distance * math.cos(turn), z + distance * math.sin(turn))
        space = min(room.width / 2 - abs(at[0]), room.depth / 2 - abs(at[1]))
        if space > 0.3:
            look = _towards(rng, (at[0], -eye, at[1]), (x, y, z), speed)
            return look, min(space - 0.25, 0.6 * distance, 1.5)
    x, z = (rng.uniform(-0.3, 0.3) * s for s in room[:2])
    position = torch.tensor([x, -min(rng.uniform(0.8, 1.8), room.height - 0.3), z])
    return View(position, rng.uniform(-3.1, 3.1), rng.uniform(-0.15, 0.5), speed), 0.3


def _view_outside(rng: Draws, targets: list[Vector], half_diagonal: float) -> tuple[View, float]:
    """From eye height, or from a stand or a window, mostly at one of the targets."""
    eye = rng.uniform(1.1, 2.0) if rng.chance(0.7) else rng.uniform(2, 12)
    speed = rng.uniform(0.1, 1.6) if rng.chance(0.8) else rng.uniform(2, 9)
    back = -2.0 - (rng.uniform(5, 25) if half_diagonal < 0.35 else 0.0)
    position = (rng.uniform(-2, 2), -eye, back)
    reach = 1.5 if speed < 2 else 20.0
    if targets and rng.chance(0.75):
        return _towards(rng, position, targets[rng.integer(0, len(targets) - 1)], speed), reach
    pitch = rng.uniform(-0.2, 0.25) + (rng.uniform(0.05, 0.4) if eye > 2.5 else 0.0)
    spread = 0.3 if half_diagonal < 0.35 else 0.7
    return View(torch.tensor(position), rng.uniform(-spread, spread), pitch, speed), reach


def _towards(rng: Draws, position: Vector, target: Vector, speed: float) -> View:
    """A view that has a target somewhere about its middle."""
    dx, dy, dz = (b - a for a, b in zip(position, target, strict=True))
    yaw = math.atan2(dx, dz) + rng.uniform(-0.2, 0.2)
    pitch = math.atan2(dy, math.hypot(dx, dz)) + rng.uniform(-0.2, 0.12)
    return View(torch.tensor(position), yaw, min(max(pitch, -0.5), 1.3), speed)
