"""The paper's table 2 on a GPU: both variants at two sizes, beside stock implementations, eager and compiled.

    python benchmarks/gpu_inference.py figures.jsonl [--device cuda] [--limit 280] [--sizes 448x768,576x1024]

Weights are drawn on the device. Each line of the file is one component's figures, written as soon as they are there.
What fails says so and the rest goes on; what the time limit leaves no room for, the least telling, is left out.
The paper, at 448x768, GPU unnamed: prior 0.10, prior encoder 0.04, UNet 0.04 (G) or 0.01 (D), decoder 0.08,
in all 0.27 (G) and 0.24 (D) seconds a frame.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.benchmark.measurement import measure
from geometrycrafter.benchmark.options import NAMES, BenchmarkOptions


def plan(sizes: list[tuple[int, int]], told: dict[str, Any]) -> Iterator[tuple[BenchmarkOptions, str]]:
    """Options and component of each measurement, in order of what they tell."""
    diffusion = {"model": "diffusion", "random": True, **told}
    for size in sizes:
        for name in ("unet", "decoder", "encoder", "light decoder", "prior", "image encoder"):
            yield BenchmarkOptions(size=size, peer=True, components=(name,), **diffusion), name
        deterministic = diffusion | {"model": "deterministic"}
        yield BenchmarkOptions(size=size, peer=True, components=("unet",), **deterministic), "unet"
    for name in ("unet", "decoder", "encoder"):
        yield BenchmarkOptions(size=sizes[0], layout="channels-last", components=(name,), **diffusion), name
    for size in sizes:
        for name in ("decoder", "unet", "encoder", "light decoder", "prior"):
            yield (
                BenchmarkOptions(size=size, compiled=True, layout="channels-last", components=(name,), **diffusion),
                name,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--frames", type=int, default=110)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=280, help="seconds after which nothing more is begun")
    parser.add_argument("--sizes", default="448x768,576x1024")
    parser.add_argument("--model", help="a folder of sizes, or tiny; with it nothing is said of the published ones")
    args = parser.parse_args()
    sizes = [(int(h), int(w)) for h, w in (s.split("x") for s in args.sizes.split(","))]
    told = {"device": args.device, "dtype": args.dtype, "frames": args.frames, "repeats": args.repeats}
    started = time.perf_counter()
    with args.output.open("w") as lines:
        name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
        for options, component in plan(sizes, told):
            if args.model:
                options = BenchmarkOptions(**{**vars(options), "model": args.model})
            begun = time.perf_counter() - started
            if begun > args.limit:
                print(f"{component}: left out after {begun:.0f} s", flush=True)
                continue
            told_of = {
                "machine": name,
                "torch": torch.__version__,
                "model": options.model,
                "size": "x".join(map(str, options.size or ())),
                "frames": options.window,
                "dtype": options.dtype,
                "layout": options.weights_layout,
                "compiled": options.compiled,
            }
            for figures in measured(options, component):
                figures = told_of | figures | {"took": round(time.perf_counter() - started - begun, 1)}
                lines.write(json.dumps(figures) + "\n")
                lines.flush()
                print(json.dumps(figures), flush=True)


def measured(options: BenchmarkOptions, component: str) -> Iterator[dict[str, Any]]:
    """Figures of one component, or why there are none."""
    assert component in NAMES
    try:
        for row in measure(options):
            yield row.stored()
    except Exception as error:  # whatever a compiler or a stock implementation raises: the others are wanted, too
        traceback.print_exc()
        yield {"component": component, "failed": f"{type(error).__name__}: {str(error).splitlines()[0:1]}"}
    finally:
        torch.compiler.reset()


if __name__ == "__main__":
    main()
