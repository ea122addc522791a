"""Checkpoints of training: whole or not at all, the last few and the best."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.files import appearing, second_name, sweep_folder

_NAME = re.compile(r"step-(\d{9})\.pt")


class Checkpoints:
    """A folder of checkpoints.

    Args:
        folder: made where it is missing.
        keep: how many of the latest are kept.
    """

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep
        folder.mkdir(parents=True, exist_ok=True)
        sweep_folder(folder)

    def steps(self) -> list[int]:
        """Steps that there is a checkpoint of, rising."""
        return sorted(int(m[1]) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name)))

    def path(self, step: int) -> Path:
        """Where a step's checkpoint lies."""
        return self.folder / f"step-{step:09d}.pt"

    def save(self, step: int, state: dict[str, Any], best: bool) -> None:
        """Write a checkpoint, then let go of those that are no longer wanted.

        Args:
            step: that it is of.
            state: tensors and plain values.
            best: keep it as ``best.pt`` too.

        Raises:
            WriteError: where it can't be written; those that there are stay.
        """
        path = self.path(step)
        try:
            with appearing(path) as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
                if best:  # first, as the state says that it was the best: a run that is killed between comes here again
                    with appearing(self.folder / "best.pt") as other:
                        second_name(Path(temporary), other)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise WriteError(
                f"{path}: the checkpoint can't be written ({reason(error)}); make room and go on."
            ) from error
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink(missing_ok=True)

    def read(self, step: int) -> dict[str, Any]:
        """A step's checkpoint.

        Raises:
            InputError: where it can't be read.
        """
        try:
            found: dict[str, Any] = torch.load(self.path(step), map_location="cpu", weights_only=True)
        except Exception as error:  # a file of anything raises anything
            raise InputError(f"{self.path(step)}: the checkpoint can't be read ({reason(error)}).") from error
        return found

    def load(self) -> dict[str, Any] | None:
        """The latest checkpoint that can be read; None where there is none.

        Raises:
            InputError: where there are checkpoints and not one can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.read(step)
            except InputError:  # the one before may be whole
                continue
        if steps:
            raise InputError(f"{self.folder}: no checkpoint can be read; remove the folder to begin anew.")
        return None
