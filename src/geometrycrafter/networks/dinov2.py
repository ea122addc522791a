"""DINOv2's vision transformer, as an image encoder for MoGe (keys as in the published ``backbone``)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DinoConfig:
    """Sizes; the defaults are ViT-L/14."""

    channels: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 14
    grid: int = 37
    """Side of the square of patches that the position embedding was trained for."""


DINOV2_SIZES = {
    "dinov2_vits14": DinoConfig(384, 12, 6),
    "dinov2_vitb14": DinoConfig(768, 12, 12),
    "dinov2_vitl14": DinoConfig(1024, 24, 16),
}


class Attention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``, each channel times its factor."""
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads)
        self.ls1 = LayerScale(channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels)
        self.ls2 = LayerScale(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    def __init__(self, channels: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, stride=patch)


class DinoV2(nn.Module):
    """Vision transformer without registers."""

    def __init__(self, config: DinoConfig):
        super().__init__()
        self.config = c = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, c.grid**2 + 1, c.channels))
        self.mask_token = nn.Parameter(torch.zeros(1, c.channels))  # of the pre-training; part of the checkpoints
        self.patch_embed = PatchEmbedding(c.channels, c.patch)
        self.blocks = nn.ModuleList(Block(c.channels, c.heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.channels, eps=1e-6)

    def _positions(self, rows: int, columns: int) -> Tensor:
        grid, channels = self.config.grid, self.config.channels
        if rows == columns == grid:
            return self.pos_embed
        square = self.pos_embed[:, 1:].view(1, grid, grid, channels).permute(0, 3, 1, 2)
        # The published resize adds 0.1 to the size before it takes the scale, and the weights were trained so.
        scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        resized = F.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, images: Tensor, layers: int | list[int]) -> list[tuple[Tensor, Tensor]]:
        """Features after the given blocks (a number: that many last ones), each normed.

        Args:
            images: ``[N, 3, 14 h, 14 w]``, normalised.
            layers: block indices, or how many of the last.

        Returns:
            for each layer, patch tokens ``[N, h*w, C]`` and class token ``[N, C]``.
        """
        patches = self.patch_embed.proj(images)
        rows, columns = patches.shape[-2:]
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x = x + self._positions(rows, columns)
        wanted = range(self.config.depth - layers, self.config.depth) if isinstance(layers, int) else layers
        out = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in wanted:
                normed = self.norm(x)
                out.append((normed[:, 1:], normed[:, 0]))
        return out
