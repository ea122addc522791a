"""Levenberg-Marquardt on a :class:`Problem`, from a start that is near."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
            tried = state.moved(*normal.step(problem, damping))
        except torch.linalg.LinAlgError:
            damping *= 10
            continue
        new = problem.cost(tried, width)
        if new < cost:
            return tried, new, max(damping / 5, 1e-9)
        damping = max(damping * 10, 1e-6)
    return None


def covariance(problem: Problem, state: State, width: float = 3.0) -> Tensor:
    """Of each camera, in its own axes: ``[T, 6, 6]`` of turn (radians) and shift (the scene's unit).

    The first camera that is held makes the world, and its depth the unit, so what is uncertain grows from there;
    infinite where nothing can be said.
    """
    assert problem.held is not None
    first = int(problem.held.nonzero()[0])
    unknown = torch.full((problem.frames, 6, 6), torch.inf, dtype=torch.float64)
    try:
        normal = Normal.of(problem, state, width)
    except torch.linalg.LinAlgError:
        return unknown
    nodes = problem.grid.nodes
    held = torch.zeros(problem.frames, 6 + problem.grid.nodes, 6 + problem.grid.nodes, dtype=torch.float64)
    held[first, 6 : 6 + nodes, 6 : 6 + nodes] = HELD / nodes**2
    normal.matrix.add_frames(held)
    for damping in (0.0, 1e-9, 1e-6):  # rounding may take a matrix that is nearly singular below zero
        try:
            return normal.matrix.factorise(damping).inverse_blocks()[:, :6, :6]
        except torch.linalg.LinAlgError:
            continue
    return unknown
