"""What a run can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from geometrycrafter.errors import InputError

Focal = Literal["shared", "per-frame", "free"]
ALIGNMENT = 64
"""Sides of the processing size are multiples of this: three halvings of the latents, which are an eighth."""


@dataclass(frozen=True)
class Options:
    """Settings of one run; they are stored with the scene.

    Attributes:
        size: processing height and width, multiples of 64; None: the model's choice for the video's shape.
        window: frames that the UNet sees at a time.
        overlap: frames that neighbouring windows share.
        steps: sampler steps (generative variant).
        guidance: classifier-free guidance; 1 is none (generative variant).
        decode_chunk: frames that the decoder sees at a time.
        focal: one focal length for the clip, one for each frame, or free rays for each pixel.
        depth_resize: how depth and mask go from the processing size to the video's.
        exact: the published order of operations: isolated decoder chunks, short last windows.
        seed: of the noise (generative variant).
        intrinsics: fx, fy, cx, cy in pixels of the video, where the camera is known.
        decoder: ``full``, the model's own, or ``light``: a light one is wanted (the embedded model's own is).
    """

    size: tuple[int, int] | None = None
    window: int = 110
    overlap: int = 25
    steps: int = 5
    guidance: float = 1.0
    decode_chunk: int = 8
    focal: Focal = "shared"
    depth_resize: Literal["bilinear", "nearest"] = "bilinear"
    exact: bool = False
    seed: int = 0
    intrinsics: tuple[float, float, float, float] | None = None
    decoder: Literal["full", "light"] = "full"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"--window {self.window}: a window has at least 1 frame.")
        if not 0 <= self.overlap < self.window:
            raise InputError(
                f"--window {self.window} --overlap {self.overlap}: the overlap must be smaller than the window; "
                f"try --overlap {self.window // 4}."
            )
        if self.steps < 1 or self.decode_chunk < 1:
            raise InputError(f"--steps {self.steps}, decode_chunk {self.decode_chunk}: both must be at least 1.")
        if self.size is not None and (min(self.size) < ALIGNMENT or any(s % ALIGNMENT for s in self.size)):
            down = [max(ALIGNMENT, round(s / ALIGNMENT) * ALIGNMENT) for s in self.size]
            raise InputError(
                f"--size {self.size[0]}x{self.size[1]}: both sides must be multiples of {ALIGNMENT}; "
                f"the nearest is {down[0]}x{down[1]}."
            )
        if self.focal not in ("shared", "per-frame", "free"):
            raise InputError(f"--focal {self.focal}: choose shared, per-frame or free.")
        if self.depth_resize not in ("bilinear", "nearest"):
            raise InputError(f"depth_resize {self.depth_resize}: choose bilinear or nearest.")
        if self.intrinsics is not None and (len(self.intrinsics) != 4 or min(self.intrinsics[:2]) <= 0):
            raise InputError("--intrinsics wants four numbers fx,fy,cx,cy in pixels, the first two positive.")
        if self.decoder not in ("full", "light"):
            raise InputError(f"--decoder {self.decoder}: choose full or light.")

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def processing_size(height: int, width: int, pixels: int) -> tuple[int, int]:
    """The multiples of 64 nearest to a video's shape with about ``pixels`` pixels."""
    scale = (pixels / (height * width)) ** 0.5
    sides = [max(ALIGNMENT, round(s * scale / ALIGNMENT) * ALIGNMENT) for s in (height, width)]
    return sides[0], sides[1]
