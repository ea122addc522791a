"""The stages of training: what trains, what is frozen, and the loss of a batch; one a file."""

from __future__ import annotations

from typing import Any

from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.stages.autoencoder import AutoencoderStage
from geometrycrafter.training.stages.base import Batch, LatentStage, Stage, is_temporal
from geometrycrafter.training.stages.prior import PriorStage
from geometrycrafter.training.stages.unet import UNetStage
from geometrycrafter.training.stages.vae import VAEStage

STAGES: dict[str, type[Stage[Any]]] = {
    "prior": PriorStage,
    "autoencoder": AutoencoderStage,
    "vae": VAEStage,
    "unet": UNetStage,
}


def stage_of(config: LoopConfig) -> Stage[Any]:
    """The stage that a configuration is of, with its networks read from the hub.

    Raises:
        InputError: where the hub lacks one.
    """
    return STAGES[config.stage](config)


__all__ = [
    "STAGES",
    "AutoencoderStage",
    "Batch",
    "LatentStage",
    "PriorStage",
    "Stage",
    "UNetStage",
    "VAEStage",
    "is_temporal",
    "stage_of",
]
