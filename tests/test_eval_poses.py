"""``geometrycrafter eval poses``: scenes against a file, and the literature's protocols on trees in their layout."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import trees
from conftest import SHARED_DATA
from test_export_worlds import plane
from test_scene_files import made
from test_trajectories import by_evo, elsewhere, shaken, walk

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.evaluation.clips import clips_of
from geometrycrafter.evaluation.protocols import PROTOCOLS, protocol_of


def tum_lines(poses: np.ndarray, times: np.ndarray) -> str:
    """As TUM's tools write them."""
    rows = []
    for t, pose in zip(times, poses):
        x, y, z, w = trees.quaternion(pose[:3, :3])[[1, 2, 3, 0]]
        rows.append(" ".join(f"{v:.9f}" for v in (t, *pose[:3, 3], x, y, z, w)))
    return "# timestamp tx ty tz qx qy qz qw\n" + "\n".join(rows) + "\n"


def scene_of(poses: np.ndarray, path) -> gc.Scene:
    count = len(poses)
    scene = gc.Scene.from_depth(np.ones((count, 4, 4)), np.ones((count, 4, 4), bool), np.eye(3), fps=10)
    scene.set_poses(poses)
    return scene.save(path)


def test_scenes_against_a_file(tmp_path, capsys):
    truth = walk(7)
    found = elsewhere(shaken(truth, 8), 9, 0.3)
    scene_of(found, tmp_path / "a.gc")
    scene_of(truth, tmp_path / "b.gc")
    (tmp_path / "truth.txt").write_text(tum_lines(truth, np.arange(30) / 10))
    command = ["eval", "poses", str(tmp_path / "a.gc"), str(tmp_path / "b.gc"), "--truth", str(tmp_path / "truth.txt")]
    assert main(command) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    first, second = (next(r for r in rows if r and r[0].endswith(name)) for name in ("a.gc", "b.gc"))
    wanted = by_evo(found, truth, "sim3")
    for text, name in zip(first[1:4], ("ate", "rpe_translation", "rpe_rotation")):
        assert float(text) == pytest.approx(wanted[name], abs=6e-4)
    assert [float(x) for x in second[1:4]] == pytest.approx([0, 0, 0], abs=1e-3) and first[-1] == "30/30"
    assert main([*command, "--align", "none"]) == 0
    assert float(next(r for r in capsys.readouterr().out.splitlines() if "a.gc" in r).split()[1]) > 1


def test_each_shot_is_judged_in_its_own_world(tmp_path, capsys):
    truth = walk(7)
    found = np.concatenate([elsewhere(truth[:12], 1, 3), elsewhere(truth[12:], 2, 0.2)])
    scene = scene_of(found, tmp_path / "a.gc")
    scene.set_array("shots", np.array([0, 12]))
    (tmp_path / "truth.txt").write_text(tum_lines(truth, np.arange(30) / 10))
    assert main(["eval", "poses", str(tmp_path / "a.gc"), "--truth", str(tmp_path / "truth.txt")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if ", shot " in line]
    assert [(r[3], r[-1]) for r in rows] == [("0.0000", "12/12"), ("0.0000", "18/18")]


def test_a_still_camera_is_said_to_be_one(tmp_path, capsys):
    truth = walk(7)
    truth[:, :3, 3] = 0
    scene_of(shaken(truth, 8), tmp_path / "a.gc")
    (tmp_path / "truth.txt").write_text(tum_lines(truth, np.arange(30) / 10))
    assert main(["eval", "poses", str(tmp_path / "a.gc"), "--truth", str(tmp_path / "truth.txt")]) == 0
    said = capsys.readouterr().out
    assert "stands still" in said
    assert next(r for r in said.splitlines() if "a.gc " in r and "–" in r).split()[1:3] == ["–", "–"]


def test_what_can_not_be_judged_is_said_in_a_sentence(tmp_path, capsys):
    made().save(tmp_path / "a.gc")
    plane().save(tmp_path / "b.gc")
    (tmp_path / "truth.txt").write_text(tum_lines(walk(1, 9), np.arange(9) / 10))
    truth = ["--truth", str(tmp_path / "truth.txt")]
    for arguments, said in (
        ([str(tmp_path / "a.gc"), *truth], "no poses; run"),
        ([str(tmp_path / "b.gc"), "--truth", str(tmp_path / "none.txt")], "there is no file of poses"),
        ([str(tmp_path / "b.gc")], "--truth FILE"),
        (truth, "name scenes"),
        ([], "name scenes"),
        (["kitti", str(tmp_path)], "sintel-final, tum-dynamics, scannet"),
        (["nothing", str(tmp_path)], "no such data set"),
    ):
        assert main(["eval", "poses", *arguments]) == 2
        assert said in capsys.readouterr().err
    assert main(["eval", "rendered", "--refine"]) == 2 and "for 'eval poses'" in capsys.readouterr().err


def tum_dynamics(root, name: str = "freiburg3_walking_xyz", frames: int = 40) -> trees.Truth:
    """A recording as TUM distributes it: three clocks, pictures without a pose, poses between pictures."""
    k = np.array([[535.4, 0, 320.1], [0, 539.2, 247.6], [0, 0, 1]])
    truth = trees.room(k, (480, 640), frames)
    folder = root / f"rgbd_dataset_{name}"
    start, times = 1341845688.5, np.arange(frames) / 30
    lists = {"rgb": ["# color images"], "depth": ["# depth maps"]}
    for t in range(frames):
        for kind, at, image in (
            ("rgb", start + times[t], truth.pictures[t]),
            ("depth", start + times[t] + 0.006, np.rint(truth.depth[t] * 5000).astype(np.uint16)),
        ):
            trees.picture(folder / kind / f"{at:.6f}.png", image)
            lists[kind].append(f"{at:.6f} {kind}/{at:.6f}.png")
    for kind, lines in lists.items():
        trees.text(folder / f"{kind}.txt", "\n".join(lines))
    seen = np.arange(frames) != 4  # the motion capture lost the camera once
    trees.text(folder / "groundtruth.txt", tum_lines(truth.poses[seen], start + times[seen] + 0.004))
    return truth


def test_tums_frames_and_poses_are_those_of_the_literature(tmp_path):
    truth = tum_dynamics(tmp_path / "tum", frames=12)
    (clip,) = clips_of(protocol_of("tum-dynamics", poses=True), tmp_path / "tum")
    assert clip.name == "freiburg3_walking_xyz"
    chosen = [0, 3, 7, 10]  # every third of those with a pose, which the fifth picture has not
    loaded = clip.load()
    np.testing.assert_allclose(loaded.poses, truth.poses[chosen], atol=1e-5)
    np.testing.assert_array_equal(loaded.frames, truth.pictures[chosen])
    np.testing.assert_allclose(loaded.depth, np.where(truth.sky, 0, truth.depth)[chosen], atol=1.1e-4)
    np.testing.assert_allclose(loaded.intrinsics[0], truth.intrinsics, rtol=1e-6)


def test_sintels_final_pass_of_moving_cameras_is_judged(tmp_path):
    truth = trees.sintel(tmp_path)
    training = tmp_path / "training"
    for pass_, folder in (("clean", "clean"), ("clean", "final")):
        shutil.copytree(training / pass_ / "alley_1", training / folder / "alley_2")
    for kind in ("depth", "camdata_left"):
        shutil.copytree(training / kind / "alley_1", training / kind / "alley_2")
    trees.picture(training / "final" / "alley_2" / "frame_0002.png", 255 - truth.pictures[1])
    protocol = protocol_of("sintel", poses=True)
    (clip,) = clips_of(protocol, tmp_path)  # alley_1's camera goes straight
    loaded = clip.load()
    np.testing.assert_array_equal(loaded.frames[1], 255 - truth.pictures[1])
    np.testing.assert_allclose(loaded.poses, truth.poses, atol=1e-5)
    assert len(protocol.selection.sequences) == 14 and protocol.selection.frames is None


def test_the_protocols_say_frames_and_sequences():
    tum, scannet = (PROTOCOLS[f"poses-{name}"].selection for name in ("tum-dynamics", "scannet"))
    assert (tum.frames, tum.stride) == (scannet.frames, scannet.stride) == (90, 3)
    assert len(scannet.sequences) == 100 and scannet.sequences[0] == "scene0707_00"


RECORDING = SHARED_DATA / "rgbd"
needs_recording = pytest.mark.skipif(not RECORDING.is_dir(), reason="the recording is not here")


@needs_recording
def test_the_solver_on_true_depth_beats_a_still_camera_and_rows_are_kept(tmp_path, capsys):
    command = ["eval", "poses", "folder", str(RECORDING), "--depth", "true", "--frames", "10"]
    command += ["-o", str(tmp_path / "e")]
    assert main(command) == 0
    stored = json.loads((tmp_path / "e" / "report.json").read_text())
    assert stored["about"]["protocol"] == "poses-folder-v1"
    solved, still = (stored["means"][name] for name in ("true depth", "still camera"))
    # Over these frames the camera moves by two centimetres; the true places of neighbours are a tenth of that apart.
    for key, share in (("ate", 0.4), ("rpe_rotation", 0.5), ("rpe_translation", 1)):
        assert solved[key]["mean"] < share * still[key]["mean"]
    assert (
        stored["ranks"]["true depth, surfaces"] == 1
        and stored["ranks"]["true depth"] == 2
        and solved["known"]["mean"] == 1
    )
    rows = {p: p.stat().st_mtime_ns for p in (tmp_path / "e" / "rows").rglob("*.json")}
    assert len(rows) == 3
    assert main(command) == 0 and {p: p.stat().st_mtime_ns for p in rows} == rows
    said = capsys.readouterr().out
    assert "RPE, turn" in said and "ATE and RPE, place in the unit of the truth" in said
    assert "in %;" not in (tmp_path / "e" / "report.md").read_text()


@needs_recording
def test_poses_that_others_wrote_are_judged(tmp_path, capsys):
    truth = np.stack([np.loadtxt(p) for p in sorted(RECORDING.glob("*.pose.txt"))[:8]])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rgbd.txt").write_text(tum_lines(elsewhere(truth, 3, 9), np.arange(8) / 30))
    command = ["eval", "poses", "folder", str(RECORDING), "--frames", "8", "-o", str(tmp_path / "e")]
    assert main([*command, "--predictions", f"own={tmp_path / 'own'}"]) == 0
    means = json.loads((tmp_path / "e" / "report.json").read_text())["means"]
    assert set(means) == {"own", "still camera"} and means["own"]["ate"]["mean"] < 1e-5
    (tmp_path / "own" / "rgbd.txt").unlink()
    assert main([*command, "--predictions", f"own={tmp_path / 'own'}"]) == 2
    assert "holds neither" in capsys.readouterr().err


def test_help_is_of_poses_alone(capsys):
    told = {}
    for words in (["poses"], ["steady"], []):
        with pytest.raises(SystemExit) as end:
            main(["eval", *words, "--help"])
        assert end.value.code == 0
        told[" ".join(words)] = capsys.readouterr().out
    assert "--align" in told["poses"] and "--baseline" not in told["poses"] and "gmu-kitchens" not in told["poses"]
    assert "--" not in told["steady"] and "SCENE" in told["steady"]
    assert "--baseline" in told[""] and "--align" in told[""]
