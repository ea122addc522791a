"""Time, arithmetic and the machine's own rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from geometrycrafter.networks import cpu_products


@dataclass(frozen=True)
class Times:
    """Of the calls of one thing, in the order in which they were made."""

    wall: tuple[float, ...]
    """Seconds."""
    cpu: tuple[float, ...]
    """Seconds of all threads of this process."""

    @property
    def seconds(self) -> float:
        """The median by the clock on the wall."""
        return median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        """The median by the processor's clock."""
        return median(self.cpu)


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def interleaved(calls: Sequence[Callable[[], Any]], repeats: int, device: torch.device) -> list[Times]:
    """Time things in turn, A B A B, so that what else the machine does falls on all of them.

    Args:
        calls: things to do, each called before already.
        repeats: calls of each.
        device: that they work on.
    """
    wall: list[list[float]] = [[] for _ in calls]
    cpu: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, seconds, processor in zip(calls, wall, cpu, strict=True):
            wait_for(device)
            begun, spent = time.perf_counter(), time.process_time()
            call()
            wait_for(device)
            seconds.append(time.perf_counter() - begun)
            processor.append(time.process_time() - spent)
    return [Times(tuple(w), tuple(c)) for w, c in zip(wall, cpu, strict=True)]


def flop_of(call: Callable[[], Any]) -> float:
    """Floating-point operations of the products and convolutions in a call, a multiplication and an addition two."""
    with FlopCounterMode(display=False, custom_mapping=_fused()) as counter:
        call()
    return float(counter.get_total_flops())


def _fused() -> dict[Any, Any]:
    """How many operations oneDNN's fused products and convolutions take, which PyTorch's counter doesn't know."""
    if not cpu_products.AVAILABLE:
        return {}

    def product(x: Sequence[int], *others: Any, out_shape: Sequence[int], **_: Any) -> int:
        return 2 * math.prod(out_shape) * x[-1]

    def convolution(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
        return 2 * math.prod(out_shape) * math.prod(weight[1:])

    own: Any = torch.ops.mkldnn
    return {own._linear_pointwise: product, own._convolution_pointwise: convolution}


@dataclass(frozen=True)
class Product:
    """A large matrix product: what the machine's arithmetic is capable of."""

    run: Callable[[], Any]
    flop: float

    @classmethod
    def of(cls, dtype: torch.dtype, device: torch.device) -> Product:
        """Of one type; on a GPU float32 products may round as its convolutions do by default."""
        side, times = (8192, 4) if device.type == "cuda" else (1024, 4)
        a, b = torch.randn(2, side, side, device=device).to(dtype).unbind(0)

        def run() -> None:
            allowed = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
            try:
                for _ in range(times):
                    a @ b
            finally:
                torch.backends.cuda.matmul.allow_tf32 = allowed

        run()
        return cls(run, times * 2.0 * side**3)
