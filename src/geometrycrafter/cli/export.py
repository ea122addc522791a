"""``geometrycrafter export``: scenes in formats that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError

FORMATS = {"npz": "the authors' arrays", "ply": "coloured points of one frame", "mp4": "frames beside disparity"}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a scene in another format",
        description="Write a scene in another format: " + "; ".join(f"{k}, {v}" for k, v in FORMATS.items()) + ".",
    )
    parser.add_argument("scene", type=Path, help="a folder NAME.gc made by 'geometrycrafter run'")
    parser.add_argument("format", choices=list(FORMATS))
    parser.add_argument("path", nargs="?", type=Path, help="file to write (default: beside the scene)")
    parser.add_argument("--frame", type=int, help="which frame (ply; default 0)")
    parser.add_argument("--step", type=int, help="take every n-th pixel (ply; default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    from geometrycrafter.export import export
    from geometrycrafter.scene import open_scene

    scene = open_scene(args.scene)
    options = {k: getattr(args, k) for k in ("frame", "step") if getattr(args, k) is not None}
    if options and args.format != "ply":
        raise InputError(f"--{next(iter(options))} is for ply; {args.format} takes all frames.")
    target = args.path or args.scene.with_suffix(f".{args.format}")
    if target.exists() and not args.overwrite:
        raise InputError(f"{target}: the file exists; add --overwrite or name another.")
    print(f"{args.format}: {export(scene, args.format, target, **options)}")
