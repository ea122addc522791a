"""Point clouds as pictures from another side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from geometrycrafter.geometry import rigid

FARTHEST = 0.95
"""Of the depths: what is beyond is left out of a view, or it would be a speck before the sky."""
BACK = 1.3
"""Of the middle depth, that the camera steps back by, so that what stands out stays in view."""


EMPTY = 2**63 - 1
"""What a pixel holds that no point is in."""
AROUND = 0.2
"""Of a cloud's size in the picture, that is left on each side for outlines beside it."""


@dataclass(frozen=True)
class View:
    """From where a cloud is looked at: turned about the vertical, and from above, through the cloud's middle."""

    angle: float
    """Degrees about the vertical; the camera moves to the left."""
    above: float = 0.0
    """Degrees that the camera looks down by."""

    def seen(self, points: np.ndarray, middle: np.ndarray) -> np.ndarray:
        """Points ``[N, 3]`` in the axes of the camera that looks so at the middle ``[3]``; ``[N, 3]``."""
        turn, tilt = (torch.deg2rad(torch.tensor(x, dtype=torch.float64)) for x in (self.angle, self.above))
        rotation = (rigid.rotation_about("x", tilt) @ rigid.rotation_about("y", turn)).numpy()
        q = (points - middle) @ rotation.T
        q[:, 2] += BACK * middle[2]
        return np.asarray(q)


def splat(
    u: np.ndarray,
    v: np.ndarray,
    depth: np.ndarray,
    rgb: np.ndarray,
    height: int,
    width: int,
    side: int | np.ndarray = 2,
    ground: int | tuple[int, int, int] = 255,
) -> np.ndarray:
    """Points ``[N]`` at pixels (u, v) as a picture ``[H, W, 3]`` uint8; in each pixel the nearest one is seen.

    Args:
        u: pixels to the right.
        v: pixels down.
        depth: of each, positive.
        rgb: ``[N, 3]`` uint8.
        height: of the picture.
        width: of the picture.
        side: pixels that a point is wide, so that surfaces close; one number, or each one's ``[N]``.
        ground: colour where no point is.
    """
    sides = np.broadcast_to(np.asarray(side, np.int64), u.shape)
    most = int(sides.max(initial=1))
    column, row = (np.rint(a - (sides - 1) // 2) for a in (u, v))
    near = np.flatnonzero((column > -most) & (column < width) & (row > -most) & (row < height))
    # Around the picture there is room for points that are partly in it.
    across = width + 2 * most
    at = torch.from_numpy(((row[near] + most) * across + column[near] + most).astype(np.int64))
    # The nearest wins, and of those as near the first: a number that has the depth's bits above the point's own.
    keys = torch.from_numpy(depth[near].astype(np.float32).view(np.int32).astype(np.int64) << 32 | near)
    wide = torch.from_numpy(sides[near])
    nearest = torch.full(((height + 2 * most) * across,), EMPTY, dtype=torch.int64)
    for reach in range(most):  # the points that are wider than this, a frame of pixels more of each
        still = wide > reach
        at, keys, wide = at[still], keys[still], wide[still]
        for dy, dx in [(reach, i) for i in range(reach + 1)] + [(i, reach) for i in range(reach)]:
            nearest.scatter_reduce_(0, at + (dy * across + dx), keys, "amin")
    found = nearest.view(-1, across)[most : most + height, most : most + width].reshape(-1).numpy()
    canvas = np.empty((height * width, 3), np.uint8)
    canvas[:] = ground
    hit = found != EMPTY
    canvas[hit] = rgb[found[hit] & 0xFFFFFFFF]
    return canvas.reshape(height, width, 3)


def view_of_points(points: np.ndarray, mask: np.ndarray, picture: np.ndarray, angle: float) -> np.ndarray:
    """A frame's point cloud from another side, ``[H, W, 3]`` uint8 on white.

    Args:
        points: ``[H, W, 3]`` in camera axes.
        mask: ``[H, W]`` bool.
        picture: ``[H, W, 3]`` uint8, the points' colours.
        angle: degrees about the vertical through the cloud's middle; the camera moves to the left.
    """
    height, width = mask.shape
    good = mask & np.isfinite(points).all(-1)
    if not good.any():
        return np.full((height, width, 3), 255, np.uint8)
    p = points[good].astype(np.float64)
    kept = p[:, 2] <= np.quantile(p[:, 2], FARTHEST)
    p, colour = p[kept], picture[good][kept]
    middle = np.median(p, axis=0)
    q = View(angle).seen(p, middle)
    front = q[:, 2] > 0.05 * abs(middle[2])
    q, colour = q[front], colour[front]
    focal = min(0.9 * width * middle[2] / max(np.ptp(p[:, 0]), 1e-9), 1.2 * width)
    return splat(
        q[:, 0] / q[:, 2] * focal + width / 2, q[:, 1] / q[:, 2] * focal + height / 2, q[:, 2], colour, *mask.shape
    )


def view_of_world(
    points: np.ndarray, rgb: np.ndarray, view: View, height: int, width: int, lines: int = 0
) -> np.ndarray:
    """A cloud of several frames, fitted into a picture ``[height, width, 3]`` uint8 on white.

    Args:
        points: ``[N, 3]``, in the axes of a camera in the middle of the clip.
        rgb: ``[N, 3]`` uint8.
        view: from where.
        height: of the picture.
        width: of the picture.
        lines: so many of the points, the last, are of outlines: they are in the picture as far as that leaves most of
            it to the others.
    """
    if not len(points):
        return np.full((height, width, 3), 255, np.uint8)
    drawn = np.arange(len(points)) >= len(points) - lines
    front = points[(points[:, 2] > 0) & ~drawn]
    middle = np.median(front if len(front) else points, axis=0)
    q = view.seen(points, middle)
    ahead = q[:, 2] > 0.05 * abs(middle[2])
    q, rgb, drawn = q[ahead], rgb[ahead], drawn[ahead]
    across = q[:, :2] / q[:, 2:]
    low, high = np.quantile(across[~drawn] if not drawn.all() else across, [0.005, 0.995], axis=0)
    if drawn.any():
        room = AROUND * (high - low)
        low = np.maximum(np.minimum(low, across[drawn].min(0)), low - room)
        high = np.minimum(np.maximum(high, across[drawn].max(0)), high + room)
    focal = 0.94 * min(np.array([width, height]) / np.maximum(high - low, 1e-9))
    u, v = ((across - (low + high) / 2) * focal + np.array([width, height]) / 2).T
    side = int(np.clip(np.ceil(np.sqrt(height * width / len(q))), 2, 4)) if len(q) else 2  # few points are larger
    return splat(u, v, q[:, 2], rgb, height, width, side)
