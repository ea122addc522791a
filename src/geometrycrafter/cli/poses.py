"""``geometrycrafter poses``: camera poses into a scene, and its depth refined by them."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from geometrycrafter.cli.progress import ProgressBar
from geometrycrafter.errors import InputError
from geometrycrafter.files import on_disk

if TYPE_CHECKING:
    import numpy as np

    from geometrycrafter.poses.estimation import Estimate
    from geometrycrafter.poses.masks import Masks
    from geometrycrafter.scene import Scene
    from geometrycrafter.video.reading import FrameSource


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
    add(
        "--mask",
        metavar="PATH",
        help="what moves, white on black: a video or folder, of the scene's frames or the whole video's",
    )
    add(
        "--mask-model",
        metavar="PATH",
        action="append",
        default=[],
        help="carries on what moves in the first frame, which --mask is then a picture of, a colour a thing: XMem.pth "
        "or a folder of SAM 2 or SAM 3; for --mask-at with XMem give SAM's folder, too",
    )
    add(
        "--mask-at",
        metavar="x,y",
        action="append",
        default=[],
        help="a thing that moves, by a point on it in the first frame or a box left,top,right,bottom around it",
    )
    add("--keypoints", metavar="FOLDER", help="SuperPoint, which finds the points that are followed")
    add("--tracker", metavar="FILE", help="SpaTracker's spaT_final.pth, which follows them")
    add("--device", default="cpu", help="of these networks: cpu, cuda, cuda:1, mps")
    add("--refine", action="store_true", help="correct each frame's depth by a coarse grid, solved for with the poses")
    add("--refine-focal", action="store_true", help="find a factor on the focal length, too")
    add(
        "--surfaces",
        action="store_true",
        help="the depth is measured, not predicted: surfaces that frames share lie on one another",
    )
    add(
        "--poses",
        metavar="FILE",
        help="known poses: TUM's or KITTI's lines, COLMAP's images.txt, .bin or project, a recording, a scene",
    )
    add(
        "--distance",
        metavar="x1,y1,x2,y2,METRES[@FRAME]",
        action="append",
        default=[],
        help="how far apart two pixels of a frame (0) of the video are: depth and poses are then in metres",
    )
    add("--metric", metavar="FILE", help="the same by a prior in metres: MoGe-2's model.pt")
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

        _alone(args)
        discard(scene)
        print(f"{args.scene}: depth is as predicted; there are no poses.")
        return
    stages = _stages(args, scene)
    source = scene.open_source(args.source)
    measure = _measure(args, scene, source)
    with ProgressBar(args.scene) as progress:
        find_poses(scene, source, args.refine, args.refine_focal, args.poses, progress, stages, measure)


def _alone(args: argparse.Namespace) -> None:
    """Nothing is to be found where all is taken out.

    Raises:
        InputError: where both are asked for.
    """
    names = ("mask", "mask_model", "mask_at", "keypoints", "tracker", "refine", "refine_focal", "surfaces", "poses")
    for name in (*names, "distance", "metric", "source"):
        if getattr(args, name):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"--discard takes all of that out, and {flag} finds it; give one of them.")


def _place(text: str) -> list[float]:
    """A point ``x,y`` or a box ``left,top,right,bottom``.

    Raises:
        InputError: where it is neither.
    """
    try:
        numbers = [float(n) for n in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 4):
        raise InputError(f"--mask-at {text!r}: give x,y or left,top,right,bottom.")
    return numbers


def _stages(args: argparse.Namespace, scene: Scene) -> dict[str, Any]:
    """What finds moving things, points and tracks, where it is not the embedded ones.

    Raises:
        InputError: where a file is missing or another network's, or flags don't go together.
    """
    check_installed()
    from geometrycrafter.inference.loading import checked_device
    from geometrycrafter.video.reading import open_frames

    places = [_place(text) for text in args.mask_at]
    device = checked_device(args.device)
    stages: dict[str, Any] = {"surfaces": args.surfaces}
    if args.mask_at and (args.mask or not args.mask_model):
        raise InputError("--mask-at wants --mask-model, and no --mask; give places for the network, or a mask.")
    if args.mask_model and not args.mask_at and not args.mask:
        raise InputError("--mask-model wants what moves in the first frame; give --mask FIRST.png or --mask-at x,y.")
    if args.mask_model:
        from geometrycrafter.poses.members.first_frame import open_masks, things_of

        first = None if args.mask is None else things_of(next(iter(open_frames(args.mask))))
        stages["moving"] = open_masks([on_disk(m) for m in args.mask_model], first, places, device)
    elif args.mask:
        stages["moving"] = _masks(args.mask, scene)
    if args.keypoints:
        from geometrycrafter.poses.members.superpoint import SuperPointKeypoints, load_superpoint

        stages["keypoints"] = SuperPointKeypoints(load_superpoint(on_disk(args.keypoints), device))
    if args.tracker:
        from geometrycrafter.poses.members.spatracker import SpaTrackerTracks, load_spatracker

        stages["tracker"] = SpaTrackerTracks(load_spatracker(on_disk(args.tracker), device))
    return stages


def _masks(path: str, scene: Scene) -> list[np.ndarray] | Masks:
    """Masks of a scene's frames, from pictures for each of them or for the whole video that it is cut from.

    Raises:
        InputError: where there are more or fewer.
    """
    from geometrycrafter.poses.masks import Masks
    from geometrycrafter.video.reading import open_frames

    count, record = len(scene), scene.source
    cut = slice(0, None, 1) if record is None else slice(record.start, record.end, record.stride)
    most = count + 1 if (cut.start, cut.step) == (0, 1) else cut.stop  # what is beyond needs no look
    masks = Masks(picture[..., 0] > 127 for picture in islice(open_frames(path), most))
    if len(masks) != count and len(masks[cut]) != count:
        number = "more masks" if len(masks) > count else "one mask" if len(masks) == 1 else f"{len(masks)} masks"
        raise InputError(f"{path}: {number} for {count} frames; give one for each, or those of the whole video.")
    return masks if len(masks) == count else masks[cut]


def check_installed() -> None:
    """Poses need a package that the rest does without.

    Raises:
        InputError: where it isn't there.
    """
    if importlib.util.find_spec("cv2") is None:
        raise InputError("poses need OpenCV; pip install 'geometrycrafter[poses]'.")


def _measure(args: argparse.Namespace, scene: Scene, source: FrameSource) -> Callable[[Estimate], np.ndarray] | None:
    """What tells the unit of an estimate, where something does.

    Raises:
        InputError: where a distance can't be measured, a prior is not in metres, or flags don't go together.
    """
    if bool(args.distance) + bool(args.metric) + bool(args.poses) > 1:
        raise InputError("--distance, --metric and --poses each say what the unit is; give one of them.")
    if args.distance:
        from geometrycrafter.poses.metres import Distance, scales_of_distances

        distances, size = [Distance.of(text) for text in args.distance], (source.height, source.width)
        scales_of_distances(scene.predicted, None, distances, size)  # what is wrong with them is told first
        return lambda found: scales_of_distances(scene.predicted, found, distances, size)
    if args.metric:
        from geometrycrafter.inference.loading import checked_device
        from geometrycrafter.poses.metres import scales_of_prior
        from geometrycrafter.weights.models import load_prior

        prior = load_prior(on_disk(args.metric), checked_device(args.device))
        if not prior.metric:
            raise InputError(f"{args.metric}: this prior is not in metres; give MoGe-2's model.pt.")
        return lambda found: scales_of_prior(scene.predicted, found, prior.begin(), source)
    return None


def find_poses(
    scene: Scene,
    frames: Iterable[np.ndarray],
    refine: bool = False,
    refine_focal: bool = False,
    known: str | None = None,
    progress: Any = None,
    stages: Mapping[str, Any] | None = None,
    measure: Callable[[Estimate], np.ndarray] | None = None,
) -> None:
    """Find poses of a scene from its frames, ``[H, W, 3]`` each, keep them with it, and say how that went.

    Args:
        scene: to change.
        frames: that it was made from.
        refine: its depth, too.
        refine_focal: its focal length, too.
        known: a file of known poses.
        progress: called with a stage, how many frames are done, and of how many.
        stages: what ``moving``, ``keypoints`` and ``tracker`` of :func:`estimate` are, where not the embedded ones.
        measure: gives metres in one unit of each frame's depth; None: they are not known.

    Raises:
        InputError: where an input is at fault, or what this needs is not installed.
    """
    check_installed()
    from geometrycrafter.poses.estimation import estimate
    from geometrycrafter.poses.stored import store
    from geometrycrafter.poses.trajectories import read_trajectory

    poses = None if known is None else read_trajectory(known, scene.times)
    found = estimate(
        scene.predicted,
        frames,
        refine=refine,
        refine_focal=refine_focal,
        poses=poses,
        progress=progress,
        **(stages or {}),
    )
    unit = ""
    if measure is not None:
        from geometrycrafter.poses.metres import in_metres

        scales = measure(found)
        found = in_metres(found, scales)
        unit = f", in metres (one unit of depth was {' '.join(f'{m:.4g}' for m in dict.fromkeys(scales.tolist()))} m)"
    store(scene, found)
    sure = int(found.known.sum())
    print(f"poses: {scene.place}, {sure} of {len(found)} frames" + (", depth refined" if refine else "") + unit)
    for note in found.notes:
        print(f"  {note}")
