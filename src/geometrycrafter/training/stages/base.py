"""What stages share: a module whose forward is the loss, and the pictures of a validation.

Data-parallel wrappers so see everything that needs a gradient. All terms are means over the samples of the batch, each
sample's own mean being taken first: a batch that is shared by several processes has the gradient of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from geometrycrafter.errors import InputError
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.stages.hubs import Hub
from geometrycrafter.video.pictures import disparity_picture, sheet

Batch = dict[str, Any]
C = TypeVar("C", bound=LoopConfig)
TEMPORAL = ("temporal_res_block", "time_mixer", "time_conv", "temporal_transformer_blocks", "time_pos_embed")
"""Names of the layers that look along time."""


def is_temporal(name: str) -> bool:
    """Whether a parameter belongs to a layer that looks along time."""
    return any(part in name for part in TEMPORAL)


class Stage(nn.Module, Generic[C]):
    """A network in training, with the frozen ones that its loss needs."""

    part: str
    """Name of the trained network in a hub."""
    network: nn.Module

    def __init__(self, config: C, hub: Hub | None = None):
        super().__init__()
        self.config = config
        self.hub = hub or Hub(config.hub)

    def trains(self, name: str) -> bool:
        """Whether the configuration lets a parameter of the network train."""
        return True

    def choose_parameters(self) -> None:
        """Let those parameters train that the configuration says, and no other network's.

        Raises:
            InputError: where the network has none of them.
        """
        self.requires_grad_(False)
        chosen = [p for n, p in self.network.named_parameters() if self.trains(n)]
        if not chosen:
            raise InputError("layers: the network has no such parameters to train; choose others, or all.")
        for parameter in chosen:
            parameter.requires_grad_(True)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the loss."""
        raise NotImplementedError

    @torch.no_grad()
    def scores(self, batch: Batch) -> dict[str, Tensor]:
        """What validation reports; the first is the one by which the best checkpoint is chosen, low being good."""
        terms = self(batch)
        return {"loss": torch.stack(list(terms.values())).sum()} | terms

    def doubt(self, batch: Batch) -> None:
        """Look at held-out truth before the first step, and refuse what can't be as it should."""

    def exported(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What of the trained network's tensors, by name, goes into the hub."""
        return tensors

    def exported_config(self) -> Any:
        """The sizes of what goes there, a dataclass."""
        return self.network.config

    def parts(self) -> tuple[str, ...]:
        """Names of the networks that the stage writes into the hub."""
        return (self.part,)

    def finish(self, batches: Iterable[Batch], writes: bool) -> None:
        """What is left to do when the network is in the hub.

        Args:
            batches: validation's.
            writes: whether this process is the one that writes.
        """

    def pictures(self, batch: Batch) -> np.ndarray:
        """A sheet to look at, ``[H, W, 3]`` uint8: the first sample's frames, truth and prediction."""
        return sheet([bytes_of(batch["frames"][0])])


class LatentStage(Stage[C]):
    """A stage that can train on latents which were encoded before."""

    def stored_names(self) -> tuple[str, ...]:
        """Tensors that it trains on: those of :meth:`latents`, and of the truth where it decodes."""
        raise NotImplementedError

    def latents(self, sample: Batch) -> dict[str, Tensor]:
        """Of one sample, by name, ``[T, ...]``."""
        raise NotImplementedError

    def encoders(self) -> dict[str, str]:
        """Digests of the networks that make :meth:`latents`, by name."""
        raise NotImplementedError


def mean_terms(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each term's mean over the samples."""
    return {k: torch.stack([row[k] for row in rows]).mean() for k in rows[0]}


def in_colours(depth: Tensor) -> np.ndarray:
    """Inverse depth ``[N, H, W]``, zero where there is none, as pictures ``[N, H, W, 3]`` uint8 on its own scale."""
    values = depth.float().cpu().numpy()
    return disparity_picture(values, values > 0)


def bytes_of(pictures: Tensor) -> np.ndarray:
    """Pictures ``[N, 3, H, W]`` in [0, 1] as ``[N, H, W, 3]`` uint8."""
    return (pictures.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
