"""The vid2vid spatio-temporal UNet: Stable Video Diffusion's, with the condition latents on the input channels.

Cross-attention sees one image embedding a frame (each frame its own), so it reduces to a linear map of that
embedding; :meth:`Attention.over_one_key` uses this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.blocks import Attention, Downsample, SpatioTemporalResBlock, TimeMixer, Upsample
from geometrycrafter.networks.cpu_products import gated_gelu, linear, plus, silu


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the video UNet (defaults: as published, generative variant)."""

    in_channels: int = 12
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    num_attention_heads: tuple[int, ...] = (5, 10, 20, 20)
    cross_attention_dim: int = 1024
    layers_per_block: int = 2
    addition_time_embed_dim: int = 256
    projection_class_embeddings_input_dim: int = 768
    norm_num_groups: int = 32
    num_frames: int = 25
    prior_residual: bool = False
    """Not in the published network: its output, zero before training, is a correction of the prior's latents; what
    that means for the latents is the preconditioning's affair, in ``diffusion/edm.py``."""


TIME_IDS = (7.0, 127.0, 0.02)
"""Frames a second, motion bucket and noise augmentation, the same for every video, as published."""


def published_time_ids(batch: int, device: torch.device) -> Tensor:
    """:data:`TIME_IDS` of a batch, ``[B, 3]``."""
    return torch.tensor([TIME_IDS], device=device).expand(batch, -1)


def sinusoid(values: Tensor, channels: int) -> Tensor:
    """Cosines then sines of ``values`` at geometrically spaced frequencies, ``[N]`` -> ``[N, channels]``."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=values.device))
    phase = values.float()[:, None] * frequencies
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1)


class TimestepEmbedding(nn.Module):
    def __init__(self, in_channels: int, hidden: int, out_channels: int | None = None):
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, hidden)
        self.linear_2 = nn.Linear(hidden, out_channels or hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in]`` -> ``[N, out]``."""
        return self.linear_2(F.silu(self.linear_1(x)))


class GEGLU(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, hidden]``."""
        return gated_gelu(self.proj, x)


class FeedForward(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        # The middle entry is the published network's (inactive) dropout: it keeps the keys net.0 and net.2.
        self.net = nn.ModuleList([GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """``[N, L, C]`` -> ``[N, L, C]``, plus ``added`` of that shape."""
        last = self.net[2]
        assert isinstance(last, nn.Linear)
        return linear(last, self.net[0](x), added)


class SpatialTransformerBlock(nn.Module):
    def __init__(self, channels: int, heads: int, context_channels: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)  # feeds only the queries, which one key makes void; kept for the keys
        self.attn2 = Attention(channels, heads, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens ``[N, L, C]`` and one token of context ``[M, 1, D]``, M a divisor of N -> ``[N, L, C]``."""
        x = self.attn1(self.norm1(x), added=x)
        seen = self.attn2.over_one_key(context)  # the same for all N / M neighbours
        x = plus(x.unflatten(0, (len(context), -1)), seen[:, None]).flatten(0, 1)
        return self.ff(self.norm3(x), added=x)


class TemporalTransformerBlock(SpatialTransformerBlock):
    def __init__(self, channels: int, heads: int, context_channels: int):
        super().__init__(channels, heads, context_channels)
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Frames of each pixel ``[B*P, T, C]`` and one token of context ``[B, 1, D]`` -> ``[B*P, T, C]``."""
        return super().forward(self.ff_in(self.norm_in(x), added=x), context)


class SpatioTemporalTransformer(nn.Module):
    """Attention over the pixels of each frame, then over the frames of each pixel, blended."""

    def __init__(self, channels: int, heads: int, context_channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([SpatialTransformerBlock(channels, heads, context_channels)])
        self.temporal_transformer_blocks = nn.ModuleList([TemporalTransformerBlock(channels, heads, context_channels)])
        self.time_pos_embed = TimestepEmbedding(channels, 4 * channels, channels)
        self.time_mixer = TimeMixer(0.5)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, num_frames: int, context: Tensor) -> Tensor:
        """``[B*T, C, H, W]`` and embeddings of the frames ``[B, T, D]`` -> ``[B*T, C, H, W]``."""
        frames, channels, height, width = x.shape
        batch, pixels = frames // num_frames, height * width
        tokens = linear(self.proj_in, self.norm(x).flatten(2).transpose(1, 2))  # [B*T, P, C]
        tokens = self.transformer_blocks[0](tokens, context.flatten(0, 1)[:, None])

        index = sinusoid(torch.arange(num_frames, device=x.device), channels).to(x.dtype)
        position = self.time_pos_embed(index)  # [T, C]
        clip = tokens.view(batch, num_frames, pixels, channels).transpose(1, 2) + position
        # The published network gives the temporal layers the first frame's embedding for all frames.
        clip = self.temporal_transformer_blocks[0](clip.reshape(batch * pixels, num_frames, channels), context[:, :1])
        temporal = clip.view(batch, pixels, num_frames, channels).transpose(1, 2)

        tokens = self.time_mixer(tokens.view(batch, num_frames, pixels, channels), temporal).flatten(0, 1)
        return x + linear(self.proj_out, tokens).transpose(1, 2).unflatten(2, (height, width))


class DownBlock(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, c: UNetConfig, heads: int | None, eps: float, downsample: bool
    ):
        super().__init__()
        time_channels, groups = 4 * c.block_out_channels[0], c.norm_num_groups
        self.resnets = nn.ModuleList(
            SpatioTemporalResBlock(in_channels if i == 0 else out_channels, out_channels, time_channels, groups, eps)
            for i in range(c.layers_per_block)
        )
        if heads:
            self.attentions = nn.ModuleList(
                SpatioTemporalTransformer(out_channels, heads, c.cross_attention_dim, groups)
                for _ in range(c.layers_per_block)
            )
        if downsample:
            self.downsamplers = nn.ModuleList([Downsample(out_channels, asymmetric=False)])

    def forward(self, x: Tensor, num_frames: int, emb: Tensor, context: Tensor) -> list[Tensor]:
        """What each layer leaves for the way up, the last of which goes on down: ``[B*T, out, h, w]`` each.

        Args:
            x: ``[B*T, in, h, w]``.
            num_frames: T.
            emb: time embedding, ``[B*T, E]``.
            context: embeddings of the frames, ``[B, T, D]``.
        """
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, num_frames, emb)
            if hasattr(self, "attentions"):
                x = self.attentions[i](x, num_frames, context)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            skips.append(self.downsamplers[0](x))
        return skips


class MiddleBlock(nn.Module):
    def __init__(self, c: UNetConfig):
        super().__init__()
        channels, time_channels, groups = c.block_out_channels[-1], 4 * c.block_out_channels[0], c.norm_num_groups
        self.attentions = nn.ModuleList(
            [SpatioTemporalTransformer(channels, c.num_attention_heads[-1], c.cross_attention_dim, groups)]
        )
        self.resnets = nn.ModuleList(
            SpatioTemporalResBlock(channels, channels, time_channels, groups, 1e-5) for _ in range(2)
        )

    def forward(self, x: Tensor, num_frames: int, emb: Tensor, context: Tensor) -> Tensor:
        """``[B*T, C, h, w]``, time embedding ``[B*T, E]``, context ``[B, T, D]`` -> ``[B*T, C, h, w]``."""
        x = self.attentions[0](self.resnets[0](x, num_frames, emb), num_frames, context)
        return self.resnets[1](x, num_frames, emb)


class UpBlock(nn.Module):
    def __init__(
        self,
        in_channels: int,
        skip_channels: list[int],
        out_channels: int,
        c: UNetConfig,
        heads: int | None,
        last: bool,
    ):
        super().__init__()
        time_channels, groups = 4 * c.block_out_channels[0], c.norm_num_groups
        self.resnets = nn.ModuleList(
            SpatioTemporalResBlock(
                (in_channels if i == 0 else out_channels) + skip, out_channels, time_channels, groups, 1e-6
            )
            for i, skip in enumerate(skip_channels)
        )
        if heads:
            self.attentions = nn.ModuleList(
                SpatioTemporalTransformer(out_channels, heads, c.cross_attention_dim, groups) for _ in skip_channels
            )
        if not last:
            self.upsamplers = nn.ModuleList([Upsample(out_channels)])

    def forward(
        self, x: Tensor, skips: list[Tensor], size: tuple[int, int], num_frames: int, emb: Tensor, context: Tensor
    ) -> Tensor:
        """Join with the way down and enlarge: ``[B*T, in, h, w]`` -> ``[B*T, out, *size]``.

        Args:
            x: from the block below, ``[B*T, in, h, w]``.
            skips: one a layer, ``[B*T, skip, h, w]``.
            size: height and width of the block above.
            num_frames: T.
            emb: time embedding, ``[B*T, E]``.
            context: embeddings of the frames, ``[B, T, D]``.
        """
        for i, (resnet, skip) in enumerate(zip(self.resnets, skips, strict=True)):
            x = resnet(torch.cat([x, skip], dim=1), num_frames, emb)
            if hasattr(self, "attentions"):
                x = self.attentions[i](x, num_frames, context)
        # Where a size was odd before it was halved, doubling would give one row or column too many.
        return self.upsamplers[0](x, size) if hasattr(self, "upsamplers") else x


class VideoUNet(nn.Module):
    """Noisy latents and their conditions to the network's raw output (preconditioning is the caller's)."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = c = config
        widths, heads = c.block_out_channels, c.num_attention_heads
        emb = 4 * widths[0]
        self.conv_in = nn.Conv2d(c.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], emb)
        self.add_embedding = TimestepEmbedding(c.projection_class_embeddings_input_dim, emb)
        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for i, width in enumerate(widths):
            final = i == len(widths) - 1
            self.down_blocks.append(
                DownBlock(
                    widths[max(i - 1, 0)], width, c, None if final else heads[i], 1e-5 if final else 1e-6, not final
                )
            )
            skips += [width] * (c.layers_per_block + (not final))
        self.mid_block = MiddleBlock(c)
        self.up_blocks = nn.ModuleList()
        previous = widths[-1]
        for i, width in enumerate(widths[::-1]):
            taken = [skips.pop() for _ in range(c.layers_per_block + 1)]
            self.up_blocks.append(
                UpBlock(previous, taken, width, c, None if i == 0 else heads[::-1][i], i == len(widths) - 1)
            )
            previous = width
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], c.out_channels, 3, padding=1)
        if c.prior_residual:
            nn.init.zeros_(self.conv_out.weight)
            if self.conv_out.bias is not None:
                nn.init.zeros_(self.conv_out.bias)

    def forward(self, latents: Tensor, timestep: Tensor | float, context: Tensor, time_ids: Tensor) -> Tensor:
        """Run the network.

        Args:
            latents: ``[B, T, in_channels, h, w]``, scaled noisy latents then condition latents; any h and w.
            timestep: scalar or ``[B]``; 0.25 log sigma in the generative variant.
            context: image embeddings, ``[B, T, D]``.
            time_ids: fps, motion bucket and noise augmentation, ``[B, 3]``.

        Returns:
            ``[B, T, out_channels, h, w]``.
        """
        batch, num_frames, _, height, width = latents.shape
        dtype = self.conv_in.weight.dtype
        time = torch.as_tensor(timestep, device=latents.device).reshape(-1).expand(batch)
        emb = self.time_embedding(sinusoid(time, self.config.block_out_channels[0]).to(dtype))
        ids = sinusoid(time_ids.reshape(-1), self.config.addition_time_embed_dim).reshape(batch, -1)
        emb = (emb + self.add_embedding(ids.to(dtype))).repeat_interleave(num_frames, dim=0)  # [B*T, E]

        skips = [self.conv_in(latents.flatten(0, 1))]
        for down in self.down_blocks:
            skips += down(skips[-1], num_frames, emb, context)
        x = self.mid_block(skips[-1], num_frames, emb, context)
        for up in self.up_blocks:
            taken = [skips.pop() for _ in range(self.config.layers_per_block + 1)]
            x = up(x, taken, tuple(skips[-1].shape[-2:]) if skips else x.shape[-2:], num_frames, emb, context)
        return self.conv_out(silu(self.conv_norm_out(x))).unflatten(0, (batch, num_frames))
