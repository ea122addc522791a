"""Every number that a command takes has a declared range: what lies outside never gets past the command line."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.cli.main import build_parser
from geometrycrafter.settings import Range, Written

ABSURD = ["nan", "inf", "-inf", "1e999", "-1e999", "", " ", "abc", "1,2", "0x10", "--", "1e400", "9" * 400]


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every flag and argument of every command: the words before it, and the action."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from leaves(child, (*words, name))
        elif action.nargs != 0 and not isinstance(action, argparse._HelpAction | argparse._VersionAction):
            yield " ".join((*words, *(action.option_strings[:1] or [action.dest]))), action


ACTIONS = dict(leaves(build_parser()))
NUMERIC = {
    name: action
    for name, action in ACTIONS.items()
    if hasattr(action.type, "kind")
    and re.search(r"\b(int|float)\b", re.sub(r"Literal\[.*?\]", "", str(action.type.kind)))
}


def ranges(kind: Any) -> list[Range]:
    """The ranges of the numbers that an annotation speaks of, in order."""
    if typing.get_origin(kind) is Annotated:
        own = [m for m in kind.__metadata__ if isinstance(m, Range)]
        return own or ranges(typing.get_args(kind)[0])
    return [r for part in typing.get_args(kind) for r in ranges(part)]


def separator(kind: Any) -> str:
    """What stands between the numbers of a value, on the command line."""
    found = [m.separator for m in getattr(kind, "__metadata__", ()) if isinstance(m, Written)]
    return (found + [separator(part) for part in typing.get_args(kind)] + [""])[0]


def open_ended(kind: Any) -> bool:
    """Whether an annotation speaks of any number of values."""
    return ... in typing.get_args(kind) or any(open_ended(part) for part in typing.get_args(kind))


def test_no_flag_reads_a_number_by_itself():
    bare = [name for name, action in ACTIONS.items() if action.type in (int, float, complex)]
    undeclared = [
        name
        for name, action in ACTIONS.items()
        if action.type not in (None, str, Path)
        and not hasattr(action.type, "kind")
        and name != "train --set"  # a line of TOML, which the configuration's own declarations judge
    ]
    assert not bare and not undeclared
    assert len(NUMERIC) > 20


@pytest.mark.parametrize("name", NUMERIC)
def test_every_number_has_a_range(name):
    kind = NUMERIC[name].type.kind
    assert ranges(kind), f"{name}: no number of {kind} has a range"
    assert all(abs(r.low) < float("inf") and abs(r.high) < float("inf") for r in ranges(kind))


@pytest.mark.parametrize("name", NUMERIC)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_lies_outside_is_refused_and_what_lies_inside_is_taken(name, data):
    read, kind = NUMERIC[name].type, NUMERIC[name].type.kind
    limits, between = ranges(kind), separator(kind)
    whole = "int" in str(kind)
    numbers = [
        data.draw(
            st.integers(-(10**12), 10**12) if whole else st.floats(width=64) | st.sampled_from([0.0, 1.0, 0.5, 30.0])
        )
        for _ in limits
    ]
    absurd = data.draw(st.none() | st.sampled_from([text for text in ABSURD if not between or between not in text]))
    if open_ended(kind):  # as many as one likes, each in the one range
        numbers = numbers * data.draw(st.integers(1, 3))
        limits = limits * len(numbers)
    words = [str(n) for n in numbers]
    if absurd is not None:
        words[data.draw(st.integers(0, len(words) - 1))] = absurd
    right = absurd is None and all(n == n and abs(n) != float("inf") and r.holds(n) for n, r in zip(numbers, limits))
    try:
        found = read(between.join(words))
    except argparse.ArgumentTypeError:
        assert not right, f"{name} refused {words}"
    else:
        assert right, f"{name} took {words}"
        assert (list(found) if between else [found]) == numbers


def test_a_refused_number_is_one_sentence_with_status_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        build_parser().parse_args(["run", "x.mp4", "-o", "x.gc", "--intrinsics", "1,2,nan,4"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.count("\n") == 1 and "--intrinsics" in said and "nan" in said
