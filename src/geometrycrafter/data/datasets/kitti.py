"""KITTI: drives with lidar depth gathered over several sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import naming, read_picture, read_png16
from geometrycrafter.data.layouts import first_matches, matches
from geometrycrafter.errors import InputError

DRIVES = {
    "2011_09_26": ("0002", "0005", "0013", "0020", "0023", "0036", "0079", "0095", "0113"),
    "2011_09_28": ("0037",),
    "2011_09_29": ("0026",),
    "2011_09_30": ("0016",),
    "2011_10_03": ("0047",),
}


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    pattern = "val/*_sync/proj_depth/groundtruth/image_02/"
    for folder in first_matches(root, pattern, f"data_depth_annotated/{pattern}", f"*/{pattern}"):
        drive = folder.parents[2].name
        date = drive[:10]
        beside = [root / "raw_data" / date, root / date]
        raw = next((p for p in beside if p.is_dir()), beside[0])
        items = tuple(
            {
                "picture": raw / drive / "image_02" / "data" / depth.name,
                "depth": depth,
                "calibration": raw / "calib_cam_to_cam.txt",
            }
            for depth in matches(folder, "*.png")
        )
        yield Sequence(drive, items)


@lru_cache(maxsize=8)
def _intrinsics(path: Path) -> np.ndarray:
    with naming(path):
        for line in path.read_text().splitlines():
            if line.startswith("P_rect_02:"):
                p = [float(x) for x in line.split()[1:]]
                return pinhole(p[0], p[5], p[2], p[6])
        raise ValueError("there is no line P_rect_02")


def read(picture: Path, depth: Path, calibration: Path) -> Frame:
    """One frame.

    Raises:
        InputError: names the file that is not what it should be.
    """
    raw = read_png16(depth)
    if raw.max() <= 255:
        raise InputError(f"{depth}: its depths are below a metre throughout; it was converted to 8 bits.")
    return Frame(read_picture(picture), raw.astype(np.float32) / 256, _intrinsics(calibration))


DATASET = DataSet(
    name="kitti",
    title="KITTI",
    domain="outdoor, driving",
    licence="CC BY-NC-SA 3.0",
    home="cvlibs.net/datasets/kitti",
    find=find,
    read=read,
    frame_size="375x1242 and near it",
    fps=10.0,
    evaluation=Selection(
        frames=110,
        crop=(368, 736),
        sequences=tuple(f"{date}_drive_{n}_sync" for date, numbers in DRIVES.items() for n in numbers),
    ),
    complete=(13, 0),
)
