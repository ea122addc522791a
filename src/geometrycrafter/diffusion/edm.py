"""EDM preconditioning (paper, eq. 8; Karras et al. 2022, table 1, with ``sigma_data`` 1) and the Euler sampler.

The denoiser is ``D(x; s) = c_skip(s) x + c_out(s) F(c_in(s) x; c_noise(s))``, F being the network. A network that
corrects the prior (no published one does) has ``(1 - c_skip(s)) prior`` added: where the noise hides all else, what it
denoises to is the prior.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0
DETERMINISTIC_TIMESTEP = 1.6378
"""The deterministic variant's one timestep, ``c_noise`` of 700."""


def c_skip(sigma: Tensor) -> Tensor:
    """Share of the noisy latents in the denoised ones, ``1 / (s^2 + 1)``; any shape, ``[...]``."""
    return 1 / (sigma**2 + 1)


def c_out(sigma: Tensor) -> Tensor:
    """Factor of the network's output, ``-s / sqrt(s^2 + 1)``: the network speaks of velocity; any shape, ``[...]``."""
    return -sigma / (sigma**2 + 1) ** 0.5


def c_in(sigma: Tensor) -> Tensor:
    """Factor of the noisy latents that the network sees, ``1 / sqrt(s^2 + 1)``; any shape, ``[...]``."""
    return 1 / (sigma**2 + 1) ** 0.5


def c_noise(sigma: Tensor) -> Tensor:
    """What the network is told of the noise level, ``0.25 log s``; any shape, ``[...]``."""
    return 0.25 * torch.log(sigma)


class Denoiser:
    """Preconditioned denoiser: clean latents from noisy ones (eq. 8).

    Args:
        network: F: scaled noisy latents and ``c_noise`` to raw output; holds its own conditions.
        prior: scaled latents, where the network's output is a correction of them.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], prior: Tensor | None = None):
        self.network, self.prior = network, prior

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise.

        Args:
            x: noisy latents, ``[B, T, 4, h, w]``.
            sigma: noise level, a scalar or ``[B, 1, 1, 1, 1]``.
        """
        denoised = c_skip(sigma) * x + c_out(sigma) * self.network(c_in(sigma) * x, c_noise(sigma))
        # c_out^2 is 1 - c_skip, without the difference that small noise levels would lose their digits in.
        return denoised if self.prior is None else denoised + c_out(sigma) ** 2 * self.prior


def denoise_once(network: Callable[[float], Tensor], prior: Tensor | None = None) -> Tensor:
    """Latents of the deterministic variant, in one pass at its one timestep: ``[B, T, 4, h, w]``.

    That is the denoiser in the limit of pure noise, where ``c_skip`` is 0 and ``c_out`` -1, with the noisy input left
    away.

    Args:
        network: F: timestep to raw output; holds its conditions.
        prior: scaled latents, where the network's output is a correction of them.
    """
    output = network(DETERMINISTIC_TIMESTEP)
    return -output if prior is None else prior - output


def karras_sigmas(steps: int) -> Tensor:
    """Noise levels from 700 down to 0.002, then zero: ``[steps + 1]`` (Karras et al. 2022, eq. 5)."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return torch.cat([(high + ramp * (low - high)) ** RHO, ramp.new_zeros(1)]).float()


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    sigmas: Tensor,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Euler's method down the noise levels (Karras et al. 2022, algorithm 1 without its second order).

    Args:
        denoise: clean latents from ``(noisy latents, sigma)``.
        latents: ``[B, T, 4, h, w]``, noisy at ``sigmas[0]``.
        sigmas: ``[steps + 1]``, falling noise levels, the last zero.
        callback: called after each step with its index and the latents.

    Returns:
        clean latents, ``[B, T, 4, h, w]``.
    """
    for i, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        direction = (latents - denoise(latents, sigma)) / sigma
        latents = latents + direction * (following - sigma)
        if callback:
            callback(i, latents)
    return latents


def initial_noise_scale(sigmas: Tensor) -> Tensor:
    """What unit noise is multiplied by to start, a scalar: sqrt(sigma_max^2 + 1) of ``[steps + 1]``, as published."""
    return (sigmas.max() ** 2 + 1) ** 0.5
