"""Shots of a clip: stretches of frames between cuts, each a clip of its own."""

from __future__ import annotations

from collections.abc import Sequence

Span = tuple[int, int]
"""First frame, and the one after the last."""
LISTED = 12
"""Shots that are listed one by one."""


def spans_of(firsts: Sequence[int], frames: int) -> list[Span]:
    """Of each shot of a clip.

    Args:
        firsts: the first frame of each.
        frames: of the clip.

    Raises:
        ValueError: where they are no shots of a clip of that length.
    """
    spans = list(zip(firsts, [*firsts[1:], frames], strict=True))
    if not spans or spans[0][0] != 0 or any(first >= end for first, end in spans):
        raise ValueError(f"{list(firsts)} are no shots of {frames} frames")
    return spans


def told_shots(shots: Sequence[Span]) -> str:
    """In words: ``3: 0-39, 40-79, 80-119``."""
    ranges = [f"{first}-{end - 1}" if end > first + 1 else str(first) for first, end in shots[:LISTED]]
    return f"{len(shots)}: {', '.join(ranges)}" + (", ..." if len(shots) > LISTED else "")
