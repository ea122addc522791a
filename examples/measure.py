"""How far apart two pixels of a frame are, in the scene's unit, and in metres once one distance is known.

    python examples/measure.py SCENE.gc FRAME X1,Y1 X2,Y2 [METRES]

METRES is what a tape says of that distance: the scale that it gives is printed, and holds for the whole shot.
"""

import sys

import numpy as np

import geometrycrafter as gc

if len(sys.argv) < 5:
    sys.exit("usage: python examples/measure.py SCENE.gc FRAME X1,Y1 X2,Y2 [METRES]")
scene, frame = gc.open(sys.argv[1]), int(sys.argv[2])
first, second = (tuple(int(number) for number in pixel.split(",")) for pixel in sys.argv[3:5])

points, mask = scene.points[frame], scene.mask[frame]
for x, y in (first, second):
    if not mask[y, x]:
        sys.exit(f"pixel {x},{y} of frame {frame} has no depth (sky, or nothing that the model is sure of)")

distance = float(np.linalg.norm(points[first[1], first[0]] - points[second[1], second[0]]))
print(f"distance: {distance:.4f} {scene.unit or 'of the clip: its scale is its own'}")
if len(sys.argv) > 5:
    print(f"metres in one unit: {float(sys.argv[5]) / distance:.4f}")
