"""How data sets name their files: patterns, numbers, gaps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geometrycrafter.data.dataset import Sequence
from geometrycrafter.errors import InputError
from geometrycrafter.files import natural


def matches(folder: Path, pattern: str) -> list[Path]:
    """What matches a pattern below a folder, in natural order; ``{a,b}`` in it stands for either."""
    choice = re.search(r"\{([^{}]*)\}", pattern)
    if choice is None:
        return sorted(folder.glob(pattern), key=natural)
    before, after = pattern[: choice.start()], pattern[choice.end() :]
    each = (matches(folder, before + word + after) for word in choice[1].split(","))
    return sorted({path for found in each for path in found}, key=natural)


def first_matches(root: Path, *patterns: str) -> list[Path]:
    """What the first pattern matches that matches anything, in natural order.

    A download is often unpacked with its top folder or without: each place has a pattern, and one of them is there.
    """
    for pattern in patterns:
        found = matches(root, pattern)
        if found:
            return found
    return []


def last_number(path: Path) -> int:
    """The last number in a file's name.

    Raises:
        InputError: where there is none.
    """
    digits = re.findall(r"\d+", path.stem)
    if not digits:
        raise InputError(f"{path}: a number was expected in its name.")
    return int(digits[-1])


def split_at_gaps(name: str, items: Iterable[tuple[int, dict[str, Any]]], scene: str = "") -> Iterator[Sequence]:
    """Sequences of consecutive numbers: a missing frame begins another, which its first number tells apart.

    Args:
        name: of the first.
        items: with their numbers, in order.
        scene: that they share with other sequences; empty: none but with each other.
    """
    scene = scene or name
    own: list[dict[str, Any]] = []
    own_name, before = name, 0
    for index, item in items:
        if own and index != before + 1:
            yield Sequence(own_name, tuple(own), scene=scene)
            own, own_name = [], f"{name}-from{index}"
        own.append(item)
        before = index
    if own:
        yield Sequence(own_name, tuple(own), scene=scene)
