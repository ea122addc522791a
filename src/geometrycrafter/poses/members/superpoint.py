"""SuperPoint (DeTone et al., CVPRW 2018) as a detector, from a local folder through ``transformers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from geometrycrafter.poses.members.local_folder import load_folder
from geometrycrafter.poses.protocol import spread

LONG_SIDE = 640
"""Larger pictures are made as small as those that the network was trained on."""
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


def load_superpoint(folder: Path, device: torch.device) -> Any:
    """SuperPoint from a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        InputError: where transformers is not installed, or the folder is missing, damaged or another model's.
    """
    return load_folder("SuperPointForKeypointDetection", folder, device)


class SuperPointKeypoints:
    """Keypoints of the network, the best of every part of the picture first.

    Args:
        network: with its weights loaded.
    """

    def __init__(self, network: Any):
        self.network = network

    @torch.no_grad()
    def __call__(self, frame: NDArray[np.uint8], mask: NDArray[np.bool_] | None, count: int) -> NDArray[np.float32]:
        """At most ``count`` pixels ``[N, 2]`` of a frame ``[H, W, 3]``, where the mask ``[H, W]`` lets them lie."""
        height, width = frame.shape[:2]
        device = next(self.network.parameters()).device
        grey = (torch.from_numpy(frame).to(device).movedim(-1, 0).float() / 255 * LUMA.to(device)).sum(0)
        scale = min(LONG_SIDE / max(height, width), 1.0)
        # The network sees cells of 8 pixels; what is left over of the last ones is added, not lost.
        size = tuple(max(int(np.ceil(n * scale / 8)) * 8, 16) for n in (height, width))
        small = F.interpolate(grey[None, None], size, mode="bilinear", align_corners=False, antialias=True)
        out = self.network(small.expand(-1, 3, -1, -1))
        kept = out.mask[0] > 0
        # Relative to the picture's sides, counted from the first pixel's centre.
        at = out.keypoints[0][kept] * torch.tensor([size[1], size[0]], device=device)
        back = torch.tensor([width / size[1], height / size[0]], device=device)
        points = ((at + 0.5) * back - 0.5).cpu().numpy().clip(0, [width - 1, height - 1]).astype(np.float32)
        scores = out.scores[0][kept].cpu().numpy()
        if mask is not None:
            x, y = points.round().astype(np.intp).T
            points, scores = points[mask[y, x]], scores[mask[y, x]]
        chosen: NDArray[np.float32] = points[spread(points, scores, (height, width), count)]
        return chosen
