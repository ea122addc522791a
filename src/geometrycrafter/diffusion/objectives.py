"""What a denoiser is trained on: eq. 8's weighted error, and the deterministic variant's plain one."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.diffusion.edm import Denoiser, c_out, denoise_once

LOG_SIGMA = (0.7, 1.6)
"""Mean and standard deviation of a noise level's logarithm (section 3.2)."""


def draw_sigmas(
    batch: int, generator: torch.Generator | None = None, log_sigma: tuple[float, float] = LOG_SIGMA
) -> Tensor:
    """Noise levels of a batch, log sigma ~ N(0.7, 1.6^2) unless told otherwise: ``[B]``."""
    mean, std = log_sigma
    return torch.exp(mean + std * torch.randn(batch, generator=generator))


def edm_objective(
    network: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    noise: Tensor,
    sigma: Tensor,
    start: Tensor | None = None,
    prior: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Denoising loss of the generative variant, weighted by (1 + s^2) / s^2 (eq. 8), which is 1 / c_out^2.

    Args:
        network: F: scaled noisy latents ``[B, T, 4, h, w]`` and timesteps ``[B]`` to the raw output; holds its own
            conditions.
        clean: scaled latents of the truth, ``[B, T, 4, h, w]``.
        noise: unit normal, like ``clean``.
        sigma: ``[B]``.
        start: latents that noise is put on, like ``clean``; None: ``clean``.
        prior: like ``clean``, where the network's output is a correction of it.

    Returns:
        the loss, and the denoised latents, for a loss on what they decode to.
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    denoise = Denoiser(lambda x, timestep: network(x, timestep.flatten()), prior)
    denoised = denoise((clean if start is None else start) + s * noise, s)
    return ((denoised - clean) ** 2 / c_out(s) ** 2).mean(), denoised


def deterministic_objective(
    network: Callable[[float], Tensor], clean: Tensor, prior: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Squared error of the deterministic variant.

    Args:
        network: F: timestep to raw output ``[B, T, 4, h, w]``; holds its conditions.
        clean: scaled latents of the truth, ``[B, T, 4, h, w]``.
        prior: like ``clean``, where the network's output is a correction of it.

    Returns:
        the loss, and the latents.
    """
    latents = denoise_once(network, prior)
    return F.mse_loss(latents, clean), latents
