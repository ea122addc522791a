"""A frame's points joined to a surface, cut where depth jumps."""

from __future__ import annotations

import numpy as np


def triangles(depth: np.ndarray, valid: np.ndarray, jump: float) -> np.ndarray:
    """Triangles ``[F, 3]`` int64 of a grid's pixels, numbered by rows, which face the camera.

    Args:
        depth: ``[H, W]``.
        valid: ``[H, W]`` bool.
        jump: what the farthest corner of a triangle may be beyond the nearest, relative.
    """
    number = np.arange(depth.size).reshape(depth.shape)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    corners = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))])
    corners = corners[valid.reshape(-1)[corners].all(1)]
    z = depth.reshape(-1)[corners]
    return np.asarray(corners[z.max(1) <= z.min(1) * (1 + jump)])
