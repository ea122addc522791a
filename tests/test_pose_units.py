"""What is known beforehand: distances, a prior in metres, and poses of other programs give depth its unit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import fill_by_recipe, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.networks import dinov2
from geometrycrafter.networks.moge2 import MoGe2, MoGe2Config
from geometrycrafter.poses.metres import Distance, in_metres, scales_of_distances, scales_of_prior
from geometrycrafter.poses.stored import discard, store
from geometrycrafter.poses.trajectories import read_trajectory
from geometrycrafter.weights.models import load_prior

UNIT = 2.5
"""Metres in a unit of the scenes here."""


@pytest.fixture(scope="module")
def clip():
    return rendered(100, 16, 192, 256)


@pytest.fixture(scope="module")
def scene(clip):
    """The renderer's own depth, in a unit of its own."""
    return gc.Scene.from_depth(clip.depth / UNIT, clip.mask, clip.intrinsics)


@pytest.fixture(scope="module")
def found(clip, scene):
    return gc.poses.estimate(scene, clip.frames, np.asarray(clip.dynamic))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    write_video(folder / "a.mp4", rendered(100, 8, 96, 128).frames)
    assert main(["run", str(folder / "a.mp4"), "-o", str(folder / "a.gc")]) == 0
    return folder


def points_of(clip, t):
    """In metres, by the renderer."""
    k = clip.intrinsics[t]
    y, x = np.mgrid[: clip.depth.shape[1], : clip.depth.shape[2]]
    rays = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones(x.shape)], -1)
    return rays * clip.depth[t][..., None]


def test_a_known_distance_gives_metres(clip, scene, found):
    points = points_of(clip, 3)
    apart = np.linalg.norm(points[70, 20] - points[80, 100])
    scales = scales_of_distances(scene, found, [Distance(20, 70, 100, 80, apart, frame=3)])
    np.testing.assert_allclose(scales, UNIT, rtol=1e-5)
    metres = in_metres(found, scales)
    truth = np.linalg.inv(clip.poses[0]) @ clip.poses
    path = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=-1).sum()
    assert np.abs(metres.poses[:, :3, 3] - truth[:, :3, 3]).max() < 0.03 * path
    np.testing.assert_allclose(metres.covariance[:, 3:, 3:], found.covariance[:, 3:, 3:] * UNIT**2)
    np.testing.assert_allclose(metres.covariance[:, :3, :3], found.covariance[:, :3, :3])
    kept = gc.Scene.from_depth(clip.depth / UNIT, clip.mask, clip.intrinsics)
    assert kept.unit is None
    store(kept, metres)
    assert kept.unit == "m" and kept.predicted.unit is None
    sound = np.asarray(kept.mask)
    np.testing.assert_allclose(np.asarray(kept.depth)[sound], clip.depth[sound], rtol=1e-5)
    discard(kept)
    assert kept.unit is None
    np.testing.assert_allclose(np.asarray(kept.depth)[sound], clip.depth[sound] / UNIT, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 15), st.lists(st.integers(0, 192 * 256 - 1), min_size=2, max_size=2, unique=True), st.integers(1, 4)
)
def test_any_two_pixels_of_any_frame_give_the_same_unit(clip, scene, frame, places, larger):
    """At the video's size, which may be larger than the scene's: a pixel of the scene is then several of it."""
    (r1, c1), (r2, c2) = (divmod(p, 256) for p in places)
    if not (clip.mask[frame, r1, c1] and clip.mask[frame, r2, c2]):
        return
    points = points_of(clip, frame)
    apart = float(np.linalg.norm(points[r1, c1] - points[r2, c2]))
    x1, y1, x2, y2 = ((v + 0.5) * larger - 0.5 for v in (c1, r1, c2, r2))
    scales = scales_of_distances(scene, None, [Distance(x1, y1, x2, y2, apart, frame)], (192 * larger, 256 * larger))
    np.testing.assert_allclose(scales, UNIT, rtol=1e-4)


def test_each_shot_has_a_unit_of_its_own(clip, scene):
    depth = np.array(scene.depth)
    depth[5:] /= 3
    two = gc.Scene.from_depth(depth, clip.mask, clip.intrinsics)
    two.set_array("shots", np.array([0, 5]))
    points = [points_of(clip, t) for t in range(16)]

    def distance(t):
        return Distance(20, 70, 100, 80, float(np.linalg.norm(points[t][70, 20] - points[t][80, 100])), frame=t)

    scales = scales_of_distances(two, None, [distance(1), distance(6), distance(7)])
    np.testing.assert_allclose(scales, [UNIT] * 5 + [3 * UNIT] * 11, rtol=1e-4)
    with pytest.raises(InputError, match="frames 5 to 15 have no known distance"):
        scales_of_distances(two, None, [distance(1)])


def test_a_prior_in_metres_gives_metres(clip, scene, found):
    seen = []

    def prior(frames, camera):
        t = int(np.abs(clip.frames / 255 - frames[0].permute(1, 2, 0).numpy()).sum((1, 2, 3)).argmin())
        seen.append(t)
        assert camera.fov_x == pytest.approx(2 * np.arctan(128 / clip.intrinsics[0, 0, 0]), rel=1e-5)
        points = torch.from_numpy(points_of(clip, t)).float()[None]
        points[0, :60] *= 9  # a third of it is wrong
        return points, torch.from_numpy(clip.mask[t].copy())[None]

    np.testing.assert_allclose(scales_of_prior(scene, found, prior, clip.frames), UNIT, rtol=1e-3)
    assert len(seen) == 9 and seen[0] == 0 and seen[-1] == 15
    with pytest.raises(InputError, match="finds no depth"):
        scales_of_prior(
            scene, found, lambda f, c: (torch.zeros(1, 192, 256, 3), torch.zeros(1, 192, 256) > 1), clip.frames
        )


def test_the_command_measures(made, capsys):
    place = str(made / "a.gc")
    assert main(["poses", place, "--distance", "20,70,100,80,4@3", "--distance", "20,70,100,80,4"]) == 0
    assert "in metres (one unit of depth was" in capsys.readouterr().out
    scene = gc.open(place)
    assert scene.unit == "m"

    def apart(scene, t, scale):
        h, w = scene.depth.shape[1:]
        ends = [(round((y + 0.5) * h / 96 - 0.5), round((x + 0.5) * w / 128 - 0.5)) for x, y in ((20, 70), (100, 80))]
        return np.linalg.norm(scene.points[t][ends[0]] - scene.points[t][ends[1]]) * scale

    assert np.sqrt(apart(scene, 3, 1) * apart(scene, 0, 1)) == pytest.approx(4, rel=0.02)
    assert main(["export", place, "tum", str(made / "a.tum"), "--overwrite"]) == 0
    np.testing.assert_allclose(read_trajectory(made / "a.tum", scene.times), scene.poses, atol=1e-5)
    assert main(["poses", place]) == 0
    assert gc.open(place).unit is None


def small_moge2(path):
    stack = {"dim_res_blocks": [8] * 5, "resamplers": "bilinear", "num_res_blocks": 0}
    config = {
        "encoder": {"backbone": "dinov2_vits14", "intermediate_layers": 1, "dim_out": 8},
        "neck": {"dim_in": [10, 2, 2, 2, 2], "dim_out": None, **stack},
        "points_head": {"dim_in": None, "dim_out": [None] * 4 + [3], **stack},
        "mask_head": {"dim_in": None, "dim_out": [None] * 4 + [1], **stack},
        "scale_head": {"dims": [32, 8, 1]},
        "num_tokens_range": [10, 20],
        "remap_output": "exp",
    }
    network = fill_by_recipe(MoGe2(MoGe2Config(**config)))
    torch.save({"model_config": config, "model": network.state_dict()}, path)
    return config


def test_the_command_asks_moge_2(made, tmp_path, monkeypatch, capsys):
    """With small random weights, read as the published ones are."""
    monkeypatch.setitem(
        dinov2.DINOV2_SIZES,
        "dinov2_vits14",
        dataclasses.replace(dinov2.DINOV2_SIZES["dinov2_vits14"], channels=32, depth=1, heads=2),
    )
    small_moge2(tmp_path / "model.pt")
    place = str(made / "a.gc")
    assert main(["poses", place, "--metric", str(tmp_path / "model.pt")]) == 0, capsys.readouterr().err
    scene = gc.open(place)
    assert scene.unit == "m"
    prior = load_prior(tmp_path / "model.pt", torch.device("cpu"))
    size = scene.depth.shape[1:]
    logs = []
    for t, frame in enumerate(scene.open_source()):
        picture = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float() / 255
        picture = torch.nn.functional.interpolate(picture, size, mode="bilinear", antialias=True)
        out = prior.infer(picture, 2 * np.arctan(size[1] / 2 / scene.predicted.intrinsics[t][0, 0]))
        sound = out["mask"][0].numpy() & scene.mask[t]
        logs.append(np.log(np.median(out["depth"][0].numpy()[sound] / scene.predicted.depth[t][sound])))
    np.testing.assert_allclose(np.asarray(scene.array("metres")), np.exp(np.median(logs)), rtol=1e-3)


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize("place", ["project", "folder", "file"])
def test_colmap_s_own_poses_are_read(tmp_path, kind, place):
    """Written by COLMAP's library."""
    pycolmap = pytest.importorskip("pycolmap")
    rng = np.random.default_rng(0)
    rec = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create(1, pycolmap.CameraModelId.PINHOLE, 100.0, 128, 96)
    rec.add_camera_with_trivial_rig(camera)
    truth = []
    for n in (2, 0, 1, 3):  # not in the frames' order, and more than nine of them by name
        move = pycolmap.Rigid3d(pycolmap.Rotation3d(rng.normal(size=3)), rng.normal(size=3))
        image = pycolmap.Image(name=f"frame{n * 5}.png", camera_id=1, image_id=n + 1)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(rng.random(2)) for _ in range(n)])
        rec.add_image_with_trivial_frame(image, move)
        truth.append((n, np.vstack([move.inverse().matrix(), [0, 0, 0, 1]])))
    folder = tmp_path / "sparse" / "0"
    folder.mkdir(parents=True)
    (rec.write_text if kind == "text" else rec.write_binary)(folder)
    given = {"project": tmp_path, "folder": folder, "file": folder / ("images.txt" if kind == "text" else "images.bin")}
    poses = read_trajectory(given[place], np.arange(4) / 24)
    np.testing.assert_allclose(poses, [pose for _, pose in sorted(truth, key=lambda x: x[0])], atol=1e-9)
    if kind == "binary":
        whole = (folder / "images.bin").read_bytes()
        for damaged in (whole[:-3], whole[:70], whole + b"x", b"", (folder / "cameras.bin").read_bytes()):
            (tmp_path / "damaged.bin").write_bytes(damaged)
            with pytest.raises(InputError, match="no file of poses"):
                read_trajectory(tmp_path / "damaged.bin", np.arange(4) / 24)


def test_poses_of_recordings_and_of_kitti_are_read(clip, tmp_path):
    truth = np.asarray(clip.poses, np.float64)[:12]  # frame-2 comes before frame-10
    for t, pose in enumerate(truth):
        np.savetxt(tmp_path / f"frame-{t}.pose.txt", pose)
    np.savetxt(tmp_path / "kitti.txt", truth[:, :3].reshape(12, 12))
    for place in (tmp_path, tmp_path / "kitti.txt"):
        np.testing.assert_allclose(read_trajectory(place, np.arange(12) / 24), truth, atol=1e-9)
        with pytest.raises(InputError, match="12 poses for 9 frames"):
            read_trajectory(place, np.arange(9) / 24)
    for damaged, told in (("1 2 3", "no file of poses"), ("2 0 0 0 0 2 0 0 0 0 2 0", "no rotation")):
        (tmp_path / "frame-3.pose.txt").write_text(damaged)
        with pytest.raises(InputError, match=f"frame-3.*{told}"):
            read_trajectory(tmp_path, np.arange(12) / 24)


def test_known_poses_give_depth_their_unit_without_refining(clip, scene):
    found = gc.poses.estimate(scene, clip.frames, np.asarray(clip.dynamic), poses=clip.poses)
    assert found.correction.shape == (16, 1, 1) and np.ptp(found.correction) == 0
    assert np.exp(found.correction[0, 0, 0]) == pytest.approx(UNIT, rel=0.03)
    np.testing.assert_array_equal(found.intrinsics, np.asarray(scene.intrinsics))


def test_a_known_camera_stays_as_it_is(tmp_path):
    """Also where depth is refined with it."""
    write_video(tmp_path / "a.mp4", rendered(100, 8, 96, 128).frames)
    place = str(tmp_path / "a.gc")
    assert main(["run", str(tmp_path / "a.mp4"), "-o", place, "--intrinsics", "90,92,60,50"]) == 0
    before = np.asarray(gc.open(place).intrinsics)
    height, width = gc.open(place).depth.shape[1:]
    np.testing.assert_allclose(before[3, [0, 1], [0, 1]], [90 * width / 128, 92 * height / 96], rtol=1e-5)
    for flags in ([], ["--refine"], ["--distance", "20,70,100,80,4"]):
        assert main(["poses", place, *flags]) == 0
        np.testing.assert_array_equal(np.asarray(gc.open(place).intrinsics), before)
