"""Clips of the procedural world into shards, on all cores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.renderer import render_clip
from geometrycrafter.data.shards import ShardWriter


def rendered(seed: int, frames: int, height: int, width: int) -> Clip:
    """The clip of a seed."""
    made = render_clip(seed, frames, height, width)
    k = made.intrinsics.numpy().copy()
    k[:2, 2] -= 0.5  # the renderer's pixel centres are half integers
    return Clip(
        frames=(made.frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy(),
        depth=made.depth.numpy(),
        intrinsics=np.broadcast_to(k, (frames, 3, 3)).copy(),
        sky=~made.mask.numpy(),
        dynamic=made.dynamic.numpy(),
        poses=made.poses.numpy(),
        fps=12.0,
        source=f"rendered {seed}",
        licence="Apache-2.0",
    )


def _job(job: tuple[int, int, int, int]) -> Clip:
    torch.set_num_threads(1)
    return rendered(*job)


def synthesize(
    folder: Path,
    clips: int,
    frames: int,
    size: tuple[int, int],
    first_seed: int,
    processes: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render clips of consecutive seeds into shards; those that are there already are kept.

    Args:
        folder: of the shards.
        clips: how many.
        frames: of each.
        size: height and width.
        first_seed: of the first clip; training and validation take seeds far apart.
        processes: that render.
        progress: called with clips done and clips in all.
    """
    with ShardWriter(folder, "rendered") as writer:
        seeds = [s for s in range(first_seed, first_seed + clips) if f"{s:010d}" not in writer.keys]
        jobs = [(seed, frames, *size) for seed in seeds]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for done, clip in enumerate(pool.imap(_job, jobs), clips - len(seeds) + 1):
                if clip.mask.any():
                    writer.add(f"{int(clip.source.split()[1]):010d}", clip)
                if progress is not None:
                    progress(done, clips)
