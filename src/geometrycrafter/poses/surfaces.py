"""Surfaces that two frames see lie on one another: what their depth says of the cameras where no point can be followed.

Points of one frame are put into another by cameras that are nearly right, and their distance from the plane that the
other has there is made small (iterative closest points; Chen and Medioni 1991, with projective data association).
Depth's errors are alike over whole parts of a picture, so a part counts as one measurement, not its pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from geometrycrafter.geometry.normals import eroded, normals_of
from geometrycrafter.poses.pairs import UNKNOWNS, Pairs
from geometrycrafter.poses.problem import Problem, State
from geometrycrafter.scene import Scene

PARTS = (3, 4)
"""Of a picture, each of which counts as one measurement."""
KEPT = 1 << 27
"""Bytes of depth that are kept from one time to the next."""
FEWEST = 50
"""Pixels that two frames share, below which nothing is said of them."""

OPEN = 1e-4
"""Share of a motion's effect on distances from planes below which it is left open, as sliding along a wall is."""


class _Surface(NamedTuple):
    """Of one frame, at the size that surfaces are compared at."""

    points: Tensor
    """``[h, w, 3]`` in the camera's axes, by the depth as predicted."""
    normals: Tensor
    """``[h, w, 3]``, zero where there is none."""


@dataclass(frozen=True)
class Surfaces:
    """Compares each frame's surfaces with those of frames before it."""

    width: int = 320
    """Of the pictures of depth, pixels."""
    step: int = 4
    """Pixels between the points that are put into other frames."""
    gaps: tuple[int, ...] = (1, 2, 4, 8)
    """Frames between those compared."""
    alike: float = 0.8
    """Cosine of the angle within which two normals are of one surface."""
    near: float = 0.1
    """Share of depth within which two points may be one."""
    kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """Smoothed logs of depth of some frames, ``[h, w]``, NaN where it isn't known, for the next time they are asked."""

    def __call__(
        self,
        scene: Scene,
        state: State,
        problem: Problem,
        static: Sequence[np.ndarray] | None = None,
    ) -> Pairs | None:
        """What surfaces say at a state; None where no two frames share any.

        Args:
            scene: with depth and mask.
            state: cameras and scales that are nearly right.
            problem: that they solve, with one scale a frame.
            static: ``[H, W]`` bool for each frame, where surfaces stand still; None: everywhere.
        """
        count, (height, width) = problem.frames, problem.size
        ratio = min(1.0, self.width / width)
        size = (max(3, round(height * ratio)), max(3, round(width * ratio)))
        sides = torch.tensor([size[1] / width, size[0] / height], dtype=torch.float64)
        focal = problem.focal * torch.tensor(state.log_focal).double().exp() * sides
        camera = (focal, (problem.centre + 0.5) * sides - 0.5)
        before: deque[_Surface] = deque(maxlen=max(self.gaps))
        found: list[tuple[int, int, _Compared]] = []
        for t in range(count):
            surface = self._surface(scene, t, size, camera, None if static is None else static[t])
            for gap in self.gaps:
                if gap <= len(before):
                    compared = self._compared(before[-gap], surface, t - gap, t, state, camera)
                    if compared is not None:
                        found.append((t - gap, t, compared))
            before.append(_Surface(*(values[:: self.step, :: self.step].contiguous() for values in surface)))
        return _pairs(found, state, len(self.gaps)) if found else None

    def _surface(
        self, scene: Scene, t: int, size: tuple[int, int], camera: tuple[Tensor, Tensor], static: np.ndarray | None
    ) -> _Surface:
        smooth, free = self._smooth(scene, t, size)
        if static is not None:
            free &= cv2.resize(static.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
        y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
        (fx, fy), (cx, cy) = camera[0].tolist(), camera[1].tolist()
        rays = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x)], -1)
        points = rays * torch.from_numpy(smooth).exp()[..., None]
        z = points[..., 2]
        known = torch.from_numpy(free)
        pads = torch.nn.functional.pad(z[None, None], (1, 1, 1, 1), mode="replicate")
        highest = torch.nn.functional.max_pool2d(pads, 3, 1)[0, 0]
        lowest = -torch.nn.functional.max_pool2d(-pads, 3, 1)[0, 0]
        known = eroded(known[None, None])[0, 0] & (highest < 1.1 * lowest)  # no normals across edges
        normals = normals_of(points.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        return _Surface(points, normals * known[..., None])

    def _smooth(self, scene: Scene, t: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Log of depth ``[h, w]``, and where it is known; read once, as far as memory is to hold it."""
        if t in self.kept:
            log_depth = self.kept[t]
            return np.nan_to_num(log_depth), np.isfinite(log_depth)
        depth, mask = np.asarray(scene.depth[t], np.float32), np.asarray(scene.mask[t], bool)
        sound = mask & np.isfinite(depth) & (depth > 0)
        small = cv2.resize(np.where(sound, depth, 0), size[::-1], interpolation=cv2.INTER_NEAREST)
        free = small > 0
        # Noise of single pixels is taken out within a surface, as normals of neighbours would be made of it.
        smooth = cv2.bilateralFilter(np.log(np.where(free, small, 1)), 5, 0.02, 2.0)
        smooth[~free] = 0
        if len(self.kept) * smooth.nbytes < KEPT:
            self.kept[t] = np.where(free, smooth, np.nan)
        return smooth, free

    def _compared(
        self, a: _Surface, b: _Surface, first: int, second: int, state: State, camera: tuple[Tensor, Tensor]
    ) -> _Compared | None:
        """Points of a frame, some of them, next to another's planes."""
        turn = state.rotation[second] @ state.rotation[first].mT
        shift = state.translation[second] - turn @ state.translation[first]
        scale = state.correction.mean(-1).exp()
        own = a.points.reshape(-1, 3).double() * scale[first]
        facing = a.normals.reshape(-1, 3).double() @ turn.T
        seen = own @ turn.T + shift
        z = seen[:, 2]
        at = (camera[0] * seen[:, :2] / z[:, None].clamp_min(1e-9) + camera[1]).round()
        size = torch.tensor(b.points.shape[1::-1])
        sound = (z > 1e-6) & ((at >= 0) & (at < size)).all(-1)
        column, row = torch.where(sound[:, None], at, 0.0).long().unbind(-1)
        other, plane = b.points[row, column].double() * scale[second], b.normals[row, column].double()
        deep = other[:, 2].clamp_min(1e-9)
        off = ((seen - other) * plane).sum(-1) / deep
        sound &= ((facing * plane).sum(-1) > self.alike) & (off.abs() < self.near)
        rows = sound.nonzero()[:, 0]
        if len(rows) < FEWEST:
            return None
        seen, other, plane, own, off = seen[rows], other[rows], plane[rows], own[rows], off[rows]
        back = plane @ turn  # the plane's normal in the first camera's axes
        jacobian = torch.cat(
            [
                -torch.linalg.cross(own, back),
                -back,
                (back * own).sum(-1, keepdim=True),
                torch.linalg.cross(seen, plane),
                plane,
                -(plane * other).sum(-1, keepdim=True),
            ],
            -1,
        )
        parts = (row[rows] * PARTS[0] // int(size[1])) * PARTS[1] + column[rows] * PARTS[1] // int(size[0])
        jacobian = jacobian / deep[rows, None]
        jacobian[:, -1] -= off  # it is a share of depth, which grows with the scale: else all would shrink
        return _Compared(off, jacobian, parts)


class _Compared(NamedTuple):
    off: Tensor
    """``[n]``, distance from the plane as a share of depth."""
    jacobian: Tensor
    """``[n, 14]``."""
    part: Tensor
    """``[n]`` int64, of the picture."""


def _pairs(found: list[tuple[int, int, _Compared]], state: State, gaps: int) -> Pairs:
    """Their normal equations, as certain as the spread of parts' means says."""
    spread = 1.48 * float(torch.cat([c.off.abs() for _, _, c in found]).median().clamp_min(1e-6))
    squares, rights, means, counts, constant = [], [], [], [], 0.0
    number = PARTS[0] * PARTS[1]
    for _, _, (off, jacobian, part) in found:
        weight = 1 / (1 + (off / (2 * spread)).square())
        weighted = jacobian * weight[:, None]
        squares.append(weighted.mT @ jacobian)
        rights.append(weighted.mT @ off)
        constant += float(weight @ off.square()) / 2
        total = torch.zeros(number).double().index_add_(0, part, weight)
        mean = torch.zeros(number).double().index_add_(0, part, weight * off) / total.clamp_min(1e-9)
        enough = total > FEWEST / number
        means.append(mean[enough])
        counts.append(total[enough])
    # Of a part's mean; and a pixel counts as its share of that. Each frame's own error is in several pairs.
    deviation = 1.48 * float(torch.cat(means).abs().median().clamp_min(1e-5))
    certainty = 1 / (deviation**2 * float(torch.cat(counts).mean()) * gaps)
    return Pairs(
        first=torch.tensor([a for a, _, _ in found]),
        second=torch.tensor([b for _, b, _ in found]),
        square=torch.stack(squares) * certainty,
        right=torch.stack(rights) * certainty,
        rotation=state.rotation,
        translation=state.translation,
        log_scale=state.correction.mean(-1),
        constant=constant * certainty,
        agree=torch.stack([_agreement(c, 3 * spread) for _, _, c in found]),
    )


def _agreement(compared: _Compared, width: float) -> Tensor:
    """The share of pixels whose planes lie within a width; 0 where some motion would change none of them."""
    kept = compared.off.abs() < width
    jacobian = compared.jacobian[kept, UNKNOWNS : UNKNOWNS + 6]
    if len(jacobian) < FEWEST:
        return torch.tensor(0.0).double()
    # As wide as turns, in radians, that move a point as far: what moves none is told from what moves all.
    jacobian = jacobian / jacobian.square().mean(0).sqrt().clamp_min(1e-12)
    least = torch.linalg.eigvalsh(jacobian.mT @ jacobian / len(jacobian))[0]
    return torch.where(least > OPEN, kept.double().mean(), 0.0)
