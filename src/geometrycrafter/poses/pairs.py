"""What two frames say of one another beside the points that they share: quadratic near a state, in both frames' cameras
and scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from geometrycrafter.poses.problem import State

UNKNOWNS = 7
"""Of a frame: turn, shift, and the log of its depth's scale."""


@dataclass(frozen=True)
class Pairs:
    """What pairs of frames say of how their cameras and scales change from a state: half a sum of squares each.

    With v the change of both frames' unknowns ``[14]``, a pair adds ``v @ square @ v / 2 + right @ v``.
    """

    first: Tensor
    """``[M]`` int64."""
    second: Tensor
    """``[M]`` int64, later ones."""
    square: Tensor
    """``[M, 14, 14]``."""
    right: Tensor
    """``[M, 14]``."""
    rotation: Tensor
    """``[T, 3, 3]`` of the state, world-to-camera."""
    translation: Tensor
    """``[T, 3]`` of the state."""
    log_scale: Tensor
    """``[T]`` of the state."""
    constant: float
    """Of the cost."""
    agree: Tensor
    """``[M]``, the share of compared pixels that lie on one another; 0 where that leaves a motion open."""

    def within(self, first: int, end: int) -> Pairs | None:
        """Those whose frames both lie in a part of the clip, counted from its beginning; None where there are none."""
        kept = (self.first >= first) & (self.second < end)
        if not kept.any():
            return None
        return Pairs(
            first=self.first[kept] - first,
            second=self.second[kept] - first,
            square=self.square[kept],
            right=self.right[kept],
            rotation=self.rotation[first:end],
            translation=self.translation[first:end],
            log_scale=self.log_scale[first:end],
            constant=0.0,
            agree=self.agree[kept],
        )

    def change(self, state: State) -> Tensor:
        """Of each frame's unknowns from the state that this was measured at, ``[T, 7]``."""
        turn = state.rotation @ self.rotation.mT
        shift = state.translation - (turn @ self.translation[..., None])[..., 0]
        odd = (turn - turn.mT) / 2
        vector = torch.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], -1)  # small angles: sine and angle are one
        return torch.cat([vector, shift, (state.correction.mean(-1) - self.log_scale)[:, None]], -1)

    def cost(self, state: State) -> float:
        """What all pairs add at a state."""
        change = self.change(state)
        both = torch.cat([change[self.first], change[self.second]], -1)
        return self.constant + float((both * ((self.square @ both[..., None])[..., 0] / 2 + self.right)).sum())

    def quality(self, count: int) -> Tensor:
        """Of each of so many frames ``[T]``, the share of its surfaces that agree with those of a frame before."""
        out = torch.zeros(count, dtype=torch.float64).scatter_reduce_(0, self.second, self.agree, "amax")
        out[0] = self.agree[self.first == 0].max() if (self.first == 0).any() else 0.0
        return out

    def gradient(self, state: State) -> Tensor:
        """Of :meth:`cost` by each frame's unknowns, ``[T, 7]``."""
        change = self.change(state)
        both = torch.cat([change[self.first], change[self.second]], -1)
        slope = (self.square @ both[..., None])[..., 0] + self.right
        out = torch.zeros_like(change).index_add_(0, self.first, slope[:, :UNKNOWNS])
        return out.index_add_(0, self.second, slope[:, UNKNOWNS:])
