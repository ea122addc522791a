"""First pass: decode the video once; prior, frame latents and image embeddings of every frame."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.inference.conditioning import prior_view, resized
from geometrycrafter.inference.crew import Crew, Equipment, Job
from geometrycrafter.inference.look import check_within
from geometrycrafter.inference.record import RunRecord, frame_digest
from geometrycrafter.inference.run_folder import ObservedFrames, OtherFramesError, RunFolder
from geometrycrafter.inference.steadying import small_size
from geometrycrafter.priors.protocol import KnownCamera
from geometrycrafter.video.bars import Box, Shown, brightest
from geometrycrafter.video.cuts import cut_as_read
from geometrycrafter.video.reading import FrameSource

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@dataclass(frozen=True)
class _Batch:
    """Neighbours in one shot."""

    first: int
    """Frame of the clip."""
    begins: bool
    """Whether it is the shot's first batch."""
    frames: list[Shown]

    @property
    def end(self) -> int:
        return self.first + len(self.frames)


@torch.no_grad()
def observe(run: RunFolder, source: FrameSource, crew: Crew, progress: Progress) -> None:
    """Ask the prior, the frame autoencoder and the image encoder about every frame, batch by batch.

    The video is read here, by one process, whoever does the asking.

    Frames that were observed before are decoded again and compared with what was seen then, so that a video that has
    changed is found out, whatever it was told apart by. Where shots begin is found on the way, where it isn't known.

    Raises:
        InputError: where a frame can't be had, or is another than the one observed; where there is no frame at all.
        WriteError: where the disk refuses; what was observed stays.
    """
    shots = run.shots
    spans = None if shots is None else [(b, min(b + run.batch, s.end)) for s in shots for b in s.batches]
    if run.record.content is not None and spans is not None and all(first in run.observed for first, _ in spans):
        return
    known = None if spans is None else spans[-1][1]
    starts = run.record.shots if shots is None else tuple(s.first for s in shots)
    before = run.observed.firsts()
    found: list[int] = []
    read = done = 0

    def jobs() -> Iterator[Job]:
        nonlocal read, done
        for index, batch in enumerate(_batches(in_shots(source.shown(run.record.bars), starts), run.batch)):
            _check_seen(run, batch, before)
            if spans is not None and (index == len(spans) or batch.end != spans[index][1]):  # before one is overwritten
                raise _other_frames(run, min(batch.end, spans[-1][1]))
            found.extend([batch.first] if batch.begins else [])
            read = batch.end
            if not _observed_before(run, batch):
                yield Job(_observe_batch, (run, batch))
            else:
                done += len(batch.frames)
                progress("observe", done, source.count)

    for frames in crew.each(jobs()):
        done += frames
        progress("observe", done, source.count)
    if read == 0:
        choice = f"with {source.asked} " if source.asked else ""
        raise InputError(f"{source.name}: {choice}there is not one frame to process; choose others, or a longer video.")
    if known not in (None, read):
        raise _other_frames(run, min(read, known or read))
    check_within(starts or (), read)
    run.keep_shots(found, read)


def in_shots(frames: Iterable[Shown], starts: Sequence[int] | None) -> Iterator[tuple[Shown, bool]]:
    """Each frame, and whether a shot begins with it.

    Args:
        frames: of a clip.
        starts: the first frame of each shot; None: they are found, a few frames ahead.
    """
    if starts is None:
        return cut_as_read(frames, lambda shown: brightest(shown.frame))
    first = frozenset(starts)
    return ((shown, number in first) for number, shown in enumerate(frames))


def _camera(record: RunRecord, picture: Box) -> KnownCamera | None:
    k = record.options.intrinsics
    return None if k is None else KnownCamera(2 * math.atan(picture.size[1] / 2 / k[0]))


def _check_seen(run: RunFolder, batch: _Batch, before: list[int]) -> None:
    """Refuse frames that are others than those that were observed there, in whichever batch.

    Args:
        run: that may be gone on with.
        batch: of frames as they are now.
        before: first frames of the batches that were there, in order.
    """
    near = before[bisect_right(before, batch.first - run.batch) : bisect_left(before, batch.end)]
    seen = {
        first + offset: digest
        for first in near
        if first in run.observed
        for offset, digest in enumerate(run.known(first).digests)
    }
    for frame, shown in enumerate(batch.frames, start=batch.first):
        if frame in seen and seen[frame] != frame_digest(shown.frame):
            raise _other_frames(run, frame)


def _observed_before(run: RunFolder, batch: _Batch) -> bool:
    """Whether a batch is done: as many frames, whose pictures are the same, and seen alike."""
    # What follows a clip that was shorter may tell more of its last shots and bars.
    if batch.first not in run.observed:
        return False
    known = run.known(batch.first)
    return known.pictures == [s.picture for s in batch.frames] and known.view == run.record.view(batch.first).stored


def _other_frames(run: RunFolder, frame: int) -> OtherFramesError:
    return OtherFramesError(
        f"{run.folder}: frame {frame} is not what the run to resume saw there; give the same video, or --overwrite."
    )


def _observe_batch(equipment: Equipment, run: RunFolder, batch: _Batch) -> Iterator[int]:
    """Ask about a batch; yields how many frames it has."""
    equipment.at(run, "observe")
    networks = equipment.networks
    record, exact = run.record, run.record.options.exact
    view = record.view(batch.first)
    union, size = view

    def images(picture: Box = union) -> Iterator[Tensor]:  # one by one, as they may be large
        for shown in batch.frames:
            image = torch.from_numpy(shown.frame[picture.slices]).to(networks.device)
            yield (image.float() / 255 if image.dtype == torch.uint8 else image).permute(2, 0, 1)[None]

    inside = [shown.picture.shares(union) for shown in batch.frames]
    maps, statistics = prior_view(
        equipment.prior,
        equipment.clip_prior(batch.first, len(batch.frames), batch.begins),
        images(),
        union.size,
        size,
        _camera(record, union),
        exact,
        warn=batch.first == 0,
        pictures=inside,
    )
    small = torch.cat([resized(image, size, "bicubic") for image in images()])
    pixels = small.to(networks.dtype)
    whole = Box(0, 0, record.height, record.width)
    if whole != union or size != run.small_size:  # the scene shows bars too, and has one size
        small = torch.cat([resized(image, run.small_size, "bicubic") for image in images(whole)])
    seen = torch.cat([resized(image, small_size(*union.size), "bilinear") for image in images()])
    digests = [frame_digest(s.frame) for s in batch.frames]
    pictures, times = [s.picture for s in batch.frames], [s.seconds for s in batch.frames]
    known = ObservedFrames(statistics, times, digests, pictures, view.stored)
    run.observed.save(
        batch.first,
        depth=maps.depth,
        valid=(maps.valid * 255).round().to(torch.uint8),
        half_field=maps.half_field,
        video=equipment.room("frame encoder").by_frame(networks.autoencoder.encode, pixels * 2 - 1),
        embedding=equipment.room("image encoder").by_frame(networks.image_encoder, pixels),
        frames=(small * 255).round().to(torch.uint8).permute(0, 2, 3, 1),
        seen=(seen * 255).round().to(torch.uint8).permute(0, 2, 3, 1),
        **known.tensors(),
    )
    yield len(batch.frames)


def _batches(frames: Iterable[tuple[Shown, bool]], size: int) -> Iterator[_Batch]:
    """Of at most so many frames of one shot."""
    batch: _Batch | None = None
    for number, (shown, begins) in enumerate(frames):
        if batch is not None and (begins or len(batch.frames) == size):
            yield batch
            batch = None
        batch = batch or _Batch(number, begins, [])
        batch.frames.append(shown)
    if batch is not None:
        yield batch
