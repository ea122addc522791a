"""Points that poses were found from stay with the scene, and COLMAP reads them with the errors that they have."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.export import export
from geometrycrafter.poses import in_metres
from geometrycrafter.poses.stored import discard, store

SIZE = (10, 96, 128)
NAMES = ("track_points", "track_seen", "track_pixels")


@pytest.fixture(scope="module")
def clip():
    return rendered(100, *SIZE)


def scene_of(clip):
    k = clip.intrinsics.copy()
    k[:, [0, 1], [0, 1]] *= np.linspace(1, 1.02, SIZE[0])[:, None]  # each frame's own
    return gc.Scene.from_depth(clip.depth, clip.mask, k, frames=clip.frames, fps=10)


@pytest.fixture(scope="module")
def found(clip):
    return gc.poses.estimate(scene_of(clip), clip.frames, np.asarray(clip.dynamic))


@pytest.fixture(scope="module")
def posed(clip, found):
    scene = scene_of(clip)
    store(scene, found)
    return scene


@pytest.mark.parametrize("kind", ["binary", "text"])
def test_colmap_reads_tracks_and_their_errors(posed, clip, tmp_path, kind):
    folder = export(posed, "colmap", tmp_path / "a", model=kind)
    found = pycolmap.Reconstruction()
    (found.read_binary if kind == "binary" else found.read_text)(str(folder / "sparse" / "0"))
    assert found.num_images() == SIZE[0] and len(found.points3D) == len(posed.array("track_points")) >= 100
    said = {number: point.error for number, point in found.points3D.items()}
    found.update_point_3d_errors()
    np.testing.assert_allclose(
        [point.error for point in found.points3D.values()], [said[n] for n in found.points3D], atol=1e-4
    )
    mean = np.mean(list(said.values()))
    assert 0.01 < mean < 0.6  # seen points err; those of before erred by nothing
    agree = []
    for number, image in found.images.items():
        depth = clip.depth[number - 1]
        for seen in image.points2D:
            point = found.points3D[seen.point3D_id]
            assert point.track.length() >= 2
            column, row = np.floor(seen.xy).astype(int)
            away = (image.cam_from_world() * point.xyz)[2]
            agree.append(abs(np.log(away / depth[row, column])) < 0.1)
            assert not clip.dynamic[number - 1][row, column]
    assert np.mean(agree) > 0.9
    first = found.images[1]
    shades = [
        np.abs(clip.frames[0][int(s.xy[1]), int(s.xy[0])].astype(float) - found.points3D[s.point3D_id].color).max()
        for s in first.points2D
    ]
    assert np.median(shades) < 25


def test_the_static_world_can_be_had_as_before(posed, tmp_path):
    folder = export(posed, "colmap", tmp_path / "a", observations="cloud", points=3000, model="binary")
    found = pycolmap.Reconstruction()
    found.read_binary(str(folder / "sparse" / "0"))
    assert len(found.points3D) > 1000 and all(point.error == 0 for point in found.points3D.values())


def test_tracks_take_the_unit_of_the_poses_and_go_with_them(clip, found, tmp_path, capsys):
    scene = scene_of(clip)
    store(scene, found)
    before = np.asarray(scene.array("track_points"))
    store(scene, in_metres(found, np.full(SIZE[0], 2.5)))
    np.testing.assert_allclose(np.asarray(scene.array("track_points")), 2.5 * before, rtol=1e-6)
    discard(scene)
    assert all(scene.array(name) is None for name in NAMES)
    scene.set_poses(found.poses)
    scene.save(tmp_path / "a.gc")
    assert main(["export", str(tmp_path / "a.gc"), "colmap", str(tmp_path / "b"), "--observations", "tracks"]) == 2
    assert "keeps no tracks" in capsys.readouterr().err


def test_each_shot_has_tracks_of_its_own_and_frames_that_are_not_known_none(clip, tmp_path):
    frames, depth = clip.frames.copy(), clip.depth
    scene = gc.Scene.from_depth(depth, clip.mask, clip.intrinsics, frames=frames, fps=10)
    scene.set_array("shots", np.array([0, 5]))
    found = gc.poses.estimate(scene, frames, np.asarray(clip.dynamic))
    store(scene, found)
    seen = np.asarray(scene.array("track_seen"))
    for point in range(seen[:, 0].max() + 1):
        own = seen[seen[:, 0] == point, 1]
        assert len(own) >= 2 and (own < 5).all() | (own >= 5).all()
    quality = np.asarray(scene.array("pose_quality")).copy()
    quality[7] = 0
    scene.set_array("pose_quality", quality)
    folder = export(scene, "colmap", tmp_path / "a", shot=1, model="binary")
    read = pycolmap.Reconstruction()
    read.read_binary(str(folder / "sparse" / "0"))
    names = sorted(image.name for image in read.images.values())
    assert names == [f"frame_{t:06d}.jpg" for t in (5, 6, 8, 9)]
    assert all(point.track.length() >= 2 for point in read.points3D.values()) and len(read.points3D) > 50
