"""Frames between which nothing can be followed: what both sides show ties them, or they are said to be apart."""

import math

import numpy as np
import pytest

import geometrycrafter as gc
from geometrycrafter.data.synthesis import rendered


@pytest.mark.parametrize("seed", [7003, 7005])
def test_a_gap_is_bridged_rightly_or_not_at_all(seed):
    clip, gap = rendered(seed, 32, 192, 256), slice(14, 17)
    scene = gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics, fps=clip.fps)
    moving = np.zeros(clip.depth.shape, bool) if clip.dynamic is None else clip.dynamic.copy()
    moving[gap] = True  # nothing stands still
    solved = gc.poses.estimate(scene, clip.frames, moving)
    assert not solved.known[gap].any()
    if solved.known.sum() != 29:
        assert solved.known.sum() <= 18
        return
    across = [np.linalg.inv(poses[13]) @ poses[20] for poses in (clip.poses, solved.poses)]
    turn = across[0][:3, :3].T @ across[1][:3, :3]
    assert math.degrees(math.acos(min(1.0, (np.trace(turn) - 1) / 2))) < 0.6
