"""``geometrycrafter data``: training clips from recordings and from the procedural world."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from geometrycrafter.cli.run import parse_intrinsics, parse_size
from geometrycrafter.errors import InputError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "data",
        help="make and look at training data",
        description="Make shards of training clips, and look into them.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")

    prepare = actions.add_parser(
        "prepare",
        help="turn recordings or a data set into shards",
        description="Turn recordings into shards. NAME is 'folder': SRC holds a colour picture and a depth map for "
        "each frame (and poses, where known); the usual names are found by themselves.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    prepare.add_argument("name", choices=("folder",), metavar="NAME", help="folder: an RGB-D recording of your own")
    prepare.add_argument("source", type=Path, metavar="SRC")
    prepare.add_argument("target", type=Path, metavar="DST", help="folder of shards; what it holds is kept")
    prepare.add_argument("--colour", default="", metavar="GLOB", help="pictures below SRC (default: usual names)")
    prepare.add_argument("--depth", default="", metavar="GLOB", help="depth maps: PNG of 16 bits, EXR, NPY, NPZ, PFM")
    prepare.add_argument("--poses", default="", metavar="GLOB", help="4x4 camera-to-world text files")
    prepare.add_argument(
        "--unit", type=float, default=0.0, help="metres in one unit of depth; 0: mm for integers, m else"
    )
    prepare.add_argument("--farthest", type=float, default=60.0, help="depths beyond are unknown, metres")
    prepare.add_argument("--intrinsics", type=parse_intrinsics, metavar="fx,fy,cx,cy", help="default: a file in SRC")
    prepare.add_argument("--fps", type=float, default=30.0, help="frames a second")
    prepare.set_defaults(call=call_prepare)

    synthesize = actions.add_parser(
        "synthesize",
        help="render clips of the procedural world",
        description="Render clips with exact depth, cameras and masks into shards; goes on where it was stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    synthesize.add_argument("target", type=Path, metavar="DST", help="folder of shards")
    synthesize.add_argument("--clips", type=int, default=1000, help="how many")
    synthesize.add_argument("--frames", type=int, default=8, help="of each")
    synthesize.add_argument("--size", type=parse_size, default=(96, 128), metavar="HxW", help="height and width")
    synthesize.add_argument("--seed", type=int, default=0, help="of the first clip")
    synthesize.add_argument("--processes", type=int, default=os.cpu_count(), help="that render")
    synthesize.set_defaults(call=call_synthesize)

    inspect = actions.add_parser(
        "inspect",
        help="look into shards",
        description="Count what a folder of shards holds, and write a sheet of pictures, a histogram of depth and a "
        "point cloud.",
    )
    inspect.add_argument("target", type=Path, metavar="DST", help="folder of shards")
    inspect.add_argument("-o", "--output", type=Path, help="folder for sheet.png, depth.png and points.ply")
    inspect.add_argument("--all", action="store_true", help="read every frame, and name what is damaged")
    inspect.set_defaults(call=call_inspect)


def call_prepare(args: argparse.Namespace) -> None:
    from geometrycrafter.data.recordings import Recording
    from geometrycrafter.data.shards import ShardWriter

    recording = Recording(
        args.source, args.colour, args.depth, args.poses, args.unit, args.farthest, args.intrinsics, args.fps
    )
    clips = frames = kept = 0
    with ShardWriter(args.target, "recording") as writer:
        for key, clip in recording.clips():
            if key in writer.keys:
                kept += 1
                continue
            writer.add(key, clip)
            clips, frames = clips + 1, frames + len(clip)
            share = clip.mask.mean()
            depth = clip.depth[clip.mask]
            print(f"{key}: {len(clip)} frames, depth {depth.min():.2f} to {depth.max():.2f} m, {share:.0%} known")
    print(f"{args.target}: {clips} clips and {frames} frames added" + (f", {kept} were there already" if kept else ""))


def call_synthesize(args: argparse.Namespace) -> None:
    from geometrycrafter.data.synthesis import synthesize

    if min(args.clips, args.frames, args.processes) < 1:
        raise InputError("--clips, --frames and --processes are at least 1.")

    def show(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"\rrendered {done}/{total}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    synthesize(args.target, args.clips, args.frames, args.size, args.seed, args.processes, show)
    print(f"shards: {args.target}")


def call_inspect(args: argparse.Namespace) -> int:
    from geometrycrafter.export.shards import describe

    report = describe(args.target, args.output, every_frame=args.all)
    for line in report.lines():
        print(line)
    return 1 if report.damaged else 0
