"""Writing clips into shards."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from pathlib import Path

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards.catalogue import Held
from geometrycrafter.data.shards.format import EncodedClip, encode_clip
from geometrycrafter.data.shards.index import (
    BLOCK,
    ClipEntry,
    Place,
    entry_of,
    indices,
    number_of,
    read_index,
    scan,
    write_index,
)
from geometrycrafter.data.shards.recipe import Recipe
from geometrycrafter.errors import InputError, WriteError
from geometrycrafter.files import explained, locked

REMEDY = "what is whole is kept; make room, or choose another place"


class ShardWriter:
    """Writes clips into a folder of shards, between ``with`` and its end. What was added is kept, also where the
    program is killed: the next writer finishes a tar that was cut short, up to its last whole clip.

    Args:
        folder: made where it is missing. Clips that it holds already are kept, and listed in :attr:`clips`.
        name: what the tar files' names begin with.
        shard_bytes: a tar is closed once it is larger.
        quality: of the pictures, 1 to 100; above that they are lossless.
        recipe: what the clips are made from, and how; None: nothing that is recorded.

    Raises:
        InputError: where another process writes there, or the folder was begun with another recipe.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str = "clips",
        shard_bytes: int = 2**29,
        quality: int = 95,
        recipe: Recipe | None = None,
    ):
        self.folder, self.name, self.shard_bytes, self.quality = Path(folder), name, shard_bytes, quality
        self.recipe = recipe
        self.clips = Held()
        """Those that are there, by their keys."""
        self._held = contextlib.ExitStack()
        self._number = 0
        self._open: _Growing | None = None

    def __enter__(self) -> ShardWriter:
        with contextlib.ExitStack() as held:
            with explained(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            # Inside the folder: what lies above it may not be this user's.
            held.enter_context(locked(self.folder / "shards", "writing shards"))
            self.clips = Held()
            for path in indices(self.folder, self.name):
                self.clips.close(read_index(path))
            if self.recipe is not None:
                with explained(self.folder):
                    self.recipe.begin(self.folder, self.clips.values())
            with explained(self.folder):
                self._take_over()
            self._held = held.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._held:
            if kind is None:
                self.close()
            elif self._open is not None:
                # Half a clip may lie at its end. If even this can't be written, the next writer will do it.
                with contextlib.suppress(OSError, WriteError):
                    self._open.file.close()
                    self._recover(self._unfinished(self._number))

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.name}-{number:06d}.tar"

    def _unfinished(self, number: int) -> Path:
        return self.folder / f".{self._path(number).name}.tmp"

    def _take_over(self) -> None:
        """Count on beyond every shard of which there is a trace, and finish what killed writers left."""
        found = [(n, p) for p in sorted(self.folder.iterdir()) if (n := number_of(p, self.name)) is not None]
        self._number = max((n for n, _ in found), default=-1) + 1
        for number, path in found:
            if path == self._path(number) and not path.with_suffix(".json").exists():
                self._adopt(path)
        for number, path in found:
            if path == self._unfinished(number):
                self._recover(path)

    def _adopt(self, tar: Path) -> None:
        """Write the index of a tar whose writer was killed before it could."""
        entries = [e for e in scan(tar, tar.name)[0] if e.key not in self.clips]
        if entries:
            write_index(tar.with_suffix(".json"), entries)
            self.clips.close(entries)

    def _recover(self, torn: Path) -> None:
        """Make a shard of a tar that was cut short, or delete it where not one clip is whole."""
        number = number_of(torn, self.name)
        if number is None or self._path(number).exists():
            number = self._number
        entries, end = scan(torn, self._path(number).name)
        listed = {e.key for e in self.clips.values() if e.shard != self._path(number).name}
        entries = [e for e in entries if e.key not in listed]
        if not entries:
            torn.unlink()
            return
        with open(torn, "r+b") as file:
            file.truncate(end)
            file.seek(end)
            file.write(bytes(2 * BLOCK))  # how a tar ends
        self._finish(torn, number, entries)

    def add(self, key: str, clip: Clip | EncodedClip) -> None:
        """Append a clip.

        Raises:
            InputError: where the clip is not sound, the key is taken, or the disk is full.
        """
        if key in self.clips or "/" in key or not key or len(key) > 90 or not key.isascii():
            raise InputError(
                f"{self.folder}: a clip can't be named {key!r}: the name is taken, empty, too long, not ASCII or has "
                "a slash."
            )
        encoded = clip if isinstance(clip, EncodedClip) else encode_clip(clip, self.quality)
        with explained(self.folder, REMEDY):
            if self._open is None:
                self._open = _Growing(self._unfinished(self._number), self._path(self._number).name)
            self.clips.add(self._open.append(key, encoded))
        if self._open.size >= self.shard_bytes:
            self.close()

    def close(self) -> None:
        """Finish the shard that is being written."""
        shard, self._open = self._open, None
        if shard is not None:
            with explained(self.folder, REMEDY):
                shard.close()
                self._finish(self._unfinished(self._number), self._number, shard.entries)

    def _finish(self, unfinished: Path, number: int, entries: list[ClipEntry]) -> None:
        """Put tar and index in their places."""
        path = self._path(number)
        unfinished.replace(path)
        write_index(path.with_suffix(".json"), entries)
        self.clips.close(entries)
        self._number = max(self._number, number + 1)


class _Growing:
    """A tar that clips are appended to."""

    def __init__(self, path: Path, name: str):
        self.name = name
        self.entries: list[ClipEntry] = []
        self.file = open(path, "wb")  # noqa: SIM115 (closed when the shard is)
        self._tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._tar.offset

    def append(self, key: str, encoded: EncodedClip) -> ClipEntry:
        """Write a clip; a kill after this loses nothing of it."""
        about = encoded.about
        self._member(f"{key}.json", json.dumps(about).encode())
        places: dict[str, list[Place]] = {suffix: [] for suffix in encoded.members}
        for t in range(about["frames"]):
            for suffix, data in encoded.members.items():
                places[suffix].append(self._member(f"{key}/{t:03d}.{suffix}", data[t]))
        self.file.flush()
        self.entries.append(entry_of(key, self.name, about, places))
        return self.entries[-1]

    def _member(self, name: str, data: bytes) -> Place:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))
        # The data end where the archive does, rounded up to whole blocks.
        return self._tar.offset - -(-len(data) // BLOCK) * BLOCK, len(data)

    def close(self) -> None:
        """End the tar, and see it onto the disk."""
        self._tar.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
