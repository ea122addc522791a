"""Video and image files to upright frames of square pixels with their times, through ffmpeg's libraries."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from geometrycrafter.errors import InputError, reason
from geometrycrafter.video.bars import brightest
from geometrycrafter.video.colour import Converter, colour_of, luma, without_conversion
from geometrycrafter.video.cropping import cropping_of
from geometrycrafter.video.frames import as_frame
from geometrycrafter.video.heif import nclx_of
from geometrycrafter.video.options import Reading
from geometrycrafter.video.orientation import Orientation, of_frame
from geometrycrafter.video.sequences import VIDEO_SUFFIXES
from geometrycrafter.video.stills import check_jpeg, kind_of, orientation_in, pages
from geometrycrafter.video.streams import (
    FASTEST,
    open_container,
    pixel_aspect_of,
    rate_of,
    shown_count,
    shown_frames,
    video_stream,
)
from geometrycrafter.video.timing import RATE, Clock

NEARLY_SQUARE = 0.005
"""Pixels whose sides differ by less are taken for square."""


@dataclass(frozen=True)
class Header:
    """What a file says of its video, and its first frame shows."""

    height: int
    width: int
    """Of frames that stand upright and have square pixels."""
    rate: float
    """Frames a second."""
    count: int | None
    """Frames that are shown, where the file's own table of them is there."""
    pixel_aspect: float
    """Width over height of a pixel of the upright frames as they are stored, before it was undone; 1 where nothing is
    said."""
    orientation: int
    """Degrees, counterclockwise, that frames are turned by to stand upright: 0, 90, 180 or 270."""
    still: bool = False
    """Whether it is one picture, no clip."""


def read_header(path: os.PathLike[str]) -> Header:
    """What a video file, or a file of pictures, says of itself.

    Raises:
        InputError: where it holds no video, or none that can be decoded.
    """
    kind = kind_of(path)
    found = pages(path, kind)
    if found is not None:
        stamps = [stamp for stamp, _ in found]
        height, width = as_frame(next(_paged(path))[1], str(path)).shape[:2]
        span = stamps[-1] if len(stamps) > 1 else None
        rate = RATE if not span else min((len(stamps) - 1) / span, FASTEST)
        return Header(height, width, rate, len(stamps), 1.0, 0, still=len(stamps) == 1)
    with open_container(path) as container:
        stream = video_stream(container, path)
        rate, count, aspect = rate_of(stream), shown_count(container, stream), pixel_aspect_of(stream)
        still = (container.format.name.endswith(("_pipe", "image2")) and not _is_moving(path)) or kind == "avif"
        frame = next(_shown(path, container, stream))
        orientation = _Stand(frame, path).of(frame)
        shown = cropping_of(path, container, stream).size(frame.height, frame.width)
        height, width = orientation.size(*square_size(*shown, aspect))
    upright = 1 / aspect if orientation.transposed else aspect
    return Header(height, width, rate, count, float(upright), orientation.degrees, still)


def _paged(
    path: os.PathLike[str], background: tuple[int, int, int] = (0, 0, 0)
) -> Iterator[tuple[float | None, np.ndarray]]:
    found = pages(path, kind_of(path))
    assert found is not None
    return ((stamp, as_frame(pixels, str(path), background)) for stamp, pixels in found)


class _Stand:
    """How frames of a file lie: each as its own tags say, or all as the EXIF block has it that comes with the first.

    Args:
        first: frame.
        path: of the file.
    """

    def __init__(self, first: Any, path: os.PathLike[str]):
        self._of_all = (orientation_in(path) or Orientation()) if of_frame(first) is None else None

    def of(self, frame: Any) -> Orientation:
        """Of one frame."""
        return self._of_all or of_frame(frame) or Orientation()


def square_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """Height and width with square pixels: lines stay as they are.

    Args:
        height: stored, pixels.
        width: likewise.
        aspect: width over height of a stored pixel.
    """
    return height, width if abs(aspect - 1) < NEARLY_SQUARE else max(1, round(width * aspect))


def decode(path: os.PathLike[str], how: Reading | None = None) -> Iterator[tuple[float | None, np.ndarray]]:
    """Time stamp in seconds, where there is one, and picture ``[H, W, 3]`` of every frame, in display order.

    Pictures are uint8, or float32 in [0, 1] where the source has more than eight bits.

    Args:
        path: of a video, or of a file of several pictures.
        how: damage, interlaced frames and transparent pixels are dealt with.

    Raises:
        InputError: where the file holds no video, or too much of it is damaged.
    """
    how = how or Reading()
    if pages(path, kind_of(path)) is not None:
        yield from _paged(path, how.background)
        return
    with open_container(path) as container:
        stream = video_stream(container, path)
        aspect = pixel_aspect_of(stream)
        frames = _tagged(_shown(path, container, stream, how.strict), path)
        first = next(frames)
        stand, clock = _Stand(first, path), _clock(container, stream)
        if strange := without_conversion(first):
            warnings.warn(
                f"{path}: its colours are coded as {strange}, which has no conversion here; they are read as "
                f"{colour_of(first).matrix}, and will be off: convert the video",
                stacklevel=2,
            )
        cropping = cropping_of(path, container, stream)
        shown = cropping.size(first.height, first.width)
        size = square_size(*shown, aspect)
        converter = Converter(how.deinterlace, how.background, None if size == shown else size, cropping)
        try:
            for frame, picture in converter.pictures(_chained(first, frames)):
                yield clock.seconds(frame), stand.of(frame).apply(picture)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: a frame can't be converted ({reason(error)}); convert the video.") from error


def glance(path: os.PathLike[str], how: Reading | None = None) -> Iterator[tuple[float | None, np.ndarray]]:
    """The same frames at a fraction of the cost: time stamp and brightness ``[H, w]`` uint8, upright.

    Brightness is luma as it is coded, or the largest of red, green and blue. Pixels are as they are stored, so that
    there may be more or fewer columns than in the pictures.

    Args:
        path: of a video, or of a file of several pictures.
        how: damage and transparent pixels are dealt with.

    Raises:
        InputError: where the file holds no video, or too much of it is damaged.
    """
    how = how or Reading()
    if pages(path, kind_of(path)) is None:
        with open_container(path) as container:
            stream = video_stream(container, path)
            frames = _shown(path, container, stream, how.strict)
            first = next(frames)
            stand, clock = _Stand(first, path), _clock(container, stream)
            cropping = cropping_of(path, container, stream)
            if luma(first) is not None:
                for frame in _chained(first, frames):
                    if (plane := luma(frame)) is not None:
                        yield clock.seconds(frame), stand.of(frame).apply(cropping.of(plane))
                return
    yield from ((stamp, brightest(picture)) for stamp, picture in decode(path, how))


def _tagged(frames: Iterator[Any], path: os.PathLike[str]) -> Iterator[Any]:
    """Frames with the colours that the boxes of a picture say, which go before what its bits say."""
    nclx = nclx_of(path) if kind_of(path) == "avif" else None
    for frame in frames:
        if nclx is not None:
            frame.color_primaries, frame.color_trc, frame.colorspace = nclx.primaries, nclx.transfer, nclx.matrix
            frame.color_range = 2 if nclx.full else 1
        yield frame


def _shown(path: os.PathLike[str], container: Any, stream: Any, strict: bool = False) -> Iterator[Any]:
    """The frames of a video, or of a picture that is all there."""
    if container.format.name in ("jpeg_pipe", "image2") and not _is_moving(path):
        check_jpeg(path)
    return shown_frames(path, container, stream, strict)


def _is_moving(path: os.PathLike[str]) -> bool:
    """Whether JPEGs in a row are a video, by the file's name; they may be previews of one picture."""
    return Path(os.fspath(path)).suffix.lower() in VIDEO_SUFFIXES


def _clock(container: Any, stream: Any) -> Clock:
    jumps = bool(container.format.flags & av.format.Flags.ts_discont.value)
    return Clock(rate_of(stream), jumps, in_turn=container.format.name == "avi")


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def picture_size(path: os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a picture, upright, without decoding it where its header says them.

    Raises:
        InputError: where the file holds no picture.
    """
    if kind_of(path):
        header = read_header(path)
        return header.height, header.width
    with open_container(path) as container:
        stream = video_stream(container, path)
        height, width, aspect = stream.codec_context.height, stream.codec_context.width, pixel_aspect_of(stream)
    if not height or not width:
        header = read_header(path)
        return header.height, header.width
    return (orientation_in(path) or Orientation()).size(*square_size(height, width, aspect))


def read_image(path: os.PathLike[str], how: Reading | None = None) -> np.ndarray:
    """A picture, or a file's first one: ``[H, W, 3]`` uint8, or float32 in [0, 1].

    Raises:
        InputError: where the file holds none that can be decoded.
    """
    return next(decode(path, how))[1]
