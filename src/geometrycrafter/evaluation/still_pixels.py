"""What stands still before a camera that stands (nearly) still, by the pictures alone."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.geometry.flow import flow, pyramid, unlike

FRAMES = 32
"""That are looked at, at most."""
WIDEST, NARROWEST = 128, 24
"""Sides of the pictures that flow is found in."""
MOVED = 0.08
"""Of a picture's longer side, by which it may move in the median before its camera is said to move."""
ALIKE, FEW = 0.5, 0.05
"""Difference of evened pictures, beyond which nothing was found again; and the share of them that must have been."""
COLOUR = 20 / 255
"""Largest change of what sees one thing all the time."""


def still_pixels(frames: Frames, span: range, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Pixels ``[H, W]`` that see one colour from a shot's first frame to its last; None where its camera moves.

    Args:
        frames: ``[T, h, w, 3]`` uint8, of a scene.
        span: of the shot.
        size: height and width of the answer.
    """
    at = sorted({span[round(t)] for t in np.linspace(0, len(span) - 1, FRAMES)})
    pictures = torch.stack([_small(torch.from_numpy(np.asarray(frames[t]))) for t in at])
    if _moves(pictures.mean(1)):
        return None
    even = F.avg_pool2d(pictures, 5, 1, 2, count_include_pad=False)
    still = (even - even.median(0).values).abs().amax((0, 1)) < COLOUR
    found: NDArray[np.bool_] = F.interpolate(still[None, None].float(), size, mode="nearest-exact")[0, 0].numpy() > 0
    return found


def _small(picture: Tensor) -> Tensor:
    """A frame ``[h, w, 3]`` uint8 as ``[3, h', w']`` in [0, 1]."""
    height, width = picture.shape[:2]
    share = min(1.0, WIDEST / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    whole = picture.permute(2, 0, 1)[None].float() / 255
    small: Tensor = F.interpolate(whole, size, mode="bilinear", antialias=True)[0]
    return small


def _moves(grey: Tensor) -> bool:
    """Whether a camera does, by how far the pictures ``[N, h, w]`` are from the one in the middle."""
    if min(grey.shape[1:]) < NARROWEST:
        return False
    levels, longest = [pyramid(picture) for picture in grey], max(grey.shape[1:])
    middle, away = len(grey) // 2, list[float]()
    for way in (range(middle + 1, len(grey)), range(middle - 1, -1, -1)):
        found: Tensor | None = None
        for t in way:  # from where the one before led
            found = flow(levels[middle], levels[t], found)
            sure = unlike(levels[middle][0], levels[t][0], found)[0] < ALIKE
            away.append(float(found[0].norm(dim=0)[sure].median()) if sure.float().mean() > FEW else longest)
    return bool(away) and float(np.quantile(away, 0.9)) > MOVED * longest
