"""What moves by itself, from the motion of the picture alone: where it is not the motion that the point maps and the
camera's poses predict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from geometrycrafter.poses.problem import Problem, State
from geometrycrafter.scene import Scene

Array = np.ndarray
AT_ONCE = 2
"""Frames that are looked at together: flow alone doesn't keep two cores busy."""


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

    def __call__(
        self,
        scene: Scene,
        grey: Sequence[Array],
        state: State,
        problem: Problem,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Array]:
        """Masks ``[h, w]`` bool of each frame, true where something moves; memory holds a few pictures.

        Args:
            scene: with depth, mask and intrinsics.
            grey: ``[H, W]`` uint8 pictures of its frames.
            state: with the cameras.
            problem: of the same frames, with the focal length and size.
            progress: called with how many frames are done.
        """
        scores = self._scores(scene, grey, state, problem)
        before, now = None, next(scores)
        for t in range(len(grey)):
            after = next(scores, None)
            if progress:
                progress(t + 1)
            yield _regions(np.mean([score for score in (before, now, after) if score is not None], 0))
            before, now = now, after  # type: ignore[assignment]

    def _scores(self, scene: Scene, grey: Sequence[Array], state: State, problem: Problem) -> Iterator[Array]:
        """:meth:`_score` of each frame, of several at once."""
        pictures, count = Nearby(grey, self.width), len(grey)
        with ThreadPoolExecutor(AT_ONCE) as workers:
            waiting: deque[Future[Array]] = deque()
            for t in range(count):
                gaps = [[u for u in (t - gap, t + gap) if 0 <= u < count] for gap in self.gaps]
                near = {u: pictures[u] for u in chain([t], *gaps)}
                pictures.forget(t + 1 - max(self.gaps))
                waiting.append(workers.submit(self._score, scene, near, t, list(filter(None, gaps)), state, problem))
                if len(waiting) > AT_ONCE:
                    yield waiting.popleft().result()
            for one in waiting:
                yield one.result()

    def _score(
        self, scene: Scene, pictures: dict[int, Array], t: int, gaps: list[list[int]], state: State, problem: Problem
    ) -> Array:
        """How surely each pixel ``[h, w]`` moves, by frames ``gaps`` away."""
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        h, w = pictures[t].shape
        total = np.zeros((h, w), np.float32)
        depth, valid = problem.corrected(scene, t, state.correction[t], h, w)
        for others in gaps:
            # What is hidden in one of the two pictures may be seen in the other: one that explains it is enough.
            off = [self._off(dis, pictures, depth, t, u, state, problem) for u in others]
            total += np.where(valid, np.minimum.reduce(off), 0)
        return total / max(len(gaps), 1)

    def _off(
        self,
        dis: cv2.DISOpticalFlow,
        pictures: dict[int, Array],
        depth: Array,
        t: int,
        u: int,
        state: State,
        problem: Problem,
    ) -> Array:
        """How far flow ``[h, w, 2]`` ends from the line of a static point's landing places, in tolerances; zero where
        the picture is explained by such a place as well as by the flow."""
        h, w = depth.shape
        flow = dis.calc(pictures[t], pictures[u], np.zeros((h, w, 2), np.float32))  # from nothing: it begins with that
        scale = np.array([w / problem.size[1], h / problem.size[0]])
        fx, fy = ((problem.focal * np.exp(state.log_focal)).numpy() * scale).tolist()
        cx, cy = ((problem.centre.numpy() + 0.5) * scale - 0.5).tolist()
        turn = (state.rotation[u] @ state.rotation[t].T).numpy()
        shift = state.translation[u].numpy() - turn @ state.translation[t].numpy()
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        i, j = (x - cx) / fx, (y - cy) / fy
        turned = [r[0] * i + r[1] * j + r[2] for r in turn.tolist()]  # planes: pairs in the last axis are slow
        ends = []
        for factor in (1 - self.depth_share, 1.0, 1 + self.depth_share):
            far = depth * np.float32(factor)
            px, py, pz = (r * far + np.float32(s) for r, s in zip(turned, shift))
            pz = np.maximum(pz, 1e-6)
            # Within what a picture can be remapped by.
            ends.append(((px / pz * fx + cx).clip(-1e6, 1e6), (py / pz * fy + cy).clip(-1e6, 1e6)))
        to_x, to_y = x + flow[..., 0], y + flow[..., 1]
        (from_x, from_y), (last_x, last_y) = ends[0], ends[-1]
        line_x, line_y = last_x - from_x, last_y - from_y
        off_x, off_y = to_x - from_x, to_y - from_y
        along = (off_x * line_x + off_y * line_y) / np.maximum(line_x**2 + line_y**2, 1e-9)
        along = along.clip(0, 1)
        away = np.hypot(off_x - along * line_x, off_y - along * line_y)
        off = away / (self.pixels + self.share * np.hypot(flow[..., 0], flow[..., 1]))
        unlike = np.minimum.reduce([_unlike(pictures[t], pictures[u], *end) for end in ends])
        explained = unlike < UNLIKE_SHARE * _unlike(pictures[t], pictures[u], to_x, to_y) + UNLIKE
        return np.where(explained, 0, off.clip(0, MOST)).astype(np.float32)


UNLIKE = 3.0
"""Levels of 255 that a picture's noise is worth."""
UNLIKE_SHARE = 1.3
MOST = 5.0
"""Tolerances beyond which nothing more is said."""


def _unlike(picture: Array, other: Array, x: Array, y: Array) -> Array:
    """How far patches ``[h, w]`` differ from those at other places of another picture, levels."""
    moved = cv2.remap(
        other, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inside = (x > -1) & (y > -1) & (x < other.shape[1]) & (y < other.shape[0])
    return cv2.blur(cv2.absdiff(moved, picture).astype(np.float32) * inside, (5, 5))


def _regions(score: Array) -> Array:
    """Regions ``[h, w]`` of a high score: grown from its peaks, without specks and holes."""
    h, w = score.shape
    least = max(8, int(3e-4 * h * w))
    small, large = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (n, n)) for n in (3, max(5, w // 40 | 1)))
    s = cv2.medianBlur(score, 5)
    low, high = (s > 0.7).astype(np.uint8), s > 1.5
    low = np.asarray(cv2.morphologyEx(low, cv2.MORPH_CLOSE, large), np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(low)
    strong = np.zeros(len(stats), bool)
    strong[np.unique(labels[high])] = True
    strong[0] = False
    strong &= stats[:, cv2.CC_STAT_AREA] >= least
    outlines, _ = cv2.findContours(strong[labels].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros((h, w), np.uint8), outlines, -1, 1, cv2.FILLED)
    return np.asarray(cv2.dilate(filled, small) > 0)


class Nearby:
    """Pictures made small, of which those are kept that are asked for again.

    Args:
        pictures: ``[H, W]`` uint8 each.
        width: at most so many pixels.
    """

    def __init__(self, pictures: Sequence[Array], width: int):
        self._pictures, self._width = pictures, width
        self._kept: dict[int, Array] = {}

    def __getitem__(self, t: int) -> Array:
        if t not in self._kept:
            grey: Array = self._pictures[t]
            h, w = grey.shape
            size = (self._width, max(1, round(h * self._width / w)))
            small: Array = grey if w <= self._width else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            self._kept[t] = np.ascontiguousarray(small)
        return self._kept[t]

    def forget(self, before: int) -> None:
        """Drop earlier ones."""
        for t in [t for t in self._kept if t < before]:
            del self._kept[t]
