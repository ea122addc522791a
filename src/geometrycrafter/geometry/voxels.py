"""Points of the world merged by the cubes that they lie in, in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 21
"""Of a cube's number along one axis."""
WIDEST = 2 ** (BITS - 1)
"""Cubes from the origin, beyond which points are left out."""


class VoxelCloud:
    """Means of points, and of their values, over cubes whose side doubles whenever there are too many of them.

    Args:
        size: side of a cube at first.
        most: cubes that are kept.
        channels: of the values that go with a point, such as its colour.
    """

    def __init__(self, size: float, most: int, channels: int = 3):
        self.size, self.most = size, most
        self._key = np.zeros(0, np.int64)
        self._sums = np.zeros((0, 4 + channels))
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._waits = 0

    def add(self, points: NDArray[np.floating], values: NDArray[np.generic]) -> None:
        """Put in points ``[N, 3]`` with values ``[N, channels]``; those that are not finite are passed over."""
        cube = np.floor(points.astype(np.float64) / self.size)
        near = (np.abs(cube) < WIDEST).all(1)  # false for what is no number, too
        rows = np.concatenate([np.ones((int(near.sum()), 1)), points[near], values[near]], 1, dtype=np.float64)
        self._waiting.append(_merged(_packed(cube[near].astype(np.int64)), rows))
        self._waits += len(self._waiting[-1][0])
        if self._waits > self.most:
            self._settle()

    def _settle(self) -> None:
        keys, sums = zip((self._key, self._sums), *self._waiting)
        self._key, self._sums = _merged(np.concatenate(keys), np.concatenate(sums))
        self._waiting, self._waits = [], 0
        while len(self._key) > self.most:
            self.size *= 2
            self._key, self._sums = _merged(_packed(_unpacked(self._key) >> 1), self._sums)

    @property
    def counts(self) -> NDArray[np.int64]:
        """``[P]``, how many points each cube has seen."""
        self._settle()
        return self._sums[:, 0].astype(np.int64)

    @property
    def points(self) -> NDArray[np.float64]:
        """``[P, 3]``, the mean of each cube's points."""
        self._settle()
        return np.asarray(self._sums[:, 1:4] / self._sums[:, :1])

    @property
    def values(self) -> NDArray[np.float64]:
        """``[P, channels]``, the mean of their values."""
        self._settle()
        return np.asarray(self._sums[:, 4:] / self._sums[:, :1])


def _packed(cube: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers ``[N, 3]`` of cubes as one each."""
    x, y, z = (cube + WIDEST).T
    return np.asarray((x << 2 * BITS) | (y << BITS) | z)


def _unpacked(key: NDArray[np.int64]) -> NDArray[np.int64]:
    mask = (1 << BITS) - 1
    return np.asarray(np.stack([key >> 2 * BITS, (key >> BITS) & mask, key & mask], -1) - WIDEST)


def _merged(key: NDArray[np.int64], rows: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the same key added up, in order of their keys."""
    if not len(key):
        return key, rows
    order = np.argsort(key, kind="stable")
    key, rows = key[order], rows[order]
    starts = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    return key[starts], np.add.reduceat(rows, starts, axis=0)
