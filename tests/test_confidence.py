"""Confidence, normals and sky of a scene: what they say is so, and the same however the run went."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import moving_pattern
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import geometrycrafter as gc
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.evaluation import score_confidence, score_points
from geometrycrafter.evaluation.clips import true_points

HELD_OUT = tuple(41_000_000 + n for n in (2, 3, 5, 6, 8, 9, 11, 13))
"""Seeds after those that the weights were found on."""


@pytest.fixture(scope="module")
def judged():
    estimator, clips = gc.load("tiny"), [rendered(seed, 4, 128, 192) for seed in HELD_OUT]
    return [(clip, estimator(clip.frames, cuts="off", size=(128, 192))) for clip in clips]


def test_on_clips_held_out_errors_grow_as_confidence_falls(judged):
    errors, sure = [], []
    for clip, scene in judged:
        truth, points, m = true_points(clip), scene.points[:], clip.mask & scene.mask[:]
        q = np.stack([truth[t] for t in range(len(clip))])[m]
        p = points[m]
        errors.append(np.linalg.norm((p * q).sum() / (p * p).sum() * p - q, axis=-1) / np.linalg.norm(q, axis=-1))
        sure.append(scene.confidence[:][m].astype(np.float64))
    error, confidence = np.concatenate(errors), np.concatenate(sure)
    order = np.argsort(-confidence, kind="stable")
    fifths = [error[part].mean() for part in np.array_split(order, 5)]
    assert fifths == sorted(fifths)
    assert fifths[-1] > 1.5 * fifths[0]
    inliers = [(error[part] < 0.25).mean() for part in np.array_split(order, 3)]
    foretold = [confidence[part].mean() for part in np.array_split(order, 3)]
    assert np.abs(np.subtract(inliers, foretold)).max() < 0.25


def test_confidence_is_a_probability_where_there_are_points_and_nothing_elsewhere(judged):
    for _, scene in judged:
        sure, mask = scene.confidence[:], scene.mask[:]
        assert sure.dtype == np.float16 and sure.shape == mask.shape
        assert (sure[mask] > 0).all() and (sure[mask] < 1).all() and (sure[~mask] == 0).all()


def test_sky_is_told_from_what_is_merely_not_valid(judged):
    right = claimed = there = 0
    for clip, scene in judged:
        sky = scene.sky[:]
        assert not (sky & scene.mask[:]).any()
        right, claimed, there = right + (sky & clip.sky).sum(), claimed + sky.sum(), there + clip.sky.sum()
    assert there > 1000 and right / claimed > 0.9 and right / there > 0.7


def test_bars_are_no_sky(tmp_path):
    frames = moving_pattern(9, 96, 128)
    frames[:, :16] = frames[:, -16:] = 0
    scene = gc.load("tiny")(frames, size=(64, 128), cuts="off")
    assert not scene.mask[:, :14].any() and not scene.sky[:, :14].any() and not scene.confidence[:, :14].any()


def test_a_prior_that_does_not_know_the_sky_leaves_none():
    def prior(frames):
        return frames.permute(0, 2, 3, 1) + 1, frames[:, 0] > 0.5

    scene = gc.load("tiny", prior=prior)(moving_pattern(3, 64, 64), size=(64, 64))
    assert scene.sky is None and scene.confidence is not None


def test_a_frame_of_which_the_prior_says_nothing_is_the_least_sure():
    def prior(frames):
        mask = torch.ones_like(frames[:, 0], dtype=torch.bool)
        mask[2] = False
        return frames.permute(0, 2, 3, 1) + 1, mask

    scene = gc.load("tiny", prior=prior)(moving_pattern(5, 64, 64), size=(64, 64), cuts="off")
    sure, mask = scene.confidence[:].astype(float), scene.mask[:]
    assert mask[2].any() and np.argmin([sure[t][mask[t]].mean() for t in range(5)]) == 2


def test_a_run_gone_on_with_has_the_same_confidence(tmp_path):
    frames, how = moving_pattern(13, 64, 64), {"size": (64, 64), "cuts": "off"}
    whole = gc.load("tiny")(frames, **how)

    def stop(stage, done, total):
        if stage == "decode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gc.load("tiny")(frames, **how, output=tmp_path / "a.gc", progress=stop)
    scene = gc.load("tiny")(frames, **how, output=tmp_path / "a.gc", resume=True)
    for name in ("confidence", "sky"):
        np.testing.assert_array_equal(scene.array(name)[:], whole.array(name)[:])
    kept = scene.save(tmp_path / "copy.gc")
    np.testing.assert_array_equal(kept.confidence[3], whole.confidence[3])


def plane(normal, height=24, width=32):
    """Depth and intrinsics of a plane two units ahead."""
    k = np.array([[30.0, 0, 15.2], [0, 28.0, 12.1], [0, 0, 1]])
    y, x = np.mgrid[:height, :width].astype(float)
    rays = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones_like(x)], -1)
    return 2 * normal[2] / (rays @ normal), k


def test_normals_do_not_depend_on_the_unit_of_the_scene():
    depth = np.random.default_rng(0).uniform(1, 1.2, (1, 24, 32)).astype(np.float32)
    k = np.array([[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]])
    wanted = gc.Scene.from_depth(depth, depth > 0, k).normals[0]
    np.testing.assert_allclose(np.linalg.norm(wanted, axis=-1), 1, atol=1e-6)
    for power in (-60, -20, -13, 13, 60):
        np.testing.assert_array_equal(gc.Scene.from_depth(depth * 2.0**power, depth > 0, k).normals[0], wanted)


@settings(deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_normals_of_a_plane_are_its_own_and_look_at_the_camera(a, b):
    normal = np.array([a, b, -1]) / np.linalg.norm([a, b, -1])
    depth, k = plane(normal)
    mask = np.ones(depth.shape, bool)
    mask[5, 7] = False
    scene = gc.Scene.from_depth(depth[None], mask[None], k)
    found = scene.normals[0]
    gone = np.isnan(found).all(-1)
    assert gone[4:7, 6:9].all() and gone.sum() == 9
    np.testing.assert_allclose(found[~gone], np.broadcast_to(normal, (gone.size - 9, 3)), atol=2e-3)
    assert scene.normals.shape == scene.points.shape and scene.normals[:, 1:3].shape == (1, 2, 32, 3)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_curve_of_errors_is_that_of_sorted_pixels(seed, weighted):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 4, (3, 8, 10, 3))
    points = truth * rng.uniform(0.5, 1.5, (3, 8, 10, 1))
    mask = rng.random((3, 8, 10)) < 0.8

    confidence = rng.permutation(240).reshape(3, 8, 10) / 255.0
    got = score_confidence(points, truth, mask, confidence, weighted)
    scale = score_points(points, truth, mask, weighted)["scale"]
    error = np.linalg.norm(scale * points - truth, axis=-1)[mask] / np.linalg.norm(truth, axis=-1)[mask]
    error = error[np.argsort(-confidence[mask])]
    whole = np.repeat(error, 10)  # so that tenths and four fifths have whole numbers of them
    assert got["confident_rel"] == pytest.approx(whole[: len(error) * 8].mean())
    assert got["confident_gain"] == pytest.approx(1 - whole[: len(error) * 8].mean() / error.mean())
    for i, part in enumerate(np.array_split(whole, 10), start=1):
        assert got[f"confident_rel_{i}"] == pytest.approx(part.mean())


@given(hnp.arrays(np.float64, (1, 4, 5), elements=st.floats(0, 1)))
def test_equal_confidences_tell_nothing(levels):
    truth = np.ones((1, 4, 5, 3))
    points = truth * np.where(np.arange(20).reshape(1, 4, 5, 1) % 2, 1.0, 1.2)
    got = score_confidence(points, truth, np.ones((1, 4, 5), bool), np.full((1, 4, 5), levels.mean()))
    assert got["confident_gain"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(gc.InputError, match="disagree"):
        score_confidence(points, truth, np.ones((1, 4, 5), bool), levels[:, :3])
