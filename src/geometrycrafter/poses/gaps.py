"""Gaps in what can be followed: which frames know of one another, and how two sides of a gap find together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.poses.loops import Loops, Place, motion_of
from geometrycrafter.poses.problem import Problem, State
from geometrycrafter.scene import Scene

FEWEST = 12
"""Points that agree, below which a camera counts as unknown, and two sides of a gap as apart."""
ASIDE = (0, 2, 5)
"""Frames from the edges of a gap that are held against one another, as those next to it may be blurred or dark."""


def agreeing(problem: Problem, state: State) -> tuple[Tensor, Tensor, float]:
    """Which observations agree with a state ``[N]`` bool, how far off each is in pixels ``[N]``, and their spread."""
    distance, deep = problem.misfit(state)
    sigma = float(distance.median()) / 1.18 if len(distance) else 1.0
    limit = 3 * problem.weights.width * max(sigma, 0.5)
    return (distance < limit) & (deep.abs() < 3 * problem.weights.width), distance, sigma


def parts_of(problem: Problem, agree: Tensor, known: Tensor) -> Tensor:
    """Frames that know of one another have the same number ``[T]``; -1 where nothing is known.

    Args:
        problem: that was solved.
        agree: ``[N]`` bool, observations that agree with the solution.
        known: ``[T]`` bool.
    """
    frames = known.nonzero()[:, 0]
    part = torch.full((len(known),), -1)
    if not len(frames):
        return part
    ties = problem.tracks.ties(agree & known[problem.tracks.frame], problem.frames)
    if problem.surfaces is not None:
        pairs = problem.surfaces
        sound = (pairs.agree > 0) & known[pairs.first] & known[pairs.second]
        for a, b in zip(pairs.first[sound].tolist(), pairs.second[sound].tolist(), strict=True):
            ties[a + 1 : b + 1] += FEWEST
    part[frames] = torch.cat([torch.zeros(1).long(), (ties[frames[1:]] < FEWEST).long()]).cumsum(0)
    if problem.loops is not None:
        for a, b in zip(problem.loops.first.tolist(), problem.loops.second.tolist(), strict=True):
            if known[a] and known[b]:
                part[part == part[b]] = int(part[a])
    return part


def loose_frames(problem: Problem, agree: Tensor, quality: Tensor, given: Tensor) -> Tensor:
    """Frames ``[T]`` bool that know of one another, but not of most: too few points are seen on both sides of a gap.

    Args:
        problem: that was solved.
        agree: ``[N]`` bool, observations that agree with the solution.
        quality: ``[T]``, 0 where a frame is not known.
        given: ``[T]`` bool, frames whose poses were known beforehand: what is tied to one of them is.
    """
    known = quality > 0
    part = parts_of(problem, agree, known)
    if not known.any():
        return torch.zeros_like(known)
    if given.any():
        return known & ~torch.isin(part, part[given & known])
    return known & (part != torch.bincount(part[known]).argmax())


def bridged(
    scene: Scene, grey: Sequence[np.ndarray], problem: Problem, state: State, static: Sequence[np.ndarray]
) -> tuple[State, Tensor, list[Place]]:
    """Cameras on two sides of a gap put into one world by what both show.

    Args:
        scene: with depth and mask.
        grey: ``[H, W]`` uint8 pictures of its frames.
        problem: that was solved.
        state: its solution, in which the sides lie anyhow.
        static: ``[H, W]`` bool for each frame, where points may be.

    Returns:
        The state, which frames now know of one another ``[T]`` (-1: nothing is known), and what ties them.
    """
    agree, *_ = agreeing(problem, state)
    known = torch.bincount(problem.tracks.frame[agree], minlength=problem.frames) >= FEWEST
    part = parts_of(problem, agree, known)
    places: list[Place] = []
    for number in part[known].unique().tolist()[1:]:
        before, after = (part == number - 1).nonzero()[:, 0], (part == number).nonzero()[:, 0]
        place = _across(scene, grey, problem, static, before, after)
        if place is None:
            continue
        turn, shift, *_ = motion_of(place, problem, state)
        state = _moved_on(state, int(after[0]), place, turn, shift)
        places.append(place)
    for place in places:
        part[part == part[place.second]] = int(part[place.first])
    return state, part, places


def _across(
    scene: Scene,
    grey: Sequence[np.ndarray],
    problem: Problem,
    static: Sequence[np.ndarray],
    before: Tensor,
    after: Tensor,
) -> Place | None:
    """What a frame before a gap and one after it both show; None where too little."""
    for aside in ASIDE:
        a, b = int(before[max(len(before) - 1 - aside, 0)]), int(after[min(aside, len(after) - 1)])
        place = Loops().place(scene, grey, problem, a, b, static)
        if place is not None:
            return place
    return None


def _moved_on(state: State, first: int, place: Place, turn: Tensor, shift: Tensor) -> State:
    """All cameras from a frame on, put where one of them lies as a place has it."""
    a, b = place.first, place.second
    rotation, translation = state.rotation.clone(), state.translation.clone()
    wanted_turn = turn @ rotation[a]
    wanted_shift = turn @ translation[a] + shift
    by_turn = rotation[b].mT @ wanted_turn
    by_shift = rotation[b].mT @ (wanted_shift - translation[b])
    translation[first:] = translation[first:] + rotation[first:] @ by_shift
    rotation[first:] = rotation[first:] @ by_turn
    return replace(state, rotation=rotation, translation=translation)
