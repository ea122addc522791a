"""A prior that plays back what another program computed."""

from __future__ import annotations

import functools
import hashlib
from os import PathLike
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, Prior


class ReplayPrior(Prior):
    """Point maps from arrays, handed out in order.

    Args:
        points: ``[T, H, W, 3]``, any scale; non-finite points count as invalid.
        mask: ``[T, H, W]`` bool; None: valid where depth is finite and positive.

    Raises:
        InputError: where shapes disagree.
    """

    def __init__(self, points: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None):
        self.points = _tensor(points)
        if self.points.ndim != 4 or self.points.shape[-1] != 3:
            raise InputError(f"the prior's points have shape {list(self.points.shape)}; give [T, H, W, 3].")
        finite = torch.isfinite(self.points).all(-1) & (self.points[..., 2] > 0)
        self.mask = finite if mask is None else _tensor(mask).bool() & torch.isfinite(self.points).all(-1)
        if self.mask.shape != self.points.shape[:-1]:
            raise InputError(
                f"the prior's mask has shape {list(self.mask.shape)}; its points want {list(self.points.shape[:-1])}."
            )

    @functools.cached_property
    def _digest(self) -> str:
        found = hashlib.sha256(f"{list(self.points.shape)} {self.points.dtype}".encode())
        for array in (self.points, self.mask):
            for frame in array:
                found.update(frame.contiguous().numpy().data)
        return found.hexdigest()

    @property
    def identity(self) -> str:
        return f"point maps {self._digest}"

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ReplayPrior:
        """Read an ``npz`` with ``point_map`` (or ``points``) and, optionally, ``mask``.

        Raises:
            InputError: where the file is no such archive.
        """
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

    def begin(self, first: int = 0) -> ClipPrior:
        """Play from a frame on.

        Raises:
            InputError: when more frames are asked for than there are.
        """
        position = first

        def play(frames: Tensor, camera: KnownCamera | None) -> tuple[Tensor, Tensor]:
            nonlocal position
            start, position = position, position + len(frames)
            if position > len(self.points):
                raise InputError(
                    f"the prior holds {len(self.points)} frames and the video has more; give one for each."
                )
            points, mask = (x[start:position].to(frames.device) for x in (self.points, self.mask))
            return points.float(), mask

        return play


def _tensor(array: Tensor | np.ndarray) -> Tensor:
    """The same memory, unless it may not be written to."""
    return torch.as_tensor(array.copy() if isinstance(array, np.ndarray) and not array.flags.writeable else array)
