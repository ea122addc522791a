"""No seam shows where decoder chunks meet."""

from __future__ import annotations

import numpy as np
from conftest import moving_pattern

import geometrycrafter as gc


def second_differences(depth: np.ndarray) -> np.ndarray:
    """Mean absolute second difference of log depth at each inner frame."""
    return np.abs(np.diff(np.log(depth), n=2, axis=0)).mean(axis=(1, 2))


def test_chunk_borders_are_as_smooth_as_chunks():
    video = moving_pattern(40, 96, 128)
    estimator = gc.load("tiny")
    figures = {}
    for exact in (True, False):
        d2 = second_differences(estimator(video, size=(64, 128), exact=exact).depth[:])
        at_border = np.array([(t + 1) % 8 in (0, 7) for t in range(len(d2))])  # inner frame t + 1 beside a border
        figures[exact] = d2[at_border].mean() / d2[~at_border].mean()
    assert figures[False] <= 1.0, figures
    assert figures[True] > figures[False]
