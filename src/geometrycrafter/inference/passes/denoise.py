"""Third pass: windows of latents, each joined to the one before (supplementary, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.inference.run_folder import RunFolder
from geometrycrafter.inference.shot import Shot
from geometrycrafter.inference.windows import Window, denoise_deterministic, denoise_generative, denoise_windows
from geometrycrafter.networks.room import ran_out
from geometrycrafter.networks.unet import published_time_ids
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def denoise(run: RunFolder, networks: Networks, noise: Tensor | None, progress: Progress) -> None:
    """Latents of all windows of all shots.

    Args:
        run: whose frames are observed and conditioned.
        networks: of one variant.
        noise: ``[1, window, 4, h, w]`` unit normal at the processing size, for every shot; None: drawn from the seed.
        progress: called after each window.

    Raises:
        InputError: where the noise is shorter than the windows, or a file of an earlier pass is damaged.
        WriteError: where the disk refuses; windows that are done stay.
    """
    shots = run.read_shots()
    for shot in shots:
        for window in _denoised(shot, networks, noise):
            progress("denoise", shot.first + window.end, shots[-1].end)


def _denoised(shot: Shot, networks: Networks, noise: Tensor | None) -> Iterator[Window]:
    """Windows of a shot, each once its latents are there."""
    windows, record = shot.plan_windows(), shot.run.record
    options = record.options
    longest = max(w.frames for w in windows)
    noise = drawn_noise(record.view(shot.first).size, longest, options.seed) if noise is None else noise
    if noise.shape[1] < longest:
        raise InputError(f"noise covers {noise.shape[1]} frames and the windows have {longest}; give as many.")
    noise = noise[:, :longest].to(networks.device, torch.float32)
    residual = networks.unet.config.prior_residual

    def unet(latents: Tensor, timestep: Tensor | float, embeddings: Tensor) -> Tensor:
        ids = published_time_ids(len(latents), networks.device)
        dtype = networks.dtype
        try:
            out: Tensor = networks.unet(latents.to(dtype), timestep, embeddings.to(dtype), ids)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            height, width = (8 * side for side in latents.shape[-2:])
            raise InputError(
                f"--window {latents.shape[1]}: so many frames of {height}x{width} are too much for the memory of "
                f"{networks.device}; give a smaller --size or --window, --dtype float16, or --offload."
            ) from error
        return out.float()

    def one(window: Window, unit: Tensor, shared: Tensor | None) -> Tensor:
        seen = _conditions(shot, window, networks.device)
        if networks.variant == "deterministic":
            return denoise_deterministic(unet, *seen, residual)
        return denoise_generative(unet, unit, *seen, shared, options.steps, options.guidance, prior_residual=residual)

    for window, _ in denoise_windows(one, windows, noise, options.overlap, _StoredWindows(shot, networks.device)):
        yield window


def drawn_noise(size: tuple[int, int], frames: int, seed: int) -> Tensor:
    """Unit normal noise of a window, ``[1, frames, 4, H/8, W/8]``; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, frames, 4, size[0] // 8, size[1] // 8, generator=generator)


def _conditions(shot: Shot, window: Window, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Frame latents, prior latents and embeddings of a window, ``[1, T, ...]``."""
    video, embedding = shot.observed(window.start, window.end, "video", "embedding")
    (prior,) = shot.conditioned(window.start, window.end, "prior")
    return video[None].to(device), prior[None].to(device), embedding[None].to(device)


class _StoredWindows:
    """Latents of a shot's windows in the run's folder."""

    def __init__(self, shot: Shot, device: torch.device):
        self.series, self.device = shot.run.windows, device
        self.firsts = [shot.first + window.start for window in shot.plan_windows()]

    def load(self, index: int) -> Tensor | None:
        first = self.firsts[index]
        if first not in self.series:
            return None
        (latents,) = self.series.load(first, "latents")
        return latents[None].to(self.device)

    def save(self, index: int, latents: Tensor) -> None:
        self.series.save(self.firsts[index], latents=latents[0])
