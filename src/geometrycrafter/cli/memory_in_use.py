"""How much memory this process holds now, and how much is free."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MB = 1e6


def memory_in_use() -> float:
    """Megabytes that are resident now (where the system tells only the most ever, that), and tensors on a GPU."""
    return resident() + _on_gpu()


def resident() -> float:
    """Megabytes of the machine's memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MB
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MB if sys.platform == "darwin" else most * 1024 / MB


def memory_free(device: str) -> float:
    """Megabytes that a device has to give: a GPU's own, or what the system would without swapping."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(torch.device(device))[0] / MB
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024 / MB
    except (OSError, ValueError, IndexError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MB
    except (OSError, ValueError, AttributeError):  # a system that doesn't say
        return float("inf")


def _on_gpu() -> float:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0
    return sum(torch.cuda.memory_allocated(d) for d in range(torch.cuda.device_count())) / MB
