"""Temporally consistent point maps from open-world videos.

>>> import geometrycrafter as gc
>>> estimator = gc.load("tiny")
>>> scene = estimator("video.mp4")
>>> scene.points[0]  # [H, W, 3]
"""

from geometrycrafter.errors import InputError
from geometrycrafter.inference.loading import load
from geometrycrafter.scene.store import Scene
from geometrycrafter.scene.store import open_scene as open

__all__ = ["InputError", "Scene", "load", "open"]
