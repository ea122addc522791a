"""Real files of many kinds come out right side up, in order, at their size."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from conftest import moving_pattern, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.errors import InputError
from geometrycrafter.video.pictures import write_png
from geometrycrafter.video.reading import open_frames
from geometrycrafter.video.sequences import clips_of

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


def turned_video(folder, frames, degrees):
    """``plain.mp4`` as it is encoded, and the same with a display matrix."""
    plain = write_video(folder / "plain.mp4", frames)
    turned = folder / "turned.mp4"
    # A display matrix can't be written through the muxer, so the one in the track header is patched: 16.16 fixed point.
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    a, b = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    matrix = np.array([a, b, 0, -b, a, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[at : at + 36] = matrix
    turned.write_bytes(data)
    return turned


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path, degrees):
    frames = moving_pattern(2, 32, 64)
    turned = turned_video(tmp_path, frames, degrees)
    upright = np.stack(list(open_frames(turned)))
    straight = np.stack(list(open_frames(tmp_path / "plain.mp4")))
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


NO_VIDEO = {
    "whole numbers": (np.zeros((2, 8, 8, 3), np.int32), "int32"),
    "black and white": (np.zeros((2, 8, 8, 3), bool), "bool"),
    "too large": (np.full((2, 8, 8, 3), 7.0), r"outside \[0, 1\]"),
    "too large later": (np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 255.0)]), r"outside \[0, 1\]"),
    "not a number": (np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), np.nan)]), r"outside \[0, 1\]"),
    "empty": (np.zeros((0, 8, 8, 3), np.uint8), "T at least 1"),
    "a number": (3, "int is no video"),
    "no frames": ([], "at least one frame"),
    "one picture": (np.zeros((40, 60, 3), np.uint8), r"picture\[None\]"),
    "one grey picture": (np.zeros((40, 60), np.uint8), r"picture\[None\]"),
    "one picture, channels first": (torch.zeros(3, 40, 60), r"transpose\(1, 2, 0\)\[None\]"),
    "channels first": (torch.zeros(5, 3, 40, 60), r"transpose\(0, 2, 3, 1\)"),
    "frames with channels first": (iter(np.zeros((5, 3, 40, 60), np.uint8)), r"transpose\(1, 2, 0\)"),
    "frames of several sizes": (np.array([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], object), "objects"),
    "five axes": (np.zeros((1, 2, 8, 8, 3), np.uint8), r"\[T, H, W, 3\]"),
    "rows of several lengths": ([[[1, 2], [1]]], "shape"),
    "words": (["a"], "a: the file can't be read"),
}


@pytest.mark.parametrize("kind", NO_VIDEO)
def test_what_is_no_video_is_refused_before_a_frame_is_read(kind):
    video, words = NO_VIDEO[kind]
    with pytest.raises(InputError, match=words):
        open_frames(video)


def test_what_the_message_on_one_picture_says_works():
    picture = moving_pattern(1, 16, 24)[0]
    assert np.array_equal(np.stack(list(open_frames(picture[None]))), picture[None])
    channels_first = picture.transpose(2, 0, 1)
    assert np.array_equal(next(iter(open_frames(channels_first.transpose(1, 2, 0)[None]))), picture)
    grey = np.stack(list(open_frames(channels_first[..., None])))
    assert grey.shape == (3, 16, 24, 3) and np.array_equal(grey[..., 0], channels_first)


def test_tensors_of_half_precision():
    frames = torch.rand(2, 8, 12, 3).bfloat16()
    np.testing.assert_array_equal(np.stack(list(open_frames(frames))), frames.float().numpy())


class Drawn:
    """Counts what is taken of an iterator."""

    def __init__(self, frames):
        self.frames, self.count = iter(frames), 0

    def __iter__(self):
        return self

    def __next__(self):
        frame = next(self.frames)
        self.count += 1
        return frame


@given(st.integers(0, 6), st.integers(1, 8), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_an_iterator_is_drawn_to_the_last_chosen_frame_and_no_further(start, length, stride):
    frames = moving_pattern(16, 4, 6)
    drawn = Drawn(frames)
    end = start + length
    found = np.stack(list(open_frames(drawn).cut(start, end, stride)))
    assert np.array_equal(found, frames[start:end:stride])
    assert drawn.count == range(start, end, stride)[-1] + 1


def test_times_are_those_of_the_file(tmp_path):
    times = [0, 1, 5, 6, 20]
    path = write_video(tmp_path / "vfr.mkv", moving_pattern(5, 32, 48), "ffv1", "bgr0", times=[t + 24 for t in times])
    source = open_frames(path)
    assert [s for s, _ in source.timed()] == pytest.approx([t / 24 for t in times], abs=1e-3)
    assert [s for s, _ in source.cut(1, stride=2).timed()] == pytest.approx([1 / 24, 6 / 24], abs=1e-3)
    assert [s for s, _ in open_frames(moving_pattern(5, 8, 8)).cut(2, stride=2).timed()] == [2 / 24, 4 / 24]


def test_the_advice_on_a_damaged_video_works(tmp_path):
    frames = moving_pattern(8, 32, 48)
    path = write_video(tmp_path / "damaged.avi", frames, "mpeg4", "yuv420p", options={"g": "1"})
    good = np.stack(list(open_frames(path)))
    with av.open(str(path)) as container:
        place = [(p.pos, p.size) for p in container.demux(video=0) if p.size][5]
    data = bytearray(path.read_bytes())
    data[place[0] + 8 : place[0] + place[1]] = bytes(place[1] - 8)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged after frame 5 .* --end 5"):
        list(open_frames(path))
    assert np.array_equal(np.stack(list(open_frames(path).cut(end=5))), good[:5])
    assert np.array_equal(np.stack(list(open_frames(path).cut(1, 7, 3))), good[1:7:3])


def test_the_advice_on_a_video_that_was_cut_short_works(tmp_path):
    path = write_video(tmp_path / "short.avi", moving_pattern(60, 32, 48), "mpeg4", "yuv420p", options={"g": "1"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="--end") as refusal:
        list(open_frames(path))
    end = int(str(refusal.value).split("--end ")[1].rstrip("."))
    assert 5 < end < 40 and len(list(open_frames(path).cut(end=end))) == end


def test_content_tells_sources_apart_and_knows_the_same_again(tmp_path):
    frames = moving_pattern(4, 16, 24)
    other = frames.copy()
    other[2, 3, 4] ^= 1
    assert open_frames(frames).content() == open_frames(frames.copy()).content() != open_frames(other).content()
    assert open_frames(frames).content() != open_frames(frames.reshape(4, 24, 16, 3)).content()
    assert open_frames(frames.astype(np.uint16)).content() != open_frames(frames).content()
    assert open_frames(iter(frames)).content() is None

    path = write_video(tmp_path / "a.mp4", frames)
    before = open_frames(path).content()
    moved = path.rename(tmp_path / "b.mp4")
    assert open_frames(moved).content() == before
    write_video(moved, other[::-1])
    assert open_frames(moved).content() != before

    folder = tmp_path / "images"
    folder.mkdir()
    for i, picture in enumerate(frames):
        image_file(folder / f"{i}.png", picture, "png", "rgb24", "rgb24")
    before, first_two = open_frames(folder).content(), open_frames(folder).cut(end=2).content()
    (folder / "2.png").rename(folder / "9.png")  # another order
    assert open_frames(folder).content() != before and open_frames(folder).cut(end=2).content() == first_two


def test_pixel_aspect_and_turns_are_told(tmp_path):
    frames = moving_pattern(2, 32, 64)
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    source = open_frames(path)
    assert source.pixel_aspect == pytest.approx(4 / 3) and source.orientation == 0
    plain = open_frames(frames)
    assert plain.pixel_aspect == 1 and plain.orientation == 0
    turned = turned_video(tmp_path, frames, 90)
    assert open_frames(turned).orientation == 270  # the header's angle is clockwise


@pytest.mark.parametrize(
    "choice", [{"start": -1}, {"stride": 0}, {"end": 0}, {"start": 2, "end": 2}, {"start": 9}, {"stride": 1.5}]
)
def test_a_choice_of_no_frames_is_refused(choice):
    with pytest.raises(InputError, match=next(iter(choice))):
        open_frames(moving_pattern(4, 8, 8)).cut(**choice)


def test_places_that_cannot_be_read_are_named(tmp_path):
    for place in (tmp_path / ("x" * 300), tmp_path / "none.mp4", str(tmp_path / "*.png"), "a\0b", tmp_path):
        with pytest.raises(InputError) as refusal:
            open_frames(place)
        assert "\n" not in str(refusal.value)


def test_files_that_hold_no_picture_say_what_they_hold(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    with av.open(tmp_path / "sound.mp4", "w") as file:
        stream = file.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 48000
        file.mux([*stream.encode(sound), *stream.encode()])
    for name, said in (("empty", "the file is empty;"), ("text", "is one, and whole"), ("sound", "holds sound alone,")):
        with pytest.raises(InputError, match=said):
            open_frames(tmp_path / f"{name}.mp4")


@pytest.mark.parametrize("jumps, last", [(True, 0.3), (False, 3600.0)])
def test_a_broadcasts_clock_may_leap_and_that_of_other_files_is_believed(jumps, last) -> None:
    from types import SimpleNamespace

    from geometrycrafter.video.timing import Clock

    clock = Clock(10.0, jumps)
    ticks = (0, 1, 2, 36000)
    times = [clock.seconds(SimpleNamespace(pts=t, dts=t, time_base=Fraction(1, 10))) for t in ticks]
    assert times == pytest.approx([0, 0.1, 0.2, last])


def test_depth_maps_beside_the_pictures_of_a_recording_are_no_frames(tmp_path):
    for t, frame in enumerate(moving_pattern(3, 8, 12)):
        write_png(tmp_path / f"frame-{t:06}.color.png", frame)
        write_png(tmp_path / f"frame-{t:06}.depth.png", 0 * frame)
    for place in (tmp_path, str(tmp_path / "frame-*.png")):
        with pytest.warns(UserWarning, match="3 depth maps .*left out"):
            recording = open_frames(place)
        assert [frame.any() for frame in recording] == [True] * 3
    assert len(list(open_frames(str(tmp_path / "*.depth.png")))) == 3  # who asks for depth gets it


@pytest.mark.parametrize("names", [("rgb_1", "depth_1"), ("1", "1_depth"), ("1_colour", "1-Depth")])
def test_depth_maps_are_known_by_the_picture_of_the_same_name(names, tmp_path):
    for name in names:
        write_png(tmp_path / f"{name}.png", moving_pattern(1, 8, 12)[0])
    with pytest.warns(UserWarning, match="depth maps"):
        assert len(list(open_frames(tmp_path))) == 1
    write_png(tmp_path / "in_depth_talk.png", moving_pattern(1, 8, 12)[0])
    with pytest.warns(UserWarning, match="depth maps"):
        assert len(list(open_frames(tmp_path))) == 2


@pytest.mark.parametrize("colour, beside", [("rgb", "depth"), ("color", "depth"), ("Images", "depth_maps")])
def test_the_pictures_of_a_recording_are_found_in_their_folder(colour, beside, tmp_path):
    for name, dim in ((colour, 1), (beside, 0), ("pose", 0)):
        (tmp_path / name).mkdir()
        if name != "pose":
            for t, frame in enumerate(moving_pattern(3, 8, 12)):
                write_png(tmp_path / name / f"{t}.png", dim * frame)
    with pytest.warns(UserWarning, match=f"pictures of {colour} are read"):
        assert [frame.any() for frame in open_frames(tmp_path)] == [True] * 3
    with pytest.warns(UserWarning, match="other folders are not"):
        assert clips_of(str(tmp_path / "*")) == [str(tmp_path / colour)]
    assert len(list(open_frames(tmp_path / beside))) == 3  # who asks for depth gets it
