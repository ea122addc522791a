"""The embedded prior."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.geometry.cameras import unproject
from geometrycrafter.networks.prior_network import PriorNetwork
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, Prior


class TinyPrior(Prior):
    """The embedded network as a prior: depth in rough metres, field of view from the picture."""

    trusted_field = True
    """The small UNet's latents hardly carry the field of view of photographs; the trunk's features do."""

    tells_sky = True

    def __init__(self, network: PriorNetwork, identity: str = ""):
        self.network = network
        self._identity = identity

    @property
    def identity(self) -> str:
        return f"{type(self.network).__name__} {self._identity}"

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        return self.network.processing_size(height, width)

    def begin(self, first: int = 0) -> ClipPrior:
        return self._estimate

    @torch.no_grad()
    def _estimate(self, frames: Tensor, camera: KnownCamera | None) -> tuple[Tensor, Tensor]:
        height, width = frames.shape[-2:]
        frames = frames.to(next(self.network.parameters()).device)
        small = F.interpolate(frames, self.frame_size(height, width), mode="bilinear", antialias=True)
        out = self.network(small)
        depth = F.interpolate(out.log_depth, (height, width), mode="bilinear")[:, 0].exp()
        mask = F.interpolate(out.mask_logit, (height, width), mode="bilinear")[:, 0] > 0
        diagonal = (height**2 + width**2) ** 0.5
        # The network's field of view reaches the image's edges; pixel centres lie half a pixel inside.
        focal = diagonal / 2 / out.theta_diag
        if camera is not None:
            focal = torch.full_like(focal, width / 2 / math.tan(camera.fov_x / 2))
        y = torch.arange(height, device=frames.device) - (height - 1) / 2
        x = torch.arange(width, device=frames.device) - (width - 1) / 2
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return unproject(depth, grid / focal.view(-1, 1, 1, 1)), mask
