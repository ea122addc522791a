"""Symmetric positive matrices whose blocks lie near the diagonal, in one order of the frames: the normal equations of
cameras that see the same points for a while.

Frames are put together into groups as wide as the band, so that the matrix is block tridiagonal in the groups, and
all work is done by dense factorisations of groups.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse

Array = np.ndarray


class BlockBand:
    """A matrix ``[F * b, F * b]`` of F frames with b unknowns each, that is zero far from the diagonal.

    Args:
        frames: F.
        unknowns: b, of each frame.
        band: two frames at most so far apart share an entry.
    """

    def __init__(self, frames: int, unknowns: int, band: int):
        self.unknowns = unknowns
        self.group = max(1, min(band, frames))
        self.count = -(-frames // self.group)
        self.frames = frames
        side = self.group * unknowns
        self.diagonal = np.zeros((self.count, side, side))
        self.below = np.zeros((self.count - 1, side, side))
        """``below[k]``: rows of group k + 1, columns of group k."""

    def add(self, group: int, block: Array) -> None:
        """Add a block ``[<= 2 s, <= 2 s]`` whose first row and column are those of a group of s unknowns."""
        side = self.diagonal.shape[1]
        self.diagonal[group] += block[:side, :side]
        if group + 1 < self.count:
            self.below[group] += block[side : 2 * side, :side]
            self.diagonal[group + 1] += block[side : 2 * side, side : 2 * side]

    def add_frames(self, blocks: Array) -> None:
        """Add to the frames' own blocks ``[F, b, b]``."""
        for f in range(self.frames):
            self._own(f)[...] += blocks[f]

    def add_between(self, first: int, second: int, block: Array) -> None:
        """Add ``[b, b]``, rows of one frame and columns of another at most a band away, and its transpose."""
        if first < second:
            first, second, block = second, first, block.T
        b, (g, i), (h, j) = self.unknowns, divmod(first, self.group), divmod(second, self.group)
        rows, columns = slice(i * b, (i + 1) * b), slice(j * b, (j + 1) * b)
        if g == h:
            self.diagonal[g][rows, columns] += block
            self.diagonal[g][columns, rows] += block.T
        else:
            self.below[h][rows, columns] += block

    def _own(self, frame: int) -> Array:
        b, (g, i) = self.unknowns, divmod(frame, self.group)
        return self.diagonal[g][i * b : (i + 1) * b, i * b : (i + 1) * b]

    def factorise(self, damping: Array | float = 0.0) -> Factors:
        """Cholesky factors of the matrix with its diagonal raised by ``1 + damping``.

        Raises:
            numpy.linalg.LinAlgError: where it is not positive.
        """
        lower: list[Array] = []
        beside: list[Array] = []
        for k in range(self.count):
            block = self.diagonal[k].copy()
            own = np.einsum("ii->i", block)
            own *= 1 + damping
            own[own == 0] = 1.0  # frames that the last group lacks
            if k:
                side = scipy.linalg.solve_triangular(
                    lower[-1], self.below[k - 1].T, lower=True, check_finite=False
                ).T  # below L^-T
                beside.append(side)
                block -= side @ side.T
            lower.append(np.linalg.cholesky(block))
        return Factors(lower, beside, self.frames * self.unknowns)


class Factors:
    """Of a :class:`BlockBand`: it is L L^T, L being lower block bidiagonal."""

    def __init__(self, lower: list[Array], beside: list[Array], size: int):
        self._lower = lower
        self._beside = beside
        self._size = size

    def solve(self, right: Array) -> Array:
        """The matrix's inverse times ``[F * b, ...]``."""
        side = len(self._lower[0])
        shape, count = right.shape, len(self._lower)
        padded = np.zeros((count * side, int(np.prod(shape[1:]))))
        padded[: self._size] = right.reshape(self._size, -1)
        x = padded.reshape(count, side, -1)
        for k in range(count):
            if k:
                x[k] -= self._beside[k - 1] @ x[k - 1]
            x[k] = scipy.linalg.solve_triangular(self._lower[k], x[k], lower=True, check_finite=False)
        for k in reversed(range(count)):
            if k + 1 < count:
                x[k] -= self._beside[k].T @ x[k + 1]
            x[k] = scipy.linalg.solve_triangular(self._lower[k], x[k], lower=True, trans="T", check_finite=False)
        return padded[: self._size].reshape(shape)

    def inverse_blocks(self, unknowns: int) -> Array:
        """The inverse's diagonal blocks ``[F, b, b]``, without the rest of it."""
        side = len(self._lower[0])
        frames = self._size // unknowns
        out = np.empty((len(self._lower) * side // unknowns, unknowns, unknowns))
        after = np.zeros((side, side))
        for k in reversed(range(len(self._lower))):
            inverse = scipy.linalg.solve_triangular(self._lower[k], np.eye(side), lower=True, check_finite=False)
            middle = np.eye(side)
            if k + 1 < len(self._lower):
                middle = middle + self._beside[k].T @ after @ self._beside[k]
            after = inverse.T @ middle @ inverse
            per = side // unknowns
            own = after.reshape(per, unknowns, per, unknowns)
            out[k * per : (k + 1) * per] = own[np.arange(per), :, np.arange(per)]
        return out[:frames]
