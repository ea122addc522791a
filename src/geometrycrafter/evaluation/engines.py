"""Where clips are judged: here, in many processes, or on other machines."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from geometrycrafter.data.options import Processes
from geometrycrafter.errors import InputError
from geometrycrafter.settings import Settings

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


class Engine(Protocol):
    """Runs work on jobs."""

    def __call__(self, work: Callable[[Job], Iterator[Outcome]], jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes, several a job, in the order of the jobs. The work keeps what it finishes by itself, so that nothing
        is lost where an engine is stopped."""
        ...


@dataclass(frozen=True)
class LocalEngine(Settings):
    """In this process, or in several on this machine."""

    processes: Processes = 1
    """Each has its share of the threads."""

    def __call__(self, work: Callable[[Job], Iterator[Outcome]], jobs: Sequence[Job]) -> Iterator[Outcome]:
        """As in :class:`Engine`.

        Raises:
            InputError: where a process was ended from outside.
        """
        if self.processes == 1:
            for job in jobs:
                yield from work(job)
            return
        threads = max(1, torch.get_num_threads() // self.processes)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.processes, context, initializer=_use_threads, initargs=(threads,)) as pool:
            waiting = [pool.submit(_whole, work, job) for job in jobs]
            try:
                for future in waiting:
                    yield from future.result()
            except BrokenProcessPool as error:
                raise InputError(
                    f"--processes {self.processes}: one of them was ended, perhaps for want of memory; take fewer. "
                    "What is done is kept."
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _whole(work: Callable[[Job], Iterator[Outcome]], job: Job) -> list[Outcome]:
    return list(work(job))


def _use_threads(count: int) -> None:
    torch.set_num_threads(count)


ENGINES: dict[str, Callable[[int], Engine]] = {"local": LocalEngine}
"""By the name of the ``--engine`` switch; each is made with a number of processes."""
