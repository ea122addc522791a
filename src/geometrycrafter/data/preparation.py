"""From a data set as it is distributed to shards: segments, sizes, many processes, a count of what is broken."""

from __future__ import annotations

import multiprocessing
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.dataset import DataSet, Frame, Sequence
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.shards import EncodedClip, ShardWriter, encode_clip
from geometrycrafter.data.transforms import cover, crop
from geometrycrafter.errors import InputError
from geometrycrafter.geometry.reprojection import disagreement

LONGEST = 150
"""Frames of a training clip (supplementary, section 2)."""
SIZE = (320, 640)
"""Height and width of training clips."""
OPTIONAL = ("mask", "moving", "labels", "sky", "records")
"""Files of an item that need not be there."""
BYTES_A_PIXEL = {True: 3.2, False: 1.3}
"""Upper estimate of what shards take, of lossless pictures and of others."""


@dataclass(frozen=True)
class Segment:
    """What becomes one clip."""

    key: str
    items: tuple[dict[str, Any], ...]


def segments(data: DataSet, root: Path) -> list[Segment]:
    """What the published preparation takes of a data set.

    Training sets are cut into pieces of at most 150 frames that do not overlap, or into single pictures; evaluation
    sets give the protocol's sequences and frames.

    Raises:
        InputError: where the folder holds nothing of the data set, or nothing that the protocol takes.
    """
    found: list[Segment] = []
    for sequence in data.sequences(root):
        if data.evaluation is not None:
            items = _selected(data, sequence)
            if items:
                found.append(Segment(sequence.name, items))
            continue
        step = LONGEST if data.video else 1
        for start in range(0, len(sequence.items), step):
            found.append(Segment(f"{sequence.name}-{start:06d}", sequence.items[start : start + step]))
    if not found:
        raise InputError(f"{root}: {data.title} is here, but none of the sequences that the protocol takes.")
    return found


def _selected(data: DataSet, sequence: Sequence) -> tuple[dict[str, Any], ...]:
    take = data.evaluation
    assert take is not None
    if take.sequences is not None and sequence.name not in take.sequences:
        return ()
    return sequence.items[:: take.stride][: take.frames]


def as_clip(frame: Frame, data: DataSet, name: str) -> Clip:
    """One frame as a clip."""
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
    """A clip at the size that it is trained or judged at."""
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
    """Frames one after another; what not all of them know is unknown, but no sky and no motion count as such."""
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
    data: DataSet, segment: Segment, size: tuple[int, int] = SIZE
) -> tuple[list[tuple[str, Clip]], list[str]]:
    """The clips of a segment, and why frames are missing from it.

    A training segment is cut where a frame can't be read; an evaluation sequence with such a frame is left out whole.

    Returns:
        keys and clips, and a reason for each frame that was skipped.
    """
    runs: list[tuple[int, list[Clip]]] = []
    reasons: list[str] = []
    broken = True
    for index, item in enumerate(segment.items):
        try:
            frame = data.read(**item)
            if data.evaluation is not None and data.evaluation.filter is not None:
                frame = data.evaluation.filter(frame)
            if not frame.depth.max() > 0:
                raise InputError(f"{item.get('depth') or segment.key}: not one pixel has depth.")
            clip = sized(as_clip(frame, data, segment.key), data, size)
            if not np.isfinite(clip.depth).all():
                raise InputError(f"{item.get('depth') or segment.key}: its depth is not finite.")
        except InputError as error:
            reasons.append(f"{segment.key} frame {index}: {error}")
            broken = True
            continue
        if broken or runs[-1][1][0].depth.shape != clip.depth.shape:
            runs.append((index, []))
        runs[-1][1].append(clip)
        broken = False
    if data.evaluation is not None and reasons:
        return [], reasons
    return [(segment.key if not i else f"{segment.key}+{i:03d}", joined(own)) for i, own in runs], reasons


def _job(
    name: str, segment: Segment, size: tuple[int, int], quality: int
) -> tuple[list[tuple[str, EncodedClip]], list[str]]:
    import torch

    torch.set_num_threads(1)
    clips, reasons = read_segment(data_set(name), segment, size)
    return [(key, encode_clip(clip, quality)) for key, clip in clips], reasons


@dataclass
class Preparation:
    """What a preparation did."""

    clips: int = 0
    frames: int = 0
    kept: int = 0
    """Segments that were there already."""
    skipped: list[str] = field(default_factory=list)
    """A reason for each frame that is missing."""


def prepare(
    name: str,
    root: Path,
    folder: Path,
    size: tuple[int, int] = SIZE,
    processes: int = 1,
    quality: int = 95,
    progress: Callable[[int, int], None] | None = None,
) -> Preparation:
    """Turn a data set into shards; what is there already is kept, also after a kill.

    Args:
        name: of the data set.
        root: where it was unpacked.
        folder: of the shards.
        size: of training clips; evaluation sets have the protocol's.
        processes: that read.
        quality: of the pictures, 1 to 100; above that lossless, as evaluation sets always are.
        progress: called with frames done and frames in all.

    Raises:
        InputError: where the data set is not there, or the disk is too full for it.
    """
    data = data_set(name)
    wanted = segments(data, root)
    done = Preparation()
    quality = 101 if data.evaluation is not None else quality
    with ShardWriter(folder, name, shard_bytes=2**28) as writer:
        there = {key.split("+")[0] for key in writer.keys}
        left = [s for s in wanted if s.key not in there]
        done.kept = len(wanted) - len(left)
        total = sum(len(s.items) for s in wanted)
        count = total - sum(len(s.items) for s in left)
        if left:
            _assert_room(data, left, folder, size)
        for segment, (clips, reasons) in _in_order(name, left, size, quality, processes):
            for key, clip in clips:
                writer.add(key, clip)
                done.clips, done.frames = done.clips + 1, done.frames + clip.about["frames"]
            done.skipped += reasons
            count += len(segment.items)
            if progress is not None:
                progress(count, total)
    return done


def _in_order(
    name: str, wanted: list[Segment], size: tuple[int, int], quality: int, processes: int
) -> Iterator[tuple[Segment, tuple[list[tuple[str, EncodedClip]], list[str]]]]:
    """Read segments in many processes, a few ahead of the one that is written."""
    if processes == 1:
        for segment in wanted:
            yield segment, _job(name, segment, size, quality)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        ahead: deque[tuple[Segment, Future[Any]]] = deque()
        rest = iter(wanted)
        try:
            while True:
                while len(ahead) < 2 * processes and (following := next(rest, None)) is not None:
                    ahead.append((following, pool.submit(_job, name, following, size, quality)))
                if not ahead:
                    return
                segment, future = ahead.popleft()
                yield segment, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _assert_room(data: DataSet, left: list[Segment], folder: Path, size: tuple[int, int]) -> None:
    """Read one frame to know what a frame takes, and compare with what the disk has."""
    pixels = size[0] * size[1]
    for segment in left[:5]:
        clips, _ = read_segment(data, replace(segment, items=segment.items[:1]), size)
        if clips:
            pixels = clips[0][1].depth[0].size
            break
    needed = BYTES_A_PIXEL[data.evaluation is not None] * pixels * sum(len(s.items) for s in left)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: shards of {data.title} may take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or prepare to another disk."
        )


@dataclass
class Completeness:
    """What a download holds."""

    sequences: int
    frames: int
    taken: tuple[int, int]
    """Sequences and frames that the published preparation takes."""
    missing: list[str]
    """Files that are not there, or empty."""
    optional: Counter[str]
    """How many files are missing that need not be there, by kind."""
    broken: list[str]
    """First frames that can't be read."""
    poses: dict[str, float]
    """For each sequence with poses, how far depth disagrees between its first frames, relative."""
    expected: tuple[int, int] | None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, as far as is known what there should be."""
        short = self.expected is not None and (self.sequences < self.expected[0] or self.frames < self.expected[1])
        return not (self.missing or self.broken or short)


def check(name: str, root: Path, progress: Callable[[int, int], None] | None = None) -> Completeness:
    """Look whether a download is whole, without converting it: every file, and the first frames of each sequence.

    Args:
        name: of the data set.
        root: where it was unpacked.
        progress: called with sequences done and sequences in all.
    """
    data = data_set(name)
    sequences = data.sequences(root)
    taken = [s.items if data.evaluation is None else _selected(data, s) for s in sequences]
    missing: dict[str, None] = {}
    optional: Counter[str] = Counter()
    broken: list[str] = []
    poses: dict[str, float] = {}
    for count, sequence in enumerate(sequences, 1):
        absent = False
        for item in sequence.items:
            for key, path in item.items():
                if isinstance(path, Path) and not path.is_dir() and not (path.is_file() and path.stat().st_size):
                    if key in OPTIONAL:
                        optional[key] += 1
                    else:
                        missing[str(path)] = None
                        absent = True
        if not absent:
            try:
                frames = [data.read(**item) for item in sequence.items[:2]]
                if len(frames) == 2 and data.video and frames[0].pose is not None and frames[1].pose is not None:
                    a, b = ((f.depth, f.intrinsics, f.pose) for f in frames)
                    poses[sequence.name] = disagreement(*a, *b)  # type: ignore[arg-type]
            except InputError as error:
                broken.append(str(error))
        if progress is not None:
            progress(count, len(sequences))
    return Completeness(
        sequences=len(sequences),
        frames=sum(len(s.items) for s in sequences),
        taken=(sum(bool(t) for t in taken), sum(map(len, taken))),
        missing=list(missing),
        optional=optional,
        broken=broken,
        poses=poses,
        expected=data.complete,
    )
