"""Sizes and crops of clips, with intrinsics that stay exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from geometrycrafter.data.clip import Clip
from geometrycrafter.geometry import rigid
from geometrycrafter.video.pictures import nearest


def resized_intrinsics(intrinsics: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    """Intrinsics ``[..., 3, 3]`` of a picture resized by these factors.

    Pixel centres are integers, so the edges are at -1/2.
    """
    k = intrinsics.astype(np.float64)
    k[..., 0, :2] *= scale_x
    k[..., 1, :2] *= scale_y
    k[..., 0, 2] = (k[..., 0, 2] + 0.5) * scale_x - 0.5
    k[..., 1, 2] = (k[..., 1, 2] + 0.5) * scale_y - 0.5
    return k.astype(np.float32)


def resize_picture(picture: np.ndarray, height: int, width: int, mode: str = "bilinear") -> np.ndarray:
    """A picture ``[H, W, 3]`` uint8 at another size, ``[height, width, 3]``.

    ``bilinear`` is antialiased, ``bicubic`` is not (as OpenCV's).
    """
    if picture.shape[:2] == (height, width):
        return picture
    # In this order torch sees that channels are last, and takes the fast way.
    pixels = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2)
    if mode == "bilinear":
        resized = F.interpolate(pixels, (height, width), mode=mode, antialias=True)
    else:
        resized = F.interpolate(pixels.float(), (height, width), mode=mode).round().clamp(0, 255).byte()
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def resize_map(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps ``[T, H, W]`` at another size, ``[T, height, width]``: each pixel has its nearest one's value."""
    if values.shape[1:] == (height, width):
        return values
    rows, columns = nearest(values.shape[1], height), nearest(values.shape[2], width)
    return values[:, rows].take(columns, axis=2)  # rows first: those are copied whole


def resize(clip: Clip, height: int, width: int) -> Clip:
    """Frames by antialiased bilinear interpolation, maps by their nearest pixel, so that no depth is invented."""
    h, w = clip.depth.shape[1:]
    if (h, w) == (height, width):
        return clip
    return _with(
        clip,
        lambda x: resize_map(x, height, width),
        frames=np.stack([resize_picture(f, height, width) for f in clip.frames]),
        intrinsics=resized_intrinsics(clip.intrinsics, width / w, height / h),
    )


def crop(clip: Clip, top: int, left: int, height: int, width: int) -> Clip:
    """A part of the picture."""
    k = clip.intrinsics.copy()
    k[:, 0, 2] -= left
    k[:, 1, 2] -= top
    window = (slice(None), slice(top, top + height), slice(left, left + width))
    return _with(clip, lambda x: x[window], frames=clip.frames[window], intrinsics=k)


def cover(clip: Clip, height: int, width: int, zoom: float = 1.0) -> Clip:
    """Resize so that the picture covers the size, keeping its shape, and cut out the middle (supplementary, 2).

    Args:
        clip: to resize.
        height: of the result.
        width: of the result.
        zoom: at least 1: resize by that much more before cutting, which makes the field of view smaller. Drawn at
            random this is the paper's augmentation of intrinsics.
    """
    h, w = clip.depth.shape[1:]
    scale = max(height / h, width / w) * zoom
    new_h, new_w = max(height, round(h * scale)), max(width, round(w * scale))
    return crop(resize(clip, new_h, new_w), (new_h - height) // 2, (new_w - width) // 2, height, width)


def mirrored(clip: Clip) -> Clip:
    """Left and right exchanged; the world is mirrored with the picture, so poses are too."""
    k = clip.intrinsics.copy()
    k[:, 0, 2] = clip.depth.shape[2] - 1 - k[:, 0, 2]
    poses = None if clip.poses is None else rigid.mirrored(torch.tensor(clip.poses)).numpy()
    flipped = _with(clip, lambda x: np.ascontiguousarray(x[:, :, ::-1]), frames=clip.frames[:, :, ::-1], intrinsics=k)
    return replace(flipped, poses=poses)


def _with(clip: Clip, maps: Callable[[np.ndarray], np.ndarray], frames: np.ndarray, intrinsics: np.ndarray) -> Clip:
    """The clip with a function applied to depth and masks."""
    return replace(
        clip,
        frames=frames,
        intrinsics=intrinsics,
        depth=maps(clip.depth),
        sky=None if clip.sky is None else maps(clip.sky),
        dynamic=None if clip.dynamic is None else maps(clip.dynamic),
    )
