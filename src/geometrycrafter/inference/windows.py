"""Windows over a long video: which frames, what noise, and how neighbours are joined (supplementary, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from geometrycrafter.diffusion.edm import Denoiser, denoise_once, initial_noise_scale, karras_sigmas, sample


@dataclass(frozen=True)
class Window:
    """Frames ``start`` to ``end`` of the clip; the first ``overlap`` were in the window before."""

    start: int
    end: int
    overlap: int

    @property
    def frames(self) -> int:
        return self.end - self.start


def plan(num_frames: int, window: int, overlap: int, exact: bool) -> list[Window]:
    """Windows that cover a clip.

    With ``exact``, the last window is as short as it comes, as published; else it is moved back to full length, so
    that no frame is denoised in a context shorter than it need be.
    """
    if num_frames <= window:
        return [Window(0, num_frames, 0)]
    windows = []
    for start in range(0, num_frames - overlap, window - overlap):
        windows.append(Window(start, min(start + window, num_frames), overlap if start else 0))
    last = windows[-1]
    if not exact and last.frames < window:
        start = num_frames - window
        windows[-1] = Window(start, num_frames, windows[-2].end - start)
    return windows


def window_noise(noise: Tensor, windows: list[Window], overlap: int) -> Iterator[Tensor]:
    """Unit noise of each window: the buffer turns, so that shared frames keep theirs as published.

    Args:
        noise: ``[1, window, 4, h, w]``.
        windows: from :func:`plan`.
        overlap: of the plan; a clip shorter than that has one window, whose noise never turns.
    """
    overlap = min(overlap, noise.shape[1])
    stride = noise.shape[1] - overlap
    for window in windows:
        yield noise[:, : window.frames]
        noise = torch.cat([noise[:, noise.shape[1] - overlap :], noise[:, :stride]], dim=1)


def join(before: Tensor, window: Tensor, overlap: int) -> Tensor:
    """Latents so far ``[1, S, 4, h, w]`` and a window's, cross-faded over the frames that they share."""
    if overlap == 0:
        return torch.cat([before, window], dim=1)
    weights = torch.linspace(0, 1, overlap, dtype=window.dtype, device=window.device).view(1, -1, 1, 1, 1)
    shared = window[:, :overlap] * weights + before[:, -overlap:] * (1 - weights)
    return torch.cat([before[:, :-overlap], shared, window[:, overlap:]], dim=1)


WindowDenoiser = Callable[[Window, Tensor, Tensor | None], Tensor]
"""What makes one window's latents: its place in the clip, its unit noise ``[1, T, 4, h, w]``, and the joined latents
``[1, overlap, 4, h, w]`` of the frames that it shares with the window before, None for the first -> latents
``[1, T, 4, h, w]``."""


class WindowStore(Protocol):
    """Where windows' latents are kept, so that a run that was cut short goes on after the last one."""

    def load(self, index: int) -> Tensor | None:
        """Latents ``[1, T, 4, h, w]`` of a window, or None where it has not been denoised."""

    def save(self, index: int, latents: Tensor) -> None:
        """Keep a window's latents ``[1, T, 4, h, w]``."""


def denoise_windows(
    denoise: WindowDenoiser,
    windows: list[Window],
    noise: Tensor,
    overlap: int,
    store: WindowStore | None = None,
) -> Iterator[tuple[Window, Tensor]]:
    """Latents of a clip, window by window, each joined to the one before.

    Yields each window and its latents ``[1, T, 4, h, w]``. Frames that two windows share are cross-faded in the later
    one's, which overrules the earlier one's there: see :func:`join_windows`.

    Args:
        denoise: makes one window's latents.
        windows: from :func:`plan`.
        noise: ``[1, window, 4, h, w]`` unit normal, as long as the longest window.
        overlap: of the plan; the noise of later windows turns by the rest.
        store: where finished windows are looked up and kept.
    """
    before: Tensor | None = None
    for index, (window, unit) in enumerate(zip(windows, window_noise(noise, windows, overlap), strict=True)):
        latents = None if store is None else store.load(index)
        if latents is None:
            shared = before[:, before.shape[1] - window.overlap :] if before is not None and window.overlap else None
            latents = denoise(window, unit, shared)
            if shared is not None:
                latents = join(shared, latents, window.overlap)
            if store is not None:
                store.save(index, latents)
        before = latents
        yield window, latents


def join_windows(parts: Iterator[tuple[Window, Tensor]]) -> Tensor:
    """Latents ``[1, T, 4, h, w]`` of a whole clip, from what :func:`denoise_windows` yields."""
    joined: Tensor | None = None
    for window, latents in parts:
        joined = latents if joined is None else torch.cat([joined[:, : window.start], latents], dim=1)
    if joined is None:
        raise ValueError("a clip has at least one window")
    return joined


UNetCall = Callable[[Tensor, Tensor | float, Tensor], Tensor]
"""(input latents [1, T, C, h, w], timestep, embeddings [1, T, D]) -> output [1, T, 4, h, w]."""


def denoise_generative(
    unet: UNetCall,
    noise: Tensor,
    video: Tensor,
    prior: Tensor,
    embeddings: Tensor,
    before: Tensor | None,
    steps: int,
    guidance: float,
    callback: Callable[[int, Tensor], None] | None = None,
    prior_residual: bool = False,
) -> Tensor:
    """Latents of one window by the EDM sampler, scaled: ``[1, T, 4, h, w]``.

    Args:
        unet: the network.
        noise: unit normal, ``[1, T, 4, h, w]``.
        video: frame latents, not scaled.
        prior: point-map latents of the prior, scaled.
        embeddings: image embeddings, ``[1, T, D]``.
        before: scaled latents of the frames shared with the window before, the first of this one; noise is put on
            them for the first step, so that the window continues the last.
        steps: of the sampler.
        guidance: classifier-free, against a call whose conditions are zero.
        callback: sees step and latents.
        prior_residual: the network's output is a correction of ``prior``.
    """
    sigmas = karras_sigmas(steps).to(noise.device)
    latents = noise * initial_noise_scale(sigmas)
    if before is not None and before.shape[1]:
        shared = before.shape[1]
        latents = torch.cat([before + noise[:, :shared] * sigmas[0], latents[:, shared:]], dim=1)

    def denoiser(video: Tensor, prior: Tensor, embeddings: Tensor) -> Denoiser:
        def network(x: Tensor, timestep: Tensor) -> Tensor:
            return unet(torch.cat([x, video, prior], dim=2), timestep, embeddings).to(x.dtype)

        return Denoiser(network, prior if prior_residual else None)

    seen = denoiser(video, prior, embeddings)
    if guidance <= 1:
        return sample(seen, latents, sigmas, callback)
    blank = denoiser(*map(torch.zeros_like, (video, prior, embeddings)))

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        alone = blank(x, sigma)
        return alone + guidance * (seen(x, sigma) - alone)

    return sample(guided, latents, sigmas, callback)


def denoise_deterministic(
    unet: UNetCall, video: Tensor, prior: Tensor, embeddings: Tensor, prior_residual: bool = False
) -> Tensor:
    """Latents of one window in a single pass, scaled: ``[1, T, 4, h, w]``.

    Args:
        unet: the network.
        video: frame latents, not scaled, ``[1, T, 4, h, w]``.
        prior: point-map latents of the prior, scaled.
        embeddings: image embeddings, ``[1, T, D]``.
        prior_residual: the network's output is a correction of ``prior``.
    """
    inputs = torch.cat([prior, video], dim=2)
    return denoise_once(lambda t: unet(inputs, t, embeddings).to(prior.dtype), prior if prior_residual else None)
