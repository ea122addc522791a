"""What a run can be told: every option says what may stand in it, and the command line says the same."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused

import geometrycrafter as gc
from geometrycrafter.errors import InputError
from geometrycrafter.inference.options import LONGEST_SIDE, Options, processing_size
from geometrycrafter.video.options import Reading

ABSURD = {
    "--size": ["0x0", "64x0", "-64x64", "64x100", "65536x64", "64", "64x64x64", "nanx64"],
    "--max-size": ["0", "63", "-640", "1e3", "nan", "99999999"],
    "--window": ["0", "-1", "2.5", "nan", "1000000000000"],
    "--overlap": ["-1", "inf"],
    "--steps": ["0", "-5", "5.0", "1000000"],
    "--seed": ["-1", "1.5", "99999999999999999999"],
    "--intrinsics": [
        "1,2,nan,4",
        "nan,nan,1,4",
        "inf,inf,1,4",
        "1e-30,1e30,32,32",
        "0,1,2,3",
        "-5,5,2,2",
        "1,2,3",
        "x",
    ],
    "--start": ["-1", "nan", "1e9"],
    "--end": ["0", "-3"],
    "--stride": ["0", "-1", "0.5"],
}


@pytest.mark.parametrize(("flag", "value"), [(f, v) for f, values in ABSURD.items() for v in values])
def test_absurd_values_are_refused_by_their_flag(flag, value, tmp_path, capsys):
    sentence = refused(capsys, "run", tmp_path / "not-even-looked-at.mp4", "-o", tmp_path / "a.gc", f"{flag}={value}")
    assert flag in sentence and "not-even" not in sentence
    assert list(tmp_path.iterdir()) == []


numbers = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0, -1, 1e-30, 1e30, 0.5, 10**18, True, "5", None, [], (1, 2)]),
    st.integers(),
    st.floats(),
)


@given(st.sampled_from([f.name for f in dataclasses.fields(Options)]), numbers | st.tuples(*[numbers] * 4))
@settings(deadline=None, max_examples=400)
def test_an_option_is_refused_or_stored_as_it_is(name, value):
    """Whatever is given: an error that names the option, or a value that JSON keeps."""
    try:
        options = Options(**{name: value})
    except InputError as error:
        assert name in str(error) and "\n" not in str(error)
        return
    stored = json.loads(json.dumps(options.stored(), allow_nan=False))
    assert Options(**stored) == options


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([192 * 320, 320 * 640]), st.integers(64, 4096))
@settings(deadline=None, max_examples=400)
def test_the_longest_side_is_a_limit_and_nothing_else(height, width, pixels, longest):
    usual, limited = processing_size(height, width, pixels), processing_size(height, width, pixels, longest)
    assert all(s % 64 == 0 and 64 <= s <= longest for s in limited) and max(usual) <= LONGEST_SIDE
    if max(usual) <= longest:
        assert limited == usual
    else:  # as large as it may be, and of the video's shape
        assert max(limited) > longest - 64 and all(a <= b for a, b in zip(limited, usual, strict=True))
        assert abs(min(limited) - max(64, max(limited) * min(height, width) / max(height, width))) <= 32


@pytest.mark.parametrize(
    ("height", "width", "size"), [(1080, 1920, (128, 192)), (1920, 1080, (192, 128)), (480, 640, (128, 192))]
)
def test_the_shape_stays_under_a_small_limit(height, width, size):
    assert processing_size(height, width, 192 * 320, 192) == size


def test_a_small_video_keeps_its_size_under_a_large_limit():
    assert Options(max_size=640).for_video(120, 160, 192 * 320).size == Options().for_video(120, 160, 192 * 320).size


def test_options_of_reading_are_told_from_words_that_mean_nothing():
    estimator, frames = gc.load(), np.zeros((2, 64, 64, 3), np.uint8)
    for option in dataclasses.fields(Reading):
        if option.name not in dataclasses.asdict(Options()):
            with pytest.raises(InputError, match=rf"open_frames\(VIDEO, Reading\({option.name}="):
                estimator(frames, **{option.name: 1})
    with pytest.raises(InputError, match="ends is no option of a run; there are size"):
        estimator(frames, ends=1)
