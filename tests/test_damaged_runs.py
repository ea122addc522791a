"""Runs whose folders a power cut, a disk or a hand has changed: they go on to the same bits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import moving_pattern
from test_runs import CancelledError, bits, stop_at

import geometrycrafter as gc
from geometrycrafter.inference.estimator import Estimator

CLIP = moving_pattern(12, 64, 64)


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    return gc.load()


@pytest.fixture(scope="module")
def whole(estimator) -> list[bytes]:
    return bits(estimator(CLIP, size=(64, 64)))


@pytest.mark.parametrize("frames", [0, -3, 5, "99"])
def test_a_number_of_frames_that_cannot_be_is_counted_again(frames: Any, estimator, whole, tmp_path) -> None:
    out = tmp_path / "a.gc"
    with pytest.raises(CancelledError):
        estimator(CLIP, size=(64, 64), output=out, progress=stop_at("condition"))
    (out / "work" / "observed.json").write_text(json.dumps({"frames": frames}))
    assert bits(estimator(CLIP, size=(64, 64), output=out, resume=True)) == whole


@pytest.mark.parametrize(("stage", "text"), [("observe", ""), ("decode", "{}")])
def test_a_torn_description_of_an_unfinished_scene_is_written_anew(stage, text, estimator, whole, tmp_path) -> None:
    out = tmp_path / "a.gc"
    with pytest.raises(CancelledError):
        estimator(CLIP, size=(64, 64), output=out, progress=stop_at(stage))
    (out / "zarr.json").write_text(text)
    assert bits(estimator(CLIP, size=(64, 64), output=out, resume=True)) == whole
    assert np.isfinite(gc.open(out).points[:]).all()
