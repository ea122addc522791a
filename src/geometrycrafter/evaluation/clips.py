"""The clips that a protocol judges, named and loaded one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.dataset import DataSet
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.recordings import Recording
from geometrycrafter.data.segments import Segment, read_segment, segments
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.pose_sets import POSE_SETS
from geometrycrafter.evaluation.protocols import PROTOCOLS, Protocol
from geometrycrafter.files import fingerprint
from geometrycrafter.geometry.cameras import rays_of_intrinsics, unproject
from geometrycrafter.settings import Count, value_of

FIRST_SEED = 20_000_000
"""Of rendered clips; training and its validation have others."""
RENDERED_CLIPS, RENDERED_FRAMES, RENDERED_SIZE = 8, 12, (192, 256)
FOLDER_FRAMES = 1200
"""At most, of a recording; after the stride."""
LOOKED_AT = 2**18
"""Bytes of a file that its fingerprint reads: there may be a hundred thousand of them."""


@dataclass(frozen=True)
class ClipReference:
    """A clip that is not loaded yet; cheap to send to another process."""

    protocol: str
    name: str
    root: str
    segment: Segment | None = None
    seed: int = 0
    stride: int = 1
    frames: int | None = None
    """At most so many; None: the protocol's."""

    def load(self) -> Clip:
        """Read or render it.

        Raises:
            InputError: where a frame can't be read; names the clip.
        """
        protocol = PROTOCOLS[self.protocol]
        if protocol.data == "rendered":
            return rendered(self.seed, self._rendered_frames, *RENDERED_SIZE, world=protocol.world)
        if protocol.data == "folder":
            return next(self._recording.clips(FOLDER_FRAMES, self._folder_frames, self.stride))[1]
        clips, reasons = read_segment(_selecting(protocol), self._segment)
        if not clips:
            raise InputError(f"{self.name}: {reasons[0] if reasons else 'nothing to read'}")
        return clips[0][1]

    def content(self) -> str:
        """A digest of what the clip is made from.

        Of files it has the names below the root, the sizes and what is in them (256 KiB each, spread over it), not
        where the root is or when they were written: the same files on another machine are the same clip.

        Raises:
            InputError: where a file can't be read.
        """
        if PROTOCOLS[self.protocol].data == "rendered":
            world = PROTOCOLS[self.protocol].world
            return f"seed {self.seed}, {self._rendered_frames} frames" + (f", world {world}" if world > 1 else "")
        digest = hashlib.sha256()
        for word in self._words():
            digest.update(word.encode() + b"\n")
        return digest.hexdigest()

    def _words(self) -> Iterator[str]:
        """Everything that is read for it, as text."""
        root = Path(self.root)
        if PROTOCOLS[self.protocol].data == "folder":
            recording = self._recording
            for take in recording.takes(FOLDER_FRAMES, self._folder_frames, self.stride):
                yield from (_word(path, root) for shot in take.shots for path in shot)
            yield _word(recording.camera_file, root)
        else:
            for item in self._segment.items:
                yield from (f"{key} {_word(item[key], root)}" for key in sorted(item))

    @property
    def _rendered_frames(self) -> int:
        return min(RENDERED_FRAMES, self.frames or RENDERED_FRAMES)

    @property
    def _folder_frames(self) -> int:
        return min(FOLDER_FRAMES, self.frames or FOLDER_FRAMES)

    @property
    def _recording(self) -> Recording:
        return Recording(Path(self.root), farthest=PROTOCOLS[self.protocol].max_depth)

    @property
    def _segment(self) -> Segment:
        assert self.segment is not None
        return replace(self.segment, items=self.segment.items[: self.frames])


def _word(value: Any, root: Path) -> str:
    """A path as its name below the root and its content; any other value as Python writes it."""
    if not isinstance(value, Path):
        return repr(value)
    name = value.relative_to(root).as_posix() if value.is_relative_to(root) else value.name
    if not value.exists():
        return f"{name} absent"
    if value.is_dir():
        return f"{name} folder"
    status = value.stat()
    return f"{name} {_content(value, status.st_size, status.st_mtime_ns)}"


@lru_cache(maxsize=4096)
def _content(path: Path, size: int, changed: int) -> str:
    """A file's fingerprint; one file may serve all frames of a clip."""
    return fingerprint(path, LOOKED_AT)


def clips_of(
    protocol: Protocol, root: Path | None, limit: int | None = None, stride: int = 1, frames: int | None = None
) -> list[ClipReference]:
    """The clips of a protocol below a folder.

    Args:
        protocol: which.
        root: where the data set was unpacked, or the recording; None for rendered clips.
        limit: at most so many.
        stride: of a recording's frames.
        frames: at most so many of each clip; None: the protocol's.

    Raises:
        InputError: where the folder is missing or holds nothing that the protocol takes, or a number is none that can
            be.
    """
    limit, frames = value_of(Count | None, limit, "--clips"), value_of(Count | None, frames, "--frames")
    stride = value_of(Count, stride, "--stride")
    if protocol.data == "rendered":
        seeds = range(FIRST_SEED, FIRST_SEED + (limit or RENDERED_CLIPS))
        return [ClipReference(protocol.name, f"rendered-{s}", "", seed=s, frames=frames) for s in seeds]
    if root is None:
        raise InputError(f"eval {protocol.data} ROOT: the folder is missing.")
    if protocol.data == "folder":
        if not any(root.glob("**/*")) and root.is_dir():
            raise InputError(f"{root}: the folder is empty; give one that holds an RGB-D recording.")
        Recording(root).shots()  # refused at once where it is none
        return [ClipReference(protocol.name, root.resolve().name, str(root), stride=stride, frames=frames)]
    found = segments(_selecting(protocol), root)
    return [ClipReference(protocol.name, s.key, str(root), s, frames=frames) for s in found[:limit]]


def _selecting(protocol: Protocol) -> DataSet:
    """The protocol's data set, taking the protocol's frames."""
    data = POSE_SETS.get(protocol.data) or data_set(protocol.data)
    return data if protocol.selection is None else replace(data, evaluation=protocol.selection)


def true_points(clip: Clip) -> FrameSequence:
    """True points of a clip, ``[T, H, W, 3]``, a frame at a time."""
    t, h, w = clip.depth.shape

    def read(index: int) -> np.ndarray:
        rays = rays_of_intrinsics(torch.tensor(clip.intrinsics[index], dtype=torch.float64), h, w)
        points: np.ndarray = unproject(torch.tensor(clip.depth[index], dtype=torch.float64), rays).numpy()
        return points

    return FrameSequence((t, h, w, 3), read)
