"""Rooms of the second world: halls, bedrooms, kitchens, tables from above."""

from __future__ import annotations

import math

from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.furniture import SIDES, box, chair, lump, sofa, table
from geometrycrafter.data.renderer.openings import Wall, build_wall, hang
from geometrycrafter.data.renderer.people import add_animal, add_person
from geometrycrafter.data.renderer.rooms import Room
from geometrycrafter.data.renderer.surfaces import SecondWorld, natural, plain, skin
from geometrycrafter.data.renderer.world import Primitive, Vector


def furnish_interior(world: SecondWorld, rng: Draws) -> tuple[Room, list[Vector]]:
    """Build and fill a room; what is worth looking at in it, on or above the floor."""
    kind = rng.uniform(0, 1)
    hall = kind < 0.25
    room = Room(
        *(rng.uniform(*r) for r in (((4, 14), (4, 14), (2.6, 6)) if hall else ((2.4, 6), (2.6, 7), (2.2, 3.2))))
    )
    walls = build_shell(world, rng, room)
    targets: list[Vector] = []
    if hall:
        _people_before_a_wall(world, rng, room, targets)
    elif kind < 0.45:
        _bedroom(world, rng, room, targets)
    elif kind < 0.7:
        _kitchen(world, rng, walls, targets)
    else:
        _table_top(world, rng, room, targets)
    for _ in range(rng.integer(0, 2 if hall else 4)):
        _stand(world, rng, room, targets)
    if not hall and rng.chance(0.5):
        _people_before_a_wall(world, rng, room, targets)
    return room, targets


def build_shell(world: SecondWorld, rng: Draws, room: Room) -> list[Wall]:
    """Floor, ceiling and four walls, with windows, doors, niches and posters."""
    w, d, h = room
    world.add((0, 0.1, 0), (w, 0.1, d))
    world.add((0, -h - 0.1, 0), (w, 0.1, d), material=plain(natural(rng, 0.5, 0.95, 0.03)))
    world.add((0, 3.2, 0), (400, 0.1, 400))  # what is seen through windows
    common = world.material(0.3)
    walls = [
        Wall(0, d / 2, 0.0, w, h),
        Wall(w / 2, 0, math.pi / 2, d, h),
        Wall(0, -d / 2, math.pi, w, h),
        Wall(-w / 2, 0, -math.pi / 2, d, h),
    ]
    for wall in walls:
        build_wall(world, rng, wall, common if rng.chance(0.7) else world.material(0.3), sky=rng.chance(0.4))
        if rng.chance(0.6):
            hang(world, rng, wall)
        if rng.chance(0.4):  # a skirting board
            wall.put(world, (0, wall.width), (0, rng.uniform(0.05, 0.15)), (-0.015, 0), world.material(0.1))
    return walls


def _spot(rng: Draws, room: Room, margin: float) -> tuple[float, float]:
    return tuple(rng.uniform(-1, 1) * max(s / 2 - margin, 0.05) for s in room[:2])  # type: ignore[return-value]


def _people_before_a_wall(world: SecondWorld, rng: Draws, room: Room, targets: list[Vector]) -> None:
    for _ in range(rng.integer(1, 3)):
        at = _spot(rng, room, 0.5)
        add_person(world, rng, at, rng.uniform(0, 6.3), rng.uniform(0.2, 1.2) if rng.chance(0.4) else 0.0)
        targets.append((at[0], -rng.uniform(0.7, 1.6), at[1]))


def _bedroom(world: SecondWorld, rng: Draws, room: Room, targets: list[Vector]) -> None:
    """A bed with its head at a wall, pillows, a rumpled blanket, an animal or somebody in it."""
    wide, long, high = rng.uniform(0.9, 2), min(rng.uniform(1.9, 2.2), room.depth - 0.3), rng.uniform(0.35, 0.65)
    x, z = rng.uniform(-1, 1) * max(room.width / 2 - wide / 2, 0), room.depth / 2 - long / 2 - 0.08
    linen = world.material() if rng.chance(0.7) else plain(natural(rng, 0.5, 0.95))
    world.add((x, -high / 2, z), (wide / 2, high / 2, long / 2), material=linen)
    head, board = rng.uniform(high + 0.2, 1.4), world.rough()
    if rng.chance(0.4):  # of bars
        for i in range(9):
            bar = x + wide * (i / 8 - 0.5)
            world.add((bar, -head / 2, z + long / 2 + 0.04), (0.022, head / 2, 0.022), material=board)
        world.add((x, -head, z + long / 2 + 0.04), (wide / 2 + 0.03, 0.04, 0.03), material=board)
    else:
        world.add((x, -head / 2, z + long / 2 + 0.04), (wide / 2, head / 2, 0.03), material=board)
    cover = world.material()
    for _ in range(rng.integer(5, 11)):
        place = (x + rng.uniform(-0.5, 0.5) * wide, -high, z + rng.uniform(-0.5, 0.3) * long)
        size = (rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.25), rng.uniform(0.15, 0.5))
        folds = cover if rng.chance(0.8) else linen
        world.place(Primitive(place, size, rng.uniform(0, 3.1), True, (0, 0, 0), rng.uniform(-0.3, 0.3)), folds)
    for i in range(rng.integer(1, 3)):
        place = (x + (i - 0.7) * 0.45 * wide, -high - 0.12, z + long / 2 - 0.28)
        shape = (rng.uniform(0.25, 0.38), 0.13, rng.uniform(0.16, 0.24))
        pillow = Primitive(place, shape, rng.uniform(-0.3, 0.3), True, (0, 0, 0), rng.uniform(0.0, 0.9))
        world.place(pillow, world.material())
        if rng.chance(0.3):
            world.add((place[0], place[1] - 0.14, place[2] - 0.05), (0.085, 0.09, 0.11), 0.0, True, material=skin(rng))
    if rng.chance(0.5):
        add_animal(world, rng, (x + rng.uniform(-0.3, 0.3) * wide, z), rng.uniform(0, 6.3), high)
    targets.extend([(x, -high - 0.15, z)] * 3)


def _kitchen(world: SecondWorld, rng: Draws, walls: list[Wall], targets: list[Vector]) -> None:
    """Cupboards with thin gaps below and above a worktop, on which boxes and jars stand."""
    front, gap = world.material(0.3), plain(natural(rng, 0.01, 0.15))
    for wall in walls[: rng.integer(1, 2)]:
        deep, high = rng.uniform(0.5, 0.7), rng.uniform(0.82, 0.98)
        upper = rng.uniform(1.35, 1.6)
        _cupboards(world, rng, wall, (0.0, high), deep, (front, gap))
        top = world.material(0.2)
        wall.put(world, (0, wall.width), (high, high + rng.uniform(0.02, 0.05)), (-deep - 0.03, 0), top)
        if rng.chance(0.75):
            _cupboards(world, rng, wall, (upper, min(upper + 0.8, wall.height)), 0.35, (front, gap))
        for _ in range(rng.integer(3, 9)):
            s, tall, left = rng.uniform(0.06, 0.45), rng.uniform(0.08, 0.4), rng.uniform(0, wall.width - 0.5)
            back = rng.uniform(0.02, max(0.03, deep - s))
            thing = world.poster() if rng.chance(0.3) else world.material()
            wall.put(world, (left, left + s), (high + 0.03, high + 0.03 + tall), (-back - min(s, 0.4), -back), thing)
        cos, sin = math.cos(wall.yaw), math.sin(wall.yaw)
        right = rng.uniform(-0.3, 0.3) * wall.width
        place = (wall.x + cos * right - sin * deep / 2, -high, wall.z - sin * right - cos * deep / 2)
        targets.extend([place] * 2)


def _cupboards(
    world: SecondWorld,
    rng: Draws,
    wall: Wall,
    up: tuple[float, float],
    deep: float,
    materials: tuple[Tensor, Tensor],
) -> None:
    """One body whose doors stand before it with a finger's breadth between them."""
    front, gap = materials
    wall.put(world, (0, wall.width), up, (-deep, 0), gap)
    left = 0.0
    while left < wall.width - 0.2:
        wide = min(rng.uniform(0.3, 0.9), wall.width - left)
        own = front if rng.chance(0.85) else world.material()
        slit = rng.uniform(0.002, 0.008)
        if rng.chance(0.9):  # else open, dark
            wall.put(world, (left + slit, left + wide - slit), (up[0] + 0.03, up[1] - 0.01), (-deep - 0.02, -deep), own)
        if rng.chance(0.5):
            handle = plain(natural(rng, 0.1, 0.8), 0.5)
            bar = (left + 0.2 * wide, left + 0.8 * wide), (up[1] - 0.08, up[1] - 0.06)
            wall.put(world, *bar, (-deep - 0.05, -deep - 0.03), handle)
        left += wide


def _table_top(world: SecondWorld, rng: Draws, room: Room, targets: list[Vector]) -> None:
    """A table with papers, plates, boxes and cups on it."""
    at, yaw = _spot(rng, room, 0.8), rng.uniform(0, 3.1)
    parts, (across, top, deep) = table(rng)
    world.assemble(at, yaw, parts)
    cos, sin = math.cos(yaw), math.sin(yaw)
    for _ in range(rng.integer(3, 12)):
        x, z, s = rng.uniform(-0.46, 0.46) * across, rng.uniform(-0.46, 0.46) * deep, rng.uniform(0.04, 0.3)
        flat, round_one = rng.chance(0.4), rng.chance(0.45)
        tall = rng.uniform(0.002, 0.02) if flat else rng.uniform(0.04, 0.3)
        centre = (at[0] + cos * x + sin * z, -top - 0.05 - tall / 2, at[1] - sin * x + cos * z)
        thing = world.poster() if flat or rng.chance(0.3) else world.material()
        half_size = (s / 2, tall / 2, s / 2 * rng.uniform(0.5, 1.4))
        world.add(centre, half_size, yaw + rng.uniform(-0.5, 0.5), round_one, material=thing)
    targets.extend([(at[0], -top, at[1])] * 4)


def _stand(world: SecondWorld, rng: Draws, room: Room, targets: list[Vector]) -> None:
    """A chair, a sofa, a shelf at a wall, an animal, or clutter."""
    at, yaw, pick = _spot(rng, room, 0.5), rng.uniform(0, 6.3), rng.integer(0, 4)
    if pick == 0:
        world.assemble(at, yaw, chair(rng))
    elif pick == 1:
        world.assemble(at, yaw, sofa(rng))
    elif pick == 2:
        _shelf(world, rng, (at[0], rng.sign() * (room.depth / 2 - 0.17)))
    elif pick == 3:
        add_animal(world, rng, at, yaw)
    else:
        s, tall = rng.uniform(0.15, 0.7), rng.uniform(0.1, 1.2)
        world.assemble(at, yaw, [lump(s, tall, s * rng.uniform(0.5, 1.5), 0, -tall / 2, 0, 0.2, rng)])
    targets.append((at[0], -0.5, at[1]))


def _shelf(world: SecondWorld, rng: Draws, at: tuple[float, float]) -> None:
    """Boards and sides, open, with boxes and books on the boards."""
    wide, tall, deep, count = rng.uniform(0.6, 1.4), rng.uniform(0.8, 2.1), 0.3, rng.integer(2, 5)
    boards = [box(wide, 0.025, deep, y=tall * i / count) for i in range(count + 1)]
    world.assemble(at, 0.0, [*boards, *(box(0.025, tall, deep, x=side * wide / 2) for side in SIDES)])
    world.assemble(at, 0.0, [box(wide, tall, 0.01, z=math.copysign(deep / 2, at[1]))])
    for i in range(count):
        for _ in range(rng.integer(0, 3)):
            s, h = rng.uniform(0.05, 0.3), rng.uniform(0.3, 0.85) * tall / count
            parts = [box(s, h, 0.2, rng.uniform(-0.4, 0.4) * wide, tall * i / count + 0.025)]
            world.assemble(at, 0.0, parts, shared_material=False)
