"""Stable Video Diffusion's autoencoder: an image encoder and a decoder with temporal layers.

Keys, shapes and figures are those of the ``vae`` folder of stable-video-diffusion-img2vid-xt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geometrycrafter.networks.blocks import (
    Downsample,
    ResnetBlock,
    SpatialAttention,
    SpatioTemporalResBlock,
    TemporalConv,
    Upsample,
    clip_of,
    frames_of,
    own_precision,
)
from geometrycrafter.networks.cpu_pieces import by_frames
from geometrycrafter.networks.cpu_products import channels_last, silu


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the SVD autoencoder (defaults: as published)."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215


class EncoderBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, downsample: bool):
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock(in_channels if i == 0 else out_channels, out_channels, None, groups, 1e-6)
            for i in range(layers)
        )
        if downsample:
            self.downsamplers = nn.ModuleList([Downsample(out_channels, asymmetric=True)])

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in, H, W]`` -> ``[N, out, H, W]``, or half the size."""
        for resnet in self.resnets:
            x = resnet(x)
        return self.downsamplers[0](x) if hasattr(self, "downsamplers") else x


class EncoderMiddle(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.attentions = nn.ModuleList([SpatialAttention(channels, groups)])
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, None, groups, 1e-6) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, C, h, w]``."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Image to latent channels at an eighth of the size: ``[N, in, H, W]`` -> ``[N, out, H/8, W/8]``."""

    def __init__(self, in_channels: int, out_channels: int, widths: tuple[int, ...], layers: int, groups: int):
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        inputs = (widths[0], *widths[:-1])
        self.down_blocks = nn.ModuleList(
            EncoderBlock(a, b, layers, groups, downsample=i < len(widths) - 1)
            for i, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.mid_block = EncoderMiddle(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in, H, W]`` -> ``[N, out, H/8, W/8]``."""
        return by_frames(self._of_frames, x, self.conv_in.out_channels * x[0, 0].numel())

    def _of_frames(self, x: Tensor) -> Tensor:
        x = channels_last(x)
        with own_precision(x):  # half a float's bits would make steps of what is smooth, as log depth is
            x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(silu(self.conv_norm_out(self.mid_block(x))))


def _decoder_resnet(in_channels: int, out_channels: int, groups: int) -> SpatioTemporalResBlock:
    return SpatioTemporalResBlock(
        in_channels, out_channels, None, groups, eps=1e-6, temporal_eps=1e-5, mix_factor=0.0, towards_time=True
    )


class DecoderBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, upsample: bool):
        super().__init__()
        self.resnets = nn.ModuleList(
            _decoder_resnet(in_channels if i == 0 else out_channels, out_channels, groups) for i in range(layers)
        )
        if upsample:
            self.upsamplers = nn.ModuleList([Upsample(out_channels)])

    def forward(self, x: Tensor, num_frames: int, before: Upsample | None) -> Tensor:
        """``[B*T, in, h, w]`` -> ``[B*T, out, h, w]``, or double the size by the ``Upsample`` of the block before.

        ``x``, which nobody else may hold, can be written over.
        """
        for resnet in self.resnets:
            x, before = resnet(x, num_frames, before=before, own=True), None
        return x

    def enlarging(self) -> Upsample | None:
        """What doubles the size of what the block makes, if anything; the next block calls it, frame by frame."""
        if not hasattr(self, "upsamplers"):
            return None
        upsample = self.upsamplers[0]
        assert isinstance(upsample, Upsample)
        return upsample


class DecoderMiddle(nn.Module):
    def __init__(self, channels: int, layers: int, groups: int):
        super().__init__()
        self.attentions = nn.ModuleList([SpatialAttention(channels, groups)])
        self.resnets = nn.ModuleList(_decoder_resnet(channels, channels, groups) for _ in range(layers))

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """``[B*T, C, h, w]`` -> ``[B*T, C, h, w]``."""
        x = self.resnets[0](x, num_frames)
        # One attention, before the second block; a decoder with a single block (one layer) never reaches it.
        for attention, resnet in zip(self.attentions, self.resnets[1:], strict=False):
            x = resnet(attention(x), num_frames)
        return x


class DecoderTrunk(nn.Module):
    """Latents to features at full size; the heads are the subclass's."""

    def __init__(self, latent_channels: int, widths: tuple[int, ...], layers: int, groups: int):
        super().__init__()
        self.conv_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.mid_block = DecoderMiddle(widths[-1], layers, groups)
        outputs = widths[::-1]
        inputs = (widths[-1], *outputs[:-1])
        self.up_blocks = nn.ModuleList(
            DecoderBlock(a, b, layers + 1, groups, upsample=i < len(widths) - 1)
            for i, (a, b) in enumerate(zip(inputs, outputs, strict=True))
        )

    def features(self, z: Tensor, num_frames: int) -> Tensor:
        """Latents ``[B*T, 4, h, w]`` -> features ``[B*T, C, 8h, 8w]``."""
        x = self.mid_block(self.conv_in(channels_last(z, scale=2 ** (len(self.up_blocks) - 1))), num_frames)
        before: Upsample | None = None
        for block in self.up_blocks:
            assert isinstance(block, DecoderBlock)
            x = block(x, num_frames, before)
            before = block.enlarging()
        return x


class TemporalDecoder(DecoderTrunk):
    """Latents to images, ``[B*T, 4, h, w]`` -> ``[B*T, 3, 8h, 8w]`` in [-1, 1]."""

    def __init__(self, latent_channels: int, out_channels: int, widths: tuple[int, ...], layers: int, groups: int):
        super().__init__(latent_channels, widths, layers, groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        self.time_conv_out = TemporalConv(out_channels, out_channels)

    def forward(self, z: Tensor, num_frames: int) -> Tensor:
        """Latents ``[B*T, 4, h, w]``, not scaled -> images ``[B*T, 3, 8h, 8w]`` in [-1, 1]."""
        x = self.features(z, num_frames)
        out = by_frames(lambda few: self.conv_out(silu(self.conv_norm_out(few))), x, x[0].numel())
        return over_time(self.time_conv_out, out, num_frames)


def over_time(layer: nn.Module, x: Tensor, num_frames: int) -> Tensor:
    """Apply a layer on ``[B, C, T, P]`` to frames ``[B*T, C, H, W]``."""
    return frames_of(layer(clip_of(x, num_frames)), x.shape[-2], x.shape[-1])


class VideoAutoencoder(nn.Module):
    """The SVD autoencoder. Encoding is per frame, decoding sees ``num_frames`` at a time."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        c = config
        widths, groups = c.block_out_channels, c.norm_num_groups
        self.encoder = Encoder(c.in_channels, 2 * c.latent_channels, widths, c.layers_per_block, groups)
        self.decoder = TemporalDecoder(c.latent_channels, c.out_channels, widths, c.layers_per_block, groups)
        self.quant_conv = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1)

    def encode_moments(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` in [-1, 1] -> mean and log variance, ``[N, 8, H/8, W/8]``."""
        return self.quant_conv(self.encoder(images))

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the posterior, ``[N, 4, H/8, W/8]``, not scaled."""
        return torch.chunk(self.encode_moments(images), 2, dim=1)[0]

    def decode(self, latents: Tensor, num_frames: int) -> Tensor:
        """Latents ``[B*T, 4, h, w]``, not scaled -> images ``[B*T, 3, 8h, 8w]`` in [-1, 1]."""
        return self.decoder(latents, num_frames)
