"""Points followed by a network that sees a few frames at a time, in the paper's windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.protocol import Keypoints, PointTracker
from geometrycrafter.poses.tracks import Tracks
from geometrycrafter.scene import Scene


@dataclass(frozen=True)
class WindowedTracks:
    """As in the paper's section 4: in windows of 12 frames that overlap by 6, keypoints of the first and of the last
    frame are followed through their window, those of the last one backwards; moving pixels have none.

    The frames of one window are in memory at a time.
    """

    tracker: PointTracker
    keypoints: Keypoints | None = None
    """None: corners."""
    points: int = 256
    """Of a frame."""
    window: int = 12
    overlap: int = 6

    def __call__(
        self,
        pictures: Sequence[np.ndarray],
        static: Sequence[np.ndarray] | None,
        scene: Scene,
        told: Callable[[int], None] = lambda done: None,
    ) -> Tracks:
        """Tracks in the pictures' pixels.

        Args:
            pictures: ``[H, W, 3]`` uint8 of each frame.
            static: ``[H, W]`` bool of each, where points may be; None: everywhere.
            scene: with depth, mask and intrinsics.
            told: called with how many frames are done.
        """
        return Tracks.of(self._seen(pictures, static, scene, told))

    def _seen(
        self,
        pictures: Sequence[np.ndarray],
        static: Sequence[np.ndarray] | None,
        scene: Scene,
        told: Callable[[int], None],
    ) -> Iterator[tuple[torch.Tensor, int, torch.Tensor]]:
        count, new = len(pictures), 0
        for start in range(0, max(count - self.overlap, 1), self.window - self.overlap):
            end = min(start + self.window, count)
            frames = np.stack([pictures[t] for t in range(start, end)])
            allowed = None if static is None else np.stack([static[t] for t in range(start, end)])
            depth = np.where(scene.mask[start:end], scene.depth[start:end], np.nan).astype(np.float32)
            if end - start > 1 and (np.isfinite(depth) & (depth > 0)).any():
                for backwards in (False, True):
                    xy, visible = self._followed(
                        frames, allowed, depth, self._camera(scene, start, end, frames), backwards
                    )
                    for t in range(end - start):
                        rows = np.flatnonzero(visible[t])
                        yield torch.from_numpy(rows + new), start + t, torch.from_numpy(xy[t, rows])
                    new += xy.shape[1]
            told(end)

    def _followed(
        self, frames: np.ndarray, allowed: np.ndarray | None, depth: np.ndarray, camera: np.ndarray, backwards: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where keypoints of a window's first or last frame are in all its frames ``[t, n, 2]``, and whether on static
        pixels in sight ``[t, n]``."""
        if backwards:
            frames, depth, camera = frames[::-1].copy(), depth[::-1].copy(), camera[::-1].copy()
            allowed = None if allowed is None else allowed[::-1]
        xy = self._found(frames[0], None if allowed is None else allowed[0])
        if not len(xy):
            return np.zeros((len(frames), 0, 2)), np.zeros((len(frames), 0), bool)
        queries = np.concatenate([np.zeros((len(xy), 1), np.float32), xy], 1)
        positions, visible, _ = self.tracker(frames, depth, camera, queries)
        size = np.array(frames.shape[2:0:-1])
        visible = visible & np.isfinite(positions).all(-1) & ((positions >= 0) & (positions <= size - 1)).all(-1)
        if allowed is not None:
            x, y = np.moveaxis(np.nan_to_num(positions).round().astype(np.intp).clip(0, size - 1), -1, 0)
            visible &= np.take_along_axis(allowed.reshape(len(frames), -1), y * size[0] + x, 1)
        return (positions[::-1], visible[::-1]) if backwards else (positions, visible)

    def _found(self, frame: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        if self.keypoints is None:
            grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
            found = LucasKanade(points=self.points).corners(grey, allowed)
        else:
            found = self.keypoints(frame, allowed, self.points)
        size = np.array(frame.shape[1::-1])
        return np.asarray(found, np.float32).reshape(-1, 2).clip(0, size - 1)

    def _camera(self, scene: Scene, start: int, end: int, frames: np.ndarray) -> np.ndarray:
        """Intrinsics ``[t, 3, 3]`` in the pictures' pixels."""
        k = np.array(scene.intrinsics[start:end], np.float32)
        scale = np.array(frames.shape[2:0:-1]) / np.array(scene.depth.shape[:0:-1])
        k[:, [0, 1], [0, 1]] *= scale
        k[:, :2, 2] = (k[:, :2, 2] + 0.5) * scale - 0.5
        return k
