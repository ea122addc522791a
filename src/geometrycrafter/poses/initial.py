"""Where to begin: the motion between neighbouring frames, by closed-form alignment of their points in RANSAC."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.rigid import rotation_of_vector
from geometrycrafter.poses.problem import NEAREST, Problem, State

TRIES = 128
SAMPLE = 4
PIXELS = 2.0
"""Points that land nearer to where they were tracked agree."""


def aligned(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation ``[..., 3, 3]`` and translation ``[..., 3]`` that take points ``[..., n, 3]`` nearest to others
    (orthogonal Procrustes; Kabsch, Umeyama)."""
    middle, other = points.mean(-2, keepdim=True), others.mean(-2, keepdim=True)
    u, _, v = torch.linalg.svd((others - other).mT @ (points - middle))
    sign = torch.linalg.det(u @ v)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], -1)
    rotation = u @ v
    return rotation, (other - middle @ rotation.mT)[..., 0, :]


class Motion(NamedTuple):
    """From one frame's axes to another's."""

    rotation: Tensor
    """``[3, 3]``."""
    translation: Tensor
    """``[3]``."""
    agree: Tensor
    """``[n]`` bool, points that move so."""


def motion_between(
    points: Tensor, others: Tensor, xy: Tensor, focal: Tensor, centre: Tensor, generator: torch.Generator
) -> Motion:
    """The motion that most tracked points agree with.

    Args:
        points: ``[n, 3]`` in the first frame's axes.
        others: ``[n, 3]`` the same in the second's; NaN where their depth is not known.
        xy: ``[n, 2]`` pixels, where they are seen in the second.
        focal: ``[2]`` pixels.
        centre: ``[2]`` pixels.
        generator: of the samples.
    """
    rotation, translation = torch.eye(3).double()[None], torch.zeros(1, 3).double()
    both = torch.isfinite(others).all(-1).nonzero()[:, 0]
    if len(both) >= SAMPLE:
        pick = both[torch.randint(len(both), (TRIES, SAMPLE), generator=generator)]
        turns, shifts = aligned(points[pick], others[pick])
        rotation, translation = torch.cat([rotation, turns]), torch.cat([translation, shifts])
    error = _errors(points @ rotation.mT + translation[:, None], xy, focal, centre)  # [k, n]
    best = int(error.clamp_max(2 * PIXELS).sum(-1).argmin())
    turn, shift = rotation[best], translation[best]
    for width in (4 * PIXELS, 2 * PIXELS, PIXELS, PIXELS, PIXELS):
        turn, shift = _polished(turn, shift, points, xy, focal, centre, width)
    agree = _errors(points @ turn.mT + shift, xy, focal, centre) < 2 * PIXELS
    return Motion(turn, shift, agree)


def _errors(seen: Tensor, xy: Tensor, focal: Tensor, centre: Tensor) -> Tensor:
    return (focal * seen[..., :2] / seen[..., 2:].clamp_min(NEAREST) + centre - xy).norm(dim=-1)


def _polished(
    rotation: Tensor, translation: Tensor, points: Tensor, xy: Tensor, focal: Tensor, centre: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """One step of Gauss-Newton on pixels alone."""
    seen = points @ rotation.mT + translation
    z = seen[:, 2].clamp_min(NEAREST)
    residual = focal * seen[:, :2] / z[:, None] + centre - xy
    weight = torch.where(seen[:, 2] > NEAREST, 1 / (1 + residual.square().sum(-1) / width**2), 0.0)
    moved = seen.new_zeros(len(seen), 2, 3)
    moved[:, 0, 0], moved[:, 0, 2] = focal[0] / z, -focal[0] * seen[:, 0] / z**2
    moved[:, 1, 1], moved[:, 1, 2] = focal[1] / z, -focal[1] * seen[:, 1] / z**2
    jacobian = torch.cat([torch.linalg.cross(seen[:, None].expand(-1, 2, -1), moved), moved], -1)
    square = (weight[:, None, None] * (jacobian.mT @ jacobian)).sum(0)
    square = square + torch.diag(1e-3 * square.diagonal() + 1e-9)
    right = -(weight[:, None] * (jacobian.mT @ residual[..., None])[..., 0]).sum(0)
    step = torch.linalg.solve(square, right)
    turn = rotation_of_vector(step[:3])
    return turn @ rotation, turn @ translation + step[3:]


def lifted(xy: Tensor, log_depth: Tensor, focal: Tensor, centre: Tensor) -> Tensor:
    """Points ``[N, 3]`` of pixels ``[N, 2]`` at log depths ``[N]``."""
    return torch.cat([(xy - centre) / focal, torch.ones(len(xy), 1).double()], -1) * log_depth.exp()[:, None]


def begin(problem: Problem, seed: int = 0) -> State:
    """Cameras chained from frame to frame, and each point where most of its frames put it."""
    tracks, frames = problem.tracks, problem.frames
    generator = torch.Generator().manual_seed(seed)
    own = lifted(tracks.xy, problem.log_depth, problem.focal, problem.centre)
    follows = (tracks.track[1:] == tracks.track[:-1]) & (tracks.frame[1:] == tracks.frame[:-1] + 1)
    follows &= problem.has_depth[:-1]
    pairs = follows.nonzero()[:, 0]
    at = tracks.frame[pairs]
    rotation, translation = [torch.eye(3).double()], [torch.zeros(3).double()]
    for frame in range(frames - 1):
        here = pairs[at == frame]
        turn, shift = torch.eye(3).double(), torch.zeros(3).double()
        if len(here) >= SAMPLE:
            found = motion_between(
                own[here], own[here + 1], tracks.xy[here + 1], problem.focal, problem.centre, generator
            )
            turn, shift = found.rotation, found.translation
        rotation.append(turn @ rotation[-1])
        translation.append(turn @ translation[-1] + shift)
    state = State(
        torch.stack(rotation),
        torch.stack(translation),
        torch.zeros(tracks.count, 3).double(),
        torch.zeros(frames, problem.grid.nodes).double(),
    )
    state.points = points_of(problem, state)
    return state


def points_of(problem: Problem, state: State) -> Tensor:
    """Each point ``[P, 3]`` where most of its frames' depths put it (a weighted mean that outliers hardly move)."""
    points = torch.zeros(problem.tracks.count, 3).double()
    for part in problem.parts():
        correction = (part.basis * state.correction[part.frame]).sum(-1)
        own = lifted(part.xy, part.log_depth + correction, problem.focal, problem.centre)
        world = ((own - state.translation[part.frame])[:, None] @ state.rotation[part.frame])[:, 0]
        weight = part.has_depth.double()
        for _ in range(6):
            total = part.by_point(weight).clamp_min(1e-12)[:, None]
            mean = part.by_point(world * weight[:, None]) / total
            away = (world - mean[part.point]).norm(dim=-1) / own[:, 2]
            weight = part.has_depth / (1e-3 + away)
        points[part.points] = mean
    return points


def known_cameras(poses: Any, count: int) -> Tensor:
    """Known poses as a tensor ``[T, 4, 4]``, checked; NaN where there is none.

    Raises:
        InputError: where they are no rigid motions, or of another number.
    """
    known = torch.as_tensor(np.asarray(poses, np.float64))
    if known.shape != (count, 4, 4):
        raise InputError(f"poses have shape {list(known.shape)}; give [{count}, 4, 4].")
    turn = known[:, :3, :3]
    unknown = torch.isnan(known).all(-1).all(-1)
    turn = turn[~unknown]
    if not torch.isfinite(known[~unknown]).all() or not len(turn) or (turn @ turn.mT - torch.eye(3)).abs().max() > 1e-2:
        raise InputError("poses hold values that are no rigid motions; give camera-to-world matrices.")
    if (torch.linalg.det(turn) < 0).any():
        raise InputError("poses mirror the world (determinant -1); give camera-to-world with OpenCV's axes.")
    return known


def with_poses(problem: Problem, poses: Tensor) -> State:
    """A start from known cameras ``[T, 4, 4]`` camera-to-world, the depth's scale fitted to them.

    The scale is the median of what each point's frames say: the depth that two of its frames' rays meet at, over the
    predicted one. Cameras that are NaN go on from the nearest known one, as frames do from one to the next.
    """
    given = torch.isfinite(poses).all(-1).all(-1)
    known = torch.where(given[:, None, None], poses, torch.eye(4).double())
    turn, shift = known[:, :3, :3].mT, -(known[:, :3, :3].mT @ known[:, :3, 3:])[..., 0]
    state = State(
        turn,
        shift,
        torch.zeros(problem.tracks.count, 3).double(),
        torch.zeros(problem.frames, problem.grid.nodes).double(),
    )
    scale = _log_scale(problem, state, given)
    if not given.all():
        _go_on(problem, state, given, scale)
    state.correction += scale
    state.points = points_of(problem, state)
    return state


def _go_on(problem: Problem, state: State, given: Tensor, log_scale: float) -> None:
    """Put cameras that are not given where the chain of frames leads to from the nearest one that is."""
    chain = begin(problem)
    places, shift = given.nonzero()[:, 0], chain.translation * torch.tensor(log_scale).double().exp()
    for frame in (~given).nonzero()[:, 0].tolist():
        near = int(places[(places - frame).abs().argmin()])
        turn = chain.rotation[frame] @ chain.rotation[near].mT
        state.rotation[frame] = turn @ state.rotation[near]
        state.translation[frame] = shift[frame] + turn @ (state.translation[near] - shift[near])


def _log_scale(problem: Problem, state: State, given: Tensor) -> float:
    """Log of the factor on depth under which points, lifted in the first of their given frames, land best in the last.

    Args:
        problem: to solve.
        state: its cameras.
        given: ``[T]`` bool, those that are known.
    """
    tracks = problem.tracks
    kept = given[tracks.frame].nonzero()[:, 0]
    if not len(kept):
        return 0.0
    _, times = torch.unique_consecutive(tracks.track[kept], return_counts=True)
    ends = times.cumsum(0)
    a, b = kept[ends - times], kept[ends - 1]
    sound = problem.has_depth[a] & (b > a)
    a, b = a[sound], b[sound]
    if not len(a):
        return 0.0
    rays = lifted(tracks.xy, torch.zeros(len(tracks)).double(), problem.focal, problem.centre)
    turn = state.rotation[tracks.frame[b]] @ state.rotation[tracks.frame[a]].mT
    shift = state.translation[tracks.frame[b]] - (turn @ state.translation[tracks.frame[a]][..., None])[..., 0]
    far = (turn @ (rays[a] * problem.log_depth[a].exp()[:, None])[..., None])[..., 0]
    # (s far + shift) x ray = 0, in least squares for each point
    p, q = torch.linalg.cross(far, rays[b]), torch.linalg.cross(shift, rays[b])
    scale = -(p * q).sum(-1) / p.square().sum(-1).clamp_min(1e-12)
    sound = (scale > 0) & (q.norm(dim=-1) > 2e-3)
    return float(scale[sound].log().median()) if sound.any() else 0.0
