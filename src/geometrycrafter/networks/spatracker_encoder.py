"""SpaTracker's picture encoder: residual blocks at four scales, joined at one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """Features of pictures.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the size.
        channels: of the features.
        stride: pixels a cell of the features.
    """

    def __init__(self, widths: tuple[int, int, int, int], channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3)
        self.layer1 = _layer(widths[0], widths[0], 1)
        self.layer2 = _layer(widths[0], widths[1], 2)
        self.layer3 = _layer(widths[1], widths[2], 2)
        self.layer4 = _layer(widths[2], widths[3], 2)
        self.conv2 = nn.Conv2d(sum(widths), 2 * channels, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """``[N, 3, H, W]`` in [-1, 1] -> ``[N, channels, H / stride, W / stride]``."""
        size = (frames.shape[-2] // self.stride, frames.shape[-1] // self.stride)
        x = F.relu(F.instance_norm(self.conv1(frames)))
        scales = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            scales.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
        return self.conv3(F.relu(F.instance_norm(self.conv2(torch.cat(scales, 1)))))


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, out, h / stride, w / stride]``."""
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        return F.relu(y + (x if self.downsample is None else F.instance_norm(self.downsample(x))))


def _layer(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(channels, out, stride), ResidualBlock(out, out, 1))
