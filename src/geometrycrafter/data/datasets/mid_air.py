"""Mid-Air: a drone above forests and hills; distance to the optical centre as half precision in PNG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from geometrycrafter.data.conventions import (
    NED,
    depth_within,
    from_corner,
    pinhole,
    planar_depth,
    pose_of,
    rotation_of_quaternion,
)
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import read_half_png, read_hdf5, read_picture
from geometrycrafter.data.layouts import first_matches, last_number, matches, split_at_gaps

FARTHEST = 1250.0
"""Metres; what the authors' viewer shows. Beyond is sky."""


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "*/*/color_left/trajectory_*/", "*/*/*/color_left/trajectory_*/"):
        weather = folder.parents[1]
        items = (
            (
                last_number(p),
                {
                    "picture": p,
                    "depth": weather / "depth" / folder.name / f"{p.stem}.PNG",
                    "records": weather / "sensor_records.hdf5",
                    "trajectory": folder.name,
                    "index": last_number(p),
                },
            )
            for p in matches(folder, "*.JPEG")
        )
        reason = "" if weather.parent.name.endswith("_training") else "it belongs to a test split"
        # The first digit is the weather's; the others are flown alike in each.
        path = f"{weather.parent.name}-{folder.name[-3:]}"
        for sequence in split_at_gaps(f"{weather.parent.name}-{weather.name}-{folder.name}", items, scene=path):
            yield replace(sequence, left_out=reason)


def read(picture: Path, depth: Path, records: Path, trajectory: str, index: int) -> Frame:
    """One frame."""
    distance = read_half_png(depth)
    intrinsics = from_corner(pinhole(512, 512, 512, 512))
    pose = None
    if records.is_file():  # records at 100 Hz, frames at 25
        truth = f"{trajectory}/groundtruth"
        attitude = read_hdf5(records, f"{truth}/attitude", 4 * index)
        pose = pose_of(rotation_of_quaternion(*attitude), read_hdf5(records, f"{truth}/position", 4 * index)) @ NED
    image = read_picture(picture)
    sky = distance >= FARTHEST
    return Frame(image, planar_depth(depth_within(distance, 0, FARTHEST), intrinsics), intrinsics, pose, sky=sky)


DATASET = DataSet(
    name="mid-air",
    title="Mid-Air",
    domain="outdoor, flying",
    licence="CC BY-NC-SA 4.0",
    home="midair.ulg.ac.be",
    find=find,
    read=read,
    frame_size="1024x1024",
    fps=25.0,
    paper="357 K frames, 2433 clips",
    tally=Tally(
        (357, 2433), None, None, "no listing is public; its authors count over 420 K frames with the test splits"
    ),
    notes=(
        "Poses are the body's, without the left camera's offset of half a metre.",
        "Kite_training and PLE_training are read; the test splits are left out.",
    ),
    version=2,
)
