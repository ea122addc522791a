"""How far a command is: a bar on a terminal, a line now and then elsewhere; on stderr."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from geometrycrafter.cli.memory_in_use import memory_in_use
from geometrycrafter.cli.time_left import TimeLeft

SECONDS = 10.0
"""Between lines where there is no terminal."""


SLOW = 0.3
"""Of what is counted a second: below that, seconds say more."""


@dataclass(frozen=True)
class Step:
    """How far a command is."""

    stage: str
    done: int
    total: int | None
    rate: float | None
    """What is counted, a second; None where too little was done."""
    left: float | None
    """Seconds until the end of all stages; None where that can't be said yet."""
    memory: float
    """Megabytes that the process holds, and on a GPU its tensors."""

    def told(self, unit: str) -> str:
        """Rate, time left and memory in words."""
        rate = "" if self.rate is None else f"{self.rate:.1f} {unit}/s"
        if self.rate is not None and self.rate < SLOW:
            rate = f"{1 / self.rate:.0f} s for each of the {unit}"
        left = "" if self.left is None else f"{told_seconds(self.left)} left"
        return ", ".join(filter(None, (rate, left, f"{self.memory:,.0f} MB")))


class Pace:
    """Measures the steps of a command. Called as ``pace(stage, done, total)``.

    Args:
        expected: of one frame by stage, in order: see :class:`TimeLeft`; none: only the stage under way is known.
    """

    def __init__(self, expected: Mapping[str, float] | None = None):
        self.stage = ""
        self.began = time.monotonic()
        self.first = 0
        self.time_left = TimeLeft(expected or {})

    def __call__(self, stage: str, done: int, total: int | None, frames: int | None = None) -> Step:
        """What a stage has done, with its rate and the time left.

        Args:
            stage: its name.
            done: so far.
            total: in all, where known.
            frames: that the rate is of, where what is counted is made of frames.
        """
        if stage != self.stage:
            self.stage, self.began, self.first = stage, time.monotonic(), 0
        spent = max(time.monotonic() - self.began, 1e-6)
        worked = done - self.first if frames is None else frames
        rate = worked / spent if worked > 0 and spent > 0.05 else None
        if self.first == 0:
            self.first = done  # what was there before the first call has cost no time
        return Step(stage, done, total, rate, self.time_left(stage, done, total), memory_in_use())


class ProgressBar:
    """Stage, how many are done of how many, the rate, the time left and memory. Called as ``bar(stage, done, total)``.

    Args:
        title: of the lines where there is no terminal: the video, say.
        unit: what is counted.
        expected: see :class:`Pace`.
    """

    def __init__(self, title: str = "", unit: str = "frames", expected: Mapping[str, float] | None = None):
        self.title, self.unit = title, unit
        self.pace = Pace(expected)
        self.said = time.monotonic()
        self.bar = _bar()
        self.task: Any = None

    def __enter__(self) -> ProgressBar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, stage: str, done: int, total: int | None, frames: int | None = None) -> None:
        """Show how far a stage is; see :class:`Pace`."""
        unit = self.unit if frames is None else "frames"
        if self.bar and stage != self.pace.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task = self.bar.add_task(stage, total=total, told="")
        step = self.pace(stage, done, total, frames)
        now = time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=done, total=total, told=step.told(unit))
        elif done == total or now - self.said > SECONDS:
            self.said = now
            of = f"{done}/{total}" if total is not None else f"{done}"
            name = f"{self.title}: {stage}" if self.title else stage
            print(f"{name} {of}  {step.told(unit)}".rstrip(), file=sys.stderr, flush=True)


def told_seconds(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[..., None]]:
    """A bar of one stage; called with how many are done, of how many, and perhaps the frames that its rate is of."""
    with ProgressBar(unit=what) as bar:
        yield functools.partial(bar, what)


def _bar() -> Any:
    """Rich's bar; None where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    counts, told = MofNCompleteColumn(), TextColumn("{task.fields[told]}")
    return Progress(TextColumn("{task.description}"), BarColumn(), counts, told, console=console, transient=True)
