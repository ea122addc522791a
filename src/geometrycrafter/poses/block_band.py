"""Symmetric positive matrices whose blocks lie near the diagonal: the normal equations of cameras, in the order of
time, that see the same points for a while.

Frames are put together into groups as wide as the band, so that the matrix is block tridiagonal in the groups, and
all work is done by dense factorisations of groups. What ties frames farther apart is few, and is kept as a product of
a narrow matrix with its transpose (Woodbury's identity).
"""

from __future__ import annotations

import torch
from torch import Tensor


class BlockBand:
    """A matrix ``[F * b, F * b]`` of F frames with b unknowns each, that is zero far from the diagonal.

    Args:
        frames: F.
        unknowns: b, of each frame.
        band: two frames share an entry only where they are less than so many apart.
    """

    def __init__(self, frames: int, unknowns: int, band: int):
        self.unknowns = unknowns
        self.frames = frames
        self.group = max(1, min(band, frames))
        self.count = -(-frames // self.group)
        side = self.group * unknowns
        self.diagonal = torch.zeros(self.count, side, side, dtype=torch.float64)
        self.below = torch.zeros(max(self.count - 1, 0), side, side, dtype=torch.float64)
        """``below[k]``: rows of group k + 1, columns of group k."""
        self._far: list[Tensor] = []  # [F * b, n] each

    def add(self, first: int, block: Tensor) -> None:
        """Add ``[n * b, n * b]`` of n frames that follow one another, no more than the band, from a first on."""
        side, b = self.diagonal.shape[1], self.unknowns
        group, low = first // self.group, first % self.group * b
        here = min(len(block), side - low)
        self.diagonal[group, low : low + here, low : low + here] += block[:here, :here]
        beyond = len(block) - here
        if beyond:
            self.below[group, :beyond, low:] += block[here:, :here]
            self.diagonal[group + 1, :beyond, :beyond] += block[here:, here:]

    def add_frames(self, blocks: Tensor) -> None:
        """Add to the frames' own blocks, ``[F, b, b]``."""
        b = self.unknowns
        padded = torch.zeros(self.count * self.group, b, b, dtype=torch.float64)
        padded[: self.frames] = blocks
        own = self.diagonal.view(self.count, self.group, b, self.group, b).diagonal(dim1=1, dim2=3)  # [K, b, b, g]
        own += padded.view(self.count, self.group, b, b).permute(0, 2, 3, 1)

    def add_between(self, first: Tensor, second: Tensor, blocks: Tensor) -> None:
        """Add ``[M, b, b]`` to the rows of second frames ``[M]`` and the columns of first ones ``[M]``, which are
        earlier and less than the band away."""
        b = self.unknowns
        for row, column, block in zip(second.tolist(), first.tolist(), blocks):
            (g, i), (h, j) = divmod(row, self.group), divmod(column, self.group)
            rows, columns = slice(i * b, (i + 1) * b), slice(j * b, (j + 1) * b)
            if g == h:
                self.diagonal[g, rows, columns] += block
                self.diagonal[g, columns, rows] += block.T
            else:
                self.below[h, rows, columns] += block

    def add_far(self, first: int, second: int, block: Tensor) -> None:
        """Add a block ``[2 b, 2 b]``, symmetric and not negative, to two frames as far apart as may be."""
        b = self.unknowns
        values, vectors = torch.linalg.eigh(block)
        kept = values > 1e-12 * values[-1].clamp_min(1e-300)
        root = vectors[:, kept] * values[kept].sqrt()
        wide = root.new_zeros(self.frames, b, root.shape[1])
        wide[first], wide[second] = root[:b], root[b:]
        self._far.append(wide.flatten(0, 1))

    def factorise(self, damping: float = 0.0) -> Factors:
        """Cholesky factors of the matrix with its diagonal raised by ``1 + damping``; they take the matrix's place.

        Raises:
            torch.linalg.LinAlgError: where it is not positive.
        """
        own = self.diagonal.diagonal(dim1=1, dim2=2)
        own *= 1 + damping
        own[own == 0] = 1.0  # of frames that the last group lacks
        for k, block in enumerate(self.diagonal):
            if k:
                below = torch.linalg.solve_triangular(self.diagonal[k - 1], self.below[k - 1].T, upper=False).T
                self.below[k - 1] = below
                block -= below @ below.T
            block[:] = torch.linalg.cholesky(block)
        return Factors(self.diagonal, self.below, self.frames, self.unknowns, self._far)


class Factors:
    """Of a :class:`BlockBand`: it is L L^T, L being lower block bidiagonal, and what is far, U U^T."""

    def __init__(self, lower: Tensor, beside: Tensor, frames: int, unknowns: int, far: list[Tensor]):
        self._lower = lower
        self._beside = beside
        self._frames = frames
        self._unknowns = unknowns
        self._far: tuple[Tensor, Tensor, Tensor] | None = None
        if far:
            wide = torch.cat(far, 1)
            solved = self._near(wide)
            inner = wide.T @ solved
            inner.diagonal().add_(1.0)
            self._far = wide, solved, torch.linalg.cholesky(inner)

    def solve(self, right: Tensor) -> Tensor:
        """The matrix's inverse times ``[F * b, n]``."""
        x = self._near(right)
        if self._far is None:
            return x
        wide, solved, inner = self._far
        return x - solved @ torch.cholesky_solve(wide.T @ x, inner)

    def _near(self, right: Tensor) -> Tensor:
        """The inverse of the band times ``[F * b, n]``."""
        side, count, size = len(self._lower[0]), len(self._lower), self._frames * self._unknowns
        x = right.new_zeros(count * side, right.shape[1])
        x[:size] = right
        parts = list(x.view(count, side, -1).unbind(0))
        for k in range(count):
            if k:
                parts[k] = parts[k] - self._beside[k - 1] @ parts[k - 1]
            parts[k] = torch.linalg.solve_triangular(self._lower[k], parts[k], upper=False)
        for k in reversed(range(count)):
            if k + 1 < count:
                parts[k] = parts[k] - self._beside[k].T @ parts[k + 1]
            parts[k] = torch.linalg.solve_triangular(self._lower[k].T, parts[k], upper=True)
        return torch.cat(parts)[:size]

    def inverse_blocks(self) -> Tensor:
        """The inverse's diagonal blocks ``[F, b, b]``, without the rest of it."""
        side, b = len(self._lower[0]), self._unknowns
        identity = torch.eye(side, dtype=torch.float64)
        after = torch.zeros(side, side, dtype=torch.float64)
        out: list[Tensor] = []
        for k in reversed(range(len(self._lower))):
            inverse = torch.linalg.solve_triangular(self._lower[k], identity, upper=False)
            middle = identity
            if k + 1 < len(self._lower):
                middle = identity + self._beside[k].T @ after @ self._beside[k]
            after = inverse.T @ middle @ inverse
            out.append(after.view(side // b, b, side // b, b).diagonal(dim1=0, dim2=2).permute(2, 0, 1))
        whole = torch.cat(out[::-1])[: self._frames]
        if self._far is None:
            return whole
        _, solved, inner = self._far
        less = torch.linalg.solve_triangular(inner, solved.T, upper=False).T.view(self._frames, b, -1)
        return whole - less @ less.mT
