"""What a run can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from geometrycrafter.errors import InputError
from geometrycrafter.settings import Count, Intrinsics, Range, Seed, Settings, Written

ALIGNMENT = 64
"""Sides of the processing size are multiples of this: three halvings of the latents, which are an eighth."""
LONGEST_SIDE = 4096
TWO_CAMERAS = "--camera and --intrinsics exclude each other; give one."

Focal = Literal["shared", "per-frame", "free"]
Resize = Literal["bilinear", "nearest"]
Precision = Literal["published", "tf32", "half", "int8", "auto"]
Side = Annotated[int, Range(ALIGNMENT, LONGEST_SIDE, multiple=ALIGNMENT)]
ProcessingSize = Annotated[tuple[Side, Side], Written("HxW", "x")]
LongestSide = Annotated[int, Range(ALIGNMENT, LONGEST_SIDE)]
WindowFrames = Annotated[int, Range(1, 10_000)]
Finder = Literal["auto", "transnet", "off"]
Frames = Annotated[tuple[Count, ...], Written("40,80", ",")]


@dataclass(frozen=True)
class Options(Settings):
    """Settings of one run; they are stored with the scene.

    Attributes:
        size: processing height and width, multiples of 64; None: the model's choice for the video's shape.
        max_size: longest side of the processing size, where that is the model's choice.
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
        cuts: found by the embedded detector (``auto``) or by TransNet V2 (``transnet``); the frames that shots begin
            with; or all is one shot (``off``). Every shot has windows, statistics and a scale of its own.
        precision: of what computes in float32 as ``published`` (point-map VAE and prior): ``tf32`` rounds inputs of
            products and convolutions on a GPU, ``half`` computes the prior's transformer in 16 bits besides. With
            ``int8`` the UNet's linear layers are in 8 bits, weights and tokens; all else is as published.
            ``auto`` is ``half`` where the device is fast in 16 bits, else ``published``.
        decoder: ``full``, the model's own, or ``light``: the light one that lies beside it, or that is its own (the
            embedded model's is). It decodes each frame once, with the few frames around that it depends on.
        steady: depth of all frames is put on one footing by the motion of the picture (``on``); ``exact`` does without.

    Raises:
        InputError: names the option that is out of its range, or two that exclude each other.
    """

    size: ProcessingSize | None = None
    max_size: LongestSide | None = None
    window: WindowFrames = 110
    overlap: Annotated[int, Range(0, 9_999)] = 25
    steps: Annotated[int, Range(1, 1_000)] = 5
    guidance: Annotated[float, Range(1, 100)] = 1.0
    decode_chunk: Annotated[int, Range(1, 1_000)] = 8
    focal: Focal = "shared"
    depth_resize: Resize = "bilinear"
    exact: bool = False
    seed: Seed = 0
    intrinsics: Intrinsics | None = None
    decoder: Literal["full", "light"] = "full"
    cuts: Frames | Finder = "auto"
    precision: Precision = "published"
    steady: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap >= self.window:
            raise InputError(
                f"--window {self.window} --overlap {self.overlap}: the overlap must be smaller than the window; "
                f"try --overlap {self.window // 4}."
            )
        if self.size is not None and self.max_size is not None:
            raise InputError("--size and --max-size exclude each other; give one.")
        if not isinstance(self.cuts, str) and list(self.cuts) != sorted(set(self.cuts)):
            raise InputError(f"--cuts {','.join(map(str, self.cuts))}: give frames in order, each once.")

    def for_video(self, height: int, width: int, pixels: int) -> Options:
        """The same options with the processing size that they mean for a video.

        Args:
            height: of the video's frames, pixels.
            width: likewise.
            pixels: of the processing size where the options give none.
        """
        size = self.size or processing_size(height, width, pixels, self.max_size)
        return replace(self, size=size, max_size=None)

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def processing_size(height: int, width: int, pixels: int, longest: int | None = None) -> tuple[int, int]:
    """Height and width, multiples of 64, near to a video's shape.

    Args:
        height: of the video's frames, pixels.
        width: likewise.
        pixels: of the processing size, about.
        longest: what neither side may exceed; the shape is kept, as far as multiples of 64 can.
    """
    scale = (pixels / (height * width)) ** 0.5
    limit = min(longest or LONGEST_SIDE, LONGEST_SIDE) // ALIGNMENT * ALIGNMENT
    if _aligned(max(height, width) * scale) > limit:
        scale = limit / max(height, width)
    return _aligned(height * scale), _aligned(width * scale)


def _aligned(side: float) -> int:
    return max(ALIGNMENT, round(side / ALIGNMENT) * ALIGNMENT)
