"""``geometrycrafter compare``: a figure of several scenes of one video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.cli.defaults import DefaultsFormatter
from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import ComparisonOptions
from geometrycrafter.settings import argument


def add_parser(commands: Any) -> None:
    """Its flags."""
    parser = commands.add_parser(
        "compare",
        help="draw several scenes of one video side by side",
        description="Draw frames, each scene's disparity and its point cloud from the side, like the paper's figures.",
        formatter_class=DefaultsFormatter,
    )
    add = parser.add_argument
    add("scenes", nargs="+", metavar="SCENE", help="folders made by 'geometrycrafter run', or URLs of such")
    add("-o", "--output", type=argument(Path), default=Path("comparison.png"), help="PNG, PDF or SVG")
    add("--names", metavar="A,B", help="what to call them (default: the folders' names)")
    frames = argument(ComparisonOptions, "frames")
    add("--frames", metavar="N,N", type=frames, help="which to show (default: four, with --world eight, evenly spread)")
    angle = argument(ComparisonOptions, "angle")
    add("--angle", type=angle, default=ComparisonOptions.angle, help="that point clouds are turned by, degrees")
    add("--world", action="store_true", help="point maps of eight frames in world axes, in two views; wants poses")
    add("--overwrite", action="store_true", help="replace an existing file")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    """Draw the figure.

    Raises:
        InputError: where a scene, a name or the place of the figure is at fault.
    """
    from geometrycrafter.export.figure import draw_comparison
    from geometrycrafter.export.world_figure import draw_world
    from geometrycrafter.scene import open_scene
    from geometrycrafter.scene.places import name_of

    if args.output.exists() and not args.overwrite:
        raise InputError(f"{args.output}: the file exists; add --overwrite or name another.")
    names = args.names.split(",") if args.names else [name_of(s) for s in args.scenes]
    if len(names) != len(args.scenes):
        raise InputError(f"--names {args.names}: {len(args.scenes)} scenes want as many names.")
    scenes = [open_scene(s) for s in args.scenes]
    draw = draw_world if args.world else draw_comparison
    print(f"figure: {draw(scenes, names, args.output, args.frames, args.angle)}")
