"""``geometrycrafter benchmark``: seconds a frame and memory of each component on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.cli.defaults import DefaultsFormatter, add_threads
from geometrycrafter.settings import argument


def add_parser(commands: Any) -> None:
    from geometrycrafter.benchmark.options import DTYPES, PRECISIONS, BenchmarkOptions

    defaults = BenchmarkOptions()

    def told(name: str) -> dict[str, Any]:
        return {"type": argument(BenchmarkOptions, name), "default": getattr(defaults, name)}

    parser = commands.add_parser(
        "benchmark",
        help="time a model's components on this machine",
        description="Seconds a frame, memory, arithmetic and the share of this machine's own rate for each component "
        "(the paper's table 2), beside stock implementations with --peer.",
        formatter_class=DefaultsFormatter,
    )
    parser.add_argument("--model", default=defaults.model, help="tiny, diffusion, deterministic, or a folder")
    parser.add_argument("--variant", choices=("diffusion", "deterministic"), help="of the UNet")
    parser.add_argument("--random", action="store_true", help="random weights of the model's sizes; none are wanted")
    parser.add_argument("--size", **told("size"), metavar="HxW", help="processing size (default: the model's own)")
    parser.add_argument(
        "--frames", **told("frames"), metavar="N", help="the UNet's window (default: 110 on a GPU, 4 elsewhere)"
    )
    parser.add_argument("--steps", **told("steps"), metavar="N", help="of the sampler")
    parser.add_argument("--repeats", **told("repeats"), metavar="N", help="timed calls of each component")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    add_threads(parser)
    parser.add_argument("--dtype", choices=DTYPES, default=defaults.dtype, help="of UNet, encoder and image encoder")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=defaults.precision, help="of prior and point-map VAE, as in 'run'"
    )
    parser.add_argument("--layout", choices=("contiguous", "channels-last"), default=defaults.layout)
    parser.add_argument("--compile", dest="compiled", action="store_true", help="through torch.compile")
    parser.add_argument("--peer", action="store_true", help="stock implementations beside, with the same weights")
    parser.add_argument("--components", help="some of them, with commas: unet,decoder")
    parser.add_argument("--plan", action="store_true", help="say how much memory it will take, and measure nothing")
    parser.add_argument("--json", type=argument(Path), metavar="FILE", help="write the figures, a list")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    """Measure, print a table as it grows, and write it.

    Raises:
        InputError: where an option is out of its range, or weights or stock implementations are missing.
    """
    from dataclasses import fields

    from geometrycrafter.benchmark.measurement import measure
    from geometrycrafter.benchmark.options import BenchmarkOptions
    from geometrycrafter.benchmark.table import table, totalled
    from geometrycrafter.files import explained, write_json
    from geometrycrafter.inference.loading import checked_device

    told = {f.name: getattr(args, f.name) for f in fields(BenchmarkOptions) if hasattr(args, f.name)}
    if args.components is not None:
        told["components"] = tuple(name.strip() for name in args.components.split(","))
    if not args.plan or args.device is None:  # a plan is for GPUs that need not be here, too
        told["device"] = str(checked_device(args.device))
    options = BenchmarkOptions(**told)
    if args.plan:
        from geometrycrafter.cli.benchmark_plan import described, planned

        plan = planned(options)
        print(described(plan, options))
        if args.json is not None:
            with explained(args.json):
                write_json(args.json, plan, indent=1)
        return
    rows = []
    for row in measure(options):
        print(f"{row.component}: {row.failed or f'{row.seconds:.4f} s a frame'}", flush=True)
        rows.append(row)
    rows.append(totalled(rows))
    lines = table(rows)
    widths = [max(len(line[i]) for line in lines if len(line) == len(lines[0])) for i in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))))
    if options.random:
        print("Weights were drawn at random: times are those of trained ones, results mean nothing.")
    if args.json is not None:
        with explained(args.json):
            write_json(args.json, [row.stored() for row in rows], indent=1)
        print(f"figures: {args.json}")
