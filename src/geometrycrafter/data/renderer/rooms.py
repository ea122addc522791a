"""Rooms: floor, walls and ceiling, what stands along the walls, what stands free."""

from __future__ import annotations

import math
from typing import NamedTuple

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.furniture import SIDES, box, chair, lump, person, sofa, table, walk
from geometrycrafter.data.renderer.world import STILL, World


class Room(NamedTuple):
    """Sizes in metres; the room's middle is the world's origin."""

    width: float
    depth: float
    height: float


SHELL = 6
"""Primitives that a room begins with: floor, ceiling, four walls."""


def furnish_room(world: World, rng: Draws) -> Room:
    """Build a room and fill it."""
    room = Room(rng.uniform(2.6, 8), rng.uniform(2.8, 9), rng.uniform(2.3, 3.3))
    _build(world, rng, room)
    for _ in range(rng.integer(1, 5)):
        _hang(world, rng, room)
    for _ in range(rng.integer(1, 6)):
        _stand_along_a_wall(world, rng, room)
    if rng.chance(0.5):
        _fit_a_kitchen(world, rng, room)
    for _ in range(rng.integer(1, 5)):
        _stand_free(world, rng, room)
    return room


def _build(world: World, rng: Draws, room: Room) -> None:
    """Walls, floor and ceiling are slabs, so that each has its own material."""
    w, d, h = room
    t = 0.2
    world.add((0, t / 2, 0), (w, t / 2, d))
    world.add((0, -h - t / 2, 0), (w, t / 2, d), material=world.material(vivid=0.1).clamp(0.3, 1))
    wall = world.material(vivid=0.3)
    for side in SIDES:
        world.add((side * (w / 2 + t / 2), -h / 2, 0), (t / 2, h / 2, d), material=None if rng.chance(0.3) else wall)
    for side in SIDES:
        world.add((0, -h / 2, side * (d / 2 + t / 2)), (w, h / 2, t / 2), material=None if rng.chance(0.3) else wall)


def _hang(world: World, rng: Draws, room: Room) -> None:
    """A door, window or picture: a thin box on a wall."""
    w, d, h = room
    across, tall = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.6)
    y = -rng.uniform(tall / 2, max(h - tall / 2, tall / 2 + 0.01))
    if rng.chance(0.5):
        x, z = rng.uniform(-w / 2, w / 2), rng.uniform(-1, 1)
        world.add((x, y, math.copysign(d / 2, z)), (across / 2, tall / 2, 0.03))
    else:
        x, z = rng.uniform(-1, 1), rng.uniform(-d / 2, d / 2)
        world.add((math.copysign(w / 2, x), y, z), (0.03, tall / 2, across / 2))


def _stand_along_a_wall(world: World, rng: Draws, room: Room) -> None:
    """A cupboard, shelf or counter, with things on it."""
    w, d, h = room
    across, tall, deep = rng.uniform(0.4, 2.2), rng.uniform(0.5, 2.2), rng.uniform(0.25, 0.65)
    lift = rng.uniform(1.2, 1.6) if rng.chance(0.2) else 0.0
    tall = min(tall, h - lift)
    if rng.chance(0.5):
        z = math.copysign(d / 2 - deep / 2, rng.uniform(-1, 1))
        at, yaw = (rng.uniform(-w / 2, w / 2), z), 0.0
    else:
        x = math.copysign(w / 2 - deep / 2, rng.uniform(-1, 1))
        at, yaw = (x, rng.uniform(-d / 2, d / 2)), math.pi / 2
    parts = [box(across, tall, deep, y=lift)]
    if lift == 0.0 and tall < 1.3:
        for _ in range(rng.integer(0, 4)):
            s = rng.uniform(0.06, 0.35)
            parts.append(box(s, rng.uniform(0.08, 0.45), s, rng.uniform(-across / 2, across / 2), tall))
    world.assemble(at, yaw, parts, shared_material=False)


def _fit_a_kitchen(world: World, rng: Draws, room: Room) -> None:
    """A worktop along a wall or two, cupboards above it, and what stands on it."""
    deep, top = rng.uniform(0.5, 0.7), rng.uniform(0.8, 1.0)
    for wall in range(rng.integer(1, 2)):
        if wall:
            at = (math.copysign(room.width / 2 - deep / 2, rng.uniform(-1, 1)), 0.0)
            _fit_a_worktop(world, rng, room, at, math.pi / 2, room.depth, deep, top)
        else:
            _fit_a_worktop(world, rng, room, (0.0, room.depth / 2 - deep / 2), 0.0, room.width, deep, top)


def _fit_a_worktop(
    world: World,
    rng: Draws,
    room: Room,
    at: tuple[float, float],
    yaw: float,
    length: float,
    deep: float,
    top: float,
) -> None:
    front = 1.0 if yaw and at[0] > 0 else -1.0
    world.assemble(at, yaw, [box(length, top, deep)])
    world.assemble(at, yaw, [box(length, 0.04, deep + 0.04, y=top)])
    for _ in range(rng.integer(2, 6)):  # doors of the cupboards below
        panel = rng.uniform(0.3, 0.6)
        x = rng.uniform(-length / 2, length / 2)
        world.assemble(at, yaw, [box(panel, top * 0.8, 0.03, x, top * 0.1, front * deep / 2)])
    if rng.chance(0.7):
        lift = rng.uniform(1.3, 1.5)
        wide = length * rng.uniform(0.3, 1)
        world.assemble(at, yaw, [box(wide, min(0.8, room.height - lift), 0.35, y=lift, z=-front * 0.15)])
    for _ in range(rng.integer(3, 10)):
        s = rng.uniform(0.05, 0.4)
        x, z = rng.uniform(-length / 2, length / 2), rng.uniform(-0.3, 0.3) * deep
        tall = rng.uniform(0.05, 0.45)
        world.assemble(at, yaw, [lump(s, tall, min(s, deep * 0.8), x, -top - 0.04 - tall / 2, z, 0.4, rng)])


def _stand_free(world: World, rng: Draws, room: Room) -> None:
    """Furniture, a person or clutter in the middle of the room."""
    w, d, _ = room
    at = (rng.uniform(-w / 2 + 0.4, w / 2 - 0.4), rng.uniform(-d / 2 + 0.4, d / 2 - 0.4))
    yaw = rng.uniform(0, 2 * math.pi)
    pick = rng.integer(0, 4)
    if pick == 0:
        parts, (across, top, deep) = table(rng)
        world.assemble(at, yaw, parts)
        for _ in range(rng.integer(0, 4)):
            s, tall = rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.35)
            x, z = rng.uniform(-across, across) * 0.4, rng.uniform(-deep, deep) * 0.4
            world.assemble(at, yaw, [lump(s, tall, s, x, -top - 0.05 - tall / 2, z, 0.4, rng)])
    elif pick == 1:
        world.assemble(at, yaw, chair(rng))
    elif pick == 2:
        world.assemble(at, yaw, sofa(rng))
    elif pick == 3:
        world.assemble(at, yaw, person(rng), walk(rng, 0.8) if rng.chance(0.5) else STILL)
    else:
        s = rng.uniform(0.15, 0.7)
        world.assemble(at, yaw, [box(s, rng.uniform(0.1, 1.0), s * rng.uniform(0.5, 1.5))])
