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
FOLLOWS = 0.5
"""Of how far depth is off by a zoom: where it is off by less by the motion, the networks saw the camera move."""


def best_read(links: Sequence[Link], count: int) -> list[Link]:
    """Links of the first ``count`` frames, those as a zoom reads them where it explains the picture better.

    A camera that goes forward leaves what is near faster than what is far, and a lens doesn't; so the motion that fits
    a zoom, given the depth that there is, leaves much of it unexplained. So it does before a flat wall that networks
    take for another shape; but there they see it come nearer, and the motion changes little of that.
    """
    zooms = _zooming(links, count)

    def mostly(link: Link) -> bool:
        between = zooms[min(link.first, link.second) : max(link.first, link.second)]
        return 2 * sum(between) > len(between)

    return [link if link.zoomed is None or not mostly(link) else link.zoomed for link in links]


def _zooming(links: Sequence[Link], count: int) -> list[bool]:
    """Of each frame, whether the lens zooms from it to the next; where nothing tells, as at the nearest that does."""
    verdicts: dict[int, bool] = {}
    for lag in LAGS:
        shares: dict[int, list[float]] = {}
        still: dict[int, list[float]] = {}
        for link in links:
            if abs(link.second - link.first) == lag and link.zoomed is not None:
                share = link.zoomed.missed / max(link.missed, 1e-9)
                stays = float(link.off.abs().median() - FOLLOWS * link.zoomed.off.abs().median())
                for t in range(min(link.first, link.second), max(link.first, link.second)):
                    shares.setdefault(t, []).append(share)
                    still.setdefault(t, []).append(stays)
        for t in shares.keys() - verdicts.keys():
            share = median(shares[t])
            if not LESS < share < MORE:
                verdicts[t] = share < LESS and median(still[t]) > 0
    told = np.array(sorted(verdicts))
    if not len(told):
        return [False] * count
    nearest = told[np.abs(np.arange(count)[:, None] - told).argmin(1)]
    return [verdicts[t] for t in nearest.tolist()]
