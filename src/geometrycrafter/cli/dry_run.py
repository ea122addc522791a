"""``geometrycrafter run --dry-run``: what would be read of a video, and what a run of it would take."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.cores import allowed_cores
from geometrycrafter.errors import InputError
from geometrycrafter.inference.expectation import expected
from geometrycrafter.inference.loading import defaults_of
from geometrycrafter.inference.look import check_within, cuts_of
from geometrycrafter.inference.record import sizes_of
from geometrycrafter.inference.windows import plan
from geometrycrafter.scene.shots import spans_of, told_shots
from geometrycrafter.video.bars import Bars
from geometrycrafter.video.details import Details, details_of
from geometrycrafter.video.orientation import Orientation
from geometrycrafter.video.reading import FrameSource, Look

STEADY = 0.01
"""Share by which frames of a constant rate may be apart from each other."""


def described(source: FrameSource, root: Path, variant: str, settings: dict[str, Any]) -> str:
    """A block of lines on one video.

    Args:
        source: as it would be read.
        root: of the model's folder.
        variant: of its UNet.
        settings: options that were given.

    Raises:
        InputError: where the video can't be read to its end, or an option or the model is at fault.
    """
    pixels, defaults = defaults_of(root, variant)
    options = replace(defaults, **settings)
    times, look = source.survey(cuts=cuts_of(source, options))
    bars, firsts = look.bars, look.shots or (0,)
    check_within(firsts, len(times))
    shots = spans_of(firsts, len(times))
    bars = Bars.none(source.height, source.width) if options.exact else bars
    sizes = list(dict.fromkeys(size[1:] for size in sizes_of(Look(bars, firsts), options, pixels)))
    options = replace(options, size=max(sizes, key=math.prod), max_size=None)
    windows = [
        replace(w, start=first + w.start, end=first + w.end)
        for first, end in shots
        for w in plan(end - first, options.window, options.overlap, options.exact)
    ]
    cost = expected(root, variant, options, windows, source.height, source.width)
    seconds = cost.core_seconds / min(torch.get_num_threads(), allowed_cores())
    longest = max(w.frames for w in windows)
    rows = [
        *_file(source),
        ("frames", f"{len(times)} of {source.width}x{source.height}"),
        ("rate", _rate(times, source.fps)),
        ("times", f"{times[0]:.3f} to {times[-1]:.3f} s"),
        ("bars", _bars(bars, source)),
        ("shots", told_shots(shots)),
        ("processing", ", ".join(f"{width}x{height} (--size {height}x{width})" for height, width in sizes)),
        ("windows", f"{len(windows)} of {longest} frames" + _sharing(len(windows) - len(shots), options.overlap)),
        ("expected", f"about {_duration(seconds)} on this CPU, {cost.memory / 1024:.1f} GiB of memory"),
    ]
    return "\n".join([source.name, *(f"  {name:<12}{text}" for name, text in rows)])


def _file(source: FrameSource) -> list[tuple[str, str]]:
    """What the file says of itself; of a sequence, its first picture."""
    first = source.origin[0] if source.kind == "images" else source.origin
    rows = [("pictures", f"{len(source.origin)}, the first {Path(first).name}")] if source.kind == "images" else []
    details = _details(source)
    if details is None:
        return [*rows, ("stream", "pages of one file, in RGB")]
    return [
        *rows,
        ("stream", details.stream),
        ("codec", details.codec),
        (
            "stored",
            f"{details.stored[1]}x{details.stored[0]}, pixels {_ratio(details.pixel_aspect)}{_cropped(details)}",
        ),
        ("orientation", _turn(details.orientation)),
        ("colour", f"{details.colour}, {details.bits} bits"),
        ("interlaced", _fields(details, source.how.deinterlace)),
    ]


def _details(source: FrameSource) -> Details | None:
    """Of the file, or of the first picture that can be read."""
    if source.kind != "images":
        return details_of(source.origin)
    for path in source.origin:
        try:
            return details_of(path)
        except InputError:
            if source.how.damaged == "stop":
                raise
    return None


def _ratio(aspect: Fraction) -> str:
    return "1:1" if aspect == 1 else f"{aspect.numerator}:{aspect.denominator}, made square"


def _cropped(details: Details) -> str:
    height, width = details.cropping.size(*details.stored)
    return f", {width}x{height} of it shown" if any(details.cropping) else ""


def _turn(orientation: Orientation) -> str:
    turned = f"turned by {orientation.degrees} degrees" if orientation.degrees else ""
    mirrored = "mirrored" if orientation.reflects else ""
    return " and ".join(filter(None, (turned, mirrored))) or "upright"


def _fields(details: Details, how: str) -> str:
    mended = how == "on" or (how == "auto" and details.interlaced)
    return (
        f"{'yes' if details.interlaced else 'no'}, by its first frame; {'deinterlaced' if mended else 'left as it is'}"
    )


def _rate(times: list[float], said: float) -> str:
    steps = np.diff(times)
    if not len(steps):
        return f"{said:.6g} frames/s"
    if steps.max() - steps.min() <= max(STEADY * steps.mean(), 2e-3):  # some files keep milliseconds
        return f"{said:.6g} frames/s, constant"
    return f"{said:.6g} frames/s, varying: {steps.min():.4g} to {steps.max():.4g} s a frame"


def _bars(bars: Bars, source: FrameSource) -> str:
    if source.how.bars == "keep":
        return "kept"
    box = bars.union
    changes = len(bars.changes) - 1
    if box.size == (source.height, source.width) and not changes:
        return "none"
    text = f"picture {box.size[1]}x{box.size[0]} at {box.left},{box.top}"
    return text + (f"; they change {changes} time{'s' if changes > 1 else ''}" if changes else "")


def _sharing(joints: int, overlap: int) -> str:
    return f", {overlap} shared by neighbours" if joints else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
