"""What ten times as many frames cost: a line fitted to runs of short clips, held against a longer one.

    python benchmarks/scaling.py [--lengths 16,32,64] [--held 128] [--size 128x192]

Each length is a run of the embedded model in a process of its own, on one core. Seconds are the processor's: on a
machine that does other things the wall's say nothing. Prints the fit (a start, and so much a frame), how far the held
run is from it, and the memory of each run, which should not grow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np

RUN = """
import json, sys, time, numpy as np, torch
torch.set_num_threads(1)
import geometrycrafter as gc
from geometrycrafter.benchmark.memory import resident_peak
count, height, width = map(int, sys.argv[1:])
generator = np.random.default_rng(0)
still = generator.integers(0, 255, (height // 8, width // 8 + 256, 3), np.uint8).repeat(8, 0).repeat(8, 1)
frames = (still[:, 2 * (t % 1000) : 2 * (t % 1000) + width] for t in range(count))
estimator = gc.load("tiny")
begun = time.process_time()
estimator(frames, size=(height, width), cuts="off")
print(json.dumps({"frames": count, "seconds": time.process_time() - begun, "peak_mb": resident_peak()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="16,32,64")
    parser.add_argument("--held", type=int, default=128)
    parser.add_argument("--size", default="128x192")
    args = parser.parse_args()
    lengths = [int(n) for n in args.lengths.split(",")]
    runs = []
    for count in (*lengths, args.held):
        words = [str(count), *args.size.split("x")]
        done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(runs[-1]), flush=True)
    each, start = np.polyfit(lengths, [r["seconds"] for r in runs[:-1]], 1)
    told, took = start + each * args.held, runs[-1]["seconds"]
    print(f"fit: {start:.2f} s and {each:.4f} s a frame; {args.held} frames: {told:.1f} s foretold, {took:.1f} s taken")
    grown = runs[-1]["peak_mb"] / runs[-2]["peak_mb"] - 1
    print(f"off by {took / told - 1:+.1%}; memory from {lengths[-1]} to {args.held} frames: {grown:+.1%}")


if __name__ == "__main__":
    main()
