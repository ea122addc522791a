"""Videos of which nothing is missing, however they look: no warning, and nothing that ``--strict`` refuses."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from clips.broken import DASH, FLV, MPEG2, WMV, outlasted
from clips.making import encode
from clips.marks import number, pictures
from clips.streams import INTRA

from geometrycrafter.errors import InputError
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames


def is_whole(path: Path, count: int = 12) -> bool:
    with warnings.catch_warnings(action="error"):
        return len(list(open_frames(path))) == len(list(open_frames(path, Reading(strict=True)))) == count


def test_a_video_that_begins_after_its_sound(tmp_path):
    late = replace(WMV, ticks=tuple(range(15, 27)))
    assert is_whole(outlasted("late.wmv", late, "mp2")(tmp_path))


@pytest.mark.parametrize("more", [bytes(700), bytes(200_000), b"\xff" * 500], ids=["zeros", "many", "others"])
@pytest.mark.parametrize("kind", ["mkv", "flv", "avi"])
def test_bytes_behind_a_file_whose_sound_is_longer(kind, more, tmp_path):
    coding, voice = {
        "mkv": (INTRA, "aac"),
        "flv": (FLV, "aac"),
        "avi": (replace(INTRA, codec="mjpeg", pix_fmt="yuvj420p", options={}), "pcm_s16le"),
    }[kind]
    path = outlasted(f"v.{kind}", coding, voice)(tmp_path)
    with path.open("ab") as file:
        file.write(more)
    assert is_whole(path)


@pytest.mark.parametrize("name", ["v.ts", "v.mpg", "v.mp4"])
def test_zeros_that_fill_a_files_last_block(name, tmp_path):
    coding = DASH if name == "v.mp4" else MPEG2
    path = encode(tmp_path / name, pictures(12), coding)
    with path.open("ab") as file:
        file.write(bytes(4096 - path.stat().st_size % 4096))
    assert is_whole(path)


@pytest.mark.parametrize("name", ["v.mpg", "late.mpg"])
def test_sectors_that_are_filled_with_zeros(name, tmp_path):
    late = replace(MPEG2, codec="mpeg1video", ticks=(*range(6), *range(30, 36)) if name == "late.mpg" else ())
    path = encode(tmp_path / name, pictures(12), late)
    path.write_bytes(path.read_bytes().replace(b"\0\0\1\xba", bytes(20) + b"\0\0\1\xba")[20:])
    assert is_whole(path)


def test_what_the_decoder_holds_is_shown_where_a_file_can_be_read_no_further(tmp_path):
    path = encode(tmp_path / "v.ts", pictures(12), replace(MPEG2, options={"bf": "2"}))
    with path.open("ab") as file:
        file.write(bytes(200_000))
    with pytest.warns(UserWarning, match="missing"):
        frames = list(open_frames(path))
    assert [number(frame) for frame in frames] == [*range(10), 11]  # the last packet, frame 10, has no end
    with pytest.raises(InputError, match="copy it anew"):
        list(open_frames(path, Reading(strict=True)))
