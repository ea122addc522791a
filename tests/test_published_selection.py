"""What is taken of each data set, held to the paper: clips, frames, protocols, the table in the documentation."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import trees

from geometrycrafter.data.dataset import Frame, reckoned
from geometrycrafter.data.datasets import data_set, data_sets
from geometrycrafter.data.datasets.gmu_kitchens import halved
from geometrycrafter.data.options import LONGEST
from geometrycrafter.data.segments import segments
from geometrycrafter.evaluation.pose_sets import POSE_SETS
from geometrycrafter.evaluation.protocols import PROTOCOLS


def test_the_documentation_compares_every_training_set_with_the_papers_table():
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for data in data_sets().values():
        tally = data.tally
        assert (tally is None) == (data.evaluation is not None)
        if tally is None:
            continue
        thousands, clips = tally.paper
        said = f"{thousands} K images" if clips is None else f"{thousands} K frames, {clips} clips"
        assert data.paper == said and (clips is None) == (not data.video)
        here = [f"{n:,}" if n is not None else "" for n in (tally.frames, clips, tally.clips)]
        cells = [data.title, f"{thousands} K", *here, tally.ground, tally.why]
        assert f"| {' | '.join(cells)} |".replace("  ", " ") in text.replace("  ", " "), data.name
        # Whoever is more than three in a hundred apart says why, and nobody else has to.
        assert bool(tally.why) == any(abs(a) > 0.03 for a in tally.apart()), data.name


def test_numbers_that_are_reckoned_are_reckoned_right():
    irs, ken_burns, matrix_city, hypersim = (data_set(n).tally for n in ("irs", "ken-burns", "matrix-city", "hypersim"))
    assert irs.clips == reckoned(103_316, 76, LONGEST)
    assert ken_burns.clips == reckoned(76_000, 46, LONGEST)
    assert matrix_city.clips == reckoned(452_000, 24, LONGEST)
    assert hypersim.frames == round(74_619 * 455 / 482)


def listing_of_virtual_kitti(root):
    lengths = {"01": 447, "02": 233, "06": 270, "18": 339, "20": 837}
    for scene, length in lengths.items():
        for variant in ("clone", "15-deg-left"):  # of ten that are as long
            folder = root / f"Scene{scene}" / variant
            for eye in (0, 1):
                trees.numbered(folder, f"frames/rgb/Camera_{eye}/rgb_{{:05d}}.jpg", length)
            rows = [f"{t} {eye} " for t in range(length) for eye in (0, 1)]
            (folder / "intrinsic.txt").write_text("\n".join(["", *(r + "725 725 620.5 187" for r in rows)]))
            (folder / "extrinsic.txt").write_text("\n".join(["", *(r + "0 " * 16 for r in rows)]))
    return 5


def listing_of_mvs_synth(root):
    for n in range(12):  # of 120
        trees.numbered(root / "GTAV_720" / f"{n:04d}" / "images", "{:04d}.png", 100)
    return 10


def listing_of_dynamic_replica(root):
    view = dict.fromkeys(("R", "T", "focal_length", "principal_point", "intrinsics_format"), 0)
    row = {"image": {"path": "a.png"}, "depth": {"path": "a.png"}, "viewpoint": view}
    rest = json.dumps(row)[1:]
    names = ((n, eye, t) for n in range(484) for eye in ("left", "right") for t in range(300))
    rows = (f'{{"sequence_name": "{n}", "camera_name": "{eye}", "frame_number": {t}, {rest}' for n, eye, t in names)
    (root / "train").mkdir()
    with gzip.open(root / "train" / "frame_annotations_train.jgz", "wt", compresslevel=1) as listing:
        listing.write(f"[{','.join(rows)}]")
    return 1


@pytest.mark.parametrize("name", ["virtual-kitti", "mvs-synth", "dynamic-replica"])
def test_the_published_listing_gives_the_numbers_that_are_told(name, tmp_path):
    data = data_set(name)
    times = globals()[f"listing_of_{name.replace('-', '_')}"](tmp_path)
    found = segments(data, tmp_path)
    assert times * sum(len(s.items) for s in found) == data.tally.frames
    assert times * len(found) == data.tally.clips


def test_training_sets_are_cut_at_150_frames(tmp_path):
    trees.spring(tmp_path / "spring")
    folder = tmp_path / "irs" / "Office" / "A"
    trees.numbered(folder, "l_{:05d}.png", 310)
    trees.numbered(folder, "d_{:05d}.exr", 310)
    found = segments(data_set("irs"), tmp_path / "irs")
    assert [len(s.items) for s in found] == [150, 150, 10]
    assert found[1].items[0]["picture"].name == "l_00150.png"
    trees.urban_syn(tmp_path / "urban")
    assert [len(s.items) for s in segments(data_set("urban-syn"), tmp_path / "urban")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "pattern", "there", "taken", "last"),
    [
        ("gmu-kitchens", "gmu_scene_003/Images/rgb_{}.png", 400, 110, "rgb_218.png"),
        ("scannet", "scans_test/scene0709_00/color/{}.jpg", 500, 90, "267.jpg"),
        (
            "kitti",
            "val/2011_09_29_drive_0026_sync/proj_depth/groundtruth/image_02/{:010d}.png",
            158,
            110,
            "0000000109.png",
        ),
        ("monkaa", "frames_cleanpass/family_x2/left/{:04d}.png", 161, 110, "0109.png"),
        ("sintel", "training/clean/ambush_6/frame_{:04d}.png", 20, 20, "frame_0019.png"),
    ],
)
def test_protocols_take_the_published_frames(name, pattern, there, taken, last, tmp_path):
    trees.numbered(tmp_path, pattern, there)
    (segment,) = segments(data_set(name), tmp_path)
    assert len(segment.items) == taken
    item = segment.items[-1]
    assert (item["picture"] if name != "kitti" else item["depth"]).name == last


def test_protocols_take_the_published_scenes():
    kitti, scannet = (data_set(n).evaluation.sequences for n in ("kitti", "scannet"))
    assert len(kitti) == 13 and "2011_10_03_drive_0047_sync" in kitti
    assert len(scannet) == 100 and scannet[0] == "scene0707_00" and scannet[-1] == "scene0806_00"
    assert len(data_set("monkaa").evaluation.sequences) == 8


@pytest.mark.parametrize(
    ("name", "shape", "cut", "corner"),
    [
        ("kitti", (375, 1242), (368, 736), (3, 253)),
        ("sintel", (436, 1024), (436, 872), (0, 76)),
        ("scannet", (480, 640), (464, 624), (8, 8)),
        ("ddad", (1216, 1936), (1152, 1920), (32, 8)),
    ],
)
def test_protocols_cut_out_the_published_middle(name, shape, cut, corner):
    truth = trees.room(trees.square(shape, focal=500), shape, frames=1)
    frame = Frame(truth.pictures[0], truth.depth[0].astype(np.float32), truth.intrinsics)
    from geometrycrafter.data.segments import as_clip, sized

    clip = sized(as_clip(frame, data_set(name), "s"), data_set(name), (320, 640))
    assert clip.depth.shape == (1, *cut)
    top, left = corner
    window = np.s_[top : top + cut[0], left : left + cut[1]]
    assert np.array_equal(clip.frames[0], truth.pictures[0][window])
    found = trees.rays(clip.intrinsics[0].astype(float), cut) * clip.depth[0][..., None]
    np.testing.assert_allclose(found, truth.points[0][window], atol=1e-5, rtol=1e-5)


def test_protocols_process_pictures_at_about_their_own_shape():
    for protocol in PROTOCOLS.values():
        if protocol.size is None or protocol.data in ("rendered", "folder"):
            continue
        data = POSE_SETS.get(protocol.data) or data_set(protocol.data)
        take = data.evaluation if protocol.selection is None else protocol.selection
        whole = tuple(map(int, re.match(r"(\d+)x(\d+)", data.frame_size).groups()))
        (height, width), (h, w) = take.crop or whole, protocol.size
        # The paper's own sizes are up to 8 % off, at multiples of 64.
        assert 1 / 1.08 < (width / height) / (w / h) < 1.08, protocol.title


def test_gmu_is_halved_as_published():
    depth = np.array([[2.0, 2, 4, 0], [2, 2, 0, 0]], np.float32)
    frame = halved(Frame(np.full((2, 4, 3), 7, np.uint8), depth, np.diag([1048.0, 1051, 1])))
    assert frame.depth.tolist() == [[2.0, 0.0]]  # more than half of a pixel's four must be known
    assert frame.intrinsics[0, 0] == 524 and (frame.picture == 7).all()


def test_diode_forgets_depth_at_edges():
    depth = np.full((60, 80), 2.0, np.float32)
    depth[:, 40:] = 5.0
    plain = Frame(np.zeros((60, 80, 3), np.uint8), depth, np.eye(3))
    edged = data_set("diode").evaluation.filter(plain)
    gone = edged.depth == 0
    assert gone[5:-5, 38:42].any(axis=1).all() and not gone[:, :36].any() and not gone[:, 45:].any()
