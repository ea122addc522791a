"""What both versions of MoGe are built from: the view plane, residual blocks, and how outputs become points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def view_plane(height: int, width: int, aspect: float, like: Tensor) -> Tensor:
    """Pixel-centre coordinates relative to half the image diagonal: ``[H, W, 2]``."""
    span = torch.tensor([aspect, 1.0]) / (1 + aspect**2) ** 0.5
    edges = [span[0] * (width - 1) / width, span[1] * (height - 1) / height]
    u = torch.linspace(-edges[0], edges[0], width, dtype=like.dtype, device=like.device)
    v = torch.linspace(-edges[1], edges[1], height, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def with_view_plane(x: Tensor, aspect: float) -> Tensor:
    """``[N, C, h, w]`` -> ``[N, C + 2, h, w]``."""
    plane = view_plane(x.shape[-2], x.shape[-1], aspect, x).permute(2, 0, 1)
    return torch.cat([x, plane.expand(len(x), -1, -1, -1)], dim=1)


def conv3(a: int, b: int) -> nn.Conv2d:
    """A 3x3 convolution from ``a`` to ``b`` channels, edges repeated."""
    return nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate")


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "instance_norm":
        return nn.InstanceNorm2d(channels)
    return nn.GroupNorm(channels // 32 if kind == "group_norm" else 1, channels)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, hidden: int, in_norm: str = "layer_norm", hidden_norm: str = "group_norm"):
        super().__init__()
        self.layers = nn.Sequential(
            _norm(in_norm, channels),
            nn.ReLU(),
            conv3(channels, hidden),
            _norm(hidden_norm, hidden),
            nn.ReLU(),
            conv3(hidden, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, C, h, w]``."""
        return x + self.layers(x)


def remap(points: Tensor, kind: str) -> Tensor:
    """The network's output ``[..., 3]`` to points.

    Raises:
        ValueError: where the kind is unknown.
    """
    if kind == "linear":
        return points
    if kind == "sinh":
        return torch.sinh(points)
    xy, z = points.split([2, 1], dim=-1)
    if kind == "exp":
        return torch.cat([xy * z.exp(), z.exp()], dim=-1)
    if kind == "sinh_exp":
        return torch.cat([torch.sinh(xy), z.exp()], dim=-1)
    raise ValueError(f"MoGe's remap_output {kind!r} is unknown; this version knows linear, sinh, exp and sinh_exp.")
