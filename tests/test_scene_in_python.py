"""Scenes as people write Python: they compute like arrays, and become tensors, clouds, figures and cells."""

from __future__ import annotations

import base64
import io
import sys

import numpy as np
import pytest
import torch
from conftest import moving_pattern, write_video
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

import geometrycrafter as gc

T, H, W = 5, 18, 24
CAMERA = np.array([[20, 0, 11.5], [0, 20, 8.5], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (T, H, W)).astype(np.float32)
    y, x = np.mgrid[:H, :W]
    rays = np.stack([(x - 11.5) / 20, (y - 8.5) / 20, np.ones((H, W))], -1)
    poses = np.tile(np.eye(4, dtype=np.float32), (T, 1, 1))
    poses[:, :3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    poses[:, :3, 3] = rng.normal(size=(T, 3))
    return {
        "depth": depth,
        "mask": rng.random((T, H, W)) > 0.3,
        "points": (depth[..., None] * rays).astype(np.float32),
        "frames": moving_pattern(T, H, W),
        "poses": poses,
    }


@pytest.fixture(scope="module", params=["disk", "memory", "refined"])
def scene(request, truth, tmp_path_factory) -> gc.Scene:
    made = gc.Scene.from_depth(truth["depth"], truth["mask"], CAMERA, truth["frames"], fps=10)
    made.set_poses(truth["poses"])
    if request.param == "refined":
        made.set_array("depth_correction", np.zeros((T, 2, 3), np.float32))
    return made if request.param == "memory" else made.save(tmp_path_factory.mktemp("s") / "s.gc")


def test_one_line_from_video_to_points(tmp_path) -> None:
    video = write_video(tmp_path / "v.mp4", moving_pattern(3, 64, 96))
    scene = gc.estimate(video, size=(64, 64), device="cpu")
    same = gc.load("tiny")(str(video), size=(64, 64))
    assert np.array_equal(scene.points[2], same.points[2]) and scene.path.exists()
    assert gc.estimate(str(video), tmp_path / "v.gc", size=(64, 64)).path == tmp_path / "v.gc"
    with pytest.raises(gc.InputError, match="sizes is no option"):
        gc.estimate(video, sizes=(64, 64))


def test_arrays_compute_like_numpys(scene, truth) -> None:
    depth, points, mask = truth["depth"], truth["points"], truth["mask"]
    same = np.testing.assert_array_equal
    same(2 * scene.depth + 1, 2 * depth + 1)
    same(1 / scene.depth, 1 / depth)
    same(np.log(scene.depth), np.log(depth))
    same(scene.depth - scene.depth.mean(), depth - depth.mean())
    same(scene.depth > 2, depth > 2)
    same(~scene.mask, ~mask)
    same(scene.depth[scene.mask], depth[mask])
    same(np.where(scene.mask, scene.depth, 0), np.where(mask, depth, 0))
    same(np.maximum.reduce(scene.depth, axis=0), depth.max(axis=0))
    np.testing.assert_allclose(scene.points[scene.mask], points[mask], rtol=1e-6)
    np.testing.assert_allclose(scene.points + 1, points + 1, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(scene.points, axis=-1), np.linalg.norm(points, axis=-1), rtol=1e-6)
    assert (scene.depth.ndim, scene.depth.size, scene.points.ndim) == (3, T * H * W, 4)
    assert scene.depth.max() == depth.max() and np.median(scene.depth) == np.median(depth)
    assert scene.depth.reshape(T, -1).shape == (T, H * W) and scene.depth.T.shape == (W, H, T)
    assert [frame.shape for frame in scene.depth] == [(H, W)] * T
    with pytest.raises(AttributeError, match="depht"):
        scene.depth.depht  # noqa: B018


ONE = st.integers(-T, T - 1)
PART = st.slices(T)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    index=st.one_of(
        ONE,
        PART,
        st.just(...),
        st.lists(st.integers(0, T - 1), min_size=1, max_size=4),
        st.tuples(ONE, st.slices(H)),
        st.tuples(PART, st.integers(0, H - 1), st.slices(W)),
        st.tuples(st.just(...), st.integers(0, 1)),
    )
)
def test_an_index_means_what_it_means_in_numpy(scene, truth, index) -> None:
    for name in ("depth", "points"):
        wanted, found = truth[name][index], getattr(scene, name)[index]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_tensors_are_of_all_frames_or_some(scene, truth) -> None:
    whole = scene.to_torch()
    assert {k: tuple(v.shape) for k, v in whole.items()} == {
        "points": (T, H, W, 3),
        "depth": (T, H, W),
        "mask": (T, H, W),
        "intrinsics": (T, 3, 3),
        "times": (T,),
        "poses": (T, 4, 4),
        "frames": (T, H, W, 3),
    }
    assert whole["mask"].dtype == torch.bool and torch.equal(whole["depth"], torch.from_numpy(truth["depth"]))
    one, some = scene.to_torch(3), scene.to_torch([0, 4])
    assert torch.equal(one["points"], whole["points"][3]) and torch.equal(some["points"], whole["points"][[0, 4]])
    with pytest.raises(gc.InputError, match="no frame 5"):
        scene.to_torch(5)


def test_frames_are_counted_by_any_integer_and_one_that_is_not_there_is_told(scene) -> None:
    assert torch.equal(scene.to_torch(np.int64(1))["depth"], scene.to_torch(1)["depth"])
    for frames in (99, np.int64(99), [0, 99], np.array([-99])):
        with pytest.raises(gc.errors.InputError, match=r"there is no frame -?99"):
            scene.to_torch(frames)


def test_a_cloud_has_the_valid_points_with_their_colours(scene, truth) -> None:
    points, colours = scene.cloud(2)
    mask = truth["mask"][2]
    np.testing.assert_allclose(points, truth["points"][2][mask], rtol=1e-6)
    np.testing.assert_array_equal(colours, truth["frames"][2][mask])
    placed, _ = scene.cloud(2, world=True)
    x, y, z = truth["points"][2][mask].T
    np.testing.assert_allclose(placed, np.stack([-y, x, z], -1) + truth["poses"][2, :3, 3], rtol=1e-5, atol=1e-5)
    try:
        import open3d  # noqa: F401
    except ImportError:
        with pytest.raises(gc.InputError, match="pip install open3d"):
            scene.to_open3d(2)
    else:
        cloud = scene.to_open3d(2)
        np.testing.assert_allclose(np.asarray(cloud.points), points, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(cloud.colors), colours / 255)


def test_a_figure_shows_the_frame_and_its_depth(scene, truth, monkeypatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = scene.plot(1)
    shown = [image.get_array() for axis in figure.axes for image in axis.get_images()]
    np.testing.assert_array_equal(shown[0], truth["frames"][1])
    np.testing.assert_array_equal(np.ma.filled(shown[1], np.nan), np.where(truth["mask"][1], truth["depth"][1], np.nan))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(gc.InputError, match=r"\.\[figures\]"):
        scene.plot(0)
    with pytest.raises(gc.InputError, match="no frame 9"):
        scene.plot(9)


def test_a_notebook_shows_a_picture(scene) -> None:
    cell = scene._repr_html_()
    data = cell.split("base64,")[1].split('"')[0]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape[1] > 800 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
    assert "frames: 5 of 24x18" in cell and "<script" not in cell


def test_a_data_loader_takes_frames_and_point_maps(scene, truth) -> None:
    frames = gc.SceneFrames(scene, stride=2)
    workers = 2 if scene.path is not None and not scene.refined else 0
    (batch,) = DataLoader(frames, batch_size=3, num_workers=workers)
    assert batch["index"].tolist() == [0, 2, 4] and batch["image"].shape == (3, 3, H, W)
    mask = torch.from_numpy(truth["mask"][::2])
    assert torch.equal(batch["mask"], mask) and torch.equal(batch["pose"], torch.from_numpy(truth["poses"][::2]))
    torch.testing.assert_close(batch["points"][mask], torch.from_numpy(truth["points"][::2])[mask])
    assert torch.equal(batch["depth"][mask], torch.from_numpy(truth["depth"][::2])[mask])
    assert not batch["depth"][~mask].any()
    torch.testing.assert_close(batch["image"], torch.from_numpy(truth["frames"][::2] / 255).permute(0, 3, 1, 2).float())
    with pytest.raises(IndexError, match="no item 3; there are 0 to 2"):
        frames[3]
    with pytest.raises(IndexError, match=f"no frame {len(scene)}; the scene has 0 to"):
        scene.points[len(scene)]
    with pytest.raises(gc.InputError, match="stride"):
        gc.SceneFrames(scene, stride=0)
