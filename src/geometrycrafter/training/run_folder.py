"""The folder of a training run: one writer, one configuration, a log, pictures."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import explained, locked, write_json
from geometrycrafter.training.config import LoopConfig, as_plain, stored_config_of
from geometrycrafter.video.pictures import write_png

FREE = {
    "steps",
    "workers",
    "tracker",
    "keep",
    "checkpoint_every",
    "checkpoint_seconds",
    "validate_every",
    "broken",
}
"""Settings that a run may go on with changed: they are no part of what a step does."""


class RunFolder:
    """Where a run keeps what it makes.

    Args:
        path: made by :meth:`begin`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.checkpoints = path / "checkpoints"

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder against other runs; raises ``InputError`` where one is under way."""
        return locked(self.path, "a training run")

    def begin(self, config: LoopConfig) -> None:
        """Make the folder, and compare the configuration with the one that its run began with, if there is one.

        Raises:
            InputError: where the folder is held, or its run was begun with other settings.
            WriteError: where no folder can be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: this is a file; give a folder for the run.")
        with explained(self.path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        with self.held():
            self._compare(config)

    def keep(self, config: LoopConfig) -> None:
        """Write the configuration down as the run's own, once it is known that a run can begin with it.

        Raises:
            InputError: where the folder is held, or its run was begun with other settings.
            WriteError: where it can't be written.
        """
        with self.held():
            self._compare(config)
            with explained(self.config):
                write_json(self.config, as_plain(config), indent=1)

    def forget(self) -> None:
        """Let go of the configuration of a run that has nothing to go on from: it can begin with another one."""
        if not any(self.checkpoints.glob("step-*.pt")):
            self.config.unlink(missing_ok=True)

    def _compare(self, config: LoopConfig) -> None:
        file, stage, plain = self.config, config.stage, as_plain(config)
        if not file.exists():
            return
        try:
            stored = dict(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{file}: this is no configuration ({reason(error)}); train in a new folder.") from error
        if stored.get("stage") != stage:
            raise InputError(f"{self.path}: a run of stage {stored.get('stage')} lies here; train in a new folder.")
        # A setting that came later was at its default then.
        before = as_plain(stored_config_of(stored, str(file)))
        for key in plain:
            if plain[key] != before.get(key) and key not in FREE:
                raise InputError(
                    f"{self.path}: the run was begun with another {key} ({before.get(key)!r}); "
                    "give it back, or train in a new folder."
                )

    def log(self, row: dict[str, float]) -> None:
        """Add a line to ``log.jsonl``; raises ``WriteError`` where that fails."""
        file = self.path / "log.jsonl"
        with explained(file, "make room and start again"), open(file, "a") as lines:
            lines.write(json.dumps(row) + "\n")

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """Keep a validation's sheet ``[H, W, 3]`` uint8; raises ``WriteError`` where that fails."""
        folder = self.path / "pictures"
        with explained(folder, "make room and start again"):
            folder.mkdir(exist_ok=True)
            write_png(folder / f"step-{step:09d}.png", pixels)
