"""How data sets write geometry down, and how it is meant here: OpenCV's axes, planar depth, integer pixel centres."""

from __future__ import annotations

import numpy as np
import torch

from geometrycrafter.geometry import rigid

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Multiplied on the right of a camera-to-world matrix whose camera looks along -z with y up: OpenCV's axes."""
NED = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""The same for a camera whose x looks forward, y right and z down."""


def pinhole(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Intrinsics ``[3, 3]``, pixels, in whatever way the principal point is counted."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def from_corner(intrinsics: np.ndarray) -> np.ndarray:
    """Intrinsics ``[3, 3]`` for integer pixel centres, from those whose principal point is counted from the corner.

    That is how renderers count: the middle of a picture is at half its width, while the pixels' centres, 0 to
    width - 1, have theirs half a pixel before.
    """
    moved = intrinsics.astype(np.float64)
    moved[:2, 2] -= 0.5
    return moved


def of_renderer(intrinsics: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Intrinsics ``[3, 3]`` for integer pixel centres, from a renderer's file that does not say how it counts.

    A principal point at exactly half the width and height ``shape`` is the middle of the picture, counted from the
    corner; any other is taken as it is.
    """
    middle = np.array(shape[1::-1]) / 2
    return from_corner(intrinsics) if np.abs(intrinsics[:2, 2] - middle).max() < 1e-3 else intrinsics


def pinhole_of_field(shape: tuple[int, ...], tan_x: float, tan_y: float | None = None) -> np.ndarray:
    """Intrinsics ``[3, 3]`` of a camera that looks through the middle of the picture.

    Args:
        shape: height and width of the picture.
        tan_x: tangent of half the horizontal field of view.
        tan_y: of the vertical one; None: pixels are square.
    """
    height, width = shape
    fx = width / 2 / tan_x
    fy = fx if tan_y is None else height / 2 / tan_y
    return from_corner(pinhole(fx, fy, width / 2, height / 2))


def camera_and_turn(projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A camera of any orientation, taken apart: intrinsics ``[3, 3]``, with skew, and rotation ``[3, 3]``.

    Args:
        projection: ``[3, 3]``, from directions to pixels, of any length: intrinsics times rotation.

    Raises:
        ValueError: where it has no inverse.
    """
    if not np.isfinite(projection).all() or abs(np.linalg.det(projection)) < 1e-12:
        raise ValueError("a projection without an inverse")
    # An RQ decomposition is the QR decomposition of the transpose with both its axes turned round.
    q, r = np.linalg.qr(projection[::-1].T)
    intrinsics, rotation = r.T[::-1, ::-1], q.T[::-1]
    signs = np.sign(np.diag(intrinsics))
    intrinsics, rotation = intrinsics * signs, signs[:, None] * rotation
    return intrinsics / intrinsics[2, 2], rotation * np.sign(np.linalg.det(rotation))


def planar_depth(distance: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Depth along the optical axis from the distance to the optical centre, both ``[H, W]``."""
    height, width = distance.shape
    x = (np.arange(width, dtype=np.float32) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(height, dtype=np.float32) - intrinsics[1, 2]) / intrinsics[1, 1]
    length = np.sqrt(1 + (x * x)[None].astype(np.float32) + (y * y)[:, None].astype(np.float32))
    return (distance / length).astype(np.float32)


def depth_within(depth: np.ndarray, low: float = 1e-5, high: float = np.inf) -> np.ndarray:
    """Depth ``[H, W]`` float32 with zero wherever it is not finite or not between the bounds."""
    with np.errstate(invalid="ignore"):
        inside = depth > low
        inside &= depth < high
    return np.where(inside, depth, 0).astype(np.float32, copy=False)


def depth_of_disparity(disparity: np.ndarray, focal: float, baseline: float) -> np.ndarray:
    """Depth ``[H, W]`` that a stereo pair's disparity stands for; zero where that is not positive.

    Args:
        disparity: ``[H, W]``, pixels.
        focal: length, pixels.
        baseline: between the two cameras; depth has its unit.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(disparity > 0, focal * baseline / disparity, 0)


def inverse_pose(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a rigid motion ``[4, 4]``."""
    return rigid.inverse(torch.tensor(matrix, dtype=torch.float64)).numpy()


def right_handed(to_world: np.ndarray) -> np.ndarray:
    """A camera-to-world pose ``[4, 4]`` in a world that is right-handed, as the camera's axes are.

    A rotation with determinant -1 leads into a left-handed world; that one is mirrored, its second axis turned round.
    Motions between cameras are the same in both.
    """
    if np.linalg.det(to_world[:3, :3]) > 0:
        return to_world
    return np.diag([1.0, -1.0, 1.0, 1.0]) @ to_world


def rotation_of_quaternion(w: float, x: float, y: float, z: float) -> np.ndarray:
    """Rotation ``[3, 3]`` of a quaternion of any length."""
    return rigid.rotation_of_quaternion(torch.tensor([w, x, y, z], dtype=torch.float64)).numpy()


def pose_of(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """``[4, 4]`` from a rotation ``[3, 3]`` and a position ``[3]``."""
    return rigid.motion(*(torch.tensor(x, dtype=torch.float64) for x in (rotation, position))).numpy()
