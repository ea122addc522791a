"""Which arrays a scene has, and of which shapes and types they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, reason

MAX_VALUES_A_FRAME = 2**28
WORDS = {"f": "floating-point", "b": "bool", "u": "uint8", "iu": "whole numbers", "fiu": "numbers"}


@dataclass(frozen=True)
class Layout:
    """What an array of a scene is like.

    Args:
        axes: numbers; T frames, H rows, W columns of the depth; "any" for a length of its own.
        kinds: of NumPy's types: floating, bool, unsigned.
        dtype: that values given by a caller are stored as; theirs where None.
        finite: whether each value must be.
    """

    axes: tuple[int | str, ...]
    kinds: str = "f"
    dtype: type[np.generic] | None = None
    finite: bool = False

    def shape(self, depth: tuple[int, ...]) -> list[int | str]:
        """Its shape in a scene whose depth has the shape ``[T, H, W]``."""
        lengths = dict(zip("THW", depth, strict=True))
        return [lengths.get(axis, axis) if isinstance(axis, str) else axis for axis in self.axes]

    def fault(self, shape: tuple[int, ...], dtype: np.dtype[Any], depth: tuple[int, ...]) -> str | None:
        """What is wrong with a shape or type in a scene whose depth has the shape ``[T, H, W]``; None: nothing."""
        due = self.shape(depth)
        if len(shape) != len(due) or any(isinstance(n, int) and n != m for n, m in zip(due, shape, strict=True)):
            return f"the shape is {list(shape)}, not {_listed(due)}"
        if dtype.kind not in self.kinds or (self.kinds == "u" and dtype != np.uint8):
            return f"the type is {dtype}, not {WORDS[self.kinds]}"
        if int(np.prod(shape[1:])) > MAX_VALUES_A_FRAME:
            return f"frames of the shape {list(shape[1:])} are larger than this program reads"
        return None


MADE: Mapping[str, Layout] = {
    "depth": Layout(("T", "H", "W")),
    "mask": Layout(("T", "H", "W"), "b"),
    "intrinsics": Layout(("T", 3, 3)),
    "rays": Layout(("T", "H", "W", 2)),
    "frames": Layout(("T", "any", "any", 3), "u"),
}
"""Arrays that a scene is made with."""
NEEDED = ("depth", "mask", "intrinsics")
"""Those of them that no scene is without."""
LATER: Mapping[str, Layout] = {
    "poses": Layout(("T", 4, 4), "f", np.float32, finite=True),
    "pose_quality": Layout(("T",), "f", np.float32),
    "moving": Layout(("T", "H", "W"), "b"),
    "pose_covariance": Layout(("T", 6, 6), "f", np.float64),
    "track_points": Layout(("any", 3), "f", np.float32, finite=True),
    "track_seen": Layout(("any", 2), "iu"),
    "track_pixels": Layout(("any", 2), "f", np.float32, finite=True),
    "depth_correction": Layout(("T", "any", "any"), "f", np.float32, finite=True),
    "intrinsics_refined": Layout(("T", 3, 3), "f", np.float32, finite=True),
    "metres": Layout(("T",), "f", np.float64, finite=True),
    "confidence": Layout(("T", "H", "W"), "f"),
    "sky": Layout(("T", "H", "W"), "b"),
    "times": Layout(("T",), "f", np.float64, finite=True),
    "shots": Layout(("any",), "iu"),
}
"""Arrays that may come later."""
LAYOUTS: Mapping[str, Layout] = {**MADE, **LATER}
"""All whose names say what they are; they are found by name where a store can't list what it holds."""


def checked(name: str, values: Any, depth: tuple[int, ...]) -> np.ndarray:
    """Values of a caller as an array ``[...]`` that a scene can keep under a name.

    Args:
        name: of the array.
        values: numbers or bools; whole numbers may stand for others.
        depth: the shape of the scene's depth, ``[T, H, W]``.

    Raises:
        InputError: where they have no shape, are no numbers, or not what the name says; names the array.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name} can't be made an array ({reason(error)}); give rows of one length.") from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise InputError(f"{name} have the type {array.dtype}; give numbers or bools.")
    array = array.astype(array.dtype.newbyteorder("="))
    layout = LATER.get(name)
    if layout is None:
        return array
    if layout.dtype is not None and array.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            array = array.astype(layout.dtype)
    fault = layout.fault(array.shape, array.dtype, depth)
    if fault:
        raise InputError(f"{name} don't fit the scene: {fault}.")
    if layout.finite and not np.isfinite(array).all():
        raise InputError(f"{name} have values that are not finite; give one for each frame.")
    return array


def _listed(shape: list[int | str]) -> str:
    return f"[{', '.join(str(n) for n in shape)}]"
