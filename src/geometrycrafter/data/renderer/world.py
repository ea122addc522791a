"""What the world is made of: primitives with their materials, one by one while it is furnished, then as tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws

Vector = tuple[float, float, float]
FAR = 250.0
"""Distance beyond which the outdoor world is sky, metres."""
STILL: Vector = (0.0, 0.0, 0.0)


class Part(NamedTuple):
    """A primitive of a thing, in the thing's own axes: its origin is on the floor, y is negative upwards."""

    centre: Vector
    half_size: Vector
    is_ellipsoid: bool


class Primitive(NamedTuple):
    """A box or an ellipsoid in the world."""

    centre: Vector
    half_size: Vector
    yaw: float
    """Turn about the vertical, radians."""
    is_ellipsoid: bool
    velocity: Vector
    """Metres a second."""
    tilt: float = 0.0
    """Turn about its own x axis, after the one about the vertical, radians."""
    swing: Vector = STILL
    """How far it swings about where it would be, metres."""
    rate: float = 0.0
    """Of the swing, radians a second."""


@dataclass(frozen=True)
class Primitives:
    """Many boxes and ellipsoids, or the one that each pixel sees."""

    centre: Tensor
    """``[N, 3]``, at time zero."""
    half_size: Tensor
    """``[N, 3]``."""
    cos: Tensor
    """Of the turn about the vertical, ``[N]``."""
    sin: Tensor
    """``[N]``."""
    is_ellipsoid: Tensor
    """``[N]`` bool."""
    velocity: Tensor
    """``[N, 3]``."""
    tilt_cos: Tensor
    """Of the turn about the own x axis, ``[N]``."""
    tilt_sin: Tensor
    """``[N]``."""
    swing: Tensor
    """``[N, 3]``."""
    rate: Tensor
    """``[N, 1]``."""

    def __len__(self) -> int:
        return len(self.centre)

    def __getitem__(self, which: Tensor) -> Primitives:
        """Those of an index or a mask."""
        return Primitives(*(column[which] for column in vars(self).values()))

    @property
    def moving(self) -> Tensor:
        """``[N]`` bool."""
        return (self.velocity.abs() + self.swing.abs()).amax(-1) > 0

    def swing_at(self, time: float) -> Tensor:
        """How far each has swung aside after so many seconds, ``[N, 3]``."""
        return self.swing * torch.sin(self.rate * time)

    def into_own_axes(self, vectors: Tensor) -> Tensor:
        """The world's vectors ``[N, 3]`` in the axes of each primitive, ``[N, 3]``."""
        x, y, z = vectors.unbind(-1)
        ahead = self.sin * x + self.cos * z
        return torch.stack(
            [
                self.cos * x - self.sin * z,
                self.tilt_cos * y + self.tilt_sin * ahead,
                self.tilt_cos * ahead - self.tilt_sin * y,
            ],
            -1,
        )

    def into_world_axes(self, vectors: Tensor) -> Tensor:
        """The inverse of :meth:`into_own_axes`, ``[N, 3]``."""
        x, y, z = vectors.unbind(-1)
        ahead = self.tilt_sin * y + self.tilt_cos * z
        return torch.stack(
            [
                self.cos * x + self.sin * ahead,
                self.tilt_cos * y - self.tilt_sin * z,
                self.cos * ahead - self.sin * x,
            ],
            -1,
        )


@dataclass(frozen=True)
class Materials:
    """What the surface of each primitive, or of what each pixel sees, looks like."""

    base: Tensor
    """Colour, ``[N, 3]``."""
    other: Tensor
    """The colour that the pattern mixes in, ``[N, 3]``."""
    pattern: Tensor
    """Which pattern, ``[N, 1]``."""
    scale: Tensor
    """Of the pattern, in a metre, ``[N, 1]``."""
    contrast: Tensor
    """Of the pattern, ``[N, 1]``."""
    gloss: Tensor
    """Strength of highlights, ``[N, 1]``."""
    salt: Tensor
    """Tells equal patterns apart, ``[N, 1]``."""
    picture: Tensor
    """Which of the clip's pictures it carries in place of a pattern, ``[N, 1]``; -1: none."""
    metres: Tensor
    """That a picture is wide, side by side with itself, ``[N, 1]``; 0: once over each face."""

    def __getitem__(self, which: Tensor) -> Materials:
        """Those of an index or a mask."""
        return Materials(*(column[which] for column in vars(self).values()))


def draw_material(rng: Draws, vivid: float = 0.6) -> Tensor:
    """A material as ``[10]``: :class:`Materials`' columns but for the salt and what a picture takes."""
    base = rng.tensor(0.08, 0.95, 1).expand(3) + rng.tensor(-0.35, 0.35, 3) * vivid
    other = base + rng.tensor(-0.5, 0.5, 1) + rng.tensor(-0.3, 0.3, 3) * vivid
    pattern = float(rng.integer(0, 4))
    scale = math.exp(rng.uniform(math.log(0.6), math.log(14)))
    contrast = rng.uniform(0.0, 1.0) ** 1.5
    gloss = rng.uniform(0.0, 0.5) if rng.chance(0.3) else 0.0
    return torch.cat([base.clamp(0.02, 1), other.clamp(0.02, 1), torch.tensor([pattern, scale, contrast, gloss])])


class World:
    """Primitives while they are being placed, tensors once the world is :meth:`freeze`-d."""

    def __init__(self, rng: Draws):
        self.rng = rng
        self.primitives: list[Primitive] = []
        self.materials: list[Tensor] = []

    def material(self, vivid: float = 0.6) -> Tensor:
        """A new one: ``[10]``, or ``[12]`` where there are pictures."""
        return draw_material(self.rng, vivid)

    def add(
        self,
        centre: Vector,
        half_size: Vector,
        yaw: float = 0.0,
        is_ellipsoid: bool = False,
        velocity: Vector = STILL,
        material: Tensor | None = None,
    ) -> None:
        """Place a primitive; without a material (``[10]`` or ``[12]``) it gets one of its own."""
        made = Primitive(centre, half_size, yaw, is_ellipsoid, velocity)
        self.place(made, self.material() if material is None else material)

    def place(self, primitive: Primitive, material: Tensor) -> None:
        """Place what is given whole; material ``[10]`` or ``[12]``."""
        self.primitives.append(primitive)
        self.materials.append(material)

    def assemble(
        self,
        at: tuple[float, float],
        yaw: float,
        parts: list[Part],
        velocity: Vector = STILL,
        shared_material: bool = True,
    ) -> None:
        """Place a thing, given by its parts, at x and z on the floor."""
        cos, sin = math.cos(yaw), math.sin(yaw)
        material = self.material()
        for (x, y, z), half_size, is_ellipsoid in parts:
            centre = (at[0] + cos * x + sin * z, y, at[1] - sin * x + cos * z)
            self.add(centre, half_size, yaw, is_ellipsoid, velocity, material if shared_material else None)

    def freeze(self) -> tuple[Primitives, Materials]:
        """Everything that was placed."""
        columns = map(torch.tensor, zip(*self.primitives, strict=True))
        centre, half_size, yaw, is_ellipsoid, velocity, tilt, swing, rate = columns
        drawn = [m if len(m) == 12 else torch.cat([m, torch.tensor([-1.0, 0.0])]) for m in self.materials]
        base, other, pattern, scale, contrast, gloss, picture, metres = torch.stack(drawn).split(
            [3, 3, 1, 1, 1, 1, 1, 1], dim=1
        )
        salt = self.rng.tensor(0, 1, len(centre))[:, None]
        materials = Materials(base, other, pattern, scale, contrast, gloss, salt, picture, metres)
        turns = (yaw.cos(), yaw.sin(), is_ellipsoid, velocity, tilt.cos(), tilt.sin())
        return Primitives(centre, half_size, *turns, swing, rate[:, None]), materials
