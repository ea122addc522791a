"""Frames one after another, in memory or computed when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np


class Frames(Protocol):
    """What metrics look at: an array, a memory map, or anything else that has a shape and gives frame after frame."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``[T, H, W]`` or ``[T, H, W, 3]``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class FrameSequence:
    """Frames that are computed when they are asked for, in an array's place.

    Args:
        shape: ``(T, H, W)`` or ``(T, H, W, 3)``.
        read: a frame of its index.
    """

    def __init__(self, shape: tuple[int, ...], read: Callable[[int], np.ndarray]):
        self.shape, self._read = shape, read

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(index)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(t) for t in range(len(self)))
