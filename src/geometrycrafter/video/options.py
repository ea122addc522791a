"""How a source of frames is to be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.settings import Count, Index, Range, Rate, Settings, Written

Seconds = Annotated[float, Range(0, 1e6)]
Level = Annotated[int, Range(0, 255)]
Colour = Annotated[tuple[Level, Level, Level], Written("R,G,B", ",")]


@dataclass(frozen=True)
class Reading(Settings):
    """What is taken of a source, and how its frames are made.

    Attributes:
        start: first frame, counted as a player shows them.
        end: frame to stop before; None: the end.
        stride: take every n-th frame.
        start_time: seconds from the first frame; frames before are passed over.
        end_time: seconds from the first frame to stop before.
        fps: resample to a constant rate: what is on show at each moment; None: the frames as they are.
        strict: refuse a video with damage, rather than pass it over.
        background: seen through transparent pixels, 0 to 255 each.
        deinterlace: ``auto`` mends frames that say that they are interlaced, ``on`` all, ``off`` none.
        gaps: numbers that are missing in a sequence of pictures leave a gap in time (``keep``), or don't (``close``).
        damaged: a picture of a sequence that can't be read: ``stop``, or ``skip`` it and say so.
        bars: black bars around the picture are found and left out (``auto``), or taken for picture (``keep``).
        camera: of a lens that bends rays: frames become what a pinhole sees, see :mod:`.undistortion`; None: they stay.

    Raises:
        InputError: names the option that is out of its range, or two that select nothing.
    """

    start: Index = 0
    end: Count | None = None
    stride: Count = 1
    start_time: Seconds | None = None
    end_time: Seconds | None = None
    fps: Rate | None = None
    strict: bool = False
    background: Colour = (0, 0, 0)
    deinterlace: Literal["auto", "on", "off"] = "auto"
    gaps: Literal["keep", "close"] = "keep"
    damaged: Literal["stop", "skip"] = "stop"
    bars: Literal["auto", "keep"] = "auto"
    camera: Lens | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end is not None and self.end <= self.start:
            raise InputError(f"--start {self.start} --end {self.end} selects no frame: end must be beyond start.")
        if self.end_time is not None and self.end_time <= (self.start_time or 0):
            raise InputError(
                f"--start-time {self.start_time or 0:g} --end-time {self.end_time:g} selects no frame: the end must be "
                "later than the start."
            )

    @property
    def making(self) -> Reading:
        """The same without which frames are counted out: how those that are taken come to be."""
        return replace(self, start=0, end=None, stride=1)
