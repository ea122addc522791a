"""From clips to the tensors that a stage trains on: sizes, augmentation, normalisation."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from geometrycrafter.data.shards import Shards
from geometrycrafter.data.transforms import cover, mirrored
from geometrycrafter.errors import InputError
from geometrycrafter.geometry.cameras import half_field_of_intrinsics
from geometrycrafter.inference.conditioning import ClipNormalisation, PriorMaps, encoder_inputs, statistics
from geometrycrafter.training.config import Augmentation
from geometrycrafter.training.sampling import Draw
from geometrycrafter.weights.checkpoints import read_tensors


@dataclass(frozen=True)
class ClipSamples:
    """Samples of clips in shards; runs in the reading processes."""

    sources: tuple[Shards, ...]
    size: tuple[int, int]
    augmentation: Augmentation
    other_sizes: tuple[tuple[int, int], ...] = ()

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
        length = len(shards.clips[draw.clip])
        # A clip that is too short goes to and fro, so that all samples of a batch are of one length.
        start = int(rng.integers(max(1, length - draw.frames + 1)))
        clip = shards.read(draw.clip, slice(start, start + draw.frames))
        times = np.arange(draw.frames)
        if length < draw.frames:
            there_and_back = np.r_[np.arange(length), np.arange(length - 2, 0, -1)]
            times = there_and_back[times % len(there_and_back)]
        zoom = float(1 + (self.augmentation.zoom - 1) * rng.uniform() ** 2)
        clip = cover(clip, *size, zoom=zoom)
        if self.augmentation.mirror and rng.uniform() < 0.5:
            clip = mirrored(clip)
        frames = torch.from_numpy(np.ascontiguousarray(clip.frames))
        if self.augmentation.photographic:
            seen = photographed(as_numbers(frames), torch.Generator().manual_seed(draw.seed))
            frames = (seen * 255).round().byte().permute(0, 2, 3, 1).contiguous()
        known = clip.mask | clip.sky if clip.sky is not None else clip.mask
        maps = {
            "frames": frames,
            "depth": torch.from_numpy(np.ascontiguousarray(clip.depth)),
            "known": torch.from_numpy(np.ascontiguousarray(known)),
            "half_field": half_field_of_intrinsics(torch.from_numpy(clip.intrinsics), *size),
        }
        if self.augmentation.reverse and rng.uniform() < 0.5:
            times = times[::-1].copy()
        if self.augmentation.level:
            spread = self.augmentation.level * rng.uniform()
            scales = np.exp(spread * rng.standard_normal(len(clip.frames))).astype(np.float32)
            maps["depth"] = maps["depth"] * torch.from_numpy(scales)[:, None, None]
        return {k: v[torch.from_numpy(times)] for k, v in maps.items()}


def as_numbers(frames: Tensor) -> Tensor:
    """Pictures ``[..., H, W, 3]`` uint8 as the networks take them: ``[..., 3, H, W]`` in [0, 1]."""
    return frames.movedim(-1, -3).contiguous().float() / 255


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


_ANEW = "delete the folder to encode anew, or give 'latents' another one"
MAPS = ("depth", "known", "half_field")
"""What :class:`ClipSamples` gives of the truth, by which latents can be judged after decoding."""


@dataclass(frozen=True)
class LatentSamples:
    """Samples that were encoded before training began; runs in the reading processes."""

    folder: Path
    variants: int
    names: tuple[str, ...]
    """Tensors that are wanted: those that a stage's ``latents`` gives, and perhaps :data:`MAPS`."""
    reverse: bool = False

    def path(self, source: int, clip: int, variant: int) -> Path:
        """Where a clip's latents lie."""
        return self.folder / f"{source:02d}-{clip:07d}-{variant:02d}.safetensors"

    def holds(self, source: int, clip: int, variant: int) -> bool:
        """Whether a clip is encoded, and with all that is wanted."""
        file = self.path(source, clip, variant)
        if not file.exists():
            return False
        try:
            with safe_open(file, framework="pt") as stored:
                return set(self.names) <= set(stored.keys())
        except SafetensorError as error:
            raise InputError(f"{file}: the latents are damaged ({error}); delete the file to encode anew.") from error

    def claim(self, origin: dict[str, Any]) -> None:
        """Note in the folder what its latents are made from, or find them made from just that.

        Args:
            origin: plain values. Runs that share latents may each know a part of all.

        Raises:
            InputError: where the folder's latents are made from something else, or nobody knows from what.
        """
        file = self.folder / "origin.json"
        noted: dict[str, Any] = {}
        if file.exists():
            try:
                noted = dict(json.loads(file.read_text()))
            except (OSError, ValueError, TypeError) as error:
                raise InputError(f"{file}: the note is damaged ({error}); {_ANEW}.") from error
        elif any(self.folder.glob("*.safetensors")):
            raise InputError(f"{self.folder}: no note says what its latents are made from; {_ANEW}.")
        changed = [k for k, v in origin.items() if noted.get(k, v) != v]
        if changed:
            raise InputError(
                f"{self.folder}: its latents are made with another {changed[0].replace('_', ' ')} "
                f"than this run has; {_ANEW}."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".tmp").write_text(json.dumps(noted | origin, indent=1) + "\n")
        file.with_suffix(".tmp").replace(file)

    def store(self, source: int, clip: int, variant: int, tensors: dict[str, Tensor]) -> None:
        """Add those tensors ``[T, ...]`` to a clip's, in half precision, that are not there yet."""
        file = self.path(source, clip, variant)
        ready = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in tensors.items()}
        save_file(ready | (read_tensors(file) if file.exists() else {}), file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """Some frames of one of the clip's variants.

        Returns:
            tensors by name ``[T, ...]``; in :data:`MAPS`' place ``known`` and the maps of a :class:`NormalisedClip`.
        """
        rng = np.random.default_rng(draw.seed)
        stored = read_tensors(self.path(draw.source, draw.clip, int(rng.integers(self.variants))))
        found = {k: stored[k] for k in self.names if k not in MAPS}
        if "depth" in self.names:
            # Latents were normalised over all frames, so maps are too, before some are taken.
            clip = NormalisedClip.of(stored["depth"].float(), stored["half_field"].float())
            found |= {"known": stored["known"]} | vars(clip)
        start = int(rng.integers(max(1, len(stored["truth"]) - draw.frames + 1)))
        found = {k: v[start : start + draw.frames] for k, v in found.items()}
        found = {k: v if v.dtype == torch.bool else v.float() for k, v in found.items()}
        return {k: v.flip(0) for k, v in found.items()} if self.reverse and rng.uniform() < 0.5 else found
