"""How many cores this process may use, and how its threads wait for each other.

PyTorch's threads meet after every product. By default one that has come waits by running in circles; where another
program needs the cores, it so takes them from the thread that it waits for, and a run beside a single busy process was
measured ten times slower. Threads that sleep while they wait lose nothing on an idle machine, and share a busy one. How
many there are does not follow the machine's load: results differ in rounding with their number, and the same command
should give the same bits.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

from geometrycrafter.process import Changed

WAITING, COUNT = "OMP_WAIT_POLICY", "OMP_NUM_THREADS"
MEMBERSHIP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads sleep while they wait, unless the user's variables say how they do.

    Args:
        environment: is read when PyTorch is loaded; later changes nothing.
    """
    if not {WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(environment):
        environment[WAITING] = "PASSIVE"


@contextlib.contextmanager
def using_threads(count: int | None = None) -> Iterator[None]:
    """Compute in so many threads: as said; else as ``OMP_NUM_THREADS`` says; else one for each core that is allowed.

    Afterwards their number is what it was: a program of one's own may call a command and go on.

    Args:
        count: of threads.
    """
    if count is None and os.environ.get(COUNT):
        yield
        return
    if count is None:
        found = _threads_found().threads
        count = found if _torch() is None else min(found, allowed_cores())
    with _THREADS.to(count):
        yield


class _Threads(NamedTuple):
    said: str | None
    """By the variable."""
    threads: int


def _threads_found() -> _Threads:
    said = os.environ.get(COUNT)
    if (torch := _torch()) is not None:
        return _Threads(said, torch.get_num_threads())
    outermost = (said or "").partition(",")[0].strip()  # a list is of nested regions
    return _Threads(said, (int(outermost) if outermost.isdecimal() else 0) or allowed_cores())


def _compute_in(count: int) -> None:
    if (torch := _torch()) is not None:
        torch.set_num_threads(count)
    else:  # which takes seconds to load, and may not be wanted
        os.environ[COUNT] = str(count)


def _compute_as_before(before: _Threads) -> None:
    os.environ.pop(COUNT, None)
    if before.said is not None:
        os.environ[COUNT] = before.said
    if (torch := _torch()) is not None:
        torch.set_num_threads(before.threads)


_THREADS = Changed(_threads_found, _compute_in, _compute_as_before)


def _torch() -> Any:
    """PyTorch where it is loaded, and not by half."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "set_num_threads") else None


def allowed_cores(membership: Path = MEMBERSHIP, groups: Path = GROUPS, topology: Path = TOPOLOGY) -> int:
    """Cores that this process may use: those of the machine, less what its affinity or its container's quota takes.

    Where the system counts a core twice, as it runs two threads at once, it is one here: both have the same units for
    products, and PyTorch by itself takes one thread a core, too.

    Args:
        membership: the file that says which control groups it is in.
        groups: their root.
        topology: the folder that says which of the system's processors are of one core.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len({_core(topology, number) for number in affinity(0)}) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(membership, groups))]))


def _core(topology: Path, number: int) -> str:
    """What all processors of a core have in common: the list of them; where none is told, a processor is a core."""
    try:
        return (topology / f"cpu{number}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


def _quotas(membership: Path, groups: Path) -> Iterator[float]:
    """Cores' worth of time that each control group around this process grants it, of either version of them."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            root = groups if controllers == "" else groups / "cpu"
            own = root / path.lstrip("/")
            for folder in (own, *own.parents):
                with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                    if controllers == "":
                        time, period = (folder / "cpu.max").read_text().split()
                    else:
                        time, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
                    if float(time) > 0:
                        yield float(time) / float(period)
                if folder == root:
                    break
