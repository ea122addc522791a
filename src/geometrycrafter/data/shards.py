"""Training clips on disk: tar files that any tool opens, with an index for random access.

A folder of shards holds ``NAME-000000.tar`` with, for each clip, ``KEY.json`` (what is the same for all frames) and
for each frame ``KEY/000.jpg`` (or ``.png``), ``KEY/000.depth`` and, where known, ``KEY/000.dynamic``; beside each tar
``NAME-000000.json``, the index: where in the tar each member lies. A tar without its index was cut short and does not
count.

Depth is 16 bits a pixel, compressed by Blosc (Zstandard, byte shuffle): code 0 is unknown, 65535 is sky, and codes 1
to 65534 divide the logarithm between the clip's nearest and farthest depth evenly, which is finer than 0.02 % for any
clip whose depths span less than a factor of a million. Where things move is one bit a pixel, compressed alike.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numcodecs import Blosc, blosc

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.formats import decode_picture
from geometrycrafter.errors import InputError
from geometrycrafter.video.pictures import encode_png

VERSION = 1
SKY, LAST = 65535, 65534
INDEX = "[0-9]" * 6 + ".json"
LARGEST_MEMBER = 2**28
"""Bytes; members that claim more are refused."""
_BLOSC = Blosc("zstd", 1, Blosc.SHUFFLE)
blosc.use_threads = False  # many readers share the cores


def encode_depth(depth: np.ndarray, sky: np.ndarray | None, near: float, far: float) -> bytes:
    """``[H, W]`` depth between ``near`` and ``far`` (zero: unknown) to the shard's bytes."""
    span = max(math.log(far / near), 1e-6)
    # Rounding must not make sky of the farthest depth, nor a hole of the nearest.
    level = np.log(np.maximum(depth, near) * np.float32(1 / near)) * np.float32((LAST - 1) / span)
    code = (np.clip(level, 0, LAST - 1) + np.float32(1.5)).astype(np.uint16)
    valid = depth > 0
    code *= valid
    if sky is not None:
        code[sky & ~valid] = SKY
    return bytes(_BLOSC.encode(code))


def decode_depth(data: bytes, shape: tuple[int, int], near: float, far: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth ``[H, W]`` float32, zero where unknown, and where there is sky."""
    code = _decompressed(data, 2 * shape[0] * shape[1]).view(np.uint16).reshape(shape)
    return _depths(near, far).take(code), code == SKY


@lru_cache(maxsize=64)
def _depths(near: float, far: float) -> np.ndarray:
    """The depth that each code stands for, ``[65536]``."""
    span = max(math.log(far / near), 1e-6)
    table = near * np.exp(np.arange(-1, LAST + 1, dtype=np.float64) * span / (LAST - 1))
    table[[0, SKY]] = 0
    return table.astype(np.float32)


def _decompressed(data: bytes, size: int) -> np.ndarray:
    """Bytes of a Blosc buffer that must come to ``size``."""
    if len(data) < 16 or int.from_bytes(data[4:8], "little") != size:
        raise ValueError("a depth or mask is not as large as the picture")
    return np.frombuffer(_BLOSC.decode(data), np.uint8)


def encode_picture(frame: np.ndarray, quality: int) -> bytes:
    """``[H, W, 3]`` uint8 as JPEG without chroma subsampling; ``quality`` is 1 to 100, above that PNG."""
    if quality > 100:
        return encode_png(frame)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=quality, colorsubsampling="444")


def _decode_into(frame: np.ndarray, data: bytes) -> None:
    """JPEG or PNG bytes into ``[H, W, 3]`` uint8; a ValueError where they are damaged, or of another size."""
    jpeg = data[:2] == b"\xff\xd8"
    picture = None if jpeg else decode_picture(data)
    if (simplejpeg.decode_jpeg_header(data)[:2] if picture is None else picture.shape[:2]) != frame.shape[:2]:
        raise ValueError("a picture is not as large as its clip says")
    if picture is None:
        simplejpeg.decode_jpeg(data, buffer=frame)
    else:
        frame[:] = picture


@dataclass(frozen=True)
class EncodedClip:
    """A clip as bytes: what another process hands to the one that writes."""

    about: dict[str, Any]
    """What is the same for all frames: near, far, height, width, frames, intrinsics, poses, fps, source, licence."""
    members: dict[str, list[bytes]]
    """For each suffix of a file in the tar its bytes, frame by frame."""


def encode_clip(clip: Clip, quality: int = 95) -> EncodedClip:
    """Compress a clip; ``quality`` is of the pictures, 1 to 100, above that they are lossless.

    Raises:
        InputError: where the clip is not sound.
    """
    clip = clip.checked()
    near = min(float(np.where(d > 0, d, np.inf).min()) for d in clip.depth)
    far = float(clip.depth.max())
    _, height, width = clip.depth.shape
    about = {
        "near": near,
        "far": far,
        "height": height,
        "width": width,
        "frames": len(clip),
        "intrinsics": clip.intrinsics.tolist(),
        "poses": None if clip.poses is None else clip.poses.tolist(),
        "sky": clip.sky is not None,
        "fps": clip.fps,
        "source": clip.source,
        "licence": clip.licence,
        "members": ["png" if quality > 100 else "jpg", "depth"] + ["dynamic"] * (clip.dynamic is not None),
    }
    sky = [None] * len(clip) if clip.sky is None else list(clip.sky)
    members = {
        "png" if quality > 100 else "jpg": [encode_picture(f, quality) for f in clip.frames],
        "depth": [encode_depth(d, s, near, far) for d, s in zip(clip.depth, sky, strict=True)],
    }
    if clip.dynamic is not None:
        members["dynamic"] = [bytes(_BLOSC.encode(np.packbits(d))) for d in clip.dynamic]
    return EncodedClip(about, members)


@dataclass(frozen=True)
class ClipEntry:
    """A clip as the index knows it."""

    key: str
    shard: str
    height: int
    width: int
    near: float
    far: float
    frames: list[tuple[int, int]]
    """Offset and size of each frame's picture in the tar."""
    depth: list[tuple[int, int]]
    dynamic: list[tuple[int, int]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    """Intrinsics, poses, fps, source, licence."""

    def __len__(self) -> int:
        return len(self.frames)


class ShardWriter:
    """Writes clips into a folder of shards. What was added is kept, also where the program is killed: the next writer
    finishes a tar that was cut short, up to its last whole clip.

    Args:
        folder: made where it is missing. Clips that it holds already are kept, and listed in :attr:`keys`.
        name: what the tar files' names begin with.
        shard_bytes: a tar is closed once it is larger.
        quality: of the pictures, 1 to 100; above that they are lossless.
    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str = "clips", shard_bytes: int = 2**29, quality: int = 95
    ):
        self.folder, self.name, self.shard_bytes, self.quality = Path(folder), name, shard_bytes, quality
        self.folder.mkdir(parents=True, exist_ok=True)
        there = [_read_index(p) for p in sorted(self.folder.glob(f"{name}-{INDEX}"))]
        self.keys = {entry.key for shard in there for entry in shard}
        self._next = len(there)
        self._tar: tarfile.TarFile | None = None
        self._entries: list[ClipEntry] = []
        for torn in self.folder.glob(f".{name}-*.tar.tmp"):
            self._recover(torn)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._tar is not None:
            self._tar.close()  # half a clip may lie at its end
            self._tar = None
            self._recover(self._temporary)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.name}-{self._next:06d}.tar"

    @property
    def _temporary(self) -> Path:
        return self.folder / f".{self._path.name}.tmp"

    def _recover(self, torn: Path) -> None:
        """Make a shard of a tar that was cut short, or delete it where not one clip is whole."""
        entries, end = _scan(torn, self._path.name)
        earlier = self.keys - {e.key for e in self._entries}
        entries = [e for e in entries if e.key not in earlier]
        if not entries:
            torn.unlink()
            self._entries = []
            return
        with open(torn, "r+b") as file:
            file.truncate(end)
            file.seek(end)
            file.write(bytes(2 * 512))  # how a tar ends
        if torn != self._temporary:
            torn.replace(self._temporary)
        self._entries = entries
        self.keys |= {e.key for e in entries}
        self._finish()

    def _member(self, name: str, data: bytes) -> tuple[int, int]:
        assert self._tar is not None
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))
        # The data end where the archive does, rounded up to blocks of 512 bytes.
        return self._tar.offset - -(-len(data) // 512) * 512, len(data)

    def add(self, key: str, clip: Clip | EncodedClip) -> None:
        """Append a clip.

        Raises:
            InputError: where the clip is not sound, or the key is taken.
        """
        if key in self.keys or "/" in key or not key or len(key) > 90 or not key.isascii():
            raise InputError(
                f"{self.folder}: a clip can't be named {key!r}: the name is taken, empty, too long, not ASCII or has "
                "a slash."
            )
        encoded = clip if isinstance(clip, EncodedClip) else encode_clip(clip, self.quality)
        if self._tar is None:
            self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        about = encoded.about
        self._member(f"{key}.json", json.dumps(about).encode())
        places: dict[str, list[tuple[int, int]]] = {suffix: [] for suffix in encoded.members}
        for t in range(about["frames"]):
            for suffix, data in encoded.members.items():
                places[suffix].append(self._member(f"{key}/{t:03d}.{suffix}", data[t]))
        self._entries.append(_entry(key, self._path.name, about, places))
        self.keys.add(key)
        if self._tar.offset >= self.shard_bytes:
            self.close()

    def close(self) -> None:
        """Finish the shard that is being written."""
        if self._tar is None:
            return
        self._tar.close()
        self._tar = None
        self._finish()

    def _finish(self) -> None:
        """Write the index, and put tar and index in their places."""
        index = {"version": VERSION, "clips": [vars(entry) for entry in self._entries]}
        path, listing = self._path, self._path.with_suffix(".json")
        unfinished = listing.with_name(f".{listing.name}.tmp")
        unfinished.write_text(json.dumps(index))
        self._temporary.replace(path)
        unfinished.replace(listing)
        self._entries, self._next = [], self._next + 1


PICTURES = ("jpg", "png")


def _entry(key: str, shard: str, about: dict[str, Any], places: dict[str, list[tuple[int, int]]]) -> ClipEntry:
    sizes = {k: about[k] for k in ("height", "width", "near", "far")}
    meta = {k: about[k] for k in ("intrinsics", "poses", "sky", "fps", "source", "licence")}
    frames = next(places[s] for s in PICTURES if s in places)
    return ClipEntry(
        key, shard, **sizes, frames=frames, depth=places["depth"], dynamic=places.get("dynamic", []), meta=meta
    )


def _scan(path: Path, shard: str) -> tuple[list[ClipEntry], int]:
    """The whole clips of a tar that may be cut short, and where the last of them ends."""
    entries: list[ClipEntry] = []
    end = position = 0
    key, about, places = "", dict[str, Any](), dict[str, list[tuple[int, int]]]()
    size = path.stat().st_size
    with open(path, "rb") as file:
        while True:
            try:
                member = tarfile.TarInfo.frombuf(file.read(512), "utf-8", "strict")
            except tarfile.TarError:
                break  # the end, or what was not written
            start, after = position + 512, position + 512 + -(-member.size // 512) * 512
            if start + member.size > size or member.size > LARGEST_MEMBER:
                break
            try:
                if "/" not in member.name:
                    key, places = member.name.removesuffix(".json"), {}
                    about = json.loads(file.read(member.size))
                else:
                    places.setdefault(member.name.rpartition(".")[2], []).append((start, member.size))
                    if [len(places.get(s, ())) for s in about["members"]] == [about["frames"]] * len(about["members"]):
                        entries.append(_entry(key, shard, about, places))
                        end = after
            except (ValueError, KeyError, TypeError, StopIteration):
                break
            position = after
            file.seek(after)
    return entries, end


def _read_index(path: Path) -> list[ClipEntry]:
    try:
        index = json.loads(path.read_text())
        if index["version"] != VERSION:
            raise InputError(f"{path}: written by another version of this program; prepare the data again.")
        entries = [ClipEntry(**entry) for entry in index["clips"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: this is no index of a shard, or it is damaged; prepare the data again.") from error
    tar = path.with_suffix(".tar")
    if not tar.is_file():
        raise InputError(f"{tar}: the shard that {path.name} lists is missing; copy it beside its index.")
    return entries


class Shards:
    """The clips of a folder of shards, by number.

    Args:
        folder: holds ``*.tar`` and their indices.

    Raises:
        InputError: where there are none, or one is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        indices = sorted(self.folder.glob(f"*-{INDEX}"))
        self.clips = [entry for path in indices for entry in _read_index(path)]
        if not self.clips:
            raise InputError(f"{self.folder}: the folder holds no shards; make some with 'geometrycrafter data'.")
        self._files: dict[str, int] = {}
        self._owner = os.getpid()

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def digest(self) -> str:
        """SHA-256 of the index: the clips, their order, and where in the shards each picture lies."""
        return hashlib.sha256(repr(self.clips).encode()).hexdigest()

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            os.close(file)

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

    def read(self, index: int, times: slice = slice(None)) -> Clip:
        """A clip, or some of its frames.

        Raises:
            InputError: where it is damaged; names the shard and the clip.
        """
        entry = self.clips[index]
        shape = (entry.height, entry.width)
        try:
            wanted = entry.frames[times]
            frames = np.empty((len(wanted), *shape, 3), np.uint8)
            for frame, place in zip(frames, wanted, strict=True):
                _decode_into(frame, self._bytes(entry.shard, place))
            maps = [decode_depth(self._bytes(entry.shard, p), shape, entry.near, entry.far) for p in entry.depth[times]]
            pixels = shape[0] * shape[1]
            dynamic = [
                np.unpackbits(_decompressed(self._bytes(entry.shard, p), -(-pixels // 8)), count=pixels) > 0
                for p in entry.dynamic[times]
            ]
            meta = entry.meta
            poses = None if meta["poses"] is None else np.array(meta["poses"], np.float32)[times]
            return Clip(
                frames=frames,
                depth=np.stack([depth for depth, _ in maps]),
                intrinsics=np.array(meta["intrinsics"], np.float32)[times],
                sky=np.stack([sky for _, sky in maps]) if meta["sky"] else None,
                dynamic=np.stack(dynamic).reshape(-1, *shape) if dynamic else None,
                poses=poses,
                fps=meta["fps"],
                source=meta["source"],
                licence=meta["licence"],
            )
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise InputError(f"{self.folder / entry.shard}: the clip {entry.key} is damaged ({error}).") from error
