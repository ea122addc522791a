"""EfficientNet-Lite0's trunk (Tan and Le 2019; the Lite variant has ReLU6 and no squeeze-and-excitation).

Its batch normalisation is folded into the convolutions, which is exact for a trained network, so a trunk is plain
convolutions; :func:`folded` makes its weights from a published checkpoint.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (
    # expansion, channels, blocks, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
TAPS = (0, 1, 2, 4, 6)
"""Stages that are the last at their size."""
CHANNELS = tuple(STAGES[i][1] for i in TAPS)
"""Of the features at a half, a quarter, ... a thirty-second of the size."""
EPSILON = 1e-3


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: where a stride of two leaves a pixel over, it is right and below."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in, H, W]`` -> ``[N, out, H/stride, W/stride]``, rounded up."""
        total = self.kernel_size[0] - self.stride[0]
        return super().forward(F.pad(x, (total // 2, total - total // 2) * 2) if total else x)


class InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int, kernel: int):
        super().__init__()
        inner = in_channels * expansion
        self.expand = SameConv(in_channels, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv(inner, out_channels, 1)
        self.skips = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in, H, W]`` -> ``[N, out, H/stride, W/stride]``, rounded up."""
        h = x if self.expand is None else F.relu6(self.expand(x))
        h = self.project(F.relu6(self.depthwise(h)))
        return x + h if self.skips else h


class EfficientNetTrunk(nn.Module):
    """Pictures ``[N, 3, H, W]`` in [0, 1] -> features at a half, a quarter, ... of the size, rounded down."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = 32
        for expansion, width, blocks, stride, kernel in STAGES:
            rows = []
            for i in range(blocks):
                rows.append(InvertedResidual(channels, width, expansion, stride if i == 0 else 1, kernel))
                channels = width
            self.stages.append(nn.Sequential(*rows))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Pictures ``[N, 3, H, W]`` in [0, 1] -> maps ``[N, C, h, w]``, the finest first; C of :data:`CHANNELS`."""
        x = F.relu6(self.stem((frames * 255 - 127) / 128))
        found = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in TAPS:
                found.append(x)
        return found


def folded(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """A trunk's weights from a checkpoint with batch normalisation (``efficientnet-lite0-*.pth``).

    Raises:
        KeyError: where the checkpoint is of another network.
    """

    def merge(conv: str, norm: str) -> tuple[Tensor, Tensor]:
        scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + EPSILON).sqrt()
        bias = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
        return published[f"{conv}.weight"] * scale.view(-1, 1, 1, 1), bias

    out: dict[str, Tensor] = {}
    out["stem.weight"], out["stem.bias"] = merge("_conv_stem", "_bn0")
    number = 0
    for s, (expansion, _, blocks, _, _) in enumerate(STAGES):
        for b in range(blocks):
            old, new = f"_blocks.{number}", f"stages.{s}.{b}"
            pairs = [("expand", "_expand_conv", "_bn0")] if expansion > 1 else []
            for ours, conv, norm in [
                *pairs,
                ("depthwise", "_depthwise_conv", "_bn1"),
                ("project", "_project_conv", "_bn2"),
            ]:
                out[f"{new}.{ours}.weight"], out[f"{new}.{ours}.bias"] = merge(f"{old}.{conv}", f"{old}.{norm}")
            number += 1
    return {k: v.clone().to(torch.float32) for k, v in out.items()}
