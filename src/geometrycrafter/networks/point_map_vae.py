"""The point-map VAE: a residual encoder beside SVD's, and a temporal decoder with three heads (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from geometrycrafter.networks.autoencoder import DecoderTrunk, Encoder, VideoAutoencoder, _decoder_resnet, over_time
from geometrycrafter.networks.blocks import TemporalConv, own_precision
from geometrycrafter.networks.cpu_pieces import by_frames
from geometrycrafter.networks.light_decoder import LIGHT_WIDTHS, LightDecoderTrunk


@dataclass(frozen=True)
class PointMapVAEConfig:
    """Sizes of the point-map VAE (defaults: as published)."""

    in_channels: int = 4
    latent_channels: int = 4
    enc_block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    enc_layers_per_block: int = 2
    dec_block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    dec_layers_per_block: int = 2
    out_channels: tuple[int, ...] = (1, 1, 1)
    offset_scale_factor: float = 0.1
    norm_num_groups: int = 32
    decoder: Literal["temporal", "light"] = "temporal"
    """SVD's trunk, as published, or the light one, whose widths are at a half, a quarter and an eighth of the size."""


@dataclass(frozen=True)
class LightDecoderConfig:
    """Sizes of a light decoder that stands beside a VAE's own."""

    latent_channels: int = 4
    widths: tuple[int, ...] = LIGHT_WIDTHS
    """At a half, a quarter and an eighth of the size."""
    layers: int = 2
    latents: str = ""
    """A digest of the encoders whose latents it learned to decode; empty: of any."""


class DecodedPointMap(NamedTuple):
    """What the decoder says of each pixel, each ``[B*T, 1, H, W]``."""

    theta_diag: Tensor
    """Tangent of half the diagonal field of view."""
    log_depth: Tensor
    """Natural logarithm of planar depth in the clip's own scale."""
    mask_logit: Tensor
    """Above zero where the pixel has a valid point."""


class Head(nn.Sequential):
    """Norm, ReLU (the trunk has SiLU), 3x3 convolution to half the width, a space-time block, 1x1 to one channel."""

    def __init__(self, channels: int, out_channels: int, groups: int):
        super().__init__(
            nn.GroupNorm(groups, channels, eps=1e-6),
            nn.ReLU(),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            _decoder_resnet(channels // 2, channels // 2, groups),
            nn.ReLU(),
            nn.Conv2d(channels // 2, out_channels, 1),
        )

    def forward(self, x: Tensor, num_frames: int) -> Tensor:  # type: ignore[override]
        """Features ``[B*T, C, H, W]`` -> a map ``[B*T, 1, H, W]``."""
        norm, act, conv, resnet, act_out, conv_out = self
        x = by_frames(lambda few: conv(act(norm(few))), x, x[0].numel())
        x = resnet(x, num_frames, own=True)
        return by_frames(lambda few: conv_out(act_out(few)), x, x[0].numel())


class PointMapDecoder(DecoderTrunk):
    """SVD's decoder trunk with one head for each of theta_diag, log depth and the mask."""

    def __init__(
        self, latent_channels: int, out_channels: tuple[int, ...], widths: tuple[int, ...], layers: int, groups: int
    ):
        super().__init__(latent_channels, widths, layers, groups)
        self.out_blocks = nn.ModuleList(Head(widths[0], n, groups) for n in out_channels)
        self.time_conv_outs = nn.ModuleList(TemporalConv(n, n) for n in out_channels)

    def forward(self, z: Tensor, num_frames: int) -> DecodedPointMap:
        """Latents ``[B*T, 4, h, w]``, not scaled -> maps ``[B*T, 1, 8h, 8w]``."""
        x = self.features(z, num_frames)
        # Normals are differences of depths: in half precision they would be off by degrees.
        with own_precision(x):
            x = x.to(self.conv_in.weight.dtype)
            return DecodedPointMap(
                *(
                    over_time(time_conv, head(x, num_frames), num_frames)
                    for head, time_conv in zip(self.out_blocks, self.time_conv_outs, strict=True)
                )
            )


class LightPointMapDecoder(LightDecoderTrunk):
    """The light trunk, its three channels being the heads; theta_diag is above zero by its exponential."""

    def __init__(self, latent_channels: int, widths: tuple[int, ...], layers: int):
        super().__init__(latent_channels, 3, widths, layers)

    @classmethod
    def of(cls, config: LightDecoderConfig) -> LightPointMapDecoder:
        """One of these sizes."""
        return cls(config.latent_channels, config.widths, config.layers)

    def forward(  # type: ignore[override]
        self, z: Tensor, num_frames: int, before: int = 0, after: int = 0
    ) -> DecodedPointMap:
        """Latents ``[B*T, 4, h, w]``, not scaled -> maps ``[B*(T-before-after), 1, 8h, 8w]``."""
        log_theta, log_depth, mask_logit = super().forward(z, num_frames, before, after).split(1, dim=1)
        return DecodedPointMap(log_theta.exp(), log_depth, mask_logit)


class PointMapVAE(nn.Module):
    """Point maps to latents and back. Latents stay close to those that SVD gives the disparity map."""

    def __init__(self, config: PointMapVAEConfig):
        super().__init__()
        self.config = config
        c = config
        self.encoder = Encoder(
            c.in_channels, c.latent_channels, c.enc_block_out_channels, c.enc_layers_per_block, c.norm_num_groups
        )
        widths, layers = c.dec_block_out_channels, c.dec_layers_per_block
        self.decoder: PointMapDecoder | LightPointMapDecoder
        if c.decoder not in ("temporal", "light"):
            raise ValueError(f"decoder is {c.decoder!r}: temporal or light")
        if c.decoder == "light":
            self.decoder = LightPointMapDecoder(c.latent_channels, widths, layers)
        else:
            self.decoder = PointMapDecoder(c.latent_channels, c.out_channels, widths, layers, c.norm_num_groups)
        # The residual path starts silent: at the first step of training, latents are SVD's own (section 3.1).
        nn.init.zeros_(self.encoder.conv_out.weight)
        if self.encoder.conv_out.bias is not None:
            nn.init.zeros_(self.encoder.conv_out.bias)

    def encode(
        self, svd: VideoAutoencoder, disparity: Tensor, valid: Tensor, log_depth: Tensor, theta_diag: Tensor
    ) -> Tensor:
        """Latents of a point map: SVD's of the disparity, plus a tenth of the residual encoder's.

        All inputs ``[N, 1, H, W]``: disparity and validity in [-1, 1], log depth zero where invalid. Returns
        ``[N, 4, H/8, W/8]``, not scaled.
        """
        base = svd.encode(disparity.repeat(1, 3, 1, 1).to(svd.quant_conv.weight.dtype))
        offset = self.encoder(torch.cat([theta_diag, log_depth, disparity, valid], dim=1))
        return base.to(offset.dtype) + self.config.offset_scale_factor * offset

    def decode(self, latents: Tensor, num_frames: int) -> DecodedPointMap:
        """Latents ``[B*T, 4, h, w]``, not scaled -> maps ``[B*T, 1, 8h, 8w]``."""
        return self.decoder(latents, num_frames)
