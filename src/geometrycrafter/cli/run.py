"""``geometrycrafter run``: videos in, scenes out."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from geometrycrafter.cli.defaults import add_threads
from geometrycrafter.cli.idle_flags import idle_of_model, idle_of_video
from geometrycrafter.cli.pose_flags import Finding, add_flags
from geometrycrafter.cli.pose_stages import Stages
from geometrycrafter.cli.poses import find_poses
from geometrycrafter.cli.run_reports import Reports, reports_of
from geometrycrafter.cli.scene_names import scene_names
from geometrycrafter.cli.sheets import check_sheet, write_sheet
from geometrycrafter.cli.time_left import expected_stages
from geometrycrafter.errors import InputError, reason
from geometrycrafter.export.formats import format_of
from geometrycrafter.files import STREAM, check_named, is_url, on_disk
from geometrycrafter.inference.options import TWO_CAMERAS, Options, processing_size
from geometrycrafter.settings import argument, kinds_of
from geometrycrafter.video.options import Reading

DTYPES = ("float32", "float16", "bfloat16", "auto")

if TYPE_CHECKING:
    from geometrycrafter.inference.estimator import Estimator
    from geometrycrafter.scene import Scene
    from geometrycrafter.video.reading import FrameSource
    from geometrycrafter.video.spooled import Spooled


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="estimate the point maps of videos",
        description="Estimate the point maps of videos and write one scene (a folder NAME.gc) for each.",
    )
    add = parser.add_argument
    add(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video file or URL, folder or quoted glob of images or of videos, or - for standard input",
    )
    add(
        "-o",
        "--output",
        help="the scene's folder; with several videos, the folder of scenes (default: NAME.gc in the current folder)",
    )
    add("--model", help="tiny (embedded, the default), diffusion, deterministic, or a folder of weights")
    add("--variant", choices=("diffusion", "deterministic"), help="which UNet of the model (default: the model's own)")
    add(
        "--depth",
        choices=("estimated", "recorded"),
        default="estimated",
        help="by the model, or as the sensor of an RGB-D recording measured it: VIDEO is then its folder (estimated)",
    )
    add(
        "--quality",
        choices=("fast", "best"),
        help="choose model, variant, size and decoder for this machine, and say what; flags beside it stand",
    )
    place = parser.add_argument_group("which frames, at which size")
    _option(place, "--start", Reading, metavar="FRAME", help="first frame, as a player counts them (0)")
    _option(place, "--end", Reading, metavar="FRAME", help="frame to stop before (default: the video's end)")
    _option(place, "--stride", Reading, metavar="N", help="take every n-th frame (1)")
    _option(place, "--start-time", Reading, metavar="SECONDS", help="pass over what is shown before")
    _option(place, "--end-time", Reading, metavar="SECONDS", help="stop before what is shown from then on")
    _option(place, "--fps", Reading, metavar="RATE", help="resample to a constant rate (default: frames as they are)")
    _option(place, "--size", metavar="HxW", help="processing size, multiples of 64 (default: by shape)")
    _option(place, "--max-size", metavar="PIXELS", help="longest side of the processing size")
    _add_reading(parser)
    _add_networks(parser)
    motion = parser.add_argument_group("the camera's motion", "What follows --poses is as in 'geometrycrafter poses'.")
    motion.add_argument("--poses", action="store_true", help="find the camera's poses, too; so does --refine")
    add_flags(motion)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be read and what it would take, and write nothing"
    )
    said = parser.add_mutually_exclusive_group()
    said.add_argument("--quiet", action="store_true", help="say nothing but errors and warnings")
    said.add_argument("--json", action="store_true", help="say what happens as JSON on stdout, an event a line")
    parser.add_argument(
        "--preview", action="store_true", help="write a sheet of pictures, NAME.preview.png beside the scene"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run that was cut short")
    again.add_argument("--overwrite", action="store_true", help="replace an existing scene")
    parser.set_defaults(call=call, go_on="go on with the same command and --resume")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """Flags of how frames are read."""
    read = parser.add_argument_group("how frames are read")
    _option(
        read, "--deinterlace", Reading, help="mend frames that hold two moments: where they say so, all, none (auto)"
    )
    _option(read, "--bars", Reading, help="black bars: found and left out, or kept as part of the picture (auto)")
    _option(read, "--background", Reading, metavar="R,G,B", help="seen through transparent pixels (0,0,0)")
    _option(read, "--gaps", Reading, help="missing numbers of a sequence leave a gap in time, or none (keep)")
    _option(
        read,
        "--damaged",
        Reading,
        help="a picture of a sequence that can't be read ends the run, or is left out (stop)",
    )
    _option(read, "--strict", Reading, action="store_true", help="refuse a damaged video rather than pass damage over")


def _add_networks(parser: argparse.ArgumentParser) -> None:
    """Flags of what the networks do, and of the camera."""
    how = parser.add_argument_group("how")
    _option(how, "--window", metavar="FRAMES", help="that the network sees at a time (110; tiny: 8, as it learned)")
    _option(how, "--overlap", metavar="FRAMES", help="that windows share (25; tiny: 4)")
    _option(how, "--steps", metavar="N", help=f"sampler steps, diffusion ({Options.steps})")
    _option(how, "--seed", metavar="N", help=f"of the noise, diffusion ({Options.seed})")
    _option(
        how,
        "--cuts",
        metavar="HOW",
        help="where shots begin: found (auto), by TransNet V2 (transnet), at frames (40,80), all is one shot (off); "
        "each has windows and a scale of its own (auto)",
    )
    _option(how, "--decoder", help=f"point-map decoder ({Options.decoder})")
    _option(how, "--steady", help="put the depth of all frames on one footing by the motion of the picture (on)")
    _option(how, "--intrinsics", metavar="fx,fy,cx,cy", help="known camera, pixels of the video")
    how.add_argument(
        "--camera",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="known camera with a lens that bends rays: cameras.txt or .bin of COLMAP, a calibration of OpenCV, or "
        "fx,fy,cx,cy,k1,k2,p1,p2; frames become a pinhole's",
    )
    _option(how, "--focal", help=f"focal lengths ({Options.focal})")
    where = how.add_mutually_exclusive_group()
    where.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    where.add_argument(
        "--devices",
        metavar="LIST",
        help="several that share each clip's work, a process each: cuda:0,cuda:1; all (GPUs); cpu:2 (two processes)",
    )
    add_threads(how)
    how.add_argument("--dtype", choices=DTYPES, help="of the UNet; auto: 16 bits where they are fast (float32)")
    how.add_argument(
        "--offload", action="store_true", help="for small GPUs: the model's parts are on it only while they are needed"
    )
    _option(
        how,
        "--precision",
        help="of prior and point-map VAE: float32 (published), with TensorFloat-32 products on a GPU (tf32), or the "
        "prior's transformer in 16 bits besides (half); the UNet's linear layers in 8 bits (int8, extra 'int8'); or "
        "half where that is fast (auto)",
    )


def _option(group: Any, flag: str, settings: type = Options, **how: Any) -> None:
    """A flag that sets the option of the same name, in the range which that declares.

    Where it isn't given it is not there at all, so that the model's own setting stands.
    """
    kind = kinds_of(settings)[flag.removeprefix("--").replace("-", "_")]
    if typing.get_origin(kind) is Literal:
        how |= {"choices": typing.get_args(kind)}
    elif "action" not in how:
        how |= {"type": argument(kind)}
    group.add_argument(flag, default=argparse.SUPPRESS, **how)


def call(args: argparse.Namespace) -> int:
    """Load the model once, then run video after video; one of several that fails does not stop the others.

    Raises:
        InputError: where an option or the only video is at fault.
    """
    reports = reports_of(args.quiet, args.json)
    with reports.listening():
        return _call(args, reports)


def _call(args: argparse.Namespace, reports: Reports) -> int:
    # Options and inputs are checked before the weights are read, so that a slip costs nothing.
    settings = {k: v for k, v in vars(args).items() if k in kinds_of(Options)}
    Options(**{"overlap": 0} | settings)
    if "camera" in args and "intrinsics" in args:
        raise InputError(TWO_CAMERAS)
    if args.output == "":
        raise InputError("-o: give the folder of the scene.")
    if args.depth == "recorded":
        return _recorded(args, settings, reports)
    pixels = _decided(args, settings, reports)
    videos, several = _inputs(args.videos)
    outputs = _outputs(videos, args.output, several)
    finding = _finding(args, several)
    failures: dict[str, str] = {}
    sources = {}
    for video in videos:
        with _noted(videos, video, failures, reports):
            sources[video] = _opened(args, video)
            if finding is not None and sources[video].once:
                del sources[video]
                raise InputError(f"{video}: frames that can be read only once can't give poses; save them as a file.")
            if args.preview and not args.dry_run:
                check_sheet(outputs[video], args.overwrite or args.resume)
    if args.dry_run:
        _say_of(args, sources, settings, pixels, failures, reports)
    elif sources:
        if finding is not None:  # what is wrong with it is told before the run, and needs no memory meanwhile
            Stages.load(finding, _device(args))
        estimator = _loaded(args)
        estimator.pixels = pixels or estimator.pixels
        for sentence in idle_of_model({k: v for k, v in vars(args).items() if k in kinds_of(Options)}, estimator):
            reports.hint(sentence)
        for video in list(sources):
            with _noted(videos, video, failures, reports):  # below, its temporary file goes when it is done
                _run(args, estimator, (video, sources.pop(video)), outputs[video], settings, finding, reports)
    reports.end(len(videos) - len(failures), len(failures))
    if failures:
        done = "the others are done" if len(failures) < len(videos) else "none is done"
        print(f"error: {len(failures)} of {len(videos)} videos failed, {done}:", file=sys.stderr)
        for video, why in failures.items():
            print(f"  {why if video in why else f'{video}: {why}'}", file=sys.stderr)
    return 2 if failures else 0


def _run(
    args: argparse.Namespace,
    estimator: Estimator,
    clip: tuple[str, FrameSource],
    output: str,
    settings: dict[str, Any],
    finding: Finding | None,
    reports: Reports,
) -> None:
    """One video.

    Raises:
        InputError: where it is at fault.
    """
    video, source = clip
    for sentence in idle_of_video(settings, source.height, source.width, estimator.pixels):
        reports.hint(sentence)
    if (format := format_of(output)) is not None:
        reports.hint(f"{output}: this will be a scene, a folder; 'geometrycrafter export' makes {format} of one.")
    reports.begin(video, source, output, f"{estimator.networks.name} {estimator.networks.variant}")
    expected = expected_stages(args.model, args.variant, settings, finding is not None)
    with reports.progress(source.name, expected) as progress:
        again = {"resume": args.resume, "overwrite": args.overwrite}
        scene = estimator(source, output=output, progress=progress, **again, **settings)
        if finding is not None:
            _pose(scene, source, finding, _device(args), progress, reports)
    reports.scene(video, scene, output, {"preview": str(write_sheet(scene, output))} if args.preview else {})


def _decided(args: argparse.Namespace, settings: dict[str, Any], reports: Reports) -> int | None:
    """Choose what the flags leave open, and say so; pixels of the processing size, None where the model says.

    Raises:
        InputError: where a model that is named is not on this machine.
    """
    if args.quality is not None:
        from geometrycrafter.cli.quality import chosen
        from geometrycrafter.inference.loading import checked_device, devices_of

        device = _device(args) if args.devices is None else devices_of(args.devices)[0]
        checked_device(device)
        choice = chosen(args.quality, args, device)
        reports.hint(choice.told)
        args.model, args.variant, args.dtype, args.offload = choice.model, choice.variant, choice.dtype, choice.offload
        settings |= choice.options
        return choice.pixels
    if args.model is None and not args.dry_run:
        from geometrycrafter.weights.places import is_cached

        if is_cached("diffusion"):
            reports.hint(
                "The published weights are on this machine: --model diffusion is better than the embedded one."
            )
    args.model = args.model or "tiny"
    return None


def _recorded(args: argparse.Namespace, settings: dict[str, Any], reports: Reports) -> int:
    """A scene of a recording.

    Raises:
        InputError: where flags are about a model, or the recording is at fault.
    """
    from geometrycrafter.inference.recorded import recorded_scene

    others = ("model", "variant", "quality", "resume", "dry_run", "camera")
    of_model = [*(k for k in settings if k != "intrinsics"), *(k for k in others if getattr(args, k, None))]
    if of_model:
        raise InputError(f"--{of_model[0].replace('_', '-')} is no use with --depth recorded; leave one of them out.")
    if len(args.videos) > 1 or is_url(args.videos[0]):
        raise InputError("--depth recorded takes the folder of one recording; run them one by one.")
    finding = _finding(args, False)
    if finding is not None:
        Stages.load(finding, _device(args))
    folder, how = args.videos[0], {k: v for k, v in vars(args).items() if k in kinds_of(Reading)}
    output = _outputs([folder], args.output, False)[folder]
    if args.preview:
        check_sheet(output, args.overwrite)
    reports.begin(folder, None, output, "recorded")
    with reports.progress(folder, None) as progress:
        scene = recorded_scene(folder, output, Reading(**how), settings.get("intrinsics"), args.overwrite, progress)
        if finding is not None:
            _pose(scene, scene.open_source(), finding, _device(args), progress, reports)
    reports.scene(folder, scene, output, {"preview": str(write_sheet(scene, output))} if args.preview else {})
    reports.end(1, 0)
    return 0


def _finding(args: argparse.Namespace, several: bool) -> Finding | None:
    """How poses are to be found; None where they aren't.

    Raises:
        InputError: where flags don't go together, or are about one video of several.
    """
    finding = Finding.of(args)
    if not (args.poses or args.refine):
        if finding.given:
            raise InputError(f"{finding.given[0]} says how poses are found; add --poses, or leave it out.")
        return None
    if several and finding.of_one_video:
        raise InputError(f"{finding.of_one_video[0]} is about one video, and there are several; run them one by one.")
    return finding


def _pose(scene: Scene, source: FrameSource, finding: Finding, device: str, progress: Any, reports: Reports) -> None:
    """Poses into a new scene.

    Raises:
        InputError: where what is known of them is no use; says that the scene is finished.
    """
    try:
        stages = Stages.load(finding, device)
        find_poses(scene, source, stages, progress, stages.measure(scene, source), reports.note)
    except InputError as error:
        why = str(error).rstrip(".")
        raise InputError(
            f"{why} (the scene is finished, without poses: 'geometrycrafter poses {scene.place}' finds them)."
        ) from error


def _say_of(
    args: argparse.Namespace,
    sources: dict[str, FrameSource],
    settings: dict[str, Any],
    pixels: int | None,
    failures: dict[str, str],
    reports: Reports,
) -> None:
    """A block of lines for each video; nothing is written."""
    from geometrycrafter.cli.dry_run import described
    from geometrycrafter.weights.places import resolve

    model, every = resolve(args.model, args.variant), [*sources, *failures]
    for video, source in sources.items():
        with _noted(every, video, failures, reports):
            size = {"size": processing_size(source.height, source.width, pixels)} if pixels else {}
            reports.dry_run(video, described(source, *model, settings | size))


@contextlib.contextmanager
def _noted(videos: list[str], video: str, failures: dict[str, str], reports: Reports) -> Iterator[None]:
    """One of several videos may fail: its reason is kept for the end."""
    try:
        yield
    except InputError as error:
        if len(videos) == 1:
            raise
        failures[video] = str(error)
    except (OSError, RuntimeError, MemoryError) as error:  # a disk that fails, memory that is used up, a driver
        if len(videos) == 1 or isinstance(error, BrokenPipeError):
            raise
        failures[video] = f"{video}: {reason(error)}"
    if video in failures:
        reports.failed(video, failures[video])


def _opened(args: argparse.Namespace, video: str) -> FrameSource:
    from geometrycrafter.geometry.lens_files import read_lens
    from geometrycrafter.video.reading import open_frames

    how = {k: v for k, v in vars(args).items() if k in kinds_of(Reading)}
    if "camera" in how:
        how["camera"] = read_lens(how["camera"])
    return open_frames(_standard_input() if video == STREAM else video, Reading(**how))


def _standard_input() -> Spooled:
    """What is piped in."""
    from geometrycrafter.video.spooled import spooled

    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("-: nothing is piped into the program; give a file, or pipe a video in.")
    return spooled(sys.stdin.buffer, "standard input")


def _loaded(args: argparse.Namespace) -> Estimator:
    import torch

    from geometrycrafter.inference.loading import devices_of, load
    from geometrycrafter.inference.precision import Dtype

    several = None if args.devices is None else devices_of(args.devices)
    dtype: Dtype = "auto" if args.dtype == "auto" else getattr(torch, args.dtype or "float32")
    return load(args.model, args.variant, device=_device(args), dtype=dtype, offload=args.offload, devices=several)


def _device(args: argparse.Namespace) -> str:
    from geometrycrafter.inference.loading import checked_device

    return str(checked_device(args.device))


def _inputs(given: list[str]) -> tuple[list[str], bool]:
    """Every input, and whether they are several: a folder or glob of videos is, however many there are."""
    from geometrycrafter.video.sequences import clips_of

    found: list[str] = []
    several = len(given) > 1
    for text in given:
        clips = None
        if text != STREAM and not is_url(text):
            check_named(text)
            clips = clips_of(text)
        several = several or clips is not None
        found += [text] if clips is None else clips
    return found, several


def _outputs(videos: list[str], output: str | None, several: bool) -> dict[str, str]:
    """A scene for each video: named after it in the current folder, or where the output says."""
    names = scene_names(videos)
    if output is None:
        return {video: f"{name}.gc" for video, name in zip(videos, names, strict=True)}
    place = on_disk(output, "the folder of scenes" if several else "the scene")
    if not several:
        return {videos[0]: output}
    from geometrycrafter.scene.writer import is_scene

    if is_scene(place):
        raise InputError(f"{output}: this is a scene; with several videos, name the folder of scenes.")
    places = [os.path.join(output, f"{name}.gc") for name in names]  # noqa: PTH118 (as given)
    return dict(zip(videos, places, strict=True))
