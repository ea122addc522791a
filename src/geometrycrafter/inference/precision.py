"""Less precision than published where a run asks for it, and only while it runs.

As published, the point-map VAE and the prior compute in float32. PyTorch's convolutions on NVIDIA's GPUs round their
inputs to TensorFloat-32 by default; its matrix products, of which a prior's transformer consists, don't, and take
several times as long. ``tf32`` rounds both, ``half`` computes the transformer's blocks in 16 bits besides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from geometrycrafter.inference.options import Precision
from geometrycrafter.networks.dinov2 import DinoV2


@contextlib.contextmanager
def at_precision(precision: Precision, networks: Iterable[Any], device: torch.device) -> Iterator[None]:
    """A block in which networks compute so; what was set before it is set again after it.

    Args:
        precision: ``published``, ``tf32`` or ``half``; ``int8`` is a matter of the UNet's weights.
        networks: those whose transformers ``half`` is about; what is no network is passed over.
        device: that they are on.
    """
    if precision in ("published", "int8"):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_tf32())
        dtype = half_of(device) if precision == "half" else None
        if dtype is not None:
            for network in networks:
                for module in network.modules() if isinstance(network, nn.Module) else ():
                    if isinstance(module, DinoV2):
                        stack.enter_context(_lowered(module, device.type, dtype))
        yield


def half_of(device: torch.device) -> torch.dtype | None:
    """The type of 16 bits that a device multiplies fast; None: it has none, and float32 stays."""
    if device.type != "cpu":
        return torch.float16
    return torch.bfloat16 if _multiplies_bfloat16() else None


def _multiplies_bfloat16() -> bool:
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asked if ask is not None)


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextlib.contextmanager
def _lowered(network: nn.Module, kind: str, dtype: torch.dtype) -> Iterator[None]:
    """A network whose products are in a type; sums of its blocks, norms and what comes out stay in float32."""
    forward = network.forward

    def lowered(*inputs: Any) -> Any:
        with torch.autocast(kind, dtype):
            return forward(*inputs)

    network.forward = lowered
    try:
        yield
    finally:
        del network.forward
