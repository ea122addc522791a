"""A disk that has lost a block of a video: what is missing is counted and told, by every container that can tell."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from clips.making import Coding, encode

from geometrycrafter.errors import InputError
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

COUNT = 30
FFV1 = Coding("ffv1", rate=25, options={"g": "1"})
KINDS = {
    "Matroska": ("v.mkv", FFV1),
    "live Matroska": ("v.mkv", replace(FFV1, container={"live": "1"})),
    "AVI": ("v.avi", FFV1),
    "FLV": ("v.flv", Coding("flv", rate=25, options={"g": "1", "b": "8000000"})),
    "WMV": ("v.wmv", Coding("wmv2", rate=25, options={"g": "1", "b": "8000000"})),
    "MPEG program stream": ("v.mpg", Coding("mpeg2video", rate=25, options={"g": "1"})),
    "transport stream": ("v.ts", Coding("mpeg2video", rate=25, options={"g": "1"})),
    "MXF": ("v.mxf", Coding("mpeg2video", rate=25, options={"g": "1"})),
    "MP4": ("v.mp4", Coding(rate=25, options={"g": "1"}, container={"movflags": "faststart"})),
}


@pytest.fixture(scope="module", params=KINDS)
def video(request, tmp_path_factory):
    name, coding = KINDS[request.param]
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 64, 96, 3), np.uint8)
    return encode(tmp_path_factory.mktemp("whole") / name, list(noise), coding)


def without(video, path, share, length):
    """The video with some of its bytes zeroed."""
    data = bytearray(video.read_bytes())
    start = int(len(data) * share) // 512 * 512
    end = min(start + length, len(data) - 256)
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    return path


def read(path, how=None):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return len(list(open_frames(path, how))), " ".join(str(w.message) for w in said)


def test_nothing_is_missing_from_a_whole_video(video):
    assert read(video, Reading(strict=True)) == (COUNT, "")


@pytest.mark.parametrize("share", [0.3, 0.55, 0.9])
@pytest.mark.parametrize("length", [512, 16384, 65536])
def test_what_a_lost_block_took_is_told(video, tmp_path, share, length):
    path = without(video, tmp_path / video.name, share, length)
    try:
        count, said = read(path)
    except InputError as error:
        good = re.search(r"--end (\d+)", str(error))
        assert good and read(path, Reading(end=int(good[1]))) == (int(good[1]), "")
        return
    missing = re.search(rf"{COUNT - count} of (\d+) frames are missing", said)
    told = (missing and abs(int(missing[1]) - COUNT) <= 1) or "how much of the video is missing is not known" in said
    assert count == COUNT or told, (count, said)
    if count < COUNT:
        with pytest.raises(InputError, match=r"damaged|cut short"):
            read(path, Reading(strict=True))
