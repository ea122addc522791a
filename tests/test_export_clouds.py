"""Clouds of points for other programs: a file a frame, and Gaussians; read back by the libraries of their formats."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation
from test_export_worlds import FRAMES, NORMAL, OFFSET, painted, plane

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export import export


def columns(vertex, *names):
    return np.stack([vertex[name] for name in names], -1).astype(float)


def test_ply_of_each_frame_is_that_of_the_frame_alone(tmp_path):
    scene = plane()
    folder = export(scene, "ply", tmp_path / "all", each=True, step=2)
    assert len(list(folder.glob("frame_*.ply"))) == FRAMES
    for t in range(FRAMES):
        alone = export(scene, "ply", tmp_path / "one.ply", frame=t, step=2)
        found = folder / f"frame_{t:06d}.ply"
        assert found.read_bytes() == alone.read_bytes()
        at = columns(PlyData.read(found)["vertex"], *"xyz")
        still = np.abs(at @ NORMAL - OFFSET) < 1e-3
        assert still.mean() > 0.9 and len(at) == scene.mask[t][::2, ::2].sum()
    export(scene, "ply", folder, each=True)
    (folder / "mine.ply").write_text("mine")
    with pytest.raises(gc.InputError, match=r"mine\.ply"):
        export(scene, "ply", folder, each=True)


@pytest.mark.filterwarnings("ignore:1 frames whose poses")
def test_frames_without_a_pose_are_not_among_those_in_the_world(tmp_path):
    scene = plane()
    scene.set_array("pose_quality", np.array([1, 1, 0, 1, 1], np.float32))
    folder = export(scene, "ply", tmp_path / "all", each=True)
    assert sorted(int(p.stem[6:]) for p in folder.glob("frame_*.ply")) == [0, 1, 3, 4]


def test_each_goes_with_a_folder_and_neither_frame_nor_world(tmp_path, capsys):
    plane().save(tmp_path / "a.gc")
    for more in (["--frame", "1"], ["--world"], ["--moving", "1"]):
        assert main(["export", str(tmp_path / "a.gc"), "ply", str(tmp_path / "o"), "--each", *more]) == 2
        assert not (tmp_path / "o").exists()
    (tmp_path / "file.ply").write_text("mine")
    assert main(["export", str(tmp_path / "a.gc"), "ply", str(tmp_path / "file.ply"), "--each", "--overwrite"]) == 2
    assert (tmp_path / "file.ply").read_text() == "mine"
    assert main(["export", str(tmp_path / "a.gc"), "ply", "--each"]) == 0
    assert len(list((tmp_path / "a.ply").glob("frame_*.ply"))) == FRAMES


@pytest.mark.parametrize("degree", [0, 3])
def test_splats_lie_on_the_surface_in_its_colours_as_wide_as_they_are_apart(tmp_path, degree):
    file = PlyData.read(export(plane(), "splats", tmp_path / "s.ply", points=2000, degree=degree))
    vertex = file["vertex"]
    names = [p.name for p in vertex.properties]
    rest = [n for n in names if n.startswith("f_rest_")]
    assert len(rest) == 3 * ((degree + 1) ** 2 - 1) and (not rest or (columns(vertex, *rest) == 0).all())
    at = columns(vertex, *"xyz")
    assert 500 < len(at) <= 2000 and np.abs(at @ NORMAL - OFFSET).max() < 1e-3
    colour = 0.5 + columns(vertex, "f_dc_0", "f_dc_1", "f_dc_2") * np.sqrt(1 / (4 * np.pi))
    assert np.abs(colour * 255 - painted(at)).max() < 2
    assert ((1 / (1 + np.exp(-vertex["opacity"]))) > 0.9).all()
    size = np.exp(columns(vertex, "scale_0", "scale_1", "scale_2"))
    apart = KDTree(at).query(at, 2)[0][:, 1]
    assert 0.3 < np.median(size[:, 0] / apart) < 1.5
    turn = Rotation.from_quat(columns(vertex, "rot_1", "rot_2", "rot_3", "rot_0")).as_matrix()
    thin = turn[np.arange(len(at)), :, size.argmin(1)]
    along = np.abs(thin @ NORMAL) / np.linalg.norm(NORMAL)
    flat = size.min(1) < 0.5 * size.max(1)
    assert flat.mean() > 0.9 and np.median(along[flat]) > 0.999
    assert np.median(columns(vertex, "nx", "ny", "nz")[flat] @ NORMAL) < 0  # towards the cameras, which are in front


def test_splats_want_poses_and_say_what_makes_them(tmp_path, capsys):
    scene = plane()
    gc.Scene.from_depth(scene.depth[:], scene.mask[:], scene.intrinsics[:]).save(tmp_path / "a.gc")
    assert main(["export", str(tmp_path / "a.gc"), "splats"]) == 2
    assert f"geometrycrafter poses {tmp_path / 'a.gc'}" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gc"]
