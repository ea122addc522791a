"""Frames and point maps of a scene in a PyTorch data loader: a small network learns the scene's depth.

    python examples/train_on_scene.py SCENE.gc [STEPS]

Works with several workers: each opens the scene for itself, and reads only the frames that it gives.
"""

import itertools
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

import geometrycrafter as gc

steps = int(sys.argv[2]) if len(sys.argv) > 2 else 30
torch.manual_seed(0)
loader = DataLoader(gc.SceneFrames(sys.argv[1]), batch_size=2, shuffle=True)
network = nn.Sequential(
    nn.Conv2d(3, 16, 5, 2, 2), nn.SiLU(), nn.Conv2d(16, 16, 5, 2, 2), nn.SiLU(), nn.Conv2d(16, 1, 1)
)
optimizer = torch.optim.Adam(network.parameters(), 3e-3)

for step, batch in zip(range(steps), itertools.chain.from_iterable(itertools.repeat(loader)), strict=False):
    predicted = nn.functional.interpolate(network(batch["image"]), batch["depth"].shape[1:], mode="bilinear")[:, 0]
    error = (predicted - batch["depth"].clamp(min=1e-6).log()).abs()
    loss = error[batch["mask"]].mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step in (0, steps - 1):
        print(f"step {step}: mean error of log depth {loss.item():.3f}")
