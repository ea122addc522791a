"""What moves by itself, from the motion of the picture alone: where it is not the motion that the point maps and the
camera's poses predict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from geometrycrafter.poses.problem import Problem, State
from geometrycrafter.scene import Scene

Array = np.ndarray


@dataclass(frozen=True)
class ResidualMotion:
    """Dense flow between frames a few apart, compared with the flow of a static world at nearly the predicted depth.

    Depth is never exact, so a static pixel may move to anywhere on a short line: where its point lands at a depth that
    is somewhat smaller to somewhat larger. How far the flow ends from that line, beyond the flow's own noise, tells
    what moves.
    """

    width: int = 384
    """Of the pictures that flow is measured in, pixels."""
    gaps: tuple[int, ...] = (1, 3)
    """Frames between the pictures compared, both ways."""
    depth_share: float = 0.25
    """How far off depth may be."""
    pixels: float = 0.8
    """How far off flow may be."""
    share: float = 0.12
    """The same, as a share of the flow's length."""

    def __call__(self, scene: Scene, grey: Iterable[Array], state: State, problem: Problem) -> list[Array]:
        """Masks ``[h, w]`` bool of each frame, true where something moves.

        Args:
            scene: with depth, mask and intrinsics.
            grey: ``[H, W]`` uint8 pictures of its frames.
            state: with the cameras.
            problem: of the same frames, with the focal length and size.
        """
        pictures = [self._small(g) for g in grey]
        count, (h, w) = len(pictures), pictures[0].shape
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        score = np.zeros((count, h, w), np.float32)
        seen = np.zeros((count, h, w), np.float32)
        for t in range(count):
            depth, valid = self._depth(scene, t, state, problem, h, w)
            for gap in (g for gap in self.gaps for g in (gap, -gap)):
                u = t + gap
                if not 0 <= u < count:
                    continue
                there, back = flow.calc(pictures[t], pictures[u], None), flow.calc(pictures[u], pictures[t], None)
                off = self._off(there, depth, t, u, state, problem)
                known = valid & _returns(there, back)
                score[t] += np.where(known, off, 0)
                seen[t] += known
        mean = score / np.maximum(seen, 1)
        return _regions(mean, seen > 0)

    def _small(self, grey: Array) -> Array:
        h, w = grey.shape
        if w <= self.width:
            return np.ascontiguousarray(grey)
        return cv2.resize(grey, (self.width, max(1, round(h * self.width / w))), interpolation=cv2.INTER_AREA)

    def _depth(self, scene: Scene, t: int, state: State, problem: Problem, h: int, w: int) -> tuple[Array, Array]:
        """Corrected depth of a frame ``[h, w]``, and where it is valid."""
        depth, mask = np.asarray(scene.depth[t], np.float32), np.asarray(scene.mask[t], bool)
        depth = cv2.resize(np.where(mask, depth, 0), (w, h), interpolation=cv2.INTER_NEAREST)
        gain = problem.grid.picture(state.correction[t], h, w).exp().numpy()
        return depth * gain, depth > 0

    def _off(self, flow: Array, depth: Array, t: int, u: int, state: State, problem: Problem) -> Array:
        """How far flow ``[h, w, 2]`` ends from the line of a static point's landing places, in tolerances."""
        h, w = depth.shape
        height, width = problem.size
        scale = np.array([w / width, h / height])
        focal = (problem.focal * np.exp(state.log_focal)).numpy() * scale
        centre = (problem.centre.numpy() + 0.5) * scale - 0.5
        turn = (state.rotation[u] @ state.rotation[t].T).numpy()
        shift = state.translation[u].numpy() - turn @ state.translation[t].numpy()
        x, y = np.meshgrid(np.arange(w), np.arange(h))
        rays = np.stack([(x - centre[0]) / focal[0], (y - centre[1]) / focal[1], np.ones((h, w))], -1) @ turn.T
        ends = []
        for factor in (1 - self.depth_share, 1 + self.depth_share):
            p = rays * (depth * factor)[..., None] + shift
            ends.append(p[..., :2] / np.maximum(p[..., 2:], 1e-6) * focal + centre)
        a, b = ends
        target = np.stack([x, y], -1) + flow
        line = b - a
        along = ((target - a) * line).sum(-1) / np.maximum((line**2).sum(-1), 1e-9)
        away = np.linalg.norm(target - a - along.clip(0, 1)[..., None] * line, axis=-1)
        return (away / (self.pixels + self.share * np.linalg.norm(flow, axis=-1))).astype(np.float32)


def _returns(there: Array, back: Array) -> Array:
    """Where flow forth and back ends where it began: what is hidden in one of the pictures doesn't."""
    h, w = there.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    at = there + np.stack([x, y], -1)
    returned = cv2.remap(back, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1e3)
    off = np.linalg.norm(there + returned, axis=-1)
    return off < 1.0 + 0.1 * np.linalg.norm(there, axis=-1)


def _regions(score: Array, known: Array) -> list[Array]:
    """Regions of a high score: grown from its peaks, without specks and holes."""
    out = []
    count, h, w = score.shape
    least = max(8, int(3e-4 * h * w))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    for t in range(count):
        s = cv2.medianBlur(np.where(known[t], score[t], 0).astype(np.float32), 5)
        low, high = (s > 1.0).astype(np.uint8), s > 2.0
        low = cv2.morphologyEx(low, cv2.MORPH_CLOSE, kernel)
        number, labels, stats, _ = cv2.connectedComponentsWithStats(low)
        strong = np.zeros(number, bool)
        strong[np.unique(labels[high])] = True
        strong[0] = False
        strong &= stats[:, cv2.CC_STAT_AREA] >= least
        out.append(cv2.dilate(strong[labels].astype(np.uint8), kernel) > 0)
    return out
