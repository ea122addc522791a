"""Scenes of RGB-D recordings: depth, camera, times, poses and metres are the recording's own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import SHARED_DATA
from PIL import Image

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered

SIZE = (10, 96, 128)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A made one, of the renderer's depth in millimetres, with a hole and a camera's file."""
    folder = tmp_path_factory.mktemp("recording")
    clip = rendered(100, *SIZE)
    millimetres = np.where(clip.mask, clip.depth * 1000, 0).round().clip(0, 60000).astype(np.uint16)
    millimetres[:, :10, :10] = 0
    for t in range(SIZE[0]):
        name = f"frame-{t:06d}"
        Image.fromarray(clip.frames[t]).save(folder / f"{name}.color.png")
        Image.fromarray(millimetres[t]).save(folder / f"{name}.depth.png")
        np.savetxt(folder / f"{name}.pose.txt", clip.poses[t])
    np.savetxt(folder / "camera-intrinsics.txt", clip.intrinsics[0])
    return folder, clip, millimetres


@pytest.mark.parametrize("cut", [[], ["--start", "2", "--end", "9", "--stride", "3"]])
def test_a_recording_becomes_a_scene(recording, tmp_path, capsys, cut):
    folder, clip, millimetres = recording
    chosen = slice(2, 9, 3) if cut else slice(None)
    assert main(["run", str(folder), "-o", str(tmp_path / "a.gc"), "--depth", "recorded", *cut]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"scene: {tmp_path / 'a.gc'}" and "warning" not in said.err
    scene = gc.open(tmp_path / "a.gc")
    assert scene.unit == "m" and scene.attributes["model"] == "recorded"
    np.testing.assert_allclose(scene.depth[:], millimetres[chosen] / 1000, atol=1e-6)
    np.testing.assert_array_equal(scene.mask[:], millimetres[chosen] > 0)
    np.testing.assert_allclose(scene.intrinsics[:], clip.intrinsics[chosen], rtol=1e-6)
    np.testing.assert_allclose(scene.poses[:], clip.poses[chosen], atol=1e-6)
    np.testing.assert_allclose(np.diff(scene.times), (3 if cut else 1) / 24)
    frames = list(scene.open_source())
    np.testing.assert_array_equal(np.stack(frames), clip.frames[chosen])


def test_poses_of_a_recording_are_found_at_once_in_metres(recording, tmp_path, capsys):
    folder, clip, _ = recording
    command = ["run", str(folder), "-o", str(tmp_path / "a.gc"), "--depth", "recorded", "--poses", "--surfaces"]
    assert main(command) == 0
    scene = gc.open(tmp_path / "a.gc")
    assert scene.unit == "m" and "10 of 10 frames" in capsys.readouterr().out
    truth = np.linalg.inv(clip.poses[0]) @ clip.poses
    path = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).sum()
    assert np.linalg.norm(scene.poses[:, :3, 3] - truth[:, :3, 3], axis=1).max() < 0.06 * path


def test_a_part_is_matched_to_its_part_of_the_recording(recording, tmp_path, capsys):
    """Also where the scene is refined by the recording's own poses, which are of all its frames."""
    folder, clip, _ = recording
    place = str(tmp_path / "a.gc")
    assert main(["run", str(folder), "-o", place, "--depth", "recorded", "--start", "3", "--end", "8"]) == 0
    assert main(["poses", place, "--poses", str(folder)]) == 0
    np.testing.assert_allclose(gc.open(place).poses[:], clip.poses[3:8], atol=1e-5)


def test_frames_whose_place_the_recorder_lost_are_not_known(recording, tmp_path):
    folder = tmp_path / "lost"
    shutil.copytree(recording[0], folder)
    (folder / "frame-000004.pose.txt").write_text("\n".join(["-inf -inf -inf -inf"] * 4))
    assert main(["run", str(folder), "-o", str(tmp_path / "a.gc"), "--depth", "recorded"]) == 0
    scene, others = gc.open(tmp_path / "a.gc"), np.arange(10) != 4
    assert scene.array("pose_quality")[:].tolist() == others.astype(float).tolist()
    np.testing.assert_allclose(scene.poses[:][others], recording[1].poses[others], atol=1e-6)
    assert main(["export", str(tmp_path / "a.gc"), "tum"]) == 0
    assert len((tmp_path / "a.tum").read_text().split("\n")) >= 9


def test_depth_in_metres_still_is_when_its_shape_is_refined(recording, tmp_path):
    command = ["run", str(recording[0]), "-o", str(tmp_path / "a.gc"), "--depth", "recorded", "--poses", "--refine"]
    assert main(command) == 0
    scene = gc.open(tmp_path / "a.gc")
    assert scene.refined and scene.unit == "m"
    ratio = np.log(np.asarray(scene.depth)[scene.mask[:]] / np.asarray(scene.predicted.depth)[scene.mask[:]])
    assert abs(np.median(ratio)) < 0.02


@pytest.mark.parametrize(
    ("word", "flags"),
    [
        ("--window is no use", ["--window", "6"]),
        ("--resume is no use", ["--resume"]),
        ("--model is no use", ["--model", "tiny"]),
        ("by --start, --end and --stride alone", ["--start-time", "0.1"]),
        ("has 10 frames, so --start 12 selects none", ["--start", "12"]),
        ("add --poses", ["--surfaces"]),
    ],
)
def test_what_goes_wrong_is_told_and_leaves_nothing(recording, tmp_path, capsys, word, flags):
    folder = recording[0]
    assert main(["run", str(folder), "-o", str(tmp_path / "a.gc"), "--depth", "recorded", *flags]) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "a.gc").exists()


def test_what_is_no_recording_is_told(recording, tmp_path, capsys):
    command = ["run", str(tmp_path), "-o", str(tmp_path / "b" / "a.gc"), "--depth", "recorded"]
    assert main(command) == 2
    assert "no colour files" in capsys.readouterr().err
    place = tmp_path / "c.gc"
    command = ["run", str(recording[0]), "-o", str(place), "--depth", "recorded"]
    assert main(command) == 0 and main(command) == 2
    assert "the output exists" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0 and len(gc.open(place)) == SIZE[0]


def test_the_kitchen(tmp_path):
    folder = SHARED_DATA / "rgbd"
    if not folder.is_dir():
        pytest.skip("the recording is not on this machine")
    assert main(["run", str(folder), "-o", str(tmp_path / "a.gc"), "--depth", "recorded", "--end", "3"]) == 0
    scene = gc.open(tmp_path / "a.gc")
    assert scene.depth.shape == (3, 480, 640) and scene.poses.shape == (3, 4, 4) and scene.unit == "m"
    assert 0.5 < np.median(scene.depth[0][scene.mask[0]]) < 5
