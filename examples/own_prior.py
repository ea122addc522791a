"""Any per-frame estimator as the prior, and a scene from any other depth.

    python examples/own_prior.py [VIDEO]

A prior is a callable from frames [N, 3, H, W] in [0, 1] to points [N, H, W, 3] and a mask [N, H, W]. This one believes
that what is higher in a picture is farther away; put your network in its place.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import geometrycrafter as gc


def floor(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    n, _, height, width = frames.shape
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, height), torch.linspace(-0.5, 0.5, width), indexing="ij")
    depth = (2 - 2 * y).expand(n, -1, -1)
    return torch.stack([x * depth, y * height / width * depth, depth], dim=-1), torch.ones_like(depth, dtype=torch.bool)


floor.identity = "floor, version 1"  # what tells a resumed run that the prior is the same

video = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("room.mp4")
scene = gc.estimate(video, prior=floor, size=(64, 64))
print(scene, "depth of the first frame by row:", np.round(np.median(scene.depth[0], axis=1)[::40], 2))

# The same without a network of this package at all: depth from anywhere is a scene, and can be exported and viewed.
depth = np.linspace(4, 1, 48)[None, :, None] * np.ones((3, 1, 64))
other = gc.Scene.from_depth(depth, depth > 0, np.array([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]), fps=10)
print(other, "points of its last row:", other.points[0][-1, :2])
