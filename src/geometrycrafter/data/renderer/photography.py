"""What a camera makes of light."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws


def photograph(image: Tensor, rng: Draws) -> Tensor:
    """Exposure, tone, vignette, blur and sensor noise, the same for all frames but for the noise.

    Args:
        image: ``[T, 3, H, W]``, linear, at least zero.
        rng: draws them.

    Returns:
        ``[T, 3, H, W]`` in [0, 1], display-referred.
    """
    level = image.mean().clamp_min(1e-3)
    image = image * (rng.uniform(0.25, 0.6) / level) ** rng.uniform(0.5, 1)
    image = image.clamp_min(0) ** (1 / rng.uniform(0.9, 1.6))
    height, width = image.shape[-2:]
    if rng.chance(0.4):
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        image = image * (1 - rng.uniform(0, 0.3) * (x**2 + y**2) / 2)
    if rng.chance(0.5):
        sigma = rng.uniform(0.3, 1.0)
        taps = torch.exp(-(torch.arange(-2, 3) ** 2) / (2 * sigma**2))
        taps = (taps / taps.sum()).repeat(3, 1)
        image = F.conv2d(F.pad(image, (2, 2, 0, 0), mode="replicate"), taps[:, None, None], groups=3)
        image = F.conv2d(F.pad(image, (0, 0, 2, 2), mode="replicate"), taps[:, None, :, None], groups=3)
    noise = rng.uniform(0, 0.04) if rng.chance(0.6) else 0.0
    return (image + noise * torch.randn(image.shape, generator=rng.generator)).clamp(0, 1)
