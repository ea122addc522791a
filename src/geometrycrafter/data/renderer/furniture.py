"""Things at real sizes, as parts."""

from __future__ import annotations

import math

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.world import Part, Vector

SIDES = (-1, 1)


def box(w: float, h: float, d: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
    """A box of width, height and depth whose bottom is ``y`` above the floor."""
    return Part((x, -y - h / 2, z), (w / 2, h / 2, d / 2), False)


def lump(w: float, h: float, d: float, x: float, y: float, z: float, round_chance: float, rng: Draws) -> Part:
    """A box, or sometimes the ellipsoid that fits into it; ``y`` is of its middle, negative upwards."""
    return Part((x, y, z), (w / 2, h / 2, d / 2), rng.chance(round_chance))


def table(rng: Draws) -> tuple[list[Part], Vector]:
    """A table, and its width, height and depth."""
    w, d, h, leg = rng.uniform(0.6, 1.9), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.95), 0.06
    legs = [box(leg, h, leg, sx * (w / 2 - leg), 0, sz * (d / 2 - leg)) for sx in SIDES for sz in SIDES]
    return [box(w, 0.05, d, y=h), *legs], (w, h, d)


def chair(rng: Draws) -> list[Part]:
    """A seat, a back and four legs."""
    w, h = rng.uniform(0.4, 0.6), rng.uniform(0.42, 0.5)
    parts = [box(w, 0.08, w, y=h - 0.08), box(w, rng.uniform(0.4, 0.6), 0.06, y=h, z=w / 2)]
    return parts + [box(0.04, h - 0.08, 0.04, sx * w * 0.42, 0, sz * w * 0.42) for sx in SIDES for sz in SIDES]


def sofa(rng: Draws) -> list[Part]:
    """A seat, a back and two arms."""
    w, d, h = rng.uniform(1.0, 2.4), rng.uniform(0.8, 1.0), rng.uniform(0.35, 0.48)
    back = box(w, rng.uniform(0.3, 0.5), 0.22, y=h, z=d / 2 - 0.11)
    return [box(w, h, d), back, *(box(0.18, 0.22, d, x=side * (w / 2 - 0.09), y=h) for side in (1, -1))]


def person(rng: Draws) -> list[Part]:
    """Head, body, legs and arms; about 1.45 to 1.9 m."""
    h = rng.uniform(1.45, 1.9)
    w = h * rng.uniform(0.12, 0.15)
    head = Part((0, -h * 0.93, 0), (h * 0.055, h * 0.07, h * 0.062), True)
    body = Part((0, -h * 0.66, 0), (w, h * 0.2, w * 0.6), True)
    legs = [Part((side * w * 0.45, -h * 0.25, 0), (w * 0.42, h * 0.26, w * 0.45), True) for side in (1, -1)]
    arms = [Part((side * w * 1.1, -h * 0.62, 0), (w * 0.25, h * 0.18, w * 0.28), True) for side in (1, -1)]
    return [head, body, *legs, *arms]


def car(rng: Draws) -> list[Part]:
    """A body, a cabin and four wheels."""
    w, length, h = rng.uniform(1.65, 1.95), rng.uniform(3.6, 4.9), rng.uniform(0.6, 0.8)
    cabin = box(w * 0.86, rng.uniform(0.45, 0.65), length * 0.52, y=0.22 + h, z=-0.1 * length)
    wheels = [
        Part((sx * w / 2 * 0.93, -0.32, sz * length * 0.3), (0.1, 0.32, 0.32), True) for sx in SIDES for sz in SIDES
    ]
    return [box(w, h, length, y=0.22), cabin, *wheels]


def tree(rng: Draws) -> list[Part]:
    """A trunk and three lumps of leaves."""
    h, r = rng.uniform(2.5, 9), rng.uniform(0.8, 2.4)
    trunk = r * rng.uniform(0.08, 0.16)
    parts = [box(trunk, h, trunk)]
    for _ in range(3):
        centre = (rng.uniform(-0.4, 0.4) * r, -h - rng.uniform(-0.4, 0.5) * r, rng.uniform(-0.4, 0.4) * r)
        half_size = (r * rng.uniform(0.5, 0.9), r * rng.uniform(0.5, 1.0), r * rng.uniform(0.5, 0.9))
        parts.append(Part(centre, half_size, True))
    return parts


def walk(rng: Draws, fast: float) -> Vector:
    """A velocity along the ground, at most ``fast`` metres a second."""
    heading, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 1) * fast
    return speed * math.cos(heading), 0.0, speed * math.sin(heading)
