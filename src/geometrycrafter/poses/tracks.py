"""Points followed through a video, as a flat list of observations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tracks:
    """Where points of the world are seen; pixel centres are integers.

    Observations are in order of their track, then of their frame.
    """

    track: Tensor
    """``[N]`` int64, which point."""
    frame: Tensor
    """``[N]`` int64, in which frame."""
    xy: Tensor
    """``[N, 2]`` float64, at which pixel (x, y)."""
    count: int
    """Of points, P."""

    @classmethod
    def of(cls, pieces: Iterable[tuple[Tensor, int, Tensor]]) -> Tracks:
        """From what is seen in each frame: points' numbers ``[n]``, the frame, and pixels ``[n, 2]``."""
        parts = list(pieces)
        track = torch.cat([torch.as_tensor(t).long() for t, _, _ in parts] or [torch.zeros(0).long()])
        frame = torch.cat([torch.full((len(t),), f) for t, f, _ in parts] or [torch.zeros(0).long()])
        xy = torch.cat(
            [torch.as_tensor(x).double().reshape(-1, 2) for _, _, x in parts] or [torch.zeros(0, 2).double()]
        )
        order = torch.argsort(track * (int(frame.max()) + 1 if len(frame) else 1) + frame)
        return cls(track[order], frame[order], xy[order], int(track.max()) + 1 if len(track) else 0)

    @classmethod
    def of_arrays(cls, xy: Tensor, visible: Tensor) -> Tracks:
        """From positions ``[T, P, 2]`` and where they are seen ``[T, P]`` bool."""
        track, frame = visible.T.nonzero(as_tuple=True)
        return cls(track, frame, xy[frame, track].double(), visible.shape[1])

    def __len__(self) -> int:
        return len(self.track)

    @property
    def start(self) -> Tensor:
        """``[P + 1]``, the first observation of each point."""
        return torch.searchsorted(self.track, torch.arange(self.count + 1))

    def where(self, kept: Tensor) -> Tracks:
        """Some of the observations ``[N]`` bool; points that are left without any lose their number."""
        track = self.track[kept]
        numbers, track = torch.unique(track, return_inverse=True)
        return Tracks(track, self.frame[kept], self.xy[kept], len(numbers))

    def joined(self, other: Tracks) -> Tracks:
        """With the points of others beside its own."""
        track = torch.cat([self.track, other.track + self.count])
        frame, xy = torch.cat([self.frame, other.frame]), torch.cat([self.xy, other.xy])
        return Tracks(track, frame, xy, self.count + other.count)

    def lengths(self) -> Tensor:
        """How often each point is seen, ``[P]``."""
        return torch.bincount(self.track, minlength=self.count)

    def ties(self, sound: Tensor, frames: int) -> Tensor:
        """How many points are seen both before each frame and from it on, ``[T]``, of observations ``[N]`` bool."""
        seen = self.where(sound)
        start, end = seen.frame[seen.start[:-1]] + 1, seen.frame[seen.start[1:] - 1] + 1
        begun, done = (torch.bincount(x, minlength=frames + 1)[:frames].cumsum(0) for x in (start, end))
        return begun - done

    def split(self, span: int) -> Tracks:
        """Points that are followed for more than so many frames, cut there into several that share a frame."""
        first = self.frame[self.start[self.track]]
        part = (self.frame - first) // max(span - 1, 1)
        again = ((self.frame - first) % max(span - 1, 1) == 0) & (part > 0)  # seen by the piece before, too
        track = torch.cat([self.track, self.track[again]])
        frame = torch.cat([self.frame, self.frame[again]])
        xy = torch.cat([self.xy, self.xy[again]])
        part = torch.cat([part, part[again] - 1])
        most = int(part.max()) + 1 if len(part) else 1
        _, number = torch.unique(track * most + part, return_inverse=True)
        order = torch.argsort(number * (int(frame.max()) + 1 if len(frame) else 1) + frame)
        return Tracks(number[order], frame[order], xy[order], int(number.max()) + 1 if len(number) else 0)

    def scaled(self, x: float, y: float) -> Tracks:
        """At the same places of a picture that is so many times as wide and high."""
        by = torch.tensor([x, y], dtype=torch.float64)
        return replace(self, xy=(self.xy + 0.5) * by - 0.5)


def sampled(values: Tensor, xy: Tensor) -> Tensor:
    """Bilinear values of a picture ``[H, W]`` at pixels ``[N, 2]``, ``[N]`` float64; what is outside is at the edge."""
    height, width = values.shape
    at = torch.stack([xy[:, 0].clamp(0, width - 1), xy[:, 1].clamp(0, height - 1)], -1)
    low = torch.minimum(at.floor().long(), torch.tensor([max(width - 2, 0), max(height - 2, 0)]))
    x, y = (at - low).unbind(-1)
    (i, j) = low.unbind(-1)
    right, below = (i + 1).clamp_max(width - 1), (j + 1).clamp_max(height - 1)
    top = values[j, i] * (1 - x) + values[j, right] * x
    bottom = values[below, i] * (1 - x) + values[below, right] * x
    return top * (1 - y) + bottom * y


EDGE = 1.05
"""Neighbouring depths that differ by more belong to two surfaces."""


def log_depth_at(depth: Tensor, mask: Tensor, xy: Tensor) -> Tensor:
    """Log of depth at pixels ``[N, 2]`` between four valid ones of one surface, ``[N]`` float64; elsewhere NaN.

    Args:
        depth: ``[H, W]``.
        mask: ``[H, W]`` bool.
        xy: pixels.
    """
    sound = mask & torch.isfinite(depth) & (depth > 0)
    log = torch.where(sound, depth, 1.0).double().log()
    height, width = depth.shape
    low = torch.minimum(xy.floor().long().clamp_min(0), torch.tensor([max(width - 2, 0), max(height - 2, 0)]))
    corners = [
        (low[:, 1] + dy).clamp_max(height - 1) * width + (low[:, 0] + dx).clamp_max(width - 1)
        for dy in (0, 1)
        for dx in (0, 1)
    ]
    around = torch.stack([log.flatten()[c] for c in corners])
    whole = torch.stack([sound.flatten()[c] for c in corners]).all(0)
    one = around.amax(0) - around.amin(0) < torch.tensor(EDGE).log()
    return torch.where(whole & one, sampled(log, xy), torch.nan)
