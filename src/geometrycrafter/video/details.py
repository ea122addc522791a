"""What a file says of its video, in full: what people look at where a clip doesn't come out as it should."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from geometrycrafter.video.colour import HLG, PQ, colour_of, without_conversion
from geometrycrafter.video.cropping import Cropping, cropping_of
from geometrycrafter.video.orientation import Orientation, of_frame
from geometrycrafter.video.stills import kind_of, orientation_in, pages
from geometrycrafter.video.streams import open_container, pixel_aspect_of, shown_frames, video_stream

TRANSFERS = {1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "BT.601", 7: "SMPTE 240M", 8: "linear", 13: "sRGB"} | {
    14: "BT.2020",
    15: "BT.2020",
    PQ: "PQ",
    HLG: "HLG",
}
"""Transfer characteristics of H.273."""


@dataclass(frozen=True)
class Details:
    """Of a video's stream, or of a picture, and of its first frame."""

    stream: str
    """Which of which: ``stream 0 of 2 in mov``."""
    codec: str
    """With profile and pixel format."""
    stored: tuple[int, int]
    """Height and width of frames as they are stored."""
    cropping: Cropping
    """What of their edges isn't shown."""
    pixel_aspect: Fraction
    """Width over height of a stored pixel."""
    orientation: Orientation
    """What stands frames upright."""
    colour: str
    """Matrix, range and transfer, tagged or assumed."""
    bits: int
    """Of a component, at most."""
    interlaced: bool
    """Whether the first frame says that it holds two moments."""


def details_of(path: os.PathLike[str]) -> Details | None:
    """Of a video or a picture; None of a file of pages, which is read in another way.

    Raises:
        InputError: where the file holds no video, or none that can be decoded.
    """
    if pages(path, kind_of(path)) is not None:
        return None
    with open_container(path) as container:
        stream = video_stream(container, path)
        aspect = pixel_aspect_of(stream)
        frame = next(shown_frames(path, container, stream))
        streams = container.streams
        others = ", ".join(f"{s.index} {s.type}" for s in streams if s.index != stream.index)
        where = f"{stream.index} of {len(streams)} in {container.format.name.split(',')[0]}"
        context = stream.codec_context
        profile = f" ({context.profile})" if context.profile else ""
        tagged = of_frame(frame)
        return Details(
            stream=where + (f"; beside it {others}" if others else ""),
            codec=f"{context.name}{profile}, {frame.format.name}",
            stored=(frame.height, frame.width),
            cropping=cropping_of(path, container, stream),
            pixel_aspect=aspect,
            orientation=(tagged if tagged is not None else orientation_in(path)) or Orientation(),
            colour=_colour(frame),
            bits=max(c.bits for c in frame.format.components),
            interlaced=bool(frame.interlaced_frame),
        )


def _colour(frame: Any) -> str:
    colour, transfer = colour_of(frame), TRANSFERS.get(int(frame.color_trc))
    said = {True: "tagged", False: "assumed"}
    strange = without_conversion(frame)
    matrix = (
        f"{strange}, read as {colour.matrix}"
        if strange
        else "RGB or grey"
        if colour.matrix is None
        else f"{colour.matrix} ({said[colour.matrix_tagged]})"
    )
    kind = f"{'full' if colour.full else 'limited'} range ({said[colour.range_tagged]})"
    curve = "transfer of the display (assumed)" if transfer is None else f"transfer {transfer} (tagged)"
    return f"{matrix}, {kind}, {curve}"
