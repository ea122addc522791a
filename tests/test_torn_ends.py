"""Damage in the last frames of a video is counted like any other, also by decoders that say nothing of it."""

from __future__ import annotations

import warnings

import av
import pytest
from conftest import moving_pattern, write_video

from geometrycrafter.errors import InputError
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

KINDS = {
    "png": ("mov", "png", "rgb24"),
    "targa": ("mov", "targa", "bgr24"),
    "h264": ("mp4", "libx264", "yuv420p"),
    "hevc": ("mp4", "libx265", "yuv420p"),
    "mpeg4": ("avi", "mpeg4", "yuv420p"),
}
COUNT = 30


@pytest.fixture(scope="module", params=KINDS)
def video(request, tmp_path_factory):
    suffix, codec, pixels = KINDS[request.param]
    path = tmp_path_factory.mktemp("whole") / f"v.{suffix}"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else None
    return write_video(path, moving_pattern(COUNT, 64, 96), codec, pixels, options=options)


def torn(video, path, number):
    """The video with all of one packet zeroed, as a disk leaves it that has lost a block."""
    with av.open(str(video)) as container:
        packet = [p for p in container.demux(container.streams.video[0]) if p.size][number]
        position, size = packet.pos, packet.size
    data = bytearray(video.read_bytes())
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    return path


def read(path, how=None):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return len(list(open_frames(path, how))), [str(w.message) for w in said]


def test_a_whole_video_is_not_called_damaged(video):
    assert read(video, Reading(strict=True)) == (COUNT, [])


@pytest.mark.parametrize("number", [COUNT - 3, COUNT - 2, COUNT - 1])
def test_frames_that_are_lost_at_the_end_are_told(video, tmp_path, number):
    path = torn(video, tmp_path / video.name, number)
    try:
        count, said = read(path)
    except InputError as error:
        assert "damaged" in str(error) and "--end" in str(error)
        return
    if count == COUNT:  # the decoder has made something of it
        return
    assert any(f"{COUNT - count} of {COUNT} frames are missing" in text for text in said), (count, said)
    with pytest.raises(InputError, match="damaged"):
        read(path, Reading(strict=True))


def test_options_that_leave_no_frame_are_named(video, tmp_path):
    import geometrycrafter as gc

    with pytest.raises(InputError, match=r"--start-time 50 ") as error:
        gc.load("tiny")(open_frames(video, Reading(start_time=50)), output=tmp_path / "a.gc")
    assert "--end" not in str(error.value)
