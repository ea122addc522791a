"""A run under way, on disk: what it depends on, and what each pass has left for those after it.

NAME.gc/
  work/identity.json                 the run's record
  work/observed_000000.safetensors   a batch of a shot's frames: prior, latents, embeddings, statistics, digests
  work/observed.json                 how many frames, and where shots begin; the video has been read to its end
  work/conditioned_000000...         latents of the prior, a batch
  work/window_000000...              latents of a window, joined to the one before
  work/apart_000000...               the same before that is done, where several processes denoise
  work/ahead.jsonl                   what several processes have decoded after what is not there yet
  journal.jsonl                      what has been decoded, beside the scene's arrays

Files are numbered by their first frame. They appear whole, so that a run that is killed at any moment goes on from
what is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.files import appearing, explained, remove, sweep_folder, write_json
from geometrycrafter.inference.conditioning import FrameStatistics
from geometrycrafter.inference.record import RunRecord
from geometrycrafter.inference.shot import Shot
from geometrycrafter.scene.shots import spans_of
from geometrycrafter.video.bars import Box

LARGE_FRAME = 2**21
"""Pixels; eight of so large frames are decoded together, and fewer of larger ones."""
REMEDY = "make room, then go on with --resume"


class OtherFramesError(InputError):
    """The video is another than the one that the run to resume was reading."""


@dataclass(frozen=True)
class Series:
    """Files of named tensors, numbered by the frame that each begins with, each of them whole or not there.

    Args:
        folder: of the run's work.
        name: of the files.
    """

    folder: Path
    name: str

    def _file(self, first: int) -> Path:
        return self.folder / f"{self.name}_{first:06d}.safetensors"

    def firsts(self) -> list[int]:
        """The first frames of all files, in order; whole or not."""
        named = re.compile(rf"{self.name}_(\d+)\.safetensors")
        return sorted(int(found[1]) for p in self.folder.iterdir() if (found := named.fullmatch(p.name)))

    def remove(self, first: int) -> None:
        """A file goes."""
        self._file(first).unlink(missing_ok=True)

    def __contains__(self, first: int) -> bool:
        """Whether a file is there and whole: a power cut may have torn it."""
        try:
            with safe_open(self._file(first), framework="pt"):
                return True
        except (OSError, SafetensorError):
            return False

    def save(self, first: int, **tensors: Tensor) -> None:
        """Write a file of tensors of any shape ``[...]``.

        Raises:
            WriteError: where the disk refuses.
        """
        ready = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        scene = self.folder.parent
        with explained(scene, REMEDY), appearing(self._file(first)) as temporary:
            try:
                save_file(ready, temporary)
            except SafetensorError as error:  # its own words for what the system said
                raise WriteError(f"{scene}: writing failed ({reason(error)}); {REMEDY}.") from error

    def load(self, first: int, *names: str) -> tuple[Tensor, ...]:
        """Some tensors ``[...]`` of a file; the others are not read.

        Raises:
            InputError: where the file is gone or damaged.
        """
        file = self._file(first)
        try:
            with safe_open(file, framework="pt") as stored:
                return tuple(stored.get_tensor(n) for n in names)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file}: the file is damaged ({reason(error)}); remove it and --resume.") from error


@dataclass(frozen=True)
class ObservedFrames:
    """What is known of a batch's frames beside their tensors."""

    statistics: list[FrameStatistics]
    times: list[float]
    """Seconds from the video's start."""
    digests: list[bytes]
    """Of each frame's pixels: a run is only gone on with on the same frames."""
    pictures: list[Box]
    """What of each frame was no bar."""
    view: list[int]
    """What the networks saw of their shot: :attr:`View.stored`."""

    def tensors(self) -> dict[str, Tensor]:
        """As they are stored: ``[N, 5]``, ``[N]``, ``[N, 32]``, ``[N, 4]`` and ``[6]``."""
        return {
            "statistics": torch.tensor([astuple(s) for s in self.statistics], dtype=torch.float64),
            "times": torch.tensor(self.times, dtype=torch.float64),
            "digests": torch.tensor([list(d) for d in self.digests], dtype=torch.uint8),
            "pictures": torch.tensor(self.pictures, dtype=torch.int64),
            "view": torch.tensor(self.view, dtype=torch.int64),
        }

    @classmethod
    def of(cls, statistics: Tensor, times: Tensor, digests: Tensor, pictures: Tensor, view: Tensor) -> ObservedFrames:
        """From ``[N, 5]``, ``[N]``, ``[N, 32]``, ``[N, 4]`` and ``[6]``."""
        return cls(
            [FrameStatistics(*row) for row in statistics.tolist()],
            times.tolist(),
            [bytes(d) for d in digests.tolist()],
            [Box(*row) for row in pictures.tolist()],
            view.tolist(),
        )


class RunFolder:
    """One run's folder.

    Args:
        folder: of the scene that it makes.
        record: what it depends on.
    """

    def __init__(self, folder: Path, record: RunRecord):
        self.folder, self.record = folder, record
        work = folder / "work"
        self._work = work
        self.observed = Series(work, "observed")
        self.conditioned = Series(work, "conditioned")
        self.windows = Series(work, "window")
        self.apart = Series(work, "apart")

    @classmethod
    def create(cls, folder: Path, record: RunRecord) -> RunFolder:
        """Begin a run. Its folder appears with its record in it; an unfinished run that was there goes.

        Raises:
            WriteError: where it can't be made.
        """
        run = cls(folder, record)
        empty = folder.is_dir() and not any(folder.iterdir())
        # An empty folder stays the same one: somebody may be standing in it.
        with explained(folder), appearing(run._work if empty else folder) as temporary:
            work = temporary if empty else temporary / "work"
            work.mkdir(parents=True)
            write_json(work / "identity.json", record.to_json(), indent=1)
        return run

    @classmethod
    def open(cls, folder: Path) -> RunFolder | None:
        """The run that was begun in a folder; None where there is none that this version can go on with."""
        try:
            record = RunRecord.from_json(json.loads((folder / "work" / "identity.json").read_bytes()))
        except (OSError, ValueError):
            return None
        return None if record is None else cls(folder, record)

    def keep_record(self, record: RunRecord) -> None:
        """Write down what the run depends on, where it goes on with other frames to come.

        Raises:
            WriteError: where the disk refuses.
        """
        self.record = record
        with explained(self.folder, "choose another place"):
            sweep_folder(self._work)
            write_json(self._work / "identity.json", record.to_json(), indent=1)

    @property
    def journal(self) -> Path:
        """A line for every chunk that is decoded, in order."""
        return self.folder / "journal.jsonl"

    @property
    def ahead(self) -> Path:
        """The same of chunks that were decoded before one of those before them was."""
        return self._work / "ahead.jsonl"

    @property
    def batch(self) -> int:
        """Frames that are observed together: fewer where they are very large."""
        pixels = self.record.height * self.record.width
        return max(1, min(self.record.options.decode_chunk, 8 * LARGE_FRAME // pixels))

    @property
    def small_size(self) -> tuple[int, int]:
        """Height and width of the small frames that the scene keeps: the processing size, and the bars around it.

        Of shots that differ in it, the largest.
        """
        whole = self.record.height, self.record.width
        sizes = []
        for picture, size in self.record.views:
            height, width = (round(w * s / p) for w, s, p in zip(whole, size, picture.size, strict=True))
            sizes.append((height, width))
        return max(sizes, key=lambda size: size[0] * size[1])

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return any(first in self.observed for first in self.observed.firsts())

    @property
    def shots(self) -> list[Shot] | None:
        """Those of the clip, once the video has been read to its end.

        None, too, where that is not borne out by the batches that are there: the video is read again then.
        """
        try:
            noted = json.loads((self._work / "observed.json").read_bytes())
            frames, firsts = noted["frames"], noted["shots"]
            shots = [Shot(self, *span) for span in spans_of(firsts, frames)]
            last = shots[-1].batches[-1]
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None
        if last not in self.observed or self.observed.firsts()[-1] != last:
            return None
        return shots if len(self.known(last).times) == frames - last else None

    def keep_shots(self, firsts: Sequence[int], frames: int) -> None:
        """Note that all frames are observed, and where shots begin; batches of other shots go.

        Args:
            firsts: frames of the shots.
            frames: of the clip.

        Raises:
            WriteError: where the disk refuses.
        """
        wanted = {first for span in spans_of(firsts, frames) for first in Shot(self, *span).batches}
        with explained(self.folder, REMEDY):
            for first in set(self.observed.firsts()) - wanted:
                self.observed.remove(first)
            write_json(self._work / "observed.json", {"frames": frames, "shots": list(firsts)})

    def known(self, first: int) -> ObservedFrames:
        """What is known of an observed batch."""
        return ObservedFrames.of(*self.observed.load(first, "statistics", "times", "digests", "pictures", "view"))

    def read_shots(self) -> list[Shot]:
        """Those of a video that has been read to its end.

        Raises:
            InputError: where it hasn't been.
        """
        shots = self.shots
        if shots is None:
            raise InputError(f"{self.folder}: the video has not been read to its end; observe it first.")
        return shots

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what only passes need from a finished scene's folder."""
        remove(folder / "work")


def record_of(attributes: dict[str, Any] | None) -> RunRecord | None:
    """The record of a finished scene's run; None where another program or version made it."""
    return RunRecord.from_json((attributes or {}).get("run"))
