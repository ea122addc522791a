"""Thin things before the sky: fences, nets, poles with wires, trees with branches."""

from __future__ import annotations

import math

from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.furniture import SIDES
from geometrycrafter.data.renderer.surfaces import SecondWorld, natural, plain
from geometrycrafter.data.renderer.world import STILL, Primitive, Vector


def add_rod(
    world: SecondWorld, start: Vector, end: Vector, radius: float, material: Tensor, is_ellipsoid: bool
) -> None:
    """A straight bar from point to point, square or thinner to its ends, of a material ``[12]``."""
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    tilt, yaw = math.acos(max(-1.0, min(1.0, dy / length))), math.atan2(dx, dz)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    world.place(Primitive(middle, (radius, length / 2, radius), yaw, is_ellipsoid, STILL, tilt), material)


def add_fence(
    world: SecondWorld, rng: Draws, start: tuple[float, float], end: tuple[float, float], high: float, spacing: float
) -> None:
    """Posts, rails, and between them bars, slants or a wide mesh; never more than 60 pieces."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    material = plain(natural(rng, 0.05, 0.8, 0.15))
    thick = rng.uniform(0.012, 0.05)
    count = max(2, min(int(length / spacing), 40))
    tops: list[tuple[float, float]] = []
    for i in range(count + 1):
        x, z = (a + (b - a) * i / count for a, b in zip(start, end, strict=True))
        tops.append((x, z))
        world.add((x, -high / 2, z), (thick, high / 2, thick), material=material)
    rails = [1.0, rng.uniform(0.3, 0.6)] if rng.chance(0.5) else [1.0, 0.75, 0.5, 0.25, 0.05]
    for level in rails:
        rail = -high * level
        add_rod(world, (start[0], rail, start[1]), (end[0], rail, end[1]), 0.6 * thick, material, False)
    if rng.chance(0.35):  # slants between posts
        for (x, z), (next_x, next_z) in list(zip(tops, tops[1:], strict=False))[:14]:
            bottom, top = (-0.05, -high) if rng.chance(0.5) else (-high, -0.05)
            add_rod(world, (x, bottom, z), (next_x, top, next_z), 0.5 * thick, material, False)


def add_pole(world: SecondWorld, rng: Draws, at: tuple[float, float]) -> None:
    """A lamp, a sign or a mast, some with wires that go far."""
    high, thick, metal = rng.uniform(2.2, 8), rng.uniform(0.025, 0.12), plain(natural(rng, 0.03, 0.7), 0.2)
    world.add((at[0], -high / 2, at[1]), (thick, high / 2, thick), 0.0, material=metal)
    kind = rng.integer(0, 2)
    if kind == 0:
        arm = rng.uniform(-1.5, 1.5)
        add_rod(world, (at[0], -high, at[1]), (at[0] + arm, -high - 0.2, at[1] + 0.01), 0.6 * thick, metal, False)
        world.add((at[0] + arm, -high - 0.15, at[1]), (0.25, 0.07, 0.12), material=metal)
    elif kind == 1:
        s = rng.uniform(0.2, 0.9)
        world.add(
            (at[0], -high + s, at[1] - thick - 0.01), (s * rng.uniform(0.6, 1.6), s, 0.01), material=world.banner()
        )
    else:
        for side in SIDES:
            end = (at[0] + rng.uniform(-15, 15), -high - rng.uniform(-1, 1), at[1] + side * 25)
            add_rod(world, (at[0], -high, at[1]), end, 0.012, metal, False)


def add_tree(world: SecondWorld, rng: Draws, at: tuple[float, float]) -> None:
    """A trunk, branches, and leaves in clumps; some trees are bare."""
    high, bare = rng.uniform(2.5, 10), rng.chance(0.25)
    bark, trunk = plain(natural(rng, 0.04, 0.45, 0.1)), high * rng.uniform(0.012, 0.03)
    lean = rng.uniform(-0.08, 0.08) * high
    crown = (at[0] + lean, -high * 0.75, at[1])
    add_rod(world, (at[0], 0.1, at[1]), crown, trunk, bark, False)
    ends = _boughs(world, rng, crown, high * rng.uniform(0.25, 0.5), trunk * 0.5, bark, 9 if bare else 4)
    if bare:
        return
    leaves = world.rough() if rng.chance(0.6) else plain((rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.5), 0.06))
    for x, y, z in [crown, *ends] * 3:
        r, far = high * rng.uniform(0.04, 0.14), 0.12 * high
        place = (x + rng.uniform(-far, far), y + rng.uniform(-far, far), z + rng.uniform(-far, far))
        shape = (r * rng.uniform(0.7, 1.3), r * rng.uniform(0.5, 1), r * rng.uniform(0.7, 1.3))
        world.place(Primitive(place, shape, rng.uniform(0, 3.1), True, STILL, rng.uniform(-0.5, 0.5)), leaves)


def add_branches(world: SecondWorld, rng: Draws, at: Vector, reach: float) -> None:
    """A bough with twigs that hangs into the view."""
    bark = plain(natural(rng, 0.02, 0.35, 0.1))
    ends = _boughs(world, rng, at, reach, 0.03, bark, 5)
    for end in ends:
        for tip in _boughs(world, rng, end, 0.4 * reach, 0.012, bark, 3):
            if rng.chance(0.6):
                r = rng.uniform(0.05, 0.2)
                world.add(tip, (r, 0.4 * r, r), rng.uniform(0, 3), True, material=world.rough())


def _boughs(
    world: SecondWorld, rng: Draws, at: Vector, reach: float, thick: float, bark: Tensor, count: int
) -> list[Vector]:
    """Rods from one point outwards and upwards; where they end."""
    ends = []
    for _ in range(count):
        turn, rise = rng.uniform(0, 2 * math.pi), rng.uniform(-0.3, 1.2)
        long = reach * rng.uniform(0.5, 1.0)
        aside = long * math.cos(rise)
        end = (at[0] + aside * math.cos(turn), at[1] - long * math.sin(rise), at[2] + aside * math.sin(turn))
        add_rod(world, at, end, thick, bark, True)
        ends.append(end)
    return ends
