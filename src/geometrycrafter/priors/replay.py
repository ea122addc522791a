"""A prior that plays back what another program computed."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.errors import InputError


class ReplayPrior:
    """Point maps from arrays, handed out in order.

    Args:
        points: ``[T, H, W, 3]``, any scale; non-finite points count as invalid.
        mask: ``[T, H, W]`` bool; None: valid where depth is finite and positive.
    """

    def __init__(self, points: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None):
        self.points = torch.as_tensor(points)
        if self.points.ndim != 4 or self.points.shape[-1] != 3:
            raise InputError(f"the prior's points have shape {list(self.points.shape)}; give [T, H, W, 3].")
        finite = torch.isfinite(self.points).all(-1) & (self.points[..., 2] > 0)
        self.mask = finite if mask is None else torch.as_tensor(mask).bool() & torch.isfinite(self.points).all(-1)
        if self.mask.shape != self.points.shape[:-1]:
            raise InputError(
                f"the prior's mask has shape {list(self.mask.shape)}; its points want {list(self.points.shape[:-1])}."
            )
        self.position = 0

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ReplayPrior:
        """Read an ``npz`` with ``point_map`` (or ``points``) and, optionally, ``mask``."""
        try:
            with np.load(Path(path), allow_pickle=False) as archive:
                key = next((k for k in ("point_map", "points") if k in archive), None)
                if key is None:
                    raise InputError(f"{path}: the archive holds no point_map; it has {', '.join(archive.files)}.")
                return cls(archive[key], archive.get("mask"))
        except (OSError, ValueError, BadZipFile) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: this is no npz archive of point maps ({error}).") from error

    def skip(self, count: int) -> None:
        """Pass over frames that were seen before a run was cut short."""
        self.position = (self.position + count) % (len(self.points) + 1)

    def __call__(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if self.position == len(self.points):
            self.position = 0  # a second run over the same video
        end = self.position + len(frames)
        if end > len(self.points):
            raise InputError(f"the prior holds {len(self.points)} frames and the video has more; give one for each.")
        points, mask = (x[self.position : end].to(frames.device) for x in (self.points, self.mask))
        self.position = end
        return torch.nan_to_num(points.float(), 0.0, 0.0, 0.0), mask
