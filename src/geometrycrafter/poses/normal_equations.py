"""Gauss-Newton's normal equations, the points eliminated by their Schur complement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geometrycrafter.poses.block_band import BlockBand
from geometrycrafter.poses.problem import NEAREST, Problem, State
from geometrycrafter.poses.surfaces import UNKNOWNS, Pairs

HELD = 1e12
"""What is added for a camera that is known."""
CHUNK = 512
"""Points that are eliminated at once."""


@dataclass
class Linear:
    """Weighted residuals, and how they change."""

    residual: Tensor
    """``[N, 3]``."""
    camera: Tensor
    """``[N, 3, 6 + nodes]`` by turn, shift and correction of the frame."""
    point: Tensor
    """``[N, 3, 3]``."""
    focal: Tensor
    """``[N, 3]`` by the log focal length."""


def linearised(problem: Problem, state: State, width: float) -> Linear:
    """Residuals and Jacobians at a state, each observation weighted as the robust loss has it (Cauchy's weights)."""
    seen = problem.seen(state)
    pixel, deep = problem.residuals(state, seen)
    weights, count = problem.weights, len(seen)
    front = seen[:, 2] > NEAREST
    share = weights.points**0.5
    by_pixel = torch.where(front, share * (1 + pixel.square().sum(-1) / width**2).rsqrt(), 0.0)
    by_depth = torch.where(front & problem.has_depth, share * (1 + deep.square() / width**2).rsqrt(), 0.0)
    x, y, z = seen[:, 0], seen[:, 1], seen[:, 2].clamp_min(NEAREST)
    focal = problem.focal * torch.tensor(state.log_focal).double().exp() / weights.pixel
    moved = seen.new_zeros(count, 3, 3)  # by the point in camera axes
    moved[:, 0, 0], moved[:, 0, 2] = by_pixel * focal[0] / z, -by_pixel * focal[0] * x / z**2
    moved[:, 1, 1], moved[:, 1, 2] = by_pixel * focal[1] / z, -by_pixel * focal[1] * y / z**2
    moved[:, 2, 2] = by_depth / weights.log_depth / z
    camera = seen.new_zeros(count, 3, 6 + problem.grid.nodes)
    camera[:, :, :3] = torch.linalg.cross(seen[:, None].expand(-1, 3, -1), moved)
    camera[:, :, 3:6] = moved
    camera[:, 2, 6:] = -problem.basis * (by_depth / weights.log_depth)[:, None]
    by_focal = seen.new_zeros(count, 3)
    if weights.log_focal:
        by_focal[:, :2] = focal * seen[:, :2] / z[:, None] * by_pixel[:, None]
    residual = torch.cat([pixel * by_pixel[:, None], (deep * by_depth)[:, None]], 1)
    return Linear(residual, camera, moved @ state.rotation[problem.tracks.frame], by_focal)


@dataclass
class Normal:
    """The equations of cameras and focal length alone, and what it takes to go back to the points."""

    matrix: BlockBand
    right: Tensor
    """``[T * b]``."""
    beside: Tensor
    """``[T * b]``, the focal length's column."""
    corner: float
    """Its own entry."""
    last: float
    """Its right-hand side."""
    inverse: Tensor
    """``[P, 3, 3]``, of the points' Cholesky factors."""
    points: Tensor
    """``[P, 3]``, the points' own right-hand side."""
    across: Tensor
    """``[N, b, 3]`` between cameras and points."""
    focal_points: Tensor
    """``[P, 3]`` between focal length and points."""

    @classmethod
    def of(cls, problem: Problem, state: State, width: float, damping: float = 0.0) -> Normal:
        """At a state, points damped by a share of their own trace."""
        linear = linearised(problem, state, width)
        frame, track, frames, count = problem.tracks.frame, problem.tracks.track, problem.frames, problem.tracks.count
        unknowns = linear.camera.shape[-1]

        def by_frame(values: Tensor) -> Tensor:
            return values.new_zeros(frames, *values.shape[1:]).index_add_(0, frame, values)

        def by_point(values: Tensor) -> Tensor:
            return values.new_zeros(count, *values.shape[1:]).index_add_(0, track, values)

        turned = linear.camera.mT  # [N, b, 3]
        matrix = BlockBand(frames, unknowns, problem.band)
        own = by_frame(turned @ linear.camera)
        right = -by_frame((turned @ linear.residual[..., None])[..., 0])
        beside = by_frame((turned @ linear.focal[..., None])[..., 0])
        corner, last = float(linear.focal.square().sum()), -float((linear.focal * linear.residual).sum())
        if problem.weights.log_focal:
            corner += problem.weights.log_focal**-2
            last -= state.log_focal * problem.weights.log_focal**-2
        _add_prior(problem, state, own, right)
        between = torch.zeros(max(frames - 1, 0), unknowns, unknowns, dtype=torch.float64)
        between[:, 6:, 6:] = -problem.drift
        matrix.add_between(torch.arange(frames - 1), torch.arange(1, frames), between)
        if problem.surfaces is not None:
            _add_surfaces(problem, problem.surfaces, state, own, right, matrix)
        _hold(problem, own, right)
        matrix.add_frames(own)
        square = by_point(linear.point.mT @ linear.point)
        size = square.diagonal(dim1=1, dim2=2)
        size += damping * size.mean(-1, keepdim=True) + 1e-9
        inverse = torch.linalg.solve_triangular(
            torch.linalg.cholesky(square), torch.eye(3).double().expand(count, 3, 3), upper=False
        )
        points = -by_point((linear.point.mT @ linear.residual[..., None])[..., 0])
        focal_points = by_point((linear.point.mT @ linear.focal[..., None])[..., 0])
        across = turned @ linear.point
        whitened = across @ inverse[track].mT  # [N, b, 3]
        u, v = ((inverse @ x[..., None])[..., 0] for x in (points, focal_points))
        right = right - by_frame((whitened @ u[track][..., None])[..., 0])
        beside = beside - by_frame((whitened @ v[track][..., None])[..., 0])
        corner, last = corner - float(v.square().sum()), last - float((v * u).sum())
        for group, block in _outer_products(problem, whitened, matrix.group):
            matrix.add(group, -block)
        out = (matrix, right.flatten(), beside.flatten(), corner, last, inverse, points, across, focal_points)
        return cls(*out)

    def pulls(self, problem: Problem, state: State, width: float) -> Tensor:
        """How each observation pulls its frame's camera, ``[N, b]``, points being where they fit best."""
        linear, track = linearised(problem, state, width), problem.tracks.track
        best = (self.inverse.mT @ (self.inverse @ self.points[..., None]))[track]
        return -(linear.camera.mT @ linear.residual[..., None] + self.across @ best)[..., 0]

    def step(self, problem: Problem, damping: float) -> tuple[Tensor, Tensor, float]:
        """Of cameras ``[T, b]``, points ``[P, 3]``, and the log focal length.

        Raises:
            torch.linalg.LinAlgError: where the matrix is not positive.
        """
        factors = self.matrix.factorise(damping)
        both = factors.solve(torch.stack([self.right, self.beside], 1))
        focal = 0.0
        if problem.weights.log_focal:
            own = self.corner * (1 + damping) - float(self.beside @ both[:, 1])
            focal = (self.last - float(self.beside @ both[:, 0])) / own
        cameras = (both[:, 0] - both[:, 1] * focal).view(problem.frames, -1)
        frame, track = problem.tracks.frame, problem.tracks.track
        back = (self.across.mT @ cameras[frame][..., None])[..., 0]
        right = self.points - self.focal_points * focal - torch.zeros_like(self.points).index_add_(0, track, back)
        points = (self.inverse.mT @ (self.inverse @ right[..., None]))[..., 0]
        return cameras, points, focal


def _add_prior(problem: Problem, state: State, own: Tensor, right: Tensor) -> None:
    """What is known beforehand of corrections, added to frames' own blocks and right-hand sides."""
    own[:, 6:, 6:] += problem.unary
    own[1:, 6:, 6:] += problem.drift
    own[:-1, 6:, 6:] += problem.drift
    change = state.correction.diff(dim=0) @ problem.drift
    right[:, 6:] -= state.correction @ problem.unary
    right[1:, 6:] -= change
    right[:-1, 6:] += change


def _add_surfaces(
    problem: Problem, surfaces: Pairs, state: State, own: Tensor, right: Tensor, matrix: BlockBand
) -> None:
    """What surfaces say: of each pair's frames, and between them."""
    nodes = problem.grid.nodes
    spread = torch.zeros(UNKNOWNS, 6 + nodes, dtype=torch.float64)  # a frame's scale is the mean of its nodes
    spread[:6, :6] = torch.eye(6)
    spread[6, 6:] = 1 / nodes
    one, two = slice(None, UNKNOWNS), slice(UNKNOWNS, None)
    own.index_add_(0, surfaces.first, spread.T @ surfaces.square[:, one, one] @ spread)
    own.index_add_(0, surfaces.second, spread.T @ surfaces.square[:, two, two] @ spread)
    matrix.add_between(surfaces.first, surfaces.second, spread.T @ surfaces.square[:, two, one] @ spread)
    right -= surfaces.gradient(state) @ spread


def _hold(problem: Problem, own: Tensor, right: Tensor) -> None:
    """Cameras that are known stay."""
    assert problem.held is not None
    own[problem.held, :6, :6] += HELD * torch.eye(6).double()
    right[problem.held, :6] = 0.0
    if problem.still:
        own[:, 3:6, 3:6] += HELD * torch.eye(3).double()
        right[:, 3:6] = 0.0


def _outer_products(problem: Problem, whitened: Tensor, group: int) -> Iterator[tuple[int, Tensor]]:
    """What eliminated points say of the frames of their group and the next one, group and ``[2 s, 2 s]``."""
    tracks, unknowns = problem.tracks, whitened.shape[1]
    start = tracks.start
    groups = problem.first // group
    order = torch.argsort(groups, stable=True)
    for chunk in order.split(CHUNK):
        for g in torch.unique(groups[chunk]).tolist():
            points = chunk[groups[chunk] == g]
            counts = start[points + 1] - start[points]
            local = torch.repeat_interleave(torch.arange(len(points)), counts)
            ends = counts.cumsum(0)
            rows = start[points][local] + torch.arange(len(local)) - (ends - counts)[local]
            dense = whitened.new_zeros(2 * group, len(points), unknowns, 3)
            dense[tracks.frame[rows] - g * group, local] = whitened[rows]
            dense = dense.transpose(1, 2).reshape(2 * group * unknowns, -1)
            yield g, dense @ dense.T
