"""Frames of a lens that bends rays, as the pinhole in its middle would have seen them.

The view keeps the scale of the lens's middle, so that nothing there is lost or made up. It reaches as far as the
picture does along the row and the column through the axis, and no further than :data:`WIDEST`: a pinhole's scale grows
without end towards the side. What the corners of a barrel show beyond is left out, and what a cushion's corners don't
show is filled from its border and is invalid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.bending import pinhole_rays
from geometrycrafter.geometry.lens import Lens

WIDEST = math.radians(60)
"""From the axis to each side of a view."""
LARGEST = 3.0
"""Times the picture's side that a view's may be."""


@dataclass(frozen=True, eq=False)
class Undistortion:
    """A lens, the pinhole view that is made of its pictures, and where each pixel of the view comes from."""

    lens: Lens
    """Of the pictures, which are as large as it says."""
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy of the view, pixels."""
    height: int
    """Of the view."""
    width: int
    valid: np.ndarray
    """``[H, W]`` bool: what of the view the picture shows."""
    grid: Tensor
    """``[1, H, W, 2]`` float32, x and y in the picture, from -1 to 1 between the centres of its outermost pixels."""

    @classmethod
    def of(cls, lens: Lens) -> Undistortion:
        """The view of a lens.

        Args:
            lens: with its size.

        Raises:
            InputError: where it sees too little for a view.
        """
        assert lens.height is not None and lens.width is not None
        size = lens.width, lens.height
        (left, right), (top, bottom) = (_reach(lens, axis, size[axis]) for axis in (0, 1))
        width, height = right - left + 1, bottom - top + 1
        if min(width, height) < 2:
            raise InputError("the camera's axis is outside of the picture; give the camera of this video.")
        (fx, fy), (cx, cy) = lens.focal, lens.centre
        view = (fx, fy, cx - left, cy - top)
        k = torch.tensor([[fx, 0, view[2]], [0, fy, view[3]], [0, 0, 1]], dtype=torch.float64)
        pixels, seen = lens.project(pinhole_rays(k, height, width))
        last = pixels.new_tensor([size[0] - 1, size[1] - 1])
        # Half a pixel beyond the outermost centres is still picture.
        inside = ((pixels >= -0.5) & (pixels <= last + 0.5)).all(-1) & seen
        grid = torch.where(pixels.isfinite(), pixels, 0.0) / last.clamp_min(1) * 2 - 1
        return cls(lens, view, height, width, inside.numpy(), grid.clamp(-2, 2).float()[None])

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """A picture ``[h, w, 3]`` of the lens as the view ``[H, W, 3]``, uint8 or float32 as it is."""
        whole = picture.dtype == np.uint8
        planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float()
        view = F.grid_sample(planes, self.grid, "bicubic", "border", align_corners=True)[0].permute(1, 2, 0)
        if whole:
            return view.round_().clamp_(0, 255).to(torch.uint8).numpy()
        return view.clamp_(0, 1).numpy()


def undistorted(frames: Iterable[tuple[float, np.ndarray]], how: Undistortion) -> Iterator[tuple[float, np.ndarray]]:
    """Times and pictures ``[h, w, 3]`` as times and views ``[H, W, 3]``, one at a time.

    A picture that is shown again at a constant rate is worked on once.
    """
    before: np.ndarray | None = None
    view: np.ndarray | None = None
    for seconds, picture in frames:
        if view is None or picture is not before:
            before, view = picture, how(picture)
        yield seconds, view


def _reach(lens: Lens, axis: int, side: int) -> tuple[int, int]:
    """The first and the last whole coordinate of the view along an axis, counted as the lens's own pixels are.

    Args:
        lens: of the picture.
        axis: 0 along the row through the middle, 1 along the column.
        side: of the picture along it, pixels.
    """
    focal, centre = lens.focal[axis], lens.centre[axis]
    most = min(math.floor(focal * math.tan(WIDEST)), round(LARGEST * side))
    along = torch.arange(-most, most + 1, dtype=torch.float64) + round(centre)
    rays = torch.zeros(len(along), 3, dtype=torch.float64)
    rays[:, axis], rays[:, 2] = (along - centre) / focal, 1
    pixels, seen = lens.project(rays)
    inside = seen & (pixels[:, axis] >= -0.5) & (pixels[:, axis] <= side - 0.5)
    if not bool(inside[most]):
        return 0, 0
    outside = (~inside).nonzero()[:, 0]
    before, after = outside[outside < most], outside[outside > most]
    first = int(before.max()) + 1 if len(before) else 0
    last = int(after.min()) - 1 if len(after) else 2 * most
    return round(float(along[first])), round(float(along[last]))
