"""Checkpoints of training: whole or not at all, the last few and the best."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError, WriteError

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

    def steps(self) -> list[int]:
        """Steps that there is a checkpoint of, rising."""
        return sorted(int(m[1]) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name)))

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.pt"

    def save(self, step: int, state: dict[str, Any], best: bool) -> None:
        """Write a checkpoint, then let go of those that are no longer wanted.

        Raises:
            WriteError: where it can't be written; those that there are stay.
        """
        path = self._path(step)
        temporary = path.with_suffix(".tmp")
        try:
            with open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            if best:
                link = self.folder / "best.tmp"
                link.unlink(missing_ok=True)
                os.link(path, link)
                link.replace(self.folder / "best.pt")
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            temporary.unlink(missing_ok=True)
            raise WriteError(f"{path}: the checkpoint can't be written ({error}); make room and go on.") from error
        for old in self.steps()[: -self.keep]:
            self._path(old).unlink()

    def load(self) -> dict[str, Any] | None:
        """The latest checkpoint that can be read; None where there is none.

        Raises:
            InputError: where there are checkpoints and not one can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return torch.load(self._path(step), map_location="cpu", weights_only=True)
            except Exception:  # a file of anything raises anything; the checkpoint before may be whole
                continue
        if steps:
            raise InputError(f"{self.folder}: no checkpoint can be read; remove the folder to begin anew.")
        return None
