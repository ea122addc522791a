"""A scene's arrays as Python sees them: read frame by frame by their index, whole where one computes with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin

from geometrycrafter.geometry.grid import Grid
from geometrycrafter.geometry.normals import known_normals
from geometrycrafter.scene.arrays import StoredArray

if TYPE_CHECKING:
    from geometrycrafter.scene.reader import Scene


class ReadArray(NDArrayOperatorsMixin):
    """What all of them have in common: NumPy's operators, functions and methods, which read the whole array.

    ``1 / scene.depth``, ``scene.depth[scene.mask]``, ``np.log(scene.depth)``, ``scene.depth.max()``. Of a long clip
    that is much memory: ``scene.depth[10]`` and ``scene.depth[::30]`` read what they name.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def _frame(self, t: int) -> np.ndarray:
        raise NotImplementedError

    def __getitem__(self, index: Any) -> np.ndarray:
        index = _chosen(index)
        time, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        if time is Ellipsis or time is None or isinstance(time, tuple) or _by_pixels(index):
            return np.asarray(self[:][index])
        if isinstance(time, int | np.integer):
            if not -len(self) <= time < len(self):
                raise IndexError(f"there is no frame {time}; the scene has 0 to {len(self) - 1}")
            return np.asarray(self._frame(int(time) % len(self))[rest])
        frames = [self._frame(int(t)) for t in np.arange(len(self))[time]]
        whole = np.stack(frames) if frames else np.zeros((0, *self.shape[1:]), self.dtype)
        return np.asarray(whole[(slice(None), *rest)])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[t] for t in range(len(self)))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, ReadArray) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        return getattr(np.asarray(self), name)

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Values."""
        return int(np.prod(self.shape))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.shape)} {self.dtype}, read by index; np.asarray for all of it)"


def _chosen(index: Any) -> Any:
    """An index without arrays of a scene in it."""
    if isinstance(index, tuple):
        return tuple(_chosen(one) for one in index)
    return np.asarray(index) if isinstance(index, ReadArray) else index


def _is_stretch(index: Any) -> bool:
    """Whether an index is a number, or frames or pixels in order."""
    forward = isinstance(index, slice) and (index.step is None or index.step > 0)
    return index is Ellipsis or forward or isinstance(index, int | np.integer)


def _by_pixels(index: Any) -> bool:
    """Whether an index says of each pixel whether it is meant: frames alone are no answer."""
    first = index[0] if isinstance(index, tuple) and index else index
    return isinstance(first, np.ndarray) and first.dtype == bool and first.ndim > 1


class FrameArray(ReadArray):
    """One array of a scene, read frame by frame: index it like a NumPy array."""

    def __init__(self, stored: StoredArray, owner: Scene | None = None):
        self._stored = stored
        self._owner = owner  # a scene in a temporary folder takes it along when it goes
        self.shape, self.dtype = stored.shape, stored.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        if all(_is_stretch(one) for one in (index if isinstance(index, tuple) else (index,))):
            return self._stored.read(index)  # which decodes no more than it has to
        return super().__getitem__(index)

    def _frame(self, t: int) -> np.ndarray:
        return self._stored.read(t)


class RefinedDepth(FrameArray):
    """Depth ``[T, H, W]`` as the camera's motion has corrected it: times the exponential of a coarse grid.

    Args:
        stored: the depth as it was predicted.
        correction: ``[T, rows, columns]`` of log depth.
        owner: of the arrays.
    """

    def __init__(self, stored: StoredArray, correction: StoredArray, owner: Scene | None = None):
        super().__init__(stored, owner)
        self._correction = correction

    def __getitem__(self, index: Any) -> np.ndarray:
        return ReadArray.__getitem__(self, index)

    def _frame(self, t: int) -> np.ndarray:
        values = torch.from_numpy(np.asarray(self._correction.read(t), np.float32))
        gain = Grid(*values.shape).picture(values.flatten(), *self.shape[1:]).exp_().numpy()
        return np.asarray(self._stored.read(t) * gain, self.dtype)


class Points(ReadArray):
    """Points of a scene, computed from depth and rays when they are asked for: ``[T, H, W, 3]`` float32."""

    def __init__(self, scene: Scene):
        self._scene = scene
        self.shape = (*scene.depth.shape, 3)
        self.dtype = np.dtype(np.float32)

    def _frame(self, t: int) -> np.ndarray:
        return self._scene._points(t)


class Normals(Points):
    """Unit normals in each frame's camera axes, towards the camera, from its points: ``[T, H, W, 3]`` float32.

    NaN where there is none: where the pixel or one beside it is not valid.
    """

    def _frame(self, t: int) -> np.ndarray:
        depth, mask = self._scene.depth[t], self._scene.mask[t]
        return known_normals(self._scene._points(t), np.asarray(mask, bool) & np.isfinite(depth) & (depth > 0))
