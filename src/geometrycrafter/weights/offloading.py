"""Parts of a model that are on a device only while they are needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn


@contextlib.contextmanager
def present(parts: Iterable[Any], device: torch.device | None) -> Iterator[None]:
    """A block in which parts are on a device; after it they are in the machine's memory again.

    Args:
        parts: of a model; what is no network is passed over.
        device: where they are needed; None: they are there already, and stay.
    """
    if device is None:
        yield
        return
    networks = [part for part in parts if isinstance(part, nn.Module)]
    try:
        for network in networks:
            network.to(device)
        yield
    finally:
        for network in networks:
            network.to("cpu")
        if device.type == "cuda":
            torch.cuda.empty_cache()
