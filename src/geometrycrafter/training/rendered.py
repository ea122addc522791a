"""Rendered clips kept on disk as plain arrays, so that several epochs cost one rendering."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.data.renderer import render_clip

CLIPS_PER_FILE = 32


def _render_file(job: tuple[str, int, int, int, int]) -> str:
    path, first_seed, frames, height, width = job
    torch.set_num_threads(1)
    clips = [render_clip(first_seed + i, frames, height, width) for i in range(CLIPS_PER_FILE)]
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        np.savez(
            file,
            frames=(torch.stack([c.frames for c in clips]) * 255).round().byte().numpy(),
            depth=torch.stack([c.depth for c in clips]).half().numpy(),  # zero in the sky
            dynamic=torch.stack([c.dynamic for c in clips]).numpy(),
            intrinsics=torch.stack([c.intrinsics for c in clips]).numpy(),
            poses=torch.stack([c.poses for c in clips]).numpy(),
        )
    os.replace(temporary, path)
    return path


def render_files(folder: Path, files: int, frames: int, size: tuple[int, int], first_seed: int, processes: int) -> None:
    """Render ``files`` files of clips into ``folder``; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (str(folder / f"{i:05d}.npz"), first_seed + i * CLIPS_PER_FILE, frames, *size)
        for i in range(files)
        if not (folder / f"{i:05d}.npz").exists()
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, path in enumerate(pool.imap_unordered(_render_file, jobs), 1):
            print(f"rendered {done}/{len(jobs)} {Path(path).name}", flush=True)


class RenderedClips:
    """All files of a folder in memory; draws random batches."""

    def __init__(self, folder: Path, limit: int | None = None):
        parts = [np.load(path) for path in sorted(folder.glob("*.npz"))[:limit]]
        if not parts:
            raise ValueError(f"{folder} holds no rendered clips: run the render stage first.")
        self.frames = torch.from_numpy(np.concatenate([p["frames"] for p in parts]))  # [N, T, 3, H, W] uint8
        self.depth = torch.from_numpy(np.concatenate([p["depth"] for p in parts]))  # [N, T, H, W] half
        self.intrinsics = torch.from_numpy(np.concatenate([p["intrinsics"] for p in parts]))  # [N, 3, 3]

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, generator: torch.Generator, size: int, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Random clips, each flipped left to right half of the time.

        Returns:
            frames ``[B, T, 3, H, W]`` in [0, 1], depth ``[B, T, H, W]``, mask ``[B, T, H, W]``, theta_diag ``[B]``.
        """
        clip = torch.randint(len(self), (size,), generator=generator)
        start = torch.randint(self.frames.shape[1] - frames + 1, (size,), generator=generator)
        time = start[:, None] + torch.arange(frames)
        images = self.frames[clip[:, None], time].float() / 255
        depth = self.depth[clip[:, None], time].float()
        flip = torch.rand(size, generator=generator) < 0.5
        images = torch.where(flip.view(-1, 1, 1, 1, 1), images.flip(-1), images)
        depth = torch.where(flip.view(-1, 1, 1, 1), depth.flip(-1), depth)
        height, width = depth.shape[-2:]
        theta_diag = (height**2 + width**2) ** 0.5 / 2 / self.intrinsics[clip, 0, 0]
        return images, depth, depth > 0, theta_diag
