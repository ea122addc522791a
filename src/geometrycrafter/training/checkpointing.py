"""Checkpoints of training: whole or not at all, the last few and the best; written while training goes on."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.files import appearing, second_name, sweep_folder

_NAME = re.compile(r"step-(\d{9})\.pt")


class Checkpoints:
    """A folder of checkpoints, one of which may be on its way to the disk.

    Args:
        folder: made where it is missing.
        keep: how many of the latest are kept.
    """

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        folder.mkdir(parents=True, exist_ok=True)
        sweep_folder(folder)

    def steps(self) -> list[int]:
        """Steps that there is a checkpoint of, rising."""
        return sorted(int(m[1]) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name)))

    def path(self, step: int) -> Path:
        """Where a step's checkpoint lies."""
        return self.folder / f"step-{step:09d}.pt"

    def save(self, step: int, state: dict[str, Any], best: bool) -> None:
        """Write a checkpoint, then let go of those that are no longer wanted; returns when the disk has it.

        Args:
            step: that it is of.
            state: tensors and plain values.
            best: keep it as ``best.pt`` too.

        Raises:
            WriteError: where it can't be written; those that there are stay.
        """
        self.begin(step, state, best)
        self.wait()

    def begin(self, step: int, state: dict[str, Any], best: bool) -> None:
        """Have a thread do what :meth:`save` does; call :meth:`wait` first, so that no two states are held at a time.

        Args:
            step: that it is of.
            state: tensors and plain values, which nobody changes from now on.
            best: keep it as ``best.pt`` too.

        Raises:
            WriteError: where the one before couldn't be written.
        """
        self.wait()
        # A daemon, as who interrupts a second time wants the end now: what is half written is swept at the next start.
        self._writer = threading.Thread(target=self._write, args=(step, state, best), daemon=True)
        self._writer.start()

    @property
    def failed(self) -> bool:
        """Whether the last checkpoint couldn't be written; :meth:`wait` says why."""
        return self._error is not None

    def wait(self) -> None:
        """Return when no checkpoint is on its way any more.

        Raises:
            WriteError: where it couldn't be written; those that there are stay.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, step: int, state: dict[str, Any], best: bool) -> None:
        """The writer's part; its error is for the one who waits."""
        path = self.path(step)
        try:
            with appearing(path) as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
                if best:  # first, as the state says that it was the best: a run that is killed between comes here again
                    with appearing(self.folder / "best.pt") as other:
                        second_name(Path(temporary), other)
            for old in self.steps()[: -self.keep]:
                self.path(old).unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            why = reason(_first_cause(error))
            self._error = WriteError(f"{path}: the checkpoint can't be written ({why}); make room and go on.")
            self._error.__cause__ = error
        except BaseException as error:
            self._error = error

    def read(self, step: int) -> dict[str, Any]:
        """A step's checkpoint, its tensors read from the disk as they are looked at.

        Raises:
            InputError: where it can't be read.
        """
        try:
            path = self.path(step)
            is_text = os.fsencode(path).decode(errors="replace") == str(path)  # PyTorch maps no other names
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=is_text)
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


def _first_cause(error: BaseException) -> BaseException:
    """What the system said, under what others said of it."""
    while error.__context__ is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
