"""A prior that plays back what another program computed."""

from __future__ import annotations

import functools
import hashlib
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.errors import InputError, reason
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, Prior


class ReplayPrior(Prior):
    """Point maps from arrays, handed out in order.

    Args:
        points: ``[T, H, W, 3]``, any scale; non-finite points count as invalid.
        mask: ``[T, H, W]`` bool; None: valid where depth is finite and positive.

    Raises:
        InputError: where shapes disagree, or something else than numbers is given.
    """

    def __init__(self, points: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None):
        self.points = _tensor(points, "points")
        if self.points.ndim != 4 or self.points.shape[-1] != 3:
            raise InputError(f"the prior's points have shape {list(self.points.shape)}; give [T, H, W, 3].")
        if not self.points.numel():
            raise InputError(f"the prior's points have shape {list(self.points.shape)}; there is no pixel in them.")
        finite = torch.isfinite(self.points).all(-1)
        given = self.points[..., 2] > 0 if mask is None else _tensor(mask, "mask")
        if given.shape != finite.shape:
            raise InputError(
                f"the prior's mask has shape {list(given.shape)}; its points want {list(self.points.shape[:-1])}."
            )
        self.mask = (given.nan_to_num(0.0) if given.is_floating_point() else given).bool() & finite

    @functools.cached_property
    def _digest(self) -> str:
        found = hashlib.sha256(f"{list(self.points.shape)} {self.points.dtype}".encode())
        for array in (self.points, self.mask):
            for frame in array:
                found.update(frame.contiguous().view(torch.uint8).numpy().data)
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
                points, mask = archive[key], archive.get("mask")
        except InputError:
            raise
        except Exception as error:  # a damaged archive makes zipfile, zlib and numpy's reader of headers raise anything
            raise InputError(f"{path}: this is no npz archive of point maps ({reason(error)}).") from error
        try:
            return cls(points, mask)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

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


def _tensor(array: Tensor | np.ndarray, name: str) -> Tensor:
    """The same memory, where it is on the CPU, in this machine's order and may be written to."""
    try:
        if isinstance(array, np.ndarray):
            native = array.dtype.newbyteorder("=")
            usable = array.flags.writeable and array.dtype == native and min(array.strides, default=0) >= 0
            array = array if usable else array.astype(native, order="C")
        tensor = torch.as_tensor(array).detach().cpu()
        if tensor.is_complex() or tensor.layout != torch.strided:
            raise TypeError(f"{tensor.dtype}, {tensor.layout}")
    except (TypeError, ValueError, RuntimeError) as error:  # NotImplementedError, of meta tensors, is the last
        raise InputError(f"the prior's {name} are no dense array of real numbers ({reason(error)}).") from error
    return tensor
