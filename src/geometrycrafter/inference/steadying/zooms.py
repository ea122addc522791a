"""Whether a lens zoomed where a camera seems to go forward."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from geometrycrafter.inference.steadying.links import Link

LAGS = 16, 8, 4
"""Frames apart that tell, the first that there are."""
LESS, MORE = 0.9, 1.2
"""Of the pixels that motion leaves unexplained, below which a zoom, with two parameters less and whatever depth is,
explains more; and above which it doesn't. Between them is what flat things and those far away say."""


def best_read(links: Sequence[Link], count: int) -> list[Link]:
    """Links of the first ``count`` frames, those as a zoom reads them where it explains the picture better.

    A camera that goes forward leaves what is near faster than what is far, and a lens doesn't; so the motion that fits
    a zoom, given the depth that there is, leaves much of it unexplained.
    """
    zooms = _zooming(links, count)

    def mostly(link: Link) -> bool:
        between = zooms[min(link.first, link.second) : max(link.first, link.second)]
        return 2 * sum(between) > len(between)

    return [link if link.zoomed is None or not mostly(link) else link.zoomed for link in links]


def _zooming(links: Sequence[Link], count: int) -> list[bool]:
    """Of each frame, whether the lens zooms from it to the next; where that can't be told, as at the nearest that can."""
    verdicts: dict[int, bool] = {}
    for lag in LAGS:
        seen: dict[int, list[float]] = {}
        for link in links:
            if abs(link.second - link.first) == lag and link.zoomed is not None:
                for t in range(min(link.first, link.second), max(link.first, link.second)):
                    seen.setdefault(t, []).append(link.zoomed.missed / max(link.missed, 1e-9))
        shares = {t: median(found) for t, found in seen.items() if t not in verdicts}
        verdicts |= {t: share < LESS for t, share in shares.items() if not LESS < share < MORE}
    told = np.array(sorted(verdicts))
    if not len(told):
        return [False] * count
    nearest = told[np.abs(np.arange(count)[:, None] - told).argmin(1)]
    return [verdicts[t] for t in nearest.tolist()]
