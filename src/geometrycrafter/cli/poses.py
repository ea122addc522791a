"""``geometrycrafter poses``: camera poses into a scene, and its depth refined by them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from geometrycrafter.cli.defaults import add_threads
from geometrycrafter.cli.pose_flags import Finding, add_flags, flag_of
from geometrycrafter.cli.pose_stages import Stages
from geometrycrafter.cli.progress import ProgressBar
from geometrycrafter.errors import InputError
from geometrycrafter.settings import argument
from geometrycrafter.video.options import Reading

if TYPE_CHECKING:
    import numpy as np

    from geometrycrafter.cli.pose_stages import Measure
    from geometrycrafter.scene import Scene


PART = ("start", "end", "stride")
"""Flags that choose frames of a longer source."""


def add_parser(commands: Any) -> None:
    """Its flags."""
    parser = commands.add_parser(
        "poses",
        help="find the camera's poses, and refine depth by them",
        description="Find camera-to-world poses of a scene's frames from its point maps and the video that it was made "
        "from, and keep them with the scene.",
    )
    add = parser.add_argument
    add("scene", help="a folder NAME.gc made by 'geometrycrafter run'")
    add_flags(parser, known_poses="--poses")
    add("--device", help="of these networks: cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    add_threads(parser)
    add("--source", metavar="PATH", help="where the video is now")
    for flag, metavar, help in (
        ("--start", "FRAME", "with --source: its first frame that the scene has, where it is a longer video (0)"),
        ("--end", "FRAME", "likewise: the frame to stop before (the end)"),
        ("--stride", "N", "likewise: take every n-th frame (1)"),
    ):
        add(flag, type=argument(Reading, flag[2:]), metavar=metavar, help=help)
    add("--discard", action="store_true", help="take poses and refinement out of the scene again")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    """Find poses and keep them.

    Raises:
        InputError: where the scene, the video, the mask or the poses are at fault.
    """
    from geometrycrafter.scene import open_scene

    asked, part = Finding.of(args), {k: v for k in PART if (v := getattr(args, k)) is not None}
    if part and not args.source:
        raise InputError(f"{flag_of(next(iter(part)))} says which frames of --source the scene has; name that, too.")
    scene = open_scene(args.scene)
    if args.discard:
        from geometrycrafter.poses.stored import discard

        given = [*asked.given, *(flag_of(name) for name in ("source", *part) if getattr(args, name))]
        if given:
            raise InputError(f"--discard takes all of that out, and {given[0]} finds it; give one of them.")
        discard(scene)
        print(f"{args.scene}: depth is as predicted; there are no poses.")
        return
    stages = Stages.load(asked, args.device)
    source = scene.open_source(args.source, Reading(**part) if part else None)
    with ProgressBar(args.scene) as progress:
        find_poses(scene, source, stages, progress, stages.measure(scene, source))


def find_poses(
    scene: Scene,
    frames: Iterable[np.ndarray],
    stages: Stages,
    progress: Any = None,
    measure: Measure | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Find poses of a scene from its frames, ``[H, W, 3]`` each, keep them with it, and say how that went.

    Args:
        scene: to change.
        frames: that it was made from.
        stages: what finds them, and what is known.
        progress: called with a stage, how many frames are done, and of how many.
        measure: gives metres in one unit of each frame's depth; None: they are not known.
        say: called with each line.

    Raises:
        InputError: where an input is at fault.
    """
    from geometrycrafter.poses.estimation import estimate
    from geometrycrafter.poses.pose_matching import Frames
    from geometrycrafter.poses.stored import store

    asked, known = stages.asked, stages.known
    poses = None if known is None else known.at(Frames.of(scene, frames))
    found = estimate(scene.predicted, frames, poses=poses, progress=progress, **stages.of_scene(scene))
    unit = ""
    if measure is not None:
        from geometrycrafter.poses.metres import in_metres

        scales = measure(found)
        found = in_metres(found, scales)
        unit = f", in metres (one unit of depth was {' '.join(f'{m:.4g}' for m in dict.fromkeys(scales.tolist()))} m)"
    store(scene, found)
    sure = int(found.known.sum())
    say(f"poses: {scene.place}, {sure} of {len(found)} frames" + (", depth refined" if asked.refine else "") + unit)
    for note in found.notes:
        say(f"  {note}")
