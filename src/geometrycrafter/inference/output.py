"""The place where a run's scene appears: whose it is, what is there already, and what becomes of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from geometrycrafter.errors import InputError, WriteError
from geometrycrafter.files import TEMPORARY, beside, explained, locked, on_disk, put_in_place, remove, sweep
from geometrycrafter.inference.record import RunRecord, clip_digest, frame_digest
from geometrycrafter.inference.run_folder import OtherFramesError, RunFolder, record_of
from geometrycrafter.inference.workers import LostWorkerError
from geometrycrafter.scene.writer import is_scene, stored_attributes
from geometrycrafter.video.reading import FrameSource


class Output:
    """A scene's folder, before, while and after a run writes it.

    A new run works in the folder itself. One that replaces a finished scene works in a hidden folder beside it,
    ``.NAME.run``, and takes its place when it is finished. There, too, waits what a new run had done when its input
    turned out to be at fault: the name is free again, and ``resume`` goes on from it.

    Args:
        place: of the scene.
        goes: nothing stays there of a run that is broken off.

    Raises:
        InputError: where that is no place on this machine's disk.
    """

    def __init__(self, place: str | os.PathLike[str], goes: bool = False):
        self.named, self.goes = os.fspath(place), goes
        self.folder = Path(os.path.realpath(on_disk(place, "the scene")))  # through links, which stay
        if not self.folder.name:
            raise InputError(f"{self.named}: this is no place for a scene; choose a folder in it.")
        try:
            os.fspath(self.folder).encode()
        except UnicodeEncodeError as error:  # libraries that write there take text
            raise InputError(f"{self.named}: the name is no UTF-8; choose another.") from error
        self.waiting = beside(self.folder, "run")

    @classmethod
    def temporary(cls) -> Output:
        """A folder for temporary files.

        Raises:
            WriteError: where none can be made.
        """
        with explained(tempfile.gettempdir(), "set TMPDIR to a folder with room"):
            return cls(tempfile.mkdtemp(prefix="geometrycrafter-", suffix=".gc"), goes=True)

    def holds(self, record: RunRecord) -> bool:
        """Whether the finished scene of a run is there."""
        attributes = stored_attributes(self.folder)
        return bool(attributes and attributes.get("complete")) and record_of(attributes) == record

    def record(self) -> RunRecord | None:
        """Of the run that can be gone on with, or is finished; None where there is none."""
        for folder in (self.waiting, self.folder):
            if (run := RunFolder.open(folder)) is not None:
                return run.record
        return record_of(stored_attributes(self.folder))

    def tidy(self) -> None:
        """Remove what only passes need: the scene is finished."""
        RunFolder.clear(self.folder)

    def check_frames(self, source: FrameSource) -> None:
        """Compare the finished scene with the frames of an iterator, which nothing else tells apart.

        Raises:
            InputError: where they are others.
        """
        stored = (stored_attributes(self.folder) or {}).get("frames_digest")
        if stored != clip_digest(frame_digest(frame) for frame in source):
            raise InputError(
                f"{self.named}: the scene there is finished and was made of other frames; "
                "give the same, another output, or --overwrite."
            )

    def check(self, resume: bool, overwrite: bool) -> None:
        """Refuse a place that can't become a scene, or that holds one which is not to be touched.

        Args:
            resume: what is there is gone on with.
            overwrite: it is replaced.

        Raises:
            InputError: where it is so.
        """
        with explained(self.named):
            here = self._here()
        if not here:
            return
        if not self.folder.is_dir():
            raise InputError(f"{self.named}: the output is a file; a scene is a folder, choose another name.")
        if not is_scene(self.folder):
            raise InputError(f"{self.named}: the folder holds other files than a scene; choose another output.")
        if not resume and not overwrite:
            raise InputError(f"{self.named}: the output exists; add --overwrite to replace it or --resume to go on.")

    def _check_record(self, record: RunRecord) -> None:
        """Refuse to go on with another run than the one that is there."""
        if self._here() and not self._finished():
            self._compare(RunFolder.open(self.folder), record)
        elif self.waiting.exists():
            self._compare(RunFolder.open(self.waiting), record)
        elif self._here() and (made_by := record_of(stored_attributes(self.folder))) != record:
            changed = made_by.differences(record) if made_by else ["version of the program"]
            raise InputError(
                f"{self.named}: the scene there is finished and was made with another {_listed(changed)}; "
                "give the same arguments, another output, or --overwrite."
            )

    @contextlib.contextmanager
    def writing(self, record: RunRecord, resume: bool = False, overwrite: bool = False) -> Iterator[RunFolder]:
        """A folder to run in, which becomes the scene when the block ends.

        A run that the block breaks off stays, to be gone on with, unless it had not done anything yet.

        Args:
            record: what the run depends on.
            resume: go on with what is there.
            overwrite: replace what is there.

        Raises:
            InputError: where something else than a scene is there; where a scene is, and neither is asked for; where
                what is there can't be gone on with, since another run made it; where another process writes there.
            WriteError: where the place can't be written.
        """
        self.check(resume, overwrite)
        with explained(self.named):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, "a run"):
            sweep(self.folder)
            self.check(resume, overwrite)  # again, now that nobody else writes there
            if resume:
                self._check_record(record)
            empty = self.folder.is_dir() and not self._here()
            run, resumed = self._begin(record, resume)
            try:
                yield run
            except BaseException as error:
                try:
                    self._broken_off(run, resumed, error)
                finally:
                    if empty and not self.goes:
                        self.folder.mkdir(exist_ok=True)  # it was there before
                raise
            if run.folder != self.folder:
                with explained(self.named):
                    put_in_place(run.folder, self.folder)
            self.tidy()
            remove(self.waiting)

    def _begin(self, record: RunRecord, resume: bool) -> tuple[RunFolder, bool]:
        """The run to go on with, or a new one, and which of the two it is."""
        if resume:
            if self.waiting.exists() and not self._here():
                with explained(self.named):
                    put_in_place(self.waiting, self.folder)
            for folder in (self.waiting, self.folder):
                run = RunFolder.open(folder)
                if run is not None:
                    run.keep_record(record)
                    return run, True
        remove(self.waiting)
        replaced = self._here() and self._finished()
        return RunFolder.create(self.waiting if replaced else self.folder, record), False

    def _broken_off(self, run: RunFolder, resumed: bool, error: BaseException) -> None:
        """What becomes of a run that did not get to its end."""
        at_fault = isinstance(error, InputError) and not isinstance(
            error, WriteError | OtherFramesError | LostWorkerError
        )
        if self.goes or not (resumed or run.begun):
            remove(run.folder)
            return
        kept = run.folder
        if at_fault and not resumed and kept == self.folder:
            with contextlib.suppress(OSError):
                put_in_place(kept, self.waiting)
                kept = self.waiting
        if at_fault:
            raise InputError(
                f"{str(error).rstrip('.')}; what was done is kept in {kept}: go on from it with --resume, or remove it."
            ) from error

    def _here(self) -> bool:
        """Whether anything is there; what a process that is gone was about to write is nothing."""
        if not self.folder.is_dir():
            return self.folder.exists()
        return any(TEMPORARY.fullmatch(p.name) is None for p in self.folder.iterdir())

    def _finished(self) -> bool:
        return bool((stored_attributes(self.folder) or {}).get("complete"))

    def _compare(self, run: RunFolder | None, record: RunRecord) -> None:
        if run is None:
            raise InputError(f"{self.named}: there is no run to go on with; add --overwrite to begin anew.")
        changed = run.record.differences(record, observing=run.shots is None)
        if changed:
            raise InputError(
                f"{self.named}: the run to resume had another {_listed(changed)}; give the same arguments "
                "or --overwrite."
            )


def _listed(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
