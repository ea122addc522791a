"""Spring: an animated film in fine detail; disparity at twice the pictures' resolution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import depth_of_disparity, depth_within, inverse_pose, of_renderer, pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import read_channel, read_hdf5, read_picture, read_table
from geometrycrafter.data.layouts import first_matches, last_number, matches
from geometrycrafter.errors import InputError

BASELINE = 0.065


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder.

    Raises:
        InputError: where what belongs together is not there, or not whole.
    """
    for folder in first_matches(root, "train/[0-9]*/", "[0-9]*/", "*/train/[0-9]*/"):
        if not (folder / "disp1_left").is_dir():
            continue  # the test split has no truth
        intrinsics = read_table(folder / "cam_data" / "intrinsics.txt", 4)
        extrinsics = read_table(folder / "cam_data" / "extrinsics.txt", 16)
        pictures = matches(folder, "frame_left/*.png")
        if not len(pictures) == len(intrinsics) == len(extrinsics):
            raise InputError(
                f"{folder}: {len(pictures)} frames, {len(intrinsics)} intrinsics and {len(extrinsics)} poses; "
                "unpack the archives again."
            )
        items = tuple(
            {
                "picture": p,
                "disparity": folder / "disp1_left" / f"disp1_left_{last_number(p):04d}.dsp5",
                "sky": folder / "maps" / "skymap_left" / f"skymap_left_{last_number(p):04d}.png",
                "intrinsics": tuple(k),
                "extrinsics": tuple(e),
            }
            for p, k, e in zip(pictures, intrinsics.tolist(), extrinsics.tolist(), strict=True)
        )
        yield Sequence(folder.name, items)


def read(
    picture: Path, disparity: Path, sky: Path, intrinsics: tuple[float, ...], extrinsics: tuple[float, ...]
) -> Frame:
    """One frame."""
    shift = read_hdf5(disparity, "disparity")[::2, ::2].astype(np.float32)
    depth = depth_of_disparity(shift, intrinsics[0], BASELINE)
    far = None
    if sky.is_file():
        far = read_channel(sky)[::2, ::2] > 0
        depth[far] = 0
    pose = inverse_pose(np.array(extrinsics).reshape(4, 4))
    camera = of_renderer(pinhole(*intrinsics), depth.shape)
    return Frame(read_picture(picture), depth_within(depth), camera, pose, sky=far)


DATASET = DataSet(
    name="spring",
    title="Spring",
    domain="animated film",
    licence="CC BY 4.0",
    home="spring-benchmark.org",
    find=find,
    read=read,
    frame_size="1080x1920",
    paper="5 K frames, 49 clips",
    tally=Tally((5, 49), 5000, 49, "37 sequences, 5,000 frames"),
    complete=(37, 5000),
    version=2,
)
