"""What a run has decoded: frames in the scene's arrays, and journals that say which are whole.

Chunks may be finished in any order. The journal beside the arrays has them in theirs; those that are there before one
of their predecessors is wait in a journal of their own, from which they go on when their turn comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from geometrycrafter.files import explained
from geometrycrafter.geometry.cameras import half_field_grid, half_field_of_theta
from geometrycrafter.inference.decoding import DecodedFrames
from geometrycrafter.inference.run_folder import REMEDY, RunFolder
from geometrycrafter.inference.shot import Shot
from geometrycrafter.scene.journal import Journal
from geometrycrafter.scene.writer import SceneWriter


@dataclass(frozen=True)
class Beside:
    """What a scene keeps of a frame beside its maps."""

    small: Tensor
    """The frame, ``[h, w, 3]`` uint8."""
    confidence: Tensor
    """``[H, W]`` float16."""
    sky: Tensor
    """``[H, W]`` bool."""


@dataclass(frozen=True)
class Arrays:
    """The scene's arrays that are written frame by frame."""

    depth: Any
    mask: Any
    frames: Any
    confidence: Any
    rays: Any
    """Only where the focal length is free."""
    sky: Any
    """Only where the prior tells it."""

    @classmethod
    def of(cls, run: RunFolder, count: int) -> Arrays:
        """Those of a run's scene, begun where they are not there.

        Args:
            run: under way.
            count: of all frames.

        Raises:
            WriteError: where the disk refuses.
        """
        (h, w), size = (run.record.height, run.record.width), run.small_size
        free, writer = run.record.options.focal == "free", SceneWriter(run.folder)
        return cls(
            depth=writer.array("depth", (count, h, w), np.float32),
            mask=writer.array("mask", (count, h, w), np.bool_),
            frames=writer.array("frames", (count, *size, 3), np.uint8),
            confidence=writer.array("confidence", (count, h, w), np.float16),
            rays=writer.array("rays", (count, h, w, 2), np.float32) if free else None,
            sky=writer.array("sky", (count, h, w), np.bool_) if run.record.tells_sky else None,
        )

    def digest(self, start: int, end: int) -> str:
        """Of what the disk has of some frames."""
        digest = hashlib.sha256()
        for t in range(start, end):
            for array in (self.depth, self.mask, self.frames, self.confidence, self.rays, self.sky):
                if array is not None:
                    digest.update(np.ascontiguousarray(array[t]).tobytes())
        return digest.hexdigest()

    def put(self, t: int, decoded: DecodedFrames, beside: Beside, shot: Shot) -> None:
        """One frame; in its shot's bars, where nothing is valid, depth and rays go on as they are beside them.

        Args:
            t: frame of the clip.
            decoded: maps of it, ``[1, H, W]`` of the shot's picture.
            beside: what else there is of it.
            shot: that it is in.

        Raises:
            WriteError: where the disk refuses.
        """
        run = shot.run
        picture = run.record.view(shot.first).picture
        around = ((picture.top, run.record.height - picture.bottom), (picture.left, run.record.width - picture.right))
        with explained(run.folder, REMEDY):
            self.depth[t] = np.pad(decoded.depth[0].cpu().numpy(), around, mode="edge")
            self.mask[t] = np.pad(decoded.mask[0].cpu().numpy(), around)
            self.frames[t] = beside.small.numpy()
            self.confidence[t] = np.pad(beside.confidence.cpu().numpy(), around)
            if self.sky is not None:
                self.sky[t] = np.pad(beside.sky.cpu().numpy(), around)
            if self.rays is not None:
                field = half_field_of_theta(decoded.theta_diag[0], *picture.size)
                rays = (field * half_field_grid(*picture.size, field)).cpu().numpy()
                self.rays[t] = np.pad(rays, (*around, (0, 0)), mode="edge")


@dataclass(frozen=True)
class Place:
    """A chunk of a clip, and the frames that it finishes, counted in the clip."""

    shot: Shot
    index: int
    """Among its shot's."""
    start: int
    end: int


def places(shots: list[Shot]) -> list[Place]:
    """Of all chunks, in order."""
    found = []
    for shot in shots:
        chunks = shot.plan_chunks()
        leads = [*(chunk.lead for chunk in chunks[1:]), 0]
        for index, (chunk, following) in enumerate(zip(chunks, leads, strict=True)):
            found.append(Place(shot, index, shot.first + chunk.start, shot.first + chunk.end - following))
    return found


class Decoded:
    """Which chunks are decoded, as the journals say and the arrays bear out: a disk may lose what it said it has.

    Args:
        run: under way.
        arrays: of its scene.
        chunks: of the clip.

    Attributes:
        frames: how many are there.
    """

    def __init__(self, run: RunFolder, arrays: Arrays, chunks: list[Place]):
        self._folder, self._arrays, self._chunks = run.folder, arrays, chunks
        with explained(run.folder, REMEDY):
            self._journal, self._ahead = Journal(run.journal), Journal(run.ahead)
            entries = self._journal.entries
            sound = (i for i, entry in enumerate(entries) if not self._sound(entry, i))
            self._journal.keep(next(sound, len(entries)))
        done = len(self._journal.entries)
        self._waiting = {e["chunk"]: e for e in self._ahead.entries if self._sound(e) and e["chunk"] >= done}
        self.frames = sum(e["end"] - e["start"] for e in (*self.entries, *self._waiting.values()))
        with explained(run.folder, REMEDY):
            self._settle()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Of the chunks up to the first that is missing, in order."""
        return self._journal.entries

    def missing(self) -> list[int]:
        """Numbers of the chunks that are not decoded."""
        return [i for i in range(len(self.entries), len(self._chunks)) if i not in self._waiting]

    def parts(self) -> dict[int, int]:
        """How many frames at a time chunks were decoded in, by their number, where memory was short."""
        return {e["chunk"]: e["most"] for e in (*self.entries, *self._waiting.values()) if "most" in e}

    def add(self, entry: dict[str, Any]) -> None:
        """Note that a chunk is there.

        Raises:
            WriteError: where the disk refuses.
        """
        self._waiting[entry["chunk"]] = entry
        self.frames += entry["end"] - entry["start"]
        with explained(self._folder, REMEDY):
            if entry["chunk"] != len(self.entries):
                self._ahead.append(entry)
            self._settle()

    def _settle(self) -> None:
        """Those whose turn has come go into the journal."""
        while (entry := self._waiting.pop(len(self.entries), None)) is not None:
            self._journal.append(entry)

    def _sound(self, entry: dict[str, Any], index: int | None = None) -> bool:
        try:
            number = entry["chunk"]
            chunk = self._chunks[number]
            if number != (number if index is None else index) or number < 0:
                return False
            if (entry["start"], entry["end"]) != (chunk.start, chunk.end):
                return False
            if len(entry["theta"]) != chunk.end - chunk.start or not isinstance(entry.get("most", 1), int):
                return False
            return bool(self._arrays.digest(chunk.start, chunk.end) == entry["digest"])
        except (KeyError, TypeError, ValueError, IndexError, OSError, RuntimeError):  # whatever a torn chunk raises
            return False


def stretches(numbers: list[int], chunks: list[Place], hands: int) -> Iterator[tuple[int, int]]:
    """Chunks that follow each other in one shot, as first and end, about evenly for so many hands.

    The first of each is faded with the one before it, which is decoded once more for that: there are as few as keep
    all hands busy to the end.

    Args:
        numbers: of the chunks that are to be decoded.
        chunks: of the clip.
        hands: that decode at the same time.
    """
    most = len(numbers)
    if hands > 1:
        most = -(-len(numbers) // (hands * max(1, min(4, len(numbers) // (16 * hands)))))
    first = end = -1
    for number in numbers:
        if number != end or chunks[number].shot != chunks[first].shot or number - first == most:
            if end >= 0:
                yield first, end
            first = number
        end = number + 1
    if end >= 0:
        yield first, end
