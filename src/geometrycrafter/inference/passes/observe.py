"""First pass: decode the video once; prior, frame latents and image embeddings of every frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.inference.conditioning import prior_view, resized
from geometrycrafter.inference.record import frame_digest
from geometrycrafter.inference.run_folder import ObservedFrames, OtherFramesError, RunFolder
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, Prior
from geometrycrafter.video.bars import Box, Shown
from geometrycrafter.video.reading import FrameSource
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress

Batch = list[Shown]


@torch.no_grad()
def observe(run: RunFolder, source: FrameSource, networks: Networks, prior: Prior, progress: Progress) -> None:
    """Ask the prior, the frame autoencoder and the image encoder about every frame, batch by batch.

    Frames that were observed before are decoded again and compared with what was seen then, so that a video that has
    changed is found out, whatever it was told apart by.

    Raises:
        InputError: where a frame can't be had, or is another than the one observed; where there is no frame at all.
        WriteError: where the disk refuses; what was observed stays.
    """
    if run.record.content is not None and run.frames is not None and all(i in run.observed for i in run.batches()):
        return
    camera = _camera(run)
    asked: ClipPrior | None = None
    done, known = 0, run.frames
    for index, batch in enumerate(_batches(source.shown(run.record.bars), run.batch)):
        if known is not None and done + len(batch) != min(known, done + run.batch):  # before a batch is overwritten
            raise _other_frames(run, min(done + len(batch), known))
        if _observed_before(run, index, batch, done):
            asked = None
        else:
            asked = asked or prior.begin(done)
            _observe_batch(run, index, batch, networks, prior, asked, camera)
        done += len(batch)
        progress("observe", done, source.count)
    if done == 0:
        choice = f"with {source.asked} " if source.asked else ""
        raise InputError(f"{source.name}: {choice}there is not one frame to process; choose others, or a longer video.")
    if known not in (None, done):
        raise _other_frames(run, min(done, known or done))
    run.keep_frames(done)


def _camera(run: RunFolder) -> KnownCamera | None:
    k = run.record.options.intrinsics
    return None if k is None else KnownCamera(2 * math.atan(run.record.picture.size[1] / 2 / k[0]))


def _observed_before(run: RunFolder, index: int, batch: Batch, first: int) -> bool:
    """Whether a batch is done: the same frames, and as many."""
    if index not in run.observed:
        return False
    known = run.known(index)
    for offset, (digest, shown) in enumerate(zip(known.digests, batch, strict=False)):
        if digest != frame_digest(shown.frame):
            raise _other_frames(run, first + offset)
    return known.pictures == [shown.picture for shown in batch]  # what follows may tell more of the frames' bars


def _other_frames(run: RunFolder, frame: int) -> OtherFramesError:
    return OtherFramesError(
        f"{run.folder}: frame {frame} is not what the run to resume saw there; give the same video, or --overwrite."
    )


def _observe_batch(
    run: RunFolder,
    index: int,
    batch: Batch,
    networks: Networks,
    prior: Prior,
    asked: ClipPrior,
    camera: KnownCamera | None,
) -> None:
    record, exact = run.record, run.record.options.exact
    union = record.picture

    def images(picture: Box = union) -> Iterator[Tensor]:  # one by one, as they may be large
        for shown in batch:
            image = torch.from_numpy(shown.frame[picture.slices]).to(networks.device)
            yield (image.float() / 255 if image.dtype == torch.uint8 else image).permute(2, 0, 1)[None]

    inside = [shown.picture.shares(union) for shown in batch]
    maps, statistics = prior_view(
        prior, asked, images(), union.size, record.size, camera, exact, warn=index == 0, pictures=inside
    )
    small = torch.cat([resized(image, record.size, "bicubic") for image in images()])
    pixels = small.to(networks.dtype)
    whole = Box(0, 0, record.height, record.width)
    if whole != union:  # the scene shows bars too
        small = torch.cat([resized(image, run.small_size, "bicubic") for image in images(whole)])
    digests = [frame_digest(s.frame) for s in batch]
    known = ObservedFrames(statistics, [s.seconds for s in batch], digests, [s.picture for s in batch])
    run.observed.save(
        index,
        depth=maps.depth,
        valid=(maps.valid * 255).round().to(torch.uint8),
        half_field=maps.half_field,
        video=networks.autoencoder.encode(pixels * 2 - 1),
        embedding=networks.image_encoder(pixels),
        frames=(small * 255).round().to(torch.uint8).permute(0, 2, 3, 1),
        **known.tensors(),
    )


def _batches(frames: Iterator[Shown], size: int) -> Iterator[Batch]:
    batch: Batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
