"""No seam shows where decoder chunks meet."""

from __future__ import annotations

import numpy as np
from conftest import moving_pattern

import geometrycrafter as gc


def jumps(depth: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """How much what chunks add to the log depth of a clip that is decoded whole changes from frame to frame."""
    return np.abs(np.diff(np.log(depth / whole), axis=0)).mean(axis=(1, 2))


def test_chunks_meet_without_a_jump():
    video = moving_pattern(40, 96, 128)
    estimator = gc.load("tiny")

    def decoded(**options) -> np.ndarray:
        # As decoded: depth that is kept steady afterwards would hide seams.
        return estimator(video, size=(64, 128), window=40, overlap=0, steady="off", **options).depth[:]

    whole = decoded(decode_chunk=40)
    isolated, joined = jumps(decoded(exact=True), whole), jumps(decoded(), whole)
    near = np.abs((np.arange(39) - 7 + 4) % 8 - 4) <= 3  # of the changes at a border: 7, 15, 23, 31
    assert isolated[near].max() > 2.5 * isolated[~near].max()  # there is something to be joined
    assert joined.max() < 0.4 * isolated.max(), (joined, isolated)
