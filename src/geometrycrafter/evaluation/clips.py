"""The clips that a protocol judges, named and loaded one at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.preparation import Segment, read_segment, segments
from geometrycrafter.data.recordings import Recording
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.protocols import PROTOCOLS, Protocol

FIRST_SEED = 20_000_000
"""Of rendered clips; training and its validation have others."""
RENDERED_CLIPS, RENDERED_FRAMES, RENDERED_SIZE = 8, 12, (192, 256)
FOLDER_FRAMES = 1200
"""At most, of a recording; after the stride."""


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
            return rendered(self.seed, min(RENDERED_FRAMES, self.frames or RENDERED_FRAMES), *RENDERED_SIZE)
        if protocol.data == "folder":
            recording = Recording(Path(self.root), farthest=protocol.max_depth)
            frames = min(FOLDER_FRAMES, self.frames or FOLDER_FRAMES)
            return next(recording.clips(FOLDER_FRAMES, frames, self.stride))[1]
        assert self.segment is not None
        data = data_set(protocol.data)
        if protocol.selection is not None:
            data = replace(data, evaluation=protocol.selection)
        segment = replace(self.segment, items=self.segment.items[: self.frames])
        clips, reasons = read_segment(data, segment)
        if not clips:
            raise InputError(f"{self.name}: {reasons[0] if reasons else 'nothing to read'}")
        return clips[0][1]


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
        InputError: where the folder is missing or holds nothing that the protocol takes.
    """
    if protocol.data == "rendered":
        seeds = range(FIRST_SEED, FIRST_SEED + (limit or RENDERED_CLIPS))
        return [ClipReference(protocol.name, f"rendered-{s}", "", seed=s, frames=frames) for s in seeds]
    if root is None:
        raise InputError(f"eval {protocol.data} ROOT: the folder is missing.")
    if protocol.data == "folder":
        if not root.is_dir():
            raise InputError(f"{root}: there is no such folder; give an RGB-D recording.")
        return [ClipReference(protocol.name, root.resolve().name, str(root), stride=stride, frames=frames)]
    data = data_set(protocol.data)
    if protocol.selection is not None:
        data = replace(data, evaluation=protocol.selection)
    found = [ClipReference(protocol.name, s.key, str(root), s, frames=frames) for s in segments(data, root)]
    return found[:limit]


def true_points(clip: Clip) -> FrameSequence:
    """True points of a clip, ``[T, H, W, 3]``, a frame at a time."""
    t, h, w = clip.depth.shape
    y, x = np.mgrid[:h, :w]
    pixels = np.stack([x, y, np.ones_like(x)], -1).astype(np.float64)

    def read(index: int) -> np.ndarray:
        rays = pixels @ np.linalg.inv(clip.intrinsics[index].astype(np.float64)).T
        return rays * clip.depth[index][..., None]

    return FrameSequence((t, h, w, 3), read)
