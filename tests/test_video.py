"""Real files of many kinds come out right side up, in order, at their size."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from conftest import moving_pattern, write_video

from geometrycrafter.errors import InputError
from geometrycrafter.video.reading import open_frames

CODECS = {
    "h264": ("mp4", "libx264", "yuv420p", {}),
    "hevc": ("mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "hevc-10": ("mkv", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", {}),
    "av1": ("mp4", "libsvtav1", "yuv420p", {}),
    "prores-10": ("mov", "prores_ks", "yuv422p10le", {}),
    "mpeg4": ("avi", "mpeg4", "yuv420p", {"qscale": "2"}),
}


@pytest.mark.parametrize("kind", CODECS)
def test_codecs(tmp_path, kind):
    suffix, codec, pixel_format, options = CODECS[kind]
    frames = moving_pattern(6, 64, 96)
    path = write_video(tmp_path / f"clip.{suffix}", frames, codec, pixel_format, options=options)
    source = open_frames(path)
    decoded = list(source)
    assert len(decoded) == 6 and (source.height, source.width) == (64, 96)
    deep = "10" in kind
    assert decoded[0].dtype == (np.float32 if deep else np.uint8)
    for frame, truth in zip(decoded, frames, strict=True):
        scaled = frame * 255 if deep else frame.astype(float)
        assert np.abs(scaled - truth).mean() < 12


@pytest.mark.parametrize("size", [(63, 95), (31, 17)])
def test_odd_sizes(tmp_path, size):
    frames = moving_pattern(3, *size)
    path = write_video(tmp_path / "odd.mkv", frames, "ffv1", "bgr0")
    assert np.array_equal(np.stack(list(open_frames(path))), frames)


def test_variable_frame_rate_keeps_every_frame_in_order(tmp_path):
    frames = moving_pattern(5, 32, 48)
    path = write_video(tmp_path / "vfr.mkv", frames, "ffv1", "bgr0", times=[0, 1, 5, 6, 20])
    assert np.array_equal(np.stack(list(open_frames(path))), frames)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path, degrees):
    frames = moving_pattern(2, 32, 64)
    plain = write_video(tmp_path / "plain.mp4", frames)
    turned = tmp_path / "turned.mp4"
    # A display matrix can't be written through the muxer, so the one in the track header is patched: 16.16 fixed point.
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    a, b = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    matrix = np.array([a, b, 0, -b, a, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[at : at + 36] = matrix
    turned.write_bytes(data)
    upright = np.stack(list(open_frames(turned)))
    straight = np.stack(list(open_frames(plain)))
    # The header's angle is clockwise.
    assert np.array_equal(upright, np.rot90(straight, -degrees // 90, axes=(1, 2)))


def test_alpha_lies_over_black_and_grey_becomes_colour(tmp_path):
    rgba = np.full((8, 8, 4), 200, np.uint8)
    rgba[:4, :, 3], rgba[4:, :, 3] = 0, 255
    for name, array, form in (("a.png", rgba, "rgba"), ("g.png", rgba[..., 0], "gray")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 8, 8, form
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=form)))
    (alpha,) = open_frames(tmp_path / "a.png")
    assert (alpha[:4] == 0).all() and (alpha[4:] == 200).all()
    (grey,) = open_frames(tmp_path / "g.png")
    assert grey.shape == (8, 8, 3) and (grey == 200).all()


def image_file(path, array, codec, form, source_form):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1)
        stream.height, stream.width, stream.pix_fmt = array.shape[0], array.shape[1], form
        stream.time_base = Fraction(1, 1)
        frame = av.VideoFrame.from_ndarray(array, format=source_form).reformat(format=form)
        container.mux(stream.encode(frame))


def test_folders_and_globs_of_images_in_counting_order(tmp_path):
    for index in (2, 10, 1):
        picture = np.full((8, 12, 3), index * 20, np.uint8)
        image_file(tmp_path / f"frame{index}.png", picture, "png", "rgb24", "rgb24")
    for source in (tmp_path, str(tmp_path / "frame*.png")):
        assert [int(f[0, 0, 0]) for f in open_frames(source)] == [20, 40, 200]


def test_sixteen_bit_png_and_exr_keep_their_depth(tmp_path):
    deep = np.linspace(0, 65535, 8 * 16 * 3).reshape(8, 16, 3).astype(np.uint16)
    image_file(tmp_path / "deep.png", deep, "png", "rgb48be", "rgb48le")
    (frame,) = open_frames(tmp_path / "deep.png")
    np.testing.assert_allclose(frame, deep / 65535, atol=1e-6)
    linear = np.linspace(0, 1.5, 8 * 16 * 3).reshape(8, 16, 3).astype(np.float32)
    image_file(tmp_path / "light.exr", linear, "exr", "gbrpf32le", "gbrpf32le")
    (frame,) = open_frames(tmp_path / "light.exr")
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0, 1) ** (1 / 2.4) - 0.055).clip(0, 1)
    np.testing.assert_allclose(frame, shown, atol=2e-3)


def test_arrays_and_iterators():
    frames = moving_pattern(4, 16, 24)
    as_float = frames.astype(np.float32) / 255
    assert np.array_equal(np.stack(list(open_frames(frames))), frames)
    np.testing.assert_allclose(np.stack(list(open_frames(as_float))), as_float)
    source = open_frames(iter(frames))
    assert source.count is None and len(list(source)) == 4


def test_start_end_and_stride():
    frames = moving_pattern(10, 8, 8)
    source = open_frames(frames).cut(2, 9, 3)
    assert source.count == 3
    assert np.array_equal(np.stack(list(source)), frames[2:9:3])


@pytest.mark.parametrize(
    "video", [np.zeros((2, 8, 8, 3), np.int32), np.full((2, 8, 8, 3), 7.0), np.zeros((0, 8, 8, 3), np.uint8), 3, []]
)
def test_what_is_no_video_is_said_so(video):
    with pytest.raises(InputError):
        list(open_frames(video))
