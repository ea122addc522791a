"""The point-map VAE (section 3.1): residual encoder and decoder, beside a frozen SVD autoencoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geometrycrafter.networks.autoencoder import VideoAutoencoder
from geometrycrafter.networks.point_map_vae import LightDecoderConfig, PointMapVAE
from geometrycrafter.training import losses
from geometrycrafter.training.config import VAEStageConfig
from geometrycrafter.training.samples import MAPS, NormalisedClip
from geometrycrafter.training.stages.base import Batch, LatentStage, bytes_of, in_colours, is_temporal, mean_terms
from geometrycrafter.training.stages.chunks import decoded, framewise
from geometrycrafter.training.stages.hubs import Hub
from geometrycrafter.training.stages.starts import vae_network
from geometrycrafter.video.pictures import sheet
from geometrycrafter.weights.checkpoints import digest
from geometrycrafter.weights.light_decoders import PART as LIGHT
from geometrycrafter.weights.light_decoders import latents_digest
from geometrycrafter.weights.parts import save_part


class VAEStage(LatentStage[VAEStageConfig]):
    """The point-map VAE (section 3.1): residual encoder and decoder, beside a frozen SVD autoencoder."""

    part = "point_map_vae"

    def __init__(self, config: VAEStageConfig, hub: Hub | None = None):
        hub = hub or Hub(config.hub)
        super().__init__(config, hub)
        self.network: PointMapVAE = vae_network(config, hub)
        self.svd: VideoAutoencoder = hub.load("autoencoder")
        self.teacher: nn.Module | None = hub.load(self.part).decoder if config.losses.distillation else None
        if config.beside:
            self.part = LIGHT
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # those along time have no such layout
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last)
        if (
            config.start == "config"
            and config.decoder_start == "svd"
            and self.network.config.decoder == "temporal"
            and self.network.config.dec_block_out_channels == self.svd.config.block_out_channels
        ):
            trunk = ("conv_in", "mid_block", "up_blocks")
            own = {k: v for k, v in self.svd.decoder.state_dict().items() if k.split(".")[0] in trunk}
            self.network.decoder.load_state_dict(own, strict=False)

    def trains(self, name: str) -> bool:
        # The encoder sees frames one by one, and makes the latents.
        layers = self.config.layers
        return layers == "all" or (not name.startswith("encoder.") and (layers == "decoder" or is_temporal(name)))

    def stored_names(self) -> tuple[str, ...]:
        return ("truth", *MAPS)

    @torch.no_grad()
    def latents(self, sample: Batch) -> dict[str, Tensor]:
        """Of one sample: the truth's latents ``[T, 4, h, w]``, as :meth:`UNetStage.latents` has them among others."""
        clip = NormalisedClip.of(sample["depth"], sample["half_field"])
        return {"truth": self._encode([clip]) * self.svd.config.scaling_factor}

    def encoders(self) -> dict[str, str]:
        return encoders_of(self.svd, self.network)

    def _noisy(self, latents: Tensor, seeds: list[int]) -> Tensor:
        """Noise on half of the samples, whose frames ``[B*T, ...]`` holds one after the other."""
        samples = latents.unflatten(0, (len(seeds), -1))
        noise = torch.zeros(samples.shape)
        for own, seed in zip(noise, seeds, strict=True):
            rng = torch.Generator().manual_seed(seed)
            level = (2 * torch.rand((), generator=rng).item() - 1) * self.config.latent_noise
            if level > 0:
                own.normal_(generator=rng).mul_(level)
        spread = samples.detach().flatten(1).std(dim=1).view(-1, 1, 1, 1, 1)
        return (samples + spread * noise.to(samples)).flatten(0, 1)

    def _encode(self, clips: list[NormalisedClip]) -> Tensor:
        names = ("disparity", "validity", "log_depth", "theta_diag")
        maps = [torch.cat([getattr(c, k) for c in clips]) for k in names]
        return framewise(functools.partial(self.network.encode, self.svd), *maps)

    def _pass(self, batch: Batch) -> tuple[list[NormalisedClip], losses.DecodedPointMap]:
        clips, latents = self._latents_of(batch)
        return clips, self._decoded(self.network.decode, latents, clips)

    def _decoded(
        self, decode: Callable[[Tensor, int], losses.DecodedPointMap], latents: Tensor, clips: list[NormalisedClip]
    ) -> losses.DecodedPointMap:
        # Float32: normals are differences of depths, and would be rounding alone in half precision.
        return decoded(decode, latents, len(clips[0].mask))

    def _latents_of(self, batch: Batch) -> tuple[list[NormalisedClip], Tensor]:
        clips = NormalisedClip.all_of(batch)
        if "truth" in batch:
            latents = batch["truth"].flatten(0, 1) / self.svd.config.scaling_factor
        else:
            latents = self._encode(clips)
        return clips, latents

    def _taught(self, heard: Tensor, clips: list[NormalisedClip]) -> losses.DecodedPointMap | None:
        """What the hub's own decoder makes of latents ``[B*T, 4, h, w]``, where that is learned from."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            return self._decoded(self.teacher, heard, clips)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        clips, latents = self._latents_of(batch)
        heard = self._noisy(latents, batch["seeds"]) if self.config.latent_noise else latents
        found, taught = self._decoded(self.network.decode, heard, clips), self._taught(heard, clips)
        frames = len(clips[0].mask)
        pictures = self.svd.decode(latents, frames) if self.config.losses.identity else None
        rows = []
        for i, clip in enumerate(clips):
            own = slice(i * frames, (i + 1) * frames)
            rows.append(
                losses.vae_terms(
                    losses.DecodedPointMap(*(m[own] for m in found)),
                    clip.log_depth,
                    clip.theta_diag,
                    clip.mask,
                    self.config.losses,
                    None if pictures is None else (clip.disparity, pictures[own]),
                    None if self.config.mask_everywhere else batch["known"][i][:, None],
                    None if taught is None else losses.DecodedPointMap(*(m[own] for m in taught)),
                )
            )
        return mean_terms(rows)

    def exported(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.part != LIGHT:
            return tensors
        return {k.removeprefix("decoder."): v for k, v in tensors.items() if k.startswith("decoder.")}

    def exported_config(self) -> Any:
        sizes = self.network.config
        if self.part != LIGHT:
            return sizes
        widths, layers = sizes.dec_block_out_channels, sizes.dec_layers_per_block
        return LightDecoderConfig(sizes.latent_channels, widths, layers, latents_digest(self.hub.root))

    def parts(self) -> tuple[str, ...]:
        return (self.part, "autoencoder") if self.config.measure_scale else (self.part,)

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch], writes: bool) -> None:
        """Write the latents' scale into the SVD autoencoder's configuration, where it is asked for.

        Args:
            batches: whose latents are measured.
            writes: whether this process is the one that writes.
        """
        if not self.config.measure_scale:
            return
        latents = torch.cat([self._encode(NormalisedClip.all_of(batch)).flatten() for batch in batches])
        config = replace(self.svd.config, scaling_factor=1 / latents.std().item())
        if writes:
            save_part("autoencoder", Path(self.config.hub), self.svd.state_dict(), config, {})

    @torch.no_grad()
    def scores(self, batch: Batch) -> dict[str, Tensor]:
        """Rel^p and inliers of the reconstruction, with one scale a clip, and the loss."""
        clips, found = self._pass(batch)
        frames = batch["depth"].shape[1]
        rows = []
        for i, clip in enumerate(clips):
            own = slice(i * frames, (i + 1) * frames)
            points = losses.point_map(found.log_depth[own], found.theta_diag[own])
            rows.append(point_scores(points, losses.point_map(clip.log_depth, clip.theta_diag), clip.mask))
        return mean_terms(rows)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> np.ndarray:
        """Rows of frames, inverse depth and what is decoded of it, ``[3, H, W]`` in [0, 1]."""
        clips, found = self._pass({k: v[:1] for k, v in batch.items()})
        frames = min(4, batch["depth"].shape[1])
        truth = torch.where(clips[0].mask, clips[0].log_depth.exp(), 0.0)[:frames, 0]
        return sheet(
            [bytes_of(batch["frames"][0][:frames]), in_colours(truth), in_colours(found.log_depth[:frames, 0].exp())]
        )


def encoders_of(svd: VideoAutoencoder, vae: PointMapVAE) -> dict[str, str]:
    """Digests of the parts of the two that encode."""
    base, factor = svd.encoder.state_dict(), torch.tensor(svd.config.scaling_factor)
    offset, weight = vae.encoder.state_dict(), torch.tensor(vae.config.offset_scale_factor)
    return {
        "autoencoder": digest(base | svd.quant_conv.state_dict(prefix="quant_conv.") | {"factor": factor}),
        "point_map_encoder": digest(offset | {"weight": weight}),
    }


def point_scores(points: Tensor, truth: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Rel^p and one minus the inliers of point maps ``[T, 3, H, W]``, with the scale that fits best."""
    a, b = (torch.where(mask, x, 0.0) for x in (points, truth))
    scale = (a * b).sum() / (a * a).sum().clamp_min(1e-12)
    error = (scale * a - b).norm(dim=1, keepdim=True) / b.norm(dim=1, keepdim=True).clamp_min(1e-2)
    return {
        "point_rel": losses.masked_mean(error, mask),
        "point_outlier": losses.masked_mean((error >= 0.25).float(), mask),
    }
