"""How much of a clip a network takes at a time, where a device's memory doesn't hold what was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Room:
    """Frames that one network can work on together: halved when memory runs out, and kept so from then on.

    Args:
        what: the network is called in notes.
        most: that there is known to be room for; None: nothing is known.
    """

    def __init__(self, what: str, most: int | None = None):
        self.what, self.most = what, most

    def at_most(self, frames: int | None) -> None:
        """There is known to be room for no more; None: nothing is known."""
        if frames is not None:
            self.most = frames if self.most is None else min(self.most, frames)

    def fit(self, frames: int, call: Callable[[int], T]) -> T:
        """What a call returns; it is made again with half as many frames at a time while memory runs out.

        Args:
            frames: in all.
            call: works on them, so many at a time as it is told.
        """
        while True:
            most = min(frames, self.most or frames)
            try:
                return call(most)
            except (RuntimeError, MemoryError) as error:
                if most == 1 or not ran_out(error):
                    raise
                device = torch.cuda.is_available()
            # Out of the handler, which keeps what the failed call had made.
            self.most = most // 2
            warnings.warn(
                f"{most} frames at a time are too many for the memory that the {self.what} has: {self.most} at a time.",
                stacklevel=2,
            )
            if device:
                torch.cuda.empty_cache()

    def by_frame(self, call: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
        """A call that treats each frame by itself, ``[N, ...]`` -> ``[N, ...]``, on as many as there is room for."""

        def so_many(most: int) -> Tensor:
            return call(frames) if most >= len(frames) else torch.cat([call(part) for part in frames.split(most)])

        return self.fit(len(frames), so_many)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory was used up, a device's or the machine's."""
    told = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)
