"""MoGe, version 1 (Wang et al. 2025): affine point maps from one picture.

A DINOv2 encoder and one convolutional head. Keys are those of ``model`` in the published ``model.pt``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.dinov2 import DINOV2_SIZES, DinoV2
from geometrycrafter.networks.moge_blocks import IMAGE_MEAN, IMAGE_STD, ResidualBlock, conv3, remap, with_view_plane


@dataclass(frozen=True)
class MoGeConfig:
    """``model_config`` of a version 1 checkpoint (defaults: the published ViT-L)."""

    encoder: str = "dinov2_vitl14"
    remap_output: str = "exp"
    intermediate_layers: int | tuple[int, ...] = 4
    dim_proj: int = 512
    dim_upsample: tuple[int, ...] = (256, 128, 64)
    dim_times_res_block_hidden: int = 2
    num_res_blocks: int = 2
    num_tokens_range: tuple[int, int] = (1275, 5102)
    last_res_blocks: int = 0
    last_conv_channels: int = 32
    last_conv_size: int = 1
    res_block_norm: str = "group_norm"
    mask_threshold: float = 0.5


class MoGeHead(nn.Module):
    def __init__(self, c: MoGeConfig, features: int, channels: int):
        super().__init__()
        times, norm = c.dim_times_res_block_hidden, c.res_block_norm
        self.projects = nn.ModuleList(nn.Conv2d(channels, c.dim_proj, 1) for _ in range(features))
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(nn.ConvTranspose2d(a + 2, b, 2, stride=2), conv3(b, b)),
                *(ResidualBlock(b, times * b, hidden_norm=norm) for _ in range(c.num_res_blocks)),
            )
            for a, b in zip((c.dim_proj, *c.dim_upsample), c.dim_upsample)
        )
        last, size = c.last_conv_channels, c.last_conv_size
        self.output_block = nn.ModuleList(
            nn.Sequential(
                conv3(c.dim_upsample[-1] + 2, last),
                *(ResidualBlock(last, times * last, hidden_norm=norm) for _ in range(c.last_res_blocks)),
                nn.ReLU(),
                nn.Conv2d(last, n, size, padding=size // 2, padding_mode="replicate"),
            )
            for n in (3, 1)
        )

    def forward(self, features: list[tuple[Tensor, Tensor]], height: int, width: int) -> list[Tensor]:
        """Tokens of several blocks, each ``[N, h/14 * w/14, C]`` -> points ``[N, 3, h, w]``, mask ``[N, 1, h, w]``."""
        rows, columns, aspect = height // 14, width // 14, width / height
        x = torch.stack(
            [p(f.transpose(1, 2).unflatten(2, (rows, columns))) for p, (f, _) in zip(self.projects, features)]
        ).sum(0)
        for block in self.upsample_blocks:
            x = block(with_view_plane(x, aspect))
        x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
        x = with_view_plane(x, aspect)
        return [block(x) for block in self.output_block]


class MoGe(nn.Module):
    """Version 1: points up to scale and a shift along z, and a mask score (valid above ``mask_threshold``)."""

    metric = False
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: MoGeConfig):
        super().__init__()
        self.config = config
        layers = config.intermediate_layers
        self.layers = layers if isinstance(layers, int) else list(layers)
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1))
        self.backbone = DinoV2(DINOV2_SIZES[config.encoder])
        count = layers if isinstance(layers, int) else len(layers)
        self.head = MoGeHead(config, count, self.backbone.config.channels)

    def forward(self, images: Tensor, num_tokens: int) -> dict[str, Tensor]:
        """Images ``[N, 3, H, W]`` in [0, 1] -> ``points`` ``[N, H, W, 3]`` and ``mask`` ``[N, H, W]``."""
        height, width = images.shape[-2:]
        scale = (num_tokens * 14**2 / (height * width)) ** 0.5
        h, w = int(height * scale), int(width * scale)
        x = F.interpolate(images, (h, w), mode="bicubic", align_corners=False, antialias=True)
        x = (x - self.image_mean) / self.image_std
        x = F.interpolate(x, (h // 14 * 14, w // 14 * 14), mode="bilinear", align_corners=False, antialias=True)
        points, mask = self.head(self.backbone(x, self.layers), h, w)
        points, mask = (
            F.interpolate(v.float(), (height, width), mode="bilinear", align_corners=False) for v in (points, mask)
        )
        return {"points": remap(points.permute(0, 2, 3, 1), self.config.remap_output), "mask": mask[:, 0]}
