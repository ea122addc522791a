"""Gauss-Newton's normal equations, the points eliminated by their Schur complement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geometrycrafter.poses.block_band import BlockBand
from geometrycrafter.poses.pairs import UNKNOWNS, Pairs
from geometrycrafter.poses.problem import NEAREST, Observations, Problem, State

HELD = 1e12
"""What is added for a camera that is known."""
CHUNK = 64
"""Points that are eliminated at once."""


@dataclass
class Linear:
    """Weighted residuals, and how they change."""

    residual: Tensor
    """``[n, 3]``."""
    camera: Tensor
    """``[n, 3, 6 + nodes]`` by turn, shift and correction of the frame."""
    point: Tensor
    """``[n, 3, 3]``."""
    focal: Tensor
    """``[n, 3]`` by the log focal length."""


def linearised(problem: Problem, state: State, part: Observations, width: float) -> Linear:
    """Residuals and Jacobians at a state, each observation weighted as the robust loss has it (Cauchy's weights)."""
    seen = problem.seen(state, part)
    pixel, deep = problem.residuals(state, part, seen)
    weights, count = problem.weights, len(seen)
    front = seen[:, 2] > NEAREST
    share = weights.points**0.5
    by_pixel = torch.where(front, share * (1 + pixel.square().sum(-1) / width**2).rsqrt(), 0.0)
    by_depth = torch.where(front & part.has_depth, share * (1 + deep.square() / width**2).rsqrt(), 0.0)
    x, y, z = seen[:, 0], seen[:, 1], seen[:, 2].clamp_min(NEAREST)
    focal = problem.focal * torch.tensor(state.log_focal).double().exp() / weights.pixel
    moved = seen.new_zeros(count, 3, 3)  # by the point in camera axes
    moved[:, 0, 0], moved[:, 0, 2] = by_pixel * focal[0] / z, -by_pixel * focal[0] * x / z**2
    moved[:, 1, 1], moved[:, 1, 2] = by_pixel * focal[1] / z, -by_pixel * focal[1] * y / z**2
    moved[:, 2, 2] = by_depth / weights.log_depth / z
    camera = seen.new_zeros(count, 3, 6 + problem.grid.nodes)
    camera[:, :, :3] = torch.linalg.cross(seen[:, None].expand(-1, 3, -1), moved)
    camera[:, :, 3:6] = moved
    camera[:, 2, 6:] = -part.basis * (by_depth / weights.log_depth)[:, None]
    by_focal = seen.new_zeros(count, 3)
    if weights.log_focal:
        by_focal[:, :2] = focal * seen[:, :2] / z[:, None] * by_pixel[:, None]
    residual = torch.cat([pixel * by_pixel[:, None], (deep * by_depth)[:, None]], 1)
    return Linear(residual, camera, moved @ state.rotation[part.frame], by_focal)


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
    at: tuple[Problem, State, float]
    """What was linearised: points are gone back to by the same derivatives, which are not kept."""

    @classmethod
    def of(cls, problem: Problem, state: State, width: float, damping: float = 0.0) -> Normal:
        """At a state, points damped by a share of their own trace."""
        frames, unknowns = problem.frames, 6 + problem.grid.nodes
        matrix = BlockBand(frames, unknowns, problem.band)
        own = torch.zeros(frames, unknowns, unknowns, dtype=torch.float64)
        right, beside = torch.zeros(2, frames, unknowns, dtype=torch.float64)
        corner, last = 0.0, 0.0
        if problem.weights.log_focal:
            corner = problem.weights.log_focal**-2
            last = -state.log_focal * corner
        inverse = torch.zeros(problem.tracks.count, 3, 3, dtype=torch.float64)
        eliminated = torch.zeros(frames, unknowns, dtype=torch.float64)
        for part in problem.parts():
            linear, frame = linearised(problem, state, part, width), part.frame
            turned = linear.camera.mT  # [n, b, 3]
            own.index_add_(0, frame, turned @ linear.camera)
            right.index_add_(0, frame, -(turned @ linear.residual[..., None])[..., 0])
            beside.index_add_(0, frame, (turned @ linear.focal[..., None])[..., 0])
            roots = inverse[part.points] = _roots(part.by_point(linear.point.mT @ linear.point), damping)
            u, v = (_whitened(part, roots, linear.point, x) for x in (-linear.residual, linear.focal))
            across = (turned @ linear.point) @ roots[part.point].mT  # [n, b, 3]
            eliminated.index_add_(0, frame, (across @ u[part.point][..., None])[..., 0])
            beside.index_add_(0, frame, -(across @ v[part.point][..., None])[..., 0])
            corner += float(linear.focal.square().sum() - v.square().sum())
            last -= float((linear.focal * linear.residual).sum() + (v * u).sum())
            for first, block in _outer_products(part, across):
                matrix.add(first, -block)
        _add_prior(problem, state, own, right)
        between = torch.zeros(max(frames - 1, 0), unknowns, unknowns, dtype=torch.float64)
        between[:, 6:, 6:] = -problem.drift
        matrix.add_between(torch.arange(frames - 1), torch.arange(1, frames), between)
        for pairs in problem.pairs:
            _add_pairs(problem, pairs, state, own, right, matrix)
        _hold(problem, own, right)
        matrix.add_frames(own)
        return cls(
            matrix, (right - eliminated).flatten(), beside.flatten(), corner, last, inverse, (problem, state, width)
        )

    def pulls(self, cell: Tensor, cells: int) -> Tensor:
        """How observations pull their frames' cameras, points being where they fit best, ``[T, cells, b]``.

        Args:
            cell: ``[P]`` int64, of each point, which sum it goes into.
            cells: how many there are.
        """
        problem, state, width = self.at
        sums = torch.zeros(problem.frames * cells, 6 + problem.grid.nodes, dtype=torch.float64)
        for part in problem.parts():
            linear, roots = linearised(problem, state, part, width), self.inverse[part.points]
            best = (roots.mT @ _whitened(part, roots, linear.point, -linear.residual)[..., None])[part.point]
            pulled = -(linear.camera.mT @ (linear.residual[..., None] + linear.point @ best))[..., 0]
            sums.index_add_(0, part.frame * cells + cell[part.points][part.point], pulled)
        return sums.view(problem.frames, cells, -1)

    def step(self, damping: float) -> tuple[Tensor, Tensor, float]:
        """Of cameras ``[T, b]``, points ``[P, 3]``, and the log focal length.

        Raises:
            torch.linalg.LinAlgError: where the matrix is not positive.
        """
        problem, state, width = self.at
        factors = self.matrix.factorise(damping)
        both = factors.solve(torch.stack([self.right, self.beside], 1))
        focal = 0.0
        if problem.weights.log_focal:
            own = self.corner * (1 + damping) - float(self.beside @ both[:, 1])
            focal = (self.last - float(self.beside @ both[:, 0])) / own
        cameras = (both[:, 0] - both[:, 1] * focal).view(problem.frames, -1)
        points = torch.zeros_like(state.points)
        for part in problem.parts():
            linear = linearised(problem, state, part, width)
            moved = (linear.camera @ cameras[part.frame][..., None])[..., 0] + linear.focal * focal
            roots = self.inverse[part.points]
            change = _whitened(part, roots, linear.point, -linear.residual - moved)
            points[part.points] = (roots.mT @ change[..., None])[..., 0]
        return cameras, points, focal


def _roots(square: Tensor, damping: float) -> Tensor:
    """Inverse Cholesky factors of points' own equations ``[P, 3, 3]``, damped by a share of their trace."""
    size = square.diagonal(dim1=1, dim2=2)
    size += damping * size.mean(-1, keepdim=True) + 1e-9
    identity = torch.eye(3).double().expand(len(square), 3, 3)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(square), identity, upper=False)


def _whitened(part: Observations, roots: Tensor, by_point: Tensor, values: Tensor) -> Tensor:
    """Points' right-hand sides ``[P, 3]`` for values ``[n, 3]``, times their inverse factors."""
    return (roots @ part.by_point((by_point.mT @ values[..., None])[..., 0])[..., None])[..., 0]


def _add_prior(problem: Problem, state: State, own: Tensor, right: Tensor) -> None:
    """What is known beforehand of corrections, added to frames' own blocks and right-hand sides."""
    own[:, 6:, 6:] += problem.unary
    own[1:, 6:, 6:] += problem.drift
    own[:-1, 6:, 6:] += problem.drift
    change = state.correction.diff(dim=0) @ problem.drift
    right[:, 6:] -= state.correction @ problem.unary
    right[1:, 6:] -= change
    right[:-1, 6:] += change


def _add_pairs(problem: Problem, pairs: Pairs, state: State, own: Tensor, right: Tensor, matrix: BlockBand) -> None:
    """What pairs of frames say: of each frame, and between the two."""
    nodes = problem.grid.nodes
    spread = torch.zeros(UNKNOWNS, 6 + nodes, dtype=torch.float64)  # a frame's scale is the mean of its nodes
    spread[:6, :6] = torch.eye(6)
    spread[6, 6:] = 1 / nodes
    right -= pairs.gradient(state) @ spread
    near = pairs.second - pairs.first < problem.band
    one, two = slice(None, UNKNOWNS), slice(UNKNOWNS, None)
    first, second, square = pairs.first[near], pairs.second[near], pairs.square[near]
    own.index_add_(0, first, spread.T @ square[:, one, one] @ spread)
    own.index_add_(0, second, spread.T @ square[:, two, two] @ spread)
    matrix.add_between(first, second, spread.T @ square[:, two, one] @ spread)
    both = torch.block_diag(spread, spread)
    for row in (~near).nonzero()[:, 0].tolist():
        matrix.add_far(int(pairs.first[row]), int(pairs.second[row]), both.T @ pairs.square[row] @ both)


def _hold(problem: Problem, own: Tensor, right: Tensor) -> None:
    """Cameras that are known stay."""
    assert problem.held is not None
    own[problem.held, :6, :6] += HELD * torch.eye(6).double()
    right[problem.held, :6] = 0.0
    if problem.still:
        own[:, 3:6, 3:6] += HELD * torch.eye(3).double()
        right[:, 3:6] = 0.0


def _outer_products(part: Observations, whitened: Tensor) -> Iterator[tuple[int, Tensor]]:
    """What eliminated points say of the frames that they are seen in: the first of them, and ``[s, s]`` from it on.

    Points that begin in the same frame are taken together, those that last as long first of all.
    """
    unknowns = whitened.shape[1]
    start = torch.searchsorted(part.point, torch.arange(part.count + 1))
    first, last = part.frame[start[:-1]], part.frame[start[1:] - 1]
    order = torch.argsort(first * (int((last - first).max()) + 1) + last - first)
    for of_frame in order.split(torch.unique(first, return_counts=True)[1].tolist()):
        for points in of_frame.split(CHUNK):
            frame, counts = int(first[points[0]]), start[points + 1] - start[points]
            local = torch.repeat_interleave(torch.arange(len(points)), counts)
            ends = counts.cumsum(0)
            rows = start[points][local] + torch.arange(len(local)) - (ends - counts)[local]
            span = int((last - first)[points].max()) + 1
            dense = whitened.new_zeros(span, unknowns, len(points), 3)
            dense[part.frame[rows] - frame, :, local] = whitened[rows]
            dense = dense.view(span * unknowns, -1)
            yield frame, dense @ dense.T
