"""The embedded model on a real recording, unseen in its training."""

from __future__ import annotations

import av
import numpy as np
import pytest
from conftest import SHARED_DATA

import geometrycrafter as gc
from geometrycrafter.evaluation import score_points
from geometrycrafter.video.reading import open_frames

RGBD = SHARED_DATA / "rgbd"


def recorded_depth() -> np.ndarray:
    """Every fourth frame, metres, zero where the sensor saw nothing: ``[T, H, W]``."""
    if not RGBD.exists():
        pytest.skip("the recording is not on this machine")
    frames = []
    for path in sorted(RGBD.glob("*.depth.png"))[::4]:
        with av.open(str(path)) as container:
            frames.append(next(container.decode(video=0)).to_ndarray(format="gray16le"))
    return np.stack(frames) / 1000.0


def test_a_real_kitchen_is_seen_better_than_as_a_wall():
    depth = recorded_depth()
    k = np.loadtxt(RGBD / "camera-intrinsics.txt")
    y, x = np.mgrid[: depth.shape[1], : depth.shape[2]]
    rays = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones_like(x)], -1)
    truth, seen = rays * depth[..., None], (depth > 0) & (depth < 10)

    camera = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    scene = gc.load("tiny")(open_frames(RGBD / "*.color.jpg").cut(stride=4), intrinsics=camera)
    scores = score_points(scene.points[:], truth, seen)
    wall = score_points(np.broadcast_to(rays, truth.shape), truth, seen)
    print("tiny", scores, "wall", wall)
    assert scores["point_rel"] < 0.18 and scores["point_inlier"] > 0.75
    assert scores["point_rel"] < wall["point_rel"] and scores["point_inlier"] > wall["point_inlier"]
