"""Products and convolutions of inference on processors, faster than PyTorch's own choice and the same sums.

oneDNN's matrix product uses the widest registers of any x86 processor; the one behind ``F.linear`` only of some, and
takes twice the time on the others. oneDNN also applies what follows (an activation, a product, a residual) while the
result is in the cache. A nearest doubling before a 3x3 convolution repeats pixels, so that four 2x2 kernels over the
small picture, one for each corner of a doubled pixel, are the same with four ninths of the products.

Everything falls back to plain layers wherever gradients, other types or other devices are asked for, and under
``torch.compile``, for which a network is one graph.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _available() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    own: Any = torch.ops.mkldnn
    return hasattr(own, "_linear_pointwise") and hasattr(own, "_convolution_pointwise")


AVAILABLE = _available()
"""Whether this build of PyTorch has oneDNN's fused operations."""


LARGE_PICTURE = 128 * 128
"""Pixels from which on autoencoders' channels come last."""

_assumed: list[bool] = []


@contextlib.contextmanager
def assumed(on: bool) -> Iterator[None]:
    """A block in which tensors without values take the way that inference on a processor takes, or another device."""
    _assumed.append(on)
    try:
        yield
    finally:
        _assumed.pop()


def applies(x: Tensor) -> bool:
    """Whether a tensor ``[...]`` is one of inference in float32 on a processor."""
    if torch.compiler.is_compiling():  # asked first: the rest is then no part of the graph
        return False
    if _assumed:
        return AVAILABLE and _assumed[-1] and x.dtype == torch.float32
    return (
        AVAILABLE
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and bool(torch.backends.mkldnn.enabled)
    )


def _is_own_kind(layer: nn.Linear) -> bool:
    """Whether a layer's weights multiply by a way of their own, as those of 8 bits do."""
    return not _assumed and type(layer.weight) is not nn.Parameter


def linear(layer: nn.Linear, x: Tensor, added: Tensor | None = None) -> Tensor:
    """A linear layer on tokens, ``[N, L, C]`` -> ``[N, L, D]``, plus ``added`` of the result's shape."""
    if not applies(x) or _is_own_kind(layer):
        return layer(x) if added is None else added + layer(x)
    if added is None:
        return _product(x, layer.weight, layer.bias)
    return _product(x, layer.weight, layer.bias, "add", added)


def gated_gelu(layer: nn.Linear, x: Tensor) -> Tensor:
    """The first half of a linear layer's result times the GELU of its second half, ``[N, L, C]`` -> ``[N, L, D/2]``."""
    if not applies(x) or layer.bias is None or _is_own_kind(layer):
        value, gate = layer(x).chunk(2, dim=-1)
        return value * F.gelu(gate)
    (weight, gate_weight), (bias, gate_bias) = layer.weight.chunk(2), layer.bias.chunk(2)
    return _product(x, weight, bias, "mul", _product(x, gate_weight, gate_bias, "gelu"))


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none", other: Tensor | None = None) -> Tensor:
    """A linear layer, and an activation or a sum or product with ``other`` while the result is in the cache."""
    if _assumed:
        return x.new_empty(*x.shape[:-1], len(weight))
    own: Any = torch.ops.mkldnn._linear_pointwise
    if other is None:
        return own(x, weight, bias, then, [], "none" if then == "gelu" else "")
    return own.binary(x, other, weight, bias, then)


def pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution, ``[N, C, H, W]`` -> ``[N, D, H, W]``."""
    if not applies(x) or _assumed:
        return layer(x)
    own: Any = torch.ops.mkldnn._convolution_pointwise
    return own(x, layer.weight, layer.bias, [0, 0], [1, 1], [1, 1], 1, "none", [], "")


def doubled(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3x3 convolution with padding 1 of ``x`` enlarged by two, nearest, ``[N, C, h, w]`` -> ``[N, D, 2h, 2w]``."""
    if not applies(x):
        return layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    number, _, height, width = x.shape
    last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    size = (number, layer.out_channels, 2 * height, 2 * width)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
    above, middle, below = layer.weight.unbind(2)
    # An upper row sees the pixel above once and its own twice, a lower one its own twice and that below once.
    for a, rows in enumerate(((above, middle + below), (above + middle, below))):
        for b in (0, 1):
            kernel = torch.stack([torch.stack(_merged(row, b), dim=-1) for row in rows], dim=2)
            corner = F.conv2d(x, kernel, layer.bias, padding=1)
            out[:, :, a::2, b::2] = corner[:, :, a : a + height, b : b + width]
    return out


def _merged(row: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Three columns of kernels ``[D, C, 3]`` as the two that the left (0) or the right pixel of a pair sees."""
    left, middle, right = row.unbind(-1)
    return (left, middle + right) if side == 0 else (left + middle, right)


def channels_last(x: Tensor, scale: int = 1) -> Tensor:
    """What enters an autoencoder, ``[N, C, H, W]``, in the layout of its inference: on processors channels come last.

    oneDNN then need not bring pictures into an order of its own and back, which takes as much memory again; tokens of a
    picture, and a clip's frames beside each other, are the same memory. The UNet, whose pictures are small and whose
    channels are many, is a little slower so; small pictures, which gain little, keep the published layout's rounding.

    Args:
        x: ``[N, C, H, W]``.
        scale: how much higher and wider the pictures are at their largest.
    """
    large = scale**2 * x.shape[-2] * x.shape[-1] >= LARGE_PICTURE
    return x.contiguous(memory_format=torch.channels_last) if large and applies(x) else x


def silu(x: Tensor) -> Tensor:
    """SiLU of a result that nobody else holds, ``[...]``, in its place where no gradient is asked for."""
    return F.silu(x, inplace=not (torch.compiler.is_compiling() or torch.is_grad_enabled()))


def plus(x: Tensor, y: Tensor) -> Tensor:
    """The sum of ``y`` and a result ``x`` that nobody else holds, ``[...]``, in its place likewise."""
    if torch.compiler.is_compiling():  # which reuses memory itself, and can't ask for the result's type
        return x + y
    kept = torch.is_grad_enabled() or torch.result_type(x, y) != x.dtype
    return x + y if kept else x.add_(y)
