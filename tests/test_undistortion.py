"""Frames of a lens as a pinhole sees them, against clips that are rendered through both."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import moving_pattern, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.data.renderer import clip, render_clip
from geometrycrafter.errors import InputError
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.scene.source import SourceRecord
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames
from geometrycrafter.video.undistortion import Undistortion

HEIGHT, WIDTH = 96, 128
BARREL = Lens("OPENCV", (90.0, 88, 65, 46, -0.25, 0.05, 0.004, -0.003), HEIGHT, WIDTH)
CUSHION = Lens("SIMPLE_RADIAL", (110.0, 63.5, 47.5, 0.3), HEIGHT, WIDTH)
FISHEYE = Lens("OPENCV_FISHEYE", (60.0, 60, 63.5, 47.5, 0.02, -0.006, 0, 0), HEIGHT, WIDTH)


def pinhole_of(undone: Undistortion) -> Lens:
    return Lens("PINHOLE", undone.intrinsics, undone.height, undone.width)


@pytest.mark.parametrize("lens", [BARREL, CUSHION, FISHEYE], ids=["barrel", "cushion", "fisheye"])
def test_a_clip_through_a_lens_becomes_the_one_through_a_pinhole(lens: Lens, monkeypatch) -> None:
    """Of the same world from the same place, but for what lies between pixels: colours, and depth along with them."""
    monkeypatch.setattr(clip, "photograph", lambda image, rng: image / (1 + image))  # which goes by the whole picture
    bent = render_clip(4, 1, HEIGHT, WIDTH, lens)
    source = open_frames(bent.frames.permute(0, 2, 3, 1).numpy(), Reading(camera=lens))
    undone = source.undistortion
    assert undone is not None and (source.height, source.width) == (undone.height, undone.width)
    straight = render_clip(4, 1, undone.height, undone.width, pinhole_of(undone))
    truth = straight.frames.permute(0, 2, 3, 1).numpy()
    seen = undone.valid
    views = np.stack(list(source))
    crop = np.s_[: min(HEIGHT, undone.height), : min(WIDTH, undone.width)]
    as_it_is = np.abs(bent.frames[0].permute(1, 2, 0).numpy()[crop] - truth[0][crop]).mean()
    assert np.abs(views - truth)[:, seen].mean() < min(0.012, as_it_is / 4)
    depth = F.grid_sample(bent.depth[None], undone.grid, "bilinear", "border", align_corners=True)[0]
    wrong = (depth / straight.depth - 1).abs().numpy()[:, seen]
    assert np.median(wrong) < 1e-4 and (wrong < 0.02).mean() > 0.98
    assert straight.mask.all() and seen.mean() > 0.9


@pytest.mark.parametrize("lens", [BARREL, CUSHION], ids=["barrel", "cushion"])
def test_opencv_makes_the_same_view(lens: Lens) -> None:
    picture = moving_pattern(1, HEIGHT, WIDTH)[0]
    undone = Undistortion.of(lens)
    fx, fy, cx, cy = undone.intrinsics
    bent = np.array([*lens.parameters[4:], *([0.0] * 4)])[:4] if lens is BARREL else np.array([0.3, 0, 0, 0])
    k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    maps = cv2.initUndistortRectifyMap(
        lens.intrinsics.numpy(), bent, np.eye(3), k, (undone.width, undone.height), cv2.CV_32FC1
    )
    theirs = cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(undone(picture).astype(int) - theirs)[undone.valid].max() <= 2


@given(st.sampled_from([BARREL, CUSHION, FISHEYE]), st.floats(0.3, 3), st.floats(-25, 25), st.floats(-20, 20))
@settings(deadline=None, max_examples=20)
def test_a_view_holds_what_the_picture_shows_along_its_axes_and_no_more(lens: Lens, scale, right, down) -> None:
    values = dict(zip(("fx", "fy", "cx", "cy"), (*lens.focal, *lens.centre)))
    own = list(lens.parameters)
    first = own.index(values["cx"])
    own[:first] = [f * scale for f in own[:first]]
    own[first : first + 2] = [values["cx"] + right, values["cy"] + down]
    lens = Lens(lens.model, tuple(own), HEIGHT, WIDTH)
    undone = Undistortion.of(lens)
    (fx, fy), (ux, uy, ucx, ucy) = lens.focal, undone.intrinsics
    assert (ux, uy) == (fx, fy)  # the scale of the middle
    shift = np.array([lens.centre[0] - ucx, lens.centre[1] - ucy])
    assert np.abs(shift - shift.round()).max() < 1e-9  # and its pixels
    row, column = round(ucy), round(ucx)
    assert undone.valid[row].mean() > 0.95 and undone.valid[:, column].mean() > 0.95
    widest = np.tan(np.radians(60))
    assert max(ucx, undone.width - 1 - ucx) <= fx * widest + 1 and max(ucy, undone.height - 1 - ucy) <= fy * widest + 1
    y, x = np.nonzero(undone.valid)
    rays = torch.from_numpy(np.stack([(x - ucx) / ux, (y - ucy) / uy, np.ones_like(x)], -1))
    pixels, seen = lens.project(rays)
    assert seen.all() and (pixels >= -0.5).all() and (pixels <= torch.tensor([WIDTH - 0.5, HEIGHT - 0.5])).all()


def test_a_pinhole_camera_changes_nothing() -> None:
    video = moving_pattern(3, HEIGHT, WIDTH)
    source = open_frames(video, Reading(camera=Lens("PINHOLE", (100.0, 100, 63.5, 47.5))))
    assert (source.height, source.width) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(np.stack(list(source)), video)
    assert source.undistortion is not None and source.undistortion.valid.all()


def test_frames_are_undone_whatever_they_are_read_from(tmp_path) -> None:
    video = moving_pattern(6, HEIGHT, WIDTH)
    how = Reading(camera=BARREL, start=1, stride=2)
    wanted = list(open_frames(video, how))
    undone = Undistortion.of(BARREL)
    np.testing.assert_array_equal(wanted, [undone(frame) for frame in video[1::2]])
    path = write_video(tmp_path / "a.mkv", video, "ffv1", "bgr0")
    for source in (open_frames(path, how), open_frames(iter(video), how), open_frames(path).read_as(how)):
        np.testing.assert_array_equal(list(source), wanted)
    twice = [frame for _, frame in open_frames(video, Reading(camera=BARREL, fps=48)).timed()]
    assert len(twice) == 12 and all((a == b).all() for a, b in zip(twice[::2], twice[1::2]))
    as_it_is = open_frames(path, how).read_as(Reading())
    np.testing.assert_array_equal(list(as_it_is), video)


def test_a_scene_finds_the_same_view_again(tmp_path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_pattern(4, HEIGHT, WIDTH), "ffv1", "bgr0")
    source = open_frames(path, Reading(camera=BARREL))
    stored = SourceRecord.of(source).stored()
    again = SourceRecord.of_attributes(stored, "the scene")
    assert again is not None and again.reading.camera == BARREL
    np.testing.assert_array_equal(list(again.open()), list(source))


def test_a_camera_of_another_video_is_told_in_a_sentence(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_pattern(2, 64, 96))
    with pytest.raises(InputError, match=r"a\.mp4: the camera is of a picture of 128x96, but the video is 96x64; give"):
        open_frames(path, Reading(camera=BARREL))
    with pytest.raises(InputError, match="axis is outside of the picture"):
        open_frames(path, Reading(camera=Lens("PINHOLE", (50.0, 50, 300, 10))))
