"""What the solver minimises: all cameras, the points of all tracks, and a correction of each frame's depth at once.

The paper's eq. 10 sums, over all pairs of a window's frames, how far a point that one frame's depth lifts lands from
where it is tracked in another, in pixels and in depth. Here the point itself is the unknown that ties its frames
together, and is eliminated in closed form, so that every observation counts once: an estimate of maximum likelihood,
whose covariance can be stated. For observation n, of point p in frame t at pixel x with predicted depth d,

    X = T_t P_p,    r = ( (K X / z - x) / sigma_pixel,   (log z - log d - B(x) a_t) / sigma_log )

T_t is world-to-camera, B(x) a_t a bilinear grid of corrections (one node: a scale of the frame).
"""

from __future__ import annotations

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
    from geometrycrafter.poses.surfaces import Pairs

NEAREST = 1e-6
"""Depth below which a point counts as behind the camera."""


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

    def __post_init__(self) -> None:
        self.has_depth = torch.isfinite(self.log_depth)
        self.known_log = torch.where(self.has_depth, self.log_depth, 0.0)
        start = self.tracks.start
        self.first = self.tracks.frame[start[:-1]]
        span = self.tracks.frame[start[1:] - 1] - self.first
        self.band = int(span.max()) + 1 if len(span) else 1
        if self.surfaces is not None:
            self.band = max(self.band, int((self.surfaces.second - self.surfaces.first).max()) + 1)
        if self.held is None:
            self.held = torch.arange(self.frames) == 0
        self.basis = self.grid.weights(self.tracks.xy, *self.size)  # [N, nodes]
        nodes, weights = self.grid.nodes, self.weights
        mean = torch.full((nodes, nodes), 1 / nodes**2, dtype=torch.float64) / weights.correction**2 / self.frames
        apart = torch.eye(nodes, dtype=torch.float64) - 1 / nodes
        self.unary = mean + self.grid.roughness() / weights.rough**2 + apart / weights.node**2
        self.unary += 1e-6 * torch.eye(nodes).double()
        self.drift = torch.eye(nodes, dtype=torch.float64) / nodes / weights.drift**2

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

    def seen(self, state: State) -> Tensor:
        """Each observation's point in its camera's axes, ``[N, 3]``."""
        rotation, translation = state.rotation[self.tracks.frame], state.translation[self.tracks.frame]
        return (rotation @ state.points[self.tracks.track][..., None])[..., 0] + translation

    def residuals(self, state: State, seen: Tensor) -> tuple[Tensor, Tensor]:
        """In standard deviations: of pixels ``[N, 2]``, and of log depth ``[N]``, zero where that is not known."""
        z = seen[:, 2].clamp_min(NEAREST)
        focal = self.focal * torch.tensor(state.log_focal).double().exp()
        pixel = (focal * seen[:, :2] / z[:, None] + self.centre - self.tracks.xy) / self.weights.pixel
        pixel = torch.where(seen[:, 2:] > NEAREST, pixel, 100.0)
        correction = (self.basis * state.correction[self.tracks.frame]).sum(-1)
        deep = torch.where(self.has_depth, (z.log() - self.known_log - correction) / self.weights.log_depth, 0.0)
        return pixel, deep

    def cost(self, state: State, width: float) -> float:
        """Half the sum of robust squares, and of what is known beforehand.

        Args:
            state: to judge.
            width: of the robust loss, standard deviations.
        """
        pixel, deep = self.residuals(state, self.seen(state))
        robust = torch.log1p(pixel.square().sum(-1) / width**2) + torch.log1p(deep.square() / width**2)
        a, d = state.correction, state.correction.diff(dim=0)
        prior = ((a @ self.unary) * a).sum() + ((d @ self.drift) * d).sum()
        if self.weights.log_focal:
            prior = prior + (state.log_focal / self.weights.log_focal) ** 2
        shared = self.surfaces.cost(state) if self.surfaces is not None else 0.0
        return 0.5 * float(self.weights.points * width**2 * robust.sum() + prior) + shared
