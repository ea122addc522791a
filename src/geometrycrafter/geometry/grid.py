"""Coarse, smooth corrections of a frame's log depth (Kopf et al., Robust Consistent Video Depth Estimation, 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A bilinear grid over a picture; its outermost nodes are at the centres of the outermost pixels.

    A grid of one node is a scale of the frame.
    """

    rows: int = 1
    columns: int = 1

    @property
    def nodes(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def weights(self, xy: Tensor, height: int, width: int) -> Tensor:
        """What each node counts at pixels ``[N, 2]`` of a picture: ``[N, nodes]``, of sum 1."""
        down = _hats(xy[:, 1] / max(height - 1, 1) * (self.rows - 1), self.rows)
        across = _hats(xy[:, 0] / max(width - 1, 1) * (self.columns - 1), self.columns)
        return (down[:, :, None] * across[:, None, :]).flatten(1)

    def picture(self, values: Tensor, height: int, width: int) -> Tensor:
        """Values of the nodes ``[nodes]`` over a picture, ``[H, W]``."""
        rows = _hats(torch.linspace(0, self.rows - 1, height, dtype=values.dtype), self.rows)
        columns = _hats(torch.linspace(0, self.columns - 1, width, dtype=values.dtype), self.columns)
        return rows @ values.view(self.rows, self.columns) @ columns.T

    def roughness(self) -> Tensor:
        """``[nodes, nodes]``, the sum of squares of second differences and of twists: zero for planes."""
        at = torch.arange(self.nodes).view(self.rows, self.columns)
        lines = [*at, *at.T]
        bends: list[tuple[Tensor, tuple[float, ...]]] = [
            (triple, (1.0, -2.0, 1.0)) for line in lines if len(line) > 2 for triple in line.unfold(0, 3, 1)
        ]
        squares = at.unfold(0, 2, 1).unfold(1, 2, 1).reshape(-1, 4) if min(at.shape) > 1 else at.new_zeros(0, 4)
        twists: list[tuple[Tensor, tuple[float, ...]]] = [(square, (1.0, -1.0, -1.0, 1.0)) for square in squares]
        rows = torch.zeros(len(bends) + len(twists), self.nodes, dtype=torch.float64)
        for row, (nodes, values) in zip(rows, bends + twists):
            row[nodes] = torch.tensor(values, dtype=torch.float64)
        return rows.T @ rows


def _hats(at: Tensor, count: int) -> Tensor:
    nodes = torch.arange(count, dtype=at.dtype)
    return (1 - (at.clamp(0, max(count - 1, 0))[:, None] - nodes).abs()).clamp_min(0)
