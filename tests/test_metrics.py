"""Metrics against closed forms and the authors' figures."""

from __future__ import annotations

import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from conftest import PLACES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation import (
    drift,
    flicker,
    score_boundaries,
    score_depth,
    score_focal,
    score_normals,
    score_points,
    temporal_alignment_error,
)
from geometrycrafter.evaluation.clips import true_points
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.metrics import alignment, focal_of_points


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


def test_flicker_over_a_lag_is_the_change_between_frames_that_are_so_far_apart():
    clip = rendered(4, 9, 96, 128)
    about = {"gt_depth": clip.depth, "gt_mask": clip.mask, "intrinsics": clip.intrinsics, "poses": clip.poses}
    rising = np.exp(0.03 * np.arange(9))[:, None, None] * clip.depth
    for lag in (1, 3, 8):
        found = flicker(rising, **about, moving=clip.dynamic, lag=lag)
        assert found == pytest.approx(0.03 * lag, rel=1e-3)
    reads = []
    counted = FrameSequence(rising.shape, lambda t: reads.append(t) or rising[t])
    flicker(counted, **about, moving=clip.dynamic)
    assert len(reads) == 2 * 9  # once for what is still and once for the ratio, and no frame again
    with mock.patch("geometrycrafter.evaluation.metrics.stability.PAIRS", 2):
        assert flicker(rising, **about, moving=clip.dynamic, lag=2) == pytest.approx(0.06, rel=1e-3)
    with pytest.raises(InputError, match="no still point"):
        flicker(rising, **about, lag=9)
    with pytest.raises(InputError, match="lag"):
        flicker(rising, **about, lag=0)


@given(slope=st.floats(-0.1, 0.1), factor=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_drift_is_the_spread_of_the_frames_scales(slope, factor, seed):
    rng = np.random.default_rng(seed)
    truth, mask = rng.uniform(1, 9, (11, 6, 7)), rng.uniform(size=(11, 6, 7)) < 0.7
    mask[:, 0, 0] = True
    shape = np.exp(rng.normal(0, 0.2, (1, 6, 7)))  # what is wrong within a frame stays where it is
    mask[1:] = mask[0]
    wandering = factor * truth * shape * np.exp(slope * np.arange(11))[:, None, None]
    assert drift(wandering, truth, mask) == pytest.approx(abs(slope) * np.sqrt(10), abs=1e-9)  # (n^2 - 1) / 12
    wandering[3], mask[5] = np.nan, False
    kept = np.delete(np.arange(11), [3, 5])
    assert drift(wandering, truth, mask) == pytest.approx(abs(slope) * kept.std(), abs=1e-9)
    moving = np.zeros_like(mask)
    for t in range(11):  # what walks in, and hides more and more, is off by another factor
        moving[t, 1 : 1 + t // 2] = True
    passed = np.where(moving, 3 * wandering, wandering)
    assert drift(passed, truth, mask, moving) == pytest.approx(
        drift(np.where(moving, np.nan, wandering), truth, mask), abs=1e-12
    )
    with pytest.raises(InputError, match="fewer than two"):
        drift(wandering[:1], truth[:1], mask[:1])
    with pytest.raises(InputError, match="moving"):
        drift(wandering, truth, mask, moving[:3])


# Metrics that go past the paper's --------------------------------------------------------------------------------


def test_alignment_by_frame_forgives_a_scale_that_changes():
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.normal(0, 1, (4, 12, 16, 2)), rng.uniform(2, 5, (4, 12, 16, 1))], -1)
    mask = rng.uniform(size=(4, 12, 16)) < 0.7
    changing = truth * np.array([1.0, 2, 3, 4])[:, None, None, None]
    assert score_points(changing, truth, mask)["point_rel"] > 0.3
    assert score_points(changing, truth, mask, alignment="frame")["point_rel"] == pytest.approx(0, abs=1e-9)
    depth = changing[..., 2] + np.arange(4)[:, None, None]
    assert score_depth(truth[..., 2], mask, depth=depth)["depth_rel"] > 0.05
    assert score_depth(truth[..., 2], mask, depth=depth, alignment="frame")["depth_rel"] == pytest.approx(0, abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.booleans())
def test_robust_alignment_is_the_least_sum_of_absolute_errors(seed, weighted, shift):
    """Against a linear program of the same problem."""
    rng = np.random.default_rng(seed)
    gt = rng.uniform(1, 6, (2, 5, 6))
    depth = (gt - 0.3 * shift) / 1.7 + rng.normal(0, 0.02, gt.shape)
    depth.flat[::7] *= 5  # outliers that least squares would follow
    mask = np.ones(gt.shape, bool)
    found = score_depth(gt, mask, depth=depth, weighted=weighted, robust=True, shift=shift)
    x, y, w = depth.ravel(), gt.ravel(), 1 / gt.ravel() if weighted else np.ones(gt.size)
    cost = np.r_[0, 0, w]
    columns = np.stack([x, np.full_like(x, float(shift))], 1)
    above = np.block([[columns, -np.eye(len(x))], [-columns, -np.eye(len(x))]])
    best = linprog(cost, above, np.r_[y, -y], bounds=[(None, None)] * 2 + [(0, None)] * len(x)).fun
    ours = (w * np.abs(found["scale"] * x + found["shift"] - y)).sum()
    assert ours <= best * (1 + 1e-4) + 1e-9


def test_robust_scale_of_points_is_the_inliers():
    rng = np.random.default_rng(1)
    truth = np.concatenate([rng.normal(0, 1, (2, 9, 9, 2)), rng.uniform(2, 5, (2, 9, 9, 1))], -1)
    points = truth / 2.5
    points[:, ::3, ::3] *= 4
    mask = np.ones(truth.shape[:-1], bool)
    assert score_points(points, truth, mask, robust=True)["scale"] == pytest.approx(2.5, rel=1e-6)
    assert abs(score_points(points, truth, mask)["scale"] / 2.5 - 1) > 0.2


def test_what_is_not_predicted_counts_as_wrong():
    rng = np.random.default_rng(2)
    truth = np.concatenate([rng.normal(0, 1, (3, 8, 8, 2)), rng.uniform(2, 5, (3, 8, 8, 1))], -1)
    mask = np.ones((3, 8, 8), bool)
    mask[2] = False
    points = 2 * truth
    points[0, :4] = np.nan
    found = score_points(points, truth, mask)
    assert found["point_rel"] == pytest.approx(0.25) and found["point_inlier"] == pytest.approx(0.75)
    assert found["missing"] == pytest.approx(0.25) and (found["frames"], found["empty"]) == (2, 1)
    depth = score_depth(truth[..., 2], mask, depth=points[..., 2])
    assert depth["depth_rel"] == pytest.approx(0.25) and depth["depth_inlier"] == pytest.approx(0.75)
    nothing = score_points(np.full_like(points, np.nan), truth, mask)
    assert nothing["point_rel"] == 1 and nothing["point_inlier"] == 0


def test_streamed_frames_score_as_arrays_do():
    rng = np.random.default_rng(3)
    truth, points = rng.uniform(1, 5, (2, 4, 10, 12, 3))
    mask = rng.uniform(size=(4, 10, 12)) < 0.5
    lazy = [FrameSequence(a.shape, a.__getitem__) for a in (points, truth, mask)]
    assert score_points(*lazy) == score_points(points, truth, mask)
    assert score_normals(*lazy) == score_normals(points, truth, mask)


def test_edges_in_the_wrong_place_are_no_edges():
    depth = np.full((1, 20, 30), 5.0)
    depth[:, :, 15:] = 2.0
    mask = np.ones(depth.shape, bool)
    assert score_boundaries(3 * depth, depth, mask)["boundary_f1"] == pytest.approx(1)
    assert score_boundaries(np.roll(depth, 3, axis=2), depth, mask)["boundary_f1"] < 0.05
    assert score_boundaries(np.ones_like(depth), depth, mask)["boundary_f1"] == 0
    assert score_boundaries(7 - depth, depth, mask)["boundary_f1"] == 0  # a step the other way round
    half = np.where(depth == 5, 5.0, 4.4)  # a ratio of 1.14: found at four of the ten thresholds
    levels = np.linspace(1.05, 1.25, 10)
    assert score_boundaries(half, depth, mask)["boundary_f1"] == pytest.approx(levels[:4].sum() / levels.sum())


def test_normals_of_a_tilted_plane_are_off_by_its_tilt():
    y, x = np.mgrid[:24, :32]
    rays = np.stack([(x - 15.5) / 40, (y - 11.5) / 40, np.ones((24, 32))], -1)

    def plane(degrees):
        n = np.array([np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees))])
        return (rays * (3 / (rays @ n))[..., None])[None].astype(np.float32)

    mask = np.ones((1, 24, 32), bool)
    found = score_normals(5 * plane(20), plane(5), mask)
    assert found["normal_mean"] == pytest.approx(15, abs=0.1) and found["normal_median"] == pytest.approx(15, abs=0.1)
    assert found["normal_11"] == 0 and score_normals(plane(10), plane(5), mask)["normal_11"] == 1


def test_normals_over_a_longer_reach_are_the_surface_s_and_not_the_sensor_s():
    y, x = np.mgrid[:60, :80]
    truth = np.stack([(x - 39.5) / 70, (y - 29.5) / 70, np.ones((60, 80))], -1)
    truth = (truth * (2 / (truth @ np.array([0.3, 0.2, 0.9])))[..., None])[None].astype(np.float32)
    sensed = truth * (np.round(truth[..., 2:] / 0.03) * 0.03 / truth[..., 2:])  # steps of 3 cm
    mask = np.ones((1, 60, 80), bool)
    close = score_normals(truth, sensed, mask)["normal_mean"]
    wide = score_normals(truth, sensed, mask, reach=8)["normal_mean"]
    assert close > 15 and wide < close / 4
    wall = np.stack([(x - 39.5) / 70, (y - 29.5) / 70, np.ones((60, 80))], -1)[None].astype(np.float32)
    tilt = np.degrees(np.arccos(0.9 / np.linalg.norm([0.3, 0.2, 0.9])))
    assert score_normals(wall, truth, mask, reach=8)["normal_mean"] == pytest.approx(tilt, abs=0.1)
    holes = mask.copy()
    holes[0, 20:25, 30:35] = False  # what lies there, or is compared by it, does not count
    broken = np.where(holes[..., None], truth, np.nan)
    assert score_normals(broken, truth, holes, reach=8)["normal_mean"] == pytest.approx(0, abs=0.1)


def test_focal_lengths():
    clip = rendered(4, 2, 48, 64)
    points = np.stack(list(true_points(clip)))
    for t in range(2):
        assert focal_of_points(2 * points[t], clip.mask[t]) == pytest.approx(clip.intrinsics[t, 0, 0], rel=1e-3)
    assert score_focal(1.1 * clip.intrinsics[:, 0, 0], clip.intrinsics)["focal_rel"] == pytest.approx(0.1, abs=1e-6)
    assert score_focal([np.nan, np.nan], clip.intrinsics)["focal_rel"] == 1


def test_temporal_alignment_error_of_a_pumping_scale():
    clip = rendered(4, 5, 96, 128)
    about = {"gt_depth": clip.depth, "gt_mask": clip.mask, "intrinsics": clip.intrinsics, "poses": clip.poses}
    calm = temporal_alignment_error(2 * clip.depth, **about, moving=clip.dynamic)
    wave = np.array([1, 1.2, 1, 1.2, 1])[:, None, None]
    pumping = temporal_alignment_error(wave * clip.depth, **about, moving=clip.dynamic)
    # Hidden points cost a little even where depth is perfect; a fifth more, then less, costs about 18 % on average.
    assert calm < 0.08 and pumping - calm == pytest.approx(0.18, abs=0.06)


# Robust alignment of many pixels -----------------------------------------------------------------------------------


def test_a_robust_scale_of_many_points_is_that_of_all_their_coordinates():
    """Every third number of a list of points is an x, and these say nothing: y and z are right up to a scale."""
    rng = np.random.default_rng(4)
    truth = np.concatenate([rng.normal(0, 1, (2, 640, 640, 2)), rng.uniform(2, 5, (2, 640, 640, 1))], -1)
    points = truth / 2.5
    points[..., 0] = rng.normal(0, 1, truth.shape[:-1])
    mask = np.ones(truth.shape[:-1], bool)
    assert points.size > 2 * 2**20
    assert score_points(points, truth, mask, robust=True)["scale"] == pytest.approx(2.5, rel=1e-6)


def test_few_valid_pixels_of_a_large_clip_are_all_looked_at():
    """The scale of least absolute errors is one of the ratios: the best of all, tried one by one."""
    rng = np.random.default_rng(5)
    gt = rng.uniform(1, 6, (2, 1300, 1000))
    depth = gt / 1.7 * np.exp(rng.normal(0, 0.3, gt.shape))
    mask = np.zeros(gt.shape, bool)
    mask[:, ::100, ::100] = True
    x, y = depth[mask], gt[mask]
    best = min(y / x, key=lambda s: np.abs(s * x - y).sum())
    assert score_depth(gt, mask, depth=depth, robust=True, shift=False)["scale"] == pytest.approx(best, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([32, 48, 60]), st.floats(0.2, 1))
def test_a_sample_of_pixels_gives_the_scale_of_all_of_them(seed, weighted, width, share):
    """Also where errors follow the columns of a picture whose width a stride could divide."""
    rng = np.random.default_rng(seed)
    shape = (5, 50, width)
    truth = np.concatenate([rng.normal(0, 1, (*shape, 2)), rng.uniform(2, 5, (*shape, 1))], -1)
    points = truth / rng.uniform(0.5, 3) + rng.normal(0, 0.02, truth.shape)
    points[:, :, ::8] *= 3
    mask = rng.uniform(size=shape) < share
    arrays = (points, truth, mask, weighted)
    depths = {"gt_depth": truth[..., 2], "gt_mask": mask, "depth": points[..., 2], "weighted": weighted}
    whole, deep = score_points(*arrays, robust=True), score_depth(**depths, robust=True)
    with mock.patch.object(alignment, "SAMPLE", 1500):
        assert score_points(*arrays, robust=True)["scale"] == pytest.approx(whole["scale"], rel=0.02)
        found = score_depth(**depths, robust=True)
    line, wanted = (np.array([1.0, 3]) * f["scale"] + f["shift"] for f in (found, deep))
    np.testing.assert_allclose(line, wanted, rtol=0.1)


def test_a_sample_holds_no_more_than_it_should_and_every_row_has_its_chance():
    rows = np.arange(30_000.0).reshape(-1, 3)
    sample = alignment.PixelSample(2000)
    for part in np.array_split(rows, 7):
        sample.add(part)
    found = sample.rows()
    assert found.shape == (2000, 3) and set(map(tuple, found)) <= set(map(tuple, rows))
    assert np.abs(np.histogram(found[:, 0], 10)[0] / 200 - 1).max() < 0.25


# What can't be ------------------------------------------------------------------------------------------------------


def test_truth_that_is_not_finite_is_refused():
    truth, mask = np.full((1, 4, 4, 3), 2.0), np.ones((1, 4, 4), bool)
    broken = truth.copy()
    broken[0, 1, 1] = np.nan
    for call in (
        lambda: score_points(truth, broken, mask),
        lambda: score_depth(broken[..., 2], mask, depth=truth[..., 2]),
    ):
        with pytest.raises(InputError, match="frame 0: the truth is not finite"):
            call()
    assert score_points(truth, broken, np.isfinite(broken).all(-1))["point_rel"] == 0


@pytest.mark.parametrize("value", [0, -1, np.nan, -np.inf])
def test_a_maximum_depth_is_a_depth(value):
    depth, mask = np.full((1, 4, 4), 2.0), np.ones((1, 4, 4), bool)
    with pytest.raises(InputError, match="max_depth"):
        score_depth(depth, mask, depth=depth, max_depth=value)
    with pytest.raises(InputError, match="choose clip or frame"):
        score_depth(depth, mask, depth=depth, alignment="video")
    assert score_depth(depth, mask, depth=depth, max_depth=np.inf, shift=False)["depth_rel"] == 0


def test_masks_of_numbers_are_masks():
    rng = np.random.default_rng(6)
    truth, points = rng.uniform(1, 5, (2, 3, 10, 12, 3))
    mask = rng.uniform(size=(3, 10, 12)) < 0.5
    for kind in (np.uint8, np.float32):
        assert score_points(points, truth, mask.astype(kind)) == score_points(points, truth, mask)
        assert score_normals(points, truth, mask.astype(kind)) == score_normals(points, truth, mask)


def test_points_at_the_camera_say_nothing_of_its_focal_length():
    points = np.stack(list(true_points(rendered(4, 1, 48, 64))))[0]
    mask = points[..., 2] > 0
    wanted = focal_of_points(points, mask)
    y, x = np.argwhere(mask)[0]
    broken = points.copy()
    broken[y, x] = 0
    assert focal_of_points(broken, mask) == pytest.approx(wanted, rel=1e-3)
    assert np.isnan(focal_of_points(np.zeros_like(points), mask))
    on_axis = np.zeros_like(points)
    on_axis[..., 2] = 1
    assert np.isnan(focal_of_points(on_axis, mask))
    assert score_focal([np.inf, np.nan], np.eye(3)[None].repeat(2, 0))["focal_rel"] == 1


def test_metrics_are_there_once_the_package_is_imported():
    code = """
import sys, geometrycrafter as gc
assert "torch" not in sys.modules and "geometrycrafter.evaluation" not in sys.modules
import numpy as np
p, m = np.full((1, 4, 4, 3), 2.0), np.ones((1, 4, 4), bool)
assert gc.evaluation.score_points(p, p, gt_mask=m, weighted=False)["point_rel"] == 0
assert gc.evaluation.score_depth(gt_depth=p[..., 2], gt_mask=m, disparity=1 / p[..., 2], max_depth=70.0)["frames"] == 1
assert "torch" not in sys.modules, "numbers need no networks"
assert set(gc.evaluation.__all__) <= set(dir(gc.evaluation))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
