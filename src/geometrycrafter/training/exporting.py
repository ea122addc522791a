"""A run's network goes into the hub once, however often the run is killed or started again.

Several runs may write the same part of a hub one after the other. A run therefore notes what it is about to write, and
over what, before its last checkpoint, and that it is written after; started again, it can tell its own work from that
of a later run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import explained, fingerprint, write_json
from geometrycrafter.weights.checkpoints import digest, read_tensors
from geometrycrafter.weights.parts import part_of, save_part


@dataclass(frozen=True)
class Note:
    """What a run says of its export."""

    step: int
    """Of the weights."""
    weights: str
    """Their digest."""
    over: str | None
    """Fingerprint of the file that was there before; None: there was none."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of the last validation."""
    done: bool = False


class Export:
    """The way of a run's network into a hub.

    Args:
        folder: of the run.
        hub: that it is for.
        part: its name there.
    """

    def __init__(self, folder: Path, hub: Path, part: str):
        self.hub, self.part = hub, part
        self.file = folder / "exported.json"
        self.target = hub / part_of(part).folder / f"{part_of(part).stem}.safetensors"

    def note(self) -> Note | None:
        """What is noted; None where nothing is.

        Raises:
            InputError: where the note is damaged.
        """
        try:
            return Note(**json.loads(self.file.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.file}: the note is damaged ({reason(error)}); remove it to write the network again."
            ) from error

    def announce(self, step: int, tensors: dict[str, Tensor], scores: dict[str, float]) -> None:
        """Note what will be written, before the checkpoint is kept that it is written from.

        Args:
            step: of the weights.
            tensors: the network's, by name, ``[...]``.
            scores: of the last validation.

        Raises:
            WriteError: where the note can't be written.
        """
        over = fingerprint(self.target) if self.target.exists() else None
        self._keep(Note(step, digest(tensors), over, scores))

    def is_due(self, step: int, checkpoint: Path) -> bool:
        """Whether a run that has come to its last step still has to write its network.

        Args:
            step: of the last checkpoint.
            checkpoint: its file.
        """
        if not self.target.exists():
            return True
        note = self.note()
        if note is None or note.step != step:  # by a program that made no notes: it wrote after its last checkpoint
            return self.target.stat().st_mtime < checkpoint.stat().st_mtime
        if note.done:
            return False
        return fingerprint(self.target) == note.over or digest(read_tensors(self.target)) == note.weights

    def write(self, tensors: dict[str, Tensor], config: Any, record: dict[str, str]) -> None:
        """Write the network into the hub.

        Args:
            tensors: the network's, by name, ``[...]``.
            config: its sizes.
            record: of its making.

        Raises:
            WriteError: where the hub can't be written.
        """
        with explained(self.target, "make room and start again"):
            save_part(self.part, self.hub, tensors, config, record)

    def finish(self) -> None:
        """Note that all is written."""
        note = self.note()
        if note is not None:
            self._keep(replace(note, done=True))

    def _keep(self, note: Note) -> None:
        with explained(self.file, "make room and start again"):
            write_json(self.file, asdict(note), indent=1)
