"""MoGe, version 1 (Wang et al. 2025) and version 2: affine point maps from one picture.

Both are a DINOv2 encoder and convolutional heads; the second shares a neck between its heads and adds normals and
metric scale. Keys are those of ``model`` in the published ``model.pt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.dinov2 import DINOV2_SIZES, DinoV2

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def view_plane(height: int, width: int, aspect: float, like: Tensor) -> Tensor:
    """Pixel-centre coordinates relative to half the image diagonal: ``[H, W, 2]``."""
    span = torch.tensor([aspect, 1.0]) / (1 + aspect**2) ** 0.5
    edges = [span[0] * (width - 1) / width, span[1] * (height - 1) / height]
    u = torch.linspace(-edges[0], edges[0], width, dtype=like.dtype, device=like.device)
    v = torch.linspace(-edges[1], edges[1], height, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def _with_view_plane(x: Tensor, aspect: float) -> Tensor:
    plane = view_plane(x.shape[-2], x.shape[-1], aspect, x).permute(2, 0, 1)
    return torch.cat([x, plane.expand(len(x), -1, -1, -1)], dim=1)


def _conv3(a: int, b: int) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate")


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "instance_norm":
        return nn.InstanceNorm2d(channels)
    return nn.GroupNorm(channels // 32 if kind == "group_norm" else 1, channels)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, hidden: int, in_norm: str = "layer_norm", hidden_norm: str = "group_norm"):
        super().__init__()
        self.layers = nn.Sequential(
            _norm(in_norm, channels),
            nn.ReLU(),
            _conv3(channels, hidden),
            _norm(hidden_norm, hidden),
            nn.ReLU(),
            _conv3(hidden, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, C, h, w]``."""
        return x + self.layers(x)


def _remap(points: Tensor, kind: str) -> Tensor:
    """The network's output ``[..., 3]`` to points."""
    if kind == "linear":
        return points
    if kind == "sinh":
        return torch.sinh(points)
    xy, z = points.split([2, 1], dim=-1)
    if kind == "exp":
        return torch.cat([xy * z.exp(), z.exp()], dim=-1)
    if kind == "sinh_exp":
        return torch.cat([torch.sinh(xy), z.exp()], dim=-1)
    raise ValueError(f"MoGe's remap_output {kind!r} is unknown; this version knows linear, sinh, exp and sinh_exp.")


@dataclass(frozen=True)
class MoGeConfig:
    """``model_config`` of a version 1 checkpoint (defaults: the published ViT-L)."""

    encoder: str = "dinov2_vitl14"
    remap_output: str = "exp"
    intermediate_layers: int | tuple[int, ...] = 4
    dim_proj: int = 512
    dim_upsample: tuple[int, ...] = (256, 128, 64)
    dim_times_res_block_hidden: int = 2
    num_res_blocks: int = 2
    num_tokens_range: tuple[int, int] = (1275, 5102)
    last_res_blocks: int = 0
    last_conv_channels: int = 32
    last_conv_size: int = 1
    res_block_norm: str = "group_norm"
    mask_threshold: float = 0.5


class MoGeHead(nn.Module):
    def __init__(self, c: MoGeConfig, features: int, channels: int):
        super().__init__()
        times, norm = c.dim_times_res_block_hidden, c.res_block_norm
        self.projects = nn.ModuleList(nn.Conv2d(channels, c.dim_proj, 1) for _ in range(features))
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(nn.ConvTranspose2d(a + 2, b, 2, stride=2), _conv3(b, b)),
                *(ResidualBlock(b, times * b, hidden_norm=norm) for _ in range(c.num_res_blocks)),
            )
            for a, b in zip((c.dim_proj, *c.dim_upsample), c.dim_upsample)
        )
        last, size = c.last_conv_channels, c.last_conv_size
        self.output_block = nn.ModuleList(
            nn.Sequential(
                _conv3(c.dim_upsample[-1] + 2, last),
                *(ResidualBlock(last, times * last, hidden_norm=norm) for _ in range(c.last_res_blocks)),
                nn.ReLU(),
                nn.Conv2d(last, n, size, padding=size // 2, padding_mode="replicate"),
            )
            for n in (3, 1)
        )

    def forward(self, features: list[tuple[Tensor, Tensor]], height: int, width: int) -> list[Tensor]:
        """Tokens of several blocks, each ``[N, h/14 * w/14, C]`` -> points ``[N, 3, h, w]``, mask ``[N, 1, h, w]``."""
        rows, columns, aspect = height // 14, width // 14, width / height
        x = torch.stack(
            [p(f.transpose(1, 2).unflatten(2, (rows, columns))) for p, (f, _) in zip(self.projects, features)]
        ).sum(0)
        for block in self.upsample_blocks:
            x = block(_with_view_plane(x, aspect))
        x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
        x = _with_view_plane(x, aspect)
        return [block(x) for block in self.output_block]


class MoGe(nn.Module):
    """Version 1: points up to scale and a shift along z, and a mask score (valid above ``mask_threshold``)."""

    metric = False
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: MoGeConfig):
        super().__init__()
        self.config = config
        layers = config.intermediate_layers
        self.layers = layers if isinstance(layers, int) else list(layers)
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1))
        self.backbone = DinoV2(DINOV2_SIZES[config.encoder])
        count = layers if isinstance(layers, int) else len(layers)
        self.head = MoGeHead(config, count, self.backbone.config.channels)

    def forward(self, images: Tensor, num_tokens: int) -> dict[str, Tensor]:
        """Images ``[N, 3, H, W]`` in [0, 1] -> ``points`` ``[N, H, W, 3]`` and ``mask`` ``[N, H, W]``."""
        height, width = images.shape[-2:]
        scale = (num_tokens * 14**2 / (height * width)) ** 0.5
        h, w = int(height * scale), int(width * scale)
        x = F.interpolate(images, (h, w), mode="bicubic", align_corners=False, antialias=True)
        x = (x - self.image_mean) / self.image_std
        x = F.interpolate(x, (h // 14 * 14, w // 14 * 14), mode="bilinear", align_corners=False, antialias=True)
        points, mask = self.head(self.backbone(x, self.layers), h, w)
        points, mask = (
            F.interpolate(v.float(), (height, width), mode="bilinear", align_corners=False) for v in (points, mask)
        )
        return {"points": _remap(points.permute(0, 2, 3, 1), self.config.remap_output), "mask": mask[:, 0]}


class Resampler(nn.Sequential):
    """Doubling the size between the levels of a :class:`ConvStack`."""

    def __init__(self, a: int, b: int, kind: str):
        if kind == "pixel_shuffle":
            super().__init__(_conv3(a, 4 * b), nn.PixelShuffle(2), _conv3(b, b))
        elif kind == "conv_transpose":
            super().__init__(nn.ConvTranspose2d(a, b, 2, stride=2), _conv3(b, b))
        else:
            corners = False if kind == "bilinear" else None
            super().__init__(nn.Upsample(scale_factor=2, mode=kind, align_corners=corners), _conv3(a, b))


def _per_level(value: Any, levels: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * levels


class ConvStack(nn.Module):
    """A pyramid that doubles in size from level to level, taking features in and giving features out at each."""

    def __init__(
        self,
        dim_in: Sequence[int | None],
        dim_res_blocks: Sequence[int],
        dim_out: Sequence[int | None] | int | None,
        resamplers: str | Sequence[str],
        dim_times_res_block_hidden: int = 1,
        num_res_blocks: int | Sequence[int] = 1,
        res_block_in_norm: str = "layer_norm",
        res_block_hidden_norm: str = "group_norm",
        activation: str = "relu",
    ):
        super().__init__()
        if activation != "relu":
            raise ValueError(f"MoGe's activation {activation!r} is unknown; this version knows relu.")
        dims, levels = list(dim_res_blocks), len(dim_res_blocks)
        self.input_blocks = nn.ModuleList(
            nn.Identity() if a is None else nn.Conv2d(a, b, 1) for a, b in zip(_per_level(dim_in, levels), dims)
        )
        self.resamplers = nn.ModuleList(
            Resampler(a, b, kind) for a, b, kind in zip(dims, dims[1:], _per_level(resamplers, levels - 1))
        )
        self.res_blocks = nn.ModuleList(
            nn.Sequential(
                *(
                    ResidualBlock(d, dim_times_res_block_hidden * d, res_block_in_norm, res_block_hidden_norm)
                    for _ in range(n)
                )
            )
            for d, n in zip(dims, _per_level(num_res_blocks, levels))
        )
        self.output_blocks = nn.ModuleList(
            nn.Identity() if b is None else nn.Conv2d(a, b, 1) for a, b in zip(dims, _per_level(dim_out, levels))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps ``[N, C, h, w]`` of each level, coarsest first -> maps ``[N, C', h, w]`` of each."""
        out, x = [], None
        for i, (take, refine, give) in enumerate(zip(self.input_blocks, self.res_blocks, self.output_blocks)):
            taken = take(features[i])
            x = refine(taken if x is None else self.resamplers[i - 1](x) + taken)
            out.append(give(x))
        return out


class MoGe2Encoder(nn.Module):
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, backbone: str, intermediate_layers: int | list[int], dim_out: int, **_: Any):
        super().__init__()
        self.layers = intermediate_layers
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1))
        self.backbone = DinoV2(DINOV2_SIZES[backbone])
        count = intermediate_layers if isinstance(intermediate_layers, int) else len(intermediate_layers)
        self.output_projections = nn.ModuleList(
            nn.Conv2d(self.backbone.config.channels, dim_out, 1) for _ in range(count)
        )

    def forward(self, images: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Images ``[N, 3, H, W]`` in [0, 1] -> features ``[N, C, rows, columns]`` and class token ``[N, C']``."""
        x = F.interpolate(images, (rows * 14, columns * 14), mode="bilinear", align_corners=False, antialias=True)
        features = self.backbone((x - self.image_mean) / self.image_std, self.layers)
        maps = [
            p(f.transpose(1, 2).unflatten(2, (rows, columns))) for p, (f, _) in zip(self.output_projections, features)
        ]
        return torch.stack(maps).sum(0), features[-1][1]


@dataclass(frozen=True)
class MoGe2Config:
    """``model_config`` of a version 2 checkpoint: the arguments of its parts, as stored there."""

    encoder: dict[str, Any]
    neck: dict[str, Any]
    points_head: dict[str, Any]
    mask_head: dict[str, Any]
    normal_head: dict[str, Any] | None = None
    scale_head: dict[str, Any] | None = None
    remap_output: str = "linear"
    num_tokens_range: tuple[int, int] = (1200, 3600)
    mask_threshold: float = 0.5


class MoGe2(nn.Module):
    """Version 2: as version 1, with a metric scale and, where the checkpoint has them, normals."""

    metric = True

    def __init__(self, config: MoGe2Config):
        super().__init__()
        self.config = c = config
        self.encoder = MoGe2Encoder(**c.encoder)
        self.neck = ConvStack(**c.neck)
        for name in ("points_head", "mask_head", "normal_head"):
            if getattr(c, name) is not None:
                self.add_module(name, ConvStack(**getattr(c, name)))
        if c.scale_head is not None:
            dims = c.scale_head["dims"]
            layers: list[nn.Module] = []
            for a, b in zip(dims, dims[1:]):
                layers += [nn.Linear(a, b), nn.ReLU()]
            self.scale_head = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor, num_tokens: int) -> dict[str, Tensor]:
        """As :meth:`MoGe.forward`, with ``scale`` ``[N]`` and ``normal`` ``[N, H, W, 3]`` where there are heads."""
        height, width = images.shape[-2:]
        aspect = width / height
        rows, columns = round((num_tokens / aspect) ** 0.5), round((num_tokens * aspect) ** 0.5)
        features, class_token = self.encoder(images, rows, columns)
        levels = [_with_view_plane(features, aspect)]
        for i in range(1, 5):
            plane = view_plane(rows * 2**i, columns * 2**i, aspect, features).permute(2, 0, 1)
            levels.append(plane.expand(len(images), -1, -1, -1))
        levels = self.neck(levels)

        def head(name: str) -> Tensor:
            x = getattr(self, name)(levels)[-1].float()
            return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)

        out = {
            "points": _remap(head("points_head").permute(0, 2, 3, 1), self.config.remap_output),
            "mask": torch.sigmoid(head("mask_head")[:, 0]),
        }
        if hasattr(self, "normal_head"):
            out["normal"] = F.normalize(head("normal_head").permute(0, 2, 3, 1), dim=-1)
        if hasattr(self, "scale_head"):
            out["scale"] = self.scale_head(class_token)[:, 0].exp()
        return out
