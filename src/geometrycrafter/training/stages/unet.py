"""The video UNet (section 3.2), generative or deterministic, on latents of the truth and of the prior."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn

from geometrycrafter.diffusion.edm import SIGMA_MAX, Denoiser
from geometrycrafter.diffusion.objectives import deterministic_objective, draw_sigmas, edm_objective
from geometrycrafter.inference.conditioning import (
    ClipNormalisation,
    FrameStatistics,
    PriorMaps,
    encoder_inputs,
    prior_view,
)
from geometrycrafter.networks.autoencoder import VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoder
from geometrycrafter.networks.point_map_vae import PointMapVAE
from geometrycrafter.networks.unet import VideoUNet, published_time_ids
from geometrycrafter.priors.protocol import Prior
from geometrycrafter.training import losses
from geometrycrafter.training.config import UNetStageConfig
from geometrycrafter.training.samples import MAPS, NormalisedClip
from geometrycrafter.training.stages.base import Batch, LatentStage, is_temporal, mean_terms
from geometrycrafter.training.stages.chunks import CHUNK, decoded, each, framewise
from geometrycrafter.training.stages.hubs import Hub
from geometrycrafter.training.stages.starts import unet_network
from geometrycrafter.training.stages.vae import encoders_of
from geometrycrafter.weights.checkpoints import digest
from geometrycrafter.weights.parts import UNETS


class UNetStage(LatentStage[UNetStageConfig]):
    """The video UNet (section 3.2), generative or deterministic, on latents of the truth and of the prior."""

    def __init__(self, config: UNetStageConfig, hub: Hub | None = None):
        hub = hub or Hub(config.hub)
        super().__init__(config, hub)
        self.part = UNETS[config.variant]
        self.network: VideoUNet = unet_network(config, hub)
        self.svd: VideoAutoencoder = hub.load("autoencoder")
        self.point_map_vae: PointMapVAE = hub.load("point_map_vae")
        self.images: ImageEncoder = hub.load("image_encoder")
        self.prior: Prior = hub.prior()
        self.prior_network: nn.Module = self.prior.network  # type: ignore[attr-defined]
        """A part of the stage, so that it goes where the others go."""
        self.factor = self.svd.config.scaling_factor

    def stored_names(self) -> tuple[str, ...]:
        decodes = self.config.decoder_loss or self.config.point_loss or self.config.drift_loss
        return ("video", "prior", "truth", "embedding", *(MAPS if decodes else ()))

    def trains(self, name: str) -> bool:
        return self.config.layers == "all" or is_temporal(name)

    def encoders(self) -> dict[str, str]:
        with self.hub.prior_file().open("rb") as file:
            prior = hashlib.file_digest(file, "sha256").hexdigest()
        images = digest(self.images.state_dict())
        return encoders_of(self.svd, self.point_map_vae) | {"image_encoder": images, "prior": prior}

    @torch.no_grad()
    def latents(self, sample: Batch) -> dict[str, Tensor]:
        """Of one sample: video, prior and truth latents ``[T, 4, h, w]`` (the first not scaled), embeddings."""
        frames, depth = sample["frames"], sample["depth"]
        truth = NormalisedClip.of(depth, sample["half_field"])
        size = (depth.shape[-2], depth.shape[-1])
        maps, norm = self._guess(frames, size)
        guess = encoder_inputs(maps, norm, *size)
        encode = functools.partial(self.point_map_vae.encode, self.svd)
        true = (truth.disparity, truth.validity, truth.log_depth, truth.theta_diag)
        return {
            "video": framewise(self.svd.encode, frames * 2 - 1),
            "prior": framewise(encode, *guess) * self.factor,
            "truth": framewise(encode, *true) * self.factor,
            "embedding": framewise(self.images, frames),
        }

    def _guess(self, frames: Tensor, size: tuple[int, int]) -> tuple[PriorMaps, ClipNormalisation]:
        """The prior's view of a clip ``[T, 3, H, W]``, some frames after the others, as inference asks for it."""
        asked = self.prior.begin()

        def view(some: Tensor) -> tuple[PriorMaps, list[FrameStatistics]]:
            return prior_view(self.prior, asked, some.split(1), size, size, warn=False)

        seen = each(view, [(some,) for some in frames.split(CHUNK)])
        whole = (torch.cat([getattr(m, f.name) for m, _ in seen]) for f in fields(PriorMaps))
        return PriorMaps(*whole), ClipNormalisation.of([own for _, stats in seen for own in stats])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if "truth" not in batch:
            keys = ("frames", "depth", "half_field")
            rows = [self.latents({k: batch[k][i] for k in keys}) for i in range(len(batch["depth"]))]
            batch = batch | {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
        video, prior, truth, embedding = (batch[k].float() for k in ("video", "prior", "truth", "embedding"))
        ids = published_time_ids(len(truth), truth.device)
        residual = prior if self.network.config.prior_residual else None
        if self.config.variant == "diffusion":
            noise, sigma = _noise(batch, tuple(truth.shape[1:]), truth.device, self.config.log_sigma)

            def network(x: Tensor, timestep: Tensor) -> Tensor:
                return self.network(torch.cat([x, video, prior], dim=2), timestep, embedding, ids)

            start = None
            if self.config.own_start:
                start = self._start(network, residual, truth, noise, sigma, batch["seeds"])
            loss, latents = edm_objective(network, truth, noise, sigma, start, residual)
        else:
            loss, latents = deterministic_objective(
                lambda t: self.network(torch.cat([prior, video], dim=2), t, embedding, ids), truth, residual
            )
        terms = {"latent": loss}
        if self.config.temporal_loss and truth.shape[1] > 1:
            terms["temporal"] = self.config.temporal_loss * losses.temporal_difference(latents, truth)
        if self.config.decoder_loss or self.config.point_loss:
            terms |= self._decoder_terms(latents, batch)
        if self.config.drift_loss and truth.shape[1] > 1:
            terms["drift"] = self.config.drift_loss * self._drift(latents, batch)
        return terms

    def _drift(self, latents: Tensor, batch: Batch) -> Tensor:
        """Of frames from the first to the last of each sample, evenly spread."""
        clips, rows = NormalisedClip.all_of(batch), []
        times = torch.linspace(0, latents.shape[1] - 1, min(self.config.drift_frames, latents.shape[1])).round().long()
        for own, clip in zip(latents, clips, strict=True):
            # One by one: the decoder's layers along time would take them for neighbours.
            maps = [decoded(self.point_map_vae.decode, own[t : t + 1] / self.factor, 1) for t in times.tolist()]
            log_depth = torch.cat([m.log_depth for m in maps])
            rows.append(losses.drift(log_depth, clip.log_depth[times], clip.mask[times]))
        return torch.stack(rows).mean()

    @torch.no_grad()
    def _start(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        residual: Tensor | None,
        truth: Tensor,
        noise: Tensor,
        sigma: Tensor,
        seeds: list[int],
    ) -> Tensor:
        """Latents that noise is put on: the truth, or what a sampler's first step makes of noise alone."""
        drawn = torch.tensor([np.random.default_rng((seed, 8)).uniform() for seed in seeds])
        own = (drawn < self.config.own_start).to(sigma.device) & (sigma > 1)
        if not own.any():
            return truth
        first = torch.full_like(sigma, SIGMA_MAX).view(-1, 1, 1, 1, 1)
        guess = Denoiser(lambda x, timestep: network(x, timestep.flatten()), residual)(first * noise, first)
        return torch.where(own.view(-1, 1, 1, 1, 1), guess.to(truth.dtype), truth)

    def _decoder_terms(self, latents: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Losses on what the latents decode to; the VAE is frozen but passes the gradient."""
        rows = []
        for i, (own, clip) in enumerate(zip(latents, NormalisedClip.all_of(batch), strict=True)):
            some = self.config.decoder_frames or len(own)
            start = np.random.default_rng((batch["seeds"][i], 7)).integers(max(1, len(own) - some + 1))
            cut = slice(start, start + some)
            own = own[cut]
            maps = decoded(self.point_map_vae.decode, own / self.factor, len(own))
            log_depth, theta, mask = (m[cut] for m in (clip.log_depth, clip.theta_diag, clip.mask))
            row = {}
            if self.config.decoder_loss:
                weights = losses.VAEWeights(normals=0, multi_scale=0, identity=0)
                terms = losses.vae_terms(maps, log_depth, theta, mask, weights)
                row = {f"decoded_{k}": self.config.decoder_loss * v for k, v in terms.items()}
            if self.config.point_loss:
                found = losses.relative_points(maps.log_depth, maps.theta_diag, log_depth, theta, mask)
                row["points"] = self.config.point_loss * found
            rows.append(row)
        return mean_terms(rows)


def _noise(
    batch: Batch, shape: tuple[int, ...], device: torch.device, log_sigma: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Noise ``[B, ...]`` and levels ``[B]`` that depend on each sample's own seed alone."""
    drawn = [torch.Generator().manual_seed(seed) for seed in batch["seeds"]]
    sigma = torch.cat([draw_sigmas(1, g, log_sigma) for g in drawn])
    noise = torch.stack([torch.randn(shape, generator=g) for g in drawn])
    return noise.to(device), sigma.to(device)
