"""What becomes one clip: segments of a data set, read at the size that they are trained or judged at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.dataset import DataSet, Frame, Sequence
from geometrycrafter.data.options import LONGEST, PreparationOptions
from geometrycrafter.data.transforms import cover, crop
from geometrycrafter.errors import InputError


@dataclass(frozen=True)
class Segment:
    """What becomes one clip."""

    key: str
    items: tuple[dict[str, Any], ...]
    scene: str = ""
    """The same for all that show the same place."""


def segments(data: DataSet, root: Path) -> list[Segment]:
    """What the published preparation takes of a data set.

    Training sets are cut into pieces of at most 150 frames that do not overlap, or into single pictures; evaluation
    sets give the protocol's sequences and frames.

    Raises:
        InputError: where the folder holds nothing of the data set, or nothing that the protocol takes.
    """
    return segments_of(data, data.sequences(root), root)


def segments_of(data: DataSet, sequences: list[Sequence], root: Path) -> list[Segment]:
    """What the published preparation takes of sequences that were found below a folder.

    Raises:
        InputError: where that is nothing.
    """
    found: list[Segment] = []
    for sequence in sequences:
        items = selected(data, sequence)
        if data.evaluation is not None:
            found += [Segment(sequence.name, items, sequence.name)] * bool(items)
            continue
        step = LONGEST if data.video else 1
        for start in range(0, len(items), step):
            key = f"{sequence.name}-{start:06d}"
            # A single sequence of pictures says nothing of what they share.
            scene = key if len(sequences) == 1 and not data.video else sequence.scene or sequence.name
            found.append(Segment(key, items[start : start + step], scene))
    if not found:
        raise InputError(f"{root}: {data.title} is here, but none of the sequences that the protocol takes.")
    return found


def held_out(scene: str, share: float, seed: int) -> bool:
    """Whether a scene is set aside: by its name alone, so that it stays where it is whatever else there is."""
    digest = hashlib.sha256(f"{seed} {scene}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def selected(data: DataSet, sequence: Sequence) -> tuple[dict[str, Any], ...]:
    """The frames of a sequence that the published preparation takes: a protocol's, or all."""
    take = data.evaluation
    if take is None:
        return sequence.items
    if take.sequences is not None and sequence.name not in take.sequences:
        return ()
    return sequence.items[:: take.stride][: take.frames]


def as_clip(frame: Frame, data: DataSet, name: str) -> Clip:
    """One frame as a clip.

    Raises:
        InputError: where its picture and its depth differ in size.
    """
    if frame.picture.shape[:2] != frame.depth.shape:
        raise InputError(
            f"{name}: the picture is {frame.picture.shape[:2]} and its depth {frame.depth.shape}, not the same size."
        )
    optional = {k: getattr(frame, k) for k in ("sky", "dynamic") if getattr(frame, k) is not None}
    return Clip(
        frames=frame.picture[None],
        depth=frame.depth[None].astype(np.float32, copy=False),
        intrinsics=frame.intrinsics[None].astype(np.float32),
        poses=None if frame.pose is None else frame.pose[None].astype(np.float32),
        fps=data.fps,
        source=f"{data.name} {name}",
        licence=data.licence,
        **{k: v[None] for k, v in optional.items()},
    )


def sized(clip: Clip, data: DataSet, size: tuple[int, int]) -> Clip:
    """A clip at the size that it is trained or judged at.

    Raises:
        InputError: where it is smaller than what the protocol cuts out.
    """
    take = data.evaluation
    if take is None:
        return cover(clip, *size)
    if take.crop is not None:
        _, height, width = clip.depth.shape
        (h, w), (top, left) = take.crop, ((height - take.crop[0]) // 2, (width - take.crop[1]) // 2)
        if top < 0 or left < 0:
            raise InputError(f"{clip.source}: {height}x{width} is less than the protocol cuts out, {h}x{w}.")
        clip = crop(clip, top, left, h, w)
    return clip


def joined(clips: list[Clip]) -> Clip:
    """Frames one after another; what not all of them know is unknown, but no sky and no motion count as such.

    Raises:
        InputError: where they differ in size.
    """
    first = clips[0]
    if len({c.depth.shape for c in clips}) > 1:
        raise InputError(f"{first.source}: its frames are of different sizes.")
    whole: dict[str, Any] = {
        k: np.concatenate([getattr(c, k) for c in clips]) for k in ("frames", "depth", "intrinsics")
    }
    whole["poses"] = None if any(c.poses is None for c in clips) else np.concatenate([c.poses for c in clips])  # type: ignore[misc]
    for key in ("sky", "dynamic"):
        known = [getattr(c, key) for c in clips]
        if any(k is not None for k in known):
            whole[key] = np.concatenate([np.zeros_like(c.mask) if k is None else k for c, k in zip(clips, known)])
    return replace(first, **whole)


def read_segment(
    data: DataSet, segment: Segment, size: tuple[int, int] = PreparationOptions.size
) -> tuple[list[tuple[str, Clip]], list[str]]:
    """The clips of a segment, and why frames are missing from it.

    A training segment is cut where a frame can't be read; an evaluation sequence with such a frame is left out whole.

    Args:
        data: the data set.
        segment: of it.
        size: height and width of training clips.

    Returns:
        keys and clips, and a reason for each frame that was skipped.
    """
    stretches: dict[int, list[Clip]] = {}
    reasons: list[str] = []
    own: list[Clip] | None = None
    for index, item in enumerate(segment.items):
        try:
            clip = _read_frame(data, segment.key, item, size)
        except InputError as error:
            reasons.append(f"{segment.key} frame {index}: {error}")
            own = None
            continue
        if own is None or own[-1].depth.shape != clip.depth.shape:
            own = stretches[index] = []
        own.append(clip)
    if data.evaluation is not None and reasons:
        return [], reasons
    keys = (segment.key if not first else f"{segment.key}+{first:03d}" for first in stretches)
    return [(key, joined(clips)) for key, clips in zip(keys, stretches.values(), strict=True)], reasons


def _read_frame(data: DataSet, name: str, item: dict[str, Any], size: tuple[int, int]) -> Clip:
    frame = data.read(**item)
    if data.evaluation is not None and data.evaluation.filter is not None:
        frame = data.evaluation.filter(frame)
    if not frame.depth.max() > 0:
        raise InputError(f"{item.get('depth') or name}: not one pixel has depth.")
    clip = sized(as_clip(frame, data, name), data, size)
    if not np.isfinite(clip.depth).all():
        raise InputError(f"{item.get('depth') or name}: its depth is not finite.")
    return clip
