"""Arrays of frames that are made as they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

import numpy as np


class ByFrame(Sequence[np.ndarray]):
    """An array ``[H, W, ...]`` of each frame; one that is asked for is made by :meth:`of`."""

    @abstractmethod
    def of(self, frame: int) -> np.ndarray:
        """That of a frame, counted from the first, ``[H, W, ...]``."""

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        frames = range(len(self))[index]
        return self.of(frames) if isinstance(frames, int) else [self.of(t) for t in frames]
