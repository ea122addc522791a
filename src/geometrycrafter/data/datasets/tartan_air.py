"""TartanAir (its first version): a drone through eighteen rendered worlds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import NED, depth_within, from_corner, pinhole, pose_of, rotation_of_quaternion
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import read_npy, read_picture, read_table
from geometrycrafter.data.layouts import first_matches, matches
from geometrycrafter.errors import InputError

SKY = 1000.0


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder.

    Raises:
        InputError: where what belongs together is not there, or not whole.
    """
    name = "{Easy,Hard}/P*/pose_left.txt"
    # The archives of a world hold its name once or twice.
    for file in first_matches(root, f"*/{name}", f"*/*/{name}", f"*/*/*/{name}"):
        folder = file.parent
        poses = read_table(file, 7)
        pictures = matches(folder, "image_left/*_left.png")
        if len(poses) != len(pictures):
            raise InputError(f"{folder}: {len(pictures)} frames and {len(poses)} poses; unpack the archives again.")
        items = tuple(
            {"picture": p, "depth": folder / "depth_left" / f"{p.stem}_depth.npy", "pose": tuple(pose)}
            for p, pose in zip(pictures, poses.tolist(), strict=True)
        )
        world = folder.parents[1].name
        yield Sequence(f"{world}-{folder.parent.name}-{folder.name}", items, scene=world)


def read(picture: Path, depth: Path, pose: tuple[float, ...]) -> Frame:
    """One frame."""
    z = read_npy(depth).astype(np.float32)
    x, y, w = pose[3], pose[4], pose[6]
    to_world = pose_of(rotation_of_quaternion(w, x, y, pose[5]), np.array(pose[:3])) @ NED
    intrinsics = from_corner(pinhole(320, 320, 320, 240))
    return Frame(read_picture(picture), depth_within(z, 1e-5, SKY), intrinsics, to_world, sky=z >= SKY)


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
    complete=(0, 306637),
    tally=Tally((306, 2245), 306637, None, "its archives: 306,637 left frames"),
    notes=("In the world 'amusement' the sky is a dome nearby and counts as a surface.",),
    version=2,
)
