"""Depth and cameras from elsewhere to nerfstudio and COLMAP: a world that two views of a moving camera see.

    python examples/known_cameras.py FOLDER

Writes FOLDER/nerfstudio (train on it with: ns-train splatfacto --data FOLDER/nerfstudio) and FOLDER/world.ply. Of a
video, 'geometrycrafter run VIDEO --poses' finds the cameras; 'geometrycrafter export SCENE nerfstudio' does the rest.
"""

import sys
from pathlib import Path

import numpy as np

import geometrycrafter as gc
from geometrycrafter.export import export

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
count, height, width = 6, 48, 64
camera = np.array([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])

# A wall three metres ahead with a painted pattern; the camera moves 10 cm to the right with each frame.
depth = np.full((count, height, width), 3.0)
y, x = np.mgrid[:height, :width]
pictures = np.empty((count, height, width, 3), np.uint8)
for t in range(count):
    across, down = (x - 31.5) / 60 * 3 + 0.1 * t, (y - 23.5) / 60 * 3
    pictures[t] = np.stack([np.sin(5 * across), np.sin(7 * down), np.cos(4 * across + down)], -1) * 90 + 128
scene = gc.Scene.from_depth(depth, depth > 0, camera, frames=pictures, fps=10)
poses = np.stack([np.eye(4)] * count)
poses[:, 0, 3] = 0.1 * np.arange(count)
scene.set_poses(poses)

print("nerfstudio:", export(scene, "nerfstudio", folder / "nerfstudio"))
print("world:", export(scene, "ply", folder / "world.ply", world=True))
points, _ = scene.cloud(count - 1, world=True)
print("the last frame sees the wall from", points[:, 0].min().round(2), "to", points[:, 0].max().round(2), "m")
