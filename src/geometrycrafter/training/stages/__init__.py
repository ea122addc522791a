"""The stages of training: what trains, what is frozen, and the loss of a batch; one a file."""

from __future__ import annotations

from typing import Any

from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.stages.autoencoder import AutoencoderStage
from geometrycrafter.training.stages.base import Batch, LatentStage, Stage, is_temporal
from geometrycrafter.training.stages.hubs import Hub, SizesAlone
from geometrycrafter.training.stages.prior import PriorStage
from geometrycrafter.training.stages.unet import UNetStage
from geometrycrafter.training.stages.vae import VAEStage

STAGES: dict[str, type[Stage[Any]]] = {
    "prior": PriorStage,
    "autoencoder": AutoencoderStage,
    "vae": VAEStage,
    "unet": UNetStage,
}


def stage_of(config: LoopConfig, hub: Hub | None = None) -> Stage[Any]:
    """The stage that a configuration is of.

    Args:
        config: of the run.
        hub: what its networks come from; None: the configuration's, with their weights.

    Raises:
        InputError: where the hub lacks one.
    """
    return STAGES[config.stage](config, hub)


__all__ = [
    "STAGES",
    "AutoencoderStage",
    "Batch",
    "Hub",
    "LatentStage",
    "PriorStage",
    "SizesAlone",
    "Stage",
    "UNetStage",
    "VAEStage",
    "is_temporal",
    "stage_of",
]
