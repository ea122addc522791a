"""The CLIP image encoder of Stable Video Diffusion: a vision transformer whose class token is projected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Sizes of the image encoder (defaults: as published, ViT-H/14)."""

    hidden_size: int = 1280
    intermediate_size: int = 5120
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 14
    projection_dim: int = 1024
    layer_norm_eps: float = 1e-5
    hidden_act: str = "gelu"


class SelfAttention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``."""
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    def __init__(self, channels: int, hidden: int, activation: str):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.quick = activation == "quick_gelu"

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``."""
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x))


class EncoderLayer(nn.Module):
    def __init__(self, c: ImageEncoderConfig):
        super().__init__()
        self.self_attn = SelfAttention(c.hidden_size, c.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)
        self.mlp = MLP(c.hidden_size, c.intermediate_size, c.hidden_act)
        self.layer_norm2 = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, c: ImageEncoderConfig):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(c.hidden_size) * 0.02)
        self.patch_embedding = nn.Conv2d(c.num_channels, c.hidden_size, c.patch_size, stride=c.patch_size, bias=False)
        self.position_embedding = nn.Embedding((c.image_size // c.patch_size) ** 2 + 1, c.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``[N, 3, S, S]``, normalised -> class token, then patches ``[N, L, C]``, with positions."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], dim=1)
        return tokens + self.position_embedding.weight


class Layers(nn.Module):
    def __init__(self, c: ImageEncoderConfig):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(c) for _ in range(c.num_hidden_layers))


class VisionModel(nn.Module):
    def __init__(self, c: ImageEncoderConfig):
        super().__init__()
        self.embeddings = Embeddings(c)
        self.pre_layrnorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)  # spelt so in the checkpoints
        self.encoder = Layers(c)
        self.post_layernorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``[N, 3, S, S]``, normalised -> the class token ``[N, C]``, normed."""
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x[:, 0])


class ImageEncoder(nn.Module):
    """Frames to one embedding each."""

    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        self.config = config
        self.vision_model = VisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames ``[N, 3, H, W]`` in [0, 1], any size -> embeddings ``[N, projection_dim]``."""
        size = self.config.image_size
        pixels = resize_antialiased(frames * 2 - 1, size, size) / 2 + 0.5
        mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        return self.visual_projection(self.vision_model((pixels - mean) / std))


def resize_antialiased(images: Tensor, height: int, width: int) -> Tensor:
    """SVD's own resize: a separable Gaussian blur by the shrink factor, then bicubic with aligned corners.

    Args:
        images: ``[N, C, H, W]``.
        height: of the result, pixels.
        width: of the result, pixels.
    """
    for dim, target in ((-2, height), (-1, width)):
        factor = images.shape[dim] / target
        sigma = max((factor - 1) / 2, 1e-3)
        taps = int(max(4 * sigma, 3)) | 1
        x = torch.arange(taps, dtype=images.dtype, device=images.device) - taps // 2
        kernel = torch.exp(-(x**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).view(1, 1, *((taps, 1) if dim == -2 else (1, taps)))
        pad = taps // 2
        padding = (0, 0, pad, pad) if dim == -2 else (pad, pad, 0, 0)
        # Reflection needs more pixels than it pads; the smallest frames are extended at their edge instead.
        padded = F.pad(images, padding, mode="reflect" if pad < images.shape[dim] else "replicate")
        images = F.conv2d(padded, kernel.repeat(images.shape[1], 1, 1, 1), groups=images.shape[1])
    return F.interpolate(images, (height, width), mode="bicubic", align_corners=True)
