"""The transformer that moves SpaTracker's points, and the embeddings of its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UpdateFormer(nn.Module):
    """Attention over time and over points in turn, then an exchange with tokens that stand for the motion as a whole.

    Args:
        channels: of a token that comes in.
        hidden: inside.
        heads: of the attention over time and points; the exchange has four.
        depth: blocks of each kind.
        out: channels of what comes out.
    """

    def __init__(self, channels: int, hidden: int, heads: int, depth: int, out: int):
        super().__init__()
        self.input_transform = nn.Linear(channels, hidden)
        self.time_blocks = nn.ModuleList([AttentionBlock(hidden, heads) for _ in range(depth)])
        self.space_blocks = nn.ModuleList([AttentionBlock(hidden, heads) for _ in range(depth)])
        self.gnn = Exchange(hidden, 4, 3)
        self.flow_head = nn.Sequential(
            nn.Linear(hidden, out), nn.ReLU(), nn.Linear(out, out), nn.ReLU(), nn.Linear(out, out)
        )

    def forward(self, tokens: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[N, S, channels]`` and the motion's ``[M, hidden]`` -> ``[N, S, out]`` and ``[M, hidden]``."""
        x = self.input_transform(tokens)
        for over_time, over_points in zip(self.time_blocks, self.space_blocks, strict=True):
            x = over_points(over_time(x).transpose(0, 1)).transpose(0, 1)
        flat, support = self.gnn(x.flatten(0, 1), support)
        return self.flow_head(flat.unflatten(0, x.shape[:2])), support


class AttentionBlock(nn.Module):
    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden, eps=1e-6, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(hidden, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(hidden, heads)
        self.mlp = Mlp(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, hidden]`` -> the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, hidden]`` -> the same shape."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(hidden, 4 * hidden)
        self.fc2 = nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, hidden]`` -> the same shape."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Exchange(nn.Module):
    """Attention within two sets of tokens and between them, in turn (LoFTR: Sun et al., CVPR 2021)."""

    def __init__(self, hidden: int, heads: int, rounds: int):
        super().__init__()
        self.layers = nn.ModuleList([ExchangeLayer(hidden, heads) for _ in range(2 * rounds)])

    def forward(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """``[L, hidden]`` and ``[M, hidden]`` -> the same shapes."""
        for index, layer in enumerate(self.layers):
            if index % 2 == 0:
                ours, theirs = layer(ours, ours), layer(theirs, theirs)
            else:
                ours = layer(ours, theirs)
                theirs = layer(theirs, ours)
        return ours, theirs


class ExchangeLayer(nn.Module):
    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.merge = nn.Linear(hidden, hidden, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * hidden, 2 * hidden, bias=False), nn.ReLU(), nn.Linear(2 * hidden, hidden, bias=False)
        )
        self.norm1 = nn.LayerNorm(hidden)
        self.norm2 = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """``[L, hidden]`` told what ``[M, hidden]`` say -> ``[L, hidden]``."""
        q, k, v = (
            project(t).unflatten(-1, (self.heads, -1)).transpose(0, 1)[None]
            for project, t in ((self.q_proj, x), (self.k_proj, source), (self.v_proj, source))
        )
        message = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(-2)
        message = self.norm1(self.merge(message))
        return x + self.norm2(self.mlp(torch.cat([x, message], -1)))


def sines(positions: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of positions ``[N]`` at wavelengths that grow to 10,000: ``[N, channels]``."""
    rates = 10_000 ** -(torch.arange(channels // 2, dtype=torch.float64, device=positions.device) / (channels // 2))
    angles = positions.double()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1).to(positions.dtype)


def place_embedding(points: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    """Embeddings ``[N, channels]`` of places ``[N, 2]`` (x, y) on a picture of (height, width) cells.

    Between cells they are interpolated; outside they are those of the border.
    """
    halves = []
    for axis, cells in ((0, size[1]), (1, size[0])):
        table = sines(torch.arange(cells, device=points.device, dtype=points.dtype), channels // 2)
        place = points[:, axis].clamp(0, cells - 1)
        low = place.floor().long().clamp(max=max(cells - 2, 0))
        share = (place - low)[:, None]
        halves.append(table[low] * (1 - share) + table[(low + 1).clamp(max=cells - 1)] * share)
    return torch.cat(halves, -1)


def motion_embedding(motion: Tensor) -> Tensor:
    """Motions ``[..., 3]`` in cells as sines and cosines of each, then the motion itself: ``[..., 195]``."""
    rates = torch.arange(0, 64, 2, device=motion.device, dtype=motion.dtype) * (1000 / 64)
    angles = motion[..., None] * rates
    return torch.cat([torch.stack([angles.sin(), angles.cos()], -1).flatten(-3), motion], -1)


def fourier(points: Tensor, octaves: int = 10) -> Tensor:
    """Points ``[..., 3]`` in [-1, 1], then sines and cosines at frequencies from 1 to 2^octaves: ``[..., 63]``."""
    rates = 2 ** torch.linspace(0, octaves, octaves, device=points.device, dtype=points.dtype)
    angles = points[..., None, :] * rates[:, None]
    return torch.cat([points, torch.stack([angles.sin(), angles.cos()], -2).flatten(-3)], -1)
