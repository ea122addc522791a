"""The eight ways that a picture may lie in its file, and back upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Orientation:
    """What stands a stored picture upright: axes exchanged, then left and right, then top and bottom."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @property
    def degrees(self) -> int:
        """Counterclockwise turn, the mirror image apart: 0, 90, 180 or 270."""
        if not self.transposed:
            return 180 if self.mirrored and self.flipped else 0
        return 90 if self.flipped and not self.mirrored else 270 if self.mirrored and not self.flipped else 90

    @property
    def reflects(self) -> bool:
        """Whether it is a mirror image."""
        return self.transposed ^ self.mirrored ^ self.flipped

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after it."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """``[H, W, ...]`` upright: ``[H, W, ...]``, or ``[W, H, ...]`` where it lay on its side."""
        if self == Orientation():
            return picture
        turned = picture.swapaxes(0, 1) if self.transposed else picture
        return np.ascontiguousarray(turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])


# EXIF 2.32, table 6: where the stored rows and columns begin.
EXIF = {
    1: Orientation(),
    2: Orientation(mirrored=True),
    3: Orientation(mirrored=True, flipped=True),
    4: Orientation(flipped=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, mirrored=True),
    7: Orientation(transposed=True, mirrored=True, flipped=True),
    8: Orientation(transposed=True, flipped=True),
}
"""By the value of the EXIF tag."""


def of_display_matrix(matrix: np.ndarray) -> Orientation:
    """The nearest of the eight to a display matrix of MP4, ``[9]`` integers (ISO 14496-12, 8.2.2).

    A stored point (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def of_frame(frame: Any) -> Orientation | None:
    """The orientation that a decoded frame is tagged with; None where an EXIF block hides what its tags say."""
    try:
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                return of_display_matrix(np.frombuffer(bytes(data), np.int32))
    except ValueError:  # side data of a kind that the library has no name for: EXIF
        return None
    return Orientation()
