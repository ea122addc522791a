"""One shot's corrections, found as its frames come."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.inference.steadying.levelling import GRID, levelled
from geometrycrafter.inference.steadying.links import Link, Linker, SmallFrame

BLOCK, LAP = 480, 48
"""Frames that are solved for together, and those of them that are solved for again with the next ones."""


class Steadier:
    """Finds smooth factors by which the depth of a shot's frames agrees.

    Args:
        intrinsics: ``[T, 3, 3]`` of its frames, pixels.
        size: height and width of its depth.
    """

    def __init__(self, intrinsics: Tensor, size: tuple[int, int]):
        self._intrinsics, self._whole = intrinsics.double().mean(0), size
        self._size = (0, 0)
        self._linker: Linker | None = None
        self._links: list[Link] = []
        self._known = torch.zeros(0, GRID.nodes).double()
        self._count, self._nothing = 0, len(intrinsics) == 1

    def add(self, picture: np.ndarray, depth: np.ndarray, mask: np.ndarray) -> None:
        """The next frame.

        Args:
            picture: ``[h, w, 3]`` uint8, made as small as :func:`small_size` says.
            depth: ``[H, W]``.
            mask: ``[H, W]``, where it is valid.
        """
        frame = None if self._nothing else SmallFrame.of(picture, depth, mask)
        self._count += 1
        if frame is None:
            self._nothing = True
            return
        if self._count - 1 == len(self._known) + BLOCK:
            self._solve(self._count - 1, LAP)
        if self._linker is None:
            self._size = (frame.valid.shape[0], frame.valid.shape[1])
            self._linker = _linker(self._intrinsics, self._whole, self._size)
        self._links += self._linker.add(self._count - 1, frame)

    def finish(self) -> Tensor:
        """Corrections of log depth ``[T, nodes]`` float32 of all frames, after the last one."""
        if self._nothing:
            return torch.zeros(self._count, GRID.nodes)
        self._solve(self._count, 0)
        return self._known.float()

    def _solve(self, count: int, lap: int) -> None:
        """For the frames up to one; what is known of the last few is not kept."""
        found = levelled(self._links, self._size, self._known, count)
        self._known = torch.cat([self._known, found[: len(found) - lap]])
        self._links = [link for link in self._links if max(link.first, link.second) >= len(self._known)]


def factor(correction: Tensor, size: tuple[int, int]) -> np.ndarray:
    """What depth is multiplied by: ``[H, W]`` of a correction ``[nodes]``."""
    values: np.ndarray = GRID.picture(correction, *size).exp().numpy()
    return values


def _linker(intrinsics: Tensor, whole: tuple[int, int], size: tuple[int, int]) -> Linker:
    """For small pictures of those whose camera is ``[3, 3]`` at their whole size."""
    sides = intrinsics.new_tensor([size[1] / whole[1], size[0] / whole[0]])
    return Linker(intrinsics[[0, 1], [0, 1]] * sides, (intrinsics[:2, 2] + 0.5) * sides - 0.5)
