"""What is known of a clip before its frames are used: bars and shots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.inference.options import Options
from geometrycrafter.inference.record import RunRecord
from geometrycrafter.video.reading import FrameSource, Look

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress

LOOK = 50
"""Frames between reports of the look, which goes through thousands a minute."""


def looked(source: FrameSource, options: Options, known: RunRecord | None, progress: Progress) -> Look:
    """Where the picture is in each frame, and where shots begin.

    Args:
        source: of the frames.
        options: the published procedure knows of no bars.
        known: a run's record, which says so where it looked at the same frames.
        progress: called now and then.

    Raises:
        InputError: where shots are to begin that the clip is too short for, or the network that finds them is missing.
    """
    if known is not None and (look := known.look_of(source, options)) is not None:
        return look

    def told(done: int) -> None:
        if done % LOOK == 0:
            progress("look", done, source.count)

    return source.look(bars=not options.exact, cuts=cuts_of(source, options), told=told)


def cuts_of(source: FrameSource, options: Options) -> bool | tuple[int, ...]:
    """The first frame of each shot, where they are known before the look; else whether it looks for them.

    Raises:
        InputError: as :func:`looked`.
    """
    if options.cuts == "transnet":
        return _by_transnet(source)
    if isinstance(options.cuts, str):
        return options.cuts == "auto"
    check_within(options.cuts, source.count)
    return (0, *options.cuts)


def check_within(firsts: tuple[int, ...], count: int | None) -> None:
    """Refuse shots that begin after the clip's end.

    Raises:
        InputError: names the frame.
    """
    if count is not None and firsts and firsts[-1] >= count:
        raise InputError(f"--cuts {firsts[-1]}: the clip has {count} frames; give frames before its end.")


def _by_transnet(source: FrameSource) -> tuple[int, ...]:
    from geometrycrafter.video import transnet

    if source.once:
        raise InputError(
            f"{source.name}: its frames can be had once, and --cuts transnet looks first; use --cuts auto."
        )

    def sound() -> Iterator[np.ndarray]:
        with contextlib.suppress(InputError):  # who reads the frames is told
            yield from source

    return tuple(transnet.find_cuts(sound())) or (0,)
