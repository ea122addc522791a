"""A video in, a scene and a coloured point cloud out.

python examples/estimate.py [VIDEO] [OUTPUT.gc]
"""

import sys
from pathlib import Path

import geometrycrafter as gc
from geometrycrafter.export import export

video = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("room.mp4")
output = Path(sys.argv[2] if len(sys.argv) > 2 else "room.gc")

scene = gc.estimate(video, output, size=(64, 128), overwrite=True)  # without a size: the model's own, finer and slower
print(scene)
print("depth of frame 0, nearest and farthest:", scene.depth[0].min(), scene.depth[0].max())
print("focal length, pixels:", scene.intrinsics[0, 0, 0])
print("cloud:", export(scene, "ply", output.with_suffix(".ply"), frame=0))
