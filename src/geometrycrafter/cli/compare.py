"""``geometrycrafter compare``: a figure of several scenes of one video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="draw several scenes of one video side by side",
        description="Draw frames, each scene's disparity and its point cloud from the side, like the paper's figures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("scenes", type=Path, nargs="+", metavar="SCENE", help="folders made by 'geometrycrafter run'")
    parser.add_argument("-o", "--output", type=Path, default=Path("comparison.png"), help="PNG, PDF or SVG")
    parser.add_argument("--names", metavar="A,B", help="what to call them (default: the folders' names)")
    parser.add_argument("--frames", metavar="N,N", help="which to show (default: four, evenly spread)")
    parser.add_argument("--angle", type=float, default=25.0, help="that point clouds are turned by, degrees")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    from geometrycrafter.export.figure import draw_comparison
    from geometrycrafter.scene import open_scene

    if args.output.exists() and not args.overwrite:
        raise InputError(f"{args.output}: the file exists; add --overwrite or name another.")
    names = args.names.split(",") if args.names else [s.resolve().stem for s in args.scenes]
    if len(names) != len(args.scenes):
        raise InputError(f"--names {args.names}: {len(args.scenes)} scenes want as many names.")
    try:
        frames = [int(x) for x in args.frames.split(",")] if args.frames else None
    except ValueError as error:
        raise InputError(f"--frames {args.frames}: give numbers with commas between.") from error
    scenes = [open_scene(s) for s in args.scenes]
    print(f"figure: {draw_comparison(scenes, names, args.output, frames, args.angle)}")
