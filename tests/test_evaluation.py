"""Metrics against closed forms and the authors' figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import PLACES

from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation import flicker, score_depth, score_points


def authors(case):
    """Arrays, and what the authors' evaluation prints for them."""
    place = next((p / "metrics" for p in PLACES if (p / "metrics" / f"{case}.npz").exists()), None)
    if place is None:
        pytest.skip("the golden metrics are not on this machine")
    return np.load(place / f"{case}.npz"), json.loads((place / f"{case}.json").read_text())


@pytest.mark.parametrize("case", ["case", "case_empty_frame"])
def test_scores_are_those_that_the_authors_evaluation_prints(case):
    arrays, printed = authors(case)
    points, truth, mask = arrays["pred_points"], arrays["gt_points"], arrays["gt_mask"]
    for name, wanted in printed.items():
        kind, *settings = name.split("/")
        given = dict(s.split("=") for s in settings)
        weighted, most = given.get("weighted") == "True", float(given.get("max_depth", 70))
        if kind == "point_map":
            found = score_points(points, truth, mask, weighted)
        else:
            by = {"disparity": arrays["pred_disparity"]} if kind == "affine_disparity" else {"depth": points[..., 2]}
            found = score_depth(truth[..., 2], mask, **by, weighted=weighted, max_depth=most)
        for key, value in wanted.items():
            assert found[key] == pytest.approx(value, abs=1e-5), (name, key)


def test_a_scale_and_a_shift_cost_nothing():
    rng = np.random.default_rng(0)
    depth, mask = rng.uniform(1, 9, (3, 8, 9)), rng.uniform(size=(3, 8, 9)) < 0.8
    for found in (
        score_depth(depth, mask, depth=3 * depth - 2),
        score_depth(depth, mask, depth=3 * depth - 2, weighted=True),
        score_depth(depth, mask, disparity=5 / depth + 1),
    ):
        assert found["depth_rel"] == pytest.approx(0, abs=1e-9) and found["depth_inlier"] == 1
    with pytest.raises(InputError, match="one of the two"):
        score_depth(depth, mask)


def test_flicker_is_the_change_that_is_put_in():
    clip = rendered(4, 5, 96, 128)
    about = {"gt_depth": clip.depth, "gt_mask": clip.mask, "intrinsics": clip.intrinsics, "poses": clip.poses}
    assert flicker(3.7 * clip.depth, **about, moving=clip.dynamic) == pytest.approx(0, abs=1e-6)
    wave = np.array([1, 1.1, 1, 1.1, 1])[:, None, None]
    found = flicker(wave * clip.depth, **about, moving=clip.dynamic)
    assert found == pytest.approx(np.log(1.1), rel=1e-3)
    with pytest.raises(InputError, match="no still point"):
        flicker(clip.depth, **about, moving=np.ones_like(clip.mask))
