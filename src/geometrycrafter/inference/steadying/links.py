"""What two frames say of each other's depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.geometry.flow import composed, flow, not_undone, places, pyramid, sampled, unlike
from geometrycrafter.geometry.resection import adjusted, projected, resected, zoomed
from geometrycrafter.geometry.rigid import apply

WIDEST = 128
"""Longest side of the pictures that flow is found in."""
NARROWEST = 24
"""Shortest side below which a picture says nothing."""
CELL = 8
"""Pixels between the points that are compared."""
DENSE = 4
"""Pairs of frames begin a share of their distance apart, this one."""
UNDONE, UNLIKE, AWAY = 1.0, 0.5, 0.7
"""Pixels, differences of evened pictures, and pixels from where the camera's motion leads: hardly believed beyond."""
STANDS = 0.15
"""Pixels of flow in the median below which the camera has not moved at all."""
NEARER = 0.2
"""Change of log depth by the camera's own motion, beyond which it is hardly relied on."""
FEWEST, LEAST = 20, 0.1
"""Points, and share of all, without which two frames say nothing of each other."""


class SmallFrame(NamedTuple):
    """A frame, made small."""

    pictures: list[Tensor]
    """Its pyramid."""
    log_depth: Tensor
    """``[h, w]``; what isn't valid is far."""
    valid: Tensor
    """``[h, w]`` bool."""

    @classmethod
    def of(cls, picture: np.ndarray, depth: np.ndarray, mask: np.ndarray) -> SmallFrame | None:
        """A frame's picture ``[h, w, 3]`` uint8, depth ``[H, W]`` and mask ``[H, W]``; None where it is too small."""
        height, width = size = small_size(*picture.shape[:2])
        if min(height, width) < NARROWEST:
            return None

        def small(values: Tensor) -> Tensor:
            return F.interpolate(values[None, None], size, mode="bilinear", antialias=True)[0, 0]

        known = torch.from_numpy(np.asarray(mask, bool) & np.isfinite(depth) & (depth > 0))
        share = small(known.float())
        log_depth = torch.where(known, torch.from_numpy(np.asarray(depth, np.float32)).clamp_min(1e-20).log(), 0.0)
        grey = small(torch.from_numpy(picture).float().mean(-1) / 255)
        valid, log_depth = share > 0.5, small(log_depth) / share.clamp_min(1e-6)
        far = log_depth[valid].quantile(0.9) if bool(valid.any()) else torch.tensor(0.0)
        return cls(pyramid(grey), torch.where(valid, log_depth, far), valid)


class Link(NamedTuple):
    """What one frame says of another's depth: ``log depth[second] at - (log depth[first] + change) = off``."""

    first: int
    second: int
    at: Tensor
    """``[N, 2]`` where the points of the first frame's cells are in the second, pixels."""
    off: Tensor
    """``[N]`` float64."""
    weight: Tensor
    """``[N]`` float64, 1 at most."""
    nearer: float
    """Mean change of log depth by the camera's motion, without its sign."""
    missed: float = 0.0
    """Pixels in the median that the motion, by depth as it is, leaves unexplained."""
    zoomed: Link | None = None
    """What it says if the camera turned in its place and its lens zoomed."""


@dataclass
class Linker:
    """Links each frame of a shot with those before it; memory holds a few frames of each distance.

    Args:
        focal: ``[2]`` in pixels of the small pictures.
        centre: ``[2]`` of them, the principal point.
    """

    focal: Tensor
    centre: Tensor
    _frames: dict[int, SmallFrame] = field(default_factory=dict)
    _flows: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    _level: Tensor | None = None
    """Log depth of the first frame that has any: depth is counted from there, whatever its unit."""

    def add(self, t: int, frame: SmallFrame) -> Iterator[Link]:
        """Links ``t``, the next frame, with those before it, both ways."""
        if self._level is None and bool(frame.valid.any()):
            self._level = frame.log_depth[frame.valid].median()
        self._frames[t] = frame if self._level is None else frame._replace(log_depth=frame.log_depth - self._level)
        lag, matches = 1, list[_Match]()
        while lag <= t:
            if t % max(1, lag // DENSE) == 0:
                matches.append(self._matched(t - lag, t))
            lag *= 2
        if matches:
            yield from self._linked(matches)
        for s in [s for s in self._frames if t >= s + _last_lag(s, t)]:
            del self._frames[s]
        for a, b in [(a, b) for a, b in self._flows if max(a, b) + abs(a - b) <= t]:
            del self._flows[a, b]

    def _matched(self, a: int, b: int) -> _Match:
        """Where the cells of either frame are in the other."""
        one, other = self._frames[a], self._frames[b]
        pictures = [torch.cat([p, q]) for p, q in zip(one.pictures, other.pictures, strict=True)]
        turned = [p.flip(0) for p in pictures]
        frames = (one, other)
        free = self._free(a, b, pictures, turned)
        points, own = self._points(frames)
        weight = _believed(pictures, turned, free, own)
        moved = resected(points, _at(free, own), weight, self.focal, self.centre, AWAY)
        # Along the motion of the whole, flow finds what it lost; things that move by themselves are found without.
        led = flow(pictures, turned, self._led(frames, moved), levels=1)
        better = unlike(pictures[0], turned[0], led) < 1.1 * unlike(pictures[0], turned[0], free) + 0.01
        found = torch.where(better[:, None] & (weight.sum(-1) > FEWEST / 2)[:, None, None, None], led, free)
        self._flows[a, b], self._flows[b, a] = found[:1], found[1:]
        weight, at = _believed(pictures, turned, found, own), _at(found, own)
        there, weight = _compared(frames, own, at, weight)
        return _Match(torch.tensor([(a, b), (b, a)]), points, at, there, weight, moved)

    def _linked(self, matches: list[_Match]) -> Iterator[Link]:
        """All that is between a frame and those before it, fitted together: one by one it takes three times as long."""
        ends, points, at, there, weight, moved = (torch.cat(parts) for parts in zip(*matches, strict=True))
        own = cells(next(iter(self._frames.values())).valid.shape)
        moved = resected(points, at, weight, self.focal, self.centre, AWAY, moved)
        turn, zoom = zoomed(points, at, weight, self.focal, self.centre, AWAY)
        causes = [
            self._cause(moved, points, torch.ones_like(zoom), self._changes(points, at, weight, moved)),
            self._cause(turn, points, zoom, None),
        ]
        counted = ((weight > 0.05).sum(-1) >= FEWEST) & (weight.sum(-1) >= LEAST * len(own))
        for i in counted.nonzero()[:, 0].tolist():
            first, second = ends[i].tolist()
            log_depth = points[i, :, 2].log()
            motion, zooming = (
                _read((first, second), own, at[i], there[i] - log_depth, weight[i], c.of(i)) for c in causes
            )
            yield motion._replace(zoomed=zooming)

    def _free(self, a: int, b: int, pictures: list[Tensor], turned: list[Tensor]) -> Tensor:
        """Flow both ways ``[2, 2, h, w]``, begun at that by way of the frame in the middle."""
        if b - a == 1:
            return flow(pictures, turned)
        m = (a + b) // 2
        there = composed(self._flows[a, m], self._flows[m, b])
        back = composed(self._flows[b, m], self._flows[m, a])
        return flow(pictures, turned, torch.cat([there, back]), levels=2)

    def _points(self, frames: tuple[SmallFrame, SmallFrame]) -> tuple[Tensor, Tensor]:
        """Points ``[2, N, 3]`` float64 of two frames' cells, and the cells' pixels ``[N, 2]``."""
        own = cells(frames[0].valid.shape)
        column, row = own.unbind(-1)
        depth = torch.stack([f.log_depth[row, column] for f in frames]).double().exp()
        rays = torch.cat([(own - self.centre) / self.focal, torch.ones(len(own), 1).double()], -1)
        return rays * depth[..., None], own

    def _led(self, frames: tuple[SmallFrame, SmallFrame], moved: Tensor) -> Tensor:
        """Flow ``[2, 2, h, w]`` of a still world under the camera's motions ``[2, 4, 4]``."""
        height, width = frames[0].valid.shape
        pixels = places(height, width)[0].flatten(1).T
        rays = torch.cat([(pixels - self.centre) / self.focal, torch.ones(len(pixels), 1)], -1).float()
        depth = torch.stack([f.log_depth.flatten().exp() for f in frames])
        there, _ = projected(apply(moved.float(), rays * depth[..., None]), self.focal.float(), self.centre.float())
        found = (there - pixels).mT.reshape(2, 2, height, width)
        return found.clamp(-2 * WIDEST, 2 * WIDEST)

    def _changes(self, points: Tensor, at: Tensor, weight: Tensor, moved: Tensor) -> Tensor:
        """Of log depth ``[B, N]`` of points by the camera's motions ``[B, 4, 4]``, which are nearly right."""
        found, points = adjusted(points, at, weight, self.focal, self.centre, AWAY, moved)
        _, ahead = projected(apply(found, points), self.focal, self.centre)
        return ahead[..., 2].log() - points[..., 2].log()

    def _cause(self, moved: Tensor, points: Tensor, zoom: Tensor, change: Tensor | None) -> _Cause:
        """What motions ``[B, 4, 4]`` and zooms ``[B]`` do to points ``[B, N, 3]``."""
        predicted = apply(moved, points)
        pixels, ahead = projected(predicted, self.focal * zoom[:, None, None], self.centre)
        change = ahead[..., 2].log() - points[..., 2].log() if change is None else change
        return _Cause(pixels, change, predicted[..., 2] > 1e-3)


class _Match(NamedTuple):
    """Where the cells of frames are in others."""

    ends: Tensor
    """``[B, 2]`` int64, the frames."""
    points: Tensor
    """``[B, N, 3]`` float64 of the first ones' cells."""
    at: Tensor
    """``[B, N, 2]`` pixels of the second."""
    there: Tensor
    """``[B, N]`` log depth there."""
    weight: Tensor
    """``[B, N]`` of each."""
    moved: Tensor
    """``[B, 4, 4]``, about how the camera moved."""


class _Cause(NamedTuple):
    """Where points are seen for some reason."""

    pixels: Tensor
    """``[B, N, 2]``"""
    change: Tensor
    """``[B, N]`` of log depth."""
    ahead: Tensor
    """``[B, N]`` bool, of the camera."""

    def of(self, i: int) -> _Cause:
        """One of the frames'."""
        return _Cause(self.pixels[i], self.change[i], self.ahead[i])


def _read(ends: tuple[int, int], own: Tensor, at: Tensor, grown: Tensor, weight: Tensor, cause: _Cause) -> Link:
    """What one frame's points ``[N, 2]``, which are at others in the second one, say of depth if that is the cause.

    Args:
        ends: the frames.
        own: points of the first.
        at: where they are in the second.
        grown: ``[N]`` how much greater log depth is there.
        weight: ``[N]`` of each point.
        cause: of its motion.
    """
    away, missed = (at - own).norm(dim=-1), (cause.pixels - at).norm(dim=-1)
    counted = weight > 0.05
    left = float(missed[counted].median())
    if float(away[counted].median()) < STANDS:
        counts = weight / (1 + (away / (2 * STANDS)).square()).square()
        return Link(*ends, at, grown, counts, 0.0, left)
    counts = weight * cause.ahead / (1 + (missed / AWAY).square()).square() / (1 + (cause.change / NEARER).square())
    nearer = (counts * cause.change).sum() / counts.sum().clamp_min(1e-6)
    return Link(*ends, at, grown - cause.change, counts, abs(float(nearer)), left)


def _compared(frames: tuple[SmallFrame, SmallFrame], own: Tensor, at: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Log depth ``[2, N]`` in the other frame of where cells ``[N, 2]`` are there, ``[2, N, 2]``; and weights
    ``[2, N]``, zero where it isn't valid in both."""
    column, row = own.unbind(-1)
    stacked = torch.stack([torch.stack([f.log_depth, f.valid.float()]) for f in reversed(frames)])
    there, known = sampled(stacked, at.mT[..., None].float())[..., 0].double().unbind(1)
    return there, weight * torch.stack([f.valid[row, column] for f in frames]) * (known > 0.99)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that frames are compared at."""
    scale = min(1.0, WIDEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def cells(size: torch.Size | tuple[int, int]) -> Tensor:
    """Pixels (x, y) ``[N, 2]`` int64 of a small picture that are compared."""
    y, x = (torch.arange(CELL // 2, n, CELL) for n in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)


def _last_lag(s: int, t: int) -> int:
    """The longest distance at which frame ``s`` is still wanted by one after ``t``."""
    lag = 1
    while s % max(1, 2 * lag // DENSE) == 0 and s + lag <= t:
        lag *= 2
    return lag


def _at(found: Tensor, own: Tensor) -> Tensor:
    """Where cells ``[N, 2]`` go by flow ``[B, 2, h, w]``: ``[B, N, 2]`` float64."""
    column, row = own.unbind(-1)
    return own + found[:, :, row, column].mT.double()


def _believed(pictures: list[Tensor], turned: list[Tensor], found: Tensor, own: Tensor) -> Tensor:
    """How much flow ``[2, 2, h, w]`` both ways is to be believed at cells ``[N, 2]``: ``[2, N]`` float64."""
    column, row = own.unbind(-1)
    undone = 1 / (1 + (not_undone(found, found.flip(0)) / UNDONE).square()).square()
    alike = 1 / (1 + (unlike(pictures[0], turned[0], found) / UNLIKE).square()).square()
    at = _at(found, own)
    limits = at.new_tensor([found.shape[-1] - 1, found.shape[-2] - 1])
    inside = ((at >= 0) & (at <= limits)).all(-1)
    return (undone * alike)[:, row, column].double() * inside
