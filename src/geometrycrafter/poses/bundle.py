"""Levenberg-Marquardt on a :class:`Problem`, from a start that is near."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geometrycrafter.poses.block_band import Factors
from geometrycrafter.poses.normal_equations import HELD, Normal
from geometrycrafter.poses.problem import Problem, State


def solve(
    problem: Problem, state: State, widths: Sequence[float] = (8.0, 3.0), iterations: int = 12, tolerance: float = 1e-5
) -> State:
    """Minimise, the robust loss becoming narrower.

    Args:
        problem: to solve.
        state: to begin with.
        widths: of the robust loss, in standard deviations, one after the other.
        iterations: at most, for each.
        tolerance: a step that gains a smaller share of the cost is the last one.
    """
    for width in widths:
        damping, cost = 1e-4, problem.cost(state, width)
        for _ in range(iterations):
            found = _better(problem, state, width, damping, cost)
            if found is None:
                break
            before = cost
            state, cost, damping = found
            if before - cost < tolerance * cost:
                break
    return state


def _better(
    problem: Problem, state: State, width: float, damping: float, cost: float
) -> tuple[State, float, float] | None:
    """The next state, its cost and the next damping; None where no step leads down."""
    for _ in range(6):
        try:
            normal = Normal.of(problem, state, width, damping)
            tried = state.moved(*normal.step(damping))
        except torch.linalg.LinAlgError:
            damping *= 10
            continue
        new = problem.cost(tried, width)
        if new < cost:
            return tried, new, max(damping / 5, 1e-9)
        damping = max(damping * 10, 1e-6)
    return None


def covariance(problem: Problem, state: State, width: float = 3.0, own: float = 1.0, parts: float = 0.0) -> Tensor:
    """Of each camera, in its own axes: ``[T, 6, 6]`` of turn (radians) and shift (the scene's unit).

    The first camera that is held makes the world, and its depth the unit, so what is uncertain grows from there;
    infinite where nothing can be said.

    Args:
        problem: that was solved.
        state: its solution.
        width: of the robust loss, standard deviations.
        own: times what the weights say, of points that err each by itself.
        parts: times what the parts of the picture disagree by is added to that.
    """
    assert problem.held is not None
    first = int(problem.held.nonzero()[0])
    unknown = torch.full((problem.frames, 6, 6), torch.inf, dtype=torch.float64)
    nodes = problem.grid.nodes
    held = torch.zeros(problem.frames, 6 + nodes, 6 + nodes, dtype=torch.float64)
    held[first, 6 : 6 + nodes, 6 : 6 + nodes] = HELD / nodes**2
    for damping in (0.0, 1e-9, 1e-6):  # rounding may take a matrix that is nearly singular below zero
        try:
            normal = Normal.of(problem, state, width)
            normal.matrix.add_frames(held)
            factors = normal.matrix.factorise(damping)
            spread = own * factors.inverse_blocks()[:, :6, :6]
            return spread + parts * _disagreement(problem, normal, factors) if parts else spread
        except torch.linalg.LinAlgError:
            continue
    return unknown


PARTS = (4, 5)
"""Rows and columns of parts of the picture that are held against one another."""


def _disagreement(problem: Problem, normal: Normal, factors: Factors) -> Tensor:
    """Covariance of cameras ``[T, 6, 6]`` by the delete-a-group jackknife, to first order: how a solution without the
    points of a part of the picture would differ. What neighbours have wrong alike, over many frames, shows in it."""
    tracks, (rows, columns) = problem.tracks, PARTS
    if not len(tracks):
        return torch.zeros(problem.frames, 6, 6, dtype=torch.float64)
    at = tracks.xy[tracks.start[:-1]] + 0.5
    row = (at[:, 1] * rows / problem.size[0]).long().clamp(0, rows - 1)
    part = row * columns + (at[:, 0] * columns / problem.size[1]).long().clamp(0, columns - 1)
    names, part = torch.unique(part, return_inverse=True)
    count = len(names)
    sums = normal.pulls(part, count)
    sums[problem.held, :, :6] = 0.0
    moved = factors.solve(sums.transpose(1, 2).reshape(-1, count)).view(problem.frames, -1, count)[:, :6]
    moved = moved - moved.mean(-1, keepdim=True)
    return count / max(count - 1, 1) * moved @ moved.mT
