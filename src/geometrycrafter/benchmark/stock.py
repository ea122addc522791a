"""Stock implementations of the components: the classes of ``diffusers`` that the published code subclasses.

They are given this package's tensors, so that both sides hold the same weights, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from geometrycrafter.benchmark.components import Work
from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.networks.autoencoder import AutoencoderConfig
from geometrycrafter.networks.point_map_vae import PointMapVAEConfig
from geometrycrafter.networks.unet import UNetConfig
from geometrycrafter.weights.eight_bits import quiet

HAVE_STOCK = ("encoder", "unet", "decoder")
"""Components that ``diffusers`` has."""


def check_diffusers() -> None:
    """Look whether stock implementations are there.

    Raises:
        InputError: where they are not installed.
    """
    try:
        import diffusers  # noqa: F401
    except ImportError as error:
        message = f"--peer: stock implementations are missing; {how_to_install('peers')}."
        raise InputError(message) from error


def stock_work(name: str, work: Work) -> Work:
    """The same call by stock implementations, with the same weights and inputs.

    Args:
        name: of the component, one of :data:`HAVE_STOCK`.
        work: this package's.
    """
    with quiet("diffusers", "torchao", "torch.utils._pytree"):  # of parts of torchao that are not wanted here
        networks, run = {"encoder": _encoder, "unet": _unet, "decoder": _decoder}[name](work.networks)
    return replace(work, networks=networks, run=run, compiled=())


def _unet(ours: dict[str, Any]) -> tuple[dict[str, nn.Module], Any]:
    from diffusers import UNetSpatioTemporalConditionModel

    c: UNetConfig = ours["unet"].config
    last = len(c.block_out_channels) - 1
    attending = [i != last for i in range(last + 1)]
    with torch.device("meta"), _groups(c.norm_num_groups):
        unet = UNetSpatioTemporalConditionModel(
            in_channels=c.in_channels,
            out_channels=c.out_channels,
            down_block_types=tuple(f"{'CrossAttn' if a else ''}DownBlockSpatioTemporal" for a in attending),
            up_block_types=tuple(f"{'CrossAttn' if a else ''}UpBlockSpatioTemporal" for a in attending[::-1]),
            block_out_channels=c.block_out_channels,
            addition_time_embed_dim=c.addition_time_embed_dim,
            projection_class_embeddings_input_dim=c.projection_class_embeddings_input_dim,
            layers_per_block=c.layers_per_block,
            cross_attention_dim=c.cross_attention_dim,
            num_attention_heads=c.num_attention_heads,
        )

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        latents, timestep, context, ids = inputs
        # One embedding a frame, as the published subclass hands them on: the class itself takes one a clip.
        return _per_frame(networks["unet"], latents, timestep, context, ids.to(latents.dtype))

    return {"unet": _given(unet, ours["unet"])}, run


def _per_frame(unet: Any, latents: Tensor, timestep: Tensor, context: Tensor, ids: Tensor) -> Tensor:
    """The stock network's blocks in its own order, ``[B, T, C, h, w]`` -> ``[B, T, 4, h, w]``."""
    batch, frames = latents.shape[:2]
    emb = unet.time_embedding(unet.time_proj(timestep.expand(batch)).to(latents.dtype))
    added = unet.add_time_proj(ids.flatten()).reshape(batch, -1).to(emb.dtype)
    emb = (emb + unet.add_embedding(added)).repeat_interleave(frames, dim=0)
    context = context.flatten(0, 1).unsqueeze(1)
    sample = unet.conv_in(latents.flatten(0, 1))
    indicator = torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device)
    shared = {"hidden_states": sample, "temb": emb, "image_only_indicator": indicator}
    skips: tuple[Tensor, ...] = (sample,)
    for block in unet.down_blocks:
        told = {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
        shared["hidden_states"], left = block(**shared, **told)
        skips += left
    shared["hidden_states"] = unet.mid_block(**shared, encoder_hidden_states=context)
    for block in unet.up_blocks:
        taken, skips = skips[-len(block.resnets) :], skips[: -len(block.resnets)]
        told = {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
        shared["hidden_states"] = block(**shared, **told, res_hidden_states_tuple=taken)
    x = unet.conv_out(unet.conv_act(unet.conv_norm_out(shared["hidden_states"])))
    return x.reshape(batch, frames, *x.shape[1:])


def _encoder(ours: dict[str, Any]) -> tuple[dict[str, nn.Module], Any]:
    from diffusers import AutoencoderKLTemporalDecoder

    class Moments(nn.Module):
        """SVD's encoder of the stock autoencoder, whose decoder isn't wanted."""

        def __init__(self, c: AutoencoderConfig):
            super().__init__()
            whole = AutoencoderKLTemporalDecoder(
                in_channels=c.in_channels,
                out_channels=c.out_channels,
                down_block_types=("DownEncoderBlock2D",) * len(c.block_out_channels),
                block_out_channels=c.block_out_channels,
                layers_per_block=c.layers_per_block,
                latent_channels=c.latent_channels,
            )
            self.encoder, self.quant_conv = whole.encoder, whole.quant_conv

        def forward(self, x: Tensor) -> Tensor:
            """Images ``[N, 3, H, W]`` -> the mode ``[N, 4, H/8, W/8]``."""
            return torch.chunk(self.quant_conv(self.encoder(x)), 2, dim=1)[0]

    c: AutoencoderConfig = ours["autoencoder"].config
    with torch.device("meta"), _groups(c.norm_num_groups):
        svd = Moments(c)
    with torch.device("meta"):
        residual = _residual_encoder(ours["point_map_vae"].config)

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        frame, disparity, valid, log_depth, theta = inputs
        base = networks["svd"](disparity.repeat(1, 3, 1, 1).to(frame.dtype))
        offset = networks["residual"](torch.cat([theta, log_depth, disparity, valid], dim=1))
        scale = ours["point_map_vae"].config.offset_scale_factor
        return networks["svd"](frame), base.to(offset.dtype) + scale * offset

    networks = {
        "svd": _given(svd, ours["autoencoder"]),
        "residual": _given(residual, ours["point_map_vae"].encoder),
    }
    return networks, run


def _residual_encoder(c: PointMapVAEConfig) -> nn.Module:
    from diffusers.models.autoencoders.vae import Encoder

    encoder: nn.Module = Encoder(
        in_channels=c.in_channels,
        out_channels=c.latent_channels,
        down_block_types=("DownEncoderBlock2D",) * len(c.enc_block_out_channels),
        block_out_channels=c.enc_block_out_channels,
        layers_per_block=c.enc_layers_per_block,
        norm_num_groups=c.norm_num_groups,
        double_z=False,
    )
    return encoder


def _decoder(ours: dict[str, Any]) -> tuple[dict[str, nn.Module], Any]:
    from diffusers.models.autoencoders import autoencoder_kl_temporal_decoder  # noqa: F401 (before norms are replaced)

    with torch.device("meta"), _groups(ours["decoder"].out_blocks[0][0].num_groups):
        decoder = stock_point_map_decoder(ours["decoder"])

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        return networks["decoder"](inputs[0])

    return {"decoder": _given(decoder, ours["decoder"])}, run


def stock_point_map_decoder(ours: Any) -> nn.Module:
    """SVD's temporal decoder of stock blocks, with the published three heads in the place of its last convolutions."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
    from diffusers.models.resnet import SpatioTemporalResBlock

    widths = tuple(block.resnets[0].spatial_res_block.conv1.out_channels for block in ours.up_blocks)[::-1]
    heads, groups = len(ours.out_blocks), ours.out_blocks[0][0].num_groups

    def head() -> nn.ModuleList:
        half = widths[0] // 2
        resnet = SpatioTemporalResBlock(
            in_channels=half,
            out_channels=half,
            temb_channels=None,  # type: ignore[arg-type]
            eps=1e-6,
            temporal_eps=1e-5,
            merge_factor=0.0,
            merge_strategy="learned",
            switch_spatial_to_temporal_mix=True,
        )
        norm, wide = nn.GroupNorm(groups, widths[0], eps=1e-6), nn.Conv2d(widths[0], half, 3, padding=1)
        return nn.ModuleList([norm, nn.ReLU(), wide, resnet, nn.ReLU(), nn.Conv2d(half, 1, 1)])

    class Decoder(nn.Module):
        """Chunks of one clip at a time."""

        def __init__(self) -> None:
            super().__init__()
            layers = len(ours.mid_block.resnets)
            trunk = TemporalDecoder(4, 3, block_out_channels=widths, layers_per_block=layers)
            self.conv_in, self.mid_block, self.up_blocks = trunk.conv_in, trunk.mid_block, trunk.up_blocks
            self.out_blocks = nn.ModuleList(head() for _ in range(heads))
            self.time_conv_outs = nn.ModuleList(nn.Conv3d(1, 1, (3, 1, 1), padding=(1, 0, 0)) for _ in range(heads))

        def forward(self, z: Tensor) -> tuple[Tensor, ...]:
            """Latents ``[T, 4, h, w]`` -> maps ``[T, 1, 8h, 8w]``."""
            indicator = torch.zeros(1, len(z), dtype=z.dtype, device=z.device)
            x = self.mid_block(self.conv_in(z), image_only_indicator=indicator)
            for block in self.up_blocks:
                x = block(x, image_only_indicator=indicator)
            return tuple(self._map(x, h, t, indicator) for h, t in zip(self.out_blocks, self.time_conv_outs))

        def _map(self, x: Tensor, head: Any, time_conv: nn.Module, indicator: Tensor) -> Tensor:
            norm, act, conv, resnet, act_out, conv_out = head
            x = conv_out(act_out(resnet(conv(act(norm(x))), image_only_indicator=indicator)))
            moved: Tensor = time_conv(x.transpose(0, 1)[None])[0]
            return moved.transpose(0, 1)

    return Decoder()


@contextlib.contextmanager
def _groups(number: int) -> Iterator[None]:
    """Stock networks have 32 groups in their norms and can't be told another number; inside they get it."""

    class Norm(nn.GroupNorm):
        def __init__(self, num_groups: int, *args: Any, **kwargs: Any):
            super().__init__(number, *args, **kwargs)

    with patch.object(nn, "GroupNorm", Norm):
        yield


def _given(stock: nn.Module, ours: nn.Module) -> nn.Module:
    """A stock network with this package's tensors; both must have the same names."""
    stock.load_state_dict(ours.state_dict(), assign=True)
    return stock.requires_grad_(False).eval()
