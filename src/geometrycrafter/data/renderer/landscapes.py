"""Outdoors of the second world: courts, streets, parks, shores, from low and from above."""

from __future__ import annotations

import math

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.fences import add_branches, add_fence, add_pole, add_tree
from geometrycrafter.data.renderer.furniture import SIDES, box, car, lump
from geometrycrafter.data.renderer.openings import Wall, hang
from geometrycrafter.data.renderer.people import add_animal, add_person
from geometrycrafter.data.renderer.surfaces import SecondWorld, natural, plain, vivid
from geometrycrafter.data.renderer.world import Vector

FARTHEST = 1000.0
"""What is beyond is sky, metres."""


def furnish_landscape(world: SecondWorld, rng: Draws) -> list[Vector]:
    """Build one; what is worth looking at in it."""
    world.add((0, 5, 0), (2 * FARTHEST, 5, 2 * FARTHEST), material=world.rough())
    targets: list[Vector] = []
    kind = rng.uniform(0, 1)
    if kind < 0.3:
        _court(world, rng, targets)
    elif kind < 0.6:
        _street(world, rng, targets)
    elif kind < 0.8:
        _park(world, rng, targets)
    else:
        _shore(world, rng, targets)
    if rng.chance(0.25):  # close before the sky
        add_branches(world, rng, (rng.uniform(-2, 2), -rng.uniform(2, 4), rng.uniform(2, 6)), rng.uniform(1, 3))
    return targets


def _walkers(world: SecondWorld, rng: Draws, targets: list[Vector], least: int, most: int, far: float) -> None:
    """People at all distances: near ones as often as far ones by the logarithm."""
    for _ in range(rng.integer(least, most)):
        z = math.exp(rng.uniform(math.log(2), math.log(far)))
        x = rng.uniform(-0.6, 0.6) * z
        add_person(world, rng, (x, z), rng.uniform(0, 6.3), rng.uniform(0.4, 2) if rng.chance(0.6) else 0.0)
        targets.append((x, -1.0, z))


def _court(world: SecondWorld, rng: Draws, targets: list[Vector]) -> None:
    """A sports court: lines on the ground, a net, players, a wall with banners, a fence and poles before the sky."""
    back, half = rng.uniform(6, 22), rng.uniform(4, 12)
    ground = world.rough() if rng.chance(0.6) else plain(vivid(rng))
    world.add((0, 0.0, back / 2), (half + 4, 0.01, back / 2 + 12), material=ground)
    line, width = plain(natural(rng, 0.7, 1.0, 0.02)), rng.uniform(0.025, 0.06)
    for x in (-half, -0.75 * half, 0.0, 0.75 * half, half):
        if rng.chance(0.7):
            world.add((x, -0.008, back / 2 - 2), (width, 0.004, back / 2), material=line)
    for z in (0.15 * back, 0.5 * back, 0.8 * back):
        world.add((0, -0.008, z), (half, 0.004, width), material=line)
    if rng.chance(0.35):  # a net, close woven at the top
        z = rng.uniform(0.3, 0.6) * back
        add_fence(world, rng, (-half, z), (half, z), rng.uniform(0.9, 1.1), spacing=0.35)
        world.add((0, -1.05, z), (half, 0.035, 0.01), material=line)
    low = rng.uniform(0.4, 2.5)
    if rng.chance(0.75):
        wall = Wall(0, back + 1, 0.0, 6 * half, low)
        wall.put(world, (0, wall.width), (0, low), (0, 0.3), world.material(0.2))
        hang(world, rng, wall)
    left = -2 * half
    while left < 2 * half:  # banners on the fence, with gaps that show what is behind
        wide = rng.uniform(2, 9)
        if rng.chance(0.5):
            banner = Wall(left + wide / 2, back + 0.9, 0.0, wide, rng.uniform(0.8, 2.5), rng.uniform(0, low))
            cloth = world.banner() if rng.chance(0.7) else plain(vivid(rng))
            banner.put(world, (0, wide), (0, banner.height), (0, 0.01), cloth)
        left += wide + rng.uniform(0, 3)
    add_fence(world, rng, (-3 * half, back + 1), (3 * half, back + 1), rng.uniform(2.5, 5), spacing=rng.uniform(0.5, 3))
    for _ in range(rng.integer(0, 10)):
        add_tree(world, rng, (rng.uniform(-2.5, 2.5) * half, back + rng.uniform(2, 12)))
    _walkers(world, rng, targets, 2, 5, back)


def _street(world: SecondWorld, rng: Draws, targets: list[Vector]) -> None:
    """Houses with dark windows, posters and signs; a road with lines, cars, people; poles with wires."""
    half = rng.uniform(3, 9)
    world.add((0, 0.0, 0), (half, 0.02, 400), material=world.rough())
    if rng.chance(0.7):
        for i in range(12):
            world.add((0, -0.021, 6.0 * i), (0.07, 0.004, 1.2), material=plain((0.85, 0.85, 0.8)))
    for side in SIDES:
        z = rng.uniform(-12, 0)
        while z < 70:
            wide, deep, high = rng.uniform(5, 16), rng.uniform(6, 14), rng.uniform(3, 20)
            front = half + rng.uniform(1.5, 4)
            if rng.chance(0.8):
                _house(world, rng, Wall(side * front, z + wide / 2, side * math.pi / 2, wide, high), deep)
            else:
                add_fence(world, rng, (side * front, z), (side * front, z + wide), rng.uniform(1, 2.2), 0.5)
                add_tree(world, rng, (side * (front + 3), z + wide / 2))
            z += wide + (rng.uniform(0, 5) if rng.chance(0.4) else 0)
    for _ in range(rng.integer(1, 5)):
        lane, moving = rng.sign() * half * rng.uniform(0.3, 0.95), rng.chance(0.4)
        velocity = (0.0, 0.0, -math.copysign(rng.uniform(1, 8), lane) if moving else 0.0)
        world.assemble((lane, rng.uniform(4, 50)), rng.uniform(-0.05, 0.05), car(rng), velocity, rng.chance(0.5))
    for _ in range(rng.integer(0, 5)):
        add_pole(world, rng, (rng.sign() * (half + rng.uniform(0.3, 1.2)), rng.uniform(3, 35)))
    _walkers(world, rng, targets, 1, 5, 30)


def _house(world: SecondWorld, rng: Draws, wall: Wall, deep: float) -> None:
    """A front with rows of windows, dark and flush or a little behind, a door, a shop's sign."""
    wall.put(world, (0, wall.width), (0, wall.height), (0.06, deep), world.material(0.3))
    pane, skin = plain(natural(rng, 0.01, 0.12, 0.03), rng.uniform(0, 0.6)), world.material(0.3)
    columns, floors = max(1, int(wall.width / rng.uniform(2, 4))), max(1, int(wall.height / 3))
    cell, storey, wide = wall.width / columns, wall.height / floors, rng.uniform(0.35, 0.75)
    tall, inset = rng.uniform(0.4, 0.75), rng.choice_of((-0.005, 0.03, 0.05))
    if floors * columns > 24:  # far too many to be worth it: their rows alone
        for i in range(floors):
            wall.put(world, (0.3, wall.width - 0.3), (i * storey + 1, i * storey + 1 + tall * 2), (0.05, 0.06), pane)
        return
    for i in range(floors):
        bottom = i * storey + (1 - tall) * storey * 0.5
        for j in range(columns):
            left = (j + 0.5 - wide / 2) * cell
            wall.put(world, (left, left + wide * cell), (bottom, bottom + tall * storey), (inset, 0.07), pane)
        wall.put(world, (0, wall.width), (i * storey, bottom), (0, 0.06), skin)
    if rng.chance(0.4):
        wall.put(world, (0.1 * cell, wall.width * 0.8), (2.5, 3.2), (-0.15, 0), world.banner())
    if rng.chance(0.3):
        hang(world, rng, wall, 1)


def _park(world: SecondWorld, rng: Draws, targets: list[Vector]) -> None:
    """Trees, paths, fences, people, dogs, things that lie about."""
    if rng.chance(0.6):
        x = rng.uniform(-3, 3)
        world.add((x, 0.0, 30), (rng.uniform(0.6, 2), 0.01, 60), rng.uniform(-0.4, 0.4), material=world.rough())
    for _ in range(rng.integer(3, 9)):
        z = math.exp(rng.uniform(math.log(4), math.log(60)))
        add_tree(world, rng, (rng.uniform(-0.9, 0.9) * z, z))
    if rng.chance(0.6):
        z = rng.uniform(4, 20)
        add_fence(
            world, rng, (-rng.uniform(3, 25), z), (rng.uniform(3, 25), z), rng.uniform(0.9, 2.5), rng.uniform(0.3, 2)
        )
    for _ in range(rng.integer(0, 5)):
        s, h, z = rng.uniform(0.2, 1.6), rng.uniform(0.2, 1.4), rng.uniform(2, 18)
        at = rng.uniform(-0.7, 0.7) * z, z
        world.assemble(at, rng.uniform(0, 6.3), [lump(s, h, s * rng.uniform(0.3, 1), 0.0, -h / 2, 0.0, 0.4, rng)])
        targets.append((at[0], -h / 2, z))
    if rng.chance(0.4):
        at = rng.uniform(-2, 2), rng.uniform(2.5, 8)
        add_animal(world, rng, at, rng.uniform(0, 6.3))
        targets.append((at[0], -0.3, at[1]))
    _hills(world, rng)
    _walkers(world, rng, targets, 0, 4, 40)


def _shore(world: SecondWorld, rng: Draws, targets: list[Vector]) -> None:
    """Sand, and a sea or bare land to the horizon."""
    edge = rng.uniform(4, 40)
    tint = rng.uniform(0.1, 0.5)
    sea = (
        plain((0.3 * tint, tint * rng.uniform(0.5, 0.9), tint), rng.uniform(0, 0.5))
        if rng.chance(0.5)
        else world.rough()
    )
    world.add((0, 0.0, edge + FARTHEST), (2 * FARTHEST, 0.02, FARTHEST), rng.uniform(-0.15, 0.15), material=sea)
    for _ in range(rng.integer(0, 3)):  # boats, buoys, rocks
        z = edge + math.exp(rng.uniform(0, math.log(150)))
        s = rng.uniform(0.4, 4)
        world.assemble((rng.uniform(-0.5, 0.5) * z, z), rng.uniform(0, 3), [lump(3 * s, s, s, 0, -s / 3, 0, 0.5, rng)])
    for _ in range(rng.integer(0, 6)):
        s, z = rng.uniform(0.1, 1.2), rng.uniform(2, edge)
        at = rng.uniform(-0.7, 0.7) * z, z
        world.assemble(at, rng.uniform(0, 3), [lump(s, 0.7 * s, s, 0, -0.3 * s, 0, 0.6, rng)])
    if rng.chance(0.4):
        add_pole(world, rng, (rng.uniform(-4, 4), rng.uniform(4, 15)))
    _hills(world, rng)
    _walkers(world, rng, targets, 1, 4, edge)


def _hills(world: SecondWorld, rng: Draws) -> None:
    """Round masses far away, and houses."""
    for _ in range(rng.integer(0, 4)):
        z = rng.uniform(80, 600)
        size = (rng.uniform(0.2, 1) * z, rng.uniform(0.03, 0.2) * z, rng.uniform(0.1, 0.3) * z)
        world.add((rng.uniform(-1, 1) * z, 0, z), size, 0.0, True)
    for _ in range(rng.integer(0, 3)):
        at = rng.uniform(-60, 60), rng.uniform(30, 150)
        world.assemble(at, rng.uniform(0, 3), [box(rng.uniform(5, 40), rng.uniform(3, 20), rng.uniform(5, 15))])
