"""The scene on disk, and a run that is killed and goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from conftest import flat_prior, moving_pattern, write_video

import geometrycrafter as gc
from geometrycrafter.scene.journal import Journal


@pytest.fixture(scope="module")
def scene_in_memory():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (3, 8, 12)).astype(np.float32)
    k = np.array([[10, 0, 5], [0, 11, 4], [0, 0, 1]], np.float32)
    return gc.Scene.from_depth(depth, depth > 2, k, frames=moving_pattern(3, 8, 12), fps=30), depth, k


def test_points_are_depth_along_the_pixels_rays(scene_in_memory):
    scene, depth, k = scene_in_memory
    y, x = np.mgrid[:8, :12]
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(k).T
    np.testing.assert_allclose(scene.points[:], rays * depth[..., None], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scene.points[1], scene.points[:][1])
    np.testing.assert_allclose(scene.points[-1, 2, 3], scene.points[:][-1, 2, 3])
    assert scene.points.shape == (3, 8, 12, 3) and len(list(scene.points)) == 3


def test_an_array_of_a_scene_says_its_shape_when_printed(scene_in_memory):
    scene, _, _ = scene_in_memory
    assert "[3, 8, 12] float32" in repr(scene.depth) and "[3, 3, 3]" in repr(scene.intrinsics)


def test_saving_and_opening_keeps_everything(scene_in_memory, tmp_path):
    scene, depth, _ = scene_in_memory
    scene.save(tmp_path / "a.gc")
    again = gc.open(tmp_path / "a.gc")
    assert np.array_equal(again.depth[:], depth) and np.array_equal(again.frames[:], scene.frames[:])
    assert again.fps == 30 and again.poses is None
    poses = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
    again.set_poses(poses)
    assert np.array_equal(gc.open(tmp_path / "a.gc").poses[:], poses)
    with pytest.raises(gc.InputError, match="exists"):
        scene.save(tmp_path / "a.gc")


def test_the_layout_is_plain_zarr(scene_in_memory, tmp_path):
    scene_in_memory[0].save(tmp_path / "a.gc")
    group = zarr.open_group(str(tmp_path / "a.gc"), mode="r")
    assert group.metadata.zarr_format == 3
    assert group["depth"].chunks == (1, 8, 12) and group["depth"].dtype == np.float32
    assert group["mask"].dtype == bool and group["intrinsics"].shape == (3, 3, 3)


@pytest.mark.parametrize("bad", ["depth", "mask", "intrinsics"])
def test_shapes_that_disagree_are_refused(bad):
    arrays = {"depth": np.ones((2, 4, 4)), "mask": np.ones((2, 4, 4), bool), "intrinsics": np.eye(3)}
    arrays[bad] = arrays[bad][..., :2]
    with pytest.raises(gc.InputError):
        gc.Scene.from_depth(**arrays)


def test_known_camera_and_focal_settings(hub):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    video = moving_pattern(4, 64, 96)
    known = estimator(video, size=(64, 64), intrinsics=(80.0, 81.0, 40.0, 30.0))
    assert np.allclose(known.intrinsics[2], [[80, 0, 40], [0, 81, 30], [0, 0, 1]])
    shared = estimator(video, size=(64, 64)).intrinsics[:]
    assert (shared == shared[0]).all()
    free = estimator(video, size=(64, 64), focal="free")
    assert free.rays.shape == (4, 64, 96, 2) and shared.shape == (4, 3, 3)
    assert gc.load(hub, "deterministic", prior=flat_prior)(video, size=(64, 64)).rays is None


def test_same_seed_same_bits_other_seed_other_scene(hub):
    estimator = gc.load(hub, "diffusion", prior=flat_prior)
    video = moving_pattern(3, 64, 64)
    a, b, c = (estimator(video, size=(64, 64), steps=1, seed=s).depth[:] for s in (1, 1, 2))
    assert (a > 0).all()
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_an_iterator_gives_what_the_array_gives(hub):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    video = moving_pattern(9, 64, 64)
    assert np.array_equal(estimator(iter(video), size=(64, 64)).depth[:], estimator(video, size=(64, 64)).depth[:])


def test_a_torn_journal_line_counts_as_not_written(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append({"chunk": 0})
    journal.append({"chunk": 1})
    torn = (tmp_path / "j").read_bytes()[:-3]
    (tmp_path / "j").write_bytes(torn)
    again = Journal(tmp_path / "j")
    assert again.entries == [{"chunk": 0}]
    again.append({"chunk": 1})
    assert len(Journal(tmp_path / "j").entries) == 2


def test_an_overwrite_that_fails_keeps_the_old_scene(hub, tmp_path):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    estimator(moving_pattern(3, 64, 64), size=(64, 64), output=tmp_path / "a.gc")
    before = gc.open(tmp_path / "a.gc").depth[:]

    def broken():
        yield from moving_pattern(2, 64, 64)
        yield moving_pattern(1, 32, 32)[0]

    with pytest.raises(gc.InputError, match="32x32"):
        estimator(broken(), size=(64, 64), output=tmp_path / "a.gc", overwrite=True)
    assert np.array_equal(gc.open(tmp_path / "a.gc").depth[:], before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gc"]


RUN = [sys.executable, "-m", "geometrycrafter.cli.main", "run"]
FLAGS = ["--size", "64x64", "--window", "12", "--overlap", "4"]


def digest(folder: Path) -> dict[str, bytes]:
    scene = gc.open(folder)
    return {k: getattr(scene, k)[:].tobytes() for k in ("depth", "mask", "intrinsics", "frames")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A video, and what a run that nobody stops makes of it."""
    folder = tmp_path_factory.mktemp("unbroken")
    video = write_video(folder / "v.mp4", moving_pattern(60, 64, 96))
    subprocess.run([*RUN, str(video), "-o", str(folder / "whole.gc"), *FLAGS], check=True, capture_output=True)
    return video, digest(folder / "whole.gc")


def last_write(folder: Path) -> int:
    return max((p.stat().st_mtime_ns for p in folder.rglob("*") if p.exists()), default=0)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_resumes_to_the_same_bits(unbroken, tmp_path, seed):
    video, whole = unbroken
    cut, rng, kills = tmp_path / "cut.gc", random.Random(seed), 0
    command = [*RUN, str(video), "-o", str(cut), *FLAGS, "--resume"]
    while kills < 3:
        before = last_write(cut)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # The clock starts once this run has written: before that, there is nothing to lose.
        while process.poll() is None and last_write(cut) == before:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.6))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    if kills == 3:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.wait() == 0, process.stderr.read()
    assert kills > 0
    assert digest(cut) == whole
    assert not (cut / "work").exists()


def test_importing_is_light():
    code = "import time; t = time.time(); import geometrycrafter; print(time.time() - t)"
    best = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout) for _ in range(3)
    )
    assert best < 5  # 2 s on a quiet machine; the margin is for a busy one


def test_weights_that_compute_in_half_precision_load(hub):
    assert gc.load(hub, "diffusion", prior=flat_prior, dtype=torch.float16).dtype == torch.float16
