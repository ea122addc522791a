"""Reading clips from shards; nothing is ever written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards.catalogue import Catalogue
from geometrycrafter.data.shards.format import decode_depth, decode_mask, decode_picture_into
from geometrycrafter.data.shards.index import LARGEST_MEMBER, indices, read_index
from geometrycrafter.errors import InputError, reason


class Shards:
    """The clips of a folder of shards, by number.

    Args:
        folder: holds ``*.tar`` and their indices.

    Raises:
        InputError: where there are none, or one is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.clips = Catalogue(read_index(path) for path in indices(self.folder))
        if not self.clips:
            raise InputError(f"{self.folder}: the folder holds no shards; make some with 'geometrycrafter data'.")
        self._files: dict[str, int] = {}
        self._owner = os.getpid()

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def cut_short(self) -> list[Path]:
        """Tars that end before the last member which their index lists."""
        ends = ((self.folder / shard, end) for shard, end in self.clips.ends().items())
        return [tar for tar, end in ends if tar.stat().st_size < end]

    def digest(self) -> str:
        """SHA-256 of the index: the clips, their order, and where in the shards each picture lies."""
        digest = hashlib.sha256(b"[")
        for number, clip in enumerate(self.clips):
            digest.update(f"{', ' * bool(number)}{clip!r}".encode())
        digest.update(b"]")
        return digest.hexdigest()

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            os.close(file)

    def read(self, index: int, times: slice = slice(None)) -> Clip:
        """A clip, or some of its frames.

        Raises:
            InputError: where it is damaged; names the shard and the clip.
        """
        entry = self.clips[index]
        shape = (entry.height, entry.width)
        try:
            frames = np.empty((len(entry.frames[times]), *shape, 3), np.uint8)
            for frame, place in zip(frames, entry.frames[times], strict=True):
                decode_picture_into(frame, self._bytes(entry.shard, place))
            maps = [decode_depth(self._bytes(entry.shard, p), shape, entry.near, entry.far) for p in entry.depth[times]]
            dynamic = [decode_mask(self._bytes(entry.shard, p), shape) for p in entry.dynamic[times]]
            meta = entry.meta
            poses = None if meta["poses"] is None else np.array(meta["poses"], np.float32)[times]
            return Clip(
                frames=frames,
                depth=np.stack([depth for depth, _ in maps]),
                intrinsics=np.array(meta["intrinsics"], np.float32)[times],
                sky=np.stack([sky for _, sky in maps]) if meta["sky"] else None,
                dynamic=np.stack(dynamic) if dynamic else None,
                poses=poses,
                fps=meta["fps"],
                source=meta["source"],
                licence=meta["licence"],
            )
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            raise InputError(
                f"{self.folder / entry.shard}: the clip {entry.key} is damaged ({reason(error)})."
            ) from error

    def _file(self, shard: str) -> int:
        if self._owner != os.getpid():  # a forked reader opens its own
            self._files, self._owner = {}, os.getpid()
        if shard not in self._files:
            self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
        return self._files[shard]

    def _bytes(self, shard: str, place: Sequence[int]) -> bytes:
        offset, size = place
        if not 0 < size <= LARGEST_MEMBER:
            raise ValueError(f"a member of {size} bytes")
        data = os.pread(self._file(shard), size, offset)
        if len(data) != size:
            raise ValueError("the file is cut short")
        return data
