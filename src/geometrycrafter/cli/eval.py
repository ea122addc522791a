"""``geometrycrafter eval``: the published protocols, and tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from geometrycrafter.cli.progress import counting
from geometrycrafter.errors import InputError

BASELINES = ("prior[=MODEL]", "constant", "ramp", "moge=FILE", "depthcrafter=FOLDER")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "eval",
        help="measure accuracy on a data set",
        description="Judge models and baselines by a data set's published protocol, and write tables. DATASET is one "
        "of gmu-kitchens, scannet, ddad, kitti, monkaa, sintel, diode (ROOT is where it was unpacked), 'rendered' "
        "(clips of the procedural world, no ROOT), 'folder' (ROOT is an RGB-D recording) or 'table' (ROOTs are folders "
        "that eval wrote: one table of all). Goes on where it was stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("root", metavar="ROOT", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, help="folder for rows and reports (default: eval-PROTOCOL)")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME[:VARIANT]", help="as 'run --model' (default: tiny)"
    )
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="judge what another program wrote: DIR/CLIP.npz with point_map, depth or disparity, or folders of frames",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        metavar="NAME",
        help=f"{', '.join(BASELINES)} (default: prior, constant and ramp; 'none' for none)",
    )
    parser.add_argument("--protocol", metavar="NAME", help="another one than the paper's: see docs/evaluation.md")
    parser.add_argument("--clips", type=int, help="the first so many")
    parser.add_argument("--frames", type=int, help="the first so many of each clip, for a quick try")
    parser.add_argument("--stride", type=int, default=1, help="of a recording's frames ('folder')")
    parser.add_argument("--steps", type=int, help="sampler steps of the generative variant")
    parser.add_argument("--seed", type=int, default=0, help="of the generative variant's noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="clips at a time")
    parser.add_argument("--engine", default="local", help="where clips are judged")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    from geometrycrafter.evaluation.clips import clips_of
    from geometrycrafter.evaluation.protocols import protocol_of
    from geometrycrafter.evaluation.report import Report, combined, read_report
    from geometrycrafter.evaluation.runner import ENGINES, evaluate

    if args.dataset == "table":
        if not args.root:
            raise InputError("eval table ROOT...: name the folders that 'eval' wrote.")
        _print(*combined([read_report(r) for r in args.root]))
        return
    if len(args.root) > 1:
        raise InputError(f"eval {args.dataset}: one ROOT is wanted, not {len(args.root)}.")
    if args.engine not in ENGINES:
        raise InputError(f"--engine {args.engine}: there are {', '.join(ENGINES)}.")
    if args.processes < 1 or args.stride < 1 or min(args.clips or 1, args.frames or 1) < 1:
        raise InputError("--processes, --stride, --clips and --frames are at least 1.")
    protocol = protocol_of(args.dataset, args.protocol)
    methods = _methods(args)
    clips = clips_of(protocol, args.root[0] if args.root else None, args.clips, args.stride, args.frames)
    take = protocol.selection.sequences if protocol.selection else None
    print(f"{protocol.title}: {len(clips)} clips" + (f" of {len(take)}" if take else ""))
    folder = args.output or Path(f"eval-{protocol.name}")
    engine = ENGINES[args.engine](args.processes)
    with counting("rows") as show:
        rows = evaluate(methods, clips, folder, engine, args.device, show)
    report = Report(protocol, rows)
    _print(*report.table())
    for path in report.write(folder):
        print(f"written: {path}")


def _methods(args: argparse.Namespace) -> list[Any]:
    from geometrycrafter.evaluation.methods import Method

    options = {"seed": args.seed} | ({"steps": args.steps} if args.steps else {})
    models = args.model or ([] if args.predictions else ["tiny"])
    found = []
    for name in models:
        place, _, variant = name.partition(":")
        if variant not in ("", "diffusion", "deterministic"):
            raise InputError(f"--model {name}: the variant is diffusion or deterministic.")
        found.append(Method(name, "model", place, variant or None, options))
    for text in args.predictions:
        name, equals, folder = text.rpartition("=")
        if not Path(folder).is_dir():
            raise InputError(f"--predictions {text}: there is no folder {folder}.")
        found.append(Method(name if equals else Path(folder).name, "predictions", folder))
    for text in args.baseline or ["prior", "constant", "ramp"]:
        kind, _, place = text.partition("=")
        if kind in ("constant", "ramp"):
            found.append(Method(kind, kind))  # type: ignore[arg-type]
        elif kind == "prior":
            place = place or (models[0].partition(":")[0] if models else "tiny")
            found.append(Method(f"prior of {place}", "prior", place))
        elif kind in ("moge", "depthcrafter") and place:
            found.append(Method(kind, kind, place))  # type: ignore[arg-type]
        elif kind != "none":
            raise InputError(f"--baseline {text}: there are {', '.join(BASELINES)} and none.")
    names = [m.name for m in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice or not found:
        raise InputError(f"{twice}: two methods have this name." if twice else "there is no method to judge.")
    return found


def _print(header: list[str], lines: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, title in enumerate(header):
        table.add_column(title, justify="right" if i else "left")
    for line in lines:
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
