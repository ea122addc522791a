"""Every method on every clip, one row each; rows are files, so that an evaluation goes on where it was killed."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from typing import Protocol as TypingProtocol

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation import metrics
from geometrycrafter.evaluation.clips import ClipReference, true_points
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.methods import Method, Prediction, predict
from geometrycrafter.evaluation.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True)
class Job:
    """One method on one clip."""

    method: Method
    clip: ClipReference
    device: str = "cpu"

    @property
    def identity(self) -> dict[str, Any]:
        """What the figures depend on; a row with another one is computed anew."""
        return {
            "protocol": PROTOCOLS[self.clip.protocol].title,
            "clip": self.clip.name,
            "stride": self.clip.stride,
            "frames": self.clip.frames,
            "method": asdict(self.method),
            "version": version("geometrycrafter"),
        }


class Engine(TypingProtocol):
    """Where jobs run: here, in many processes, or on other machines."""

    def __call__(self, work: Callable[[Job], dict[str, Any]], jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
        """Results in the order of the jobs."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """In this process, or in several on this machine.

    Attributes:
        processes: how many; each has its share of the cores.
    """

    processes: int = 1

    def __call__(self, work: Callable[[Job], dict[str, Any]], jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
        if self.processes == 1:
            yield from map(work, jobs)
            return
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.processes, context, initializer=_use_threads, initargs=(threads,)) as pool:
            yield from pool.map(work, jobs)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


ENGINES: dict[str, Callable[[int], Engine]] = {"local": LocalEngine}
"""By the name of the ``--engine`` switch; each is made with a number of processes."""


def evaluate(
    methods: Sequence[Method],
    clips: Sequence[ClipReference],
    folder: Path,
    engine: Engine | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Judge methods on clips.

    Args:
        methods: which.
        clips: of one protocol.
        folder: rows go to ``rows/METHOD/CLIP.json`` below it; those that are there already are kept.
        engine: runs the jobs; None: this process.
        device: of networks.
        progress: called with rows done and rows in all.

    Returns:
        the rows, by method, then clip.

    Raises:
        InputError: where a clip can't be read, or a prediction does not fit it.
    """
    jobs = [Job(m, c, device) for m in methods for c in clips]
    left = [j for j in jobs if _row(folder, j) is None]
    # Clip by clip, so that a killed run leaves whole lines of the table.
    left.sort(key=lambda j: [c.name for c in clips].index(j.clip.name))
    done = len(jobs) - len(left)
    if progress is not None:
        progress(done, len(jobs))
    for job, row in zip(left, (engine or LocalEngine())(judge, left), strict=True):
        path = _path(folder, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(row, indent=1) + "\n")
        temporary.replace(path)
        done += 1
        if progress is not None:
            progress(done, len(jobs))
    rows = [_row(folder, j) for j in jobs]
    return [row for row in rows if row is not None]


def _path(folder: Path, job: Job) -> Path:
    plain = "".join(c if c.isalnum() or c in "-._+" else "_" for c in job.method.name)
    return folder / "rows" / plain / f"{job.clip.name}.json"


def _row(folder: Path, job: Job) -> dict[str, Any] | None:
    """The row of a job, where it is there and was made in the same way."""
    try:
        row: dict[str, Any] = json.loads(_path(folder, job).read_text())
    except (OSError, ValueError):
        return None
    return row if row.get("identity") == json.loads(json.dumps(job.identity)) else None


_LAST: list[tuple[ClipReference, Clip]] = []


def _loaded(reference: ClipReference) -> Clip:
    """A clip; the last one is kept, since methods look at it one after another."""
    if not _LAST or _LAST[0][0] != reference:
        _LAST.clear()
        _LAST.append((reference, reference.load()))
    return _LAST[0][1]


def judge(job: Job) -> dict[str, Any]:
    """Run one method on one clip and measure it."""
    clip = _loaded(job.clip)
    protocol = PROTOCOLS[job.clip.protocol]
    try:
        prediction = predict(job.method, clip, job.clip.name, protocol, job.device)
        figures = measure(clip, prediction, protocol)
    except InputError as error:
        text = str(error)
        raise InputError(text if job.clip.name in text else f"{job.clip.name}: {text}") from error
    return {
        "identity": job.identity,
        "method": job.method.name,
        "clip": job.clip.name,
        "frames": len(clip),
        "size": list(clip.depth.shape[1:]),
        "seconds_a_frame": prediction.seconds / len(clip),
        "figures": {k: (None if not np.isfinite(v) else round(float(v), 8)) for k, v in figures.items()},
    }


def measure(clip: Clip, prediction: Prediction, protocol: Protocol) -> dict[str, float]:
    """All figures of a prediction; not a number where a kind of prediction has none."""
    truth, mask = true_points(clip), clip.mask
    deep = mask & (clip.depth > 1e-3) & (clip.depth < protocol.max_depth)
    figures: dict[str, float] = {}
    depth, disparity, points = prediction.depth, prediction.disparity, prediction.points
    if points is not None:
        depth = FrameSequence(clip.depth.shape, lambda t: np.asarray(points[t])[..., 2])
    scored: dict[str, Any] = {"weighted": protocol.weighted}
    if points is not None and not protocol.depth_only:
        figures |= metrics.score_points(points, truth, mask, **scored)
        for suffix, how in (("frame", {"alignment": "frame"}), ("l1", {"robust": True})):
            found = metrics.score_points(points, truth, mask, **scored, **how)  # type: ignore[arg-type]
            figures |= {f"{k}_{suffix}": found[k] for k in ("point_rel", "point_inlier")}
        figures |= metrics.score_normals(points, truth, mask)
        focal = prediction.focal
        if focal is None:
            focal = np.array([metrics.focal_of_points(np.asarray(points[t]), mask[t]) for t in range(len(clip))])
        figures |= metrics.score_focal(focal, clip.intrinsics)
    elif depth is not None and not protocol.depth_only:
        found = metrics.score_depth(clip.depth, mask, depth=depth, **scored, max_depth=np.inf, shift=False)
        figures |= {"depth_rel": found["depth_rel"], "depth_inlier": found["depth_inlier"]}
    if protocol.depth_only and depth is not None:
        own = depth
        disparity = FrameSequence(clip.depth.shape, lambda t: 1 / np.maximum(np.asarray(own[t], np.float64), 1e-3))
    how_deep: dict[str, Any] = {"disparity": disparity} if disparity is not None else {"depth": depth}
    affine = metrics.score_depth(clip.depth, deep, **how_deep, **scored, max_depth=protocol.max_depth)
    figures |= {"affine_rel": affine["depth_rel"], "affine_inlier": affine["depth_inlier"]}
    figures |= {k: affine[k] for k in ("frames", "empty", "missing") if k not in figures}
    if depth is not None:
        figures |= metrics.score_boundaries(depth, clip.depth, mask)
        if clip.poses is not None and len(clip) > 1:
            args = (depth, clip.depth, mask, clip.intrinsics, clip.poses, clip.dynamic)
            for name, measured in (("flicker", metrics.flicker), ("tae", metrics.temporal_alignment_error)):
                try:
                    figures[name] = measured(*args)
                except InputError:
                    figures[name] = float("nan")  # nothing is seen twice in this clip
    return figures
