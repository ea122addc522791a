"""Whether a lens zoomed where a camera seems to go forward."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from geometrycrafter.inference.steadying.links import Link

LAGS = 16, 8, 4
"""Frames apart that tell, the first that there are."""
LESS = 0.9
"""Share of the pixels that motion leaves unexplained, below which a zoom explains more: it knows nothing of depth, and
has two parameters less."""


def best_read(links: Sequence[Link], count: int) -> list[Link]:
    """Links of the first ``count`` frames, those as a zoom reads them where it explains the picture better.

    A camera that goes forward leaves what is near faster than what is far, and a lens doesn't; so the motion that fits
    a zoom, given the depth that there is, leaves much of it unexplained.
    """
    zooms = [False] * count
    left = set(range(count))
    for lag in LAGS:
        seen: dict[int, list[float]] = {}
        for link in links:
            if abs(link.second - link.first) == lag and link.zoomed is not None:
                for t in range(min(link.first, link.second), max(link.first, link.second)):
                    seen.setdefault(t, []).append(link.zoomed.missed / max(link.missed, 1e-9))
        for t in left & seen.keys():
            zooms[t] = median(seen[t]) < LESS
        left -= seen.keys()
    return [link if link.zoomed is None or not _mostly(zooms, link) else link.zoomed for link in links]


def _mostly(zooms: list[bool], link: Link) -> bool:
    between = zooms[min(link.first, link.second) : max(link.first, link.second)]
    return 2 * sum(between) > len(between)
