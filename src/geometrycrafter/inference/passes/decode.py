"""Fourth pass: point maps, chunk by chunk, into the scene."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.files import explained
from geometrycrafter.geometry.cameras import half_field_grid, half_field_of_theta
from geometrycrafter.inference.decoding import DecodedFrames, at_video_size, decode_in_parts, decode_joined
from geometrycrafter.inference.focal import FrameAngle, clip_intrinsics
from geometrycrafter.inference.record import clip_digest
from geometrycrafter.inference.run_folder import REMEDY, RunFolder
from geometrycrafter.inference.shot import Shot
from geometrycrafter.networks.point_map_vae import DecodedPointMap
from geometrycrafter.networks.room import Room
from geometrycrafter.scene.journal import Journal
from geometrycrafter.scene.source import SourceRecord
from geometrycrafter.scene.writer import SceneWriter
from geometrycrafter.version import program_version
from geometrycrafter.video.bars import Box
from geometrycrafter.video.reading import FrameSource
from geometrycrafter.video.timing import believed_rate
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def decode(run: RunFolder, source: FrameSource, networks: Networks, progress: Progress) -> None:
    """Depth, mask and camera of every frame into the scene, which is then complete.

    Args:
        run: whose windows are denoised.
        source: what the scene says of where its frames came from, and what a lens shows; it is not read.
        networks: of one variant.
        progress: called after each chunk.

    Raises:
        InputError: where a file of an earlier pass is damaged.
        WriteError: where the disk refuses; what was decoded stays.
    """
    writer, shots = SceneWriter(run.folder), run.read_shots()
    arrays = _Arrays.of(writer, run, shots[-1].end)
    with explained(run.folder, REMEDY):
        journal = Journal(run.folder / "journal.jsonl")
        journal.keep(_sound(journal, arrays))
    before, room = 0, Room("decoder")
    for shot in shots:
        chunks = shot.plan_chunks()
        for frame in _decoded(shot, source, networks, arrays, journal, before, room):
            progress("decode", frame, shots[-1].end)
        before += len(chunks)
    _finish(shots, source, writer, [FrameAngle(*row) for entry in journal.entries for row in entry["theta"]])


def _decoded(
    shot: Shot, source: FrameSource, networks: Networks, arrays: _Arrays, journal: Journal, before: int, room: Room
) -> Iterator[int]:
    """Write a shot's frames; yields up to where they are there, after each chunk.

    Args:
        shot: whose windows are denoised.
        source: of its frames.
        networks: of one variant.
        arrays: of the scene.
        journal: of the chunks that are done, this shot's and those before.
        before: chunks of the shots before.
        room: for the decoder.
    """
    run, chunks = shot.run, shot.plan_chunks()
    picture = run.record.view(shot.first).picture
    first, factor = max(len(journal.entries) - before, 0), networks.autoencoder.config.scaling_factor
    if first >= len(chunks):
        return

    def latents(start: int, end: int) -> Tensor:
        return _joined_latents(shot, start, end).to(networks.device) / factor

    def part(z: Tensor) -> DecodedPointMap:
        return networks.point_map_vae.decode(z, len(z))

    def one(z: Tensor) -> DecodedPointMap:
        return room.fit(len(z), lambda most: decode_in_parts(part, z, most))

    for index, (start, maps) in enumerate(decode_joined(one, latents, chunks, first), start=first):
        angles = []
        digest = hashlib.sha256()
        for offset in range(len(maps.log_depth)):
            frame = DecodedPointMap(*(m[offset : offset + 1] for m in maps))
            t = shot.first + start + offset
            decoded = at_video_size(frame, *picture.size, run.record.options.depth_resize)
            decoded = _within_lens(_without_bars(decoded, run.record.bars.picture(t), picture), source)
            arrays.put(t, decoded, shot)
            arrays.add_to(digest, t)
            angles.append(FrameAngle.of(decoded).stored())
        begin, end = shot.first + start, shot.first + start + len(angles)
        with explained(run.folder, REMEDY):
            entry = {"chunk": before + index, "start": begin, "end": end, "theta": angles}
            journal.append(entry | {"digest": digest.hexdigest()})
        yield end


def _sound(journal: Journal, arrays: _Arrays) -> int:
    """How many of the journal's entries the scene's arrays bear out: a disk may lose what it said that it has."""
    following = 0
    for index, entry in enumerate(journal.entries):
        try:
            if (entry["chunk"], entry["start"]) != (index, following) or entry["end"] <= following:
                return index
            digest = hashlib.sha256()
            for t in range(entry["start"], entry["end"]):
                arrays.add_to(digest, t)
            if digest.hexdigest() != entry["digest"] or len(entry["theta"]) != entry["end"] - entry["start"]:
                return index
        except (KeyError, TypeError, ValueError, IndexError, OSError, RuntimeError):  # whatever a torn chunk raises
            return index
        following = entry["end"]
    return len(journal.entries)


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


def _within_lens(decoded: DecodedFrames, source: FrameSource) -> DecodedFrames:
    """The maps of a frame, invalid where the camera's lens shows nothing of the pinhole view."""
    if source.undistortion is None or source.undistortion.valid.all():
        return decoded
    return replace(decoded, mask=decoded.mask & torch.from_numpy(source.undistortion.valid).to(decoded.mask.device))


@dataclass(frozen=True)
class _Arrays:
    """The scene's arrays that are written frame by frame."""

    depth: Any
    mask: Any
    frames: Any
    rays: Any
    """Only where the focal length is free."""

    @classmethod
    def of(cls, writer: SceneWriter, run: RunFolder, count: int) -> _Arrays:
        (h, w), size = (run.record.height, run.record.width), run.small_size
        free = run.record.options.focal == "free"
        return cls(
            depth=writer.array("depth", (count, h, w), np.float32),
            mask=writer.array("mask", (count, h, w), np.bool_),
            frames=writer.array("frames", (count, *size, 3), np.uint8),
            rays=writer.array("rays", (count, h, w, 2), np.float32) if free else None,
        )

    def add_to(self, digest: Any, t: int) -> None:
        """Add what the disk has of a frame to a digest."""
        for array in (self.depth, self.mask, self.frames, self.rays):
            if array is not None:
                digest.update(np.ascontiguousarray(array[t]).tobytes())

    def put(self, t: int, decoded: DecodedFrames, shot: Shot) -> None:
        """One frame; in its shot's bars, where nothing is valid, depth and rays go on as they are beside them."""
        (small,) = shot.observed(t - shot.first, t - shot.first + 1, "frames")
        run = shot.run
        picture = run.record.view(shot.first).picture
        around = ((picture.top, run.record.height - picture.bottom), (picture.left, run.record.width - picture.right))
        with explained(run.folder, REMEDY):
            self.depth[t] = np.pad(decoded.depth[0].cpu().numpy(), around, mode="edge")
            self.mask[t] = np.pad(decoded.mask[0].cpu().numpy(), around)
            self.frames[t] = small[0].numpy()
            if self.rays is not None:
                field = half_field_of_theta(decoded.theta_diag[0], *picture.size)
                rays = (field * half_field_grid(*picture.size, field)).cpu().numpy()
                self.rays[t] = np.pad(rays, (*around, (0, 0)), mode="edge")


def _finish(shots: list[Shot], source: FrameSource, writer: SceneWriter, angles: list[FrameAngle]) -> None:
    """Cameras, shots, times and attributes; the scene is complete after it."""
    run = shots[0].run
    record, known = run.record, [run.known(first) for shot in shots for first in shot.batches]
    intrinsics = torch.cat([_intrinsics(shot, angles[shot.first : shot.end]) for shot in shots])
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
