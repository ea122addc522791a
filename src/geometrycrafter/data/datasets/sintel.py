"""Sintel: an animated film with fast motion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import depth_within, inverse_pose
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import naming, read_channel, read_dpt, read_picture
from geometrycrafter.data.layouts import first_matches, matches

TAG = np.float32(202021.25)


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "training/clean/*/", "*/training/clean/*/"):
        top = folder.parents[1]
        items = tuple(
            {
                "picture": p,
                "depth": top / "depth" / folder.name / f"{p.stem}.dpt",
                "camera": top / "camdata_left" / folder.name / f"{p.stem}.cam",
                "mask": top / "mask" / folder.name / p.name,
            }
            for p in matches(folder, "frame_*.png")
        )
        yield Sequence(folder.name, items)


def read(picture: Path, depth: Path, camera: Path, mask: Path) -> Frame:
    """One frame."""
    z = read_dpt(depth)
    with naming(camera):
        data = camera.read_bytes()
        if np.frombuffer(data, "<f4", 1)[0] != TAG:
            raise ValueError("no camera of Sintel's")
        values = np.frombuffer(data, "<f8", 21, 4)
    to_camera = np.eye(4)
    to_camera[:3] = values[9:].reshape(3, 4)
    if mask.is_file():  # the published protocol's own, not part of the release
        z = np.where(read_channel(mask) > 127, 0, z)
    return Frame(read_picture(picture), depth_within(z), values[:9].reshape(3, 3).copy(), inverse_pose(to_camera))


DATASET = DataSet(
    name="sintel",
    title="Sintel",
    domain="animated film",
    licence="research and education, by its own terms",
    home="sintel.is.tue.mpg.de",
    find=find,
    read=read,
    frame_size="436x1024",
    evaluation=Selection(crop=(436, 872)),
    complete=(23, 1064),
    notes=("The protocol's masks (training/mask) were not published; they are used where they are.",),
)
