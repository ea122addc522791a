"""``geometrycrafter data``: training clips from recordings and from the procedural world."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geometrycrafter.cli.defaults import DefaultsFormatter
from geometrycrafter.cli.progress import counting
from geometrycrafter.data.options import PreparationOptions, RecordingOptions, SynthesisOptions
from geometrycrafter.errors import InputError
from geometrycrafter.settings import argument

if TYPE_CHECKING:
    from geometrycrafter.data.clip import Clip


class _Noted(argparse.Action):
    """Stores a value, and notes that the flag was given."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "data",
        help="make and look at training data",
        description="Make shards of training clips, and look into them.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    _add_prepare(actions)
    listing = actions.add_parser("list", help="the data sets", description="Name the data sets that can be prepared.")
    listing.set_defaults(call=call_list)
    _add_synthesize(actions)
    _add_inspect(actions)


def _add_prepare(actions: Any) -> None:
    parser = actions.add_parser(
        "prepare",
        help="turn recordings or a data set into shards",
        description="Turn a data set as it is distributed into shards ('data list' names them), or, with the name "
        "'folder', a recording of your own: SRC holds a colour picture and a depth map for each frame (poses too, if "
        "known); the usual names are found by themselves. Goes on where it was stopped.",
        formatter_class=DefaultsFormatter,
    )
    parser.set_defaults(call=call_prepare)
    parser.add_argument("name", metavar="NAME", help="a data set, or 'folder'")
    parser.add_argument("source", type=argument(Path), metavar="SRC", help="where it was unpacked")
    parser.add_argument(
        "target", type=argument(Path), metavar="DST", nargs="?", help="folder of shards; what it holds is kept"
    )
    sets = parser.add_argument_group("data sets")
    sets.add_argument("--check", action="store_true", help="look whether the download is whole, and convert nothing")
    sets.add_argument(
        "--size",
        action=_Noted,
        type=argument(PreparationOptions, "size"),
        default=PreparationOptions.size,
        metavar="HxW",
        help="of training clips; unless given, the paper's",
    )
    sets.add_argument(
        "--quality",
        action=_Noted,
        type=argument(PreparationOptions, "quality"),
        default=PreparationOptions.quality,
        help="of JPEGs, 1 to 100, 101 for lossless PNG; evaluation sets are lossless",
    )
    for name, metavar, what in (
        ("hold_out", "SHARE", "share of a training set's scenes to set aside in DST/held-out, for validation"),
        ("hold_out_seed", "N", "of which scenes these are"),
    ):
        flag, kind = f"--{name.replace('_', '-')}", argument(PreparationOptions, name)
        sets.add_argument(
            flag, action=_Noted, type=kind, default=getattr(PreparationOptions, name), metavar=metavar, help=what
        )
    _add_processes(sets, PreparationOptions, "that read")
    own = parser.add_argument_group("recordings")
    own.add_argument(
        "--colour", action=_Noted, default="", metavar="GLOB", help="pictures below SRC (default: usual names)"
    )
    own.add_argument(
        "--depth", action=_Noted, default="", metavar="GLOB", help="depth maps: PNG of 16 bits, EXR, NPY, NPZ, PFM"
    )
    own.add_argument("--poses", action=_Noted, default="", metavar="GLOB", help="4x4 camera-to-world text files")
    for name, metavar, what in (
        ("unit", "METRES", "metres in one unit of depth; 0: mm for integers, m else"),
        ("farthest", "METRES", "depths beyond are unknown"),
        ("intrinsics", "fx,fy,cx,cy", "pixels of the pictures (default: a file in SRC)"),
        ("fps", "FPS", "frames a second"),
    ):
        kind, default = argument(RecordingOptions, name), getattr(RecordingOptions, name)
        own.add_argument(f"--{name}", action=_Noted, type=kind, default=default, metavar=metavar, help=what)


def _add_synthesize(actions: Any) -> None:
    parser = actions.add_parser(
        "synthesize",
        help="render clips of the procedural world",
        description="Render clips with exact depth, cameras and masks into shards; goes on where it was stopped.",
        formatter_class=DefaultsFormatter,
    )
    parser.set_defaults(call=call_synthesize)
    parser.add_argument("target", type=argument(Path), metavar="DST", help="folder of shards")
    for name, metavar, what in (
        ("clips", "N", "how many"),
        ("frames", "N", "of each"),
        ("size", "HxW", "height and width"),
        ("seed", "N", "of the first clip"),
        ("world", "N", "1: the embedded model's; 2: with people, posters, fences, seas and more that real videos show"),
    ):
        kind, default = argument(SynthesisOptions, name), getattr(SynthesisOptions, name)
        parser.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=what)
    _add_processes(parser, SynthesisOptions, "that render")


def _add_processes(parser: Any, options: type, what: str) -> None:
    kind = argument(options, "processes")
    parser.add_argument("--processes", type=kind, default=os.cpu_count() or 1, metavar="N", help=what)


def _add_inspect(actions: Any) -> None:
    parser = actions.add_parser(
        "inspect",
        help="look into shards",
        description="Count what a folder of shards holds, and write a sheet of pictures, a histogram of depth and a "
        "point cloud.",
    )
    parser.set_defaults(call=call_inspect)
    parser.add_argument("target", type=argument(Path), metavar="DST", help="folder of shards")
    parser.add_argument("-o", "--output", type=argument(Path), help="folder for sheet.png, depth.png and points.ply")
    parser.add_argument("--all", action="store_true", help="read every frame, and name what is damaged")


def call_list(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from geometrycrafter.data.datasets import data_sets

    table = Table("name", "data set", "for", "what", "frames", "licence", box=None, pad_edge=False)
    for data in data_sets().values():
        use = "training" if data.evaluation is None else "evaluation"
        table.add_row(data.name, data.title, use, data.domain, data.frame_size, data.licence)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def call_prepare(args: argparse.Namespace) -> int:
    """Convert a data set or a recording, or look whether the download is whole.

    Raises:
        InputError: where the folder of shards is missing, and whatever the preparation says.
    """
    if args.name == "folder" and args.check:
        raise InputError("data prepare folder SRC DST: recordings have no --check.")
    given: set[str] = getattr(args, "given", set())
    of_sets = {"size", "quality", "hold_out", "hold_out_seed"}
    strange = sorted(given & of_sets if args.name == "folder" else given - of_sets)
    if strange:
        whose = "data sets; a recording keeps the size of its pictures" if args.name == "folder" else "recordings"
        raise InputError(f"--{strange[0].replace('_', '-')}: this is for {whose}; leave it out.")
    if args.target is None and not args.check:
        raise InputError(f"data prepare {args.name} SRC DST: the folder of shards is missing (or give --check).")
    if args.name == "folder":
        return _prepare_recording(args)
    from geometrycrafter.data.datasets import data_set

    try:
        data_set(args.name)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}, and folder, a recording of your own.") from error
    return _check(args) if args.check else _prepare_data_set(args)


def _prepare_data_set(args: argparse.Namespace) -> int:
    from geometrycrafter.data.preparation import prepare
    from geometrycrafter.export.shards import describe

    with counting("frames") as show:
        aside = (args.hold_out, args.hold_out_seed)
        done = prepare(args.name, args.source, args.target, args.size, args.processes, args.quality, show, *aside)
    for line in done.left_out:
        print(line)
    if done.skipped:
        for reason in done.skipped[:5]:
            print(f"skipped: {reason}")
        print(f"{len(done.skipped)} frames were skipped; all reasons: {done.log}")
    there = f", {done.kept} clips were there already" if done.kept else ""
    held = f" ({done.held} clips of them held out)" if done.held else ""
    print(f"{done.clips} clips and {done.frames} frames added{held}{there}")
    if not done.clips and not done.kept:
        return 1
    for line in describe(args.target, args.target / "report").lines():
        print(line)
    return 0


def _prepare_recording(args: argparse.Namespace) -> int:
    from geometrycrafter.data.preparation import prepare_recording
    from geometrycrafter.data.recordings import Recording

    def show(key: str, clip: Clip) -> None:
        depth, share = clip.depth[clip.mask], clip.mask.mean()
        print(f"{key}: {len(clip)} frames, depth {depth.min():.2f} to {depth.max():.2f} m, {share:.0%} known")

    flags = {k: getattr(args, k) for k in ("colour", "depth", "poses", "unit", "farthest", "intrinsics", "fps")}
    done = prepare_recording(Recording(args.source, **flags), args.target, show)
    there = f", {done.kept} were there already" if done.kept else ""
    print(f"{args.target}: {done.clips} clips and {done.frames} frames added{there}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from geometrycrafter.data.completeness import check

    with counting("sequences") as show:
        found = check(args.name, args.source, show)
    expected = f" of {found.expected[0] or '?'} and {found.expected[1] or '?'}" if found.expected else ""
    print(f"{args.source}: {found.sequences} sequences, {found.frames} frames{expected}")
    print(f"taken: {found.taken[0]} sequences, {found.taken[1]} frames")
    for line in found.left_out:
        print(line)
    for what, names in (("missing", found.missing), ("broken", found.broken)):
        for name in names[:10]:
            print(f"{what}: {name}")
        if len(names) > 10:
            print(f"{what}: {len(names) - 10} more")
    for kind, count in found.optional.items():
        print(f"not there, and not needed: {count} x {kind}")
    if found.poses:
        apart = sorted(found.poses.values())[len(found.poses) // 2]
        verdict = "poses fit the depth" if apart < 0.03 else "poses do NOT fit the depth; don't use them"
        print(f"depth of neighbouring frames disagrees by {apart:.1%} after reprojection: {verdict}")
    if found.improper:
        print(f"poses are improper, they mirror or stretch the world: {', '.join(found.improper[:3])}")
    print("complete" if found.complete else "incomplete")
    return 0 if found.complete else 1


def call_synthesize(args: argparse.Namespace) -> None:
    from geometrycrafter.data.synthesis import synthesize

    with counting("clips") as show:
        synthesize(args.target, args.clips, args.frames, args.size, args.seed, args.processes, args.world, show)
    print(f"shards: {args.target}")


def call_inspect(args: argparse.Namespace) -> int:
    from geometrycrafter.export.shards import describe

    report = describe(args.target, args.output, every_frame=args.all)
    for line in report.lines():
        print(line)
    return 1 if report.damaged else 0
