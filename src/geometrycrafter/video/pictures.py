"""Pictures of what was found: disparity in colours, sheets of pictures, PNG files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from geometrycrafter.files import write_bytes

RAMP = np.array(
    [
        [8, 5, 29],
        [61, 15, 92],
        [120, 28, 109],
        [177, 47, 93],
        [225, 83, 55],
        [248, 142, 9],
        [247, 209, 61],
        [252, 255, 164],
    ],
    np.float32,
)
"""Control points of a perceptual ramp from far (dark violet) over red to near (pale yellow)."""
NEAREST = 1e-6
"""Depths below this are as good as this."""


def disparity_bounds(depth: np.ndarray) -> tuple[float, float]:
    """2 % and 98 % quantiles of inverse depth ``[N]``; (0, 1) where there is none that is a number."""
    depth = depth[~np.isnan(depth)]
    if not depth.size:
        return 0.0, 1.0
    low, high = np.quantile(1 / np.maximum(depth, NEAREST), [0.02, 0.98])
    return float(low), float(high)


def disparity_picture(
    depth: np.ndarray, mask: np.ndarray, low: float | None = None, high: float | None = None, levels: int = 255
) -> np.ndarray:
    """Inverse depth in colours, black where invalid or no number: ``[..., H, W, 3]`` uint8, or uint16 for more levels.

    Args:
        depth: ``[..., H, W]``, any unit.
        mask: ``[..., H, W]`` bool, valid pixels.
        low: inverse depth that has the ramp's far end; None: :func:`disparity_bounds` of these pixels.
        high: that has the near end.
        levels: what the brightest is, at most 65535.
    """
    mask = mask & ~np.isnan(depth)
    if low is None or high is None:
        found = disparity_bounds(depth[mask])
        low, high = found[0] if low is None else low, found[1] if high is None else high
    inverse = 1 / np.maximum(np.where(mask, depth, np.inf), NEAREST)
    position = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1) * (len(RAMP) - 1)
    left = np.minimum(position.astype(int), len(RAMP) - 2)
    picture = RAMP[left] + (RAMP[left + 1] - RAMP[left]) * (position - left)[..., None]
    scaled = picture if levels == 255 else picture * (levels / 255)
    return np.where(mask[..., None], scaled, 0).round().astype(np.uint8 if levels <= 255 else np.uint16)


def at_size(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture ``[H, W, 3]`` at another size, ``[height, width, 3]``: the nearest pixels, none mixed."""
    h, w = picture.shape[:2]
    return picture[nearest(h, height)[:, None], nearest(w, width)]


def nearest(source: int, target: int) -> np.ndarray:
    """For each of ``target`` pixels along a side the nearest of ``source``, by their centres, ``[target]`` int."""
    return np.minimum(((np.arange(target) + 0.5) * source / target).astype(int), source - 1)


def sheet(rows: Sequence[Sequence[np.ndarray] | np.ndarray], gap: int = 0) -> np.ndarray:
    """Rows of pictures ``[H, W, 3]`` uint8, all of one size, as one ``[H', W', 3]``; short rows end in black.

    Args:
        rows: top to bottom, each left to right; a row may be ``[N, H, W, 3]``.
        gap: black pixels between neighbours.
    """
    height, width = rows[0][0].shape[:2]
    across = max(len(row) for row in rows)
    whole = np.zeros((len(rows) * (height + gap) - gap, across * (width + gap) - gap, 3), np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = i * (height + gap), j * (width + gap)
            whole[y : y + height, x : x + width] = picture
    return whole


def encode_png(picture: np.ndarray) -> bytes:
    """``[H, W, 3]`` uint8, or ``[H, W]`` uint8 or uint16, as PNG."""
    grey = picture.ndim == 2
    kind = ("gray16be" if picture.dtype == np.uint16 else "gray") if grey else "rgb24"
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = kind, Fraction(1, 24)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=kind)
    return b"".join(bytes(p) for p in [*codec.encode(frame), *codec.encode(None)])


def write_png(path: str | os.PathLike[str], picture: np.ndarray) -> Path:
    """Write a picture, as :func:`encode_png` takes it (``[H, W, 3]`` or ``[H, W]``); the file appears whole."""
    target = Path(path)
    write_bytes(target, encode_png(picture))
    return target
