"""Places that are seen again: frames far apart in time whose pictures show the same points tie the ends of a clip.

Key frames are described by scale-invariant features (Lowe 2004). Those that may show one place have the same words
(Sivic and Zisserman 2003); their features are matched, and the motion between the two that most matches agree with,
by the first one's depth, is what the pair says of its cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from geometrycrafter.poses.initial import lifted, motion_between
from geometrycrafter.poses.pairs import UNKNOWNS, Pairs
from geometrycrafter.poses.problem import Problem, State
from geometrycrafter.poses.tracks import log_depth_at
from geometrycrafter.scene import Scene

WORDS = 128
"""That features are told apart by when places are sought."""
TURN, DEPTHS = 0.1, 0.05
"""Radians, and shares of depth, that cameras of one place may be off by in any case."""
ALIKE = 0.8
"""A match is believed where its distance is below so much of the next best one's."""


class Place(NamedTuple):
    """Points that two frames show."""

    first: int
    second: int
    xy: Tensor
    """``[n, 2]`` in the first, pixels of the scene."""
    other: Tensor
    """``[n, 2]`` in the second."""
    log_depth: Tensor
    """``[n]`` in the first."""
    other_log_depth: Tensor
    """``[n]`` in the second, NaN where it is not known."""


class _Key(NamedTuple):
    frame: int
    xy: Tensor
    """``[n, 2]``, pixels of the scene."""
    features: Tensor
    """``[n, 128]`` of length 1."""
    log_depth: Tensor
    """``[n]``, NaN where it is not known."""


@dataclass(frozen=True)
class Loops:
    """Finds key frames that show the same place, and what they say of their cameras."""

    every: int = 12
    """Frames between key frames."""
    apart: int = 36
    """Frames between those compared, at least."""
    features: int = 500
    """Of a key frame."""
    longest: int = 640
    """Of the pictures that features are sought in, pixels of the longer side."""
    compared: int = 6
    """Key frames that each is compared with, those whose words are most like its own."""
    kept: int = 2
    """Of those, the farthest ones that agree."""
    most: int = 40
    """Pairs in all, spread over the clip: each costs the solver as much as many frames."""
    fewest: int = 25
    """Matches that must agree."""
    share: float = 0.4
    """Of all matches, that must."""
    pixel: float = 1.0
    """Standard deviation of where a feature lies."""
    drift: float = 0.25
    """Of the way and the turns between two frames, that their cameras may be off by: where the same papers, doors or
    windows come again, what looks like one place is another."""

    def places(
        self, scene: Scene, grey: Sequence[np.ndarray], problem: Problem, static: Sequence[np.ndarray] | None = None
    ) -> list[Place]:
        """Pairs of key frames that show the same points.

        Args:
            scene: with depth and mask.
            grey: ``[H, W]`` uint8 pictures of its frames.
            problem: of the same scene, for its camera.
            static: ``[H, W]`` bool for each frame, where points may be; None: everywhere.
        """
        if problem.frames <= self.apart:  # no two are so far from one another
            return []
        keys = [
            self._key(scene, t, grey[t], problem, None if static is None else static[t])
            for t in range(0, problem.frames, self.every)
        ]
        if not any(len(key.features) for key in keys):
            return []
        words = _words(keys)
        found: list[Place] = []
        for second, key in enumerate(keys):
            before = [i for i in range(second) if key.frame - keys[i].frame >= self.apart]
            likest = sorted(before, key=lambda i: -float(words[i] @ words[second]))[: self.compared]
            agree = [p for i in sorted(likest) if (p := self._place(keys[i], key, problem)) is not None]
            found += agree[: self.kept]
        return found[:: -(-len(found) // self.most)] if found else []

    def place(
        self,
        scene: Scene,
        grey: Sequence[np.ndarray],
        problem: Problem,
        first: int,
        second: int,
        static: Sequence[np.ndarray] | None = None,
    ) -> Place | None:
        """What two frames both show; None where too little agrees.

        Args:
            scene: with depth and mask.
            grey: ``[H, W]`` uint8 pictures of its frames.
            problem: of the same scene, for its camera.
            first: frame.
            second: a later one.
            static: ``[H, W]`` bool for each frame, where points may be; None: everywhere.
        """
        one, two = (
            self._key(scene, t, grey[t], problem, None if static is None else static[t]) for t in (first, second)
        )
        return self._place(one, two, problem)

    def _key(self, scene: Scene, frame: int, grey: np.ndarray, problem: Problem, static: np.ndarray | None) -> _Key:
        ratio = min(1.0, self.longest / max(grey.shape))
        size = (max(8, round(grey.shape[1] * ratio)), max(8, round(grey.shape[0] * ratio)))
        picture = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if ratio < 1 else grey
        mask = None
        if static is not None:
            free = cv2.resize(static.astype(np.uint8) * 255, size, interpolation=cv2.INTER_NEAREST)
            mask = cv2.erode(free, np.ones((5, 5), np.uint8))
        points, features = cv2.SIFT.create(self.features).detectAndCompute(picture, mask)
        if features is None or not len(points):
            nothing = torch.zeros(0, dtype=torch.float64)
            return _Key(frame, nothing.view(0, 2), torch.zeros(0, 128), nothing)
        root = np.sqrt(features / np.maximum(features.sum(1, keepdims=True), 1e-9))  # Arandjelovic and Zisserman 2012
        sides = torch.tensor([problem.size[1] / picture.shape[1], problem.size[0] / picture.shape[0]])
        xy = (torch.tensor([p.pt for p in points], dtype=torch.float64) + 0.5) * sides - 0.5
        depth, valid = torch.from_numpy(np.array(scene.depth[frame])), torch.from_numpy(np.array(scene.mask[frame]))
        return _Key(frame, xy, torch.from_numpy(root), log_depth_at(depth, valid, xy))

    def _place(self, a: _Key, b: _Key, problem: Problem) -> Place | None:
        """What both show; None where too little agrees."""
        rows = torch.isfinite(a.log_depth).nonzero()[:, 0]
        if len(rows) < self.fewest or len(b.features) < self.fewest:
            return None
        alike = a.features[rows] @ b.features.T
        near, at = alike.topk(2)
        distance = (2 - 2 * near).clamp_min(0).sqrt()
        back = alike.argmax(0)
        kept = (distance[:, 0] < ALIKE * distance[:, 1]) & (back[at[:, 0]] == torch.arange(len(rows)))
        if int(kept.sum()) < self.fewest:
            return None
        one, two = rows[kept], at[kept, 0]
        place = Place(a.frame, b.frame, a.xy[one], b.xy[two], a.log_depth[one], b.log_depth[two])
        agree = motion_of(place, problem)[2]
        if int(agree.sum()) < self.fewest or float(agree.double().mean()) < self.share:
            return None
        return place._replace(
            xy=place.xy[agree],
            other=place.other[agree],
            log_depth=place.log_depth[agree],
            other_log_depth=place.other_log_depth[agree],
        )

    def likely(self, place: Place, problem: Problem, state: State) -> bool:
        """Whether what a place says of its cameras is near enough to where points led that were followed.

        Args:
            place: whose frames know of one another.
            problem: that was solved.
            state: its solution.
        """
        turn, shift, _, own, _ = motion_of(place, problem, state)
        a, b = place.first, place.second
        now = state.rotation[b] @ state.rotation[a].mT
        moved = now.mT @ state.translation[b] - state.translation[a] - turn.mT @ shift
        rotation, centre = state.rotation[a : b + 1], state.poses[a : b + 1, :3, 3]
        way = float((centre[1:] - centre[:-1]).norm(dim=-1).sum())
        turns = float(_angle(rotation[1:] @ rotation[:-1].mT).sum())
        near = float(moved.norm()) < self.drift * way + DEPTHS * float(own[:, 2].median())
        return near and float(_angle(turn @ now.mT)) < self.drift * turns + TURN

    def pairs(self, places: Sequence[Place], problem: Problem, state: State) -> Pairs | None:
        """What places say at a state; None where there are none."""
        rows = [row for place in places if (row := self._pair(place, problem, state)) is not None]
        if not rows:
            return None
        squares, rights, costs, shares = zip(*(row[2:] for row in rows), strict=True)
        return Pairs(
            first=torch.tensor([row.first for row in rows]),
            second=torch.tensor([row.second for row in rows]),
            square=torch.stack(squares),
            right=torch.stack(rights),
            rotation=state.rotation,
            translation=state.translation,
            log_scale=state.correction.mean(-1),
            constant=float(sum(costs)),
            agree=torch.stack(shares),
        )

    def _pair(self, place: Place, problem: Problem, state: State) -> _Row | None:
        """Points of the first frame ought to be where the motion between the two puts them in the second."""
        turn, shift, agree, own, other = motion_of(place, problem, state)
        if int(agree.sum()) < self.fewest:
            return None
        own, other = own[agree], other[agree]
        a, b = place.first, place.second
        target = own @ turn.mT + shift
        now = state.rotation[b] @ state.rotation[a].mT
        moved = state.translation[b] - now @ state.translation[a]
        seen = own @ now.mT + moved
        z = target[:, 2]
        ratio = torch.nan_to_num((z / other[:, 2]).log(), nan=0.0)
        known = torch.isfinite(other).all(-1).double()
        off = seen - target
        jacobian = off.new_zeros(len(off), 3, 2 * UNKNOWNS)
        jacobian[:, :, :3] = now @ _crossed(own)
        jacobian[:, :, 3:6] = -now
        jacobian[:, :, 6] = seen - moved - target - off  # shares of depth, which grows with the scale
        jacobian[:, :, 7:10] = -_crossed(seen)
        jacobian[:, :, 10:13] = torch.eye(3)
        # In pixels across, and along as the second frame's depth has it, in the log.
        focal = problem.focal * torch.tensor(state.log_focal).double().exp()
        across = focal / (z[:, None] * self.pixel)
        robust = known / (1 + (ratio / (3 * problem.weights.log_depth)).square()).sqrt()
        along = (robust / problem.weights.log_depth)[:, None]
        off[:, 2] = off[:, 2] / z + ratio
        jacobian[:, 2] /= z[:, None]
        jacobian[:, 2, 6] += 1
        jacobian[:, 2, 13] = -1
        weight = torch.cat([across, along], -1) * problem.weights.points**0.5
        off, jacobian = (off * weight).flatten(), (jacobian * weight[..., None]).flatten(0, 1)
        share = agree.double().mean()
        return _Row(a, b, jacobian.mT @ jacobian, jacobian.mT @ off, off.square().sum() / 2, share)


class _Row(NamedTuple):
    first: int
    second: int
    square: Tensor
    right: Tensor
    cost: Tensor
    agree: Tensor


def _angle(rotation: Tensor) -> Tensor:
    """Radians that matrices ``[..., 3, 3]`` turn by, ``[...]``."""
    return ((rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()


def _crossed(points: Tensor) -> Tensor:
    """Matrices ``[n, 3, 3]`` that take a vector to the cross product of points ``[n, 3]`` and it."""
    axes = torch.eye(3).double().expand(len(points), 3, 3)
    return torch.linalg.cross(points[:, None].expand(-1, 3, -1), axes).mT


def motion_of(
    place: Place, problem: Problem, state: State | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Turn ``[3, 3]`` and shift ``[3]`` from the first camera to the second, which points agree ``[n]``, and the points
    in both ``[n, 3]``.

    Args:
        place: that both show.
        problem: for its camera.
        state: by which depth is corrected; None: depth as predicted.
    """
    focal = problem.focal
    sides: list[Tensor] = []
    if state is not None:
        focal = focal * torch.tensor(state.log_focal).double().exp()
    for xy, log_depth, frame in (
        (place.xy, place.log_depth, place.first),
        (place.other, place.other_log_depth, place.second),
    ):
        if state is not None:
            log_depth = log_depth + problem.grid.weights(xy, *problem.size) @ state.correction[frame]
        sides.append(lifted(xy, log_depth, focal, problem.centre))
    generator = torch.Generator().manual_seed(place.first)
    found = motion_between(sides[0], sides[1], place.other, focal, problem.centre, generator)
    return found.rotation, found.translation, found.agree, sides[0], sides[1]


def _words(keys: Sequence[_Key]) -> Tensor:
    """Of each key frame, how much of each word it has ``[K, WORDS]``: rare ones count for more."""
    pool = torch.cat([key.features[:: max(1, len(key.features) // 40)] for key in keys if len(key.features)])
    pick = torch.linspace(0, len(pool) - 1, min(WORDS, len(pool))).long()
    counts = torch.stack(
        [torch.bincount((key.features @ pool[pick].T).argmax(-1), minlength=WORDS).float() for key in keys]
    )
    rare = (len(keys) / (counts > 0).sum(0).clamp_min(1).float()).log() + 0.1
    return torch.nn.functional.normalize(counts.sqrt() * rare, dim=-1)
