"""DepthCrafter (Hu et al. 2024): disparity of videos by the same UNet without a point-map prior.

A baseline of the paper, and what its training starts from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.clip import Clip
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.inference.loading import checked_device
from geometrycrafter.inference.windows import Window, denoise_generative, denoise_windows, join_windows, plan
from geometrycrafter.networks.autoencoder import VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoder
from geometrycrafter.networks.unet import VideoUNet, published_time_ids
from geometrycrafter.weights.parts import hub_identity, load_part

NOISE = 0.02
"""Noise that is put on the frames before they are encoded."""
DEPTHCRAFTER = ("unet_depthcrafter", "autoencoder", "image_encoder")
"""Its parts of a hub."""


class DepthCrafter:
    """Disparity of a clip, up to a scale and a shift.

    Args:
        unet: with noisy latents, then the video's, on its eight input channels.
        autoencoder: SVD's.
        image_encoder: SVD's.
    """

    def __init__(self, unet: VideoUNet, autoencoder: VideoAutoencoder, image_encoder: ImageEncoder):
        self.unet, self.autoencoder, self.image_encoder = unet, autoencoder, image_encoder

    @torch.no_grad()
    def latents(
        self,
        frames: Tensor,
        noise: Tensor,
        video_noise: Tensor,
        window: int = 110,
        overlap: int = 25,
        steps: int = 5,
        guidance: float = 1.0,
    ) -> Tensor:
        """Scaled latents ``[1, T, 4, h, w]``.

        Args:
            frames: ``[T, 3, H, W]`` in [0, 1], sides multiples of 64.
            noise: ``[1, window, 4, h, w]`` unit normal.
            video_noise: ``[T, 3, H, W]`` unit normal, put on the frames times 0.02.
            window: frames at a time.
            overlap: frames that windows share.
            steps: of the sampler.
            guidance: classifier-free; 1 is none.
        """
        pixels = frames * 2 - 1
        # The image encoder sees clean frames; the autoencoder sees noise on them.
        embeddings = torch.cat([self.image_encoder(f[None]) for f in frames])[None]
        encode = self.autoencoder.encode
        video = torch.cat([encode((p + NOISE * n)[None]) for p, n in zip(pixels, video_noise, strict=True)])[None]
        ids = published_time_ids(1, frames.device)
        count = len(frames)
        windows = plan(count, window, overlap, exact=True)

        def one(place: Window, unit: Tensor, shared: Tensor | None) -> Tensor:
            part = slice(place.start, place.end)
            return denoise_generative(
                lambda x, t, e: self.unet(x, t, e, ids),
                unit,
                video[:, part],
                video[:, part, :0],  # no prior
                embeddings[:, part],
                shared,
                steps,
                guidance,
            )

        return join_windows(denoise_windows(one, windows, noise[:, : min(window, count)], overlap))

    @torch.no_grad()
    def decode(self, latents: Tensor, chunk: int = 8) -> Tensor:
        """Disparity ``[T, H, W]`` in [0, 1] over the clip, from scaled latents."""
        z = latents[0] / self.autoencoder.config.scaling_factor
        pictures = [
            self.autoencoder.decode(part, num_frames=len(part))
            for part in (z[i : i + chunk] for i in range(0, len(z), chunk))
        ]
        disparity = torch.cat([(p / 2 + 0.5).clamp(0, 1).mean(dim=1) for p in pictures])
        low, high = disparity.min(), disparity.max()
        return (disparity - low) / (high - low).clamp_min(1e-12)

    def __call__(self, frames: Tensor, seed: int = 0) -> Tensor:
        """Disparity ``[T, H, W]`` of frames ``[T, 3, H, W]`` in [0, 1], sides multiples of 64."""
        count, _, height, width = frames.shape
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, min(110, count), 4, height // 8, width // 8, generator=generator).to(frames.device)
        video_noise = torch.randn(frames.shape, generator=generator).to(frames.device)
        return self.decode(self.latents(frames, noise, video_noise))


@dataclass(frozen=True)
class DepthCrafterMethod(Method):
    """DepthCrafter by this project's networks."""

    folder: str = ""
    """With ``DepthCrafter/`` (its UNet) and ``stable-video-diffusion-img2vid-xt/`` inside."""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings("folder") | {"weights": hub_identity(Path(self.folder), DEPTHCRAFTER)}

    def prepare(self, device: str) -> Predictor:
        network = load_depthcrafter(Path(self.folder), checked_device(device))

        def predict(clip: Clip, name: str, protocol: Protocol) -> Prediction:
            t, h, w = clip.depth.shape
            size = protocol.size or (max(64, round(h / 64) * 64), max(64, round(w / 64) * 64))
            frames = torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(0, 3, 1, 2)
            started = time.perf_counter()
            small = [F.interpolate(f[None].float() / 255, size, mode="bicubic", antialias=True) for f in frames]
            found = network(torch.cat(small).clamp(0, 1).to(device)).cpu()
            seconds = time.perf_counter() - started

            def read(index: int) -> np.ndarray:
                frame: np.ndarray = F.interpolate(found[index][None, None], (h, w), mode="bilinear")[0, 0].numpy()
                return frame

            return Prediction(disparity=FrameSequence((t, h, w), read), seconds=seconds)

        return predict


def load_depthcrafter(root: Path, device: torch.device) -> DepthCrafter:
    """From a folder with ``DepthCrafter/`` (its UNet) and ``stable-video-diffusion-img2vid-xt/`` inside.

    Raises:
        InputError: where a file is missing, or no such network.
    """
    parts = (load_part(p, root).to(device) for p in DEPTHCRAFTER)
    return DepthCrafter(*parts)
