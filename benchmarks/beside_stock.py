"""Ours beside the stock classes on the CPU: paired calls of each component, and memory from end to end.

    nice python benchmarks/beside_stock.py figures.json [--threads 2] [--repeats 5] [--size 192x320] [--limit 450]

Published sizes, drawn weights, float32; calls in turn, A B A B. For each component: medians by the wall's and the
processor's clock, the median of the pairs' ratios and their range, and the peak of a process that runs it alone. Then
encoders, one UNet step and the decoder one after another in one process of each side: what it holds at most beyond what
it held when the weights were there. Aims: UNet 1.25 times as fast, decoder 1.3, encoder 1.2, memory at most a half.
What fits within the limit is written as soon as it is there; the allocator keeps freed memory for both sides alike.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.cli.memory_in_use import resident

AIMS = {"unet": 1.25, "decoder": 1.3, "encoder": 1.2}


def beyond_weights(told: dict, threads: int, stock: bool) -> None:
    """Run all components of one side and print what memory that took beyond the weights."""
    import torch

    from geometrycrafter.benchmark.components import components_of
    from geometrycrafter.benchmark.memory import resident_peak
    from geometrycrafter.benchmark.model import MeasuredModel
    from geometrycrafter.benchmark.stock import stock_work

    torch.set_num_threads(threads)
    options = BenchmarkOptions(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})
    made = components_of(MeasuredModel.of(options), options)
    works = {name: made[name]() for name in ("encoder", "unet", "decoder")}
    if stock:
        works = {name: stock_work(name, work) for name, work in works.items()}
    torch.nn.functional.conv2d(torch.ones(1, 8, 32, 32), torch.ones(8, 8, 3, 3))
    gc.collect()
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    for name in ("encoder", "unet", "decoder"):
        with torch.no_grad():
            works[name]()
    print(json.dumps({"weights_mb": before, "beyond_mb": resident_peak() - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", default="192x320")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--model", default="diffusion")
    parser.add_argument("--limit", type=float, default=450, help="seconds after which nothing more is begun")
    parser.add_argument("--side", choices=("ours", "stock"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    common = {"model": args.model, "random": True, "size": (height, width), "frames": args.frames}
    common["repeats"] = args.repeats
    if args.side:
        beyond_weights(common, args.threads, args.side == "stock")
        return
    import torch

    from geometrycrafter.benchmark.measurement import measure

    torch.set_num_threads(args.threads)
    begun, found = time.perf_counter(), {"threads": args.threads, "size": args.size, "load": os.getloadavg()}
    for name, aim in AIMS.items():
        if time.perf_counter() - begun > args.limit:
            print(f"{name}: no time left", flush=True)
            continue
        for row in measure(BenchmarkOptions(**common, peer=True, components=(name,))):
            found[name] = asdict(row)
            print(f"{name} (aim {aim}): {json.dumps(row.stored())}", flush=True)
            args.output.write_text(json.dumps(found, indent=1))
    for side in ("ours", "stock"):
        if time.perf_counter() - begun > args.limit:
            print(f"memory of {side}: no time left", flush=True)
            continue
        words = [w for w in sys.argv[1:] if w != str(args.output)]
        again = [sys.executable, __file__, str(args.output), *words, "--side", side]
        keep = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
        done = subprocess.run(again, capture_output=True, text=True, env=os.environ | keep)
        found[f"memory_{side}"] = (
            json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr[-500:]
        )
        print(f"memory of {side} from end to end: {json.dumps(found[f'memory_{side}'])}", flush=True)
        args.output.write_text(json.dumps(found, indent=1))
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
