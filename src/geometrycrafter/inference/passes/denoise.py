"""Third pass: windows of latents, each joined to the one before (supplementary, section 2).

In the deterministic variant no window sees another, so that several hands make them at the same time, and only their
joining is one after the other. In the generative variant a window begins with the latents of the one before: a shot's
windows are one job, and shots are done beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.inference.crew import Crew, Equipment, Job
from geometrycrafter.inference.run_folder import RunFolder
from geometrycrafter.inference.shot import Shot
from geometrycrafter.inference.windows import (
    UNetCall,
    Window,
    denoise_deterministic,
    denoise_generative,
    denoise_windows,
)
from geometrycrafter.networks.room import ran_out
from geometrycrafter.networks.unet import published_time_ids
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def denoise(run: RunFolder, crew: Crew, deterministic: bool, noise: Tensor | None, progress: Progress) -> None:
    """Latents of all windows of all shots.

    Args:
        run: whose frames are observed and conditioned.
        crew: with networks of one variant.
        deterministic: which of the two.
        noise: ``[1, window, 4, h, w]`` unit normal at the processing size, for every shot; None: drawn from the seed.
        progress: called after each window.

    Raises:
        InputError: where the noise is shorter than the windows, or a file of an earlier pass is damaged.
        WriteError: where the disk refuses; windows that are done stay.
    """
    shots, done = run.read_shots(), 0
    apart = _windows_apart(run, shots) if deterministic and crew.hands > 1 else []
    for frames in crew.each(Job(_denoise_apart, (shot, window)) for shot, window in apart):
        done += frames
        progress("denoise", done, shots[-1].end)
    told = {(shot.first, window.start) for shot, window in apart}
    for first, start, frames in crew.each(Job(_denoise_shot, (shot, noise)) for shot in shots):
        if (first, start) not in told:
            done += frames
            progress("denoise", done, shots[-1].end)


def _windows_apart(run: RunFolder, shots: list[Shot]) -> list[tuple[Shot, Window]]:
    """Windows that have not been denoised, where a shot has several."""
    every = [(shot, window) for shot in shots if len(windows := shot.plan_windows()) > 1 for window in windows]
    there = (run.windows, run.apart)
    return [(s, w) for s, w in every if not any(s.first + w.start in series for series in there)]


def _denoise_apart(equipment: Equipment, shot: Shot, window: Window) -> Iterator[int]:
    """Keep the latents of one window of the deterministic variant, not joined; yields the frames that are its own."""
    equipment.at(shot.run, "denoise")
    networks = equipment.networks
    seen = _conditions(shot, window, networks.device)
    latents = denoise_deterministic(_unet_of(networks), *seen, networks.unet.config.prior_residual)
    shot.run.apart.save(shot.first + window.start, latents=latents[0])
    yield window.frames - window.overlap


def _denoise_shot(equipment: Equipment, shot: Shot, noise: Tensor | None) -> Iterator[tuple[int, int, int]]:
    """Windows of a shot, each once its latents are there: the shot's first frame, its own, and how many are its own."""
    equipment.at(shot.run, "denoise")
    networks = equipment.networks
    windows, record = shot.plan_windows(), shot.run.record
    options = record.options
    longest = max(w.frames for w in windows)
    noise = drawn_noise(record.view(shot.first).size, longest, options.seed) if noise is None else noise
    if noise.shape[1] < longest:
        raise InputError(f"noise covers {noise.shape[1]} frames and the windows have {longest}; give as many.")
    noise = noise[:, :longest].to(networks.device, torch.float32)
    residual, unet = networks.unet.config.prior_residual, _unet_of(networks)

    def one(window: Window, unit: Tensor, shared: Tensor | None) -> Tensor:
        first = shot.first + window.start
        if networks.variant == "deterministic" and first in shot.run.apart:
            return shot.run.apart.load(first, "latents")[0][None].to(networks.device)
        seen = _conditions(shot, window, networks.device)
        if networks.variant == "deterministic":
            return denoise_deterministic(unet, *seen, residual)
        return denoise_generative(unet, unit, *seen, shared, options.steps, options.guidance, prior_residual=residual)

    for window, _ in denoise_windows(one, windows, noise, options.overlap, _StoredWindows(shot, networks.device)):
        shot.run.apart.remove(shot.first + window.start)
        yield shot.first, window.start, window.frames - window.overlap


def _unet_of(networks: Networks) -> UNetCall:
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

    return unet


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
