"""Camera trajectories in files: TUM, KITTI, COLMAP's images as text and binary, nerfstudio, and scenes."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.files import explained, natural, on_disk
from geometrycrafter.geometry import rigid
from geometrycrafter.poses.pose_matching import Frames, Trajectory
from geometrycrafter.scene import open_scene

LARGEST = 1 << 28
"""Bytes of a file that is read."""
FOLDERS = (".", "sparse/0", "sparse", "0")
"""Where COLMAP's projects have their models."""
WANTED = (
    "TUM's lines (time tx ty tz qx qy qz qw), KITTI's, COLMAP's images.txt or images.bin, nerfstudio's "
    "transforms.json, a recording, or a scene"
)
TRANSFORMS = "transforms.json"
MARK = "geometrycrafter.json"
"""In a folder that an export of this program made: of how many frames it is."""
FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes x right, y down, z forward -> x right, y up, z backward."""


def read_trajectory(path: str | Path, times: np.ndarray) -> np.ndarray:
    """Camera-to-world poses ``[T, 4, 4]`` float64, one for each frame.

    Args:
        path: as :func:`read_poses` takes it; of the frames' times, or with a pose for each frame.
        times: of the frames, seconds, ``[T]``.

    Raises:
        InputError: where the file is none of these, or has no pose for one of the frames.
    """
    read = read_poses(path)
    poses = read.at(Frames(np.asarray(times, np.float64)))
    unknown = np.flatnonzero(np.isnan(poses).any((1, 2)))
    if len(unknown):
        raise InputError(
            f"{read.place}: the pose of frame {unknown[0]} is not known; give a scene or a file with all of them."
        )
    return poses


def read_poses(path: str | Path) -> Trajectory:
    """Poses of a file, which :meth:`Trajectory.at` lays on frames.

    Args:
        path: a scene's folder; COLMAP's ``images.txt`` or ``images.bin``, or a folder with one, also in ``sparse/0``;
            nerfstudio's ``transforms.json``, or a folder with it; a recording's folder with a 4x4 matrix a file,
            ``*.pose.txt``; lines of twelve numbers, as KITTI has them; or ``time tx ty tz qx qy qz qw`` as TUM's
            benchmark has them.

    Raises:
        InputError: where the file is none of these.
    """
    place = on_disk(path)
    if place.is_dir() and (place / "zarr.json").is_file():
        return _of_scene(place)
    folder = place
    if place.is_dir():
        files = [place / folder / name for folder in FOLDERS for name in ("images.bin", "images.txt")]
        place = next((file for file in [*files, place / TRANSFORMS] if file.is_file()), place)
    if place.is_dir() and (matrices := sorted(place.glob("*.pose.txt"), key=natural)):
        fields = {file.name: _bytes(file).decode(errors="replace").split() for file in matrices}
        read = {name: _matrix(place / name, row) for name, row in fields.items() if not _lost(row)}
        if not read:
            raise InputError(f"{place}: no frame's pose is finite; give {WANTED}.")
        return Trajectory(
            place, np.stack(list(read.values())), names=list(read), pictures=_pictures(place, "*.color.*")
        )
    if not place.is_file():
        raise InputError(f"{path}: there is no file of poses; give {WANTED}.")
    data = _bytes(place)
    if place.name == TRANSFORMS:
        return _of_images(place, folder, _nerfstudio_rows(place, data))
    if place.suffix == ".bin":
        return _of_images(place, folder, _colmap(place, _binary_rows(place, data)))
    lines = [line for line in data.decode("utf-8-sig", "replace").splitlines() if line.lstrip()[:1] != "#"]
    rows = [line.split() for line in lines if line.strip()]
    colmap = place.name == "images.txt"
    if rows and all(len(r) == 12 for r in rows) and not colmap:
        return Trajectory(place, np.stack([_matrix(place, r) for r in rows]))
    if rows and (len(rows[0]) >= 10 or colmap):
        return _of_images(place, folder, _colmap(place, _text_rows(place, lines)))
    return _tum(place, rows)


def _of_scene(place: Path) -> Trajectory:
    scene = open_scene(place)
    poses, quality = scene.poses, scene.array("pose_quality")
    if poses is None:
        raise InputError(f"{place}: the scene has no poses; run 'geometrycrafter poses {place}' first.")
    known = None if quality is None else np.asarray(quality[:]) > 0
    return Trajectory(place, np.asarray(poses, np.float64), times=scene.times, known=known)


def _of_images(place: Path, folder: Path, rows: list[tuple[str, np.ndarray]]) -> Trajectory:
    """Poses by names of images, with what is beside them in their project."""
    root = folder if folder.is_dir() else place.parent
    above = [root, *root.parents][:3] if root.name in ("0", "sparse") else [root]
    mark = next((where / MARK for where in above if (where / MARK).is_file()), None)
    exported = None
    if mark is not None:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            exported = int(json.loads(_bytes(mark))["frames"])
    pictures = next((found for where in above if (found := _pictures(where / "images", "*"))), ())
    names, poses = [name for name, _ in rows], np.stack([pose for _, pose in rows])
    return Trajectory(place, poses, names=names, pictures=pictures, exported=exported)


def _lost(fields: Sequence[str]) -> bool:
    """Whether a recording says that its tracking was lost: ScanNet's matrices are infinite there, others' NaN."""
    return any(field.lower().lstrip("+-") in ("inf", "nan") for field in fields)


def _pictures(folder: Path, pattern: str) -> list[str]:
    return [p.name for p in sorted(folder.glob(pattern), key=natural) if p.is_file()] if folder.is_dir() else []


def _nerfstudio_rows(place: Path, data: bytes) -> list[tuple[str, np.ndarray]]:
    """Cameras that look along -z with y up, by the files of their pictures."""
    try:
        frames = json.loads(data)["frames"]
        rows = [(str(f["file_path"]), np.asarray(f["transform_matrix"], np.float64).ravel()) for f in frames]
    except (ValueError, TypeError, KeyError) as error:
        raise _foreign(place) from error
    if not rows:
        raise _foreign(place)
    return [(name, _matrix(place, values.tolist()) @ FROM_OPENGL) for name, values in rows]


def _bytes(place: Path) -> bytes:
    with explained(place, "check the file"):
        if place.stat().st_size > LARGEST:
            raise InputError(f"{place}: the file is larger than poses are; give {WANTED}.")
        return place.read_bytes()


def _matrix(place: Path, fields: Sequence[str | float]) -> np.ndarray:
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


def _tum(place: Path, rows: list[list[str]]) -> Trajectory:
    if not rows or any(len(r) != 8 for r in rows):
        raise _foreign(place)
    values = np.stack([_numbers(place, r) for r in rows])
    return Trajectory(place, _motions(place, values[:, [7, 4, 5, 6]], values[:, 1:4]), times=values[:, 0])


def _text_rows(place: Path, lines: list[str]) -> list[tuple[str, np.ndarray]]:
    """Each image is a line of its pose, and a line of its points, which may be empty."""
    first = next(i for i, line in enumerate(lines) if line.strip())
    rows = [line.split(maxsplit=9) for line in lines[first::2] if line.strip()]
    if any(len(r) != 10 or not r[0].isdigit() for r in rows):
        raise _foreign(place)
    ends = [line.rsplit(maxsplit=1)[-1] for line in lines[first + 1 :: 2] if line.strip()]
    if not all(end.lstrip("-").isdigit() for end in ends):  # of a point's number, where an image's is a name
        raise InputError(
            f"{place}: an image's line isn't followed by that of its points; leave that empty, or give all."
        )
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


def _colmap(place: Path, rows: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """World-to-camera quaternions (w first) and translations, turned about."""
    values = np.stack([values for _, values in rows])
    to_camera = torch.from_numpy(_motions(place, values[:, :4], values[:, 4:]))
    return list(zip([name for name, _ in rows], rigid.inverse(to_camera).numpy(), strict=True))


def _motions(place: Path, quaternion: np.ndarray, translation: np.ndarray) -> np.ndarray:
    if (np.linalg.norm(quaternion, axis=1) < 0.5).any():
        raise _foreign(place)
    return rigid.motion(
        rigid.rotation_of_quaternion(torch.from_numpy(quaternion)), torch.from_numpy(translation)
    ).numpy()
