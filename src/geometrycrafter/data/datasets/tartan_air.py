"""TartanAir (its first version): a drone through eighteen rendered worlds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.dataset import (
    NED,
    DataSet,
    Frame,
    Sequence,
    below,
    camera,
    kept,
    listed,
    pose_of,
    rotation_of_quaternion,
    table,
)
from geometrycrafter.data.formats import read_npy, read_picture
from geometrycrafter.errors import InputError

SKY = 1000.0


def find(root: Path) -> Iterator[Sequence]:
    name = "[EH]a[sr][yd]/P*/pose_left.txt"
    # The archives of a world hold its name once or twice.
    for file in below(root, f"*/{name}", f"*/*/{name}", f"*/*/*/{name}"):
        folder = file.parent
        poses = table(file, 7)
        pictures = listed(folder, "image_left/*_left.png")
        if len(poses) != len(pictures):
            raise InputError(f"{folder}: {len(pictures)} frames and {len(poses)} poses; unpack the archives again.")
        items = tuple(
            {"picture": p, "depth": folder / "depth_left" / f"{p.stem}_depth.npy", "pose": tuple(pose)}
            for p, pose in zip(pictures, poses.tolist(), strict=True)
        )
        yield Sequence(f"{folder.parents[1].name}-{folder.parent.name}-{folder.name}", items)


def read(picture: Path, depth: Path, pose: tuple[float, ...]) -> Frame:
    z = read_npy(depth).astype(np.float32)
    x, y, w = pose[3], pose[4], pose[6]
    to_world = pose_of(rotation_of_quaternion(w, x, y, pose[5]), np.array(pose[:3])) @ NED
    return Frame(read_picture(picture), kept(z, 1e-5, SKY), camera(320, 320, 320, 240), to_world, sky=z >= SKY)


DATASET = DataSet(
    name="tartan-air",
    title="TartanAir",
    domain="indoor and outdoor, flying",
    licence="CC BY 4.0",
    home="theairlab.org/tartanair-dataset",
    find=find,
    read=read,
    frame_size="480x640",
    paper="306 K frames, 2245 clips",
    notes=("In the world 'amusement' the sky is a dome nearby and counts as a surface.",),
)
