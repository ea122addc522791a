"""Runs of clips that a lens took: everything is of the pinhole view, and the scene keeps both cameras."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from conftest import flat_prior, moving_pattern, write_video
from test_cli import refused, say

import geometrycrafter as gc
from geometrycrafter.errors import InputError
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

CUSHION = Lens("SIMPLE_RADIAL", (70.0, 47.5, 31.5, 0.3), 64, 96)
ROW = "70,70,47.5,31.5,-0.2,0.01,0.001,-0.002"


@pytest.fixture(scope="module")
def estimator(hub):
    return gc.load(hub, "deterministic", prior=flat_prior)


def test_a_run_is_that_of_the_undistorted_frames(estimator, tmp_path) -> None:
    video = moving_pattern(6, 64, 96)
    source = open_frames(video, Reading(camera=CUSHION))
    undone = source.undistortion
    assert undone is not None and not undone.valid.all()
    # As decoded: what the lens doesn't see has no part in keeping depth steady, and is picture in the other.
    how = {"size": (64, 64), "steady": "off"}
    scene = estimator(source, output=tmp_path / "a.gc", **how)
    plain = estimator(np.stack(list(source)), intrinsics=undone.intrinsics, **how)
    np.testing.assert_array_equal(np.asarray(scene.depth), np.asarray(plain.depth))
    np.testing.assert_array_equal(np.asarray(scene.mask), np.asarray(plain.mask) & undone.valid)
    fx, fy, cx, cy = undone.intrinsics
    np.testing.assert_allclose(scene.intrinsics[0], [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    again = gc.open(tmp_path / "a.gc")
    assert again.lens == CUSHION and plain.lens is None
    rays, seen = again.lens.rays()
    assert rays.shape == (64, 96, 3) and seen.all()
    assert estimator(source, output=tmp_path / "a.gc", resume=True, **how).lens == CUSHION
    with pytest.raises(InputError, match=r"--camera \(SIMPLE_RADIAL 70\.0,47\.5,31\.5,0\.3"):
        estimator(open_frames(video), output=tmp_path / "a.gc", resume=True, **how)
    with pytest.raises(InputError, match="exclude each other"):
        estimator(source, intrinsics=(50, 50, 48, 32))


def test_a_row_and_a_file_give_the_same_run(tmp_path, capsys) -> None:
    path = write_video(tmp_path / "a.mp4", moving_pattern(3, 64, 96))
    values = " ".join(ROW.split(",")).replace("47.5", "48").replace("31.5", "32")
    (tmp_path / "cameras.txt").write_text(f"1 OPENCV 96 64 {values}\n")
    for name, camera in (("a", ROW), ("b", tmp_path / "cameras.txt")):
        say(capsys, "run", path, "-o", tmp_path / f"{name}.gc", "--camera", camera)
    one, other = gc.open(tmp_path / "a.gc"), gc.open(tmp_path / "b.gc")
    assert one.lens == other.lens and one.lens.model == "OPENCV" and (one.lens.height, one.lens.width) == (64, 96)
    np.testing.assert_array_equal(np.asarray(one.depth), np.asarray(other.depth))
    frames = one.open_source()
    assert (frames.height, frames.width) == one.depth.shape[1:]


def test_a_camera_that_cannot_be_is_told_in_a_sentence(tmp_path, capsys) -> None:
    path = write_video(tmp_path / "a.mp4", moving_pattern(2, 64, 96))
    (tmp_path / "big.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
    run = ("run", path, "-o", tmp_path / "a.gc")
    assert "exclude each other" in refused(capsys, *run, "--camera", ROW, "--intrinsics", "70,70,48,32")
    assert "640x480, but the video is 96x64" in refused(capsys, *run, "--camera", tmp_path / "big.txt")
    assert "check the path" in refused(capsys, *run, "--camera", tmp_path / "none.txt")
    assert "no camera file" in refused(capsys, *run, "--camera", path)
    assert not (tmp_path / "a.gc").exists()


def test_what_a_run_can_be_told_is_known_without_torch() -> None:
    code = "import sys, geometrycrafter.video.options, geometrycrafter.cli.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
