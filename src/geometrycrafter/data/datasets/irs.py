"""IRS: rooms, offices, shops and restaurants as a stereo camera sees them; disparity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.dataset import DataSet, Frame, Sequence, below, camera, kept, listed
from geometrycrafter.data.formats import read_exr, read_picture

FOCAL, BASELINE, FARTHEST = 480.0, 0.1, 200.0


def find(root: Path) -> Iterator[Sequence]:
    kinds = "[HORS][ofet][mfso][eitr]*"  # Home, Office, Restaurant, Store
    for folder in below(root, f"{kinds}/*/", f"*/{kinds}/*/"):
        pictures = listed(folder, "l_*.png")
        if pictures:
            items = tuple({"picture": p, "disparity": folder / f"d_{p.stem[2:]}.exr"} for p in pictures)
            yield Sequence(f"{folder.parent.name}-{folder.name}", items)


def read(picture: Path, disparity: Path) -> Frame:
    shift = read_exr(disparity, "R", "G")
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(shift > 0, FOCAL * BASELINE / shift, 0)
    return Frame(read_picture(picture), kept(depth, 0, FARTHEST), camera(FOCAL, FOCAL, 480, 270))


DATASET = DataSet(
    name="irs",
    title="IRS",
    domain="indoor",
    licence="not stated",
    home="github.com/HKBU-HPML/IRS",
    find=find,
    read=read,
    frame_size="540x960",
    paper="103 K frames, 722 clips",
    complete=(76, 103316),
    notes=("File numbers of the older release are not padded; both are read.",),
)
