"""Spring: an animated film in fine detail; disparity at twice the pictures' resolution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.dataset import (
    DataSet,
    Frame,
    Sequence,
    below,
    camera,
    inverse_pose,
    kept,
    listed,
    number,
    table,
)
from geometrycrafter.data.formats import read_hdf5, read_picture, read_png
from geometrycrafter.errors import InputError

BASELINE = 0.065


def find(root: Path) -> Iterator[Sequence]:
    for folder in below(root, "train/[0-9]*/", "[0-9]*/", "*/train/[0-9]*/"):
        if not (folder / "disp1_left").is_dir():
            continue  # the test split has no truth
        intrinsics = table(folder / "cam_data" / "intrinsics.txt", 4)
        extrinsics = table(folder / "cam_data" / "extrinsics.txt", 16)
        pictures = listed(folder, "frame_left/*.png")
        if not len(pictures) == len(intrinsics) == len(extrinsics):
            raise InputError(
                f"{folder}: {len(pictures)} frames, {len(intrinsics)} intrinsics and {len(extrinsics)} poses; "
                "unpack the archives again."
            )
        items = tuple(
            {
                "picture": p,
                "disparity": folder / "disp1_left" / f"disp1_left_{number(p):04d}.dsp5",
                "sky": folder / "maps" / "skymap_left" / f"skymap_left_{number(p):04d}.png",
                "intrinsics": tuple(k),
                "extrinsics": tuple(e),
            }
            for p, k, e in zip(pictures, intrinsics.tolist(), extrinsics.tolist(), strict=True)
        )
        yield Sequence(folder.name, items)


def read(
    picture: Path, disparity: Path, sky: Path, intrinsics: tuple[float, ...], extrinsics: tuple[float, ...]
) -> Frame:
    shift = read_hdf5(disparity, "disparity")[::2, ::2].astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(shift > 0, intrinsics[0] * BASELINE / shift, 0)
    far = None
    if sky.is_file():
        mask = read_png(sky)
        far = (mask if mask.ndim == 2 else mask[..., 0])[::2, ::2] > 0
        depth[far] = 0
    pose = inverse_pose(np.array(extrinsics).reshape(4, 4))
    return Frame(read_picture(picture), kept(depth), camera(*intrinsics), pose, sky=far)


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
    complete=(37, 5000),
)
