"""Levenberg-Marquardt on a :class:`Problem`, from a start that is near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from geometrycrafter.geometry.grid import Grid
from geometrycrafter.poses.block_band import Factors
from geometrycrafter.poses.initial import points_of
from geometrycrafter.poses.normal_equations import HELD, Normal
from geometrycrafter.poses.problem import Problem, State

LONGEST = 480
"""Frames whose grids are solved for at once; longer clips are solved in blocks of so many."""
OVERLAP = 48
"""Frames that two blocks share. The cameras of the first half of them are the earlier block's."""


def solve(
    problem: Problem, state: State, widths: Sequence[float] = (8.0, 3.0), iterations: int = 12, tolerance: float = 1e-5
) -> State:
    """Minimise, the robust loss becoming narrower.

    What a grid of corrections takes of memory grows with its square, so those of long clips are found block by block.

    Args:
        problem: to solve.
        state: to begin with.
        widths: of the robust loss, in standard deviations, one after the other.
        iterations: at most, for each.
        tolerance: a step that gains a smaller share of the cost is the last one.
    """
    if problem.frames > LONGEST and problem.grid.nodes > 1:
        return _in_blocks(problem, state, widths, iterations, tolerance)
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


def _in_blocks(problem: Problem, state: State, widths: Sequence[float], iterations: int, tolerance: float) -> State:
    """As :func:`solve`, so many frames at a time; places that are seen again hold the blocks' last cameras."""
    if problem.loops is not None:
        whole = solve(*scale_alone(problem, state), widths, iterations, tolerance)
        by_scale = whole.correction - state.correction.mean(-1, keepdim=True)
        state = replace(whole, correction=state.correction + by_scale)
    state = replace(state, rotation=state.rotation.clone(), translation=state.translation.clone())
    state.correction = state.correction.clone()
    for first in range(0, problem.frames - OVERLAP, LONGEST - OVERLAP):
        end = min(first + LONGEST, problem.frames)
        part = _block(problem, first, end)
        near = State(
            state.rotation[first:end],
            state.translation[first:end],
            torch.zeros(0, 3, dtype=torch.float64),
            state.correction[first:end],
            state.log_focal,
        )
        near.points = points_of(part, near)
        found = solve(part, near, widths, iterations, tolerance)
        new = OVERLAP // 2 if first else 0
        state.rotation[first + new : end] = found.rotation[new:]
        state.translation[first + new : end] = found.translation[new:]
        state.correction[first + new : end] = found.correction[new:]
        if not first:
            state.log_focal = found.log_focal
    return replace(state, points=points_of(problem, state))


def _block(problem: Problem, first: int, end: int) -> Problem:
    """What is known of some frames."""
    assert problem.held is not None
    inside = (problem.tracks.frame >= first) & (problem.tracks.frame < end)
    tracks = problem.tracks.where(inside)
    held, weights = problem.held[first:end].clone(), problem.weights
    if first:
        held[: OVERLAP // 2] = True
        weights = replace(weights, log_focal=0.0)  # the first block has found it
    if problem.loops is not None and end < problem.frames:
        held[-1] = True
    return replace(
        problem,
        tracks=replace(tracks, frame=tracks.frame - first),
        log_depth=problem.log_depth[inside],
        frames=end - first,
        weights=weights,
        held=held,
        surfaces=None if problem.surfaces is None else problem.surfaces.within(first, end),
        loops=None if problem.loops is None else problem.loops.within(first, end),
    )


def scale_alone(problem: Problem, state: State) -> tuple[Problem, State]:
    """The same with one scale of each frame left to find: what its grid bends beside is believed."""
    mean = state.correction.mean(-1, keepdim=True)
    bent = torch.cat([((part.basis * (state.correction - mean)[part.frame]).sum(-1)) for part in problem.parts()])
    return (
        replace(problem, log_depth=problem.log_depth + bent, grid=Grid(1, 1)),
        replace(state, correction=mean),
    )


def covariance(problem: Problem, state: State, width: float = 3.0, own: float = 1.0, parts: float = 0.0) -> Tensor:
    """Of each camera, in its own axes: ``[T, 6, 6]`` of turn (radians) and shift (the scene's unit).

    The first camera that is held makes the world, and its depth the unit, so what is uncertain grows from there;
    infinite where nothing can be said. Of clips that are solved in blocks, the shape of corrections is believed.

    Args:
        problem: that was solved.
        state: its solution.
        width: of the robust loss, standard deviations.
        own: times what the weights say, of points that err each by itself.
        parts: times what the parts of the picture disagree by is added to that.
    """
    assert problem.held is not None
    if problem.frames > LONGEST and problem.grid.nodes > 1:
        return covariance(*scale_alone(problem, state), width, own, parts)
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
