"""Every data set's adapter against trees in its true layout, compared in 3-D."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trees
from conftest import SHARED_DATA

from geometrycrafter.cli.main import main
from geometrycrafter.data import formats
from geometrycrafter.data.datasets import data_set, data_sets
from geometrycrafter.data.layouts import matches
from geometrycrafter.data.segments import read_segment, segments
from geometrycrafter.errors import InputError
from geometrycrafter.geometry.reprojection import disagreement


def test_there_are_fourteen_that_train_and_seven_that_judge():
    found = data_sets().values()
    assert sum(d.evaluation is None for d in found) == 14 and sum(d.evaluation is not None for d in found) == 7
    assert {d.name for d in found if not d.video} == {"hypersim", "structured3d", "urban-syn", "diode"}
    assert set(trees.TREES) == set(data_sets())
    assert data_set("VirtualKITTI2") is data_set("virtual_kitti") is data_set("virtual-kitti")


def test_the_documentation_lists_every_data_set():
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for data in data_sets().values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{data.name}` |"))
        for said in (data.title, data.domain, data.frame_size, data.licence, data.home, data.paper):
            assert said in row
        assert all(note in text for note in data.notes)


@pytest.mark.parametrize("name", trees.TREES)
def test_points_are_where_the_room_is(name, tmp_path):
    tree, data = trees.TREES[name], data_set(name)
    truth = tree.write(tmp_path)
    sequences = data.sequences(tmp_path)
    items = [item for s in sequences for item in s.items]
    frames = [data.read(**item) for item in items]
    assert len(frames) == len(truth.depth)
    for index, frame in enumerate(frames):
        t = index % len(truth.depth)
        assert frame.picture.dtype == np.uint8
        if name == "hypersim":  # colours are tone-mapped; what is bright stays so
            assert np.corrcoef(frame.picture.ravel(), truth.pictures[t].ravel())[0, 1] > 0.95
        else:
            assert np.abs(frame.picture.astype(int) - truth.pictures[t]).mean() < 6, index
        known = frame.depth > 0
        wanted = truth.points[t]
        if name == "ddad":
            # Sparse, and a point lies within the pixel whose corner the authors' toolkit takes it to.
            assert known.sum() == (truth.depth[t][::3, ::3] > 0).sum() and not known[1::3].any()
            np.testing.assert_allclose(frame.depth[known], truth.depth[t][known], rtol=1e-5)
            np.testing.assert_allclose(frame.intrinsics, truth.intrinsics)
        else:
            assert np.array_equal(known, ~truth.sky[t])
            found = trees.rays(frame.intrinsics, known.shape) * frame.depth[..., None]
            error = np.linalg.norm(found - wanted, axis=-1)[known]
            length = np.linalg.norm(wanted, axis=-1)[known]
            stretch = length / truth.depth[t][known]
            assert (error <= tree.relative * 1.01 * length + tree.absolute * stretch + 1e-6).all(), error.max()
        if tree.sky:
            assert np.array_equal(frame.sky, truth.sky[t])
        else:
            assert frame.sky is None
        assert (frame.pose is not None) == tree.poses


@pytest.mark.parametrize("name", [n for n, tree in trees.TREES.items() if tree.poses])
def test_poses_carry_one_frame_into_another(name, tmp_path):
    data = data_set(name)
    truth = trees.TREES[name].write(tmp_path)
    a, b = (data.read(**item) for item in data.sequences(tmp_path)[0].items[:2])
    motion = np.linalg.inv(a.pose) @ b.pose
    np.testing.assert_allclose(motion, np.linalg.inv(truth.poses[0]) @ truth.poses[1], atol=2e-5, rtol=1e-5)
    assert np.linalg.det(a.pose[:3, :3]) == pytest.approx(1, abs=1e-5)
    if name != "ddad":  # a few points in a hundred pixels: the nearest pixel has none
        depth, k, pose = map(torch.tensor, (a.depth, a.intrinsics, a.pose))
        to_depth, to_k, to_pose = map(torch.tensor, (b.depth, b.intrinsics, b.pose))
        right = disagreement(depth, k, pose, to_depth, to_k, to_pose)
        assert right < 0.01 and disagreement(depth, k, to_pose, to_depth, to_k, pose) > 3 * right


@pytest.mark.parametrize("name", ["irs", "mid-air", "synthia", "tartan-air", "urban-syn", "diode", "dynamic-replica"])
def test_a_camera_that_looks_straight_ahead_looks_through_the_middle_of_its_picture(name, tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "square", lambda *_: trees.fixed(50, 50, 31.5, 23.5))
    trees.TREES[name].write(tmp_path)
    item = data_set(name).sequences(tmp_path)[0].items[0]
    # Cameras of a fixed size are of the pictures as they are distributed.
    height, width = (48, 64) if name == "dynamic-replica" else map(int, data_set(name).frame_size.split("x"))
    assert data_set(name).read(**item).intrinsics[:2, 2].tolist() == [(width - 1) / 2, (height - 1) / 2]


@pytest.mark.parametrize("name", ["spring", "mvs-synth"])
def test_half_the_size_is_the_middle_where_a_file_does_not_say_how_it_counts(name, tmp_path, monkeypatch):
    for kind, stored in (("half", (32, 24)), ("middle", (31.5, 23.5)), ("elsewhere", (33, 24))):
        monkeypatch.setattr(trees, "square", lambda *_, stored=stored: trees.fixed(50, 50, *stored))
        trees.TREES[name].write(tmp_path / kind)
        frame = data_set(name).read(**data_set(name).sequences(tmp_path / kind)[0].items[0])
        assert frame.intrinsics[:2, 2].tolist() == ([31.5, 23.5] if kind == "half" else list(stored))


def test_synthia_is_read_whatever_hand_its_world_has(tmp_path):
    truth = trees.synthia(tmp_path)
    for t, item in enumerate(data_set("synthia").sequences(tmp_path)[0].items):
        pose = data_set("synthia").read(**item).pose
        item["pose"].write_text(trees.numbers((truth.poses[t] @ np.diag([1.0, -1, -1, 1])).T))
        again = data_set("synthia").read(**item).pose
        np.testing.assert_allclose(again, truth.poses[t], atol=1e-6)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)


def test_poses_that_mirror_the_world_are_told(tmp_path, capsys):
    trees.virtual_kitti(tmp_path / "v")
    flags = ["--size", "48x64", "--processes", "1"]

    def said():
        assert main(["data", "prepare", "virtual-kitti", str(tmp_path / "v"), "--check"]) == 1  # 3 of 42,520 frames
        assert main(["data", "prepare", "virtual-kitti", str(tmp_path / "v"), str(tmp_path / "s"), *flags]) == 0
        assert main(["data", "inspect", str(tmp_path / "s")]) == 0
        return capsys.readouterr().out

    assert "improper" not in said()
    shutil.rmtree(tmp_path / "s")
    file = tmp_path / "v" / "Scene01" / "clone" / "extrinsic.txt"
    rows = [line.split() for line in file.read_text().splitlines()]
    for row in rows[1:]:  # what comes out of a world with two axes exchanged
        for first in (2, 6, 10):
            row[first : first + 2] = row[first + 1], row[first]
    file.write_text("\n".join(map(" ".join, rows)))
    lines = [line for line in said().splitlines() if "improper" in line]
    assert len(lines) == 3 and all("Scene01-clone-0" in line for line in lines)


def test_ken_burns_gives_one_view_of_each_capture(tmp_path):
    trees.ken_burns(tmp_path)
    for path in (tmp_path / "asdf-flying").glob("*-tl-*"):
        path.rename(tmp_path / "without.png")  # as where a view was not unpacked
    shutil.copytree(tmp_path / "asdf-flying", tmp_path / "other-walking")
    found = data_set("ken-burns").sequences(tmp_path)
    assert [s.name for s in found] == ["asdf-flying", "other-walking"]
    assert [i["picture"].name for i in found[0].items] == [f"0000{n}-tr-image.png" for n in (1, 2, 3)]


def test_matrix_city_takes_dense_streets_and_the_fuller_listing(tmp_path):
    for block in ("small_city/street/train", "small_city/street/train_dense", "big_city/street/train"):
        trees.matrix_city(tmp_path, f"{block}/some_area", frames=4)
    folder = tmp_path / "big_city/street/train/some_area"
    whole = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms_origin.json").write_text(json.dumps(whole))
    (folder / "transforms.json").write_text(json.dumps(whole | {"frames": whole["frames"][:2]}))
    dense = tmp_path / "small_city/street/train_dense/some_area/transforms.json"
    dense.write_text(json.dumps(whole | {"frames": [f for f in whole["frames"] if f["frame_index"] != 1]}))
    found = data_set("matrix-city").found(tmp_path)
    assert [(s.name, len(s.items)) for s in found.sequences] == [
        ("big_city-street-train-some_area", 4),
        ("small_city-street-train_dense-some_area", 1),
        ("small_city-street-train_dense-some_area-from2", 2),
    ]
    assert [s.name for s in found.left_out] == ["small_city-street-train-some_area"]
    assert "train_dense is what trains" in found.reasons()[0]


def test_matrix_city_sees_far_in_single_precision(tmp_path):
    truth = trees.matrix_city(tmp_path, size=900, single=True)
    assert truth.depth.max() > 700 and truth.sky.any()
    for t, item in enumerate(data_set("matrix-city").sequences(tmp_path)[0].items):
        frame = data_set("matrix-city").read(**item)
        np.testing.assert_allclose(frame.depth, truth.depth[t], rtol=1e-6)
        assert np.array_equal(frame.sky, truth.sky[t])


def test_mid_air_leaves_its_test_splits_out(tmp_path, capsys):
    trees.mid_air(tmp_path)
    for name in ("Kite_test", "VO_test", "PLE_training"):
        shutil.copytree(tmp_path / "Kite_training", tmp_path / name)
    found = data_set("mid-air").found(tmp_path)
    assert [s.name.split("-")[0] for s in found.sequences] == ["Kite_training", "PLE_training"]
    assert len(found.left_out) == 2
    shutil.rmtree(tmp_path / "Kite_training")
    shutil.rmtree(tmp_path / "PLE_training")
    assert main(["data", "prepare", "mid-air", str(tmp_path), "--check"]) == 2
    assert "test split" in capsys.readouterr().err


GAPS = {
    "dynamic-replica": "train/*/images/*_source_left-0001.png",
    "irs": "Home/*/l_00002.png",
    "mid-air": "Kite_training/*/color_left/*/000001.JPEG",
    "mvs-synth": "GTAV_720/*/images/0001.png",
    "synthia": "SYNTHIA-SEQS-01-DAWN/RGB/*/*/000001.png",
    "virtual-kitti": "Scene01/*/frames/rgb/*/rgb_00001.jpg",
}


@pytest.mark.parametrize("name", GAPS)
def test_no_clip_goes_on_where_a_frame_is_missing(name, tmp_path):
    trees.TREES[name].write(tmp_path)
    (gone,) = tmp_path.glob(GAPS[name])
    gone.unlink()
    clips = []
    for segment in segments(data_set(name), tmp_path):
        clips += read_segment(data_set(name), segment, (24, 32))[0]
    assert [len(clip) for _, clip in clips] == [1, 1] and len({key for key, _ in clips}) == 2


def test_scannet_is_read_as_it_is_distributed(tmp_path):
    trees.scannet(tmp_path / "unpacked")
    trees.scannet(tmp_path / "packed", packed=True)
    data = data_set("scannet")
    both = [data.sequences(tmp_path / k)[0] for k in ("unpacked", "packed")]
    assert len(both[0].items) == len(both[1].items) == 12
    for one, other in zip(both[0].items, both[1].items):
        a, b = data.read(**one), data.read(**other)
        np.testing.assert_allclose(b.depth, a.depth, atol=1e-6)
        np.testing.assert_allclose(b.pose, a.pose, atol=1e-6)
        assert np.array_equal(a.picture, b.picture)
    file = tmp_path / "packed" / "scans_test" / "scene0707_00" / "scene0707_00.sens"
    os.truncate(file, file.stat().st_size - 100)
    assert len(data_set("scannet").sequences(shutil.copytree(tmp_path / "packed", tmp_path / "cut"))[0].items) == 11


def test_a_camera_that_lost_its_way_has_no_pose(tmp_path):
    trees.scannet(tmp_path)
    lost = "\n".join(["-inf -inf -inf -inf"] * 4)
    (tmp_path / "scans_test" / "scene0707_00" / "pose" / "1.txt").write_text(lost)
    frames = [data_set("scannet").read(**i) for i in data_set("scannet").sequences(tmp_path)[0].items[:2]]
    assert frames[0].pose is not None and frames[1].pose is None


def test_a_tilted_lens_is_a_pinhole_camera_that_looks_elsewhere(tmp_path, capsys):
    tilt = trees.turn(np.array([1, 0.4, -0.2]), 0.06)
    truth = trees.hypersim(tmp_path, "ai_037_002", tilt)
    trees.hypersim(tmp_path, "ai_042_003", tilt, skew=2)
    found = data_set("hypersim").found(tmp_path)
    (sequence,) = found.sequences
    assert sequence.name == "ai_037_002-cam_00" and [s.name for s in found.left_out] == ["ai_042_003-cam_00"]
    for item, wanted, pose, sky in zip(sequence.items, truth.points, truth.poses, truth.sky):
        frame = data_set("hypersim").read(**item)
        np.testing.assert_allclose(frame.intrinsics, truth.intrinsics, atol=1e-6)
        np.testing.assert_allclose(frame.pose, pose, atol=1e-6)
        points = trees.rays(frame.intrinsics, sky.shape) * frame.depth[..., None]
        np.testing.assert_allclose(points[~sky], wanted[~sky], rtol=6e-4, atol=1e-5)
    flags = ["--size", "48x64", "--processes", "1"]
    assert main(["data", "prepare", "hypersim", str(tmp_path), str(tmp_path / "s"), *flags]) == 0
    assert "left out: 1 sequences, 3 frames: its lens is so tilted" in capsys.readouterr().out
    assert main(["data", "prepare", "hypersim", str(tmp_path), "--check"]) == 0
    said = capsys.readouterr().out
    assert "2 sequences, 6 frames" in said and "taken: 1 sequences, 3 frames" in said and "left out: 1" in said


def test_real_hypersim_and_ddad_files(tmp_path):
    if not (SHARED_DATA / "formats").exists():
        pytest.skip("the real files are not on this machine")
    from geometrycrafter.data.datasets import ddad, hypersim
    from geometrycrafter.data.formats import read_hdf5

    files = sorted((SHARED_DATA / "formats" / "hypersim").rglob("*depth_meters.hdf5"))
    assert read_hdf5(files[0], "dataset").shape == (768, 1024)
    table = next((SHARED_DATA / "formats" / "hypersim").rglob("metadata_camera_parameters.csv"))
    shutil.copy(table, tmp_path)
    with open(table, newline="") as file:
        rows = {row["scene_name"]: row for row in csv.DictReader(file)}
    cameras, kept = hypersim._cameras(tmp_path), 0
    v, u = (x.ravel() for x in np.mgrid[0:768:96, 0:1024:96])
    for name, lens in cameras.items():
        skewed, turned = hypersim.camera_of(lens.rays, lens.shape)
        if abs(skewed[0, 1]) > 0.3:
            continue
        kept += 1
        # Rays by the authors' matrix, from the picture's edges at -1 and 1, y up, the camera looking along -z.
        matrix = np.array([[float(rows[name][f"M_cam_from_uv_{i}{j}"]) for j in range(3)] for i in range(3)])
        wanted = matrix @ np.stack([(u + 0.5) / 512 - 1, 1 - (v + 0.5) / 384, np.ones(len(u))])
        k = skewed * [[1, 0, 1], [1, 1, 1], [1, 1, 1]]
        found = turned.T @ trees.rays(k, (768, 1024))[v, u].T * [[1], [-1], [-1]]
        wanted, found = (x / np.linalg.norm(x, axis=0) for x in (wanted, found))
        assert np.linalg.norm(wanted - found, axis=0).max() < 0.2 / 880  # a fifth of a pixel
        assert k[0, 0] == pytest.approx(k[1, 1], rel=1e-5) and np.linalg.det(turned) == pytest.approx(1)
    assert (len(cameras), kept) == (482, 455)
    assert hypersim.camera_of(*cameras["ai_001_001"])[0][0, 0] == pytest.approx(886.81, abs=0.01)

    scene = next((SHARED_DATA / "formats" / "ddad" / "scene_01").glob("scene_*.json"))
    items = list(ddad._items(scene))
    frame = ddad.read(**items[0])
    assert frame.picture.shape == (1216, 1936, 3) and len(items) == 3
    known = frame.depth > 0
    assert 2000 < known.sum() < 200_000 and 2 < np.median(frame.depth[known]) < 80
    # The road is below the horizon and near, so depth falls from the middle of the picture to its lower edge.
    middle, lower = (np.median(frame.depth[a:b][known[a:b]]) for a, b in ((560, 660), (1050, 1216)))
    assert lower < middle


@pytest.mark.parametrize("name", trees.TREES)
def test_whatever_a_file_holds_it_is_told_in_a_sentence(name, tmp_path):
    trees.TREES[name].write(tmp_path)
    data, kinds = data_set(name), {}
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        kinds.setdefault((re.sub(r"\d", "", path.stem), path.suffix), path)
    for path in kinds.values():
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], bytes(range(256)), b"{}", b"1 2 3\n"):
            path.write_bytes(damaged)
            forget()
            try:
                for segment in segments(data, tmp_path):
                    read_segment(data, segment, (24, 32))
            except InputError as error:
                assert "\n" not in str(error)
        path.write_bytes(whole)
        forget()


def forget():
    """Files that adapters have read once are read anew."""
    formats._hdf5.cache_clear()
    for name, module in list(sys.modules.items()):
        if name.startswith("geometrycrafter.data.datasets."):
            for cached in vars(module).values():
                getattr(cached, "cache_clear", lambda: None)()


def test_a_pattern_may_name_what_it_is_looking_for(tmp_path):
    for name in ("Home/a10", "Home/a9", "Office/b", "Hotel/c", "Store/d", "Rose/e"):
        (tmp_path / name).mkdir(parents=True)
    found = [p.relative_to(tmp_path).as_posix() for p in matches(tmp_path, "{Home,Office,Store}/{a*,d}/")]
    assert found == ["Home/a9", "Home/a10", "Store/d"]
    assert matches(tmp_path, "Home/a9/") == [tmp_path / "Home" / "a9"]


def test_irs_is_found_below_its_four_kinds_and_nothing_else(tmp_path):
    for kind in ("Home", "Office", "Restaurant", "Store", "Roster", "Hotfix"):
        for stem in ("l_1.png", "d_1.exr"):
            trees.numbered(tmp_path / kind / "A", stem, 1)
    assert [s.name for s in data_set("irs").sequences(tmp_path)] == ["Home-A", "Office-A", "Restaurant-A", "Store-A"]
