"""EDM preconditioning (paper, eq. 8) and the Euler sampler of the published system."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0
DETERMINISTIC_TIMESTEP = 1.6378
"""The deterministic variant's one timestep, 0.25 log sigma."""


def karras_sigmas(steps: int) -> Tensor:
    """Noise levels from 700 down to 0.002, then zero: ``[steps + 1]`` (Karras et al. 2022, eq. 5)."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return torch.cat([(high + ramp * (low - high)) ** RHO, ramp.new_zeros(1)]).float()


def timestep_of(sigma: Tensor) -> Tensor:
    """``c_noise`` = 0.25 log sigma."""
    return 0.25 * torch.log(sigma)


class Denoiser:
    """Preconditioned denoiser: clean latents from noisy ones (eq. 8).

    ``D(x; s) = c_skip(s) x + c_out(s) F(c_in(s) x; c_noise(s))`` with ``c_skip = 1/(s^2+1)``,
    ``c_out = -s/sqrt(s^2+1)``, ``c_in = 1/sqrt(s^2+1)``, ``c_noise = 0.25 log s``.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor]):
        self.network = network

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        norm = (sigma**2 + 1) ** 0.5
        return x / norm**2 - sigma / norm * self.network(x / norm, timestep_of(sigma))


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    sigmas: Tensor,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Euler's method down the noise levels.

    Args:
        denoise: clean latents from ``(noisy latents, sigma)``.
        latents: noisy at ``sigmas[0]``.
        sigmas: falling noise levels, the last zero.
        callback: called after each step with its index and the latents.
    """
    for i, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        direction = (latents - denoise(latents, sigma)) / sigma
        latents = latents + direction * (following - sigma)
        if callback:
            callback(i, latents)
    return latents


def initial_noise_scale(sigmas: Tensor) -> Tensor:
    """What unit noise is multiplied by to start: sqrt(sigma_max^2 + 1), as published."""
    return (sigmas.max() ** 2 + 1) ** 0.5
