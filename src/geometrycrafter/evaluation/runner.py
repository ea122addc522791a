"""Every method on every clip, one row each; rows are files, so that an evaluation goes on where it was killed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.evaluation import metrics
from geometrycrafter.evaluation.clips import ClipReference
from geometrycrafter.evaluation.engines import Engine, LocalEngine
from geometrycrafter.evaluation.measure import measure
from geometrycrafter.evaluation.methods import Method, Predictor
from geometrycrafter.evaluation.protocols import PROTOCOLS
from geometrycrafter.files import explained, locked, write_json
from geometrycrafter.version import program_version


class Row(TypedDict):
    """What is kept of one method on one clip."""

    identity: dict[str, Any]
    """What the figures depend on; a row with another one is computed anew."""
    method: str
    clip: str
    frames: int
    size: list[int]
    """Height and width."""
    seconds_a_frame: float
    figures: dict[str, float | None]


class Failure(TypedDict):
    """Why a method has no row of a clip."""

    method: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What came of methods on clips."""

    rows: list[Row]
    """By method, then clip."""
    failures: list[Failure]


@dataclass(frozen=True)
class Task:
    """One method on one clip that is to be judged."""

    method: Method
    identity: dict[str, Any]
    """Of the row."""


@dataclass(frozen=True)
class Job:
    """A clip, and the methods that look at it one after another, so that it is loaded once."""

    clip: ClipReference
    tasks: tuple[Task, ...]


def evaluate(
    methods: Sequence[Method],
    clips: Sequence[ClipReference],
    folder: Path,
    engine: Engine | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, int], None] | None = None,
) -> Evaluation:
    """Judge methods on clips. A clip that can't be judged does not keep the others from it.

    Args:
        methods: which.
        clips: of one protocol.
        folder: rows go to ``rows/METHOD/CLIP.json`` below it; those that are there already, made of the same files in
            the same way, are kept.
        engine: runs the jobs; None: this process.
        device: of networks.
        progress: called with rows done, rows in all, and the frames that were judged for those done by this call.

    Raises:
        InputError: where a method's weights are missing or not as they should be, or another evaluation writes into
            the folder.
        WriteError: where a row can't be written.
    """
    identities = [m.identity for m in methods]  # missing weights stop here
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "an evaluation"):
        jobs, failures = _left(methods, identities, clips, folder)
        total = len(methods) * len(clips)
        done, frames = total - sum(len(j.tasks) for j in jobs), 0
        if progress is not None:
            progress(done, total, frames)
        try:
            for outcome in (engine or LocalEngine())(Judge(folder, device), jobs):
                done += 1
                if isinstance(outcome, int):
                    frames += outcome
                else:
                    failures.append(outcome)
                if progress is not None:
                    progress(done, total, frames)
        finally:
            _prepared.cache_clear()
        failed = {(f["method"], f["clip"]) for f in failures}
        rows = [_stored(folder, m.name, c.name) for m in methods for c in clips if (m.name, c.name) not in failed]
        return Evaluation([row for row in rows if row is not None], failures)


def _left(
    methods: Sequence[Method], identities: Sequence[dict[str, Any]], clips: Sequence[ClipReference], folder: Path
) -> tuple[list[Job], list[Failure]]:
    """What is still to be judged, clip by clip, so that a killed run leaves whole lines of the table; and the clips
    whose files can't even be looked at."""
    jobs: list[Job] = []
    failures: list[Failure] = []
    for clip in clips:
        try:
            content = clip.content()
        except InputError as error:
            failures += [_failure(method, clip, error) for method in methods]
            continue
        tasks = []
        for method, identity in zip(methods, identities, strict=True):
            try:
                whole = row_identity(clip, content, method, identity)
            except InputError as error:
                failures.append(_failure(method, clip, error))
                continue
            row = _stored(folder, method.name, clip.name)
            if row is None or row["identity"] != whole:
                tasks.append(Task(method, whole))
        if tasks:
            jobs.append(Job(clip, tuple(tasks)))
    return jobs, failures


def row_identity(clip: ClipReference, content: str, method: Method, identity: dict[str, Any]) -> dict[str, Any]:
    """What the figures of a method on a clip depend on, as JSON gives it back.

    Files count by what is in them, not by where they are.
    """
    whole = {
        "protocol": PROTOCOLS[clip.protocol].title,
        "metrics": metrics.VERSION,
        "geometrycrafter": program_version(),
        "clip": {"name": clip.name, "stride": clip.stride, "frames": clip.frames, "content": content},
        "method": identity | {"predictions": method.content(clip.name)},
    }
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    return plain


@dataclass(frozen=True)
class Judge:
    """Judges the methods of a job, and keeps each row as soon as it is there.

    Attributes:
        folder: rows go below it.
        device: of networks.
    """

    folder: Path
    device: str = "cpu"

    def __call__(self, job: Job) -> Iterator[Failure | int]:
        """For each method how many frames were judged, or why it has no row.

        Raises:
            InputError: where weights are not as they should be; this concerns all clips.
            WriteError: where a row can't be written.
        """
        # All weights before the first clip, so that damaged ones don't come to light after hours of others.
        ready = [_prepared(t.method, self.device, json.dumps(t.identity["method"].get("weights"))) for t in job.tasks]
        try:
            clip = job.clip.load()
        except InputError as error:
            yield from (_failure(t.method, job.clip, error) for t in job.tasks)
            return
        for task, predict in zip(job.tasks, ready, strict=True):
            try:
                row = _judged(task, job.clip, clip, predict)
            except WriteError:
                raise
            except (InputError, OSError, RuntimeError, MemoryError, ArithmeticError, np.linalg.LinAlgError) as error:
                yield _failure(task.method, job.clip, error)
            else:
                path = _path(self.folder, task.method.name, job.clip.name)
                with explained(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, row, indent=1)
                yield row["frames"]


@lru_cache(maxsize=16)
def _prepared(method: Method, device: str, weights: str) -> Predictor:
    """A method with its weights loaded, once a process; those of one evaluation stay in memory together."""
    return method.prepare(device)


def _judged(task: Task, reference: ClipReference, clip: Clip, predict: Predictor) -> Row:
    protocol = PROTOCOLS[reference.protocol]
    prediction = predict(clip, reference.name, protocol)
    figures = measure(clip, prediction, protocol)
    return {
        "identity": task.identity,
        "method": task.method.name,
        "clip": reference.name,
        "frames": len(clip),
        "size": list(clip.depth.shape[1:]),
        "seconds_a_frame": prediction.seconds / len(clip),
        "figures": {k: (None if not np.isfinite(v) else round(float(v), 8)) for k, v in figures.items()},
    }


def _failure(method: Method, clip: ClipReference, error: BaseException) -> Failure:
    # What others raise says little without its kind: MemoryError has no words at all.
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {reason(error)}"
    return {"method": method.name, "clip": clip.name, "reason": text}


def _path(folder: Path, method: str, clip: str) -> Path:
    """Of a row; names that a file can't have are told apart by a digest."""
    plain = "".join(c if c.isalnum() or c in "-._+" else "_" for c in method)
    if plain != method:
        plain += f"-{hashlib.sha256(os.fsencode(method)).hexdigest()[:8]}"
    return folder / "rows" / plain / f"{clip}.json"


def _stored(folder: Path, method: str, clip: str) -> Row | None:
    """The row that is there; None where there is none."""
    try:
        row: Row = json.loads(_path(folder, method, clip).read_text())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and {"identity", "figures"} <= row.keys() else None
