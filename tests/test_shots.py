"""Shots: each is as if it were run alone, to the bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import SHARED_DATA

import geometrycrafter as gc
from geometrycrafter.inference.estimator import Estimator
from geometrycrafter.scene import Scene
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

LENGTHS = {"cat": 15, "dancer": 13, "tennis": 10}
SIZE = (72, 128)
HOW: dict[str, Any] = {"size": (64, 64), "window": 8, "overlap": 3}


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """The beginnings of three videos."""
    found = []
    for name, count in LENGTHS.items():
        frames = open_frames(SHARED_DATA / "video" / f"{name}.mp4", Reading(end=count))
        found.append(np.stack([f[:: f.shape[0] // 72, :: f.shape[1] // 128][:72, :128] for f in frames]))
    return found


@pytest.fixture(scope="module")
def clip(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


SPANS = [(0, 15), (15, 28), (28, 38)]


@pytest.fixture(scope="module", params=["deterministic", "diffusion"])
def estimator(request) -> Estimator:
    return gc.load("tiny", request.param)


def values(scene: Scene, first: int = 0, end: int | None = None) -> list[bytes]:
    """What each of some frames is given."""
    arrays = (scene.depth, scene.mask, scene.intrinsics, scene.rays, scene.frames)
    return [a[first:end].tobytes() for a in arrays if a is not None]


def assert_each_as_alone(scene: Scene, parts: list[np.ndarray], run: Callable[[np.ndarray], Scene]) -> None:
    assert scene.shots == list(zip(np.cumsum([0, *map(len, parts)]), np.cumsum([*map(len, parts)])))
    for (first, end), part in zip(scene.shots, parts):
        alone = run(part)
        assert alone.shots == [(0, len(part))]
        assert values(scene, first, end) == values(alone)


@pytest.mark.parametrize("how", [{}, {"exact": True}, {"focal": "per-frame"}, {"focal": "free", "decode_chunk": 3}])
def test_each_shot_is_as_if_it_were_run_alone(how: dict[str, Any], estimator, clip, parts) -> None:
    scene = estimator(clip, **HOW, **how)
    assert_each_as_alone(scene, parts, lambda part: estimator(part, **HOW, **how))
