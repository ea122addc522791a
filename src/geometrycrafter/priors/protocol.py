"""What a prior is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Prior(Protocol):
    """A per-frame estimator of point maps.

    Frames ``[N, 3, H, W]`` float in [0, 1] -> points ``[N, H, W, 3]`` in camera axes, of any scale, and a mask
    ``[N, H, W]`` bool of the pixels whose points are valid. Frames come in the order of the video, each once.

    Four optional members let a prior do better:

    - ``frame_size(height, width) -> (height, width)``: the size at which it wants its frames. Without it, frames
      come at the video's own size.
    - ``known_camera(fov_x)``: told before the first frame when the user knows the horizontal field of view, in
      radians; None where it isn't.
    - ``trusted_field``: True where its field of view is better than what the decoder gives back; the scene's cameras
      are then the prior's (not with ``exact=True`` or free rays).
    - ``skip(count)``: frames that a resumed run has seen already; for priors that count their calls.
    """

    def __call__(self, frames: Tensor, /) -> tuple[Tensor, Tensor]: ...
