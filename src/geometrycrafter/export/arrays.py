"""A scene's arrays before they are exported: an opened scene may hold any, and those that don't fit are named."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.scene import Scene


def check_arrays(scene: Scene, *names: str) -> None:
    """See that arrays have a place for each frame, in the shape of their kind.

    Args:
        scene: whose arrays.
        *names: of those that are used; what the scene does not have is passed over.

    Raises:
        InputError: names the first that does not fit.
    """
    count, height, width = scene.depth.shape
    wanted: dict[str, tuple[int | None, ...]] = {
        "intrinsics": (count, 3, 3),
        "rays": (count, height, width, 2),
        "poses": (count, 4, 4),
        "frames": (count, None, None, 3),
        "times": (count,),
    }
    for name in names:
        found = scene.array(name)
        if found is None:
            continue
        shape = wanted[name]
        fits = len(found.shape) == len(shape) and all(w in (None, n) for w, n in zip(shape, found.shape))
        if not fits or found.dtype.kind not in "fiu":
            like = ", ".join("N" if n is None else str(n) for n in shape)
            raise InputError(
                f"{scene.place}: {name} are {list(found.shape)} of {found.dtype} where [{like}] are wanted; "
                "store them anew, or run it again."
            )


def rising_times(scene: Scene) -> np.ndarray:
    """``[T]`` float64: a scene's times, in seconds.

    Raises:
        InputError: where they are not one for each frame, finite and rising.
    """
    check_arrays(scene, "times")
    times = scene.times
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError(f"{scene.place}: the times of its frames are not finite and rising; run it again.")
    return times
