"""Third pass: windows of latents, each joined to the one before (supplementary, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.inference.run_folder import RunFolder, Series
from geometrycrafter.inference.windows import Window, denoise_deterministic, denoise_generative, denoise_windows
from geometrycrafter.networks.unet import published_time_ids
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def denoise(run: RunFolder, networks: Networks, noise: Tensor | None, progress: Progress) -> None:
    """Latents of all windows.

    Args:
        run: whose frames are observed and conditioned.
        networks: of one variant.
        noise: ``[1, window, 4, h, w]`` unit normal at the processing size; None: drawn from the seed.
        progress: called after each window.

    Raises:
        InputError: where the noise is shorter than the windows, or a file of an earlier pass is damaged.
        WriteError: where the disk refuses; windows that are done stay.
    """
    windows, options = run.plan_windows(), run.record.options
    longest = max(w.frames for w in windows)
    noise = drawn_noise(run.record.size, longest, options.seed) if noise is None else noise
    if noise.shape[1] < longest:
        raise InputError(f"noise covers {noise.shape[1]} frames and the windows have {longest}; give as many.")
    noise = noise[:, :longest].to(networks.device, torch.float32)
    residual = networks.unet.config.prior_residual

    def unet(latents: Tensor, timestep: Tensor | float, embeddings: Tensor) -> Tensor:
        ids = published_time_ids(len(latents), networks.device)
        dtype = networks.dtype
        out: Tensor = networks.unet(latents.to(dtype), timestep, embeddings.to(dtype), ids)
        return out.float()

    def one(window: Window, unit: Tensor, shared: Tensor | None) -> Tensor:
        seen = _conditions(run, window, networks.device)
        if networks.variant == "deterministic":
            return denoise_deterministic(unet, *seen, residual)
        return denoise_generative(unet, unit, *seen, shared, options.steps, options.guidance, prior_residual=residual)

    stored = _StoredWindows(run.windows, networks.device)
    for window, _ in denoise_windows(one, windows, noise, options.overlap, stored):
        progress("denoise", window.end, windows[-1].end)


def drawn_noise(size: tuple[int, int], frames: int, seed: int) -> Tensor:
    """Unit normal noise of a window, ``[1, frames, 4, H/8, W/8]``; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, frames, 4, size[0] // 8, size[1] // 8, generator=generator)


def _conditions(run: RunFolder, window: Window, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Frame latents, prior latents and embeddings of a window, ``[1, T, ...]``."""
    video, embedding = run.observed.frames(window.start, window.end, run.batch, "video", "embedding")
    (prior,) = run.conditioned.frames(window.start, window.end, run.batch, "prior")
    return video[None].to(device), prior[None].to(device), embedding[None].to(device)


@dataclass(frozen=True)
class _StoredWindows:
    """Windows' latents in a run's folder."""

    series: Series
    device: torch.device

    def load(self, index: int) -> Tensor | None:
        if index not in self.series:
            return None
        (latents,) = self.series.load(index, "latents")
        return latents[None].to(self.device)

    def save(self, index: int, latents: Tensor) -> None:
        self.series.save(index, latents=latents[0])
