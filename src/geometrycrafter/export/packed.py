"""Maps of a frame as few bytes: depth in equal steps of its logarithm, each value told by its neighbours, deflated.

How a reader undoes it: inflate; the planes ``[H, W]`` of bytes are the low and the high half of depth, what a pixel is
(1: valid, 2: moves), and where rays are kept the halves of their x and y. A 16-bit value z of two halves is
``(z >> 1) ^ -(z & 1)`` off what its neighbours tell, modulo 65,536: the left one in the first row, the upper one in the
first column, elsewhere the middle one of left, upper, and left plus upper minus the one between them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

LEVELS = 65_535
VALID, MOVES = 1, 2
EFFORT = 7
"""Of zlib."""


@dataclass(frozen=True)
class PackedMap:
    """A frame's depth, and its rays where each pixel has its own."""

    data: bytes
    near: float
    """Depth is ``near * exp(value * quantum)``."""
    quantum: float
    rays: tuple[float, float, float, float] | None
    """A ray's x and y are the first two, plus the values times the others."""
    error: np.ndarray
    """``[N]``, how far each valid point is off, as a share of its distance."""


def pack(
    depth: np.ndarray, valid: np.ndarray, rays: np.ndarray, precision: float, moving: np.ndarray | None, own_rays: bool
) -> PackedMap:
    """Pack a frame.

    Args:
        depth: ``[H, W]``.
        valid: ``[H, W]`` bool.
        rays: ``[H, W, 2]``, x and y at a depth of one.
        precision: relative error of depth, at most; larger where the range is too wide for 16 bits.
        moving: ``[H, W]`` bool, or None.
        own_rays: whether the rays are kept; else the camera tells them.
    """
    kept = depth[valid].astype(np.float64)
    near, far = (float(kept.min()), float(kept.max())) if kept.size else (1.0, 1.0)
    quantum = max(2 * float(np.log1p(precision)), float(np.log(far / near)) / (LEVELS - 1))
    level = np.rint(np.log(np.where(valid, depth, near).astype(np.float64) / near) / quantum).astype(np.int64)
    planes = [*_planes(_filled(level, valid)), _flags(valid, moving)]
    found = near * np.exp(level * quantum)
    scales, told = None, rays.astype(np.float64)
    if own_rays:
        whole = np.where(valid[..., None], told, 0.0)
        low = whole.min((0, 1))
        steps = np.maximum(2 * precision * np.ones(2), np.ptp(whole, axis=(0, 1)) / (LEVELS - 1))
        levels = np.rint((whole - low) / steps).astype(np.int64)
        planes += [plane for i in range(2) for plane in _planes(_filled(levels[..., i], valid))]
        scales = (float(low[0]), float(low[1]), float(steps[0]), float(steps[1]))
        told = low + levels * steps
    data = zlib.compress(b"".join(plane.tobytes() for plane in planes), EFFORT)
    return PackedMap(data, near, quantum, scales, _errors(depth, rays, found, told, valid))


def _errors(depth: np.ndarray, rays: np.ndarray, found: np.ndarray, told: np.ndarray, valid: np.ndarray) -> np.ndarray:
    def points(d: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.concatenate([r[valid], np.ones((int(valid.sum()), 1))], 1) * d[valid].astype(np.float64)[:, None]

    true = points(depth, rays)
    off = np.linalg.norm(points(found, told) - true, axis=1)
    return np.asarray(off / np.maximum(np.linalg.norm(true, axis=1), 1e-30))


def _flags(valid: np.ndarray, moving: np.ndarray | None) -> np.ndarray:
    moves = np.zeros_like(valid) if moving is None else moving & valid
    return (valid * VALID + moves * MOVES).astype(np.uint8)


def _filled(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values ``[H, W]`` with that of the last valid pixel where there is none: what costs least."""
    flat, good = values.ravel(), valid.ravel()
    if not good.any():
        return np.zeros_like(values)
    last = np.maximum.accumulate(np.where(good, np.arange(flat.size), -1))
    return flat[np.where(last < 0, np.argmax(good), last)].reshape(values.shape)


def _planes(values: np.ndarray) -> list[np.ndarray]:
    """Low and high bytes ``[H, W]`` of how far each value is off what its neighbours tell."""
    left = np.zeros_like(values)
    left[:, 1:] = values[:, :-1]
    up = np.zeros_like(values)
    up[1:] = values[:-1]
    corner = np.zeros_like(values)
    corner[1:, 1:] = values[:-1, :-1]
    told = np.clip(left + up - corner, np.minimum(left, up), np.maximum(left, up))  # the middle of the three
    told[0], told[1:, 0] = left[0], up[1:, 0]
    off = ((values - told) & 0xFFFF).astype(np.uint16).view(np.int16).astype(np.int32)
    code = ((off << 1) ^ (off >> 15)) & 0xFFFF
    return [(code & 255).astype(np.uint8), (code >> 8).astype(np.uint8)]


def pack_cloud(points: np.ndarray, rgb: np.ndarray) -> tuple[bytes, list[float], list[float]]:
    """Points ``[P, 3]`` and colours ``[P, 3]`` uint8, deflated, and where their box begins and how large it is.

    Planes are the low and high bytes of x, y and z, each less the one before it modulo 65,536, then the colours.
    """
    low, across = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-12)
    level = np.rint((points - low) / across * LEVELS).astype(np.int64)
    steps = np.diff(level, axis=0, prepend=0) & 0xFFFF
    planes = [half for i in range(3) for half in (steps[:, i] & 255, steps[:, i] >> 8)]
    data = b"".join(plane.astype(np.uint8).tobytes() for plane in planes) + rgb.tobytes()
    return zlib.compress(data, EFFORT), low.tolist(), across.tolist()
