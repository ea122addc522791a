"""A small stand-in for SVD's autoencoder, on pictures and on disparity maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.networks.autoencoder import VideoAutoencoder
from geometrycrafter.training.config import AutoencoderStageConfig
from geometrycrafter.training.samples import NormalisedClip
from geometrycrafter.training.stages.base import Batch, Stage, bytes_of, is_temporal, mean_terms
from geometrycrafter.training.stages.hubs import Hub
from geometrycrafter.training.stages.starts import hub_network
from geometrycrafter.video.pictures import sheet


class AutoencoderStage(Stage[AutoencoderStageConfig]):
    """A small stand-in for SVD's autoencoder, on pictures and on disparity maps."""

    part = "autoencoder"

    def __init__(self, config: AutoencoderStageConfig, hub: Hub | None = None):
        hub = hub or Hub(config.hub)
        super().__init__(config, hub)
        self.network: VideoAutoencoder = hub_network(config, self.part, hub)

    def trains(self, name: str) -> bool:
        return self.config.layers == "all" or is_temporal(name)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        rows = []
        for i, frames in enumerate(batch["frames"]):
            clip = NormalisedClip.of(batch["depth"][i], batch["half_field"][i])
            images = torch.cat([frames * 2 - 1, clip.disparity.expand(-1, 3, -1, -1)])
            mean, log_variance = self.network.encode_moments(images).chunk(2, dim=1)
            log_variance = log_variance.clamp(-20, 10)
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(batch["seeds"][i])).to(mean)
            decoded = self.network.decode(mean + noise * torch.exp(0.5 * log_variance), num_frames=len(frames))
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
            rows.append({"image": (decoded - images).abs().mean(), "kl": 2e-4 * divergence})
        return mean_terms(rows)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> np.ndarray:
        """Rows of frames and what is decoded of them, ``[3, H, W]`` in [0, 1]."""
        frames = batch["frames"].flatten(0, 1)[:4]
        decoded = self.network.decode(self.network.encode(frames * 2 - 1), num_frames=1)
        return sheet([bytes_of(frames), bytes_of(decoded / 2 + 0.5)])
