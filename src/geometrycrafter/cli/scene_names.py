"""What the scenes of several inputs are called: each after its own input, and no two alike."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from geometrycrafter.errors import InputError
from geometrycrafter.files import is_url, on_disk
from geometrycrafter.urls import last_name

LONGEST = 255 - len(".gc")
"""Bytes of a name."""
NUMBERED = r"%0?\d*d|#+"
"""What stands for a frame's number in a pattern."""
SUFFIX = re.compile(r"\.(?=[0-9]*[A-Za-z])[A-Za-z0-9~]{1,10}")
"""What a file's name may lose at its end: ``.mp4`` and ``.h264``, not the ``.1`` of ``take.1``."""
MOST_FOLDERS = 16
"""Folders above an input that its name may tell."""


def scene_names(inputs: Sequence[str]) -> list[str]:
    """A name for the scene of each of several inputs, without ``.gc``.

    ``clip.mp4`` gives ``clip``, ``a/*.png`` and the folder ``a`` give ``a``, ``shot.%04d.exr`` gives ``shot``. Those
    that would be called alike keep their suffix (``clip.mp4`` and ``clip.mov``), or tell the folders that they are in
    (``a-clip`` and ``b-clip``).

    Args:
        inputs: as given on the command line.

    Raises:
        InputError: where two can't be told apart; names both.
    """
    candidates = [_candidates(text) for text in inputs]
    names = [next(c) for c in candidates]
    while twice := _alike(names):
        for index in twice:
            name = next(candidates[index], None)
            if name is None:
                first, second = (inputs[i] for i in twice[:2])
                raise InputError(
                    f"{first} and {second} would both become {names[index]}.gc; give each once, or run them one by one."
                )
            names[index] = name
    return names


def _alike(names: list[str]) -> list[int]:
    """Places of the first names that are one, also on disks that don't tell small letters from large."""
    keys = [unicodedata.normalize("NFC", name).casefold() for name in names]
    counts = Counter(keys)
    twice = next((key for key in keys if counts[key] > 1), None)
    return [i for i, key in enumerate(keys) if key == twice] if twice is not None else []


def _candidates(text: str) -> Iterator[str]:
    """Names for an input, each saying more than the one before."""
    short, whole, folders = _parts(text)
    told = [_legal(name) for name in (short, whole)]
    yield told[0]
    if told[1] != told[0]:
        yield told[1]
    for count in range(1, min(len(folders), MOST_FOLDERS) + 1):
        yield _legal("-".join([*folders[-count:], short]))
        yield _legal("-".join([*folders[-count:], whole]))


def _parts(text: str) -> tuple[str, str, list[str]]:
    """What an input is called at least, what it is called in full, and the folders that it is in."""
    if text == "-":
        return "stdin", "stdin", []
    if is_url(text):
        name = last_name(text)
        return _without_suffix(name), name, [p for p in text.split("://")[-1].split("?")[0].split("/")[:-1] if p]
    path = on_disk(text)
    is_pattern = not path.exists() and (glob.has_magic(text) or re.search(NUMBERED, path.name) is not None)
    folders = Path(os.path.abspath(path)).parts  # noqa: PTH100 (a link keeps its name)
    above, name = [p for p in folders[:-1] if p != os.sep], folders[-1].strip(os.sep)
    if not is_pattern:
        return (name if path.is_dir() else _without_suffix(name)), name, above
    while above and glob.has_magic(above[-1]):
        above.pop()
    pieces = [p.strip(" ._-") for p in re.split(rf"{NUMBERED}|\*+|\?+|\[[^]]*\]", _without_suffix(name))]
    if not pieces[0]:  # "a/*.png" is called after its folder
        pieces[0], above = (above[-1], above[:-1]) if above else ("", [])
    return pieces[0], "-".join(filter(None, pieces)), above


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and SUFFIX.fullmatch(dot + suffix) else name


def _legal(name: str) -> str:
    """A name that any disk takes: of text, not too long, and no step to another folder."""
    text = "".join(
        f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name
    )  # bytes that are no text
    text = re.sub(r"[/\x00-\x1f]", "_", text)
    if text.strip(". ") == "":
        return "video"
    if len(text.encode()) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text.encode()[: LONGEST - 17].decode(errors='ignore')}-{digest}"
