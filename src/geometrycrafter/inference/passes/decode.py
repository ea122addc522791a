"""Fourth pass: point maps, chunk by chunk, into the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.files import explained
from geometrycrafter.inference.conditioning import ClipNormalisation
from geometrycrafter.inference.confidence import PriorFrame, confidence, stored
from geometrycrafter.inference.crew import Crew, Equipment, Job
from geometrycrafter.inference.decoded import Arrays, Beside, Decoded, Place, places, stretches
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
from geometrycrafter.networks.room import Room
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
    for most in parts.values():
        room.at_most(most)
    picture = run.record.view(shot.first).picture
    norm = ClipNormalisation.of(s for batch in shot.batches for s in run.known(batch).statistics)
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
        fitting = room
        if index < first:  # as it was the first time, where there is room for that
            fitting = Room(room.what, parts.get(being + index))
        maps = fitting.fit(len(z), lambda most: decode_in_parts(part, z, most))
        room.at_most(fitting.most)
        return maps

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
            shown = _shown(run.record.bars.picture(t), picture, lens).to(decoded.mask.device)
            beside = _beside(shot, t, frame, decoded, shown, norm)
            decoded = replace(decoded, mask=decoded.mask & shown)
            arrays.put(t, decoded, beside, shot)
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


def _shown(own: Box, picture: Box, lens: np.ndarray | None) -> Tensor:
    """Which pixels ``[H, W]`` of a shot's picture show anything: none in bars that a frame has beyond its shot's, and
    none that a camera's lens doesn't see of the pinhole view."""
    shown = torch.zeros(picture.size, dtype=torch.bool)
    shown[own.within(picture).slices] = True
    return shown if lens is None else shown & torch.from_numpy(lens)


def _beside(
    shot: Shot, t: int, frame: DecodedPointMap, decoded: DecodedFrames, shown: Tensor, norm: ClipNormalisation
) -> Beside:
    """What the scene keeps of a frame beside its maps.

    Args:
        shot: that it is in.
        t: its number in the clip.
        frame: its maps as decoded, ``[1, 1, h, w]``.
        decoded: the same at the video's size.
        shown: which pixels ``[H, W]`` show anything.
        norm: of the shot.
    """
    at, size = t - shot.first, (shown.shape[0], shown.shape[1])
    small, depth, valid = shot.observed(at, at + 1, "frames", "depth", "valid")
    log_depth, mask = frame.log_depth[0, 0].float(), frame.mask_logit[0, 0] > 0
    depth, valid = (x[0].to(log_depth.device) for x in (depth, valid))
    prior = PriorFrame.of(depth, valid, norm, (log_depth.shape[0], log_depth.shape[1]))
    sure = stored(confidence(log_depth, mask, prior), size, decoded.mask[0] & shown)
    seen = F.interpolate(prior.valid[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return Beside(small[0], sure, ~decoded.mask[0] & shown & (seen < 0.5))


def _finish(shots: list[Shot], source: FrameSource, intrinsics: Tensor) -> None:
    """Cameras, shots, times and attributes; the scene is complete after it."""
    run = shots[0].run
    writer = SceneWriter(run.folder, REMEDY)
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
