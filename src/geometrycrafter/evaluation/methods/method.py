"""What a method is: something that says where the points of a clip are."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.evaluation.protocols import Protocol


@dataclass
class Prediction:
    """What a method says of a clip: points, or depth, or disparity, frame by frame."""

    points: Frames | None = None
    """``[T, H, W, 3]``, camera axes, any scale."""
    depth: Frames | None = None
    """``[T, H, W]``, any scale."""
    disparity: Frames | None = None
    """``[T, H, W]``, any scale and shift."""
    focal: np.ndarray | None = None
    """``[T]`` pixels, where the method knows it better than its points do."""
    intrinsics: np.ndarray | None = None
    """``[T, 3, 3]`` pixels, where the method has them."""
    poses: np.ndarray | None = None
    """``[T, 4, 4]`` camera-to-world, any world and unit."""
    known: np.ndarray | None = None
    """``[T]`` bool, which of the poses were found; None: all."""
    confidence: Frames | None = None
    """``[T, H, W]``, larger where the method is surer of its points."""
    seconds: float = 0.0
    """Of computation, loading of weights not counted; zero where it is not known."""
    keep: Any = None
    """Whatever must live as long as the frames are read."""


Predictor = Callable[[Clip, str, Protocol], Prediction]
"""A method with its weights loaded: a clip, its name and the protocol to a prediction.

Of the clip it looks at the frames; of the truth it uses nothing but its shape. Raises ``InputError`` where the method
can't say anything of this clip: its predictions are missing or don't fit.
"""


@dataclass(frozen=True)
class Method(ABC):
    """One method, as a few words that another process can act on."""

    name: str
    """In tables."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What its figures depend on besides the clip: settings, and digests of its weights in place of their paths.

        It is had without loading them, and is the same on every machine with the same files.

        Raises:
            InputError: where weights are missing.
        """

    @abstractmethod
    def prepare(self, device: str) -> Predictor:
        """Load what it takes.

        Raises:
            InputError: where weights or the device are not as they should be.
        """

    def content(self, clip: str) -> str | None:
        """A digest of what it has on disk for one clip; None where it computes."""
        return None

    def settings(self, *left_out: str) -> dict[str, Any]:
        """Its fields but the name and those that say a place."""
        stored = {k: v for k, v in asdict(self).items() if k not in ("name", *left_out)}
        return {"method": type(self).__name__} | stored


def spooled(clip: Clip, compute: Callable[[int], np.ndarray]) -> Prediction:
    """Points of a clip computed once and kept on disk, since metrics go over them several times.

    Args:
        clip: of ``T`` frames of ``H`` x ``W`` pixels.
        compute: points ``[H, W, 3]`` of the frame of an index.
    """
    t, h, w = clip.depth.shape
    folder = tempfile.TemporaryDirectory(prefix="geometrycrafter-eval-")
    points = np.lib.format.open_memmap(Path(folder.name) / "points.npy", "w+", np.float32, (t, h, w, 3))
    for index in range(t):
        points[index] = compute(index)
    return Prediction(points=points, keep=folder)
