"""GLB read back by another library: where points are, in which colours, how surfaces face, and when each shows."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import trimesh
from test_export_worlds import FRAMES, HEIGHT, NORMAL, OFFSET, WIDTH, K, painted, plane, poses

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export import export

UPRIGHT = np.diag([1.0, -1.0, -1.0, 1.0])
"""glTF's axes in those of OpenCV."""


def described(path):
    """The descriptions of a GLB, and its arrays."""
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack("<I", data[12:16])[0]
    about = json.loads(data[20 : 20 + size])

    def array(number):
        accessor = about["accessors"][number]
        first = 28 + size + about["bufferViews"][accessor["bufferView"]]["byteOffset"]
        kind = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        return np.frombuffer(data, kind, accessor["count"] * width, first).reshape(-1, width)

    return about, array


def in_world(scene, name):
    """A geometry's vertices where the scene puts it, in OpenCV's axes of the world."""
    transform, geometry = scene.graph[name]
    return trimesh.transform_points(scene.geometry[geometry].vertices, UPRIGHT @ transform), scene.geometry[geometry]


def test_a_mesh_lies_on_the_surface_faces_the_camera_and_has_the_pictures_colours(tmp_path):
    path = export(plane(moving=False), "glb", tmp_path / "m.glb", frame=2)
    at, mesh = in_world(trimesh.load(path), "frame 2")
    assert len(at) == (HEIGHT - 3) * WIDTH and len(mesh.faces) == 2 * (HEIGHT - 4) * (WIDTH - 1)
    assert np.abs(at @ NORMAL - OFFSET).max() < 1e-3
    corners = at[mesh.faces]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    towards = poses()[2, :3, 3] - corners.mean(1)
    assert ((facing * towards).sum(1) > 0).all()
    colour = mesh.visual.to_color().vertex_colors[:, :3].astype(float)
    assert np.abs(colour - painted(at)).mean() < 3  # of a JPEG


def test_a_mesh_is_cut_where_depth_jumps(tmp_path):
    path = export(plane(moving=True), "glb", tmp_path / "m.glb")
    at, mesh = in_world(trimesh.load(path), "frame 0")
    near = np.isclose(at[:, 2], 2.0, atol=1e-3)
    assert near.sum() == 100
    assert (near[mesh.faces].all(1) | ~near[mesh.faces].any(1)).all()
    joined = export(plane(moving=True), "glb", tmp_path / "n.glb", jump=10.0)
    at, mesh = in_world(trimesh.load(joined), "frame 0")
    near = np.isclose(at[:, 2], 2.0, atol=1e-3)
    assert not (near[mesh.faces].all(1) | ~near[mesh.faces].any(1)).all()


def test_points_have_the_pictures_colours_as_light(tmp_path):
    scene = plane(moving=False)
    about, array = described(export(scene, "glb", tmp_path / "p.glb", kind="points", frame=-1, step=3))
    attributes = about["meshes"][0]["primitives"][0]["attributes"]
    at = array(attributes["POSITION"]) @ poses()[-1, :3, :3].T + poses()[-1, :3, 3]
    assert len(at) == scene.mask[-1][::3, ::3].sum() and np.abs(at @ NORMAL - OFFSET).max() < 1e-3
    light = array(attributes["COLOR_0"])[:, :3] / 65535
    level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(level - painted(at)).max() < 1


def test_frames_play_at_their_times_one_at_once_and_the_camera_moves(tmp_path):
    scene = plane(moving=False)
    path = export(scene, "glb", tmp_path / "a.glb", animate=True, step=2)
    loaded = trimesh.load(path)
    for t in range(FRAMES):
        assert len(loaded.geometry[loaded.graph[f"frame {t}"][1]].vertices) == scene.mask[t][::2, ::2].sum()
    about, array = described(path)
    sizes, moves = {}, {}
    for channel in about["animations"][0]["channels"]:
        sampler = about["animations"][0]["samplers"][channel["sampler"]]
        found = array(sampler["input"])[:, 0], array(sampler["output"])
        node = about["nodes"][channel["target"]["node"]]["name"]
        assert (np.diff(found[0]) > 0).all() and len(found[0]) == len(found[1])
        if node == "camera":
            moves[channel["target"]["path"]] = found
        else:
            assert sampler["interpolation"] == "STEP"
            sizes[node] = found
    for moment in np.linspace(0, 0.499, 37):
        shown = [n for n, (at, size) in sizes.items() if size[np.searchsorted(at, moment, "right") - 1, 0] == 1]
        assert shown == [f"frame {np.searchsorted(scene.times, moment + 1e-6, 'right') - 1}"]
    times, places = moves["translation"]
    np.testing.assert_allclose(times, scene.times, atol=1e-6)
    np.testing.assert_allclose(places, poses()[:, :3, 3], atol=1e-6)
    x, y, z, w = moves["rotation"][1].T
    forward = -np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    np.testing.assert_allclose(forward, poses()[:, :3, 2], atol=1e-6)  # glTF's cameras look along -z
    lens = about["cameras"][0]["perspective"]
    assert np.isclose(np.tan(lens["yfov"] / 2) * K[1, 1], HEIGHT / 2)


def test_the_static_world_is_one_cloud(tmp_path):
    path = export(plane(), "glb", tmp_path / "w.glb", world=True, kind="points", points=2000)
    at, cloud = in_world(trimesh.load(path), "static world")
    assert 500 < len(at) <= 2000 and np.abs(at @ NORMAL - OFFSET).max() < 1e-3


def test_long_clips_are_thinned_out_to_a_sensible_size(tmp_path, monkeypatch):
    monkeypatch.setattr("geometrycrafter.export.maps.SENSIBLE", 2000)
    about, _ = described(export(plane(moving=False), "glb", tmp_path / "a.glb", animate=True))
    counts = [about["accessors"][m["primitives"][0]["attributes"]["POSITION"]]["count"] for m in about["meshes"]]
    assert len(counts) == FRAMES and 1000 < sum(counts) <= 2000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--world"], "--kind points"),
        (["--animate", "--frame", "1"], "leave one out"),
        (["--frame", "9"], "frames 0 to 4"),
        (["--world", "--kind", "points", "--animate"], "--animate"),
    ],
)
def test_wrong_pairs_of_options_are_told(tmp_path, capsys, more, said):
    plane().save(tmp_path / "a.gc")
    assert main(["export", str(tmp_path / "a.gc"), "glb", *more]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "a.glb").exists()


def test_a_scene_without_poses_is_in_its_cameras_axes_and_without_depth_refused(tmp_path):
    scene = plane(moving=False)
    bare = gc.Scene.from_depth(scene.depth[:], scene.mask[:], K, scene.frames[:], 10)
    at, _ = in_world(trimesh.load(export(bare, "glb", tmp_path / "a.glb", frame=3)), "frame 3")
    np.testing.assert_allclose(np.sort(at[:, 2]), np.sort(scene.depth[3][scene.mask[3]]), rtol=1e-6)
    assert "cameras" not in described(tmp_path / "a.glb")[0]
    empty = gc.Scene.from_depth(scene.depth[:], np.zeros_like(scene.mask[:]), K)
    with pytest.raises(gc.InputError, match="no point"):
        export(empty, "glb", tmp_path / "e.glb", animate=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.glb"]
