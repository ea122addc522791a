"""Videos of any length in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# What is freed goes back to the system at once, so that a peak is what was held.
EXACT_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}


def peak_memory(frames: int, tmp_path: Path) -> float:
    """Peak resident memory of a run over a generated stream, MiB."""
    code = f"""
import resource, numpy as np, geometrycrafter as gc
def stream():
    rng = np.random.default_rng(0)
    for _ in range({frames}):
        yield rng.integers(0, 255, (128, 160, 3), dtype=np.uint8)
how = dict(size=(64, 64), window=20, overlap=5, steady="off")  # that has a test of its own, below
scene = gc.load("tiny")(stream(), output={str(tmp_path / f"{frames}.gc")!r}, **how)
assert len(scene) == {frames}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | EXACT_MALLOC,
    )
    return float(done.stdout)


def test_memory_does_not_grow_with_the_video(tmp_path):
    short, long = peak_memory(50, tmp_path), peak_memory(250, tmp_path)
    # A frame of 128x160 is 61 KB as it is read, its depth 82: neither is held.
    assert long - short < 200 * 0.03, f"{long:.0f} MiB for 250 frames, {short:.0f} for 50"


def test_a_block_of_frames_is_levelled_in_bounded_memory():
    code = """
import resource, torch
from geometrycrafter.inference.steadying import GRID, Link, levelled, levelling, steadier
levelling.ROUNDS, levelling.STEPS = 1, 3
own = levelling.cells((48, 64)).double()
off, weight = torch.zeros(len(own)).double(), torch.ones(len(own)).double()
pairs = [(t, t + 2**i) for i in range(9) for t in range(0, steadier.BLOCK - 2**i, max(1, 2**i // 4))]
links = [Link(*ends, own, off, weight, 0.0) for pair in pairs for ends in (pair, pair[::-1])]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
levelled(links, (48, 64), torch.zeros(0, GRID.nodes).double(), steadier.BLOCK)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 120, f"{done.stdout} MiB"
