"""A setting's declaration refuses what can't stand in it, wherever it comes from."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geometrycrafter.errors import InputError
from geometrycrafter.inference.options import Options
from geometrycrafter.settings import (
    Count,
    Intrinsics,
    Positive,
    Range,
    Settings,
    Share,
    Size,
    Written,
    argument,
    read_settings,
    value_of,
)

Side = Annotated[int, Range(64, 8192, multiple=64)]


@dataclass(frozen=True)
class Inner(Settings):
    share: Share = 0.5


@dataclass(frozen=True)
class Example(Settings):
    steps: Count = 5
    rate: Positive = 1.0
    size: Annotated[tuple[Side, Side], Written("HxW", "x")] | None = None
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    many: tuple[Share, ...] = ()
    inner: Inner = Inner()


@given(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=3), st.booleans()))
def test_a_number_is_in_its_range_or_refused(value):
    try:
        found = Example(rate=value)
    except InputError as error:
        assert str(error).startswith(f"rate {value!r}: give a number above 0 to 1,000,000,000")
        assert not (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e9)
    else:
        assert 0 < found.rate <= 1e9 and math.isfinite(found.rate) and isinstance(found.rate, float)


def test_every_door_has_the_same_lock():
    for bad in (0, -1, math.nan, math.inf, 2.5, True, "5", 10**30, 10**400):
        with pytest.raises(InputError, match="steps"):
            Example(steps=bad)
        with pytest.raises(InputError, match=r"x\.toml: steps"):
            read_settings(Example, {"steps": bad}, "x.toml")
        with pytest.raises(argparse.ArgumentTypeError):
            argument(Example, "steps")("5.0" if bad == "5" else str(bad))


def test_values_take_their_own_form():
    found = read_settings(Example, {"rate": 2, "size": [64, 128], "inner": {"share": 1}, "many": [0, 1]}, "x")
    assert found == Example(rate=2.0, size=(64, 128), inner=Inner(1.0), many=(0.0, 1.0))
    assert Example(steps=np.int64(3)) == Example(steps=3)
    assert type(Example(rate=np.float32(0.5)).rate) is float
    assert argument(Example, "size")("64x128") == (64, 128)
    assert argument(Intrinsics)("1,2,3,4") == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("size", (0, 0), "multiple of 64"),
        ("size", (100, 128), "the nearest is 128"),
        ("size", (64,), "list of 2"),
        ("kind", "c", "choose a or b"),
        ("flag", 1, "bool"),
        ("many", (0.5, 2), "from 0 to 1"),
        ("inner", {"shares": 1}, "shares is no setting"),
    ],
)
def test_the_message_says_what_would_be_right(field, value, words):
    with pytest.raises(InputError, match=words):
        Example(**{field: value})


@pytest.mark.parametrize("text", ["1,2,nan,4", "1,2,inf,4", "1,2,3", "0,2,3,4", "a,b,c,d", "", "1e300,1,1,1"])
def test_cameras_of_absurd_numbers_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        argument(Intrinsics)(text)


@pytest.mark.parametrize("text", ["0x0", "-1x5", "x", "5", "5x5x5", "1e3x5", "99999999x1"])
def test_sizes_of_absurd_numbers_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        argument(Size)(text)


def test_a_choice_of_numbers_tells_numbers_from_truth_values():
    angles = Literal[0, 90]
    assert value_of(angles, 0, "angle") == 0 and value_of(Literal[True], True, "on") is True
    for kind, value in ((angles, False), (angles, 45), (Literal[True], 1)):
        with pytest.raises(InputError, match="choose"):
            value_of(kind, value, "x")


def test_a_path_is_on_disk():
    assert value_of(Path, "a/b", "output") == Path("a/b") and argument(Path)("10:30") == Path("10:30")
    for bad in ("s3://b/x", "", 3, None):
        with pytest.raises(InputError):
            value_of(Path, bad, "output")


def test_a_whole_number_that_no_float_can_hold_is_refused():
    for bad in (10**400, -(10**400)):
        with pytest.raises(InputError, match="rate"):
            Example(rate=bad)


ANYTHING = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.floats(),
    st.integers(),
    st.binary(max_size=3),
    st.sampled_from([np.zeros((40, 40)), np.array(["shared"]), np.array([]), np.array(3.0), torch.zeros(2, 3)]),
    st.sampled_from([torch.tensor(1), torch.zeros(2, device="meta"), np.float32(2), np.bool_(True), {1}, {}, object()]),
)


@given(
    name=st.sampled_from([field.name for field in dataclasses.fields(Options)]),
    value=st.recursive(ANYTHING, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=6),
)
def test_any_value_of_any_option_is_taken_or_refused_in_one_line(name, value):
    try:
        made = Options(**{name: value})
    except InputError as error:
        assert (
            "\n" not in str(error)
            and len(str(error)) < 300
            and name.replace("_", "") in str(error).replace("_", "").replace("-", "")
        )
    else:
        json.dumps(made.stored())


def test_an_array_is_no_choice():
    with pytest.raises(InputError, match=r"focal array\(\['shared'\].*: choose shared, per-frame or free"):
        Options(focal=np.array(["shared"]))
