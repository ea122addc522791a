"""From clips to the tensors that a stage trains on: sizes, augmentation, normalisation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards import Shards
from geometrycrafter.data.transforms import cover, mirrored
from geometrycrafter.geometry.cameras import half_field_of_intrinsics
from geometrycrafter.inference.conditioning import ClipNormalisation, PriorMaps, encoder_inputs, statistics
from geometrycrafter.training.config import Augmentation
from geometrycrafter.training.sampling import Draw, learned

MAPS = ("depth", "known", "half_field")
"""What :class:`ClipSamples` gives of the truth, by which latents can be judged after decoding."""


@dataclass(frozen=True)
class ClipSamples:
    """Samples of clips in shards; runs in the reading processes."""

    sources: tuple[Shards, ...]
    size: tuple[int, int]
    augmentation: Augmentation
    other_sizes: tuple[tuple[int, int], ...] = ()
    hold_out: tuple[float, ...] = ()
    """Of each source, the share of its clips' frames that is not for learning; none given: nothing is held out."""

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """A sample's tensors.

        Returns:
            frames ``[T, H, W, 3]`` uint8, :func:`as_numbers` being the trainer's part (the way to it is four times
            shorter for them); depth ``[T, H, W]``, zero where unknown; known ``[T, H, W]`` bool, where
            it is known whether there is a surface; half_field ``[T, 2]``, tangents of half the field of view.
        """
        rng = np.random.default_rng(draw.seed)
        sizes = (self.size, *self.other_sizes)
        size = sizes[draw.size % len(sizes)]
        shards = self.sources[draw.source]
        length = shards.clips.length(draw.clip)
        if self.hold_out:
            length = learned(length, self.hold_out[draw.source])
        # A clip that is too short goes to and fro, so that all samples of a batch are of one length.
        stride = self._stride(rng, length, draw.frames)
        reach = (draw.frames - 1) * stride + 1
        start = int(rng.integers(max(1, length - reach + 1)))
        clip = shards.read(draw.clip, slice(start, min(start + reach, length), stride))
        times = np.arange(draw.frames)
        if length < draw.frames:
            there_and_back = np.r_[np.arange(length), np.arange(length - 2, 0, -1)]
            times = there_and_back[times % len(there_and_back)]
        zoom = float(1 + (self.augmentation.zoom - 1) * rng.uniform() ** 2)
        clip = cover(clip, *size, zoom=zoom)
        if self.augmentation.mirror and rng.uniform() < 0.5:
            clip = mirrored(clip)
        maps = tensors_of(clip)
        if self.augmentation.photographic:
            seen = photographed(as_numbers(maps["frames"]), torch.Generator().manual_seed(draw.seed))
            maps["frames"] = (seen * 255).round().byte().permute(0, 2, 3, 1).contiguous()
        if self.augmentation.reverse and rng.uniform() < 0.5:
            times = times[::-1].copy()
        if self.augmentation.level:
            spread = self.augmentation.level * rng.uniform()
            scales = np.exp(spread * rng.standard_normal(len(clip.frames))).astype(np.float32)
            maps["depth"] = maps["depth"] * torch.from_numpy(scales)[:, None, None]
        return {k: v[torch.from_numpy(times)] for k, v in maps.items()}

    def _stride(self, rng: np.random.Generator, length: int, frames: int) -> int:
        """What a sample goes on by from frame to frame: never past the end of its clip, which no cut is in."""
        most = min(self.augmentation.stride, (length - 1) // max(1, frames - 1))
        return int(rng.integers(1, most + 1)) if frames > 1 and most > 1 else 1


def tensors_of(clip: Clip) -> dict[str, Tensor]:
    """A clip's frames, depth, what is known of it, and field of view, as :class:`ClipSamples` gives them."""
    known = clip.mask | clip.sky if clip.sky is not None else clip.mask
    return {
        "frames": torch.from_numpy(np.ascontiguousarray(clip.frames)),
        "depth": torch.from_numpy(np.ascontiguousarray(clip.depth)),
        "known": torch.from_numpy(np.ascontiguousarray(known)),
        "half_field": half_field_of_intrinsics(torch.from_numpy(clip.intrinsics), clip.height, clip.width),
    }


def as_numbers(frames: Tensor) -> Tensor:
    """Pictures ``[..., H, W, 3]`` uint8 as the networks take them: ``[..., 3, H, W]`` in [0, 1]."""
    return frames.movedim(-1, -3).contiguous().float() / 255


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A sample or a batch on a device, its pictures as numbers."""
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    return moved | {"frames": as_numbers(moved["frames"])} if "frames" in moved else moved


def photographed(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, gamma, colour cast, saturation, blur and noise, alike for all frames: ``[T, 3, H, W]`` in [0, 1]."""

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(1, channels, 1, 1, generator=generator)

    frames = frames.clamp_min(1e-3) ** torch.exp(draw(-0.4, 0.4)) * draw(0.75, 1.25) * draw(0.88, 1.12, 3)
    frames = torch.lerp(frames.mean(dim=1, keepdim=True), frames, draw(0.0, 1.1))
    if draw(0, 1).item() < 0.3:
        height, width = frames.shape[-2:]
        factor = draw(1, 2).item()
        small = F.interpolate(frames, (round(height / factor), round(width / factor)), mode="bilinear", antialias=True)
        frames = F.interpolate(small, (height, width), mode="bilinear")
    if draw(0, 1).item() < 0.3:
        frames = frames + draw(0, 0.05) * torch.randn(frames.shape, generator=generator)
    return frames.clamp(0, 1)


@dataclass(frozen=True)
class NormalisedClip:
    """A clip's truth, normalised over its frames as inference does it, each ``[T, 1, H, W]``."""

    disparity: Tensor
    """In [-1, 1]."""
    validity: Tensor
    """-1 or 1."""
    log_depth: Tensor
    """Zero where unknown."""
    theta_diag: Tensor
    mask: Tensor
    """Bool."""

    @classmethod
    def of(cls, depth: Tensor, half_field: Tensor) -> NormalisedClip:
        """From depth ``[T, H, W]``, zero where unknown, and tangents ``[T, 2]``."""
        maps = PriorMaps(depth, (depth > 0).float(), half_field)
        disparity, validity, log_depth, theta = encoder_inputs(
            maps, ClipNormalisation.of(statistics(maps)), *depth.shape[-2:]
        )
        mask = (depth > 0)[:, None]
        return cls(disparity, validity, torch.where(mask, log_depth, 0.0), theta, mask)

    @classmethod
    def all_of(cls, batch: dict[str, Any]) -> list[NormalisedClip]:
        """Of a batch's samples, which may come normalised."""
        if "log_depth" in batch:
            return [cls(*maps) for maps in zip(*(batch[f.name] for f in fields(cls)), strict=True)]
        return [cls.of(d, h) for d, h in zip(batch["depth"], batch["half_field"], strict=True)]
