"""Masks of what moves, a bit a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import cv2
import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.poses.by_frame import ByFrame

ALIKE = 0.05
"""Shares by which the shapes of masks and of frames may differ: processing sizes are rounded."""


class Masks(ByFrame):
    """``[h, w]`` bool of each frame, kept small.

    Args:
        masks: to begin with.
    """

    def __init__(self, masks: Iterable[Any] = ()):
        self._packed: list[tuple[tuple[int, ...], np.ndarray]] = []
        for mask in masks:
            self.append(mask)

    def append(self, mask: Any) -> None:
        """Keep one more, ``[h, w]``.

        Raises:
            InputError: where it is no picture of true and false.
        """
        values = np.asarray(mask)
        if values.ndim != 2 or 0 in values.shape:
            raise InputError("moving has frames of another shape than [H, W]; give [T, H, W] bool.")
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise InputError("moving holds values that are neither true nor false; give [T, H, W] bool.")
        self._packed.append((values.shape, np.packbits(values.astype(bool))))

    def __len__(self) -> int:
        return len(self._packed)

    def of(self, frame: int) -> np.ndarray:
        """That of a frame, ``[h, w]`` bool."""
        shape, packed = self._packed[frame]
        return np.unpackbits(packed, count=shape[0] * shape[1]).view(bool).reshape(shape)

    def static(self, size: tuple[int, ...]) -> Static:
        """What doesn't move, at a size."""
        return Static(self, size)


class Static(ByFrame):
    """Where points may be: ``[H, W]`` bool of each frame, made as it is asked for.

    Args:
        moving: what they may not be on.
        size: height and width.
    """

    def __init__(self, moving: Masks, size: tuple[int, ...]):
        self._moving, self._size = moving, size

    def __len__(self) -> int:
        return len(self._moving)

    def of(self, frame: int) -> np.ndarray:
        """That of a frame, ``[H, W]`` bool."""
        return ~mask_at_size(self._moving[frame], self._size)


def given_masks(moving: Any, count: int) -> Masks:
    """Masks of what moves, one for each frame.

    Raises:
        InputError: where their number is another.
    """
    try:
        masks = Masks(islice(iter(moving), count + 1))
    except TypeError as error:
        raise InputError("moving is no list of masks; give [T, H, W] bool.") from error
    if len(masks) != count:
        if len(masks) == 1:
            raise InputError(f"there is one mask for {count} frames; give one for each, or what carries it on.")
        more = "more" if len(masks) > count else str(len(masks))
        raise InputError(f"there are {more} masks for {count} frames; give one for each.")
    return masks


def check_masks(masks: Masks, frames: tuple[int, ...], scene: tuple[int, ...]) -> None:
    """Whether masks can be those of a clip.

    Args:
        masks: of what moves.
        frames: their height and width.
        scene: its height and width.

    Raises:
        InputError: where they have another shape than the pictures, or all of every frame moves.
    """
    for t, mask in enumerate(masks):
        height, width = mask.shape
        if all(abs(np.log(width * h / (height * w))) > ALIKE for h, w in (frames, scene)):
            raise InputError(
                f"the mask of frame {t} is {width}x{height}, of another shape than frames of {frames[1]}x{frames[0]}; "
                "give masks of whole frames."
            )
    if all(m.all() for m in masks):
        raise InputError(
            "moving covers all of every frame, so no camera can be found; mark only what moves by itself "
            "(white in a mask), and leave what stands still black."
        )


def mask_at_size(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A mask ``[h, w]`` at another size, ``[H, W]`` bool, by its nearest pixels."""
    if mask.shape == tuple(size):
        return mask
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST) > 0)
