"""Fourth pass: point maps, chunk by chunk, into the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.files import explained
from geometrycrafter.inference.crew import Crew, Equipment, Job
from geometrycrafter.inference.decoded import Arrays, Decoded, Place, places, stretches
from geometrycrafter.inference.decoding import (
    DecodedFrames,
    at_video_size,
    decode_in_parts,
    decode_joined,
    decode_streamed,
)
from geometrycrafter.inference.focal import FrameAngle, clip_intrinsics
from geometrycrafter.inference.passes.steady import steady
from geometrycrafter.inference.record import clip_digest
from geometrycrafter.inference.run_folder import REMEDY, RunFolder
from geometrycrafter.inference.shot import Shot
from geometrycrafter.networks.point_map_vae import DecodedPointMap, LightPointMapDecoder
from geometrycrafter.scene.source import SourceRecord
from geometrycrafter.scene.writer import SceneWriter
from geometrycrafter.version import program_version
from geometrycrafter.video.bars import Box
from geometrycrafter.video.reading import FrameSource
from geometrycrafter.video.timing import believed_rate

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def decode(run: RunFolder, source: FrameSource, crew: Crew, progress: Progress) -> None:
    """Depth, mask and camera of every frame into the scene, which is then complete.

    Args:
        run: whose windows are denoised.
        source: what the scene says of where its frames came from, and what a lens shows; it is not read.
        crew: with networks of one variant.
        progress: called after each chunk.

    Raises:
        InputError: where a file of an earlier pass is damaged.
        WriteError: where the disk refuses; what was decoded stays.
    """
    shots = run.read_shots()
    chunks, count = places(shots), shots[-1].end
    decoded = Decoded(run, Arrays.of(run, count), chunks)
    lens = None if source.undistortion is None else source.undistortion.valid
    parts = decoded.parts()
    jobs = (
        Job(_decode_chunks, (chunks[first:end], first, count, lens, parts))
        for first, end in stretches(decoded.missing(), chunks, crew.hands)
    )
    for entry in crew.each(jobs, ahead=0):
        decoded.add(entry)
        progress("decode", decoded.frames, count)
    angles = [FrameAngle(*row) for entry in decoded.entries for row in entry["theta"]]
    intrinsics = torch.cat([_intrinsics(shot, angles[shot.first : shot.end]) for shot in shots])
    steady(run, shots, intrinsics, progress)
    _finish(shots, source, intrinsics)


def _decode_chunks(
    equipment: Equipment,
    chunks: list[Place],
    number: int,
    count: int,
    lens: np.ndarray | None,
    parts: dict[int, int],
) -> Iterator[dict[str, Any]]:
    """Write the frames of chunks that follow each other in one shot; yields their entries in the journal.

    Args:
        equipment: to decode with.
        chunks: that are not there yet.
        number: of the first of them, counted in the clip.
        count: of the clip's frames.
        lens: which pixels ``[H, W]`` show anything; None: all.
        parts: how many frames at a time chunks were decoded in before, where that was not all of them.
    """
    shot, first = chunks[0].shot, chunks[0].index
    run, planned = shot.run, shot.plan_chunks()
    equipment.at(run, "decode")
    networks, room, arrays = equipment.networks, equipment.room("decoder"), Arrays.of(run, count)
    room.most = min([*parts.values(), *([] if room.most is None else [room.most])], default=None)
    picture = run.record.view(shot.first).picture
    factor, being = networks.autoencoder.config.scaling_factor, number - first
    index = -1

    def around(start: int, end: int) -> Tensor:
        return _joined_latents(shot, start, end).to(networks.device) / factor

    def latents(start: int, end: int) -> Tensor:
        nonlocal index
        index = next(i for i, chunk in enumerate(planned) if (chunk.start, chunk.end) == (start, end))
        return around(start, end)

    def part(z: Tensor) -> DecodedPointMap:
        return networks.point_map_vae.decode(z, len(z))

    def one(z: Tensor) -> DecodedPointMap:
        if index < first:  # as it was the first time
            return decode_in_parts(part, z, parts.get(being + index, len(z)))
        return room.fit(len(z), lambda most: decode_in_parts(part, z, most))

    made = decode_joined(one, latents, planned, first)
    if run.record.options.decoder == "light":
        decoder = networks.decoder("light")
        assert isinstance(decoder, LightPointMapDecoder)
        made = decode_streamed(decoder, room, around, planned, first)
    for chunk, (start, maps) in zip(chunks, made, strict=False):
        angles = []
        for offset in range(len(maps.log_depth)):
            frame = DecodedPointMap(*(m[offset : offset + 1] for m in maps))
            t = shot.first + start + offset
            decoded = at_video_size(frame, *picture.size, run.record.options.depth_resize)
            decoded = _within_lens(_without_bars(decoded, run.record.bars.picture(t), picture), lens)
            (small,) = shot.observed(t - shot.first, t - shot.first + 1, "frames")
            arrays.put(t, decoded, small[0], shot)
            angles.append(FrameAngle.of(decoded).stored())
        entry = {"chunk": being + chunk.index, "start": chunk.start, "end": chunk.end, "theta": angles}
        entry["digest"] = arrays.digest(chunk.start, chunk.end)
        frames = planned[chunk.index].end - planned[chunk.index].start
        yield entry | ({"most": room.most} if room.most is not None and room.most < frames else {})


def _joined_latents(shot: Shot, start: int, end: int) -> Tensor:
    """Scaled latents ``[end - start, 4, h, w]`` of a shot; what two windows share is joined in the later one's file."""
    windows, rows = shot.plan_windows(), []
    for index, window in enumerate(windows):
        until = windows[index + 1].start if index + 1 < len(windows) else window.end
        if window.start < end and start < until:
            (stored,) = shot.run.windows.load(shot.first + window.start, "latents")
            rows.append(stored[max(start, window.start) - window.start : min(end, until) - window.start])
    return torch.cat(rows)


def _without_bars(decoded: DecodedFrames, own: Box, picture: Box) -> DecodedFrames:
    """The maps of a frame, invalid where its own bars are wider than its shot's."""
    if own == picture:
        return decoded
    mask = torch.zeros_like(decoded.mask)
    inside = (slice(None), *own.within(picture).slices)
    mask[inside] = decoded.mask[inside]
    return replace(decoded, mask=mask)


def _within_lens(decoded: DecodedFrames, lens: np.ndarray | None) -> DecodedFrames:
    """The maps of a frame, invalid where the camera's lens shows nothing of the pinhole view."""
    if lens is None or lens.all():
        return decoded
    return replace(decoded, mask=decoded.mask & torch.from_numpy(lens).to(decoded.mask.device))


def _finish(shots: list[Shot], source: FrameSource, intrinsics: Tensor) -> None:
    """Cameras, shots, times and attributes; the scene is complete after it."""
    run = shots[0].run
    writer = SceneWriter(run.folder)
    record, known = run.record, [run.known(first) for shot in shots for first in shot.batches]
    times = [t for batch in known for t in batch.times]
    fps = believed_rate(times, source.fps)
    with explained(run.folder, REMEDY):
        writer.put("intrinsics", intrinsics.numpy())
        writer.put("times", np.array(times))
        writer.put("shots", np.array([shot.first for shot in shots]))
        writer.finish(
            {
                "fps": fps,
                **replace(SourceRecord.of(source, record.options.intrinsics, record.content), fps=fps).stored(),
                "model": record.model,
                "options": record.options.stored(),
                "program": f"geometrycrafter {program_version()}",
                "run": record.to_json(),
                "frames_digest": clip_digest(d for batch in known for d in batch.digests),
            }
        )


def _intrinsics(shot: Shot, angles: list[FrameAngle]) -> Tensor:
    """Of a shot's frames, ``[T, 3, 3]``."""
    record, trusted = shot.run.record, None
    if record.trusted_field and not record.options.exact:
        (trusted,) = shot.observed(0, len(shot), "half_field")
    return clip_intrinsics(angles, record.options, record.view(shot.first).picture, trusted)
