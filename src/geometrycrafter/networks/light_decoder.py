"""A light decoder of point maps: all of its work at an eighth to a half of the resolution, subpixels last.

The paper leaves a lighter decoder as future work. SVD's trunk spends most of its time at full resolution, on few
channels; here the full resolution is only reached by rearranging channels (Shi et al. 2016, "Real-time single image and
video super-resolution using an efficient sub-pixel convolutional neural network"). Norms are over the channels of one
position: a group norm, over the whole picture, takes absolute depth away from few channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.autoencoder import over_time
from geometrycrafter.networks.blocks import own_precision

LIGHT_WIDTHS = (32, 64, 96)
"""Of a light decoder that takes the place of a VAE's own: at a half, a quarter and an eighth of the size."""


class PositionNorm(nn.Module):
    """Layer norm over the channels of each position of ``[N, C, H, W]``."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C, H, W]``."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2)


class LightBlock(nn.Module):
    """Two 3x3 convolutions, added to what comes in."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = PositionNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _silence(self.conv2)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """``[B*T, C, h, w]`` -> ``[B*T, C, h, w]``; frames don't see each other."""
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class ContextBlock(LightBlock):
    """Then the mean over the picture, for the field of view and the scale, and a convolution over three frames."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.context = nn.Linear(channels, channels)
        self.time_conv = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        _silence(self.context)
        _silence(self.time_conv)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """``[B*T, C, h, w]`` -> ``[B*T, C, h, w]``."""
        x = super().forward(x, num_frames)
        x = x + self.context(F.silu(x).mean(dim=(-2, -1)))[..., None, None]
        return x + over_time(self.time_conv, F.silu(x), num_frames)


def _silence(layer: nn.Module) -> None:
    """A block begins as if it were not there."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class LightDecoderTrunk(nn.Module):
    """Latents ``[B*T, c, h, w]`` to maps ``[B*T, out, 8h, 8w]``; widths are those at a half, a quarter, an eighth."""

    def __init__(self, latent_channels: int, out_channels: int, widths: tuple[int, ...], layers: int):
        super().__init__()
        if len(widths) != 3:
            raise ValueError(f"{len(widths)} widths; three are wanted, at a half, a quarter and an eighth")
        coarse_first = widths[::-1]
        self.conv_in = nn.Conv2d(latent_channels, coarse_first[0], 3, padding=1)
        # Context comes cheap where pixels are few: twice the blocks there, and these alone see the whole clip.
        coarsest, *finer_ones = coarse_first
        self.stages = nn.ModuleList([nn.ModuleList(ContextBlock(coarsest) for _ in range(2 * layers))])
        self.stages.extend(nn.ModuleList(LightBlock(width) for _ in range(layers)) for width in finer_ones)
        finer = (*coarse_first[1:], out_channels)
        sizes = (1, 1, 3)
        self.expand = nn.ModuleList(
            nn.Conv2d(width, after * 4, size, padding=size // 2)
            for width, after, size in zip(coarse_first, finer, sizes, strict=True)
        )

    @property
    def reach(self) -> int:
        """Frames before and after that a frame's maps depend on: each block that looks along time sees one further."""
        return sum(isinstance(module, ContextBlock) for module in self.modules())

    def forward(self, z: Tensor, num_frames: int, before: int = 0, after: int = 0) -> Tensor:
        """Latents ``[B*T, c, h, w]`` -> maps ``[B*(T-before-after), out, 8h, 8w]``.

        Args:
            z: of clips.
            num_frames: of each, T.
            before: first frames that are only looked at; with :attr:`reach` of them, or all that a clip has, the
                others' maps are those of the whole clip.
            after: last frames, likewise.
        """
        x = self.conv_in(z)
        for blocks, expand in zip(self.stages, self.expand, strict=True):
            for block in blocks.children():
                x = block(x, num_frames)
            if blocks is self.stages[0] and before + after:  # finer blocks see a frame alone
                x = x.unflatten(0, (-1, num_frames))[:, before : num_frames - after].flatten(0, 1)
            if expand is self.expand[-1]:  # the maps themselves: in half precision their normals would be lost
                with own_precision(x):
                    return F.pixel_shuffle(expand(x.to(expand.weight.dtype)), 2)
            x = F.pixel_shuffle(expand(x), 2)
        return x
