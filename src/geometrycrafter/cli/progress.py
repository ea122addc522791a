"""How far a command is: a bar on a terminal, a line now and then elsewhere; on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

SECONDS = 10.0
"""Between lines where there is no terminal."""


class ProgressBar:
    """Stage, how many are done of how many, the rate and the time left. Called as ``bar(stage, done, total)``.

    Args:
        title: of the lines where there is no terminal: the video, say.
        unit: what is counted.
    """

    def __init__(self, title: str = "", unit: str = "frames"):
        self.title, self.unit = title, unit
        self.stage = ""
        self.began = self.said = time.monotonic()
        self.first = 0
        self.bar = _bar()
        self.task: Any = None

    def __enter__(self) -> ProgressBar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != self.stage:
            self._begin(stage, total)
        now = time.monotonic()
        spent = max(now - self.began, 1e-6)
        rate = f"{(done - self.first) / spent:.1f} {self.unit}/s" if done > self.first and spent > 0.05 else ""
        if self.first == 0:
            self.first = done  # what was there before the first call has cost no time
        if self.bar:
            self.bar.update(self.task, completed=done, total=total, rate=rate)
        elif done == total or now - self.said > SECONDS:
            self.said = now
            of = f"{done}/{total}" if total is not None else f"{done}"
            name = f"{self.title}: {stage}" if self.title else stage
            print(f"{name} {of}  {rate}".rstrip(), file=sys.stderr, flush=True)

    def _begin(self, stage: str, total: int | None) -> None:
        self.stage, self.began, self.first = stage, time.monotonic(), 0
        if self.bar:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task = self.bar.add_task(stage, total=total, rate="")


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of one stage; called with how many are done, and of how many."""
    with ProgressBar(unit=what) as bar:
        yield lambda done, total: bar(what, done, total)


def _bar() -> Any:
    """Rich's bar; None where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    counts, rate = MofNCompleteColumn(), TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), counts, rate, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
