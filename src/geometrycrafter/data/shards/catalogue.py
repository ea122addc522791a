"""What the indices of many shards say, in a few arrays: 60 to 90 bytes a frame, where objects would take 2 kilobytes.

Members follow one another in a tar, so that sizes say where each lies; intrinsics that a clip does not change are kept
once; poses without their last row. A clip that is not as writers make it is kept as it is.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch

from geometrycrafter.data.shards.index import BLOCK, ClipEntry

_CLIP = np.dtype(
    [
        ("shard", "<i4"),
        ("frames", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("near", "<f8"),
        ("far", "<f8"),
        ("offset", "<i8"),  # of the first picture
        ("sizes", "<i8"),  # where its own begin, in the array of all
        ("numbers", "<i8"),
        ("key", "<i8"),
        ("about", "<i4"),
        ("dynamic", "?"),
        ("still", "?"),  # one matrix of intrinsics for all frames
        ("posed", "?"),
    ]
)
"""A row for each clip."""
_KEY = "\0"
"""In place of a clip's key in what is told about it; JSON has no such character."""


_BELOW = np.array([0, 0, 0, 1], np.float32)
"""The last row of a motion."""


class Catalogue(Sequence[ClipEntry]):
    """Clips of one shard after another, each made into an entry when it is asked for.

    The arrays are shared with processes that are forked, and with others that torch sends them to.

    Args:
        shards: the clips of each.
    """

    def __init__(self, shards: Iterable[Sequence[ClipEntry]]):
        self._names: dict[str, int] = {}
        self._abouts: dict[str, int] = {}
        self._odd: dict[int, ClipEntry] = {}
        columns = {name: _Column() for name in ("clips", "keys", "sizes", "numbers")}
        for entries, first in _counted(shards):
            self._append(columns, entries, first)
        self._columns = {
            name: torch.from_numpy(columns[name].array(kind))
            for name, kind in (("clips", "u1"), ("keys", "u1"), ("sizes", "<i4"), ("numbers", "<f4"))
        }
        self._told = list(self._abouts)
        self._shards = list(self._names)

    def _append(self, columns: dict[str, _Column], entries: Sequence[ClipEntry], first: int) -> None:
        """Add a shard's clips."""
        rows = np.zeros(len(entries), _CLIP)
        for row, (number, entry) in zip(rows, enumerate(entries, first), strict=True):
            row["shard"] = self._names.setdefault(entry.shard, len(self._names))
            row["frames"], row["key"] = len(entry.frames), len(columns["keys"])
            row["sizes"], row["numbers"] = len(columns["sizes"]) // 4, len(columns["numbers"]) // 4
            columns["keys"].add(entry.key.encode())
            try:
                sizes, numbers = self._fill(row, entry)
            except (ValueError, TypeError, KeyError, OverflowError, AttributeError):
                self._odd[number] = entry
                continue
            columns["sizes"].add(sizes.tobytes())
            columns["numbers"].add(numbers.tobytes())
        columns["clips"].add(rows.tobytes())

    def _fill(self, row: Any, entry: ClipEntry) -> tuple[np.ndarray, np.ndarray]:
        """Write a clip's row; its sizes and its numbers.

        Raises:
            ValueError: where it can't be made from them again exactly; other errors too.
        """
        places, numbers, still = _places_packed(entry), [], False
        for key in ("height", "width", "near", "far"):
            row[key] = getattr(entry, key)
            if type(getattr(entry, key)) is not type(row[key].item()):
                raise ValueError(key)
        meta = dict(entry.meta)
        if list(meta)[:2] != ["intrinsics", "poses"]:
            raise ValueError("another order")
        matrices = _exact(meta.pop("intrinsics"), (len(entry), 3, 3))
        still = bool((matrices == matrices[:1]).all())
        numbers.append(matrices[:1] if still else matrices)
        poses = meta.pop("poses")
        if poses is not None:
            motions = _exact(poses, (len(entry), 4, 4))
            if (motions[:, 3] != _BELOW).any():
                raise ValueError("no motions")
            numbers.append(motions[:, :3])
        about = json.dumps(meta).replace(entry.key, _KEY)
        if json.loads(about.replace(_KEY, json.dumps(entry.key)[1:-1])) != meta:
            raise ValueError("no JSON")
        row["offset"], row["still"], row["posed"] = places[0, 0], still, poses is not None
        row["dynamic"], row["about"] = bool(entry.dynamic), self._abouts.setdefault(about, len(self._abouts))
        return places[:, 1].astype(np.int32), np.concatenate([n.ravel() for n in numbers])

    def _rows(self) -> np.ndarray:
        return self._columns["clips"].numpy().view(_CLIP)

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return sum(c.nbytes for c in self._columns.values())

    def __len__(self) -> int:
        return len(self._columns["clips"]) // _CLIP.itemsize

    def length(self, index: int) -> int:
        """Frames of a clip."""
        return int(self._rows()["frames"][index])

    def key(self, index: int) -> str:
        """The name of a clip."""
        rows, keys = self._rows(), self._columns["keys"].numpy()
        end = rows["key"][index + 1] if index + 1 < len(rows) else len(keys)
        return bytes(keys[rows["key"][index] : end]).decode()

    def ends(self) -> dict[str, int]:
        """Where the last clip of each shard ends, by the shard's name, bytes."""
        numbers = self._rows()["shard"]
        last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
        entries = [self[int(i)] for i in last if int(i) not in self._odd]
        return {e.shard: max(o + n for o, n in (*e.frames, *e.depth, *e.dynamic)) for e in entries if e.frames}

    @overload
    def __getitem__(self, index: int) -> ClipEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClipEntry]: ...
    def __getitem__(self, index: int | slice) -> ClipEntry | list[ClipEntry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self._odd[index] if index in self._odd else self._unpacked(index)

    def __iter__(self) -> Iterator[ClipEntry]:
        return (self[i] for i in range(len(self)))

    def _unpacked(self, index: int) -> ClipEntry:
        row, key = self._rows()[index], self.key(index)
        count, members = int(row["frames"]), 3 if row["dynamic"] else 2
        sizes = self._columns["sizes"].numpy()[row["sizes"] :][: count * members].astype(np.int64)
        places = np.stack([row["offset"] + _before(sizes), sizes], -1).reshape(count, members, 2)
        numbers = self._columns["numbers"].numpy()[row["numbers"] :]
        matrices = numbers[: 9 if row["still"] else 9 * count].reshape(-1, 3, 3)
        meta: dict[str, Any] = {"intrinsics": np.broadcast_to(matrices, (count, 3, 3)).tolist(), "poses": None}
        if row["posed"]:
            motions = numbers[matrices.size :][: 12 * count].reshape(count, 3, 4)
            below = np.broadcast_to(_BELOW, (count, 1, 4))
            meta["poses"] = np.concatenate([motions, below], 1).tolist()
        meta |= json.loads(self._told[row["about"]].replace(_KEY, json.dumps(key)[1:-1]))
        own: list[Any] = places.swapaxes(0, 1).tolist()
        sized = {k: row[k].item() for k in ("height", "width", "near", "far")}
        dynamic = own[2] if members == 3 else []
        shard = self._shards[row["shard"]]
        return ClipEntry(key, shard, **sized, frames=own[0], depth=own[1], dynamic=dynamic, meta=meta)


class _Column:
    """Bytes that grow where they are: pieces kept until the end would leave holes in the heap, twice their size."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, data: bytes) -> None:
        """Append."""
        end = self._used + len(data)
        if end > len(self._bytes):
            self._bytes.resize(2 * end)  # pages that nothing was written to take no memory
        self._bytes[self._used : end] = data
        self._used = end

    def array(self, kind: str) -> np.ndarray:
        """All of it, ``[N]``."""
        return np.frombuffer(self._bytes, kind, self._used // np.dtype(kind).itemsize)


class Held(Mapping[str, ClipEntry]):
    """Clips by their keys: those of whole shards in catalogues, others as they are."""

    def __init__(self) -> None:
        self._at: dict[str, ClipEntry | tuple[Catalogue, int]] = {}

    def add(self, entry: ClipEntry) -> None:
        """Take a clip of a shard that grows."""
        self._at[entry.key] = entry

    def close(self, entries: Sequence[ClipEntry]) -> None:
        """Take all clips of a shard, in the place of those of the same keys."""
        catalogue = Catalogue([entries])
        self._at |= {e.key: (catalogue, i) for i, e in enumerate(entries)}

    def __getitem__(self, key: str) -> ClipEntry:
        found = self._at[key]
        return found if isinstance(found, ClipEntry) else found[0][found[1]]

    def __contains__(self, key: object) -> bool:
        return key in self._at

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)


def _counted(shards: Iterable[Sequence[ClipEntry]]) -> Iterator[tuple[Sequence[ClipEntry], int]]:
    """Each shard's clips with the number of those before."""
    first = 0
    for entries in shards:
        yield entries, first
        first += len(entries)


def _before(sizes: np.ndarray) -> np.ndarray:
    """How far from the first member each begins, of members that follow one another in a tar, ``[N]`` int64."""
    taken = BLOCK + -(-sizes // BLOCK) * BLOCK
    return np.cumsum(taken) - taken


def _places_packed(entry: ClipEntry) -> np.ndarray:
    """Offsets and sizes in the order of the tar, ``[N, 2]`` int64.

    Raises:
        ValueError: where they don't follow one another.
    """
    members = [entry.frames, entry.depth] + ([entry.dynamic] if entry.dynamic else [])
    places = np.array(members, np.int64).swapaxes(0, 1).reshape(-1, 2)
    sizes = places[:, 1]
    if not len(places) or sizes.min() < 0 or sizes.max() > np.iinfo(np.int32).max:
        raise ValueError("sizes")
    if not np.array_equal(places[:, 0], places[0, 0] + _before(sizes)):
        raise ValueError("gaps")
    return places


def _exact(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a shape as float32 that stand for exactly the same.

    Raises:
        ValueError: where there are none.
    """
    wide = np.array(values, np.float64)
    numbers = wide.astype(np.float32)
    if wide.shape != shape or not np.array_equal(numbers.astype(np.float64), wide):
        raise ValueError("other numbers")
    return numbers
