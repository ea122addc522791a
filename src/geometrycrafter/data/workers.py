"""Jobs spread over processes, their results in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from geometrycrafter.errors import InputError

T = TypeVar("T")


def in_order(function: Callable[..., T], jobs: Iterable[tuple[Any, ...]], processes: int) -> Iterator[T]:
    """What a function makes of each job's arguments, in order; a few jobs are done ahead of the one that is awaited.

    Every process has one thread, so that a job's result does not depend on how many there are.

    Args:
        function: of a module's top level; it and what it returns travel between processes.
        jobs: its arguments, job by job.
        processes: how many; 1: this one.

    Raises:
        InputError: where a process was ended from outside, and whatever the function raises.
    """
    if processes == 1:
        for job in jobs:
            with _one_thread():
                result = function(*job)
            yield result
        return
    ahead: deque[Future[T]] = deque()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            for job in jobs:
                ahead.append(pool.submit(function, *job))
                if len(ahead) > 2 * processes:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                f"--processes {processes}: one of them was ended from outside, by the system if memory ran out; give "
                "fewer, and go on with the same command."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin() -> None:
    """Set up a worker: one thread; it goes without a word on Ctrl-C, and with the process that began it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
