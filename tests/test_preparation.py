"""From data sets to shards: what is held out, skipped, checked, refused and killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trees

from geometrycrafter.cli.main import main
from geometrycrafter.data.completeness import check
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.preparation import prepare
from geometrycrafter.data.segments import read_segment, segments
from geometrycrafter.data.shards import Shards


def test_prepared_shards_hold_the_room(tmp_path, capsys):
    truth = trees.virtual_kitti(tmp_path / "kitti")
    flags = ["--size", "48x64", "--processes", "1"]
    assert main(["data", "prepare", "virtual-kitti", str(tmp_path / "kitti"), str(tmp_path / "s"), *flags]) == 0
    said = capsys.readouterr().out
    assert "1 clips and 3 frames added" in said and (tmp_path / "s" / "report" / "sheet.png").exists()
    clip = Shards(tmp_path / "s").read(0)
    assert clip.source == "virtual-kitti Scene01-clone-0-000000" and clip.licence == "CC BY-NC-SA 3.0"
    found = trees.rays(clip.intrinsics[0].astype(float), (48, 64)) * clip.depth[..., None]
    np.testing.assert_allclose(found, truth.points, atol=0.01, rtol=4e-4)
    assert np.array_equal(clip.sky, truth.sky)
    assert main(["data", "prepare", "virtual-kitti", str(tmp_path / "kitti"), str(tmp_path / "s"), *flags]) == 0
    assert "0 clips and 0 frames added, 1 clips were there already" in capsys.readouterr().out


def test_whole_scenes_are_held_out_by_seed(tmp_path, capsys):
    trees.virtual_kitti(tmp_path / "one")
    for scene in range(12):
        for variant in ("clone", "fog"):
            shutil.copytree(tmp_path / "one" / "Scene01" / "clone", tmp_path / "v" / f"Scene{scene:02d}" / variant)
    flags = ["--size", "24x32", "--processes", "1", "--hold-out", "0.3"]

    def halves(name, *more):
        assert main(["data", "prepare", "virtual-kitti", str(tmp_path / "v"), str(tmp_path / name), *flags, *more]) == 0
        return [{c.key for c in Shards(tmp_path / name / part).clips} for part in ("", "held-out")]

    kept, held = halves("a")
    said = capsys.readouterr().out
    assert len(kept) + len(held) == 24 and f"24 clips and 72 frames added ({len(held)} clips of them held out)" in said
    scenes = [{key.split("-")[0] for key in half} for half in (kept, held)]
    assert scenes[0] and scenes[1] and not scenes[0] & scenes[1]  # with all their variants
    assert halves("a") == halves("b") == [kept, held]
    assert halves("c", "--hold-out-seed", "1")[1] != held
    # What comes later moves nothing from one part to the other.
    for variant in ("clone", "fog"):
        shutil.copytree(tmp_path / "one" / "Scene01" / "clone", tmp_path / "v" / "Scene99" / variant)
    later = halves("a")
    assert kept <= later[0] and held <= later[1]
    for wrong, reason in (
        (["--hold-out", "0.3", "--hold-out-seed", "1"], "begun here with hold-out-seed 0, not 1"),
        (["--hold-out", "1e-9"], "holds out none"),
    ):
        command = ["data", "prepare", "virtual-kitti", str(tmp_path / "v"), str(tmp_path / "a"), "--size", "24x32"]
        assert main([*command, *wrong]) == 2
        assert reason in capsys.readouterr().err
    trees.sintel(tmp_path / "e")
    assert main(["data", "prepare", "sintel", str(tmp_path / "e"), str(tmp_path / "o"), "--hold-out", "0.5"]) == 2
    assert "evaluation set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        ("hypersim", {}),
        ("synthia", {"SYNTHIA-SEQS-01-DAWN": "SYNTHIA-SEQS-01-WINTERNIGHT"}),
        ("mid-air", {"Kite_training/sunny/color_left/trajectory_0000": "Kite_training/fog/color_left/trajectory_2000"}),
        ("tartan-air", {"abandonedfactory/abandonedfactory/Easy": "abandonedfactory/abandonedfactory/Hard"}),
        ("irs", {"Home/ArchVizInterior03Data": "Home/ArchVizInterior03Data_Dark"}),
        ("ken-burns", {"asdf-flying": "asdf-walking"}),
        ("virtual-kitti", {"Scene01/clone": "Scene01/15-deg-left"}),
    ],
)
def test_sequences_of_one_place_are_one_scene(name, copies, tmp_path):
    trees.TREES[name].write(tmp_path)
    for source, target in copies.items():
        shutil.copytree(tmp_path / source, tmp_path / target)
    if name == "hypersim":
        for path in [*tmp_path.glob("ai_*/images/scene_cam_00_*"), tmp_path / "ai_001_001" / "_detail" / "cam_00"]:
            shutil.copytree(path, path.with_name(path.name.replace("cam_00", "cam_01")))
    found = data_set(name).sequences(tmp_path)
    assert len(found) == 2 and len({s.scene for s in found}) == 1 and found[0].scene


def test_training_clips_cover_the_papers_size(tmp_path):
    truth = trees.tartan_air(tmp_path)
    (segment,) = segments(data_set("tartan-air"), tmp_path)
    ((_, clip),), reasons = read_segment(data_set("tartan-air"), segment, (24, 48))
    assert clip.depth.shape == (3, 24, 48) and not reasons
    # 48x64 is resized to 36x48, of which the middle 24 rows stay; each pixel shows the nearest point.
    found = trees.rays(clip.intrinsics[0].astype(float), (24, 48)) * clip.depth[0][..., None]
    rows, columns = ((np.arange(6, 30) + 0.5) * 48 / 36).astype(int), ((np.arange(48) + 0.5) * 64 / 48).astype(int)
    wanted = truth.points[0][rows[:, None], columns]
    known = clip.mask[0]
    error = np.linalg.norm(found - wanted, axis=-1)[known]
    assert (error < 1.01 * clip.depth[0][known] / 320).all()


def test_broken_frames_are_skipped_named_and_counted(tmp_path, capsys):
    trees.gmu_kitchens(tmp_path / "g")
    trees.gta_sfm(tmp_path / "t")
    trees.virtual_kitti(tmp_path / "v")
    picture = tmp_path / "v" / "Scene01" / "clone" / "frames" / "rgb" / "Camera_0" / "rgb_00001.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    flags = ["--size", "48x64", "--processes", "2"]
    assert main(["data", "prepare", "virtual-kitti", str(tmp_path / "v"), str(tmp_path / "s"), *flags]) == 0
    said = capsys.readouterr().out
    assert "1 frames were skipped" in said and "rgb_00001.jpg" in said
    assert "rgb_00001.jpg" in (tmp_path / "s" / "report" / "skipped.txt").read_text()
    assert [(c.key, len(c)) for c in Shards(tmp_path / "s").clips] == [
        ("Scene01-clone-0-000000", 1),
        ("Scene01-clone-0-000000+002", 1),
    ]
    (tmp_path / "g" / "gmu_scene_001" / "Depths" / "depth_4.png").unlink()
    done = prepare("gmu-kitchens", tmp_path / "g", tmp_path / "e")
    assert done.clips == 0 and len(done.skipped) == 1 and "depth_4.png: the file is missing" in done.skipped[0]


def test_check_finds_what_a_download_lacks(tmp_path, capsys):
    trees.mid_air(tmp_path)
    found = check("mid-air", tmp_path)
    assert found.complete and found.frames == 3 and max(found.poses.values()) < 0.02
    assert main(["data", "prepare", "mid-air", str(tmp_path), "--check"]) == 0
    assert "poses fit the depth" in capsys.readouterr().out
    (tmp_path / "Kite_training" / "sunny" / "depth" / "trajectory_0000" / "000001.PNG").write_bytes(b"")
    assert main(["data", "prepare", "mid-air", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().out
    assert "missing" in said and "000001.PNG" in said and "incomplete" in said
    trees.mvs_synth(tmp_path / "m")
    assert not check("mvs-synth", tmp_path / "m").complete  # 3 of 12,000 frames


def test_what_is_wrong_is_said_in_a_sentence(tmp_path, capsys, monkeypatch):
    trees.spring(tmp_path / "s")
    for flags, wanted in (
        (["nothing", str(tmp_path), str(tmp_path / "o")], "there is no such data set"),
        (["sintel", str(tmp_path / "nowhere"), str(tmp_path / "o")], "no such folder"),
        (["sintel", str(tmp_path / "s"), str(tmp_path / "o")], "looks like Sintel"),
        (["spring", str(tmp_path / "s")], "folder of shards is missing"),
    ):
        assert main(["data", "prepare", *flags]) == 2
        said = capsys.readouterr().err
        assert wanted in said and "Traceback" not in said
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    assert main(["data", "prepare", "spring", str(tmp_path / "s"), str(tmp_path / "o")]) == 2
    assert "make room" in capsys.readouterr().err


def test_a_killed_preparation_loses_no_clip(tmp_path):
    for i in range(6):
        trees.spring(tmp_path / "one")
        (tmp_path / "spring" / "train").mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / "one" / "train" / "0001", tmp_path / "spring" / "train" / f"{i + 1:04d}")
    reference = prepare("spring", tmp_path / "spring", tmp_path / "whole", (48, 64))
    assert reference.clips == 6
    slow = """
import sys, time
from pathlib import Path
from geometrycrafter.data import preparation

add = preparation.ShardWriter.add

def slowly(self, key, clip):
    add(self, key, clip)
    print(key, flush=True)
    if len(self.clips) == 3:
        time.sleep(60)

preparation.ShardWriter.add = slowly
preparation.prepare("spring", Path(sys.argv[1]), Path(sys.argv[2]), (48, 64))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", slow, str(tmp_path / "spring"), str(tmp_path / "cut")], stdout=subprocess.PIPE, text=True
    )
    for _ in range(3):
        assert child.stdout.readline()
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not list((tmp_path / "cut").glob("*.tar"))
    again = prepare("spring", tmp_path / "spring", tmp_path / "cut", (48, 64))
    assert again.kept == 3 and again.clips == 3
    a, b = Shards(tmp_path / "whole"), Shards(tmp_path / "cut")
    order = {c.key: i for i, c in enumerate(b.clips)}
    for i, clip in enumerate(a.clips):
        one, other = a.read(i), b.read(order[clip.key])
        assert all(np.array_equal(one.arrays()[k], other.arrays()[k]) for k in one.arrays())
    assert not list(Path(tmp_path / "cut").glob(".*"))
