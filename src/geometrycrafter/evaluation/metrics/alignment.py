"""Scale and shift that bring a prediction to the truth: least squares, or least absolute errors.

Values come frame by frame, so that a clip need not be in memory. Least squares is exact; least absolute errors looks at
a uniform sample of the pixels where a clip has very many.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

SAMPLE = 2**20
"""Pixels that a robust alignment looks at; all of them where a clip has no more that are valid."""


class Line(NamedTuple):
    """``scale * x + shift``."""

    scale: float
    shift: float = 0.0


class Alignment(Protocol):
    """Collects pixels, then says which line fits them best."""

    def add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Pixels to be fitted.

        Args:
            x: predictions, ``[N]``, or ``[N, D]`` where a pixel has several coordinates and one scale serves all.
            y: truth, of the same shape.
            weight: ``[N]``; the residual of each pixel counts so many times (its square ``weight`` squared times).
                None: once.
        """

    def solve(self) -> Line:
        """The best line; a scale of 0 where nothing can be fitted."""


def alignment(shift: bool, robust: bool) -> Alignment:
    """An empty alignment.

    Args:
        shift: whether the line has one; else it goes through zero.
        robust: least absolute errors in place of least squares.
    """
    return LeastAbsolute(shift) if robust else LeastSquares(shift)


class LeastSquares:
    """Minimises ``sum w^2 (scale x + shift - y)^2`` by its normal equations.

    Args:
        shift: whether there is one.
    """

    def __init__(self, shift: bool):
        self._shift = shift
        self._normal, self._right = np.zeros((2, 2)), np.zeros(2)

    def add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        """As in :class:`Alignment`, ``[N]`` or ``[N, D]``."""
        w = _spread(None if weight is None else np.square(weight), x)
        x, y = x.ravel(), y.ravel()
        weighted = x * w
        self._normal[0, 0] += weighted @ x
        self._right[0] += weighted @ y
        if self._shift:
            self._normal += [[0, weighted.sum()], [weighted.sum(), w.sum()]]
            self._right[1] += w @ y

    def solve(self) -> Line:
        """As in :class:`Alignment`."""
        if self._shift:
            scale, shift = np.linalg.lstsq(self._normal, self._right, rcond=None)[0]
            return Line(float(scale), float(shift))
        return Line(float(self._right[0] / self._normal[0, 0])) if self._normal[0, 0] else Line(0.0)


class LeastAbsolute:
    """Minimises ``sum w |scale x + shift - y|`` over all pixels, or a uniform sample of them.

    Args:
        shift: whether there is one.
        sample: pixels that are kept.
    """

    def __init__(self, shift: bool, sample: int | None = None):
        self._start, self._shift = LeastSquares(shift), shift
        self._pixels = PixelSample(SAMPLE if sample is None else sample)

    def add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        """As in :class:`Alignment`, ``[N]`` or ``[N, D]``."""
        self._start.add(x, y, weight)
        w = np.ones(len(x)) if weight is None else weight
        self._pixels.add(np.column_stack([w, x, y]))

    def solve(self) -> Line:
        """As in :class:`Alignment`."""
        rows = self._pixels.rows()
        if not len(rows):
            return self._start.solve()
        values = rows[:, 1:]
        x, y = (half.ravel() for half in np.split(values, 2, axis=1))
        w = np.repeat(rows[:, 0], values.shape[1] // 2)
        return _least_absolute(x, y, w, self._start.solve()) if self._shift else Line(_median_of_ratios(x, y, w)[0])


class PixelSample:
    """At most so many of the rows that pass by, each with the same chance, all coordinates of a pixel together.

    Every row draws a number, and those with the smallest stay. A stride would do for a stream whose length is known,
    but strides that divide a picture's width see only some of its columns.

    Args:
        most: rows that are kept; all of them where no more come.
    """

    def __init__(self, most: int):
        self._most, self._below = most, np.inf
        self._random = np.random.default_rng(0)
        self._kept: list[np.ndarray] = []
        self._drawn: list[np.ndarray] = []
        self._count = 0

    def add(self, rows: np.ndarray) -> None:
        """Rows ``[N, D]`` that pass by."""
        drawn = self._random.random(len(rows))
        kept = drawn < self._below
        self._kept.append(rows[kept])
        self._drawn.append(drawn[kept])
        self._count += int(kept.sum())
        if self._count > 2 * self._most:
            self._thin()

    def rows(self) -> np.ndarray:
        """``[N, D]``, at most as many as wanted, in the order in which they came."""
        if self._count > self._most:
            self._thin()
        return np.concatenate(self._kept) if self._kept else np.zeros((0, 0))

    def _thin(self) -> None:
        drawn = np.concatenate(self._drawn)
        chosen = np.sort(np.argpartition(drawn, self._most - 1)[: self._most])
        self._kept, self._drawn = [np.concatenate(self._kept)[chosen]], [drawn[chosen]]
        self._count, self._below = self._most, float(drawn[chosen].max())


def _spread(weight: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """A weight for every coordinate, flat."""
    own = np.ones(len(x)) if weight is None else weight
    return own if x.ndim == 1 else np.repeat(own, x.shape[1])


def _median_of_ratios(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, int]:
    """The scale that minimises ``sum weight |scale x - y|``, and the place of the ratio that it is.

    It is a median of ratios, each weighted by how much it moves its residual.
    """
    used = np.flatnonzero(weight * np.abs(x) > 0)
    if not len(used):
        return 0.0, 0
    ratio = y[used] / x[used]
    order = np.argsort(ratio)
    total = np.cumsum((weight * np.abs(x))[used][order])
    found = order[np.searchsorted(total, total[-1] / 2)]
    return float(ratio[found]), int(used[found])


def _least_absolute(x: np.ndarray, y: np.ndarray, weight: np.ndarray, start: Line) -> Line:
    """Scale and shift of least absolute errors, from those of least squares.

    A best line goes through two of the points. A few reweighted least squares come near it; then lines turn about one
    point to the best slope, which another point has, and about that one in turn, while the sum falls (Wesolowsky 1981).
    """
    scale, shift = start
    for _ in range(10):
        residual = np.abs(scale * x + shift - y)
        w = weight / np.maximum(residual, max(0.1 * float(np.median(residual)), 1e-12))
        normal = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])
        scale, shift = np.linalg.lstsq(normal, np.array([(w * x * y).sum(), (w * y).sum()]), rcond=None)[0]
    cost = np.inf
    pivot = int(np.argmin(np.abs(scale * x + shift - y)))
    for _ in range(100):
        turned, following = _median_of_ratios(x - x[pivot], y - y[pivot], weight)
        offset = y[pivot] - turned * x[pivot]
        total = float((weight * np.abs(turned * x + offset - y)).sum())
        if total >= cost * (1 - 1e-12):
            break
        scale, shift, cost, pivot = turned, float(offset), total, following
    return Line(float(scale), float(shift))
