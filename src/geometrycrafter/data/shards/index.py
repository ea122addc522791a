"""The index of a shard: which clips its tar holds, and where."""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from geometrycrafter.data.shards.format import PICTURES
from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import write_json

VERSION = 1
BLOCK = 512
"""Bytes that a tar's headers take, and a multiple of which its members do."""
LARGEST_MEMBER = 2**28
"""Bytes; members that claim more are refused."""
_NUMBER = re.compile(r"\.?(?P<name>.+)-(?P<number>\d{6})\.(tar|json)(\..+)?")

Place = tuple[int, int]
"""Offset and size of a member in the tar, bytes."""


class Stretch(NamedTuple):
    """Which part of a longer one a clip is that was cut where frames can't be read."""

    segment: str
    """What was cut."""
    number: int
    """Of this clip in it, from 0."""
    of: int
    """How many there are."""


@dataclass(frozen=True)
class ClipEntry:
    """A clip as the index knows it."""

    key: str
    shard: str
    height: int
    width: int
    near: float
    far: float
    frames: list[Place]
    """Of each frame's picture."""
    depth: list[Place]
    dynamic: list[Place] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    """Intrinsics, poses, fps, source, licence; the stretch that it is, where it is one."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def stretch(self) -> Stretch:
        """Which part of a segment this is; a clip that was not cut is all of the segment of its name."""
        return Stretch(*self.meta["stretch"]) if "stretch" in self.meta else Stretch(self.key, 0, 1)


def entry_of(key: str, shard: str, about: dict[str, Any], places: dict[str, list[Place]]) -> ClipEntry:
    """The entry of a clip from its description and the places of its members."""
    sizes = {k: about[k] for k in ("height", "width", "near", "far")}
    meta = {k: about[k] for k in ("intrinsics", "poses", "sky", "fps", "source", "licence")}
    meta |= {k: about[k] for k in ("stretch",) if k in about}
    frames = next(places[s] for s in PICTURES if s in places)
    return ClipEntry(
        key, shard, **sizes, frames=frames, depth=places["depth"], dynamic=places.get("dynamic", []), meta=meta
    )


def number_of(path: Path, name: str) -> int | None:
    """The number of the shard that a tar, an index or an unfinished one of either belongs to; None: of none."""
    found = _NUMBER.fullmatch(path.name)
    return int(found["number"]) if found and found["name"] == name else None


def indices(folder: Path, name: str = "*") -> list[Path]:
    """The indices of a folder's shards, in order."""
    escaped = name if name == "*" else re.sub(r"([\[*?])", r"[\1]", name)
    return sorted(folder.glob(f"{escaped}-{'[0-9]' * 6}.json"))


def write_index(path: Path, entries: list[ClipEntry]) -> None:
    """Write an index; it appears whole."""
    write_json(path, {"version": VERSION, "clips": [vars(entry) for entry in entries]})


def read_index(path: Path) -> list[ClipEntry]:
    """The clips of a shard.

    Raises:
        InputError: where the index is damaged, of another version, or its tar is missing.
    """
    try:
        index = json.loads(path.read_text())
        version, entries = index["version"], index["clips"]
        # The tar is the one beside it, whatever number it had when it was written.
        shard = {"shard": path.with_suffix(".tar").name}
        found = [ClipEntry(**entry | shard) for entry in entries] if version == VERSION else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: this is no index of a shard, or it is damaged ({reason(error)}); prepare the data again."
        ) from error
    if found is None:
        raise InputError(f"{path}: written by another version of this program; prepare the data again.")
    tar = path.with_suffix(".tar")
    if not tar.is_file():
        raise InputError(f"{tar}: the shard that {path.name} lists is missing; copy it beside its index.")
    return found


def scan(path: Path, shard: str) -> tuple[list[ClipEntry], int]:
    """The whole clips of a tar that may be cut short, and where the last of them ends.

    Args:
        path: the tar.
        shard: its name, for the entries.
    """
    entries: list[ClipEntry] = []
    end = position = 0
    clip: _Growing | None = None
    size = path.stat().st_size
    with open(path, "rb") as file:
        while (member := _header(file)) is not None:
            start, after = position + BLOCK, position + BLOCK + -(-member.size // BLOCK) * BLOCK
            if start + member.size > size or member.size > LARGEST_MEMBER:
                break
            try:
                if "/" not in member.name:
                    clip = _Growing(member.name.removesuffix(".json"), json.loads(file.read(member.size)))
                elif clip is not None and clip.grow(member.name.rpartition(".")[2], (start, member.size)):
                    entries.append(entry_of(clip.key, shard, clip.about, clip.places))
                    end = after
            except (ValueError, KeyError, TypeError, StopIteration):
                break
            position = after
            file.seek(after)
    return entries, end


def _header(file: BinaryIO) -> tarfile.TarInfo | None:
    """The next member; None at the end, or where nothing more was written."""
    try:
        return tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "strict")
    except tarfile.TarError:
        return None


class _Growing:
    """A clip of which some members were seen."""

    def __init__(self, key: str, about: dict[str, Any]):
        self.key, self.about = key, about
        self.places: dict[str, list[Place]] = {}

    def grow(self, suffix: str, place: Place) -> bool:
        """Take a member; whether it was the last."""
        self.places.setdefault(suffix, []).append(place)
        wanted = self.about["members"]
        return [len(self.places.get(s, ())) for s in wanted] == [self.about["frames"]] * len(wanted)
