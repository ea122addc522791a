"""What a step computes: the loss of a batch, part by part, and its gradients."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geometrycrafter.inference.precision import half_of
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.distribution import unsynchronised
from geometrycrafter.training.samples import on_device
from geometrycrafter.training.stages import Batch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def lowered(config: LoopConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A block that computes in the run's precision."""
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if fast_in_bfloat16(device) else "float32"
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "float32")


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; a CPU without is several times slower in it than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and half_of(device) is not None


def warn_of_slow_precision(config: LoopConfig, device: torch.device) -> None:
    """Say so where a run is told to compute in what its device is slow in."""
    if config.precision == "bfloat16" and device.type == "cpu" and not fast_in_bfloat16(device):
        warnings.warn(
            'precision = "bfloat16" is several times slower than float32 on this processor, which has no instructions '
            'for it; take "auto".',
            stacklevel=3,
        )


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
