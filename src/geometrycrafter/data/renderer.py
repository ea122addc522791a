"""A procedural world and its ray-caster: clips with exact depth, intrinsics, poses and masks, from a seed.

Rooms with furniture at real sizes, streets, open ground; cameras that walk, turn and shake; things that move.
Geometry is boxes (turned about the vertical) and ellipsoids, cast analytically, so depth is exact to float32.
World axes are OpenCV's: x right, y down, z forward; the floor is y = 0; units are metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Part = tuple[tuple[float, float, float], tuple[float, float, float], bool]
"""Centre (y negative upwards, from the thing's own floor), half sizes, and whether it is an ellipsoid."""
VERSION = 1
"""Raised where a seed becomes another clip than before."""
FAR = 250.0
"""Distance beyond which the outdoor world is sky, metres."""


@dataclass(frozen=True)
class RenderedClip:
    """One rendered clip."""

    frames: Tensor
    """``[T, 3, H, W]`` in [0, 1], display-referred."""
    depth: Tensor
    """``[T, H, W]`` planar depth, metres; zero where there is sky."""
    mask: Tensor
    """``[T, H, W]`` bool, False in the sky."""
    dynamic: Tensor
    """``[T, H, W]`` bool, True on things that move by themselves."""
    intrinsics: Tensor
    """``[3, 3]`` pixels, pixel centres at half integers."""
    poses: Tensor
    """``[T, 4, 4]`` camera-to-world."""


class _Random:
    """Uniform and choice draws from one generator."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def tensor(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def integer(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator).item())

    def chance(self, probability: float) -> bool:
        return self.uniform(0, 1) < probability


class _World:
    """Lists of primitives while a scene is being furnished, tensors once it is :meth:`freeze`-d."""

    def __init__(self, rng: _Random):
        self.rng = rng
        self.rows: list[list[float]] = []  # centre 3, half 3, yaw, kind, velocity 3, spin
        self.materials: list[Tensor] = []

    def add(
        self,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        yaw: float = 0.0,
        ellipsoid: bool = False,
        velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
        material: Tensor | None = None,
    ) -> None:
        self.rows.append([*centre, *half, yaw, float(ellipsoid), *velocity])
        self.materials.append(self.material() if material is None else material)

    def material(self, vivid: float = 0.6) -> Tensor:
        """Two colours, pattern kind, pattern scale, contrast, shininess."""
        rng = self.rng
        base = rng.tensor(0.08, 0.95, 1).expand(3) + rng.tensor(-0.35, 0.35, 3) * vivid
        other = base + rng.tensor(-0.5, 0.5, 1) + rng.tensor(-0.3, 0.3, 3) * vivid
        tail = torch.tensor(
            [
                float(rng.integer(0, 4)),
                math.exp(rng.uniform(math.log(0.6), math.log(14))),
                rng.uniform(0.0, 1.0) ** 1.5,
                rng.uniform(0.0, 0.5) if rng.chance(0.3) else 0.0,
            ]
        )
        return torch.cat([base.clamp(0.02, 1), other.clamp(0.02, 1), tail])

    def assembly(
        self,
        at: tuple[float, float],
        yaw: float,
        parts: list[Part],
        velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
        shared_material: bool = True,
    ) -> None:
        """Place parts given in the thing's own axes (origin on the floor, y negative upwards)."""
        cos, sin = math.cos(yaw), math.sin(yaw)
        material = self.material()
        for (x, y, z), half, ellipsoid in parts:
            centre = (at[0] + cos * x + sin * z, y, at[1] - sin * x + cos * z)
            self.add(centre, half, yaw, ellipsoid, velocity, material if shared_material else None)

    def freeze(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.rows), torch.stack(self.materials)


def _box_on_floor(w: float, h: float, d: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
    return ((x, -y - h / 2, z), (w / 2, h / 2, d / 2), False)


def _table(rng: _Random) -> tuple[list[Part], tuple[float, float, float]]:
    w, d, h, leg = rng.uniform(0.6, 1.9), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.95), 0.06
    parts = [_box_on_floor(w, 0.05, d, y=h)]
    for sx in (-1, 1):
        for sz in (-1, 1):
            parts.append(_box_on_floor(leg, h, leg, sx * (w / 2 - leg), 0, sz * (d / 2 - leg)))
    return parts, (w, h, d)


def _chair(rng: _Random) -> list[Part]:
    w, h = rng.uniform(0.4, 0.6), rng.uniform(0.42, 0.5)
    parts = [_box_on_floor(w, 0.08, w, y=h - 0.08), _box_on_floor(w, rng.uniform(0.4, 0.6), 0.06, y=h, z=w / 2)]
    parts += [_box_on_floor(0.04, h - 0.08, 0.04, sx * w * 0.42, 0, sz * w * 0.42) for sx in (-1, 1) for sz in (-1, 1)]
    return parts


def _sofa(rng: _Random) -> list[Part]:
    w, d, h = rng.uniform(1.0, 2.4), rng.uniform(0.8, 1.0), rng.uniform(0.35, 0.48)
    return [
        _box_on_floor(w, h, d),
        _box_on_floor(w, rng.uniform(0.3, 0.5), 0.22, y=h, z=d / 2 - 0.11),
        _box_on_floor(0.18, 0.22, d, x=w / 2 - 0.09, y=h),
        _box_on_floor(0.18, 0.22, d, x=-w / 2 + 0.09, y=h),
    ]


def _person(rng: _Random) -> list[Part]:
    h = rng.uniform(1.45, 1.9)
    w = h * rng.uniform(0.12, 0.15)
    return [
        ((0, -h * 0.93, 0), (h * 0.055, h * 0.07, h * 0.062), True),
        ((0, -h * 0.66, 0), (w, h * 0.2, w * 0.6), True),
        ((w * 0.45, -h * 0.25, 0), (w * 0.42, h * 0.26, w * 0.45), True),
        ((-w * 0.45, -h * 0.25, 0), (w * 0.42, h * 0.26, w * 0.45), True),
        ((w * 1.1, -h * 0.62, 0), (w * 0.25, h * 0.18, w * 0.28), True),
        ((-w * 1.1, -h * 0.62, 0), (w * 0.25, h * 0.18, w * 0.28), True),
    ]


def _car(rng: _Random) -> list[Part]:
    w, length, h = rng.uniform(1.65, 1.95), rng.uniform(3.6, 4.9), rng.uniform(0.6, 0.8)
    parts = [
        _box_on_floor(w, h, length, y=0.22),
        _box_on_floor(w * 0.86, rng.uniform(0.45, 0.65), length * 0.52, y=0.22 + h, z=-0.1 * length),
    ]
    for sx in (-1, 1):
        for sz in (-1, 1):
            parts.append(((sx * w / 2 * 0.93, -0.32, sz * length * 0.3), (0.1, 0.32, 0.32), True))
    return parts


def _tree(rng: _Random) -> list[Part]:
    h, r = rng.uniform(2.5, 9), rng.uniform(0.8, 2.4)
    trunk = r * rng.uniform(0.08, 0.16)
    parts = [_box_on_floor(trunk, h, trunk)]
    for _ in range(3):
        parts.append(
            (
                (rng.uniform(-0.4, 0.4) * r, -h - rng.uniform(-0.4, 0.5) * r, rng.uniform(-0.4, 0.4) * r),
                (r * rng.uniform(0.5, 0.9), r * rng.uniform(0.5, 1.0), r * rng.uniform(0.5, 0.9)),
                True,
            )
        )
    return parts


def _walk(rng: _Random, fast: float) -> tuple[float, float, float]:
    heading, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 1) * fast
    return speed * math.cos(heading), 0.0, speed * math.sin(heading)


def _furnish_room(world: _World, rng: _Random) -> tuple[float, float, float]:
    w, d, h = rng.uniform(2.6, 8), rng.uniform(2.8, 9), rng.uniform(2.3, 3.3)
    t = 0.2  # walls, floor and ceiling are slabs, so that each has its own material
    world.add((0, t / 2, 0), (w, t / 2, d))
    world.add((0, -h - t / 2, 0), (w, t / 2, d), material=world.material(vivid=0.1).clamp(0.3, 1))
    wall = world.material(vivid=0.3)
    for side in (-1, 1):
        world.add((side * (w / 2 + t / 2), -h / 2, 0), (t / 2, h / 2, d), material=None if rng.chance(0.3) else wall)
    for side in (-1, 1):
        world.add((0, -h / 2, side * (d / 2 + t / 2)), (w, h / 2, t / 2), material=None if rng.chance(0.3) else wall)
    # Doors, windows, pictures: thin boxes on the walls.
    for _ in range(rng.integer(1, 5)):
        pw, ph = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.6)
        y = -rng.uniform(ph / 2, max(h - ph / 2, ph / 2 + 0.01))
        if rng.chance(0.5):
            x, z = rng.uniform(-w / 2, w / 2), rng.uniform(-1, 1)
            world.add((x, y, math.copysign(d / 2, z)), (pw / 2, ph / 2, 0.03))
        else:
            x, z = rng.uniform(-1, 1), rng.uniform(-d / 2, d / 2)
            world.add((math.copysign(w / 2, x), y, z), (0.03, ph / 2, pw / 2))
    # Cupboards, shelves and counters along the walls.
    for _ in range(rng.integer(1, 6)):
        cw, ch, cd = rng.uniform(0.4, 2.2), rng.uniform(0.5, 2.2), rng.uniform(0.25, 0.65)
        lift = rng.uniform(1.2, 1.6) if rng.chance(0.2) else 0.0
        ch = min(ch, h - lift)
        if rng.chance(0.5):
            z = math.copysign(d / 2 - cd / 2, rng.uniform(-1, 1))
            at, yaw = (rng.uniform(-w / 2, w / 2), z), 0.0
        else:
            x = math.copysign(w / 2 - cd / 2, rng.uniform(-1, 1))
            at, yaw = (x, rng.uniform(-d / 2, d / 2)), math.pi / 2
        parts = [_box_on_floor(cw, ch, cd, y=lift)]
        if lift == 0.0 and ch < 1.3:  # things stand on it
            for _ in range(rng.integer(0, 4)):
                s = rng.uniform(0.06, 0.35)
                parts.append(_box_on_floor(s, rng.uniform(0.08, 0.45), s, rng.uniform(-cw / 2, cw / 2), ch))
        world.assembly(at, yaw, parts, shared_material=False)
    if rng.chance(0.5):
        _furnish_kitchen(world, rng, w, d, h)
    # Free-standing furniture, people, clutter.
    for _ in range(rng.integer(1, 5)):
        at = (rng.uniform(-w / 2 + 0.4, w / 2 - 0.4), rng.uniform(-d / 2 + 0.4, d / 2 - 0.4))
        yaw = rng.uniform(0, 2 * math.pi)
        pick = rng.integer(0, 4)
        if pick == 0:
            parts, (tw, th, td) = _table(rng)
            world.assembly(at, yaw, parts)
            for _ in range(rng.integer(0, 4)):
                s, sh = rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.35)
                x, z = rng.uniform(-tw, tw) * 0.4, rng.uniform(-td, td) * 0.4
                lump = ((x, -th - 0.05 - sh / 2, z), (s / 2, sh / 2, s / 2), rng.chance(0.4))
                world.assembly(at, yaw, [lump])
        elif pick == 1:
            world.assembly(at, yaw, _chair(rng))
        elif pick == 2:
            world.assembly(at, yaw, _sofa(rng))
        elif pick == 3:
            world.assembly(at, yaw, _person(rng), _walk(rng, 0.8) if rng.chance(0.5) else (0.0, 0.0, 0.0))
        else:
            s = rng.uniform(0.15, 0.7)
            world.assembly(at, yaw, [_box_on_floor(s, rng.uniform(0.1, 1.0), s * rng.uniform(0.5, 1.5))])
    return w, d, h


def _furnish_kitchen(world: _World, rng: _Random, w: float, d: float, h: float) -> None:
    """A worktop along a wall, cupboards above it, and what stands on it."""
    depth, top = rng.uniform(0.5, 0.7), rng.uniform(0.8, 1.0)
    for wall in range(rng.integer(1, 2)):
        length = d if wall else w
        yaw = math.pi / 2 if wall else 0.0
        at = (math.copysign(w / 2 - depth / 2, rng.uniform(-1, 1)), 0.0) if wall else (0.0, d / 2 - depth / 2)
        front = -1.0 if at[0] <= 0 or not wall else 1.0
        world.assembly(at, yaw, [_box_on_floor(length, top, depth)])
        world.assembly(at, yaw, [_box_on_floor(length, 0.04, depth + 0.04, y=top)])
        for _ in range(rng.integer(2, 6)):  # doors of the cupboards below
            panel = rng.uniform(0.3, 0.6)
            x = rng.uniform(-length / 2, length / 2)
            world.assembly(at, yaw, [_box_on_floor(panel, top * 0.8, 0.03, x, top * 0.1, front * depth / 2)])
        if rng.chance(0.7):
            lift = rng.uniform(1.3, 1.5)
            cupboard = _box_on_floor(length * rng.uniform(0.3, 1), min(0.8, h - lift), 0.35, y=lift, z=-front * 0.15)
            world.assembly(at, yaw, [cupboard])
        for _ in range(rng.integer(3, 10)):
            s = rng.uniform(0.05, 0.4)
            x, z = rng.uniform(-length / 2, length / 2), rng.uniform(-0.3, 0.3) * depth
            tall = rng.uniform(0.05, 0.45)
            thing = ((x, -top - 0.04 - tall / 2, z), (s / 2, tall / 2, min(s, depth * 0.8) / 2), rng.chance(0.4))
            world.assembly(at, yaw, [thing])


def _view_of_something(
    world: _World, rng: _Random, room: tuple[float, float, float]
) -> tuple[Tensor, float, float] | None:
    """Where a person stands who looks at a thing in the room: position, yaw and pitch; None where there is no place."""
    w, d, h = room
    things = [row for row in world.rows[6:] if max(row[3:6]) < 2.0]
    for _ in range(20 if things else 0):
        row = things[rng.integer(0, len(things) - 1)]
        distance, heading = math.exp(rng.uniform(math.log(0.6), math.log(3.5))), rng.uniform(0, 2 * math.pi)
        eye = min(rng.uniform(0.9, 1.9), h - 0.3)
        x, z = row[0] + distance * math.cos(heading), row[2] + distance * math.sin(heading)
        if abs(x) > w / 2 - 0.3 or abs(z) > d / 2 - 0.3:
            continue
        dx, dy, dz = row[0] - x, row[1] + eye, row[2] - z
        reach = math.hypot(dx, dz)
        yaw = math.atan2(dx, dz) + rng.uniform(-0.3, 0.3)
        pitch = min(max(math.atan2(dy, reach) + rng.uniform(-0.25, 0.15), -0.4), 1.0)
        return torch.tensor([x, -eye, z]), yaw, pitch
    return None


def _furnish_outdoors(world: _World, rng: _Random, street: bool) -> None:
    ground = world.material(vivid=0.4)
    world.add((0, 5, 0), (2 * FAR, 5, 2 * FAR), material=ground)
    if street:
        half_road = rng.uniform(3.5, 9)
        world.add((0, 0.0, 0), (half_road, 0.02, FAR), material=world.material(vivid=0.1))
        for side in (-1, 1):
            z = rng.uniform(-15, 0)
            while z < 70:
                width, depth, height = rng.uniform(5, 16), rng.uniform(6, 14), rng.uniform(3, 22)
                x = side * (half_road + rng.uniform(1.5, 5) + depth / 2)
                world.assembly((x, z + width / 2), 0, [_box_on_floor(depth, height, width)])
                z += width + (rng.uniform(0, 6) if rng.chance(0.4) else 0)
        for _ in range(rng.integer(1, 5)):
            across = rng.uniform(-1, 1)
            lane = math.copysign(half_road * rng.uniform(0.3, 0.95), across)
            moving = rng.chance(0.5)
            velocity = (0.0, 0.0, -math.copysign(rng.uniform(1, 9), across) if moving else 0.0)
            world.assembly((lane, rng.uniform(4, 50)), rng.uniform(-0.05, 0.05), _car(rng), velocity)
    extent = 12.0 if street else rng.uniform(8, 25)
    for _ in range(rng.integer(1, 5)):
        at = (rng.uniform(-extent, extent), rng.uniform(2, 2.5 * extent))
        world.assembly(at, 0, _tree(rng))
    for _ in range(rng.integer(0, 3)):
        at = (rng.uniform(-5, 5), rng.uniform(2, 14))
        world.assembly(at, rng.uniform(0, 6.3), _person(rng), _walk(rng, 1.5) if rng.chance(0.7) else (0.0, 0.0, 0.0))
    for _ in range(rng.integer(0, 5)):
        at = (rng.uniform(-extent, extent) * 0.6, rng.uniform(1.5, extent))
        s, h = rng.uniform(0.2, 2.5), rng.uniform(0.2, 2.0)
        if rng.chance(0.3):  # posts and fences
            s, h = rng.uniform(0.05, 0.12), rng.uniform(1, 4)
        lump = ((0.0, -h / 2, 0.0), (s / 2, h / 2, s * rng.uniform(0.2, 0.5)), rng.chance(0.3))
        world.assembly(at, rng.uniform(0, 6.3), [lump])
    if not street:  # distant masses close the view
        for _ in range(rng.integer(0, 4)):
            at = (rng.uniform(-80, 80), rng.uniform(40, 150))
            world.assembly(
                at, rng.uniform(0, 3), [_box_on_floor(rng.uniform(10, 60), rng.uniform(4, 25), rng.uniform(5, 20))]
            )


def _camera_path(rng: _Random, frames: int, start: Tensor, yaw: float, pitch: float, speed: float) -> Tensor:
    """Camera-to-world ``[T, 4, 4]``: a steady motion with slow turns and hand shake."""
    time = torch.arange(frames) / 12.0
    heading = rng.uniform(0, 2 * math.pi)
    forward = torch.tensor([math.sin(yaw), 0.0, math.cos(yaw)])
    drift = torch.tensor([math.cos(heading), 0.3 * rng.uniform(-1, 1), math.sin(heading)])
    direction = forward if rng.chance(0.4) else drift
    position = start + time[:, None] * speed * direction

    def sway(amount: float) -> Tensor:
        rate, phase = rng.uniform(0.5, 4), rng.uniform(0, 6.3)
        return amount * (torch.sin(rate * time + phase) - math.sin(phase))

    shake = rng.uniform(0, 1) ** 2
    position = position + torch.stack([sway(0.04 * shake), sway(0.04 * shake), sway(0.04 * shake)], dim=-1)
    turn = rng.uniform(-0.5, 0.5) * (rng.uniform(0, 1) ** 2)
    yaws = yaw + turn * time + sway(0.06 * shake)
    pitches = pitch + sway(0.05 * shake)
    rolls = rng.uniform(-0.08, 0.08) + sway(0.04 * shake)
    zero, one = torch.zeros(frames), torch.ones(frames)

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(r, -1) for r in rows], -2)

    cy, sy, cp, sp, cr, sr = yaws.cos(), yaws.sin(), pitches.cos(), pitches.sin(), rolls.cos(), rolls.sin()
    rotation = (
        matrix((cy, zero, sy), (zero, one, zero), (-sy, zero, cy))
        @ matrix((one, zero, zero), (zero, cp, sp), (zero, -sp, cp))
        @ matrix((cr, -sr, zero), (sr, cr, zero), (zero, zero, one))
    )
    pose = torch.eye(4).repeat(frames, 1, 1)
    pose[:, :3, :3] = rotation
    pose[:, :3, 3] = position
    return pose


def _cast(origin: Tensor, rays: Tensor, rows: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """Nearest hit of rays ``[P, 3]`` from ``origin`` [3]: distance in ray lengths (inf: none) and primitive."""
    centre = rows[:, 0:3] + time * rows[:, 8:11]
    half, yaw, ellipsoid = rows[:, 3:6], rows[:, 6], rows[:, 7] > 0.5
    cos, sin = torch.cos(yaw), torch.sin(yaw)
    offset = origin - centre  # [N, 3]
    local_o = torch.stack(
        [cos * offset[:, 0] - sin * offset[:, 2], offset[:, 1], sin * offset[:, 0] + cos * offset[:, 2]]
    )
    local_o = local_o / half.T  # [3, N]
    dx, dy, dz = rays[:, 0:1], rays[:, 1:2], rays[:, 2:3]
    best = torch.full((len(rays),), torch.inf)
    which = torch.zeros(len(rays), dtype=torch.long)
    for kind in (False, True):
        index = torch.nonzero(ellipsoid == kind).squeeze(1)
        if not len(index):
            continue
        c, s, h, o = cos[index], sin[index], half[index].T, local_o[:, index]
        x = (dx * c - dz * s) / h[0]
        y = dy / h[1]
        z = (dx * s + dz * c) / h[2]
        if kind:
            a = x * x + y * y + z * z
            b = x * o[0] + y * o[1] + z * o[2]
            root = b * b - a * ((o * o).sum(0) - 1)
            t = (-b - root.clamp_min(0).sqrt()) / a
            t = torch.where((root > 0) & (t > 1e-3), t, torch.inf)
        else:
            near, far = torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
            for d, axis in ((x, 0), (y, 1), (z, 2)):
                inverse = 1.0 / torch.where(d.abs() < 1e-9, 1e-9, d)
                first, second = (-1 - o[axis]) * inverse, (1 - o[axis]) * inverse
                near = torch.maximum(near, torch.minimum(first, second))
                far = torch.minimum(far, torch.maximum(first, second))
            t = torch.where((near < far) & (near > 1e-3), near, torch.inf)
        value, at = t.min(dim=1)
        closer = value < best
        best = torch.where(closer, value, best)
        which = torch.where(closer, index[at], which)
    return best, which


def _hash(cell: Tensor) -> Tensor:
    """A pseudo-random number in [0, 1) for each integer cell ``[..., 3]``."""
    h = cell[..., 0] * 374761393 + cell[..., 1] * 668265263 + cell[..., 2] * 2147483647
    h = (h ^ (h >> 13)) * 1274126177
    return ((h ^ (h >> 16)) & 0xFFFF).float() / 65536.0


_CORNERS = torch.tensor([[i & 1, (i >> 1) & 1, i >> 2] for i in range(8)])


def _noise(p: Tensor) -> Tensor:
    """Smooth value noise at ``[P, 3]``."""
    cell = torch.floor(p)
    f = p - cell
    f = f * f * (3 - 2 * f)
    cell = cell.long()
    total = torch.zeros(len(p))
    for corner in _CORNERS:
        total += torch.where(corner.bool(), f, 1 - f).prod(-1) * _hash(cell + corner)
    return total


def _albedo(local: Tensor, normal: Tensor, material: Tensor, salt: Tensor) -> Tensor:
    """Colour of surface points: a pattern mixes two colours, noise roughens it. ``[P, 3]``."""
    p = local + salt[:, None] * 17.3
    kind, scale, contrast = material[:, 6], material[:, 7], material[:, 8]
    q = p * scale[:, None]
    fine = _noise(q * 4.1)
    cloud = 0.6 * _noise(q) + 0.4 * fine
    # Stripes, checks and bricks are drawn on the two axes along the surface.
    along = torch.where(normal.abs().argmax(-1, keepdim=True) == 0, q[:, [2, 1]], q[:, [0, 1]])
    along = torch.where(normal.abs().argmax(-1, keepdim=True) == 1, q[:, [0, 2]], along)
    checks = ((torch.floor(along).sum(-1) % 2) > 0.5).float()
    stripes = (torch.sin(along[:, 0] * 6.3) > 0).float()
    row = torch.floor(along[:, 1] * 2)
    brick_x = along[:, 0] + 0.5 * (row % 2)
    bricks = ((brick_x % 1 > 0.06) & ((along[:, 1] * 2) % 1 > 0.1)).float()
    blotches = ((cloud > 0.55).float() + 0.3 * fine).clamp(0, 1)
    patterns = torch.stack([cloud, checks, stripes, bricks, blotches], dim=-1)
    mix = patterns.gather(1, kind.long()[:, None]).squeeze(1) * contrast
    colour = torch.lerp(material[:, 0:3], material[:, 3:6], mix[:, None])
    return colour * (0.85 + 0.3 * fine[:, None])


def render_clip(seed: int, frames: int, height: int, width: int) -> RenderedClip:
    """Render the clip of a seed.

    Args:
        seed: fixes everything: world, camera, motion, light, lens and noise.
        frames: length T of the clip, at 12 frames a second.
        height: of a frame, pixels.
        width: of a frame, pixels.
    """
    rng = _Random(seed)
    world = _World(rng)
    setting = rng.uniform(0, 1)
    indoor = setting < 0.6
    if indoor:
        w, d, h = _furnish_room(world, rng)
        eye = min(rng.uniform(0.7, 1.9), h - 0.3)
        start = torch.tensor([rng.uniform(-0.3, 0.3) * w, -eye, rng.uniform(-0.42, -0.05) * d])
        yaw, pitch, speed = rng.uniform(-0.7, 0.7), rng.uniform(-0.15, 0.65), rng.uniform(0, 0.6)
        view = _view_of_something(world, rng, (w, d, h)) if rng.chance(0.7) else None
        if view is not None:
            start, yaw, pitch = view
    else:
        street = setting > 0.8
        _furnish_outdoors(world, rng, street)
        eye = rng.uniform(1.0, 2.2) if rng.chance(0.85) else rng.uniform(2.5, 12)
        start = torch.tensor([rng.uniform(-2, 2), -eye, -2.0])
        yaw = rng.uniform(-0.25, 0.25) if street else rng.uniform(-0.6, 0.6)
        pitch, speed = rng.uniform(-0.12, 0.35), rng.uniform(0, 8) if street else rng.uniform(0, 1.5)
        if eye > 2.5:
            pitch += rng.uniform(0.1, 0.5)
    poses = _camera_path(rng, frames, start, yaw, pitch, speed)
    half_diagonal = math.tan(math.radians(rng.uniform(25, 52)))  # theta_diag
    focal = math.hypot(width, height) / 2 / half_diagonal
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])

    rows, materials = world.freeze()
    salts = rng.tensor(0, 1, len(rows))
    # Nothing may stand where the camera is, or the first thing it sees is the inside of a cupboard.
    clear = ((rows[:, :3] - start).abs() > rows[:, 3:6] + 0.3).any(-1)
    keep = clear | (rows[:, 3:6].amax(-1) > 2.5)
    rows, materials, salts = rows[keep], materials[keep], salts[keep]
    moving = rows[:, 8:11].abs().amax(-1) > 0

    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    camera_rays = torch.stack([(x - width / 2) / focal, (y - height / 2) / focal, torch.ones_like(x)], -1).view(-1, 3)

    sun = F.normalize(torch.tensor([rng.uniform(-1, 1), -rng.uniform(0.4, 1.5), rng.uniform(-1, 1)]), dim=0)
    lamp = torch.tensor([rng.uniform(-1, 1), -2.2, rng.uniform(-1.5, 1.5)])
    ambient = rng.uniform(0.25, 0.6)
    tint = 1 + rng.tensor(-0.12, 0.12, 3)
    shadows = rng.chance(0.5)
    horizon, zenith = rng.tensor(0.6, 1.0, 3), torch.tensor([0.3, 0.5, 0.85]) * rng.uniform(0.5, 1.1)
    overcast, fog = rng.uniform(0, 1), rng.uniform(0, 0.012) if rng.chance(0.4) else 0.0

    images, depths, masks, dynamics = [], [], [], []
    for t in range(frames):
        time = t / 12.0
        rays = camera_rays @ poses[t, :3, :3].T
        origin = poses[t, :3, 3]
        distance, which = _cast(origin, rays, rows, time)
        hit = distance < FAR
        distance = torch.where(hit, distance, FAR)
        point = origin + distance[:, None] * rays
        row, material = rows[which], materials[which]
        offset = point - row[:, 0:3] - time * row[:, 8:11]
        cos, sin = torch.cos(row[:, 6]), torch.sin(row[:, 6])
        local = torch.stack(
            [cos * offset[:, 0] - sin * offset[:, 2], offset[:, 1], sin * offset[:, 0] + cos * offset[:, 2]], -1
        )
        unit = local / row[:, 3:6]
        face = F.one_hot(unit.abs().argmax(-1), 3) * unit.sign()
        round_normal = F.normalize(unit / row[:, 3:6], dim=-1)
        local_normal = torch.where(row[:, 7:8] > 0.5, round_normal, face)
        normal = torch.stack(
            [
                cos * local_normal[:, 0] + sin * local_normal[:, 2],
                local_normal[:, 1],
                -sin * local_normal[:, 0] + cos * local_normal[:, 2],
            ],
            -1,
        )
        colour = _albedo(local, local_normal, material, salts[which])
        if indoor:
            to_light = lamp - point
            reach = to_light.norm(dim=-1)
            light_dir, strength = to_light / reach[:, None], 1.8 / (1 + 0.2 * reach**2)
        else:
            light_dir, strength = sun.expand_as(point), torch.ones(len(point)) * (1.1 - 0.6 * overcast)
        lambert = (normal * light_dir).sum(-1).clamp_min(0)
        if shadows:
            # Shadow rays from a third of the pixels would show; all are cast, against the same primitives.
            lit = _shadow(point + 2e-3 * normal, light_dir, rows, time, lamp if indoor else None)
            lambert = lambert * (0.25 + 0.75 * lit)
        half_way = F.normalize(light_dir - F.normalize(rays, dim=-1), dim=-1)
        gloss = material[:, 9] * (normal * half_way).sum(-1).clamp_min(0) ** 24
        sky_light = 0.75 - 0.25 * normal[:, 1]
        shaded = colour * (ambient * sky_light + lambert * strength)[:, None] + gloss[:, None]
        ray_dir = F.normalize(rays, dim=-1)
        up = (-ray_dir[:, 1]).clamp(0, 1)
        clouds = _noise(ray_dir / (up[:, None] + 0.15) * 2.0) * overcast
        sky = torch.lerp(horizon.expand_as(colour), zenith.expand_as(colour), up.sqrt()[:, None])
        sky = torch.lerp(sky, torch.full_like(sky, 0.9), clouds[:, None])
        if fog:
            shaded = torch.lerp(shaded, sky, 1 - torch.exp(-fog * distance)[:, None])
        images.append(torch.where(hit[:, None], shaded, sky) * tint)
        depths.append(torch.where(hit, distance, 0.0))
        masks.append(hit)
        dynamics.append(hit & moving[which])

    image = torch.stack(images).view(frames, height, width, 3).permute(0, 3, 1, 2)
    return RenderedClip(
        frames=_photograph(image, rng),
        depth=torch.stack(depths).view(frames, height, width),
        mask=torch.stack(masks).view(frames, height, width),
        dynamic=torch.stack(dynamics).view(frames, height, width),
        intrinsics=intrinsics,
        poses=poses,
    )


def _shadow(point: Tensor, light_dir: Tensor, rows: Tensor, time: float, lamp: Tensor | None) -> Tensor:
    """1 where the light reaches a point, 0 where something stands between, ``[P]``."""
    # Origins differ by pixel, so rays are cast from the light: for the sun from far outside, for a lamp from itself.
    if lamp is not None:
        rays = point - lamp
        distance, _ = _cast(lamp, rays, rows, time)
        return (distance > 0.99).float()
    # A directional light is a lamp at a great distance, to within a thousandth of a radian.
    far_away = point.mean(0) + light_dir[0] * 2000.0
    rays = point - far_away
    distance, _ = _cast(far_away, rays, rows, time)
    return (distance * 2000.0 > 2000.0 - 0.25).float()


def _photograph(image: Tensor, rng: _Random) -> Tensor:
    """Exposure, tone, vignette, blur and sensor noise, the same for all frames but for the noise."""
    level = image.mean().clamp_min(1e-3)
    image = image * (rng.uniform(0.25, 0.6) / level) ** rng.uniform(0.5, 1)
    image = image.clamp_min(0) ** (1 / rng.uniform(0.9, 1.6))
    height, width = image.shape[-2:]
    if rng.chance(0.4):
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        image = image * (1 - rng.uniform(0, 0.3) * (x**2 + y**2) / 2)
    if rng.chance(0.5):
        sigma = rng.uniform(0.3, 1.0)
        taps = torch.exp(-(torch.arange(-2, 3) ** 2) / (2 * sigma**2))
        taps = (taps / taps.sum()).repeat(3, 1)
        image = F.conv2d(F.pad(image, (2, 2, 0, 0), mode="replicate"), taps[:, None, None], groups=3)
        image = F.conv2d(F.pad(image, (0, 0, 2, 2), mode="replicate"), taps[:, None, :, None], groups=3)
    noise = rng.uniform(0, 0.04) if rng.chance(0.6) else 0.0
    return (image + noise * torch.randn(image.shape, generator=rng.generator)).clamp(0, 1)
