"""GTA-SfM: flights over a game's landscape, a file of HDF5 for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import depth_within, from_corner
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import decode_picture, hdf5_names, naming, read_hdf5
from geometrycrafter.data.layouts import first_matches, split_at_gaps


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for path in first_matches(root, "*/*.hdf5", "*.hdf5"):
        numbers = sorted(int(k.split("_")[1]) for k in hdf5_names(path) if k.startswith("image_"))
        yield from split_at_gaps(path.stem, ((i, {"file": path, "index": i}) for i in numbers))


def read(file: Path, index: int) -> Frame:
    """One frame."""
    depth = read_hdf5(file, f"depth_{index}").astype(np.float32)
    intrinsics = from_corner(read_hdf5(file, f"K_{index}"))
    pose = read_hdf5(file, f"pose_{index}").astype(np.float64)
    with naming(file):
        picture = decode_picture(read_hdf5(file, f"image_{index}").astype(np.uint8).tobytes())
    return Frame(picture, depth_within(depth, 1e-5, 256), intrinsics, pose)


DATASET = DataSet(
    name="gta-sfm",
    title="GTA-SfM",
    domain="outdoor, flying",
    licence="not stated",
    home="github.com/HKUST-Aerial-Robotics/Flow-Motion-Depth",
    find=find,
    read=read,
    frame_size="480x640",
    paper="19 K frames, 234 clips",
    complete=(219, 0),
    tally=Tally((19, 234), None, None, "219 files of unknown length; 234 clips if fifteen are longer than 150 frames"),
    notes=("Users have reported a factor of ten in its scale; depth is taken as metres.",),
)
