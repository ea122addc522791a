"""``geometrycrafter poses``: camera poses into a scene, and its depth refined by them."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from geometrycrafter.cli.progress import ProgressBar
from geometrycrafter.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from geometrycrafter.scene import Scene


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
    add("--mask", metavar="VIDEO_OR_FOLDER", help="what moves, white on black, a picture for each frame")
    add("--refine", action="store_true", help="correct each frame's depth by a coarse grid, solved for with the poses")
    add("--refine-focal", action="store_true", help="find a factor on the focal length, too")
    add("--poses", metavar="FILE", help="known poses: TUM's lines, COLMAP's images.txt or another scene")
    add("--source", metavar="PATH", help="where the video is now")
    add("--discard", action="store_true", help="take poses and refinement out of the scene again")
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    """Find poses and keep them.

    Raises:
        InputError: where the scene, the video, the mask or the poses are at fault.
    """
    from geometrycrafter.scene import open_scene

    scene = open_scene(args.scene)
    if args.discard:
        from geometrycrafter.poses.stored import discard

        discard(scene)
        print(f"{args.scene}: depth is as predicted; there are no poses.")
        return
    with ProgressBar(args.scene) as progress:
        find_poses(
            scene, scene.open_source(args.source), args.refine, args.refine_focal, args.mask, args.poses, progress
        )


def check_installed() -> None:
    """Poses need a package that the rest does without.

    Raises:
        InputError: where it isn't there.
    """
    if importlib.util.find_spec("cv2") is None:
        raise InputError("poses need OpenCV; install geometrycrafter[poses].")


def find_poses(
    scene: Scene,
    frames: Iterable[np.ndarray],
    refine: bool = False,
    refine_focal: bool = False,
    mask: str | None = None,
    known: str | None = None,
    progress: Any = None,
) -> None:
    """Find poses of a scene from its frames, ``[H, W, 3]`` each, keep them with it, and say how that went.

    Raises:
        InputError: where an input is at fault, or what this needs is not installed.
    """
    check_installed()
    from geometrycrafter.poses.estimation import estimate
    from geometrycrafter.poses.stored import store
    from geometrycrafter.poses.trajectories import read_trajectory
    from geometrycrafter.video.reading import open_frames

    moving = None if mask is None else [picture[..., 0] > 127 for picture in open_frames(mask)]
    poses = None if known is None else read_trajectory(known, scene.times)
    found = estimate(
        scene.predicted, frames, moving, refine=refine, refine_focal=refine_focal, poses=poses, progress=progress
    )
    store(scene, found)
    sure = int(found.known.sum())
    print(f"poses: {scene.place}, {sure} of {len(found)} frames" + (", depth refined" if refine else ""))
    for note in found.notes:
        print(f"  {note}")
