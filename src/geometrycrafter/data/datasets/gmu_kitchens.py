"""GMU Kitchens: nine kitchens, walked through with a Kinect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import read_picture, read_png16
from geometrycrafter.data.layouts import first_matches, last_number, matches
from geometrycrafter.data.transforms import resize_picture


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "gmu_scene_*/Images/", "*/gmu_scene_*/Images/"):
        items = tuple(
            {"picture": p, "depth": folder.with_name("Depths") / f"depth_{p.stem.removeprefix('rgb_')}.png"}
            for p in sorted(matches(folder, "rgb_*.png"), key=last_number)
        )
        yield Sequence(folder.parent.name, items)


def read(picture: Path, depth: Path) -> Frame:
    """One frame."""
    return Frame(read_picture(picture), read_png16(depth).astype(np.float32) / 1000, pinhole(1048, 1051, 960, 529))


def halved(frame: Frame) -> Frame:
    """At half the size, as the published protocol does it: depth is averaged, across edges too, and of the mask that is
    kept which is known at more than half; intrinsics are halved, though pixel centres would move by a quarter."""
    height, width = (s // 2 for s in frame.depth.shape)
    depth = frame.depth[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    known = (depth > 0).mean((1, 3)) > 0.5
    intrinsics = frame.intrinsics.copy()
    intrinsics[:2] /= 2
    return Frame(
        resize_picture(frame.picture, height, width, "bicubic"),
        np.where(known, depth.mean((1, 3)), 0).astype(np.float32),
        intrinsics,
    )


DATASET = DataSet(
    name="gmu-kitchens",
    title="GMU Kitchens",
    domain="indoor",
    licence="not stated",
    home="cs.gmu.edu/~robot/gmu-kitchens.html",
    find=find,
    read=read,
    frame_size="1080x1920",
    fps=30.0,
    evaluation=Selection(frames=110, stride=2, filter=halved),
    complete=(9, 0),
    notes=("Its poses lie in MATLAB files with a scale for each scene that is not documented; they are not read.",),
)
