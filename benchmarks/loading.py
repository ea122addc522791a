"""How fast training clips are rendered, written and read: clips and frames a second, beside the machine's GEMM rate.

python benchmarks/loading.py [--size 320x640] [--frames 8] [--clips 64] [--processes 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards import Shards, ShardWriter
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.training.config import Augmentation
from geometrycrafter.training.samples import ClipSamples
from geometrycrafter.training.sampling import Mixture, batches


def gemm_rate() -> float:
    """GFLOP a second of a large float32 product."""
    a = torch.randn(1024, 1024)
    a @ a
    started = time.perf_counter()
    for _ in range(20):
        a @ a
    return 20 * 2 * 1024**3 / (time.perf_counter() - started) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="320x640")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    print(f"GEMM: {gemm_rate():.0f} GFLOP/s")

    started = time.perf_counter()
    clip = rendered(4, args.frames, height, width)
    print(f"render: {args.frames / (time.perf_counter() - started):.1f} frames/s, one process")

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with ShardWriter(folder) as writer:
            for i in range(args.clips):
                shifted = {k: np.roll(getattr(clip, k), 7 * i, axis=2) for k in ("frames", "depth", "sky", "dynamic")}
                writer.add(f"{i:05d}", Clip(intrinsics=clip.intrinsics, poses=clip.poses, **shifted))
        print(f"write: {args.clips / (time.perf_counter() - started):.1f} clips/s, one process")
        size = sum(p.stat().st_size for p in Path(folder).glob("*.tar")) / args.clips / args.frames / 1e3
        print(f"on disk: {size:.0f} kB a frame")

        shards = Shards(folder)
        for augmentation, name in ((Augmentation(), "plain"), (Augmentation(1.5, mirror=True), "resized, mirrored")):
            make = ClipSamples((shards,), (height, width), augmentation)
            mixture = Mixture([len(shards)], [1.0], (args.frames, args.frames), 4, 0)
            steps = max(8, 2 * args.clips // 4)
            loader = batches(make, mixture, 0, steps, workers=args.processes)
            started, count = 0.0, 0
            for batch in loader:
                if not started:
                    started = time.perf_counter()  # the readers have started
                else:
                    count += len(batch["depth"])
            print(f"read, {name}: {count / (time.perf_counter() - started):.1f} clips/s, {args.processes} processes")


if __name__ == "__main__":
    main()
