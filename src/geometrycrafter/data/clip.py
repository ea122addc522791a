"""A clip with known geometry: what every data set, recording and rendering becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError


@dataclass(frozen=True)
class Clip:
    """Frames and the geometry behind them. Axes are OpenCV's (x right, y down, z forward), pixel centres integers."""

    frames: np.ndarray
    """``[T, H, W, 3]`` uint8."""
    depth: np.ndarray
    """``[T, H, W]`` float32 planar depth in metres or the source's unit; zero where it is not known."""
    intrinsics: np.ndarray
    """``[T, 3, 3]`` float32, pixels."""
    sky: np.ndarray | None = None
    """``[T, H, W]`` bool: no depth because there is no surface. None: nothing is known to be sky."""
    dynamic: np.ndarray | None = None
    """``[T, H, W]`` bool: moves by itself."""
    poses: np.ndarray | None = None
    """``[T, 4, 4]`` float32 camera-to-world, in the unit of depth."""
    fps: float = 24.0
    source: str = ""
    """Data set and scene."""
    licence: str = ""

    @property
    def mask(self) -> np.ndarray:
        """``[T, H, W]`` bool, where depth is known."""
        return self.depth > 0

    @property
    def height(self) -> int:
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        return self.frames.shape[2]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, times: slice) -> Clip:
        """Some of the frames."""
        cut: dict[str, Any] = {k: v[times] for k, v in self.arrays().items()}
        return replace(self, **cut)

    def arrays(self) -> dict[str, np.ndarray]:
        """What there is of frames ``[T, H, W, 3]``, depth, sky and dynamic ``[T, H, W]``, intrinsics ``[T, 3, 3]`` and
        poses ``[T, 4, 4]``, by these names."""
        names = ("frames", "depth", "intrinsics", "sky", "dynamic", "poses")
        return {k: getattr(self, k) for k in names if getattr(self, k) is not None}

    def checked(self) -> Clip:
        """The clip with usual types, every value accounted for.

        Raises:
            InputError: where shapes disagree, values are not finite, or not one pixel is valid.
        """
        name = self.source or "the clip"
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8 or not len(self):
            raise InputError(
                f"{name}: frames are {self.frames.dtype} {list(self.frames.shape)}, not uint8 [T, H, W, 3]."
            )
        t, h, w, _ = self.frames.shape
        shapes = {"depth": (t, h, w), "sky": (t, h, w), "dynamic": (t, h, w)}
        shapes |= {"intrinsics": (t, 3, 3), "poses": (t, 4, 4)}
        arrays: dict[str, Any] = self.arrays()
        for key, shape in shapes.items():
            if key in arrays and arrays[key].shape != shape:
                raise InputError(
                    f"{name}: {key} has shape {list(arrays[key].shape)} where {list(shape)} fits the frames."
                )
        kinds = {"depth": np.float32, "intrinsics": np.float32, "poses": np.float32, "sky": bool, "dynamic": bool}
        arrays |= {k: v.astype(kinds[k], copy=False) for k, v in arrays.items() if k in kinds}
        for key in ("depth", "intrinsics", "poses"):
            if key in arrays and not np.isfinite(arrays[key]).all():
                raise InputError(f"{name}: {key} holds NaN or infinity; unknown depth is to be zero.")
        if arrays["depth"].min() < 0:
            raise InputError(f"{name}: depth is negative in places; unknown depth is to be zero.")
        if not arrays["depth"].max() > 0:
            raise InputError(f"{name}: not one pixel has depth.")
        if (arrays["intrinsics"][:, [0, 1], [0, 1]] <= 0).any():
            raise InputError(f"{name}: a focal length is not positive.")
        if "sky" in arrays:
            arrays["sky"] = arrays["sky"] & (arrays["depth"] == 0)
        return replace(self, **arrays)
