"""Clips that nothing can be learned from, and of every size: a run finishes, and what it says is finite or masked."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import moving_pattern

import geometrycrafter as gc
from geometrycrafter.inference.estimator import Estimator

CLIPS = {
    "1x1": moving_pattern(2, 1, 1),
    "one row": moving_pattern(2, 1, 70),
    "4:1": moving_pattern(2, 16, 64),
    "1:4": moving_pattern(2, 64, 16),
    "one frame": moving_pattern(1, 40, 50),
    "black": np.zeros((3, 40, 50, 3), np.uint8),
    "white": np.full((3, 40, 50, 3), 255, np.uint8),
    "static": np.repeat(moving_pattern(1, 40, 50), 3, 0),
    "noise": np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8),
    "8K": np.repeat(np.repeat(moving_pattern(1, 540, 960), 8, 1), 8, 2),
}


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    return gc.load()


@pytest.mark.filterwarnings("ignore:frames of")
@pytest.mark.parametrize("name", CLIPS)
def test_a_run_finishes_and_its_points_are_finite_or_masked(name, estimator) -> None:
    clip = CLIPS[name]
    scene = estimator(clip, size=(64, 64), window=2, overlap=1)
    assert scene.depth.shape == clip.shape[:3]
    for t in range(len(clip)):
        valid = np.asarray(scene.mask[t])
        assert np.isfinite(np.asarray(scene.points[t])[valid]).all()
        assert (np.asarray(scene.depth[t])[valid] > 0).all()
    assert np.isfinite(scene.intrinsics).all() and (np.asarray(scene.intrinsics)[:, [0, 1], [0, 1]] > 0).all()
