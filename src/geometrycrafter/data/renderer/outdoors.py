"""Streets and open ground."""

from __future__ import annotations

import math

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.furniture import SIDES, box, car, lump, person, tree, walk
from geometrycrafter.data.renderer.world import FAR, STILL, World


def furnish_outdoors(world: World, rng: Draws, street: bool) -> None:
    """Ground with what stands and walks on it; a street has houses and cars, open ground distant masses."""
    world.add((0, 5, 0), (2 * FAR, 5, 2 * FAR), material=world.material(vivid=0.4))
    if street:
        _build_a_street(world, rng)
    extent = 12.0 if street else rng.uniform(8, 25)
    for _ in range(rng.integer(1, 5)):
        at = (rng.uniform(-extent, extent), rng.uniform(2, 2.5 * extent))
        world.assemble(at, 0, tree(rng))
    for _ in range(rng.integer(0, 3)):
        at = (rng.uniform(-5, 5), rng.uniform(2, 14))
        world.assemble(at, rng.uniform(0, 6.3), person(rng), walk(rng, 1.5) if rng.chance(0.7) else STILL)
    for _ in range(rng.integer(0, 5)):
        at = (rng.uniform(-extent, extent) * 0.6, rng.uniform(1.5, extent))
        s, h = rng.uniform(0.2, 2.5), rng.uniform(0.2, 2.0)
        if rng.chance(0.3):  # posts and fences
            s, h = rng.uniform(0.05, 0.12), rng.uniform(1, 4)
        thing = lump(s, h, 2 * s * rng.uniform(0.2, 0.5), 0.0, -h / 2, 0.0, 0.3, rng)
        world.assemble(at, rng.uniform(0, 6.3), [thing])
    if not street:
        _close_the_view(world, rng)


def _build_a_street(world: World, rng: Draws) -> None:
    half_road = rng.uniform(3.5, 9)
    world.add((0, 0.0, 0), (half_road, 0.02, FAR), material=world.material(vivid=0.1))
    for side in SIDES:
        z = rng.uniform(-15, 0)
        while z < 70:
            width, depth, height = rng.uniform(5, 16), rng.uniform(6, 14), rng.uniform(3, 22)
            x = side * (half_road + rng.uniform(1.5, 5) + depth / 2)
            world.assemble((x, z + width / 2), 0, [box(depth, height, width)])
            z += width + (rng.uniform(0, 6) if rng.chance(0.4) else 0)
    for _ in range(rng.integer(1, 5)):
        across = rng.uniform(-1, 1)
        lane = math.copysign(half_road * rng.uniform(0.3, 0.95), across)
        moving = rng.chance(0.5)
        velocity = (0.0, 0.0, -math.copysign(rng.uniform(1, 9), across) if moving else 0.0)
        world.assemble((lane, rng.uniform(4, 50)), rng.uniform(-0.05, 0.05), car(rng), velocity)


def _close_the_view(world: World, rng: Draws) -> None:
    """Distant masses."""
    for _ in range(rng.integer(0, 4)):
        at = (rng.uniform(-80, 80), rng.uniform(40, 150))
        yaw = rng.uniform(0, 3)
        world.assemble(at, yaw, [box(rng.uniform(10, 60), rng.uniform(4, 25), rng.uniform(5, 20))])
