"""From a data set as it is distributed, or a recording, to shards; what is there already is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.dataset import DataSet
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.options import LOSSLESS, PreparationOptions
from geometrycrafter.data.recordings import Recording
from geometrycrafter.data.segments import Segment, held_out, read_segment, segments_of
from geometrycrafter.data.shards import ClipEntry, EncodedClip, Recipe, ShardWriter, Stretch, encode_clip
from geometrycrafter.data.workers import in_order
from geometrycrafter.errors import InputError
from geometrycrafter.files import explained, fingerprint

HELD_OUT = "held-out"
"""Folder, in that of the shards, of what is set aside."""
BYTES_A_PIXEL = {True: 3.2, False: 1.3}
"""Upper estimate of what shards take, of lossless pictures and of others."""


def _encoded(
    name: str, segment: Segment, size: tuple[int, int], quality: int
) -> tuple[list[tuple[str, EncodedClip]], list[str]]:
    """A segment's clips as bytes; each says which stretch of it it is where there are several."""
    clips, reasons = read_segment(data_set(name), segment, size)
    encoded = [(key, encode_clip(clip, quality)) for key, clip in clips]
    if [key for key, _ in clips] != [segment.key]:
        for number, (_, clip) in enumerate(encoded):
            clip.about["stretch"] = Stretch(segment.key, number, len(encoded))
    return encoded, reasons


@dataclass
class Preparation:
    """What a preparation did."""

    clips: int = 0
    frames: int = 0
    held: int = 0
    """Of the clips, those that were set aside."""
    kept: int = 0
    """Segments that were there already."""
    skipped: list[str] = field(default_factory=list)
    """A reason for each frame that is missing."""
    left_out: list[str] = field(default_factory=list)
    """A sentence for each reason why sequences were not taken."""
    log: Path | None = None
    """Where the reasons are, of earlier preparations too."""


def prepare(
    name: str,
    root: Path,
    folder: Path,
    size: tuple[int, int] = PreparationOptions.size,
    processes: int = 1,
    quality: int = PreparationOptions.quality,
    progress: Callable[[int, int], None] | None = None,
    hold_out: float = PreparationOptions.hold_out,
    hold_out_seed: int = PreparationOptions.hold_out_seed,
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
        hold_out: share of the scenes that go into the folder ``held-out`` in it, whole.
        hold_out_seed: of which these are.

    Raises:
        InputError: where the data set is not there, a value is out of its range, nothing or everything would be held
            out, the folder was begun with others or can't be written, or the disk is too full.
    """
    data = data_set(name)
    quality = quality if data.evaluation is None else LOSSLESS
    options = PreparationOptions(size, quality, processes, hold_out, hold_out_seed)
    found = data.found(root)
    parts = _parts(data, segments_of(data, found.sequences, root), folder, options)
    done = Preparation(left_out=found.reasons(), log=folder / "report" / "skipped.txt")
    frames = {target: sum(len(s.items) for s in part) for target, part in parts.items()}
    before = 0

    def show(count: int) -> None:
        if progress is not None:
            progress(before + count, sum(frames.values()))

    for target, wanted in parts.items():
        _fill(target, data, wanted, options, done, show)
        before += frames[target]
    return done


def _parts(
    data: DataSet, wanted: list[Segment], folder: Path, options: PreparationOptions
) -> dict[Path, list[Segment]]:
    """What goes into which folder."""
    if not options.hold_out:
        return {folder: wanted}
    if data.evaluation is not None:
        raise InputError(
            f"--hold-out: {data.title} is an evaluation set, of which nothing is trained on; leave it out."
        )
    held = [held_out(s.scene, options.hold_out, options.hold_out_seed) for s in wanted]
    if all(held) or not any(held):
        scenes = len({s.scene for s in wanted})
        raise InputError(
            f"--hold-out {options.hold_out:g}: of {scenes} scenes of {data.title} here that holds out "
            f"{'all' if all(held) else 'none'}; give another share, or another --hold-out-seed."
        )
    kept, aside = ([s for s, h in zip(wanted, held, strict=True) if h is wished] for wished in (False, True))
    return {folder: kept, folder / HELD_OUT: aside}


def _fill(
    folder: Path,
    data: DataSet,
    wanted: list[Segment],
    options: PreparationOptions,
    done: Preparation,
    progress: Callable[[int], None],
) -> None:
    """Turn segments into shards; ``done`` counts them."""
    assert done.log is not None
    with ShardWriter(folder, data.name, shard_bytes=2**28, recipe=_recipe(data, options)) as writer:
        whole = _whole(writer.clips.values())
        left = [s for s in wanted if s.key not in whole]
        done.kept += len(wanted) - len(left)
        count = sum(len(s.items) for s in wanted) - sum(len(s.items) for s in left)
        if left:
            _assert_room(data, left, folder, options.size)
        jobs = ((data.name, segment, options.size, options.quality) for segment in left)
        for segment, (clips, reasons) in zip(left, in_order(_encoded, jobs, options.processes), strict=True):
            for key, clip in clips:
                if key not in writer.clips:  # a killed preparation may have written some of a segment's stretches
                    writer.add(key, clip)
                    done.clips, done.frames = done.clips + 1, done.frames + clip.about["frames"]
                    done.held += folder.name == HELD_OUT
            _note(done.log, reasons)
            done.skipped += reasons
            count += len(segment.items)
            progress(count)


def _recipe(data: DataSet, options: PreparationOptions) -> Recipe:
    """What changes the shards of a data set; evaluation sets leave nothing to choose."""
    chosen: dict[str, Any] = {"size": options.size} if data.evaluation is None else {}
    quality = options.quality if options.quality < LOSSLESS else "lossless"
    if options.hold_out:
        chosen |= {"hold-out": options.hold_out, "hold-out-seed": options.hold_out_seed}
    return Recipe(data.name, chosen | {"quality": quality, "version": data.version})


def _whole(clips: Iterable[ClipEntry]) -> set[str]:
    """The segments of which every stretch is there."""
    missing: dict[str, set[int]] = {}
    for stretch in (entry.stretch for entry in clips):
        missing.setdefault(stretch.segment, set(range(stretch.of))).discard(stretch.number)
    return {segment for segment, numbers in missing.items() if not numbers}


def _note(log: Path, reasons: list[str]) -> None:
    """Add what was skipped to the log, but nothing twice."""
    if reasons:
        with explained(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            before = set(log.read_text().splitlines()) if log.exists() else set()
            with open(log, "a") as file:
                file.writelines(f"{reason}\n" for reason in reasons if reason not in before)


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


def prepare_recording(
    recording: Recording, folder: Path, show: Callable[[str, Clip], None] | None = None
) -> Preparation:
    """Turn a recording into shards; what is there already is kept, also after a kill.

    Args:
        recording: a folder of pictures and depth maps.
        folder: of the shards; other recordings may be there too.
        show: called with each key and clip that was added.

    Raises:
        InputError: where a file is missing or damaged, the folder was begun with another recording of this name or
            other settings, or can't be written.
    """
    takes = recording.takes()
    done = Preparation()
    # Before the folder is begun with settings that may be wrong: it would refuse the right ones.
    first = None if folder.is_dir() else recording.read(takes[0])
    with ShardWriter(folder, "recording", recipe=_recipe_of_recording(recording)) as writer:
        for take in takes:
            if take.key in writer.clips:
                done.kept += 1
                continue
            clip = first if first is not None and take is takes[0] else recording.read(take)
            first = None
            writer.add(take.key, clip)
            done.clips, done.frames = done.clips + 1, done.frames + len(clip)
            if show is not None:
                show(take.key, clip)
    return done


def _recipe_of_recording(recording: Recording) -> Recipe:
    shots = recording.shots()
    chosen = {k: v for k, v in asdict(recording).items() if k != "folder"}
    first = f"{shots[0].colour.name} ({fingerprint(shots[0].colour)[:12]})"
    seen = {"pictures": len(shots), "first picture": first}
    if recording.intrinsics is None and recording.camera_file is not None:
        seen["camera"] = f"{recording.camera_file.name} ({fingerprint(recording.camera_file)[:12]})"
    return Recipe(f"recording {recording.name}", chosen | seen)
