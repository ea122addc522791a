"""Several processes that share a run's work, each with the model on a device of its own.

They share nothing but the run's folder. Jobs go to a process's standard input and what comes of them to its standard
output, both pickled; a process whose input ends, as its parent is gone, ends too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from geometrycrafter.cores import let_threads_sleep
from geometrycrafter.errors import InputError, reason
from geometrycrafter.inference.crew import Equipment, Job

KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
"""For glibc: blocks that networks take over and over stay with the process."""
START = "from geometrycrafter.inference.workers import serve; serve()"


class LostWorkerError(InputError):
    """A process that did a part of the work is gone; what was done is kept."""


@dataclass(frozen=True)
class Model:
    """What a worker loads."""

    root: Path
    variant: str
    dtype: str
    offload: bool
    prior: bytes | None
    """Pickled; None: the one that comes with the weights."""

    def load(self, device: str) -> Equipment:
        """Networks and prior on a device.

        Raises:
            InputError: where they can't be had there.
        """
        import torch

        from geometrycrafter.inference.loading import load

        try:
            prior = None if self.prior is None else pickle.loads(self.prior)
        except Exception as error:  # whatever a class of somebody's raises
            raise InputError(
                f"prior: other processes can't have it ({reason(error)}); define it in a module of its own."
            ) from error
        dtype = getattr(torch, self.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "--dtype")  # that it is slow was told by who asked for it
            estimator = load(self.root, self.variant, prior, device=device, dtype=dtype, offload=self.offload)
        return Equipment(estimator.networks, estimator.prior)


class Workers:
    """A crew of one process a device; they start when they are first wanted, and stay until they are closed.

    Args:
        devices: one for each process.
        model: that each loads.
        threads: of each, on the CPU.
    """

    def __init__(self, devices: list[str], model: Model, threads: int):
        self.devices, self.model, self.threads = devices, model, threads
        self._workers: list[_Worker] = []
        self._begun = 0
        self._told: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()

    @property
    def hands(self) -> int:
        """How many they are."""
        return len(self.devices)

    def start(self) -> None:
        """Begin to load the model, where that has not been done, and anew where a process has ended without work."""
        if not self._workers:
            self._told = queue.SimpleQueue()
            self._workers = [self._begin(device) for device in self.devices]
        for index, worker in enumerate(self._workers):
            if worker.proven and worker.process.poll() is not None:
                self._replace(index, "while it had nothing to do")

    def _replace(self, index: int, when: str) -> None:
        """Start a process in place of one that ended before anything of its work was known."""
        warnings.warn(f"{self._ended(index)} {when}; it is started anew", stacklevel=4)
        self._workers[index].end()
        self._workers[index] = self._begin(self.devices[index])

    def _begin(self, device: str) -> _Worker:
        self._begun += 1
        return _Worker(self._begun, (sys.path, self.model, device, self.threads), self._told)

    def close(self) -> None:
        """End the processes, whatever they do."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()

    def each(self, jobs: Iterable[Job], ahead: int = 1) -> Iterator[Any]:
        """See :meth:`geometrycrafter.inference.crew.Crew.each`."""
        self.start()
        waiting, spoken, more = iter(jobs), set[int](), True
        given: list[list[Job]] = [[] for _ in self.devices]
        while True:
            while more and min(map(len, given)) <= ahead:
                job = next(waiting, None)
                if job is None:
                    more = False
                    break
                index = min(range(self.hands), key=lambda i: len(given[i]))
                self._workers[index].give((job.function, job.arguments))
                given[index].append(job)
            if not any(given):
                return
            index, kind, value = self._next()
            if kind == "value":
                yield value
            elif kind == "done":
                given[index].pop(0)
                self._workers[index].proven = True
            elif kind == "note":
                warnings.warn(value, stacklevel=2)
            elif kind == "failed":
                raise value
            elif kind == "gone" and self._workers[index].proven and index not in spoken:
                # It ended before these jobs came, or early in the first; who takes its place has told nothing yet.
                self._replace(index, "before it told anything of this work")
                for job in given[index]:
                    self._workers[index].give((job.function, job.arguments))
            elif kind == "gone":
                raise self._lost(index)
            if kind != "gone":
                spoken.add(index)

    def _next(self) -> tuple[int, str, Any]:
        """What one tells, by its place; who is gone may have left children that keep its output open, and tells
        nothing. What was told by one that has been replaced is passed over."""
        while True:
            with contextlib.suppress(queue.Empty):
                number, kind, value = self._told.get(timeout=2)
                index = next((i for i, w in enumerate(self._workers) if w.number == number), None)
                if index is None:
                    continue
                return index, kind, value
            for index, worker in enumerate(self._workers):
                if worker.process.poll() is not None:
                    return index, "gone", None

    def _lost(self, index: int) -> LostWorkerError:
        return LostWorkerError(
            f"{self._ended(index)}, perhaps as memory ran out; what is done is kept: go on with --resume, on fewer "
            "devices if need be."
        )

    def _ended(self, index: int) -> str:
        """Which process was ended, and how; what it forked ends, too."""
        worker = self._workers[index]
        status = worker.process.wait()
        _kill_all(worker.process)
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        which = f"process {worker.process.pid}, number {index + 1} of {self.hands}, on {self.devices[index]},"
        return f"--devices: {which} was ended {how}"


class _Worker:
    """One process, and the thread that listens to it; what it tells comes with its number."""

    def __init__(self, number: int, setup: Any, told: queue.SimpleQueue[tuple[int, str, Any]]):
        self.number, self.proven = number, False
        """Proven: it has the model, and has done something."""
        environment = os.environ | KEEP_FREED_MEMORY | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        let_threads_sleep(environment)  # also where a program of somebody's own is the caller
        # Not multiprocessing: that would run the caller's script again in each process.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START],  # modules come from where the caller's do, not from where it stands
            process_group=0,  # the terminal's Ctrl-C is for the caller alone, from the first moment on
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._finalizer = weakref.finalize(self, _end, self.process)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._jobs = self.process.stdin
        listener = threading.Thread(target=_listen, args=(number, self.process.stdout, told), daemon=True)
        listener.start()
        self.give(setup)

    def give(self, what: Any) -> None:
        """Send something; where nobody is there, its listener says so."""
        with contextlib.suppress(BrokenPipeError):
            _send(self._jobs, what)

    def end(self) -> None:
        """End the process."""
        self._finalizer()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # its number is its own until it has been waited for
        process.kill()
        _kill_all(process)
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """End what a process of its own group has forked."""
    with contextlib.suppress(OSError, AttributeError):  # there are none, or no groups here
        os.killpg(process.pid, signal.SIGKILL)


def _send(pipe: IO[bytes], what: Any) -> None:
    """Send a value: its length, then itself."""
    pickled = pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(struct.pack("<Q", len(pickled)))
    pipe.write(pickled)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes:
    """A value that was sent, still pickled.

    Raises:
        EOFError: where none comes any more.
    """
    header = pipe.read(8)
    if len(header) < 8:
        raise EOFError
    (length,) = struct.unpack("<Q", header)
    pickled = pipe.read(length)
    if len(pickled) < length:
        raise EOFError
    return pickled


def _listen(number: int, answers: IO[bytes], told: queue.SimpleQueue[tuple[int, str, Any]]) -> None:
    try:
        while True:
            kind, value = pickle.loads(_received(answers))
            told.put((number, kind, value))
    except Exception:  # its end, in the middle of a word or between two
        told.put((number, "gone", None))


def serve() -> None:
    """What a worker does, until its input ends."""
    answers, jobs = os.fdopen(os.dup(1), "wb"), queue.SimpleQueue[Any]()
    os.dup2(2, 1)  # what libraries print is no answer

    def tell(kind: str, value: Any = None) -> None:
        _send(answers, (kind, value))

    threading.Thread(target=_follow, args=(jobs,), daemon=True).start()
    warnings.showwarning = lambda message, *_: tell("note", str(message))
    try:
        path, model, device, threads = pickle.loads(jobs.get())
        sys.path[:] = path
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        equipment = model.load(device)
        while True:
            function, arguments = pickle.loads(jobs.get())
            for value in function(equipment, *arguments):
                tell("value", value)
            tell("done")
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:
        tell("failed", _portable(error))
        raise SystemExit(1) from None


def _follow(jobs: queue.SimpleQueue[Any]) -> None:
    """Take in jobs while others are done; without a parent there is nothing to be done."""
    try:
        while True:
            jobs.put(_received(sys.stdin.buffer))
    except BaseException:
        os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """An exception as another process can have it."""
    try:
        same = pickle.loads(pickle.dumps(error))
    except Exception:
        same = None
    return error if type(same) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")
