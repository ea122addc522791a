"""Activations that are computed again in the backward pass, so that they need not be kept."""

from __future__ import annotations

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from geometrycrafter.networks.blocks import ResnetBlock, SpatialAttention, SpatioTemporalResBlock, Upsample
from geometrycrafter.networks.efficientnet import InvertedResidual
from geometrycrafter.networks.light_decoder import LightBlock
from geometrycrafter.networks.point_map_vae import Head
from geometrycrafter.networks.prior_network import Residual
from geometrycrafter.networks.unet import SpatioTemporalTransformer

BLOCKS = (
    *(Head, SpatioTemporalResBlock, ResnetBlock, SpatialAttention, Upsample, SpatioTemporalTransformer),
    *(LightBlock, InvertedResidual, Residual),
)
"""What is run twice: of each, its input alone is kept."""


def recompute(module: nn.Module) -> None:
    """Keep only the inputs of the blocks of a stage, and run them again in the backward pass.

    Frozen networks too: where a gradient passes through one, it keeps as much as one that trains. What is called
    without a gradient runs as before. Nothing in the blocks is random.
    """
    for child in module.children():
        if isinstance(child, BLOCKS):
            child.forward = functools.partial(  # type: ignore[method-assign]
                checkpoint, child.forward, use_reentrant=False, preserve_rng_state=False
            )
        else:
            recompute(child)
