"""How a picture moves: dense flow between two small pictures, coarse to fine (Lucas and Kanade 1981, iterated).

Both directions are found together, as one that is not undone by the other is not to be believed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 12
"""Rows or columns of the coarsest picture."""
NEARBY = 6
"""Pixels around within which a picture's contrast is evened out."""
WINDOW, ROUNDS = 3, 3
STEP = 1.5
"""Pixels of a picture that flow moves by in one round, at most."""
SUDDEN = 0.5
"""Difference of evened pictures beyond which two pixels are hardly compared."""


def blurred(values: Tensor, radius: int) -> Tensor:
    """Means of means over squares of a radius in pixels, ``[N, C, H, W]``; edges go on as they are."""
    side = 2 * radius + 1
    for _ in range(2):  # sums of slices: pooling takes several times as long
        padded = F.pad(values, (radius, radius, radius, radius), mode="replicate")
        height, width = values.shape[-2:]
        rows = padded[..., :height, :].clone()
        for i in range(1, side):
            rows += padded[..., i : i + height, :]
        values = rows[..., :width].clone()
        for i in range(1, side):
            values += rows[..., i : i + width]
        values /= side * side
    return values


def pyramid(grey: Tensor) -> list[Tensor]:
    """A picture ``[H, W]`` in [0, 1], its contrast evened, ``[1, 1, H, W]``, and halves of it down to the coarsest."""
    centred = grey[None, None] - blurred(grey[None, None], NEARBY)
    levels = [centred / (blurred(centred.square(), NEARBY).sqrt() + 0.02)]
    while min(levels[-1].shape[-2:]) // 2 >= SMALLEST:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def places(height: int, width: int) -> Tensor:
    """Pixels' own places (x, y), ``[1, 2, H, W]``."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([x, y])[None]


def sampled(values: Tensor, at: Tensor) -> Tensor:
    """Values ``[N, C, H, W]`` at places (x, y) ``[N, 2, h, w]`` in pixels, between them by straight lines."""
    height, width = values.shape[-2:]
    x, y = at[:, 0] * (2 / max(width - 1, 1)) - 1, at[:, 1] * (2 / max(height - 1, 1)) - 1
    return F.grid_sample(values, torch.stack([x, y], -1), padding_mode="border", align_corners=True)


def composed(first: Tensor, second: Tensor) -> Tensor:
    """One flow ``[N, 2, H, W]`` and then another."""
    return first + sampled(second, places(first.shape[-2], first.shape[-1]) + first)


def flow(a: list[Tensor], b: list[Tensor], start: Tensor | None = None, levels: int | None = None) -> Tensor:
    """Where the pixels of pictures go in others: ``[N, 2, H, W]``, (x, y) in pixels.

    Args:
        a: pyramids of N pictures.
        b: of those that they go to.
        start: ``[N, 2, H, W]``, about where they go; None: nowhere.
        levels: of the pyramids that are looked at; None: all.
    """
    count = len(a) if levels is None else min(levels, len(a))
    found = a[0].new_zeros(len(a[0]), 2, *a[0].shape[-2:]) if start is None else start
    for one, other in zip(a[count - 1 :: -1], b[count - 1 :: -1], strict=True):
        found = _finer(one, other, _resized(found, one.shape[-2], one.shape[-1]))
    return found


def _resized(found: Tensor, height: int, width: int) -> Tensor:
    if found.shape[-2:] == (height, width):
        return found
    sides = found.new_tensor([width / found.shape[-1], height / found.shape[-2]]).view(1, 2, 1, 1)
    return F.interpolate(found, (height, width), mode="bilinear", align_corners=False) * sides


def _finer(a: Tensor, b: Tensor, found: Tensor) -> Tensor:
    own = places(a.shape[-2], a.shape[-1])
    around = F.pad(a, (1, 1, 1, 1), mode="replicate")
    x = (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2
    y = (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2
    squares = torch.cat([x * x, x * y, y * y], 1)
    for _ in range(ROUNDS):
        off = sampled(b, own + found) - a
        weight = 1 / (1 + (off / SUDDEN).square())
        sums = blurred(torch.cat([weight * squares, weight * off * x, weight * off * y], 1), WINDOW)
        xx, xy, yy, ex, ey = sums.unbind(1)
        least = 1e-3 + 0.01 * (xx + yy)
        xx, yy = xx + least, yy + least
        step = torch.stack([xy * ey - yy * ex, xy * ex - xx * ey], 1) / (xx * yy - xy * xy)[:, None]
        found = found + step.clamp(-STEP, STEP)
    return blurred(found, 1)


def unlike(a: Tensor, b: Tensor, found: Tensor) -> Tensor:
    """How far evened pictures ``[N, 1, H, W]`` differ from what flow leads to, around each pixel: ``[N, H, W]``."""
    there = sampled(b, places(a.shape[-2], a.shape[-1]) + found)
    return blurred((a - there).abs(), 2)[:, 0]


def not_undone(found: Tensor, back: Tensor) -> Tensor:
    """Pixels ``[N, H, W]`` by which flow there and back, each ``[N, 2, H, W]``, misses where it began."""
    missed: Tensor = composed(found, back).norm(dim=1)
    return missed
