"""Walls with what is in them: windows, doors and niches, flush or behind, and what hangs flat on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.surfaces import SecondWorld, natural, plain


@dataclass(frozen=True)
class Wall:
    """An upright rectangle, seen from the front."""

    x: float
    """Of the middle of its front, metres."""
    z: float
    yaw: float
    """Its own z axis, which goes into the wall, to the right of the world's."""
    width: float
    height: float
    bottom: float = 0.0
    """Above the ground."""
    thick: float = 0.25

    def put(
        self,
        world: SecondWorld,
        across: tuple[float, float],
        up: tuple[float, float],
        into: tuple[float, float],
        material: Tensor,
    ) -> None:
        """A box in the wall's own axes: from its left end, its bottom and its front; material ``[12]``."""
        if across[1] - across[0] < 1e-3 or up[1] - up[0] < 1e-3:
            return
        right, deep = (across[0] + across[1] - self.width) / 2, (into[0] + into[1]) / 2
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        centre = (
            self.x + cos * right + sin * deep,
            -self.bottom - (up[0] + up[1]) / 2,
            self.z - sin * right + cos * deep,
        )
        half_size = ((across[1] - across[0]) / 2, (up[1] - up[0]) / 2, (into[1] - into[0]) / 2)
        world.add(centre, half_size, self.yaw, material=material)


def build_wall(world: SecondWorld, rng: Draws, wall: Wall, material: Tensor, most: int = 2, sky: bool = False) -> None:
    """A wall with up to so many openings side by side; behind some may be nothing but sky; material ``[12]``."""
    count = rng.integer(0, most)
    cell = wall.width / max(count, 1)
    if count == 0 or cell < 0.5:
        wall.put(world, (0, wall.width), (0, wall.height), (0, wall.thick), material)
        return
    for i in range(count):
        low, high = _span(rng, wall.height)
        wide = min(rng.uniform(0.5, 1.8), cell - 0.1)
        left = i * cell + rng.uniform(0.02, 0.98) * (cell - wide)
        right = left + wide
        for across, up in (
            ((i * cell, left), (0, wall.height)),
            ((right, (i + 1) * cell), (0, wall.height)),
            ((left, right), (0, low)),
            ((left, right), (high, wall.height)),
        ):
            wall.put(world, across, up, (0, wall.thick), material)
        _fill(world, rng, wall, (left, right), (low, high), sky)


def _span(rng: Draws, height: float) -> tuple[float, float]:
    """From where to where an opening goes up: a door, a window or a niche."""
    if rng.chance(0.4):
        return 0.0, min(rng.uniform(1.9, 2.3), height - 0.05)
    low = rng.uniform(0.6, 1.3)
    return low, min(low + rng.uniform(0.4, 1.5), height - 0.05)


def _fill(
    world: SecondWorld, rng: Draws, wall: Wall, across: tuple[float, float], up: tuple[float, float], sky: bool
) -> None:
    """What is in an opening: a dark pane or door, a niche, a dark room behind, or a view of the sky."""
    dark = plain(natural(rng, 0.0, 0.09), rng.uniform(0, 0.4))
    pick = rng.uniform(0, 1)
    if pick < 0.35:  # flush or a hand's breadth behind
        deep = rng.choice_of((0.0, 0.002, 0.03, 0.12))
        wall.put(world, across, up, (deep, deep + 0.05), dark if rng.chance(0.75) else world.material())
    elif pick < 0.6:  # a niche with something in it
        deep = rng.uniform(0.15, 0.6)
        _line(world, wall, across, up, deep, dark if rng.chance(0.4) else world.material(0.3))
        wide, tall = rng.uniform(0.1, 0.9) * (across[1] - across[0]), rng.uniform(0.1, 0.9) * (up[1] - up[0])
        if rng.chance(0.6):
            wall.put(
                world, (across[0], across[0] + wide), (up[0], up[0] + tall), (deep * 0.4, deep * 0.9), world.material()
            )
    elif pick < 0.8 or not sky:
        _line(world, wall, across, up, rng.uniform(1, 4), dark)
    frame = world.material(0.1)
    if rng.chance(0.6):  # frame and bars, which stand out a little
        bar, out = rng.uniform(0.02, 0.09), (-rng.uniform(0.005, 0.04), 0.04)
        for side in ((across[0] - bar, across[0]), (across[1], across[1] + bar)):
            wall.put(world, side, (max(up[0] - bar, 0), up[1] + bar), out, frame)
        wall.put(world, across, (up[1], up[1] + bar), out, frame)
        if rng.chance(0.5):
            middle = (across[0] + across[1]) / 2
            wall.put(world, (middle - bar / 3, middle + bar / 3), up, out, frame)


def _line(
    world: SecondWorld, wall: Wall, across: tuple[float, float], up: tuple[float, float], deep: float, material: Tensor
) -> None:
    """Back, sides, bottom and top of a hollow behind the wall."""
    wall.put(world, across, up, (deep, deep + 0.05), material)
    start = wall.thick if deep > wall.thick else 0.0
    for side in ((across[0] - 0.05, across[0]), (across[1], across[1] + 0.05)):
        wall.put(world, side, up, (start, deep), material)
    wall.put(world, across, (up[0] - 0.05, up[0]), (start, deep), material)
    wall.put(world, across, (up[1], up[1] + 0.05), (start, deep), material)


def hang(world: SecondWorld, rng: Draws, wall: Wall, most: int = 3) -> None:
    """Posters and pictures flat on a wall, now and then one over much of it."""
    for _ in range(rng.integer(0, most)):
        if rng.chance(0.3):
            wide, tall = rng.uniform(0.4, 1) * wall.width, rng.uniform(0.3, 0.9) * wall.height
        else:
            wide, tall = min(rng.uniform(0.25, 1.5), wall.width), min(rng.uniform(0.25, 1.2), wall.height)
        left, low = rng.uniform(0, wall.width - wide), rng.uniform(0.2, 1) * (wall.height - tall)
        thick = rng.choice_of((0.001, 0.004, 0.03))
        wall.put(world, (left, left + wide), (low, low + tall), (-thick, 0), world.poster())
