"""Distances between points that were clicked, and a known one as the unit of the scene."""

from __future__ import annotations

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.poses.stored import rescale
from geometrycrafter.scene import Scene, open_scene
from geometrycrafter.viewer.clouds import Points

NEAR = 0.004
"""Tangent of how far beside a click a point may be, at least."""


def clicked(points: Points, origin: np.ndarray, direction: np.ndarray) -> np.ndarray | None:
    """The point ``[3]`` that is seen along a ray: of those that cover it the nearest; None: none does.

    Args:
        points: that are drawn.
        origin: ``[3]`` where the ray begins.
        direction: ``[3]`` of any length.
    """
    if not len(points):
        return None
    ray = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    off = points.places.astype(np.float64) - np.asarray(origin, np.float64)
    along = off @ ray
    beside = np.sqrt(np.maximum((off * off).sum(1) - along * along, 0))
    covers = (along > 0) & (beside < np.maximum(points.spacing, NEAR * along))
    if not covers.any():
        return None
    return points.places[np.argmin(np.where(covers, along, np.inf))].astype(np.float64)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """How far two points ``[3]`` are from each other."""
    return float(np.linalg.norm(np.asarray(first) - np.asarray(second)))


def told(distance: float, unit: str | None) -> str:
    """A distance in words."""
    if unit != "m":
        return f"{distance:.4g} of the scene's own unit"
    return f"{distance * 100:.3g} cm" if distance < 1 else f"{distance:.4g} m"


def set_unit(scene: Scene, distance: float, metres: float) -> Scene:
    """Keep a scene in metres, by a distance that is known.

    Args:
        scene: on disk.
        distance: as measured in it.
        metres: that it is.

    Returns:
        the scene, opened anew.

    Raises:
        InputError: where the distance is none, the scene has several shots, or it can't be written.
    """
    if not (np.isfinite(distance) and distance > 0 and np.isfinite(metres) and metres > 0):
        raise InputError(
            f"{metres:g} m for a distance of {distance:g}: click two places and give what is between them."
        )
    rescale(scene, metres / distance)
    return scene if scene.path is None else open_scene(scene.path)
