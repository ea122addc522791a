"""Exports in world axes, read back by the programs that they are for: what is where, and who sees it."""

from __future__ import annotations

import json

import numpy as np
import pycolmap
import pytest
from PIL import Image
from test_export import vertices
from test_scene_files import made, tree

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export import export

FRAMES, HEIGHT, WIDTH = 5, 48, 64
K = np.array([[60, 0, 30.0], [0, 62, 24.5], [0, 0, 1]])
NORMAL, OFFSET = np.array([-0.2, 0.1, 1.0]), 4.0
"""A slanted plane, n x = offset, is the whole world."""


def turned(y: float) -> np.ndarray:
    return np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])


def poses() -> np.ndarray:
    out = np.tile(np.eye(4), (FRAMES, 1, 1))
    for t in range(FRAMES):
        out[t, :3, :3], out[t, :3, 3] = turned(0.05 * t), [0.2 * t, 0.05 * t, -0.1 * t]
    return out


def painted(points: np.ndarray) -> np.ndarray:
    """The plane's colours, by where its points ``[..., 3]`` are."""
    return np.stack([128 + 20 * points[..., 0], 128 + 20 * points[..., 1], 0 * points[..., 0] + 200], -1)


def plane(moving: bool = True) -> gc.Scene:
    """The plane, by intersecting each pixel's ray with it; a red block, nearer, moves before it."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T
    depth, pictures, masks = [], [], []
    for t, pose in enumerate(poses()):
        turn, place = pose[:3, :3], pose[:3, 3]
        z = (OFFSET - NORMAL @ place) / (rays @ turn.T @ NORMAL)
        picture = painted((rays * z[..., None]) @ turn.T + place)
        mask = np.zeros(z.shape, bool)
        mask[10:20, 10 + 4 * t : 20 + 4 * t] = moving
        z[mask], picture[mask] = 2.0, (255, 0, 0)
        depth.append(z)
        masks.append(mask)
        pictures.append(picture.round().astype(np.uint8))
    valid = np.ones((FRAMES, HEIGHT, WIDTH), bool)
    valid[:, :3] = False
    scene = gc.Scene.from_depth(np.stack(depth), valid, K, np.stack(pictures), 10)
    scene.set_poses(poses())
    if moving:
        scene.set_array("moving", np.stack(masks))
    return scene


@pytest.mark.parametrize("kind", ["binary", "text"])
def test_colmap_reads_the_world_and_who_sees_it(tmp_path, kind):
    folder = export(plane(), "colmap", tmp_path / "a", points=2000, images="png", model=kind)
    assert {p.suffix for p in (folder / "sparse" / "0").iterdir()} == {".bin" if kind == "binary" else ".txt"}
    found = pycolmap.Reconstruction()
    (found.read_binary if kind == "binary" else found.read_text)(str(folder / "sparse" / "0"))
    assert found.num_images() == FRAMES and len(found.cameras) == 1 and 500 < len(found.points3D) <= 2000
    found.update_point_3d_errors()
    assert found.compute_mean_reprojection_error() < 1e-4
    for number, image in found.images.items():
        t = number - 1
        np.testing.assert_allclose(image.cam_from_world().matrix(), np.linalg.inv(poses()[t])[:3], atol=1e-6)
        picture = np.asarray(Image.open(folder / "images" / image.name)).astype(float)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert len(image.points2D) > 500
        for i, seen in enumerate(image.points2D):
            point = found.points3D[seen.point3D_id]
            assert (number, i) in {(e.image_id, e.point2D_idx) for e in point.track.elements}
            column, row = np.floor(seen.xy).astype(int)  # its pixels' centres are at halves
            assert np.abs(picture[row, column] - point.color).max() <= 3
            np.testing.assert_allclose(image.project_point(point.xyz), seen.xy, atol=1e-3)
    at = np.stack([p.xyz for p in found.points3D.values()])
    assert np.abs(at @ NORMAL - OFFSET).max() < 1e-3
    assert np.abs(np.stack([p.color for p in found.points3D.values()]) - painted(at)).max() < 2
    masks = np.asarray(Image.open(folder / "masks" / "frame_000001.png.png"))
    np.testing.assert_array_equal(masks == 0, np.asarray(plane().array("moving"))[1])


def test_both_kinds_of_colmap_say_the_same_and_each_camera_is_kept(tmp_path):
    scene = plane()
    k = np.repeat(K[None], FRAMES, 0)
    k[:, 0, 0] += np.arange(FRAMES)
    scene = gc.Scene.from_depth(scene.depth, scene.mask, k, scene.frames, 10)
    scene.set_poses(poses())
    folder = export(scene, "colmap", tmp_path / "a", points=500) / "sparse" / "0"
    binary, text = pycolmap.Reconstruction(), pycolmap.Reconstruction()
    binary.read_binary(str(folder))
    text.read_text(str(folder))
    for t in range(FRAMES):
        for found in (binary, text):
            focal = found.cameras[found.images[t + 1].camera_id].params
            np.testing.assert_allclose(focal, [60 + t, 62, 30.5, 25])
    assert set(binary.points3D) == set(text.points3D)
    for number, point in binary.points3D.items():
        np.testing.assert_allclose(point.xyz, text.points3D[number].xyz, rtol=1e-8)
        elements = [[(e.image_id, e.point2D_idx) for e in p.track.elements] for p in (point, text.points3D[number])]
        assert elements[0] == elements[1]


def test_nerfstudios_rays_meet_the_world(tmp_path):
    """By the equations of its ``Cameras.generate_rays``; the package itself wants CUDA's builds and 200 others."""
    folder = export(plane(), "nerfstudio", tmp_path / "a", points=2000, images="png")
    told = json.loads((folder / "transforms.json").read_text())
    assert (told["w"], told["h"], len(told["frames"])) == (WIDTH, HEIGHT, FRAMES)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    own = np.stack([(x - told["cx"]) / told["fl_x"], -(y - told["cy"]) / told["fl_y"], -np.ones_like(x)], -1)
    for t, frame in enumerate(told["frames"]):
        to_world = np.array(frame["transform_matrix"])
        depth = np.asarray(Image.open(folder / frame["depth_file_path"])) / 1000
        at = (own * depth[..., None]) @ to_world[:3, :3].T + to_world[:3, 3]
        keep = np.asarray(Image.open(folder / frame["mask_path"])) > 0
        known = depth > 0
        np.testing.assert_array_equal(known, np.asarray(plane().mask[t]))
        assert np.abs(at[known & keep] @ NORMAL - OFFSET).max() < 2e-3
        picture = np.asarray(Image.open(folder / frame["file_path"]))
        assert np.abs(picture - painted(at))[known & keep].max() < 1.5
    at, rgb = vertices(folder / told["ply_file_path"])
    assert 500 < len(at) <= 2000
    assert np.abs(at @ NORMAL - OFFSET).max() < 1e-3 and np.abs(rgb - painted(at)).max() < 2


@pytest.mark.parametrize("format", ["colmap", "nerfstudio"])
def test_a_scene_without_poses_is_told_how_to_get_them(tmp_path, capsys, format):
    made().save(tmp_path / "a.gc")
    assert main(["export", str(tmp_path / "a.gc"), format]) == 2
    assert "no poses; run 'geometrycrafter poses" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


@pytest.mark.parametrize("format", ["colmap", "nerfstudio"])
def test_frames_without_a_known_pose_are_left_out(tmp_path, format, capsys):
    scene = plane()
    scene.set_array("pose_quality", np.array([1, 1, 0, 0.5, 0], np.float32))
    scene.save(tmp_path / "a.gc")
    assert main(["export", str(tmp_path / "a.gc"), format]) == 0
    assert "2 frames" in capsys.readouterr().err
    names = sorted(p.stem for p in (tmp_path / f"a.{format}" / "images").iterdir())
    assert names == ["frame_000000", "frame_000001", "frame_000003"]
    scene = gc.open(tmp_path / "a.gc")
    scene.set_array("pose_quality", np.zeros(FRAMES, np.float32))
    with pytest.raises(gc.InputError, match="no frame's pose is known"):
        export(scene, format, tmp_path / "b")


@pytest.mark.parametrize("format", ["colmap", "nerfstudio"])
def test_only_a_folder_of_such_an_export_is_replaced(tmp_path, format, capsys):
    plane().save(tmp_path / "a.gc")
    command = ["export", str(tmp_path / "a.gc"), format, str(tmp_path / "b")]
    assert main(command) == 0
    first = tree(tmp_path / "b")
    assert main(command) == 2 and "exists" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--points", "100"]) == 0
    assert tree(tmp_path / "b").keys() == first.keys() and tree(tmp_path / "b") != first
    (tmp_path / "b" / "trained.ckpt").write_bytes(b"days of work")
    before = tree(tmp_path)
    assert main([*command, "--overwrite"]) == 2 and "trained.ckpt" in capsys.readouterr().err
    (tmp_path / "own" / "images").mkdir(parents=True)
    (tmp_path / "own" / "images" / "a.jpg").write_bytes(b"mine")
    before = tree(tmp_path)
    for place in ("own", "a.gc", "a.gc/depth", "own/images/a.jpg"):
        assert main([*command[:3], str(tmp_path / place), "--overwrite"]) == 2
    assert tree(tmp_path) == before


def test_a_folder_that_holds_the_video_is_not_replaced(tmp_path):
    """Even where it was an export of it once."""
    from conftest import moving_pattern, write_video
    from test_export import scene_of

    from geometrycrafter.video.reading import open_frames

    place = tmp_path / "a"
    export(plane(), "colmap", place)
    video = write_video(place / "images" / "clip.mkv", moving_pattern(3, 32, 32), "ffv1", "bgr0")
    scene = scene_of(open_frames(str(video)), tmp_path / "b.gc")
    scene.set_poses(np.tile(np.eye(4), (3, 1, 1)))
    with pytest.raises(gc.InputError, match="is in this folder"):
        export(scene, "colmap", place)
    assert video.is_file()


def test_the_static_world_is_one_cloud_and_what_moves_stays_apart(tmp_path, capsys):
    plane().save(tmp_path / "a.gc")
    command = ["export", str(tmp_path / "a.gc"), "ply", "--overwrite"]
    assert main([*command, "--world", "--points", "3000"]) == 0
    at, rgb = vertices(tmp_path / "a.ply")
    assert 700 < len(at) <= 3000 and np.abs(at @ NORMAL - OFFSET).max() < 1e-3
    assert np.abs(rgb - painted(at)).max() < 2
    whole = [plane(moving=False).points[t][3:].reshape(-1, 3) @ p[:3, :3].T + p[:3, 3] for t, p in enumerate(poses())]
    np.testing.assert_allclose([at.min(0), at.max(0)], [np.min(whole, (0, 1)), np.max(whole, (0, 1))], atol=0.3)
    assert main([*command, "--world", "--moving", "0,4"]) == 0
    head, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    assert head.endswith(b"property uchar moving\n")
    rows = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("moving", "u1")]))
    red = (rows["rgb"] == (255, 0, 0)).all(1)
    np.testing.assert_array_equal(red, rows["moving"] == 1)
    assert red.sum() == 2 * 10 * 10
    own = (rows["xyz"][red][-100:] - poses()[4][:3, 3]) @ poses()[4][:3, :3]
    np.testing.assert_allclose(own[:, 2], 2, atol=1e-5)
    for flags in (["--moving", "0"], ["--world", "--frame", "1"], ["--world", "--moving", "5"]):
        assert main([*command, *flags]) == 2
    assert main(["export", str(tmp_path / "a.gc"), "npz", "--world"]) == 2


@pytest.mark.parametrize("format", ["colmap", "nerfstudio", "ply"])
def test_each_shot_is_a_world_of_its_own(tmp_path, format, capsys):
    scene = plane()
    scene.set_array("shots", np.array([0, 2]))
    scene.save(tmp_path / "a.gc")
    place = tmp_path / "b.ply" if format == "ply" else tmp_path / "b"
    command = ["export", str(tmp_path / "a.gc"), format, str(place), *(["--world"] if format == "ply" else [])]
    assert main(command) == 2 and "2 shots" in capsys.readouterr().err
    assert main([*command, "--shot", "2"]) == 2 and "shots 0 to 1" in capsys.readouterr().err
    assert main([*command, "--shot", "1"]) == 0
    if format == "ply":
        at = vertices(place)[0]
        seen = plane(moving=False).points[2][3:].reshape(-1, 3) @ poses()[2][:3, :3].T + poses()[2][:3, 3]
        assert at[:, 0].min() > seen[:, 0].min() - 0.3  # the first two frames see farther to the left
    else:
        assert sorted(p.stem for p in (place / "images").iterdir()) == [f"frame_{t:06d}" for t in (2, 3, 4)]


def test_a_trajectory_of_several_shots_says_so_and_one_can_be_chosen(tmp_path, capsys):
    scene = plane()
    scene.set_array("shots", np.array([0, 2]))
    scene.save(tmp_path / "a.gc")
    command = ["export", str(tmp_path / "a.gc"), "tum", str(tmp_path / "a.tum"), "--overwrite"]
    assert main(command) == 0 and "2 shots has a world of its own" in capsys.readouterr().err
    whole = np.loadtxt(tmp_path / "a.tum")
    assert main([*command, "--shot", "1"]) == 0 and not capsys.readouterr().err
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.tum"), whole[2:])
    assert main([*command, "--shot", "2"]) == 2 and "shots 0 to 1" in capsys.readouterr().err


def test_a_trajectory_leaves_out_what_is_not_known(tmp_path, capsys):
    scene = plane()
    scene.set_array("pose_quality", np.array([1, 0, 1, 1, 1], np.float32))
    scene.save(tmp_path / "a.gc")
    command = ["export", str(tmp_path / "a.gc"), "tum", str(tmp_path / "a.tum"), "--overwrite"]
    assert main(command) == 0 and "1 frames whose poses are not known are left out" in capsys.readouterr().err
    np.testing.assert_allclose(np.loadtxt(tmp_path / "a.tum")[:, 0], scene.times[[0, 2, 3, 4]])
    gc.open(tmp_path / "a.gc").set_array("pose_quality", np.zeros(5, np.float32))
    assert main(command) == 2 and "no frame's pose is known" in capsys.readouterr().err


def test_a_cloud_keeps_to_its_size_and_is_the_mean_of_what_it_saw():
    from geometrycrafter.geometry.voxels import VoxelCloud

    rng = np.random.default_rng(0)
    points = rng.uniform(-3, 3, (20000, 3))
    values = points @ rng.normal(size=(3, 3))
    for most in (10, 500, 10**6):
        cloud = VoxelCloud(0.05, most)
        for part in range(0, 20000, 1000):
            cloud.add(points[part : part + 1000], values[part : part + 1000])
        assert len(cloud.points) <= most and cloud.counts.sum() == 20000
        cubes, which = np.unique(np.floor(points / cloud.size).astype(int), axis=0, return_inverse=True)
        assert len(cubes) == len(cloud.points)
        means = np.stack([np.bincount(which.ravel(), x) for x in points.T], -1) / np.bincount(which.ravel())[:, None]
        order = np.lexsort(cloud.points.T), np.lexsort(means.T)
        np.testing.assert_allclose(cloud.points[order[0]], means[order[1]], atol=1e-9)
        np.testing.assert_allclose(cloud.values.sum(0) * 0 + cloud.counts @ cloud.values, values.sum(0), atol=1e-6)
    cloud.add(np.array([[np.nan, 0, 0], [np.inf, 1, 1]]), np.zeros((2, 3)))
    assert cloud.counts.sum() == 20000


@pytest.mark.parametrize("metres", [True, False])
def test_exports_say_their_unit(tmp_path, metres):
    scene = plane()
    told = "in metres" if metres else "in the scene's own unit"
    if metres:
        scene.set_array("metres", np.ones(FRAMES))
    colmap = export(scene, "colmap", tmp_path / "a", points=500)
    assert told in (colmap / "sparse" / "0" / "images.txt").read_text().splitlines()[0]
    assert pycolmap.Reconstruction(str(colmap / "sparse" / "0")).num_images() == FRAMES
    for folder in (colmap, export(scene, "nerfstudio", tmp_path / "b", points=500)):
        assert json.loads((folder / "geometrycrafter.json").read_text())["unit"] == ("m" if metres else None)
    assert json.loads((tmp_path / "b" / "transforms.json").read_text())["unit"] in told
    assert told in export(scene, "tum", tmp_path / "c.tum").read_text().splitlines()[0]
    for name, world in (("d.ply", True), ("e.ply", False)):
        assert told.encode() in export(scene, "ply", tmp_path / name, world=world).read_bytes()[:300]
