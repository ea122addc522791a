"""Camera trajectories in files: TUM, COLMAP's images as text and binary, and this program's own scenes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.files import explained, natural, on_disk
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import open_scene

LARGEST = 1 << 28
"""Bytes of a file that is read."""
FOLDERS = (".", "sparse/0", "sparse", "0")
"""Where COLMAP's projects have their models."""
WANTED = "TUM's lines (time tx ty tz qx qy qz qw), KITTI's, COLMAP's images.txt or images.bin, a recording, or a scene"
NEAR = 0.02
"""Seconds that a pose may be away from its frame."""


def read_trajectory(path: str | Path, times: np.ndarray) -> np.ndarray:
    """Camera-to-world poses ``[T, 4, 4]`` float64, one for each frame.

    Args:
        path: a scene's folder; COLMAP's ``images.txt`` or ``images.bin``, or a folder with one, also in ``sparse/0``
            (frames in order of their names); a recording's folder with a 4x4 matrix a file, ``*.pose.txt``; lines of
            twelve numbers, as KITTI has them; or ``time tx ty tz qx qy qz qw`` as TUM's benchmark has them, of the
            frames' times or one for each frame.
        times: of the frames, seconds, ``[T]``.

    Raises:
        InputError: where the file is none of these, or has no pose for one of the frames.
    """
    place = on_disk(path)
    if place.is_dir() and (place / "zarr.json").is_file():
        scene = open_scene(place)
        poses, quality = scene.poses, scene.array("pose_quality")
        if poses is None:
            raise InputError(f"{place}: the scene has no poses; run 'geometrycrafter poses {place}' first.")
        unknown = [] if quality is None else np.flatnonzero(np.asarray(quality[:]) == 0).tolist()
        if unknown:
            raise InputError(
                f"{place}: the pose of frame {unknown[0]} is not known; give a scene or a file with all of them."
            )
        return _checked(place, np.asarray(poses, np.float64), len(times))
    if place.is_dir():
        files = (place / folder / name for folder in FOLDERS for name in ("images.bin", "images.txt"))
        place = next((file for file in files if file.is_file()), place)
    if place.is_dir() and (matrices := sorted(place.glob("*.pose.txt"), key=natural)):
        read = [_matrix(file, _bytes(file).decode(errors="replace").split()) for file in matrices]
        return _checked(place, np.stack(read), len(times))
    if not place.is_file():
        raise InputError(f"{path}: there is no file of poses; give {WANTED}.")
    data = _bytes(place)
    if place.suffix == ".bin":
        return _colmap(place, _binary_rows(place, data), len(times))
    lines = [line for line in data.decode(errors="replace").splitlines() if line[:1] != "#"]
    rows = [line.split() for line in lines if line.strip()]
    if rows and all(len(r) == 12 for r in rows):
        return _checked(place, np.stack([_matrix(place, r) for r in rows]), len(times))
    if rows and len(rows[0]) >= 10:
        return _colmap(place, _text_rows(place, lines), len(times))
    return _tum(place, rows, np.asarray(times, np.float64))


def _bytes(place: Path) -> bytes:
    with explained(place, "check the file"):
        if place.stat().st_size > LARGEST:
            raise InputError(f"{place}: the file is larger than poses are; give {WANTED}.")
        return place.read_bytes()


def _matrix(place: Path, fields: Sequence[str]) -> np.ndarray:
    """Camera-to-world from the rows of a matrix, 3x4 or 4x4."""
    values = _numbers(place, fields)
    if len(values) not in (12, 16):
        raise _foreign(place)
    pose = np.eye(4)
    pose[:3] = values[:12].reshape(3, 4)
    if not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=0.01) or np.linalg.det(pose[:3, :3]) < 0:
        raise InputError(f"{place}: this is no rotation and place of a camera; give {WANTED}.")
    return pose


def _numbers(place: Path, fields: Sequence[str | float]) -> np.ndarray:
    try:
        values = np.array([float(x) for x in fields])
    except ValueError as error:
        raise _foreign(place) from error
    if not np.isfinite(values).all():
        raise InputError(f"{place}: there are poses that are not finite; give {WANTED}.")
    return values


def _foreign(place: Path) -> InputError:
    return InputError(f"{place}: this is no file of poses; give {WANTED}.")


def _tum(place: Path, rows: list[list[str]], times: np.ndarray) -> np.ndarray:
    if not rows or any(len(r) != 8 for r in rows):
        raise _foreign(place)
    values = np.stack([_numbers(place, r) for r in rows])
    poses = _motions(place, values[:, [7, 4, 5, 6]], values[:, 1:4])
    own = values[:, 0] - values[0, 0]
    for shifted in (values[:, 0], own, own + times[0]):
        nearest = np.abs(shifted[None] - times[:, None]).argmin(1)
        if np.abs(shifted[nearest] - times).max() < NEAR:
            return poses[nearest]
    return _checked(place, poses, len(times))


def _text_rows(place: Path, lines: list[str]) -> list[tuple[str, np.ndarray]]:
    """Each image is a line of its pose, and a line of its points, which may be empty."""
    first = next(i for i, line in enumerate(lines) if line.strip())
    rows = [line.split(maxsplit=9) for line in lines[first::2] if line.strip()]
    if any(len(r) != 10 for r in rows):
        raise _foreign(place)
    return [(r[9], _numbers(place, r[1:8])) for r in rows]


def _binary_rows(place: Path, data: bytes) -> list[tuple[str, np.ndarray]]:
    """Each image is its number, its pose, its camera's number, its name, and points of 24 bytes."""
    rows, at = [], 8
    try:
        (count,) = struct.unpack_from("<Q", data)
        for _ in range(count):
            _, *pose, _ = struct.unpack_from("<i7di", data, at)
            end = data.index(b"\0", at + 64)
            rows.append((data[at + 64 : end].decode(), _numbers(place, pose)))
            (points,) = struct.unpack_from("<Q", data, end + 1)
            at = end + 9 + 24 * points
    except (struct.error, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise _foreign(place) from error
    if at != len(data) or not rows:
        raise _foreign(place)
    return rows


def _colmap(place: Path, rows: list[tuple[str, np.ndarray]], count: int) -> np.ndarray:
    """World-to-camera quaternions (w first) and translations by the images' names."""
    values = np.stack([values for _, values in sorted(rows, key=lambda row: natural(row[0]))])
    to_camera = torch.from_numpy(_motions(place, values[:, :4], values[:, 4:]))
    return _checked(place, rigid.inverse(to_camera).numpy(), count)


def _motions(place: Path, quaternion: np.ndarray, translation: np.ndarray) -> np.ndarray:
    if (np.linalg.norm(quaternion, axis=1) < 0.5).any():
        raise _foreign(place)
    return rigid.motion(
        rigid.rotation_of_quaternion(torch.from_numpy(quaternion)), torch.from_numpy(translation)
    ).numpy()


def _checked(place: Path, poses: np.ndarray, count: int) -> np.ndarray:
    if len(poses) != count:
        raise InputError(f"{place}: there are {len(poses)} poses for {count} frames; give one for each.")
    return poses
