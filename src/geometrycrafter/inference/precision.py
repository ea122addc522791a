"""Less precision than published where a run asks for it, and only while it runs.

As published, the point-map VAE and the prior compute in float32. PyTorch's convolutions on NVIDIA's GPUs round their
inputs to TensorFloat-32 by default; its matrix products, of which a prior's transformer consists, don't, and take
several times as long. ``tf32`` rounds both, ``half`` computes the transformer's blocks in 16 bits besides.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from time import thread_time
from typing import Any, Literal

import torch
from torch import nn

from geometrycrafter.inference.options import Precision
from geometrycrafter.networks.dinov2 import DinoV2

SLOW = 1.5
"""Times as long as float32 from which a type is called slow."""
Dtype = torch.dtype | Literal["auto"]


@contextlib.contextmanager
def at_precision(precision: Precision, networks: Iterable[Any], device: torch.device) -> Iterator[None]:
    """A block in which networks compute so; what was set before it is set again after it.

    Args:
        precision: ``published``, ``tf32`` or ``half``, or what ``auto`` means there; ``int8`` is a matter of the UNet's
            weights.
        networks: those whose transformers ``half`` is about; what is no network is passed over.
        device: that they are on.
    """
    precision = settled_precision(precision, device)
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


def settled_precision(precision: Precision, device: torch.device) -> Precision:
    """What a precision means on a device: ``auto`` is ``half`` where 16 bits are fast, else ``published``."""
    if precision != "auto":
        return precision
    return "published" if settled_dtype("auto", device) is torch.float32 else "half"


def settled_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """What a type means on a device: ``auto`` is the one of 16 bits that is fast there, else float32.

    A warning says where one that was asked for is slow.

    Args:
        dtype: of networks.
        device: that they will be on.
    """
    if dtype == "auto":
        half = half_of(device)
        is_fast = half is not None and (device.type != "cpu" or times_as_long(half, device) < 1)
        return half if half is not None and is_fast else torch.float32
    if dtype is not torch.float32 and (longer := times_as_long(dtype, device)) > SLOW:
        name = str(dtype).removeprefix("torch.")
        warnings.warn(
            f"--dtype {name} takes {longer:.1f} times as long as float32 on this machine's {device.type}, by a "
            "product and a convolution; --dtype auto takes what is fast.",
            stacklevel=3,
        )
    return dtype


@functools.cache
def times_as_long(dtype: torch.dtype, device: torch.device) -> float:
    """How long a product and a convolution take in a type beside float32, measured once; 1 on other than processors.

    Other programs slow both down, and threads that wait for each other most of all. So one thread works, by its own
    clock, and the shortest of some tries counts: what ``auto`` means is then the same each time, as going on with a run
    wants it.
    """
    if device.type != "cpu" or dtype is torch.float32:
        return 1.0
    work = {kind: _small_work(kind) for kind in (torch.float32, dtype)}
    shortest = dict.fromkeys(work, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(4):
            for kind, run in work.items():
                began = thread_time()
                run()
                shortest[kind] = min(shortest[kind], thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    return shortest[dtype] / max(shortest[torch.float32], 1e-9)


def _small_work(dtype: torch.dtype) -> Callable[[], object]:
    """A product of 256 rows and a 3x3 convolution of 32x32 pixels."""
    a, x, w = torch.ones(256, 256, dtype=dtype), torch.ones(1, 64, 32, 32, dtype=dtype), torch.ones(64, 64, 3, 3)
    w = w.to(dtype)

    def run() -> object:
        with torch.inference_mode():
            return a @ a, torch.conv2d(x, w, padding=1)

    return run


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
