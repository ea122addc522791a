"""Frames while poses are sought: read once, none larger than is of use, and kept in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from typing import Any

import cv2
import numpy as np

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.poses.by_frame import ByFrame
from geometrycrafter.poses.masks import Masks

LONGEST = 1024
"""Of the pictures that points are followed in, pixels of the longer side."""
IN_MEMORY = 1 << 27
"""Bytes of pictures that are kept in memory; more go to a file."""
Progress = Callable[[str, int, int | None], None]


class Pictures(ByFrame):
    """Pictures of one size, ``[H, W]`` or ``[H, W, 3]`` uint8 each, in a temporary file where they are many."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, prefix="geometrycrafter-")  # noqa: SIM115
        self._count = 0
        self.shape: tuple[int, ...] = ()
        """Of one picture."""

    def __del__(self) -> None:
        self._file.close()

    def append(self, picture: np.ndarray) -> None:
        """Keep one more, ``[H, W]`` or ``[H, W, 3]``.

        Raises:
            InputError: where it has another size than those before, or the disk is full.
        """
        if self._count and picture.shape != self.shape:
            raise InputError(f"frame {self._count} has another size than those before; give those of one video.")
        self.shape = picture.shape
        try:
            self._file.seek(self._count * picture.nbytes)
            self._file.write(np.ascontiguousarray(picture).data)
        except OSError as error:
            raise WriteError(f"frames can't be kept in a temporary file ({reason(error)}); set TMPDIR.") from error
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def of(self, frame: int) -> np.ndarray:
        """That of a frame, as it was kept, ``[H, W]`` or ``[H, W, 3]``."""
        picture = np.empty(self.shape, np.uint8)
        self._file.seek(frame * picture.nbytes)
        self._file.readinto(picture.data)
        return picture


class Greys(ByFrame):
    """The same pictures without their colours, ``[H, W]`` uint8 each."""

    def __init__(self, pictures: Pictures):
        self._pictures = pictures
        self.shape = pictures.shape[:2]

    def __len__(self) -> int:
        return len(self._pictures)

    def of(self, frame: int) -> np.ndarray:
        """That of a frame, ``[H, W]``."""
        picture = self._pictures[frame]
        return picture if picture.ndim == 2 else _grey(picture)


def read_pictures(
    frames: Iterable[Any], count: int, carry: Callable[..., Any] | None, colours: bool, told: Progress
) -> tuple[Pictures, Masks | None]:
    """All frames, and what moves in them, in one pass.

    Args:
        frames: ``[H, W, 3]`` uint8 or float in [0, 1], each.
        count: of frames that there must be.
        carry: finds what moves: frames in order -> a mask ``[H, W]`` of each; None where nothing is to be found.
        colours: keep them.
        told: how far it is.

    Raises:
        InputError: where their number is another, or one is no picture.
    """
    seen = checked_frames(frames, count)
    masks: Iterator[Any] = iter(())
    if carry is not None:
        # Mask by mask as frames come; a finder that wants them all before it says anything has them all in memory.
        seen, others = tee(seen)
        masks = iter(carry(others))
    pictures, moving = Pictures(), None if carry is None else Masks()
    for frame in seen:
        if moving is not None:
            mask = next(masks, None)
            if mask is None:
                raise InputError(f"what finds moving things gave {len(moving)} masks for {count} frames.")
            moving.append(mask)
        size = _useful(frame.shape[:2])
        picture = frame if colours else _grey(frame)
        if size != frame.shape[:2]:
            picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
        pictures.append(picture)
        told("read", len(pictures), count)
    if len(pictures) != count:
        raise InputError(
            f"there are {len(pictures)} frames where the scene has {count}; give those that it was made from."
        )
    return pictures, moving


def _useful(size: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width that points are followed at."""
    ratio = min(LONGEST / max(size), 1.0)
    return tuple(max(1, round(side * ratio)) for side in size)


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY))


def checked_frames(frames: Iterable[Any], count: int) -> Iterator[np.ndarray]:
    """Frames as ``[H, W, 3]`` uint8.

    Raises:
        InputError: where there are more than the scene has, or one is no picture.
    """
    for t, frame in enumerate(frames):
        if t == count:
            raise InputError(f"there are more frames than the scene's {count}; give those that it was made from.")
        picture = np.asarray(frame)
        if picture.ndim != 3 or picture.shape[-1] != 3 or 0 in picture.shape:
            raise InputError(f"frame {t} has shape {list(picture.shape)}; give [H, W, 3].")
        if picture.dtype != np.uint8:
            if not np.issubdtype(picture.dtype, np.floating) and not np.issubdtype(picture.dtype, np.integer):
                raise InputError(f"frame {t} holds {picture.dtype}; give uint8, or floats from 0 to 1.")
            scale = 255 if np.issubdtype(picture.dtype, np.floating) else 255 / np.iinfo(picture.dtype).max
            picture = (np.nan_to_num(picture.astype(np.float32)) * scale).clip(0, 255).round().astype(np.uint8)
        yield picture
