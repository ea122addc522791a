"""Stages of the pose estimation that may be exchanged: what moves, which points, who follows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import write_video
from test_pose_members import small_sam, small_sam_video, small_superpoint, spatracker_file, xmem_file  # noqa: F401 (fixtures)

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.members import SamMasks, SamVideoMasks, XMemMasks, spatracker
from geometrycrafter.poses.members.first_frame import things_of
from geometrycrafter.poses.members.sam import load_sam, load_sam_video
from geometrycrafter.poses.members.spatracker import load_spatracker
from geometrycrafter.poses.members.xmem import load_xmem
from geometrycrafter.poses.protocol import PointTracks
from geometrycrafter.poses.windowed_tracks import WindowedTracks


@pytest.fixture(scope="module")
def clip():
    return rendered(100, 20, 96, 128)


@pytest.fixture(scope="module")
def scene(clip):
    return gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics)


CPU = torch.device("cpu")


class Reprojected:
    """Follows points by the truth: lifts them by the depth that it is given, and projects them into other frames."""

    def __init__(self, clip):
        self.clip, self.windows = clip, []

    def __call__(self, frames, depth, intrinsics, queries):
        # Which frames these are: found by their content, as only an order and a length is given.
        names = [int(np.abs(self.clip.frames.astype(int) - f).sum((1, 2, 3)).argmin()) for f in frames]
        self.windows.append(names)
        x, y = queries[:, 1], queries[:, 2]
        z = depth[0][y.round().astype(int), x.round().astype(int)]
        k = intrinsics[0]
        points = np.stack([(x - k[0, 2]) / k[0, 0] * z, (y - k[1, 2]) / k[1, 1] * z, z], -1)
        out = np.zeros((len(frames), len(queries), 2), np.float32)
        for t, name in enumerate(names):
            move = np.linalg.inv(self.clip.poses[name]) @ self.clip.poses[names[0]]
            there = points @ move[:3, :3].T + move[:3, 3]
            out[t] = there[:, :2] / there[:, 2:] * [k[0, 0], k[1, 1]] + k[:2, 2]
        return PointTracks(out, np.isfinite(out).all(-1))


def test_a_tracker_is_asked_in_windows_forwards_and_backwards(clip, scene):
    tracker = Reprojected(clip)
    found = gc.poses.estimate(scene, iter(clip.frames), moving=np.zeros(clip.mask.shape, bool), tracker=tracker)
    forwards = [list(range(0, 12)), list(range(6, 18)), list(range(12, 20))]
    assert tracker.windows == [w for f in forwards for w in (f, f[::-1])]
    truth = np.linalg.inv(clip.poses[0]) @ clip.poses
    path = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=-1).sum()
    assert np.abs(found.poses[:, :3, 3] - truth[:, :3, 3]).max() < 0.01 * path
    assert found.known.all()


def test_points_on_what_moves_are_not_followed(clip, scene):
    moving = np.zeros(clip.mask.shape, bool)
    moving[:, 20:70, 30:90] = True
    tracks = WindowedTracks(Reprojected(clip))(clip.frames, ~moving, scene)
    x, y = tracks.xy.round().long().T
    assert len(tracks) > 1000 and not moving[tracks.frame, y, x].any()
    assert (tracks.lengths() > 6).any() and (tracks.frame[1:] - tracks.frame[:-1])[
        tracks.track[1:] == tracks.track[:-1]
    ].min() == 1


@pytest.mark.parametrize("tracker", [None, "network"])
def test_points_are_found_by_what_is_given(clip, scene, tracker):
    asked = []

    def every_eighth(frame, mask, count):
        asked.append(frame.shape)
        y, x = np.mgrid[4 : frame.shape[0] : 8, 4 : frame.shape[1] : 8].reshape(2, -1)
        kept = np.ones(len(x), bool) if mask is None else mask[y, x]
        return np.stack([x, y], -1)[kept][:count].astype(np.float32)

    network = None if tracker is None else Reprojected(clip)
    found = gc.poses.estimate(
        scene, clip.frames, np.zeros(clip.mask.shape, bool), keypoints=every_eighth, tracker=network
    )
    assert asked and set(asked) == {(96, 128, 3)}
    assert found.known.all()


def test_moving_things_are_found_by_what_is_given_in_one_pass(clip, scene):
    """Frames that come once, and a finder that gives a mask for each as it comes."""
    order = []

    def frames():
        for t in range(20):
            order.append(t)
            yield clip.frames[t]

    def right_half(pictures):
        for t, picture in enumerate(pictures):
            assert order[-1] == t, "frames were read ahead"
            mask = np.zeros(picture.shape[:2], bool)
            mask[:, 64:] = True
            yield mask

    found = gc.poses.estimate(scene, frames(), moving=right_half)
    by_hand = np.zeros(clip.mask.shape, bool)
    by_hand[..., 64:] = True
    same = gc.poses.estimate(scene, clip.frames, moving=by_hand)
    np.testing.assert_array_equal(found.poses, same.poses)
    np.testing.assert_array_equal(np.stack(list(found.moving)), by_hand)


def test_finders_and_masks_that_do_not_fit_say_so(clip, scene):
    def fails(match, **given):
        with pytest.raises(InputError, match=match):
            gc.poses.estimate(scene, clip.frames, **given)

    fails("gave 3 masks for 20", moving=lambda frames: [np.zeros((96, 128), bool)] * 3)
    fails("covers all", moving=lambda frames: (np.ones((96, 128), bool) for _ in frames))
    fails("128x60, of another shape", moving=np.zeros((20, 60, 128), bool))
    fails("no list of masks", moving=7)
    fails(r"\[T, H, W\]", moving=np.zeros(20, bool))


def test_many_pictures_lie_in_a_file(clip, scene, monkeypatch):
    from geometrycrafter.poses import pictures

    whole = gc.poses.estimate(scene, clip.frames, tracker=LucasKanade(points=100))
    monkeypatch.setattr(pictures, "IN_MEMORY", 1)
    filed = gc.poses.estimate(scene, clip.frames, tracker=LucasKanade(points=100))
    np.testing.assert_array_equal(whole.poses, filed.poses)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A video, the embedded model's scene of it, and a mask of its first frame."""
    folder = tmp_path_factory.mktemp("stages")
    write_video(folder / "a.mp4", rendered(100, 8, 64, 96).frames)
    assert main(["run", str(folder / "a.mp4"), "-o", str(folder / "a.gc")]) == 0
    mask = np.zeros((64, 96, 3), np.uint8)
    mask[10:40, 10:40], mask[30:60, 60:90] = (255, 0, 0), (0, 255, 0)
    picture(folder / "first.png", mask)
    return folder


def picture(path, pixels):
    from PIL import Image

    Image.fromarray(pixels).save(path)


def frames_of(made):
    return np.stack(list(gc.open(made / "a.gc").open_source()))


def moving_of(made):
    return np.asarray(gc.open(made / "a.gc").array("moving"))


def small(masks, scene):
    from geometrycrafter.poses.masks import mask_at_size

    return np.stack([mask_at_size(m, scene.mask.shape[1:]) for m in masks])


def test_xmem_carries_a_picture_of_the_first_frame_on(made, xmem_file, capsys):  # noqa: F811
    command = ["poses", str(made / "a.gc"), "--mask-model", str(xmem_file), "--mask", str(made / "first.png")]
    assert main(command) == 0
    assert "8 frames" in capsys.readouterr().out
    first = np.zeros((2, 64, 96), bool)
    first[1, 10:40, 10:40], first[0, 30:60, 60:90] = True, True
    wanted = XMemMasks(load_xmem(xmem_file, CPU), first)(frames_of(made))
    assert 0 < wanted.mean() < 1
    np.testing.assert_array_equal(moving_of(made), small(wanted, gc.open(made / "a.gc")))


def test_sam_2_takes_points_and_boxes(made, tmp_path):
    small_sam_video("sam2_video", tmp_path)
    command = ["poses", str(made / "a.gc"), "--mask-model", str(tmp_path)]
    assert main([*command, "--mask-at", "20,30", "--mask-at", "50,20,90,60"]) == 0
    wanted = SamVideoMasks(load_sam_video(tmp_path, CPU), at=[[20, 30], [50, 20, 90, 60]])(frames_of(made))
    assert 0 < wanted.mean() < 1
    np.testing.assert_array_equal(moving_of(made), small(wanted, gc.open(made / "a.gc")))


def test_sam_makes_the_mask_that_xmem_carries_on(made, xmem_file, tmp_path):  # noqa: F811
    small_sam(tmp_path)
    command = ["poses", str(made / "a.gc"), "--mask-model", str(tmp_path), "--mask-model", str(xmem_file)]
    assert main([*command, "--mask-at", "20,30"]) == 0
    frames = frames_of(made)
    first = SamMasks(load_sam(tmp_path, CPU))(frames[0], points=np.array([[20, 30]], np.float32))
    wanted = XMemMasks(load_xmem(xmem_file, CPU), first)(frames)
    np.testing.assert_array_equal(moving_of(made), small(wanted, gc.open(made / "a.gc")))


@pytest.fixture
def tracked_small(monkeypatch):
    """SpaTracker at a size that tests have time for."""
    monkeypatch.setattr(spatracker, "SIZE", (32, 48))


def test_superpoint_and_spatracker_find_and_follow(made, spatracker_file, tmp_path, capsys, tracked_small):  # noqa: F811
    """With random weights what they follow is no point of the world: the command ends, and the poses are kept."""
    small_superpoint(tmp_path)
    assert main(["poses", str(made / "a.gc"), "--keypoints", str(tmp_path)]) == 0
    assert main(["poses", str(made / "a.gc"), "--keypoints", str(tmp_path), "--tracker", str(spatracker_file)]) == 0
    assert "of 8 frames" in capsys.readouterr().out
    scene = gc.open(made / "a.gc")
    assert np.isfinite(scene.poses).all() and len(scene.poses) == 8


def test_a_tracker_that_follows_nothing_gives_no_poses(made, spatracker_file, tmp_path, capsys, tracked_small):  # noqa: F811
    """SpaTracker whose points stay where they began, as for a camera that stands still."""
    network = load_spatracker(spatracker_file, CPU)
    network.updateformer.flow_head[4].weight.zero_()
    network.updateformer.flow_head[4].bias.zero_()
    network.vis_predictor[0].bias.fill_(20.0)
    torch.save({"model": network.state_dict()}, tmp_path / "still.pth")
    assert main(["poses", str(made / "a.gc"), "--tracker", str(tmp_path / "still.pth")]) == 0
    scene = gc.open(made / "a.gc")
    np.testing.assert_allclose(scene.poses[:, :3, 3], 0, atol=1e-3)
    np.testing.assert_allclose(scene.poses[:, :3, :3], np.tile(np.eye(3), (8, 1, 1)), atol=1e-3)


def test_colours_of_a_mask_are_things():
    mask = np.zeros((10, 12, 3), np.uint8)
    mask[:3], mask[5:, :4], mask[5:, 8:] = (128, 0, 0), (0, 200, 0), (255, 255, 255)
    things = things_of(mask)
    assert things.shape == (3, 10, 12) and things.sum() == 36 + 20 + 20 and (things.sum(0) <= 1).all()
    soft = np.repeat(np.arange(100, 220, dtype=np.uint8).reshape(10, 12, 1), 3, -1)
    np.testing.assert_array_equal(things_of(soft), soft[None, ..., 0] > 127)
    assert things_of(mask * 0).shape == (1, 10, 12)
