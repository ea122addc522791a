"""Stages of the pose estimation that may be exchanged: what moves, which points, who follows them."""

from __future__ import annotations

import numpy as np
import pytest

import geometrycrafter as gc
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.protocol import PointTracks
from geometrycrafter.poses.windowed_tracks import WindowedTracks


@pytest.fixture(scope="module")
def clip():
    return rendered(100, 20, 96, 128)


@pytest.fixture(scope="module")
def scene(clip):
    return gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics)


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
