"""What less precision and compiling gain on a GPU, and what they cost: the prior, the decoder, the UNet, the encoders.

    python benchmarks/gpu_precision.py figures.jsonl [--device cuda] [--limit 85] [--size 448x768]

Each line of the file is one measurement, written as soon as it is there; what the time limit leaves no room for is left
out, and said so. Errors are relative, of depth, against float32 without TensorFloat-32 anywhere, with drawn weights:
trained ones may differ. "once" are seconds of a frame that is decoded once, as the published procedure has it; seconds
count frames that two chunks share twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch._dynamo

from geometrycrafter.benchmark.clock import interleaved
from geometrycrafter.benchmark.components import Work, compile_networks, components_of, set_layout
from geometrycrafter.benchmark.memory import peak_on_device
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.inference.precision import at_precision

Measured = Iterator[dict[str, Any]]


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Float32 that is nothing less anywhere."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def depth_of(component: str, result: Any) -> torch.Tensor:
    """Depth of what the prior or the decoder says of a chunk, on the CPU, in double precision."""
    return (result[0][..., 2] if component == "prior" else result.log_depth.exp()).double().cpu()


def timed(work: Work, device: torch.device, repeats: int) -> dict[str, Any]:
    """Seconds and peak of a component that has been called before."""
    (times,) = interleaved([work], repeats, device)
    once = times.seconds / work.frames
    peak = {"peak_mb": peak_on_device(work, device)} if device.type == "cuda" else {}
    return {"seconds": once * work.times, "once": once, **peak}


def at_precisions(component: str, options: BenchmarkOptions) -> Measured:
    """The prior or the decoder in float32, TensorFloat-32 and half, with the errors of what is less."""
    device = torch.device(options.device)
    work = components_of(MeasuredModel.of(options), options)[component]()
    with strict():
        truth = depth_of(component, work())
    networks = list(work.networks.values())
    lower = ("published", "tf32", "half") if component == "prior" else ("published", "tf32")
    ways: dict[str, Callable[[], Any]] = {
        "strict float32": strict,
        **{p: lambda p=p: at_precision(p, networks, device) for p in lower},
        "autocast float16": lambda: torch.autocast(device.type, torch.float16),
    }
    for name, way in ways.items():
        with way():
            off = (depth_of(component, work()) / truth - 1).abs()
            error = {"median_error": float(off.nanmedian()), "largest_error": float(off.nan_to_num(0).max())}
            yield {"component": component, "precision": name, **timed(work, device, options.repeats), **error}


def compiled(component: str, options: BenchmarkOptions, precision: Any = "published") -> Measured:
    """A component through torch.compile, channels last, and how long its first call takes."""
    device = torch.device(options.device)
    work = components_of(MeasuredModel.of(options), options)[component]()
    set_layout(work, options.weights_layout)
    with at_precision(precision, list(work.networks.values()), device):
        compile_networks(work)
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        first = time.perf_counter() - begun
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        figures = timed(work, device, options.repeats)
    yield {"component": component, "compiled": True, "precision": precision, "first_call": first, "graphs": graphs} | (
        figures | {"layout": options.weights_layout}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--frames", type=int, default=110)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=85, help="seconds after which nothing more is begun")
    parser.add_argument("--size", default="448x768")
    parser.add_argument("--model", default="diffusion", help="diffusion, or a folder of sizes")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    options = BenchmarkOptions(
        model=args.model, variant="diffusion", random=True, size=(height, width), frames=args.frames,
        device=args.device, dtype=args.dtype, repeats=args.repeats, compiled=True,
    )  # fmt: skip
    jobs: list[tuple[str, Callable[[], Measured]]] = [
        ("prior", lambda: at_precisions("prior", options)),
        ("decoder", lambda: at_precisions("decoder", options)),
        *(
            (f"compiled {name}", lambda name=name: compiled(name, options))
            for name in ("decoder", "unet", "encoder", "light decoder")
        ),
        ("compiled prior", lambda: compiled("prior", options, "half")),
    ]
    machine = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    of_all = {"machine": machine, "torch": torch.__version__, "size": args.size, "dtype": args.dtype}
    started = time.perf_counter()
    with args.output.open("w") as lines:
        for name, job in jobs:
            if time.perf_counter() - started > args.limit:
                print(f"{name}: left out after {time.perf_counter() - started:.0f} s", flush=True)
                continue
            torch.compiler.reset()
            torch._dynamo.utils.counters.clear()
            try:
                for figures in job():
                    line = json.dumps(of_all | figures | {"after": round(time.perf_counter() - started, 1)})
                    lines.write(line + "\n")
                    lines.flush()
                    print(line, flush=True)
            except Exception:  # whatever a compiler raises: the others are wanted, too
                traceback.print_exc()
            if args.device.startswith("cuda"):
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
