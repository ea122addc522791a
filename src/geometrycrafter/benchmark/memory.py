"""Peak memory of a component: of the device's allocator on a GPU, else of a process that does nothing else."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.benchmark.components import Work, components_of
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions

MB = 1e6
EXACT_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 20)}
"""For glibc: what is freed goes back at once. Left to itself, it keeps a third more or less, call by call."""


def peak_on_device(work: Work, device: torch.device) -> float:
    """Megabytes that a GPU's allocator holds at most during a call, weights included."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / MB


def peak_of_process(name: str, options: BenchmarkOptions, stock: bool) -> float | None:
    """Megabytes that a process holds at most that makes one component and calls it once; None where it failed.

    What Python and its libraries take is not counted.

    Args:
        name: of the component.
        options: of the benchmark.
        stock: of the stock implementation.
    """
    asked = json.dumps({"name": name, "stock": stock, "options": asdict(options)})
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-m", "geometrycrafter.benchmark.memory", asked, threads]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | EXACT_MALLOC)
    return float(json.loads(done.stdout)["peak_mb"]) if done.returncode == 0 else None


def resident_peak() -> float:
    """Megabytes that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # resource's figure may be that of the process that started this one
        line = next((x for x in status.read_text().splitlines() if x.startswith("VmHWM")), None)
        if line is not None:
            return float(line.split()[1]) * 1024 / MB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB


def main(asked: str, threads: str) -> None:
    """Call a component once and print what it took."""
    from geometrycrafter.benchmark.stock import stock_work

    torch.set_num_threads(int(threads))
    torch.nn.functional.conv2d(torch.ones(1, 8, 32, 32), torch.ones(8, 8, 3, 3))  # libraries are loaded
    before = resident_peak()
    told: dict[str, Any] = json.loads(asked)
    options = BenchmarkOptions(**told["options"])
    work = components_of(MeasuredModel.of(options), options)[told["name"]]()
    if told["stock"]:
        work = stock_work(told["name"], work)
    work()
    print(json.dumps({"peak_mb": resident_peak() - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
