"""Clips as the bytes that shards hold.

Pictures are JPEG or PNG. Depth is 16 bits a pixel, compressed by Blosc (Zstandard, byte shuffle): code 0 is unknown,
65535 is sky, and codes 1 to 65534 divide the logarithm between the clip's nearest and farthest depth evenly, which is
finer than 0.02 % for any clip whose depths span less than a factor of a million. Where things move is one bit a pixel,
compressed alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import simplejpeg
from numcodecs import Blosc, blosc

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.formats import decode_picture
from geometrycrafter.data.options import LOSSLESS
from geometrycrafter.video.pictures import encode_png

SKY, LAST = 65535, 65534
PICTURES = ("jpg", "png")
"""Suffixes of pictures."""
_BLOSC = Blosc("zstd", 1, Blosc.SHUFFLE)
blosc.use_threads = False  # many readers share the cores


def encode_depth(depth: np.ndarray, sky: np.ndarray | None, near: float, far: float) -> bytes:
    """The shard's bytes of a depth map.

    Args:
        depth: ``[H, W]`` float32, from ``near`` to ``far``; zero where unknown.
        sky: ``[H, W]`` bool; counts where depth is unknown.
        near: the clip's smallest depth.
        far: its largest.
    """
    span = max(math.log(far / near), 1e-6)
    # Rounding must not make sky of the farthest depth, nor a hole of the nearest.
    level = np.log(np.maximum(depth, near) * np.float32(1 / near)) * np.float32((LAST - 1) / span)
    code = (np.clip(level, 0, LAST - 1) + np.float32(1.5)).astype(np.uint16)
    valid = depth > 0
    code *= valid
    if sky is not None:
        code[sky & ~valid] = SKY
    return bytes(_BLOSC.encode(code))


def decode_depth(data: bytes, shape: tuple[int, int], near: float, far: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth ``[H, W]`` float32, zero where unknown, and where there is sky, ``[H, W]`` bool."""
    code = _decompressed(data, 2 * shape[0] * shape[1]).view(np.uint16).reshape(shape)
    return _depths(near, far).take(code), code == SKY


@lru_cache(maxsize=64)
def _depths(near: float, far: float) -> np.ndarray:
    """The depth that each code stands for, ``[65536]``."""
    span = max(math.log(far / near), 1e-6)
    table = near * np.exp(np.arange(-1, LAST + 1, dtype=np.float64) * span / (LAST - 1))
    table[[0, SKY]] = 0
    return table.astype(np.float32)


def encode_mask(mask: np.ndarray) -> bytes:
    """``[H, W]`` bool, one bit a pixel."""
    return bytes(_BLOSC.encode(np.packbits(mask)))


def decode_mask(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """:func:`encode_mask`'s ``[H, W]`` bool."""
    pixels = shape[0] * shape[1]
    return (np.unpackbits(_decompressed(data, -(-pixels // 8)), count=pixels) > 0).reshape(shape)


def _decompressed(data: bytes, size: int) -> np.ndarray:
    """Bytes of a Blosc buffer that must come to ``size``."""
    if len(data) < 16 or int.from_bytes(data[4:8], "little") != size:
        raise ValueError("a depth or mask is not as large as the picture")
    return np.frombuffer(_BLOSC.decode(data), np.uint8)


def encode_picture(frame: np.ndarray, quality: int) -> bytes:
    """``[H, W, 3]`` uint8 as JPEG without chroma subsampling; ``quality`` is 1 to 100, above that PNG."""
    if quality >= LOSSLESS:
        return encode_png(frame)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=quality, colorsubsampling="444")


def decode_picture_into(frame: np.ndarray, data: bytes) -> None:
    """JPEG or PNG bytes into ``[H, W, 3]`` uint8.

    Raises:
        ValueError: where they are damaged, or of another size.
    """
    jpeg = data[:2] == b"\xff\xd8"
    picture = None if jpeg else decode_picture(data)
    if (simplejpeg.decode_jpeg_header(data)[:2] if picture is None else picture.shape[:2]) != frame.shape[:2]:
        raise ValueError("a picture is not as large as its clip says")
    if picture is None:
        simplejpeg.decode_jpeg(data, buffer=frame)
    else:
        frame[:] = picture


@dataclass(frozen=True)
class EncodedClip:
    """A clip as bytes: what another process hands to the one that writes."""

    about: dict[str, Any]
    """What is the same for all frames: near, far, height, width, frames, intrinsics, poses, fps, source, licence."""
    members: dict[str, list[bytes]]
    """For each suffix of a file in the tar its bytes, frame by frame."""


def encode_clip(clip: Clip, quality: int = 95) -> EncodedClip:
    """Compress a clip; ``quality`` is of the pictures, 1 to 100, above that they are lossless.

    Raises:
        InputError: where the clip is not sound.
    """
    clip = clip.checked()
    near = min(float(np.where(d > 0, d, np.inf).min()) for d in clip.depth)
    far = float(clip.depth.max())
    _, height, width = clip.depth.shape
    sky = [None] * len(clip) if clip.sky is None else list(clip.sky)
    members = {
        "png" if quality >= LOSSLESS else "jpg": [encode_picture(f, quality) for f in clip.frames],
        "depth": [encode_depth(d, s, near, far) for d, s in zip(clip.depth, sky, strict=True)],
    }
    if clip.dynamic is not None:
        members["dynamic"] = [encode_mask(d) for d in clip.dynamic]
    about = {
        "near": near,
        "far": far,
        "height": height,
        "width": width,
        "frames": len(clip),
        "intrinsics": clip.intrinsics.tolist(),
        "poses": None if clip.poses is None else clip.poses.tolist(),
        "sky": clip.sky is not None,
        "fps": clip.fps,
        "source": clip.source,
        "licence": clip.licence,
        "members": list(members),
    }
    return EncodedClip(about, members)
