"""``geometrycrafter run``: videos in, scenes out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.cli.progress import ProgressBar
from geometrycrafter.errors import InputError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="estimate the point maps of videos",
        description="Estimate the point maps of videos and write one scene (a folder NAME.gc) for each.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="video file, folder of images, or quoted glob of images")
    add(
        "-o", "--output", required=True, type=Path, help="the scene's folder; with several videos, the folder of scenes"
    )
    add("--model", default="tiny", help="tiny (embedded), diffusion, deterministic, or a folder of weights")
    add("--variant", choices=("diffusion", "deterministic"), help="which UNet of the model (default: the model's own)")
    place = parser.add_argument_group("which frames, at which size")
    place.add_argument("--start", type=int, default=0, help="first frame")
    place.add_argument("--end", type=int, help="frame to stop before (default: the video's end)")
    place.add_argument("--stride", type=int, default=1, help="take every n-th frame")
    place.add_argument(
        "--size", type=parse_size, metavar="HxW", help="processing size, multiples of 64 (default: by shape)"
    )
    place.add_argument("--max-size", type=int, metavar="PIXELS", help="longest side of the processing size")
    how = parser.add_argument_group("how")
    how.add_argument("--window", type=int, help="frames that the network sees at a time (110; tiny: 8, as it learned)")
    how.add_argument("--overlap", type=int, help="frames that windows share (25; tiny: 4)")
    how.add_argument("--steps", type=int, default=5, help="sampler steps (diffusion)")
    how.add_argument("--seed", type=int, default=0, help="of the noise (diffusion)")
    how.add_argument("--decoder", choices=("full", "light"), default="full", help="point-map decoder")
    how.add_argument(
        "--intrinsics", type=parse_intrinsics, metavar="fx,fy,cx,cy", help="known camera, pixels of the video"
    )
    how.add_argument("--focal", choices=("shared", "per-frame", "free"), default="shared", help="focal lengths")
    how.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    how.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the UNet")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run that was cut short")
    again.add_argument("--overwrite", action="store_true", help="replace an existing scene")
    parser.set_defaults(call=call)


def parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give height x width, such as 192x320")
    return int(height), int(width)


def parse_intrinsics(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is no camera; give fx,fy,cx,cy in pixels, such as 585,585,320,240")
    return values


def call(args: argparse.Namespace) -> None:
    """Load the model once, then run video after video."""
    from geometrycrafter.inference.options import Options, processing_size
    from geometrycrafter.video.reading import open_frames

    # Options and inputs are checked before the weights are read, so that a slip costs nothing.
    settings: dict[str, Any] = {
        k: getattr(args, k) for k in ("window", "overlap", "steps", "seed", "decoder", "intrinsics", "focal", "size")
    }
    settings = {k: v for k, v in settings.items() if v is not None or k not in ("window", "overlap")}
    Options(**{"overlap": 0} | settings)
    if args.size and args.max_size:
        raise InputError("--size and --max-size exclude each other; give one.")
    if args.max_size is not None and args.max_size < 64:
        raise InputError(f"--max-size {args.max_size}: the processing size is at least 64.")
    outputs = _outputs(args.videos, args.output)
    sources = [open_frames(v).cut(args.start, args.end, args.stride) for v in args.videos]

    import torch

    from geometrycrafter.inference.loading import load

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    estimator = load(args.model, args.variant, device=device, dtype=getattr(torch, args.dtype))
    for source, output in zip(sources, outputs, strict=True):
        size = args.size
        if args.max_size:
            size = processing_size(source.height, source.width, estimator.pixels)
            shrink = min(1.0, args.max_size / max(source.height, source.width) / 1.0)
            limit = [max(64, int(s * shrink) // 64 * 64) for s in (source.height, source.width)]
            size = (min(size[0], limit[0]), min(size[1], limit[1]))
        with ProgressBar(source.name) as progress:
            estimator(
                source,
                output=output,
                resume=args.resume and output.exists(),
                overwrite=args.overwrite,
                progress=progress,
                **(settings | {"size": size}),
            )
        print(f"scene: {output}")


def _outputs(videos: list[str], output: Path) -> list[Path]:
    """One scene for each video: the output itself, or folders in it."""
    if len(videos) == 1:
        return [output]
    names = [f"{Path(v.rstrip('/*')).stem or 'video'}.gc" for v in videos]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise InputError(f"two videos would both write {output / twice}; rename one or run them one at a time.")
    return [output / n for n in names]
