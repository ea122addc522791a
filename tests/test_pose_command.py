"""``geometrycrafter poses`` and ``run --poses``: what they leave in a scene, and what they say."""

import numpy as np
import pytest
import torch
from conftest import write_video

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.poses.trajectories import read_trajectory


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A video and the embedded model's scene of it."""
    folder = tmp_path_factory.mktemp("poses")
    clip = rendered(100, 8, 128, 192)
    write_video(folder / "a.mp4", clip.frames)
    assert main(["run", str(folder / "a.mp4"), "-o", str(folder / "a.gc"), "--refine"]) == 0
    return folder


def test_a_run_refines(made, capsys):
    scene = gc.open(made / "a.gc")
    assert scene.poses.shape == (8, 4, 4) and scene.refined and not scene.predicted.refined
    stored = np.stack([scene.predicted.depth[t] for t in range(8)])
    ratio = np.asarray(scene.depth) / stored
    assert ratio.std() > 1e-4
    np.testing.assert_allclose(scene.points[3][..., 2], scene.depth[3])
    np.testing.assert_array_equal(scene.depth[2:5, ::2, 1], np.asarray(scene.depth)[2:5, ::2, 1])
    np.testing.assert_array_equal(scene.depth[-1], np.asarray(scene.depth)[7])
    corner = np.exp(np.asarray(scene.array("depth_correction"))[:, 0, 0])
    np.testing.assert_allclose(ratio[:, 0, 0], corner, rtol=1e-5)
    assert scene.array("moving").shape == scene.mask.shape
    assert np.isfinite(scene.array("pose_quality")[:]).all()


def test_again_without_refining_and_discarded(made, capsys):
    place = str(made / "a.gc")
    before = np.asarray(gc.open(place).predicted.depth)
    assert main(["poses", place]) == 0
    assert "8 of 8 frames" in capsys.readouterr().out
    scene = gc.open(place)
    assert scene.poses is not None and not scene.refined
    np.testing.assert_array_equal(np.asarray(scene.depth), before)
    assert main(["poses", place, "--discard"]) == 0
    assert gc.open(place).poses is None and gc.open(place).array("moving") is None


@pytest.mark.parametrize(
    "flag", [["--refine"], ["--distance", "1,1,9,9,2"], ["--source", "a.mp4"], ["--mask-at", "1,2"]]
)
def test_to_find_and_to_discard_at_once_is_refused(made, capsys, flag):
    place = str(made / "a.gc")
    assert main(["poses", place]) == 0
    before = np.asarray(gc.open(place).poses)
    capsys.readouterr()
    assert main(["poses", place, "--discard", *flag]) == 2
    assert flag[0] in capsys.readouterr().err
    np.testing.assert_array_equal(np.asarray(gc.open(place).poses), before)


def test_poses_go_out_and_come_in_as_tum(made, capsys):
    place = str(made / "a.gc")
    assert main(["poses", place]) == 0
    scene = gc.open(place)
    assert main(["export", place, "tum", str(made / "a.tum"), "--overwrite"]) == 0
    again = read_trajectory(made / "a.tum", scene.times)
    np.testing.assert_allclose(again, scene.poses[:], atol=1e-5)
    assert main(["poses", place, "--poses", str(made / "a.tum")]) == 0
    np.testing.assert_allclose(gc.open(place).poses[:], again, atol=1e-5)
    np.testing.assert_allclose(read_trajectory(place, scene.times), again, atol=1e-5)


def test_masks_are_videos_or_folders(made, capsys):
    masks = np.zeros((8, 128, 192, 3), np.uint8)
    masks[:, 20:60, 30:90] = 255
    write_video(made / "mask.mp4", masks)
    assert main(["poses", str(made / "a.gc"), "--mask", str(made / "mask.mp4")]) == 0
    moving = gc.open(made / "a.gc").array("moving")[4]
    assert moving[40, 60] and not moving[100, 150]
    write_video(made / "short.mp4", masks[:5])
    assert main(["poses", str(made / "a.gc"), "--mask", str(made / "short.mp4")]) == 2
    assert "5 masks for 8 frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no file of poses"),
        (b"\x00\xff\x01", "no file of poses"),
        (b"0 0 0 0 0 0 0 1\n", "1 poses for 8 frames"),
        (b"0 0 0 0 nan 0 0 1\n" * 8, "finite"),
        (b"0 0 0 0 0 0 0 0\n" * 8, "no file of poses"),
        (b"a,b,c\n1,2,3\n", "no file of poses"),
    ],
)
def test_files_that_are_no_poses(made, capsys, tmp_path, content, word):
    (tmp_path / "poses.txt").write_bytes(content)
    assert main(["poses", str(made / "a.gc"), "--poses", str(tmp_path / "poses.txt")]) == 2
    error = capsys.readouterr().err
    assert word in error and "Traceback" not in error


def test_frames_that_are_elsewhere_or_read_once(made, capsys, tmp_path):
    clip = rendered(100, 8, 128, 192)
    gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics).save(tmp_path / "b.gc")
    assert main(["poses", str(tmp_path / "b.gc")]) == 2
    assert "which frames" in capsys.readouterr().err
    scene = gc.open(tmp_path / "b.gc")
    found = gc.poses.estimate(scene, torch.from_numpy(clip.frames))
    assert found.known.all()


def test_colmap_images_are_read(tmp_path):
    lines = ["# images", "1 1 0 0 0 0 0 0 1 b.png", "", "2 0.7071068 0 0.7071068 0 1 2 3 1 a.png", "1 2 3 4 5 6"]
    (tmp_path / "images.txt").write_text("\n".join(lines) + "\n")
    poses = read_trajectory(tmp_path / "images.txt", np.arange(2.0))
    np.testing.assert_allclose(poses[1], np.eye(4))
    np.testing.assert_allclose(
        poses[0][:3, :3] @ [1.0, 2, 3] + poses[0][:3, 3], 0 + poses[0][:3, :3] @ [0, 0, 0], atol=1e-6
    )


@pytest.mark.parametrize("cut", [["--start", "2", "--stride", "2"], ["--end", "5"]])
def test_masks_of_the_whole_video_are_cut_as_the_scene_is(made, tmp_path, cut):
    moving = np.zeros((8, 128, 192), bool)
    for t in range(8):
        moving[t, 20:60, 20 * t : 20 * t + 20] = True
    write_video(tmp_path / "mask.mp4", np.repeat(moving[..., None], 3, -1).astype(np.uint8) * 255)
    place = str(tmp_path / "cut.gc")
    assert main(["run", str(made / "a.mp4"), "-o", place, *cut]) == 0
    assert main(["poses", place, "--mask", str(tmp_path / "mask.mp4")]) == 0
    stored = gc.open(place).array("moving")[:]
    chosen = moving[2::2] if "--start" in cut else moving[:5]
    assert stored.shape[0] == len(chosen)
    for found, asked in zip(stored, chosen, strict=True):
        assert (found & asked).sum() > 0.8 * (found | asked).sum()


def test_a_scene_with_a_pose_that_is_not_known_gives_none(made, tmp_path):
    scene = gc.open(made / "a.gc")
    scene.save(tmp_path / "b.gc")
    quality = np.ones(8, np.float32)
    other = gc.open(tmp_path / "b.gc")
    other.set_arrays({"pose_quality": quality, "poses": np.tile(np.eye(4), (8, 1, 1))})
    assert len(read_trajectory(tmp_path / "b.gc", scene.times)) == 8
    quality[5] = 0
    other.set_arrays({"pose_quality": quality, "poses": np.tile(np.eye(4), (8, 1, 1))})
    with pytest.raises(gc.InputError, match="pose of frame 5 is not known"):
        read_trajectory(tmp_path / "b.gc", scene.times)
