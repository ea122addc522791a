"""MoGe, version 2 (Wang et al. 2025): metric point maps and normals from one picture.

A DINOv2 encoder, a neck that its convolutional heads share, and a scale from the class token. Keys are those of
``model`` in the published ``model.pt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.dinov2 import DINOV2_SIZES, DinoV2
from geometrycrafter.networks.moge_blocks import (
    IMAGE_MEAN,
    IMAGE_STD,
    ResidualBlock,
    conv3,
    remap,
    view_plane,
    with_view_plane,
)


class Resampler(nn.Sequential):
    """Doubling the size between the levels of a :class:`ConvStack`."""

    def __init__(self, a: int, b: int, kind: str):
        if kind == "pixel_shuffle":
            super().__init__(conv3(a, 4 * b), nn.PixelShuffle(2), conv3(b, b))
        elif kind == "conv_transpose":
            super().__init__(nn.ConvTranspose2d(a, b, 2, stride=2), conv3(b, b))
        else:
            corners = False if kind == "bilinear" else None
            super().__init__(nn.Upsample(scale_factor=2, mode=kind, align_corners=corners), conv3(a, b))


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
        """As version 1, with ``scale`` ``[N]`` and ``normal`` ``[N, H, W, 3]`` where there are heads."""
        height, width = images.shape[-2:]
        aspect = width / height
        rows, columns = round((num_tokens / aspect) ** 0.5), round((num_tokens * aspect) ** 0.5)
        features, class_token = self.encoder(images, rows, columns)
        levels = [with_view_plane(features, aspect)]
        for i in range(1, 5):
            plane = view_plane(rows * 2**i, columns * 2**i, aspect, features).permute(2, 0, 1)
            levels.append(plane.expand(len(images), -1, -1, -1))
        levels = self.neck(levels)

        def head(name: str) -> Tensor:
            x = getattr(self, name)(levels)[-1].float()
            return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)

        out = {
            "points": remap(head("points_head").permute(0, 2, 3, 1), self.config.remap_output),
            "mask": torch.sigmoid(head("mask_head")[:, 0]),
        }
        if hasattr(self, "normal_head"):
            out["normal"] = F.normalize(head("normal_head").permute(0, 2, 3, 1), dim=-1)
        if hasattr(self, "scale_head"):
            out["scale"] = self.scale_head(class_token)[:, 0].exp()
        return out
