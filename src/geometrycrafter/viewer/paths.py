"""Ways that a camera flies through a scene: a swing about the clip's own camera, that camera's way, or between keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.errors import InputError, reason
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene
from geometrycrafter.viewer.clouds import Clouds

TILT = 0.35
"""Of the swing's angle to the sides, that it goes up and down by."""


@dataclass(frozen=True)
class Eye:
    """A camera that looks at points."""

    pose: np.ndarray
    """``[4, 4]`` camera to world; x right, y down, z forward."""
    height: float
    """What it sees, top to bottom, as the tangent of the half angle."""


Way = Callable[[float, int], Eye]
"""From the share of the way that is behind, in [0, 1], and the frame that is shown."""


def own_eye(clouds: Clouds, t: int) -> Eye:
    """The clip's camera at a frame, or at the nearest whose pose is known."""
    order = sorted(range(len(clouds.scene)), key=lambda i: (clouds.shots[i] != clouds.shots[t], abs(i - t)))
    pose = next((pose for i in order if (pose := clouds.pose(i)) is not None), np.eye(4))
    return Eye(pose, _height(clouds.scene, t))


def _height(scene: Scene, t: int) -> float:
    return float(scene.depth.shape[1] / 2 / np.asarray(scene.intrinsics[t], np.float64)[1, 1])


def own_way(clouds: Clouds) -> Way:
    """The way of the clip's own camera."""
    return lambda share, t: own_eye(clouds, t)


def orbit(clouds: Clouds, degrees: float = 25.0) -> Way:
    """A swing about what is in the middle of the clip's own view.

    Args:
        clouds: of the scene.
        degrees: to each side; from 180 on once around.
    """
    middles: dict[int, float] = {}

    def way(share: float, t: int) -> Eye:
        shot = clouds.shots[t]
        if shot not in middles:
            middles[shot] = clouds.middle(clouds.scene.shots[shot][0])
        own, middle = own_eye(clouds, t), middles[shot]
        turn = 2 * np.pi * share
        if degrees >= 180:
            yaw, pitch = turn, 0.0
        else:
            yaw, pitch = np.radians(degrees) * np.sin(turn), np.radians(degrees) * TILT * (1 - np.cos(turn)) / 2
        return Eye(own.pose @ _about(np.array([0, 0, middle]), float(yaw), float(pitch)), own.height)

    return way


def _about(centre: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """The motion ``[4, 4]`` of a camera that turns about a point ``[3]`` of its own axes: to the left, then up."""
    angles = torch.tensor([yaw, -pitch], dtype=torch.float64)
    turn = (rigid.rotation_about("y", angles[0]) @ rigid.rotation_about("x", angles[1])).numpy()
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turn, centre - turn @ centre
    return out


def between(keys: Sequence[Eye]) -> Way:
    """Smoothly from each key to the next; through all places (Catmull-Rom), by the shorter turns.

    Args:
        keys: one or more.
    """
    places = np.stack([key.pose[:3, 3] for key in keys])
    turns = rigid.quaternion_of_rotation(torch.from_numpy(np.stack([key.pose[:3, :3] for key in keys]))).numpy()
    heights = np.array([key.height for key in keys])

    def way(share: float, t: int) -> Eye:
        at = min(max(share, 0.0), 1.0) * (len(keys) - 1)
        first = min(int(at), max(len(keys) - 2, 0))
        second, s = min(first + 1, len(keys) - 1), at - first
        before, after = max(first - 1, 0), min(second + 1, len(keys) - 1)
        a, b, c, d = (places[i] for i in (before, first, second, after))
        place = b + 0.5 * s * (c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a)))
        pose = np.eye(4)
        turn = torch.from_numpy(_slerp(turns[first], turns[second], s))
        pose[:3, :3], pose[:3, 3] = rigid.rotation_of_quaternion(turn).numpy(), place
        return Eye(pose, float(heights[first] ** (1 - s) * heights[second] ** s))

    return way


def _slerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """A quaternion ``[4]`` between two ``[4]``."""
    cosine = float(first @ second)
    second, cosine = (-second, -cosine) if cosine < 0 else (second, cosine)
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        return first + share * (second - first)
    return np.asarray((np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle))


def keys_as_json(keys: Sequence[Eye]) -> str:
    """Keys as text, which :func:`read_keys` takes."""
    rows = [{"pose": key.pose.tolist(), "fov": float(np.degrees(2 * np.arctan(key.height)))} for key in keys]
    return json.dumps({"keys": rows}, indent=1) + "\n"


def read_keys(path: Path) -> list[Eye]:
    """Keys from a file: ``{"keys": [{"pose": 4 rows of 4, camera to world, "fov": degrees top to bottom}, ...]}``.

    Raises:
        InputError: where the file can't be read or says something else.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        keys = [(np.array(key["pose"], np.float64), float(key["fov"])) for key in found["keys"]]
    except OSError as error:
        raise InputError(
            f"{path}: the key cameras can't be read ({reason(error)}); give orbit, clip, or a file of the viewer's."
        ) from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: these are no key cameras ({reason(error)}); save them from the viewer.") from error
    if not keys:
        raise InputError(f"{path}: there is no key camera; save some from the viewer.")
    for pose, fov in keys:
        if pose.shape != (4, 4) or not np.isfinite(pose).all() or bool(rigid.improper(torch.from_numpy(pose))):
            raise InputError(f"{path}: a key's pose is no rigid motion of 4 rows of 4; save them from the viewer.")
        if not 1 <= fov <= 170:
            raise InputError(f"{path}: a key sees {fov:g} degrees; give 1 to 170.")
    return [Eye(pose, float(np.tan(np.radians(fov) / 2))) for pose, fov in keys]
