"""XMem (Cheng & Schwing, ECCV 2022): masks of things carried through a video; keys as in the published file.

Objects are the batch: what depends on the picture alone is computed once and shared between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.resnet import BasicBlock, Bottleneck

STRIDE = 16
"""Pixels a memory element, each way; pictures are padded to multiples of it."""


@dataclass(frozen=True)
class XMemConfig:
    """Sizes; the defaults are the published ones."""

    key_dim: int = 64
    value_dim: int = 512
    hidden_dim: int = 64
    width: int = 64
    """Channels of the first convolution; all others are multiples."""
    single_object: bool = False
    """Trained without the channel that holds the other objects' masks."""

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> XMemConfig:
        """The sizes that weights were made for, from shapes such as ``[width, 3, 7, 7]``.

        Raises:
            KeyError: where a tensor that tells a size is missing.
        """
        return cls(
            key_dim=len(tensors["key_proj.key_proj.weight"]),
            value_dim=len(tensors["value_encoder.fuser.block2.conv2.weight"]),
            hidden_dim=len(tensors["decoder.hidden_update.transform.weight"]) // 3,
            width=len(tensors["key_encoder.conv1.weight"]),
            single_object=tensors["value_encoder.conv1.weight"].shape[1] == 4,
        )


class Key(NamedTuple):
    """What a frame is found by: key and selection ``[1, C, h, w]``, shrinkage ``[1, 1, h, w]``, at 1/16."""

    key: Tensor
    shrinkage: Tensor
    selection: Tensor


class Features(NamedTuple):
    """A frame's features at 1/16, 1/8 and 1/4 of its size, each ``[1, C, h, w]``."""

    f16: Tensor
    f8: Tensor
    f4: Tensor


class XMem(nn.Module):
    """The three networks of the paper's figure 3; the memory between them is :mod:`.xmem_memory`.

    Args:
        config: sizes.
    """

    def __init__(self, config: XMemConfig = XMemConfig()):
        super().__init__()
        self.config = config
        self.key_encoder = KeyEncoder(config.width)
        self.value_encoder = ValueEncoder(config)
        self.key_proj = KeyProjection(16 * config.width, config.key_dim)
        self.decoder = Decoder(config)

    def encode_key(self, frame: Tensor) -> tuple[Key, Features]:
        """Key and features of a frame ``[1, 3, H, W]``, normalised as ImageNet is, sides multiples of 16."""
        features = self.key_encoder(frame)
        return self.key_proj(features.f16), features

    def encode_value(self, frame: Tensor, f16: Tensor, hidden: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """What the memory should say where the frame's keys are met again.

        Args:
            frame: ``[1, 3, H, W]``.
            f16: its features.
            hidden: ``[N, hidden_dim, h, w]``, the sensory memory of each object.
            masks: ``[N, H, W]`` probabilities.

        Returns:
            values ``[N, value_dim, h, w]`` and the sensory memory after them.
        """
        return self.value_encoder(frame, f16, hidden, masks)

    def segment(
        self, features: Features, readout: Tensor, hidden: Tensor, update: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Probabilities ``[N + 1, H, W]``, background first, and the sensory memory after the frame.

        Args:
            features: of the frame.
            readout: ``[N, value_dim, h, w]`` from the memory.
            hidden: ``[N, hidden_dim, h, w]``.
            update: whether the sensory memory learns of this frame.
        """
        logits, hidden = self.decoder(features, readout, hidden, update)
        return aggregate(torch.sigmoid(logits)), hidden


def aggregate(masks: Tensor) -> Tensor:
    """Soft aggregation (Oh et al., ICCV 2019): masks ``[N, H, W]`` each alone -> ``[N + 1, H, W]`` that sum to one."""
    background = torch.prod(1 - masks, dim=0, keepdim=True)
    return torch.cat([background, masks]).clamp(1e-7, 1 - 1e-7).logit().softmax(0)


class KeyEncoder(nn.Module):
    """ResNet-50 without its last stage."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.res2 = nn.Sequential(*[Bottleneck(width if i == 0 else 4 * width, width) for i in range(3)])
        self.layer2 = nn.Sequential(
            *[Bottleneck((4 if i == 0 else 8) * width, 2 * width, 2 - (i > 0)) for i in range(4)]
        )
        self.layer3 = nn.Sequential(
            *[Bottleneck((8 if i == 0 else 16) * width, 4 * width, 2 - (i > 0)) for i in range(6)]
        )

    def forward(self, frame: Tensor) -> Features:
        """``[1, 3, H, W]`` -> features."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(frame))), 3, 2, 1)
        f4 = self.res2(x)
        f8 = self.layer2(f4)
        return Features(self.layer3(f8), f8, f4)


class KeyProjection(nn.Module):
    def __init__(self, channels: int, key_dim: int):
        super().__init__()
        self.key_proj = nn.Conv2d(channels, key_dim, 3, padding=1)
        self.d_proj = nn.Conv2d(channels, 1, 3, padding=1)
        self.e_proj = nn.Conv2d(channels, key_dim, 3, padding=1)

    def forward(self, f16: Tensor) -> Key:
        """``[1, C, h, w]`` -> key, shrinkage (1 or more) and selection (0 to 1)."""
        return Key(self.key_proj(f16), self.d_proj(f16) ** 2 + 1, self.e_proj(f16).sigmoid())


class ValueEncoder(nn.Module):
    """ResNet-18 over the frame and an object's mask, fused with the frame's own features."""

    def __init__(self, config: XMemConfig):
        super().__init__()
        self.single_object = config.single_object
        width = config.width
        self.conv1 = nn.Conv2d(4 if config.single_object else 5, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width))
        self.fuser = Fusion(20 * width, config.value_dim, config.value_dim)
        self.hidden_reinforce = SensoryUpdate(config.value_dim, config.hidden_dim)

    def forward(self, frame: Tensor, f16: Tensor, hidden: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`XMem.encode_value`: values ``[N, value_dim, h, w]`` and the sensory memory."""
        planes = [frame.expand(len(masks), -1, -1, -1), masks[:, None]]
        if not self.single_object:
            planes.append((masks.sum(0) - masks)[:, None])
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(torch.cat(planes, 1)))), 3, 2, 1)
        value = self.fuser(f16, self.layer3(self.layer2(self.layer1(x))))
        return value, self.hidden_reinforce(value, hidden)


class Decoder(nn.Module):
    def __init__(self, config: XMemConfig):
        super().__init__()
        wide, narrow = 8 * config.width, 4 * config.width
        self.fuser = Fusion(16 * config.width + config.value_dim + config.hidden_dim, wide, wide)
        self.hidden_update = MultiScaleUpdate((wide, narrow, narrow + 1), narrow, config.hidden_dim)
        self.up_16_8 = UpsampleBlock(8 * config.width, wide, narrow)
        self.up_8_4 = UpsampleBlock(4 * config.width, narrow, narrow)
        self.pred = nn.Conv2d(narrow, 1, 3, padding=1)

    def forward(self, features: Features, readout: Tensor, hidden: Tensor, update: bool) -> tuple[Tensor, Tensor]:
        """As :meth:`XMem.segment`, with logits ``[N, H, W]``."""
        g16 = self.fuser(features.f16, torch.cat([readout, hidden], 1))
        g8 = self.up_16_8(features.f8, g16)
        g4 = self.up_8_4(features.f4, g8)
        logits = self.pred(F.relu(g4))
        if update:
            hidden = self.hidden_update((g16, g8, torch.cat([g4, logits], 1)), hidden)
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)[:, 0], hidden


class UpsampleBlock(nn.Module):
    def __init__(self, skip: int, inner: int, out: int):
        super().__init__()
        self.skip_conv = nn.Conv2d(skip, inner, 3, padding=1)
        self.out_conv = PreActivated(inner, out)

    def forward(self, skip: Tensor, g: Tensor) -> Tensor:
        """Features ``[1, C, 2h, 2w]`` and objects ``[N, D, h, w]`` -> ``[N, out, 2h, 2w]``."""
        up = F.interpolate(g, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out_conv(self.skip_conv(skip) + up)


class Fusion(nn.Module):
    """A frame's features and those of its objects into one."""

    def __init__(self, channels: int, inner: int, out: int):
        super().__init__()
        self.block1 = PreActivated(channels, inner)
        self.attention = Cbam(inner)
        self.block2 = PreActivated(inner, out)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """``[1, C, h, w]`` and ``[N, D, h, w]`` -> ``[N, out, h, w]``."""
        g = self.block1(torch.cat([x.expand(len(g), -1, -1, -1), g], 1))
        return self.block2(g + self.attention(g))


class Cbam(nn.Module):
    """Convolutional block attention (Woo et al., ECCV 2018): channels first, then places."""

    def __init__(self, channels: int):
        super().__init__()
        self.ChannelGate = ChannelGate(channels)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> the same shape."""
        return self.SpatialGate(self.ChannelGate(x))


class ChannelGate(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 16
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> the same shape."""
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * gate.sigmoid()[..., None, None]


class SpatialGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.ModuleDict({"conv": nn.Conv2d(2, 1, 7, padding=3)})

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> the same shape."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * self.spatial["conv"](pooled).sigmoid()


class MultiScaleUpdate(nn.Module):
    """The sensory memory after a frame, from the decoder's three scales."""

    def __init__(self, channels: tuple[int, int, int], inner: int, hidden_dim: int):
        super().__init__()
        self.g16_conv = nn.Conv2d(channels[0], inner, 1)
        self.g8_conv = nn.Conv2d(channels[1], inner, 1)
        self.g4_conv = nn.Conv2d(channels[2], inner, 1)
        self.transform = nn.Conv2d(inner + hidden_dim, 3 * hidden_dim, 3, padding=1)

    def forward(self, scales: tuple[Tensor, Tensor, Tensor], hidden: Tensor) -> Tensor:
        """Features at 1/16, 1/8 and 1/4, ``[N, hidden_dim, h, w]`` -> the same shape."""
        g16, g8, g4 = scales
        g = self.g16_conv(g16) + self.g8_conv(F.avg_pool2d(g8, 2)) + self.g4_conv(F.avg_pool2d(g4, 4))
        return _gated(self.transform(torch.cat([g, hidden], 1)), hidden)


class SensoryUpdate(nn.Module):
    """The sensory memory after a frame was remembered (the deep update of section 3.4)."""

    def __init__(self, channels: int, hidden_dim: int):
        super().__init__()
        self.transform = nn.Conv2d(channels + hidden_dim, 3 * hidden_dim, 3, padding=1)

    def forward(self, g: Tensor, hidden: Tensor) -> Tensor:
        """``[N, C, h, w]``, ``[N, hidden_dim, h, w]`` -> the latter's shape."""
        return _gated(self.transform(torch.cat([g, hidden], 1)), hidden)


def _gated(values: Tensor, hidden: Tensor) -> Tensor:
    """XMem's gated recurrent unit; unlike the usual one, the new value doesn't pass the forget gate."""
    forget, update, new = values.chunk(3, 1)
    update = update.sigmoid()
    return forget.sigmoid() * hidden * (1 - update) + update * new.tanh()


class PreActivated(nn.Module):
    """Two convolutions with a short cut, activations before them."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.downsample = None if channels == out else nn.Conv2d(channels, out, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, out, h, w]``."""
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        return y + (x if self.downsample is None else self.downsample(x))
