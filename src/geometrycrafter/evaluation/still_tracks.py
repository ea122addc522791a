"""What stands still before a camera that stands (nearly) still, followed by the pictures alone.

A camera in a hand turns a little, and a pixel of it sees one thing after another: so things are followed, not pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.geometry.flow import flow, places, pyramid, sampled, unlike

WIDEST, NARROWEST = 128, 24
"""Sides of the pictures that flow is found in; smaller ones have none."""
STRIDE = 2
"""Pixels of them between what is followed."""
MOVED = 0.08
"""Of a picture's longer side, by which it may move in the median before its camera is said to move."""
ALIKE, COLOUR, FEW = 0.5, 40 / 255, 0.05
"""Difference of evened pictures, and change of colour, beyond which something was not found again; and the share of a
picture that must have been."""
OWN = 0.03
"""Of a picture's longer side, by which what moves by itself goes another way than the picture as a whole."""
SEEN = 0.8
"""Share of a shot's frames in which what stands still is found again."""
FITS, CLOSE = 10, 0.5
"""Rounds of fitting the picture's motion, and pixels from it beyond which a point hardly counts."""


def still_tracks(frames: Frames, span: range, size: tuple[int, int]) -> NDArray[np.int64] | None:
    """Where points that stand still are in each frame of a shot; None where its camera moves.

    Args:
        frames: ``[T, h, w, 3]`` uint8, of a scene.
        span: of the shot.
        size: height and width that the answer's pixels are of.

    Returns:
        ``[n, N]`` for the shot's frames: index of the nearest pixel in a flattened picture of that size; -1 where a
        point isn't seen.
    """
    middle = len(span) // 2
    begin = _small(torch.from_numpy(np.asarray(frames[span[middle]])))
    height, width = begin.shape[1:]
    longest = max(height, width)
    flows = min(height, width) >= NARROWEST
    level, own = pyramid(begin.mean(0)), places(height, width)
    ways, found = torch.zeros(len(span), 2, height, width), torch.ones(len(span), height, width, dtype=torch.bool)
    ways, found = ways[..., ::STRIDE, ::STRIDE].clone(), found[:, ::STRIDE, ::STRIDE].clone()
    away = list[float]()
    for way in (range(middle + 1, len(span)), range(middle - 1, -1, -1)):
        led = torch.zeros(1, 2, height, width)
        for t in way:  # from where the one before led
            picture = _small(torch.from_numpy(np.asarray(frames[span[t]])))
            sure = torch.ones(height, width, dtype=torch.bool)
            if flows:
                there = pyramid(picture.mean(0))
                led = flow(level, there, led)
                sure = unlike(level[0], there[0], led)[0] < ALIKE
                away.append(float(led[0].norm(dim=0)[sure].median()) if sure.float().mean() > FEW else longest)
                sure &= (led[0] - _of_the_whole(led[0], sure)).norm(dim=0) < OWN * longest
                at = own + led
                sure &= ((at >= 0) & (at <= at.new_tensor([width - 1, height - 1]).view(1, 2, 1, 1))).all(1)[0]
            sure &= (_even(sampled(picture[None], own + led)) - _even(begin[None])).abs().amax((0, 1)) < COLOUR
            ways[t], found[t] = led[0, :, ::STRIDE, ::STRIDE], sure[::STRIDE, ::STRIDE]
    if away and float(np.quantile(away, 0.9)) > MOVED * longest:
        return None
    still = found.float().mean(0) >= SEEN
    scale = torch.tensor([size[1] / width, size[0] / height])
    at = ((own[..., ::STRIDE, ::STRIDE] + ways).movedim(1, -1)[:, still] + 0.5) * scale - 0.5
    column, row = (at[..., i].round().long().clamp(0, size[1 - i] - 1) for i in (0, 1))
    index: NDArray[np.int64] = torch.where(found[:, still], row * size[1] + column, -1).numpy()
    return index


def _small(picture: Tensor) -> Tensor:
    """A frame ``[h, w, 3]`` uint8 as ``[3, h', w']`` in [0, 1]."""
    height, width = picture.shape[:2]
    share = min(1.0, WIDEST / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    whole = picture.permute(2, 0, 1)[None].float() / 255
    small: Tensor = F.interpolate(whole, size, mode="bilinear", antialias=True)[0]
    return small


def _even(picture: Tensor) -> Tensor:
    """Means of ``[1, C, h, w]`` around each pixel."""
    return F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)


def _of_the_whole(led: Tensor, sure: Tensor) -> Tensor:
    """The affine motion of a picture that most of a flow ``[2, h, w]`` goes by, ``[2, h, w]``."""
    height, width = sure.shape
    x = torch.cat([places(height, width)[0], torch.ones(1, height, width)]).flatten(1).T.double()
    to, weight = led.flatten(1).T.double(), sure.flatten().double()
    if not bool(sure.any()):
        return torch.zeros_like(led)
    way = torch.cat([to.new_zeros(2, 2), to[sure.flatten()].median(0).values[None]])  # [3, 2]
    for _ in range(FITS):
        off = (to - x @ way).norm(dim=-1)
        counts = (weight / (1 + (off / CLOSE).square()).square())[:, None] * x
        way = torch.linalg.solve(counts.T @ x + 1e-3 * torch.eye(3).double(), counts.T @ to)
    found: Tensor = (x @ way).T.reshape(2, height, width).float()
    return found
