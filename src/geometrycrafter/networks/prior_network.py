"""The embedded per-frame prior: a small pretrained trunk and a decoder to depth, validity and field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.efficientnet import CHANNELS, EfficientNetTrunk


@dataclass(frozen=True)
class PriorNetworkConfig:
    """Sizes of the embedded prior."""

    widths: tuple[int, ...] = (16, 24, 48, 64, 96, 128)
    """Channels of the decoder at full size, a half, a quarter, ... a thirty-second."""
    norm_num_groups: int = 8
    pixels: int = 240 * 320
    """Frames are resized to about this many pixels: more than in training, where photographs come out best."""


STRIDE = 16
"""Sides of the processing size are multiples of this."""
SMALLEST = 144 * 192
"""Pixels that the prior was trained at."""


class PriorOutput(NamedTuple):
    """What the prior says of each frame."""

    log_depth: Tensor
    """``[N, 1, H, W]``, natural logarithm of planar depth in metres (as far as one picture tells)."""
    mask_logit: Tensor
    """``[N, 1, H, W]``, above zero where there is no sky."""
    theta_diag: Tensor
    """``[N]``, tangent of half the diagonal field of view."""


class Residual(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, C, h, w]``."""
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class PriorNetwork(nn.Module):
    """A trunk, a decoder with skips that knows where in the picture it is, and a pooled context for the whole."""

    def __init__(self, config: PriorNetworkConfig):
        super().__init__()
        self.config = config
        widths, groups = config.widths, config.norm_num_groups
        self.trunk = EfficientNetTrunk()
        self.context = nn.Sequential(nn.Linear(CHANNELS[-1], widths[-1]), nn.SiLU(), nn.Linear(widths[-1], widths[-1]))
        self.field = nn.Linear(widths[-1], 1)
        skips = (5, *(c + 2 for c in CHANNELS))  # colour or features, and image coordinates
        inputs = (*widths[1:], 0)
        self.merge = nn.ModuleList(nn.Conv2d(a + s, w, 3, padding=1) for a, s, w in zip(inputs, skips, widths))
        self.refine = nn.ModuleList(Residual(w, groups) for w in widths)
        self.conv_out = nn.Conv2d(widths[0], 2, 3, padding=1)

    def processing_size(self, height: int, width: int) -> tuple[int, int]:
        """The size nearest to the frame's shape with about ``config.pixels`` pixels and sides that divide.

        Smaller frames are not enlarged, but to the size of training.
        """
        scale = (min(self.config.pixels, max(height * width, SMALLEST)) / (height * width)) ** 0.5
        return tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width))  # type: ignore

    def forward(self, frames: Tensor) -> PriorOutput:
        """Frames ``[N, 3, h, w]`` in [0, 1], sides multiples of 16 -> maps of the same size."""
        height, width = frames.shape[-2:]
        features = self.trunk(frames)
        context = F.silu(self.context(features[-1].mean(dim=(-2, -1))))
        x: Tensor | None = None
        for level in reversed(range(len(self.merge))):
            skip = features[level - 1] if level else frames * 4 - 2
            parts = [skip, _coordinates(skip, height, width)]
            if x is not None:
                parts.insert(0, F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False))
            x = self.merge[level](torch.cat(parts, dim=1))
            if level == len(self.merge) - 1:
                x = x + context[:, :, None, None]
            x = self.refine[level](x)
        assert x is not None
        log_depth, mask_logit = self.conv_out(F.silu(x)).chunk(2, dim=1)
        # Offsets put an untrained network at 3 m and a diagonal field of view of 74 degrees.
        return PriorOutput(log_depth + 1.1, mask_logit + 1.0, torch.exp(0.3 * self.field(context)[:, 0]) * 0.75)


def _coordinates(like: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel lies, in half diagonals from the middle: ``[N, 2, h, w]``."""
    n, _, h, w = like.shape
    v = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) / h * 2 - 1
    u = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) / w * 2 - 1
    diagonal = (height**2 + width**2) ** 0.5
    grid = torch.stack(torch.meshgrid(v * height / diagonal, u * width / diagonal, indexing="ij"))
    return grid.expand(n, -1, -1, -1)
