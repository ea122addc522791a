"""Points of the world that a scene's poses were found from, with colours and the errors that they have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.world import World
from geometrycrafter.geometry import rigid


@dataclass(frozen=True)
class SeenTracks:
    """Points, and the frames of a world that see them."""

    points: np.ndarray
    """``[P, 3]`` float64 in the world."""
    errors: np.ndarray
    """``[P]`` mean distance of where a point falls from where it is seen, pixels."""
    rgb: np.ndarray
    """``[P, 3]`` uint8."""
    point: np.ndarray
    """``[N]``, a point's number."""
    frame: np.ndarray
    """``[N]``, the frame that sees it; in order."""
    pixels: np.ndarray
    """``[N, 2]``, where (x, y)."""
    size: tuple[int, int]
    """Height and width of the frames."""

    @classmethod
    def of(cls, world: World) -> SeenTracks | None:
        """Those of a world's frames, two or more of which see each point; None where the scene keeps none.

        Raises:
            InputError: where the scene's arrays of them don't fit together.
        """
        scene = world.scene
        stored = [scene.array(name) for name in ("track_points", "track_seen", "track_pixels")]
        if any(array is None for array in stored):
            return None
        points, seen, pixels = (np.asarray(array) for array in stored)
        if len(seen) != len(pixels) or (len(seen) and (seen.min() < 0 or seen.max(0)[0] >= len(points))):
            raise InputError(f"{scene.place}: its tracks don't fit together; run 'geometrycrafter poses' again.")
        point, frame = seen.T.astype(np.int64)
        kept = np.isin(frame, world.frames)
        kept &= np.bincount(point[kept], minlength=len(points))[point] >= 2
        if not kept.any():
            return None
        numbers, point = np.unique(point[kept], return_inverse=True)
        order = np.argsort(frame[kept], kind="stable")
        height, width = scene.depth.shape[1:]
        found = cls(
            points[numbers].astype(np.float64),
            np.zeros(len(numbers)),
            np.zeros((len(numbers), 3), np.uint8),
            point[order],
            frame[kept][order],
            pixels[kept][order].astype(np.float64),
            (height, width),
        )
        return replace(found, errors=found._errors(world))

    def seen(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers ``[n]`` of the points that a frame sees, and the pixels ``[n, 2]``."""
        own = slice(*np.searchsorted(self.frame, [t, t + 1]))
        return self.point[own], self.pixels[own]

    def coloured(self, pictures: Iterable[np.ndarray]) -> SeenTracks:
        """With the mean colours of the pixels that see them.

        Args:
            pictures: of all the scene's frames in turn, ``[H, W, 3]`` uint8.
        """
        total, height, width = np.zeros((len(self.points), 3)), *self.size
        for t, picture in enumerate(pictures):
            which, xy = self.seen(t)
            column, row = xy.round().astype(int).clip(0, [width - 1, height - 1]).T
            np.add.at(total, which, picture[row, column].astype(float))
        views = np.bincount(self.point, minlength=len(self.points))
        return replace(self, rgb=(total / views[:, None]).round().astype(np.uint8))

    def _errors(self, world: World) -> np.ndarray:
        """Mean reprojection error of each point ``[P]``, pixels."""
        total = np.zeros(len(self.points))
        for t in np.unique(self.frame).tolist():
            which, xy = self.seen(t)
            own = rigid.apply(rigid.inverse(torch.from_numpy(world.poses[t])), torch.from_numpy(self.points[which]))
            image = own.numpy() @ np.asarray(world.scene.intrinsics[t], np.float64).T
            np.add.at(total, which, np.linalg.norm(image[:, :2] / image[:, 2:] - xy, axis=1))
        return total / np.bincount(self.point, minlength=len(self.points))
