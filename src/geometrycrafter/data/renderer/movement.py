"""How the second world's camera moves: not at all, by turning alone, in a hand, slowly ahead, or along a way.

Paths stay within a radius however long the clip is: what goes on turns back smoothly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geometrycrafter.data.renderer.camera_path import FPS, View
from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.geometry import rigid


def draw_path(rng: Draws, frames: int, view: View, reach: float) -> Tensor:
    """Camera-to-world ``[T, 4, 4]``.

    Args:
        rng: draws it.
        frames: T.
        view: how the camera begins; its speed is the fastest.
        reach: how far it may go from there, metres.
    """
    time = torch.arange(frames) / FPS
    kind = rng.uniform(0, 1)  # a third stands still, a sixth turns, the rest moves
    hand = 0.0 if kind < 0.22 else rng.uniform(0, 1) ** 2
    turns = (0.33 < kind < 0.5) or (kind >= 0.5 and rng.chance(0.5))
    position = view.position.expand(frames, 3)
    if kind >= 0.5:
        position = position + _way(rng, time, view, reach)
    if hand:
        position = position + torch.stack([_sway(rng, time, 0.03 * hand) for _ in range(3)], dim=-1)
    yaw, pitch = torch.full_like(time, view.yaw), torch.full_like(time, view.pitch)
    if turns:
        rate, widest = rng.uniform(0.02, 0.6) * rng.sign(), rng.uniform(0.2, 1.6)
        yaw = yaw + _there_and_back(time * rate, widest)
        if rng.chance(0.3):
            pitch = pitch + _there_and_back(time * rate * rng.uniform(-0.4, 0.4), 0.3)
    yaw, pitch = yaw + _sway(rng, time, 0.05 * hand), pitch + _sway(rng, time, 0.04 * hand)
    roll = rng.uniform(-0.06, 0.06) * (1.0 if rng.chance(0.5) else 0.1) + _sway(rng, time, 0.03 * hand)
    rotation = rigid.rotation_about("y", yaw) @ rigid.rotation_about("x", -pitch) @ rigid.rotation_about("z", roll)
    return rigid.motion(rotation, position)


def _way(rng: Draws, time: Tensor, view: View, reach: float) -> Tensor:
    """Offsets ``[T, 3]``: ahead, aside, or around, hardly up or down."""
    aim = rng.choice_of((0.0, 0.0, 1.57, -1.57, 3.14)) + rng.uniform(-0.4, 0.4)
    heading = view.yaw + aim
    along = _there_and_back(time * view.speed * math.exp(rng.uniform(math.log(0.1), 0)), reach)
    bend = rng.uniform(-0.5, 0.5) * along / max(reach, 1e-3)
    rise = rng.uniform(-0.1, 0.1) if rng.chance(0.4) else 0.0
    return torch.stack([along * torch.sin(heading + bend), along * rise, along * torch.cos(heading + bend)], dim=-1)


def _there_and_back(way: Tensor, farthest: float) -> Tensor:
    """A way that starts at its own speed and turns where it would go beyond the farthest."""
    return farthest * torch.sin(way / max(farthest, 1e-3))


def _sway(rng: Draws, time: Tensor, amount: float) -> Tensor:
    """A hand's: two waves, zero at first."""
    total = torch.zeros_like(time)
    for share in (0.7, 0.3):
        rate, phase = rng.uniform(0.5, 7), rng.uniform(0, 6.3)
        total = total + share * amount * (torch.sin(rate * time + phase) - math.sin(phase))
    return total
