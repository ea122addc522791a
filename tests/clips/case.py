"""What one row of the table says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Place = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Case:
    """An input, and everything that is true of it by construction."""

    name: str
    make: Callable[[Path], Any]
    """Folder -> what ``open_frames`` is given."""
    numbers: tuple[int, ...] | None = None
    """The numbers that the frames carry, in order; also says that they stand upright."""
    count: int | None = None
    """How many frames there are, where they carry no numbers."""
    size: tuple[int, int] = (64, 96)
    """Height and width with square pixels, upright."""
    times: tuple[float, ...] | None = None
    """Seconds of each frame after the first; None expects an even rate of 10."""
    reading: dict[str, Any] = field(default_factory=dict)
    """Options other than the defaults of ``Reading``."""
    patches: tuple[tuple[Place, Colour], ...] = ()
    """Places in shares of the picture, and their sRGB colour in [0, 255] in every frame."""
    tolerance: float = 1.0
    """Mean difference of the patches that is allowed, of 255."""
    warns: tuple[str, ...] = ()
    """Words of which one must be in a warning; without them no warning may come."""
    refuses: tuple[str, ...] = ()
    """Words of which each must be in the one sentence of the refusal."""
    shown: tuple[tuple[int, int, int, int], ...] | None = None
    """Top, left, bottom, right of the picture inside bars, a frame."""
    authority: bool = True
    """Whether the ffmpeg program, with its defaults, shows the same frames."""
    even: bool = True
    """Whether times are compared at all."""
    combed: bool | None = None
    """Whether lines of two moments alternate where things move; None where nothing is said."""
