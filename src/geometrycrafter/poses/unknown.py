"""Which frames have no pose, in sentences."""

from __future__ import annotations

from torch import Tensor


def told_unknown(quality: Tensor, loose: Tensor, first: int) -> list[str]:
    """Which frames are not known, and why, in sentences.

    Args:
        quality: ``[T]``, 0 where a frame is not known.
        loose: ``[T]`` bool, where that is because nothing ties it to the others.
        first: frame of the clip.
    """
    if len(quality) == 1:
        return ["One frame has no motion; its camera is the world."]
    reasons = ((~loose, "too few static points were followed"), (loose, "nothing there is seen in the other frames"))
    frames = [((first + ((quality == 0) & which).nonzero()[:, 0]).tolist(), why) for which, why in reasons]
    return [f"{_ranges(which)}: {why}; the pose is not known there." for which, why in frames if which]


def told_found(given: Tensor, quality: Tensor, first: int) -> list[str]:
    """Which frames' poses were found from known ones, in a sentence.

    Args:
        given: ``[T]`` bool, frames whose poses were known beforehand.
        quality: ``[T]``, 0 where a frame is not known.
        first: frame of the clip.
    """
    found = (first + (~given & (quality > 0)).nonzero()[:, 0]).tolist()
    return [f"{_ranges(found)}: no pose was given; found from the others."] if given.any() and found else []


def _ranges(frames: list[int]) -> str:
    """``Frames 3 to 5, 9``."""
    runs: list[list[int]] = []
    for f in frames:
        if runs and runs[-1][-1] == f - 1:
            runs[-1].append(f)
        else:
            runs.append([f])
    words = [str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs]
    return ("Frame " if len(frames) == 1 else "Frames ") + ", ".join(words)
