"""What the solver minimises: all cameras, the points of all tracks, and a correction of each frame's depth at once.

The paper's eq. 10 sums, over all pairs of a window's frames, how far a point that one frame's depth lifts lands from
where it is tracked in another, in pixels and in depth. Here the point itself is the unknown that ties its frames
together, and is eliminated in closed form, so that every observation counts once: an estimate of maximum likelihood,
whose covariance can be stated. For observation n, of point p in frame t at pixel x with predicted depth d,

    X = T_t P_p,    r = ( (K X / z - x) / sigma_pixel,   (log z - log d - B(x) a_t) / sigma_log )

T_t is world-to-camera, B(x) a_t a bilinear grid of corrections (one node: a scale of the frame).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from geometrycrafter.geometry.grid import Grid
from geometrycrafter.geometry.rigid import rotation_of_vector
from geometrycrafter.poses.tracks import Tracks
from geometrycrafter.scene import Scene

if TYPE_CHECKING:
    from geometrycrafter.poses.pairs import Pairs

NEAREST = 1e-6
"""Depth below which a point counts as behind the camera."""
FAR = 24
"""Frames apart from which a pair is kept beside the band of the normal equations, not in it."""
AT_ONCE = 1 << 15
"""Observations that are looked at at once, so that memory doesn't grow with what is said of each."""


@dataclass(frozen=True)
class Weights:
    """How far things are believed to be off, as standard deviations."""

    pixel: float = 0.5
    """Of tracked points."""
    log_depth: float = 0.05
    """Of predicted depth beyond what the correction takes up."""
    correction: float = 0.5
    """Of the clip's mean correction."""
    drift: float = 0.03
    """Of the change of corrections from frame to frame."""
    rough: float = 0.3
    """Of second differences within a frame's grid."""
    node: float = 10.0
    """Of a node's correction, apart from the mean of its frame."""
    log_focal: float = 0.0
    """Of the focal length; 0 keeps it."""
    points: float = 1.0
    """What points count beside surfaces."""
    width: float = 3.0
    """Of the robust loss, Cauchy's, in standard deviations."""


@dataclass
class State:
    """What is solved for. Cameras are world-to-camera."""

    rotation: Tensor
    """``[T, 3, 3]``."""
    translation: Tensor
    """``[T, 3]``."""
    points: Tensor
    """``[P, 3]`` in the world."""
    correction: Tensor
    """``[T, nodes]``, added to log depth."""
    log_focal: float = 0.0
    """Log of the factor on the focal length."""

    @property
    def poses(self) -> Tensor:
        """Camera-to-world, ``[T, 4, 4]``."""
        out = torch.eye(4, dtype=torch.float64).repeat(len(self.rotation), 1, 1)
        out[:, :3, :3] = self.rotation.mT
        out[:, :3, 3:] = -self.rotation.mT @ self.translation[..., None]
        return out

    def in_unit_of_depth(self) -> State:
        """The same in the unit of the depth as predicted: steps hardly feel the unit, which is held by next to nothing,
        and may end anywhere near."""
        mean = float(self.correction.mean())
        shrunk = math.exp(-mean)
        return State(
            self.rotation, self.translation * shrunk, self.points * shrunk, self.correction - mean, self.log_focal
        )

    def moved(self, cameras: Tensor, points: Tensor, log_focal: float) -> State:
        """A step on: ``[T, 6 + nodes]`` of turns, shifts and corrections, points ``[P, 3]``, and the log focal."""
        turn = rotation_of_vector(cameras[:, :3])
        return State(
            rotation=turn @ self.rotation,
            translation=(turn @ self.translation[..., None])[..., 0] + cameras[:, 3:6],
            points=self.points + points,
            correction=self.correction + cameras[:, 6:],
            log_focal=self.log_focal + log_focal,
        )


@dataclass(frozen=True)
class Observations:
    """All those of some points whose numbers follow one another."""

    points: slice
    """Of all points."""
    frame: Tensor
    """``[n]`` int64."""
    point: Tensor
    """``[n]`` int64, number among these points."""
    xy: Tensor
    """``[n, 2]``."""
    log_depth: Tensor
    """``[n]``, 0 where it is not known."""
    has_depth: Tensor
    """``[n]`` bool."""
    basis: Tensor
    """``[n, nodes]``, what each node of a frame's correction counts here."""

    @property
    def count(self) -> int:
        """Of points."""
        return self.points.stop - self.points.start

    def by_point(self, values: Tensor) -> Tensor:
        """Sums ``[P, ...]`` of values ``[n, ...]`` over each point's observations."""
        return values.new_zeros(self.count, *values.shape[1:]).index_add_(0, self.point, values)


@dataclass
class Problem:
    """What is known."""

    tracks: Tracks
    log_depth: Tensor
    """``[N]`` float64, log of predicted depth at each observation; NaN where it is not known."""
    focal: Tensor
    """``[2]`` float64 pixels."""
    centre: Tensor
    """``[2]`` float64 pixels."""
    size: tuple[int, int]
    """Height and width."""
    frames: int
    weights: Weights = field(default_factory=Weights)
    grid: Grid = field(default_factory=Grid)
    held: Tensor | None = None
    """``[T]`` bool, cameras that are known; None: the first, which makes the world."""
    still: bool = False
    """Whether cameras only turn."""
    surfaces: Pairs | None = None
    """What surfaces that frames share say beside the points."""
    loops: Pairs | None = None
    """What frames say that see a place again."""

    def __post_init__(self) -> None:
        self.has_depth = torch.isfinite(self.log_depth)
        self.start = start = self.tracks.start
        span = self.tracks.frame[start[1:] - 1] - self.tracks.frame[start[:-1]]
        self.band = int(span.max()) + 1 if len(span) else 1
        for pairs in self.pairs:
            apart = pairs.second - pairs.first
            self.band = max(self.band, int(torch.where(apart < FAR, apart, 0).max()) + 1)
        if self.held is None:
            self.held = torch.arange(self.frames) == 0
        nodes, weights = self.grid.nodes, self.weights
        mean = torch.full((nodes, nodes), 1 / nodes**2, dtype=torch.float64) / weights.correction**2 / self.frames
        apart = torch.eye(nodes, dtype=torch.float64) - 1 / nodes
        self.unary = mean + self.grid.roughness() / weights.rough**2 + apart / weights.node**2
        self.unary += 1e-6 * torch.eye(nodes).double()
        self.drift = torch.eye(nodes, dtype=torch.float64) / nodes / weights.drift**2

    @property
    def pairs(self) -> list[Pairs]:
        """What frames say of one another beside the points."""
        return [pairs for pairs in (self.surfaces, self.loops) if pairs is not None]

    def parts(self) -> Iterator[Observations]:
        """All observations, some points after others."""
        edges = torch.arange(0, len(self.tracks) + AT_ONCE, AT_ONCE)
        points = torch.searchsorted(self.start, edges).clamp_max(self.tracks.count).unique().tolist()
        for first, end in zip([0, *points], points):
            if end > first:
                yield self._part(slice(first, end))

    def _part(self, points: slice) -> Observations:
        rows = slice(int(self.start[points.start]), int(self.start[points.stop]))
        xy, has_depth = self.tracks.xy[rows], self.has_depth[rows]
        return Observations(
            points=points,
            frame=self.tracks.frame[rows],
            point=self.tracks.track[rows] - points.start,
            xy=xy,
            log_depth=torch.where(has_depth, self.log_depth[rows], 0.0),
            has_depth=has_depth,
            basis=self.grid.weights(xy, *self.size),
        )

    def corrected(
        self, scene: Scene, frame: int, correction: Tensor, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depth of a frame of the scene with its correction ``[nodes]``, ``[height, width]``, and where it is valid."""
        depth, mask = np.asarray(scene.depth[frame], np.float32), np.asarray(scene.mask[frame], bool)
        sound = mask & np.isfinite(depth) & (depth > 0)
        how = cv2.INTER_LINEAR if height > depth.shape[0] else cv2.INTER_NEAREST
        sized = cv2.resize(np.where(sound, depth, 0), (width, height), interpolation=how)
        whole = cv2.resize(sound.astype(np.float32), (width, height), interpolation=how) > 0.99
        gain = self.grid.picture(correction, height, width).exp().numpy().astype(np.float32)
        return sized * gain, whole

    def seen(self, state: State, part: Observations) -> Tensor:
        """Each observation's point in its camera's axes, ``[n, 3]``."""
        rotation, translation = state.rotation[part.frame], state.translation[part.frame]
        return (rotation @ state.points[part.points][part.point][..., None])[..., 0] + translation

    def residuals(self, state: State, part: Observations, seen: Tensor) -> tuple[Tensor, Tensor]:
        """In standard deviations: of pixels ``[n, 2]``, and of log depth ``[n]``, zero where that is not known."""
        z = seen[:, 2].clamp_min(NEAREST)
        focal = self.focal * torch.tensor(state.log_focal).double().exp()
        pixel = (focal * seen[:, :2] / z[:, None] + self.centre - part.xy) / self.weights.pixel
        pixel = torch.where(seen[:, 2:] > NEAREST, pixel, 100.0)
        correction = (part.basis * state.correction[part.frame]).sum(-1)
        deep = torch.where(part.has_depth, (z.log() - part.log_depth - correction) / self.weights.log_depth, 0.0)
        return pixel, deep

    def misfit(self, state: State) -> tuple[Tensor, Tensor]:
        """Of all observations: how far off in pixels ``[N]``, and :meth:`residuals` of log depth ``[N]``."""
        found = [self.residuals(state, part, self.seen(state, part)) for part in self.parts()]
        distance = torch.cat([pixel.norm(dim=-1) for pixel, _ in found] or [torch.zeros(0).double()])
        return distance * self.weights.pixel, torch.cat([deep for _, deep in found] or [torch.zeros(0).double()])

    def cost(self, state: State, width: float) -> float:
        """Half the sum of robust squares, and of what is known beforehand.

        Args:
            state: to judge.
            width: of the robust loss, standard deviations.
        """
        robust = 0.0
        for part in self.parts():
            pixel, deep = self.residuals(state, part, self.seen(state, part))
            robust += float(torch.log1p(pixel.square().sum(-1) / width**2).sum())
            robust += float(torch.log1p(deep.square() / width**2).sum())
        a, d = state.correction, state.correction.diff(dim=0)
        prior = float(((a @ self.unary) * a).sum() + ((d @ self.drift) * d).sum())
        if self.weights.log_focal:
            prior += (state.log_focal / self.weights.log_focal) ** 2
        shared = sum(pairs.cost(state) for pairs in self.pairs)
        return 0.5 * (self.weights.points * width**2 * robust + prior) + shared
