"""The embedded per-frame prior: depth, validity and field of view from single pictures."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.errors import InputError
from geometrycrafter.networks.prior_network import PriorNetwork, PriorOutput
from geometrycrafter.training import losses
from geometrycrafter.training.config import PriorStageConfig
from geometrycrafter.training.stages.base import Batch, Stage, bytes_of, in_colours, mean_terms
from geometrycrafter.training.stages.chunks import CHUNK
from geometrycrafter.training.stages.hubs import Hub
from geometrycrafter.training.stages.starts import prior_network
from geometrycrafter.video.pictures import sheet

FAR_OFF = 20.0
"""Times what a network sees in the pictures: a depth that is as far from it is in another unit. Millimetres that are
read as metres are a thousand times too far, hundredths a hundred times."""


class PriorStage(Stage[PriorStageConfig]):
    """The embedded per-frame prior: depth, validity and field of view from single pictures."""

    part = "prior"

    def __init__(self, config: PriorStageConfig, hub: Hub | None = None):
        hub = hub or Hub(config.hub)
        super().__init__(config, hub)
        self.network: PriorNetwork = prior_network(config, hub)
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d):  # depthwise ones run a third faster so
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        frames, depth, known = (batch[k].flatten(0, 1) for k in ("frames", "depth", "known"))
        theta = batch["half_field"].flatten(0, 1).norm(dim=-1)
        out = self._seen(frames)
        return self._terms(out, depth, known, theta) | self._drift(out, batch["depth"])

    def _drift(self, out: PriorOutput, depth: Tensor) -> dict[str, Tensor]:
        """Of samples ``[B, T, H, W]``, the frames of each showing one world, where it is asked for."""
        if not self.config.drift_loss or depth.shape[1] < 2:
            return {}
        found = out.log_depth.view(*depth.shape[:2], 1, *depth.shape[2:])
        each = [losses.drift(f, d[:, None].clamp(0.3, 80).log(), d[:, None] > 0) for f, d in zip(found, depth)]
        return {"drift": self.config.drift_loss * torch.stack(each).mean()}

    def _terms(self, out: PriorOutput, depth: Tensor, known: Tensor, theta: Tensor) -> dict[str, Tensor]:
        """The loss's, of frames: depths, what is known ``[N, H, W]``, tangents of half the diagonal fields ``[N]``."""
        rows = []
        for i in range(len(depth)):
            mask = depth[i] > 0
            truth = depth[i].clamp(0.3, 80).log()
            error = torch.where(mask, out.log_depth[i, 0] - truth, 0.0)
            middle = error.detach()[mask].median() if mask.any() else error.new_zeros(())
            valid = mask[None, None]
            row = {
                "shape": losses.masked_mean((error - middle).abs(), mask),
                "scale": 0.5 * losses.masked_mean(error.abs(), mask),
                "local": 0.5 * losses.multi_scale_depth(out.log_depth[i : i + 1], truth[None, None], valid),
                "theta": 1.0 * (out.theta_diag[i].log() - theta[i].log()).abs(),
                "mask": 0.2
                * losses.masked_mean(
                    F.binary_cross_entropy_with_logits(out.mask_logit[i, 0], mask.float(), reduction="none"),
                    known[i],
                ),
            }
            rows.append(row | self._shape_terms(out.log_depth[i : i + 1], truth[None, None], theta[i], valid))
        return mean_terms(rows)

    def _shape_terms(self, log_depth: Tensor, truth: Tensor, theta: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Of normals, by the true camera, and of edges, where they are asked for; log depths ``[1, 1, H, W]``."""
        terms = {}
        if self.config.normal_loss:
            field = theta.expand_as(truth)
            terms["normals"] = self.config.normal_loss * losses.normals(log_depth, field, truth, field, mask)
        if self.config.edge_loss:
            terms["edges"] = self.config.edge_loss * losses.edges(log_depth, truth, mask)
        return terms

    @torch.no_grad()
    def scores(self, batch: Batch) -> dict[str, Tensor]:
        """Rel^p of samples, each with one scale and one camera for its frames, then the loss and its terms."""
        frames, depth, known = (batch[k].flatten(0, 1) for k in ("frames", "depth", "known"))
        theta = batch["half_field"].flatten(0, 1).norm(dim=-1)
        out = self._seen(frames)
        found, terms = [], self._terms(out, depth, known, theta) | self._drift(out, batch["depth"])
        for own in torch.arange(len(depth), device=depth.device).view(batch["depth"].shape[:2]):
            truth = depth[own][:, None]
            guessed, true = (x[own].float()[:, None, None, None].expand_as(truth) for x in (out.theta_diag, theta))
            log_truth = truth.clamp_min(1e-6).log()
            found.append(losses.relative_points(out.log_depth[own].float(), guessed, log_truth, true, truth > 0))
        return {"point_rel": torch.stack(found).mean(), "loss": torch.stack(list(terms.values())).sum()} | terms

    @torch.no_grad()
    def doubt(self, batch: Batch) -> None:
        """Refuse depth that is hardly in metres.

        Raises:
            InputError: says by how much it is off.
        """
        frames, depth = (batch[k].flatten(0, 1) for k in ("frames", "depth"))
        mask = depth > 0
        if not mask.any():
            return
        factor = (depth[mask].log() - self._seen(frames).log_depth[:, 0].float()[mask]).median().exp().item()
        if not 1 / FAR_OFF < factor < FAR_OFF:
            raise InputError(
                f"sources: their depth is {factor:.3g} times what the network sees in the pictures, so it is hardly in "
                "metres; prepare the recording anew, with --unit METRES."
            )

    def trains(self, name: str) -> bool:
        if name.startswith("trunk."):
            return self.config.trunk_rate > 0
        return self.config.camera == "learn" or not name.startswith(("context.", "field."))

    def _seen(self, frames: Tensor) -> PriorOutput:
        """Of frames ``[N, 3, H, W]``; without a gradient, some after the others."""
        some = (frames,) if torch.is_grad_enabled() else frames.split(CHUNK)
        return PriorOutput(*(torch.cat(m) for m in zip(*map(self.network, some), strict=True)))

    @torch.no_grad()
    def pictures(self, batch: Batch) -> np.ndarray:
        """Rows of frames, inverse depth and the prediction's, ``[3, H, W]`` in [0, 1]."""
        frames, depth = batch["frames"].flatten(0, 1)[:4], batch["depth"].flatten(0, 1)[:4]
        return sheet([bytes_of(frames), in_colours(depth), in_colours(self.network(frames).log_depth[:, 0].exp())])
