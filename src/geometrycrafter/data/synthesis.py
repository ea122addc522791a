"""Clips of the procedural world into shards, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.options import SynthesisOptions
from geometrycrafter.data.renderer import WORLD, render_clip
from geometrycrafter.data.shards import EncodedClip, Recipe, ShardWriter, encode_clip
from geometrycrafter.data.workers import in_order


def rendered(seed: int, frames: int, height: int, width: int, world: int = WORLD) -> Clip:
    """The clip of a seed.

    Args:
        seed: fixes all of it.
        frames: its length, at 12 frames a second.
        height: pixels.
        width: pixels.
        world: 1 or 2.
    """
    made = render_clip(seed, frames, height, width, world=world)
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
        source=f"rendered {seed}" if world == 1 else f"rendered {seed}, world {world}",
        licence="Apache-2.0",
    )


def _encoded(seed: int, frames: int, height: int, width: int, world: int) -> EncodedClip | None:
    """The clip of a seed; None where it shows nothing but sky."""
    clip = rendered(seed, frames, height, width, world)
    return encode_clip(clip) if clip.mask.any() else None


def synthesize(
    folder: Path,
    clips: int = SynthesisOptions.clips,
    frames: int = SynthesisOptions.frames,
    size: tuple[int, int] = SynthesisOptions.size,
    first_seed: int = 0,
    processes: int = 1,
    world: int = SynthesisOptions.world,
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
        world: 1 or 2.
        progress: called with clips done and clips in all.

    Raises:
        InputError: where a value is out of its range, the folder was begun with others or can't be written.
    """
    wanted = SynthesisOptions(clips, frames, size, first_seed, processes, world)
    keys = {f"{seed:010d}": seed for seed in range(wanted.seed, wanted.seed + wanted.clips)}
    recipe = Recipe("rendered", {"frames": wanted.frames, "size": wanted.size, "world": wanted.world})
    with ShardWriter(folder, "rendered", recipe=recipe) as writer:
        left = {key: seed for key, seed in keys.items() if key not in writer.clips}
        made = in_order(
            _encoded, ((seed, wanted.frames, *wanted.size, wanted.world) for seed in left.values()), wanted.processes
        )
        for done, (key, clip) in enumerate(zip(left, made, strict=True), len(keys) - len(left) + 1):
            if clip is not None:
                writer.add(key, clip)
            if progress is not None:
                progress(done, len(keys))
