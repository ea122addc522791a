"""The embedded per-frame prior: a small residual U-Net from a picture to depth, validity and field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PriorNetworkConfig:
    """Sizes of the embedded prior."""

    widths: tuple[int, ...] = (16, 32, 56, 96, 136, 160)
    """Channels at full size, a half, a quarter, ..."""
    blocks: int = 1
    """Residual blocks at each size, on the way down and on the way up."""
    norm_num_groups: int = 8
    pixels: int = 96 * 128
    """Frames are resized to about this many pixels."""

    @property
    def stride(self) -> int:
        """Sides of the processing size are multiples of this."""
        return 2 ** (len(self.widths) - 1)


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
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class PriorNetwork(nn.Module):
    """Residual U-Net with a pooled global context, which also gives the field of view."""

    def __init__(self, config: PriorNetworkConfig):
        super().__init__()
        self.config = config
        widths, groups = config.widths, config.norm_num_groups
        self.conv_in = nn.Conv2d(5, widths[0], 3, padding=1)  # colour and normalised image coordinates
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, widths[1:]))
        self.encode = nn.ModuleList(nn.Sequential(*(Residual(w, groups) for _ in range(config.blocks))) for w in widths)
        self.context = nn.Sequential(
            nn.Linear(widths[-1], widths[-1]), nn.SiLU(), nn.Linear(widths[-1], widths[-1] + 1)
        )
        self.up = nn.ModuleList(nn.Conv2d(b + a, a, 3, padding=1) for a, b in zip(widths, widths[1:]))
        self.decode = nn.ModuleList(
            nn.Sequential(*(Residual(w, groups) for _ in range(config.blocks))) for w in widths[:-1]
        )
        self.conv_out = nn.Conv2d(widths[0], 2, 3, padding=1)

    def processing_size(self, height: int, width: int) -> tuple[int, int]:
        """The size nearest to the frame's shape with about ``config.pixels`` pixels and sides that divide."""
        scale, stride = (self.config.pixels / (height * width)) ** 0.5, self.config.stride
        return tuple(max(stride, round(side * scale / stride) * stride) for side in (height, width))  # type: ignore

    def forward(self, frames: Tensor) -> PriorOutput:
        """Frames ``[N, 3, h, w]`` in [0, 1], sides multiples of the stride -> maps of the same size."""
        n, _, h, w = frames.shape
        v, u = torch.meshgrid(
            torch.linspace(-1, 1, h, device=frames.device),
            torch.linspace(-1, 1, w, device=frames.device),
            indexing="ij",
        )
        grid = (torch.stack([u * w, v * h]) / (h**2 + w**2) ** 0.5).to(frames.dtype).expand(n, -1, -1, -1)
        x = self.conv_in(torch.cat([frames * 4 - 2, grid], dim=1))
        skips = []
        for i, block in enumerate(self.encode):
            x = block(x if i == 0 else self.down[i - 1](x))
            skips.append(x)
        context = self.context(skips.pop().mean(dim=(-2, -1)))
        x = x + context[:, :-1, None, None]
        for up, block in zip(self.up[::-1], self.decode[::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(up(torch.cat([x, skips.pop()], dim=1)))
        log_depth, mask_logit = self.conv_out(x).chunk(2, dim=1)
        # Offsets put an untrained network at 3 m and a diagonal field of view of 74 degrees.
        return PriorOutput(log_depth + 1.1, mask_logit + 1.0, torch.exp(0.3 * context[:, -1]) * 0.75)
