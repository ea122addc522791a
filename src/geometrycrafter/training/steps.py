"""What a step computes: the loss of a batch, part by part, and its gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.distribution import unsynchronised
from geometrycrafter.training.samples import on_device
from geometrycrafter.training.stages import Batch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def lowered(config: LoopConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A block that computes in the run's precision."""
    return torch.autocast(device.type, PRECISIONS[config.precision], enabled=config.precision != "float32")


def gradients(
    loss: nn.Module,
    batch: Batch,
    config: LoopConfig,
    device: torch.device,
    scaler: torch.amp.GradScaler,
    look: Callable[[dict[str, Tensor]], None],
) -> dict[str, float]:
    """Add a batch's gradients to those of the parameters.

    Args:
        loss: gives the terms of a batch.
        batch: of this process.
        config: says in how many parts it is taken.
        device: where it is computed.
        scaler: of the loss.
        look: sees the terms of each part.

    Returns:
        the terms, over all parts.
    """
    size = len(batch["seeds"])
    part = size // config.accumulate
    terms: dict[str, float] = {}
    for start in range(0, size, part):
        piece = on_device({k: v[start : start + part] for k, v in batch.items()}, device)
        with contextlib.nullcontext() if start + part == size else unsynchronised(loss):
            with lowered(config, device):
                found = loss(piece)
            look(found)
            total = torch.stack(list(found.values())).sum() / config.accumulate
            scaler.scale(total).backward()
        for key, value in found.items():
            terms[key] = terms.get(key, 0.0) + value.item() / config.accumulate
    return terms
