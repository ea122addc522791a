"""Writing pictures."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


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
    """Write :func:`encode_png`'s bytes; the file appears whole."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_bytes(encode_png(picture))
    temporary.replace(target)
    return target
