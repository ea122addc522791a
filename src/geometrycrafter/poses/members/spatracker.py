"""Points followed in 3-D by SpaTracker, on the scene's own depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.networks.spatracker import UNUSED, SpaTracker, SpaTrackerConfig
from geometrycrafter.poses.protocol import PointTracks
from geometrycrafter.weights.checkpoints import load_weights, read_checkpoint

SEEN = 0.9
"""A point is seen where the network is surer than that, as in the published predictor."""
SIZE = (384, 512)
"""Height and width that frames are tracked at, as in the published predictor."""
SUPPORT = 6
"""Rows and columns of points that are followed beside those asked for, as in the published predictor."""


def load_spatracker(file: Path, device: torch.device) -> SpaTracker:
    """SpaTracker from its published file, or its tensors as ``.safetensors``.

    Raises:
        InputError: where the file is missing, damaged or another network's.
    """
    state = read_checkpoint(file)
    stored = state.get("model", state)
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise InputError(f"{file}: the file holds no named tensors; use the published spaT_final.pth.")
    tensors = {k: v for k, v in stored.items() if not k.startswith(UNUSED)}
    try:
        with torch.device("meta"):
            network = SpaTracker(SpaTrackerConfig.of(tensors))
    except (KeyError, IndexError, TypeError, RuntimeError) as error:
        raise InputError(f"{file}: this is not SpaTracker; use the published spaT_final.pth.") from error
    load_weights(network, tensors, str(file), torch.float32, device)
    return network


class SpaTrackerTracks:
    """Follows points in windows of 12 frames that overlap by 6.

    Args:
        network: with its weights loaded.
        size: height and width that frames are tracked at, multiples of 4; None: 384 and 512, as published.
    """

    def __init__(self, network: SpaTracker, size: tuple[int, int] | None = None):
        size = size or SIZE
        if any(n < 16 or n % network.config.stride for n in size):
            raise InputError(f"SpaTracker's size {size[0]}x{size[1]} won't do; take multiples of 4 from 16 up.")
        self.network = network
        self.size = size

    def __call__(
        self,
        frames: NDArray[np.uint8],
        depth: NDArray[np.float32],
        intrinsics: NDArray[np.float32],
        queries: NDArray[np.float32],
    ) -> PointTracks:
        """Tracks of queries ``[N, 3]`` (frame, x, y) through frames ``[T, H, W, 3]`` with depth ``[T, H, W]``.

        The published network doesn't look at the intrinsics. Depth that isn't finite and above zero isn't known.
        Where a point wasn't looked for yet, in frames before the window that it begins in, it isn't visible.

        Raises:
            InputError: where a query lies outside of the video or no depth is known.
        """
        height, width = frames.shape[1:3]
        device = next(self.network.parameters()).device
        asked = torch.from_numpy(np.asarray(queries, np.float32)).to(device)
        last = torch.tensor([len(frames) - 1, width - 1, height - 1], device=device)
        if not bool(((asked >= 0) & (asked <= last)).all()):
            raise InputError(
                f"a query is not in the video of {len(frames)} frames {height}x{width}; give those within."
            )
        video = torch.from_numpy(frames).to(device).movedim(-1, 1).float()
        video = F.interpolate(video, self.size, mode="bilinear", align_corners=False)
        near, unit = self._depth(depth, device)
        order = asked[:, 0].argsort(stable=True)
        scale = asked.new_tensor([self.size[1] / width, self.size[0] / height])
        places = torch.cat([self._support(asked), (asked[order, 1:] + 0.5) * scale - 0.5])
        times = torch.cat([asked.new_zeros(SUPPORT**2), asked[order, 0]])
        grid = 2 * (places + 0.5) / asked.new_tensor([self.size[1], self.size[0]]) - 1
        at = F.grid_sample(near[times.long()], grid[:, None, None], align_corners=False, padding_mode="border")
        points, seen = self.network(video, near, torch.cat([times[:, None], places, at.flatten()[:, None]], 1))
        positions = torch.empty(len(frames), len(asked), 3, device=device)
        visible = torch.empty(len(frames), len(asked), dtype=torch.bool, device=device)
        positions[:, order], visible[:, order] = points[:, SUPPORT**2 :], seen[:, SUPPORT**2 :] > SEEN
        positions[..., :2] = (positions[..., :2] + 0.5) / scale - 0.5
        own, which = asked[:, 0].long(), torch.arange(len(asked), device=device)
        positions[own, which, :2] = asked[:, 1:]
        visible[own, which] = True
        xyz = positions.cpu().numpy()
        return PointTracks(xyz[..., :2], visible.cpu().numpy(), xyz[..., 2] * np.float32(unit))

    def _depth(self, depth: NDArray[np.float32], device: torch.device) -> tuple[Tensor, float]:
        """Depth ``[T, 1, *size]`` in units of its median, and that; what isn't known lies farthest."""
        values = np.asarray(depth, np.float32)
        known = np.isfinite(values) & (values > 0)
        if not known.any():
            raise InputError("no depth is known in any frame, so points can't be followed in 3-D; track them in 2-D.")
        unit = float(np.median(values[known]))
        filled = np.where(known, values, values[known].max()) / unit
        return F.interpolate(torch.from_numpy(filled).to(device)[:, None], self.size, mode="nearest").clamp(
            min=0.011
        ), unit

    def _support(self, like: Tensor) -> Tensor:
        """A grid of pixels ``[SUPPORT^2, 2]`` over the picture, a little inside of it."""
        edge = self.size[1] // 64
        x = torch.linspace(edge, self.size[1] - edge, SUPPORT, device=like.device)
        y = torch.linspace(edge, self.size[0] - edge, SUPPORT, device=like.device)
        return torch.cartesian_prod(y, x).flip(-1).clamp(max=like.new_tensor([self.size[1] - 1.0, self.size[0] - 1.0]))
