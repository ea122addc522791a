"""Colours of a frame's points: its own, or what is known of each."""

from __future__ import annotations

import numpy as np

from geometrycrafter.export.maps import normals
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import disparity_picture
from geometrycrafter.viewer.look import Colouring

UNKNOWN = np.array([128, 128, 128], np.uint8)
LOW, MIDDLE, HIGH = np.array([202, 60, 60]), np.array([235, 200, 80]), np.array([60, 170, 110])
"""Of confidence, from none to full."""
STILL, MOVES = 0.45, np.array([255, 70, 40])
"""How bright what stands still is, and the colour of what moves."""


def available(scene: Scene) -> list[Colouring]:
    """The colourings that a scene has the data for."""
    found: list[Colouring] = ["picture", "depth", "normal"]
    if scene.array("confidence") is not None:
        found.append("confidence")
    if scene.array("moving") is not None:
        found.append("motion")
    return found


def coloured(
    scene: Scene,
    t: int,
    how: Colouring,
    picture: np.ndarray,
    points: np.ndarray,
    valid: np.ndarray,
    bounds: tuple[float, float],
) -> np.ndarray:
    """Colours ``[H, W, 3]`` uint8 of a frame's points.

    Args:
        scene: whose frame.
        t: which.
        how: what colours tell; of what the scene hasn't, the picture is shown.
        picture: ``[H, W, 3]`` uint8.
        points: ``[H, W, 3]`` in the camera's axes.
        valid: ``[H, W]`` bool.
        bounds: inverse depths of the far and the near end of the ramp.
    """
    if how == "depth":
        return disparity_picture(points[..., 2], valid, *bounds)
    if how == "normal":
        found = normals(points, valid)
        tinted = (found * np.array([0.5, -0.5, -0.5]) + 0.5) * 255  # right red, up green, towards the camera blue
        return np.where((found != 0).any(-1, keepdims=True), tinted.round(), UNKNOWN).astype(np.uint8)
    if how == "confidence" and (stored := scene.array("confidence")) is not None:
        return confidence_colours(np.asarray(stored[t], np.float32))
    if how == "motion" and (moving := scene.array("moving")) is not None:
        grey = picture.mean(-1, keepdims=True) * STILL
        tinted = np.asarray(moving[t], bool)[..., None] * (0.5 * MOVES + 0.5 * picture - grey) + grey
        return np.broadcast_to(tinted, picture.shape).round().astype(np.uint8)
    return picture


def confidence_colours(values: np.ndarray) -> np.ndarray:
    """Red to green, ``[H, W, 3]`` uint8, of confidence ``[H, W]`` in [0, 1]; grey where it is no number."""
    known = np.isfinite(values)
    share = np.where(known, values, 0).clip(0, 1)[..., None]
    low = LOW + (MIDDLE - LOW) * share * 2
    high = MIDDLE + (HIGH - MIDDLE) * (share * 2 - 1)
    return np.where(known[..., None], np.where(share < 0.5, low, high).round(), UNKNOWN).astype(np.uint8)
