"""People who stand and walk upright on the ground, and animals: limbs between joints."""

from __future__ import annotations

import math

from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.furniture import SIDES
from geometrycrafter.data.renderer.surfaces import SecondWorld, natural, plain, skin, vivid
from geometrycrafter.data.renderer.world import STILL, Primitive, Vector

STEP_RATE = 5.6
"""Of a walker's legs, radians a second."""


class Figure:
    """A body that is put together from limbs, in its own axes: x right, y down from the ground, z ahead."""

    def __init__(self, world: SecondWorld, at: Vector, heading: float, velocity: Vector = STILL):
        self.world, self.at, self.velocity = world, at, velocity
        self.cos, self.sin = math.cos(heading), math.sin(heading)

    def _placed(self, point: Vector) -> Vector:
        x, y, z = point
        return self.at[0] + self.cos * x + self.sin * z, self.at[1] + y, self.at[2] - self.sin * x + self.cos * z

    def limb(
        self, start: Vector, end: Vector, radius: float, material: Tensor, stride: float = 0.0, flat: float = 1.0
    ) -> None:
        """An ellipsoid from joint to joint, a little longer than both are apart.

        Args:
            start: joint.
            end: joint.
            radius: in the middle, metres.
            material: of it, ``[12]``.
            stride: how far it swings ahead and back, metres.
            flat: its depth over its width.
        """
        a, b = self._placed(start), self._placed(end)
        dx, dy, dz = (q - p for p, q in zip(a, b, strict=True))
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        upright = abs(dy) > 0.999 * length  # then it faces as the body does
        yaw = math.atan2(self.sin, self.cos) if upright else math.atan2(dx, dz)
        tilt = 0.0 if upright else math.acos(max(-1.0, min(1.0, dy / length)))
        swing = (self.sin * stride, 0.0, self.cos * stride)
        middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
        half_size = (radius, length / 2 + 0.35 * radius, radius * flat)
        rate = STEP_RATE if stride else 0.0
        self.world.place(Primitive(middle, half_size, yaw, True, self.velocity, tilt, swing, rate), material)


def add_person(
    world: SecondWorld, rng: Draws, at: tuple[float, float], heading: float, speed: float = 0.0, floor: float = 0.0
) -> None:
    """Someone upright at x and z, feet at a height, who walks at a speed along the heading."""
    h = rng.uniform(1.45, 1.95) if rng.chance(0.85) else rng.uniform(0.95, 1.4)
    velocity = (speed * math.sin(heading), 0.0, speed * math.cos(heading))
    body = Figure(world, (at[0], -floor, at[1]), heading, velocity)
    own = skin(rng)
    top = world.poster() if rng.chance(0.15) else plain(vivid(rng) if rng.chance(0.5) else natural(rng))
    trousers = plain(natural(rng, 0.03, 0.6))
    shoes, hair = plain(natural(rng, 0.02, 0.9)), plain(natural(rng, 0.01, 0.4, 0.1))
    wide = rng.uniform(0.9, 1.15)
    apart = rng.uniform(0.02, 0.06) if rng.chance(0.7) else rng.uniform(0.08, 0.2)  # feet, in heights
    low = 0.0 if apart < 0.1 else 0.35 * (apart - 0.05)  # wide steps bring the hips down
    stride = 0.1 * h if speed else 0.0
    ahead = rng.uniform(0, 0.12) if speed or rng.chance(0.4) else 0.0
    _legs(rng, body, h, (apart, ahead, low), stride, (own if rng.chance(0.3) else trousers, trousers, shoes))
    hips, neck = (0.0, -h * (0.52 - low), 0.0), (0.0, -h * (0.83 - low), h * rng.uniform(-0.01, 0.04))
    body.limb(hips, neck, h * 0.088 * wide, top, flat=0.62)
    body.limb((hips[0], hips[1] - 0.12 * h, 0), (0, hips[1] + 0.03 * h, 0), h * 0.09 * wide, trousers, flat=0.72)
    if rng.chance(0.15):  # a skirt or a coat
        long = rng.uniform(0.1, 0.38) * h
        body.limb((0, hips[1] - 0.08 * h, 0), (0, hips[1] + long, 0), h * rng.uniform(0.1, 0.19), top)
    _arms(rng, body, h, neck, stride, (top, top if rng.chance(0.5) else own, own))
    chin = (neck[0], neck[1] - 0.03 * h, neck[2] + 0.01 * h)
    body.limb(neck, chin, h * 0.032, own)
    body.limb(chin, (chin[0], -h * (0.985 - low), chin[2]), h * 0.05, own, flat=1.2)
    crown = (chin[0], -h * (0.99 - low), chin[2] - 0.02 * h)
    body.limb((chin[0], crown[1] + 0.06 * h, crown[2]), crown, h * rng.uniform(0.045, 0.06), hair, flat=1.1)


def _legs(
    rng: Draws,
    body: Figure,
    h: float,
    stance: tuple[float, float, float],
    stride: float,
    clothes: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Both legs. Stance: feet apart, ahead of each other, hips lowered, all in heights; clothes: shin, thigh, shoe."""
    apart, ahead, low = stance
    shin, thigh, shoe = clothes
    for side in SIDES:
        hip = (side * 0.05 * h, -h * (0.52 - low), 0.0)
        ankle = (side * h * (0.045 + apart), -0.04 * h, side * ahead * h)
        bend = rng.uniform(0.0, 0.02) + low * 0.6
        knee = ((hip[0] + ankle[0]) / 2, -0.28 * h + 0.5 * low * h, (hip[2] + ankle[2]) / 2 + bend * h)
        body.limb(hip, knee, 0.045 * h, thigh, side * 0.5 * stride)
        body.limb(knee, ankle, 0.029 * h, shin, side * stride)
        toe = (ankle[0] + side * 0.01 * h, -0.018 * h, ankle[2] + 0.11 * h)
        body.limb((ankle[0], -0.022 * h, ankle[2] - 0.02 * h), toe, 0.022 * h, shoe, side * stride)


def _arms(
    rng: Draws, body: Figure, h: float, neck: Vector, stride: float, clothes: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Both arms, hanging, bent, stretched or raised; clothes: upper arm, lower arm, hand."""
    for side in SIDES:
        shoulder = (neck[0] + side * 0.105 * h, neck[1] + 0.02 * h, neck[2])
        lift = rng.uniform(0.0, 0.35) if rng.chance(0.7) else rng.uniform(0.5, 2.9)  # from hanging, radians
        fold = rng.uniform(0.0, 0.6) if rng.chance(0.6) else rng.uniform(0.6, 2.2)
        out = rng.uniform(0.1, 1.0)  # sideways or ahead
        aside, forth = side * math.sin(lift) * out, math.sin(lift) * math.sqrt(1 - out * out)
        elbow = (
            shoulder[0] + 0.17 * h * aside,
            shoulder[1] + 0.17 * h * math.cos(lift),
            shoulder[2] + 0.17 * h * forth,
        )
        bent = lift + fold
        wrist = (
            elbow[0] + 0.14 * h * side * math.sin(bent) * out * 0.6,
            elbow[1] + 0.14 * h * math.cos(bent),
            elbow[2] + 0.14 * h * math.sin(bent) * math.sqrt(1 - 0.36 * out * out),
        )
        hand = tuple(w + 0.35 * (w - e) for e, w in zip(elbow, wrist, strict=True))
        for (a, b, radius), cloth in zip(
            ((shoulder, elbow, 0.026), (elbow, wrist, 0.02), (wrist, hand, 0.02)), clothes, strict=True
        ):
            body.limb(a, b, radius * h, cloth, -side * 0.6 * stride)  # type: ignore[arg-type]
        if rng.chance(0.08):  # a racket, a stick, a bag
            end = tuple(w + rng.uniform(1.5, 4) * (w - e) for e, w in zip(elbow, wrist, strict=True))
            body.limb(wrist, end, rng.uniform(0.008, 0.06) * h, clothes[0])  # type: ignore[arg-type]


def add_animal(world: SecondWorld, rng: Draws, at: tuple[float, float], heading: float, floor: float = 0.0) -> None:
    """A cat or a dog that sits, lies or stands, its feet at a height above the floor."""
    s = rng.uniform(0.22, 0.7)
    moves = rng.chance(0.5)
    animal = Figure(world, (at[0], -floor, at[1]), heading)
    coat = world.rough() if rng.chance(0.4) else plain(natural(rng, 0.03, 0.7, 0.3))
    other = coat if rng.chance(0.6) else plain(natural(rng, 0.05, 0.9))
    lift = rng.uniform(0.25, 0.5) * s if rng.chance(0.6) else 0.16 * s  # stands or lies
    rear = lift if rng.chance(0.6) else 0.2 * s  # sits
    chest = lift if rear == lift else lift + 0.3 * s
    breath = 0.02 * s if moves else 0.0
    animal.limb((0, -rear - 0.12 * s, -0.4 * s), (0, -chest - 0.16 * s, 0.4 * s), 0.2 * s, coat, breath)
    head = (0.0, -chest - rng.uniform(0.3, 0.5) * s, 0.55 * s)
    turn = 0.06 * s if moves else 0.0
    animal.limb((0, -chest - 0.18 * s, 0.35 * s), head, 0.09 * s, coat, 0.5 * turn)
    animal.limb(head, (rng.uniform(-0.1, 0.1) * s, head[1] + 0.04 * s, head[2] + 0.12 * s), 0.15 * s, coat, turn)
    for side in SIDES:
        ear = (side * 0.09 * s, head[1] - 0.1 * s, head[2])
        animal.limb(ear, (side * 0.13 * s, ear[1] - 0.1 * s, ear[2]), 0.04 * s, other, turn, flat=0.5)
        for z, height in ((0.35, chest), (-0.35, rear)):
            animal.limb(
                (side * 0.1 * s, -height - 0.1 * s, z * s), (side * 0.11 * s, -0.03 * s, z * s), 0.05 * s, other
            )
    tail = (rng.uniform(-0.3, 0.3) * s, -rear - rng.uniform(-0.1, 0.4) * s, -0.85 * s)
    animal.limb((0, -rear - 0.12 * s, -0.42 * s), tail, 0.045 * s, coat, 2 * breath)
