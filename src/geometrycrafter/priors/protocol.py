"""What a prior is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from geometrycrafter.priors.identity import identity_of

FrameFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The least that a prior can be: frames ``[N, 3, H, W]`` in [0, 1] -> points ``[N, H, W, 3]``, mask ``[N, H, W]``."""


@dataclass(frozen=True)
class KnownCamera:
    """What the user knows of the camera."""

    fov_x: float
    """Horizontal field of view from edge to edge of the picture, radians."""


ClipPrior = Callable[[Tensor, KnownCamera | None], tuple[Tensor, Tensor]]
"""A prior on one clip, called with its frames in order: ``(frames, camera)`` -> points and mask.

Frames ``[N, 3, H, W]`` float in [0, 1]; points ``[N, H, W, 3]`` in camera axes, of any scale; mask ``[N, H, W]`` bool,
the pixels whose points are valid. The camera is None where it isn't known.
"""


class Prior(ABC):
    """A per-frame estimator of point maps.

    A clip begins with :meth:`begin`; whatever depends on the place in the clip lives in what that returns, so that one
    prior serves several runs at once, and a second run begins at the first frame.
    """

    trusted_field: bool = False
    """Whether its field of view is better than what the decoder gives back; the scene's cameras are then the prior's
    (not with ``exact=True`` or free rays)."""
    metric: bool = False
    """Whether its points are in metres."""
    tells_sky: bool = False
    """Whether what it calls invalid is sky, and nothing else."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What its answers depend on, besides the frames and the camera: a resumed run must have the same."""

    @abstractmethod
    def begin(self, first: int = 0) -> ClipPrior:
        """Begin a clip.

        Args:
            first: the frame of the clip that the first call will have; above 0 where a run is gone on with.
        """

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which it wants the frames of a video of this height and width."""
        return height, width


class PlainPrior(Prior):
    """A callable that looks at frames alone.

    Args:
        function: frames ``[N, 3, H, W]`` float in [0, 1] -> points ``[N, H, W, 3]``, any scale, and mask ``[N, H, W]``.
            A text ``identity`` that it has is taken at its word; else code and values are compared where a run is
            resumed.
    """

    def __init__(self, function: FrameFunction):
        self.function = function

    @property
    def identity(self) -> str:
        return identity_of(self.function)

    def begin(self, first: int = 0) -> ClipPrior:
        return lambda frames, camera: self.function(frames)


def as_prior(prior: Prior | FrameFunction) -> Prior:
    """A prior of anything that may stand for one."""
    return prior if isinstance(prior, Prior) else PlainPrior(prior)
