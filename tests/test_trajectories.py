"""Errors of trajectories, beside evo's own numbers and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.evaluation import score_trajectory


def rotation(vector: np.ndarray) -> np.ndarray:
    """By Euler's formula for quaternions, another one than the package's."""
    angle = np.linalg.norm(vector)
    w, (x, y, z) = np.cos(angle / 2), np.sin(angle / 2) * vector / max(angle, 1e-300)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def walk(seed: int, frames: int = 30, step: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.tile(np.eye(4), (frames, 1, 1))
    turns, places = rng.normal(0, 0.05, (frames, 3)).cumsum(0), rng.normal(0, step, (frames, 3)).cumsum(0)
    for pose, turn, place in zip(out, turns, places):
        pose[:3, :3], pose[:3, 3] = rotation(turn), place
    return out


def shaken(poses: np.ndarray, seed: int, turn: float = 0.01, shift: float = 0.03) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = poses.copy()
    for pose in out:
        pose[:3, :3] = pose[:3, :3] @ rotation(rng.normal(0, turn, 3))
        pose[:3, 3] += rng.normal(0, shift, 3)
    return out


def elsewhere(poses: np.ndarray, seed: int, scale: float = 1.0) -> np.ndarray:
    """The same trajectory in another world and unit."""
    rng = np.random.default_rng(seed)
    out = poses.copy()
    turn, place = rotation(rng.normal(0, 1, 3)), rng.normal(0, 5, 3)
    out[:, :3, :3] = turn @ poses[:, :3, :3]
    out[:, :3, 3] = scale * poses[:, :3, 3] @ turn.T + place
    return out


def by_evo(found: np.ndarray, truth: np.ndarray, alignment: str) -> dict[str, float]:
    """As the literature's scripts call it (Zhang et al. 2024, MonST3R, and those after it)."""
    metrics = pytest.importorskip("evo.core.metrics")
    from evo.core.trajectory import PoseTrajectory3D
    from evo.core.units import Unit

    times = np.arange(len(found)) / 10
    reference = PoseTrajectory3D(poses_se3=list(truth), timestamps=times)
    estimate = PoseTrajectory3D(poses_se3=list(found), timestamps=times)
    if alignment != "none":
        estimate.align(reference, correct_scale=alignment == "sim3")
    relations = metrics.PoseRelation
    out = {}
    ape = metrics.APE(relations.translation_part)
    ape.process_data((reference, estimate))
    out["ate"] = ape.get_statistic(metrics.StatisticsType.rmse)
    for name, what in (
        ("rpe_translation", relations.translation_part),
        ("rpe_rotation", relations.rotation_angle_deg),
    ):
        rpe = metrics.RPE(what, delta=1, delta_unit=Unit.frames, rel_delta_tol=0.01, all_pairs=True)
        rpe.process_data((reference, estimate))
        out[name] = rpe.get_statistic(metrics.StatisticsType.rmse)
    return out


@pytest.mark.parametrize("alignment", ["sim3", "se3", "none"])
@pytest.mark.parametrize("seed", range(4))
def test_figures_are_evos(seed, alignment):
    truth = walk(seed)
    found = elsewhere(shaken(truth, seed), seed, scale=0.2 + seed)
    own = score_trajectory(found, truth, alignment=alignment)
    for name, value in by_evo(found, truth, alignment).items():
        assert own[name] == pytest.approx(value, rel=1e-9), name
    assert own["frames"] == 30 and own["still"] == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_worlds_and_units_make_no_difference(seed, scale):
    truth = walk(seed)
    found = shaken(truth, seed + 1)
    here, there = (score_trajectory(x, truth) for x in (found, elsewhere(found, seed, scale)))
    for name in ("ate", "rpe_translation", "rpe_rotation", "ate_share"):
        assert there[name] == pytest.approx(here[name], rel=1e-6, abs=1e-9)
    perfect = score_trajectory(elsewhere(truth, seed, scale), truth)
    assert max(perfect[name] for name in ("ate", "rpe_translation", "rpe_rotation")) < 1e-6
    assert perfect["scale"] * scale == pytest.approx(1, rel=1e-9)


def test_closed_forms():
    """A camera on a circle that looks the same way; its estimate turns a degree more a step, or steps aside in turn."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    truth = np.tile(np.eye(4), (40, 1, 1))
    truth[:, :3, 3] = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    turning, aside = truth.copy(), truth.copy()
    for t in range(40):
        turning[t, :3, :3] = rotation(np.array([0, 0, np.deg2rad(t)]))
    aside[:, 2, 3] = 0.1 * (-1.0) ** np.arange(40)
    found = score_trajectory(turning, truth, alignment="none")
    assert found["rpe_rotation"] == pytest.approx(1) and found["ate"] == pytest.approx(0)
    found, side = score_trajectory(aside, truth), 2 * np.sin(np.pi / 40)
    s = 1 / 1.01  # the scale s with the least (1 - s)^2 + (0.1 s)^2
    assert found["scale"] == pytest.approx(s)
    assert found["ate"] == pytest.approx(np.hypot(1 - s, 0.1 * s))
    assert found["rpe_translation"] == pytest.approx(np.hypot((1 - s) * side, 0.2 * s))
    assert found["path"] == pytest.approx(39 * side) and found["ate_share"] == pytest.approx(found["ate"] / (39 * side))


def test_a_camera_that_stands_still_is_judged_by_its_turns_alone():
    truth = walk(0)
    truth[:, :3, 3] = (3, 4, 5)
    found = score_trajectory(elsewhere(shaken(truth, 1), 2, 7), truth)
    assert found["still"] == 1 and np.isnan([found[k] for k in ("ate", "ate_share", "rpe_translation")]).all()
    assert found["rpe_rotation"] == pytest.approx(by_evo(shaken(truth, 1), truth, "none")["rpe_rotation"])
    rigid = score_trajectory(shaken(truth, 1), truth, alignment="se3")  # in the truth's own unit there is no doubt
    assert rigid["ate"] > 0.01 and np.isfinite(rigid["rpe_translation"])


def test_a_straight_line_is_judged_where_evo_gives_up():
    truth = walk(0)
    truth[:, :3, 3] = np.linspace(0, 3, 30)[:, None] * [1, 0, 0]
    found = truth.copy()
    found[:, :3, 3] *= 1 + 0.01 * (-1.0) ** np.arange(30)[:, None]
    with pytest.raises(Exception, match="egenerate"):
        by_evo(found, truth, "sim3")
    away = np.linalg.norm(found[:, :3, 3], axis=1) * np.sign(found[:, 0, 3])
    true = np.linalg.norm(truth[:, :3, 3], axis=1)
    fit = np.polyfit(away, true, 1)  # a similarity of a line is a straight fit
    best = np.sqrt(np.square(np.polyval(fit, away) - true).mean())
    own = score_trajectory(elsewhere(found, 3, 5), truth)
    assert own["ate"] == pytest.approx(best, rel=1e-6)


def test_an_estimate_that_stands_still_is_as_wrong_as_the_truth_is_wide():
    truth = walk(3)
    found = score_trajectory(np.tile(np.eye(4), (30, 1, 1)), truth)
    assert found["ate"] == pytest.approx(np.sqrt(truth[:, :3, 3].var(0).sum()))
    steps = np.diff(truth[:, :3, 3], axis=0)
    assert found["rpe_translation"] == pytest.approx(np.sqrt(np.square(steps).sum(1).mean()))


def test_frames_without_a_pose_are_left_out():
    truth = walk(4)
    found = shaken(truth, 5)
    known = np.arange(30) != 12
    broken = found.copy()
    broken[12] = np.nan
    own = score_trajectory(broken, truth)
    assert own == score_trajectory(np.where(known[:, None, None], found, np.eye(4)), truth, known)
    assert own["frames"] == 29
    assert own["ate"] == pytest.approx(by_evo(found[known], truth[known], "sim3")["ate"])
    for bad in (truth[:5], np.full_like(truth, np.nan)):
        with pytest.raises(gc.InputError):
            score_trajectory(found, bad)
    with pytest.raises(gc.InputError, match="1 of 30"):
        score_trajectory(found, truth, np.arange(30) == 3)
