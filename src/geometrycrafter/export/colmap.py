"""A folder that COLMAP opens: ``images/``; in ``sparse/0`` cameras, poses, the static world, and who sees what of it.

COLMAP's pixels have their centres at halves, this program's at integers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
import torch

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import ColmapOptions
from geometrycrafter.export.pictures import named, write_pictures
from geometrycrafter.export.seen_tracks import SeenTracks
from geometrycrafter.export.world import Cloud, World, told_unit
from geometrycrafter.geometry import rigid
from geometrycrafter.scene import Scene

PINHOLE = 1
"""COLMAP's number of its camera model with fx, fy, cx, cy."""
NEARNESS = 0.05
"""A frame sees a point where its own depth is no farther from it than this, relative."""
BLOCK = 1 << 22
"""Observations that are sorted at a time."""
SEEN = np.dtype([("xy", "<f8", 2), ("point", "<u8")])


def write_colmap(scene: Scene, path: Path, options: ColmapOptions | None = None) -> Path:
    """Write a COLMAP project; memory holds a frame and the points of the world.

    Points and observations are those that the poses were found from, with the errors that they have. Where the scene
    keeps none, or the static world is asked for, observations are where a point falls in every frame whose own depth
    sees it there, so they err by nothing: they say who sees what, and have been matched by depth alone.

    Args:
        scene: with poses.
        path: of the folder.
        options: how many points, text or binary, in which pictures and colours.

    Raises:
        InputError: where the scene has no poses.
    """
    options = options or ColmapOptions()
    world = World(scene, options.shot)
    sparse = path / "sparse" / "0"
    sparse.mkdir(parents=True)
    pictures = write_pictures(world, path, Colours(scene, options), options.images)
    tracks = _tracks_of(world, options)
    points = tracks.coloured(pictures) if tracks else _Cloud(world, world.fuse(pictures, options.points))
    names = [named(t, options.images) for t in world.frames.tolist()]
    kinds = ("text", "binary") if options.model == "both" else (options.model,)
    cameras = Cameras(scene, world.frames)
    log = path / ".observations"
    unit = told_unit(scene)
    for kind in kinds:
        _write_cameras(sparse, kind, cameras)
    writers = [_TextImages(sparse, unit) if kind == "text" else _BinaryImages(sparse, len(names)) for kind in kinds]
    lengths = []
    with open(log, "wb") as file:
        for number, (t, name) in enumerate(zip(world.frames, names)):
            which, xy = points.seen(int(t))
            file.write(which.astype("<u4").tobytes())
            lengths.append(len(which))
            pose = _pose(world.poses[t])
            for writer in writers:
                writer.add(number + 1, pose, cameras.of_frame[number], name, xy + 0.5, which + 1)
    for writer in writers:
        writer.close()
    _write_points(sparse, kinds, points, log, lengths)
    log.unlink()
    return path


class _Cloud:
    """The static world, seen by the frames whose depth it agrees with."""

    def __init__(self, world: World, cloud: Cloud):
        self.points, self.rgb, self.errors = cloud.points, cloud.rgb, np.zeros(len(cloud))
        self._world = world

    def seen(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers ``[n]`` of the points that a frame sees, and the pixels ``[n, 2]``."""
        return self._world.seen(t, self.points, NEARNESS)


def _tracks_of(world: World, options: ColmapOptions) -> SeenTracks | None:
    """What poses were found from, where it is there and wanted.

    Raises:
        InputError: where it is wanted and not there.
    """
    found = None if options.observations == "cloud" else SeenTracks.of(world)
    if found is None and options.observations == "tracks":
        place = world.scene.place
        raise InputError(f"{place}: the scene keeps no tracks; run 'geometrycrafter poses {place}' again.")
    return found


class Cameras:
    """The cameras of some frames ``[N]``: one where all are alike, else one a frame."""

    def __init__(self, scene: Scene, frames: np.ndarray):
        self.height, self.width = scene.depth.shape[1:]
        k = np.asarray(scene.intrinsics, np.float64)[frames]
        rows = np.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2] + 0.5, k[:, 1, 2] + 0.5], -1)
        alike = bool((rows == rows[0]).all())
        self.rows = rows[:1] if alike else rows
        """``[C, 4]``: fx, fy, cx, cy."""
        self.of_frame = [1 if alike else n + 1 for n in range(len(frames))]
        """Which camera took each frame, from 1."""


def _pose(pose: np.ndarray) -> list[float]:
    """World-to-camera as COLMAP has it: qw, qx, qy, qz, tx, ty, tz."""
    motion = rigid.inverse(torch.from_numpy(pose))
    return [*rigid.quaternion_of_rotation(motion[:3, :3]).tolist(), *motion[:3, 3].tolist()]


def _numbers(values: Any) -> str:
    return " ".join(f"{x:.12g}" for x in values)


def _write_cameras(sparse: Path, kind: str, cameras: Cameras) -> None:
    size = cameras.width, cameras.height
    if kind == "text":
        lines = ["# Camera list with one line of data per camera:", "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
        lines += [f"{i + 1} PINHOLE {size[0]} {size[1]} {_numbers(row)}" for i, row in enumerate(cameras.rows)]
        (sparse / "cameras.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
        return
    with open(sparse / "cameras.bin", "wb") as file:
        file.write(struct.pack("<Q", len(cameras.rows)))
        for i, row in enumerate(cameras.rows):
            file.write(struct.pack("<iiQQ4d", i + 1, PINHOLE, *size, *row))


class _TextImages:
    """``images.txt``: a line of an image's pose, and a line of its points."""

    def __init__(self, sparse: Path, unit: str):
        self.file: TextIO = open(sparse / "images.txt", "w", encoding="ascii")  # noqa: SIM115
        self.file.write(f"# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; places in {unit}\n")
        self.file.write("# POINTS2D[] as (X, Y, POINT3D_ID)\n")

    def add(self, number: int, pose: list[float], camera: int, name: str, xy: np.ndarray, points: np.ndarray) -> None:
        self.file.write(f"{number} {_numbers(pose)} {camera} {name}\n")
        self.file.write(" ".join(f"{x:.9g} {y:.9g} {p}" for (x, y), p in zip(xy.tolist(), points.tolist())) + "\n")

    def close(self) -> None:
        self.file.close()


class _BinaryImages:
    """``images.bin``."""

    def __init__(self, sparse: Path, count: int):
        self.file: BinaryIO = open(sparse / "images.bin", "wb")  # noqa: SIM115
        self.file.write(struct.pack("<Q", count))

    def add(self, number: int, pose: list[float], camera: int, name: str, xy: np.ndarray, points: np.ndarray) -> None:
        seen = np.zeros(len(points), SEEN)
        seen["xy"], seen["point"] = xy, points
        self.file.write(struct.pack("<i7di", number, *pose, camera) + name.encode() + b"\0")
        self.file.write(struct.pack("<Q", len(points)) + seen.tobytes())

    def close(self) -> None:
        self.file.close()


def _write_points(
    sparse: Path, kinds: tuple[str, ...], cloud: _Cloud | SeenTracks, log: Path, lengths: list[int]
) -> None:
    """Each point's place, colour, error and track: of those that some frame sees."""
    text = open(sparse / "points3D.txt", "w", encoding="ascii") if "text" in kinds else None  # noqa: SIM115
    binary = open(sparse / "points3D.bin", "wb") if "binary" in kinds else None  # noqa: SIM115
    if text is not None:
        text.write("# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)\n")
    if binary is not None:
        binary.write(struct.pack("<Q", 0))
    count = 0
    for p, track in _tracks(log, lengths, len(cloud.points)):
        count += 1
        xyz, rgb, error = cloud.points[p].tolist(), cloud.rgb[p].tolist(), float(cloud.errors[p])
        if text is not None:
            tail = " ".join(map(str, track.ravel().tolist()))
            text.write(f"{p + 1} {_numbers(xyz)} {rgb[0]} {rgb[1]} {rgb[2]} {error:.9g} {tail}\n")
        if binary is not None:
            binary.write(struct.pack("<Q3d3BdQ", p + 1, *xyz, *rgb, error, len(track)) + track.astype("<i4").tobytes())
    if text is not None:
        text.close()
    if binary is not None:
        binary.seek(0)
        binary.write(struct.pack("<Q", count))
        binary.close()


def _tracks(log: Path, lengths: list[int], count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each point that is seen, with the images ``[n, 2]`` (number from 1, place in its list) that see it.

    The log of who sees what, frame by frame, is read once for each block of points, so that memory stays bounded.
    """
    if not sum(lengths):
        return
    seen = np.memmap(log, "<u4", "r")
    ends = np.cumsum(lengths)
    times = np.zeros(count, np.int64)
    for end, length in zip(ends, lengths):
        times += np.bincount(seen[end - length : end], minlength=count)
    block = np.cumsum(times) // BLOCK
    for b in range(int(block[-1]) + 1):
        first, last = np.searchsorted(block, b), np.searchsorted(block, b, "right")
        point, image, index = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, (end, length) in enumerate(zip(ends, lengths)):
            part = seen[end - length : end]
            at = np.flatnonzero((part >= first) & (part < last))
            point.append(part[at].astype(np.int64))
            image.append(np.full(len(at), number + 1))
            index.append(at)
        points = np.concatenate(point)
        order = np.argsort(points, kind="stable")
        rows = np.stack([np.concatenate(image), np.concatenate(index)], -1)[order]
        starts = np.flatnonzero(np.diff(points[order], prepend=-1))
        yield from zip(points[order][starts].tolist(), np.split(rows, starts[1:]))
