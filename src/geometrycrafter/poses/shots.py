"""Parts of a clip that poses are found for one by one: frames of different shots share no points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, tee
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.poses.pictures import Progress, checked_frames
from geometrycrafter.scene import Scene


class Part:
    """Some frames of an array ``[T, ...]``, read as they are asked for.

    Args:
        array: of a scene.
        first: frame.
        end: the frame after the last.
    """

    def __init__(self, array: Any, first: int, end: int):
        self._array, self._frames = array, range(first, end)
        self.shape = (len(self._frames), *array.shape[1:])

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        chosen = self._frames[index]
        return np.asarray(self._array[chosen if isinstance(chosen, int) else slice(chosen.start, chosen.stop)])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


class ShotOfScene:
    """What poses are found from, of one shot of a scene.

    Args:
        scene: whole.
        first: frame of the shot.
        end: the frame after its last.
    """

    def __init__(self, scene: Scene, first: int, end: int):
        self.depth, self.mask, self.intrinsics = (
            Part(array, first, end) for array in (scene.depth, scene.mask, scene.intrinsics)
        )


class ShotsOfClip:
    """Frames of a clip, and what moves in them, shot by shot and in order.

    Args:
        frames: ``[H, W, 3]`` each.
        count: of frames that there must be.
        carry: finds what moves, from frames in order; it goes on over cuts. None: nothing is to be found.
    """

    def __init__(self, frames: Iterable[Any], count: int, carry: Callable[..., Any] | None):
        self._count, self._carries = count, carry is not None
        self._frames: Iterator[np.ndarray] = checked_frames(frames, count)
        self._masks: Iterator[Any] = iter(())
        if carry is not None:
            self._frames, others = tee(self._frames)
            self._masks = iter(carry(others))

    def frames(self, first: int, end: int) -> Iterator[np.ndarray]:
        """Of the next shot, ``[H, W, 3]`` each; of the last, those after it, too, which there should not be.

        Raises:
            InputError: where there are fewer.
        """
        for t in range(first, end):
            frame = next(self._frames, None)
            if frame is None:
                raise InputError(
                    f"there are {t} frames where the scene has {self._count}; give those that it was made from."
                )
            yield frame
        if end == self._count:
            yield from self._frames

    @property
    def carry(self) -> Callable[[Iterable[np.ndarray]], Iterator[Any]] | None:
        """What finds masks ``[H, W]`` in the shot whose frames are read now; None where nothing is to be found."""
        return self._carried if self._carries else None

    def _carried(self, frames: Iterable[np.ndarray]) -> Iterator[Any]:
        for _ in frames:
            yield from islice(self._masks, 1)


def part_of_progress(told: Progress, first: int, count: int) -> Progress:
    """How far a shot is, told of the clip.

    Args:
        told: of the clip.
        first: frame of the shot.
        count: frames of the clip.
    """
    return lambda stage, done, total: told(stage, first + done, count)
