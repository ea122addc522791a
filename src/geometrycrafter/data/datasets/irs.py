"""IRS: rooms, offices, shops and restaurants as a stereo camera sees them; disparity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from geometrycrafter.data.conventions import depth_of_disparity, depth_within, from_corner, pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import read_exr, read_picture
from geometrycrafter.data.layouts import first_matches, last_number, matches, split_at_gaps

FOCAL, BASELINE, FARTHEST = 480.0, 0.1, 200.0


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    kinds = "{Home,Office,Restaurant,Store}*"
    for folder in first_matches(root, f"{kinds}/*/", f"*/{kinds}/*/"):
        items = (
            (last_number(p), {"picture": p, "disparity": folder / f"d_{p.stem.removeprefix('l_')}.exr"})
            for p in matches(folder, "l_*.png")
        )
        name = f"{folder.parent.name}-{folder.name}"
        yield from split_at_gaps(name, items, scene=name.partition("_")[0])  # _Dark, _Night and so on are the same room


def read(picture: Path, disparity: Path) -> Frame:
    """One frame."""
    depth = depth_of_disparity(read_exr(disparity, "R", "G"), FOCAL, BASELINE)
    intrinsics = from_corner(pinhole(FOCAL, FOCAL, 480, 270))
    return Frame(read_picture(picture), depth_within(depth, 0, FARTHEST), intrinsics)


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
    tally=Tally((103, 722), 103316, 727, "its lists: 76 folders, 103,316 frames; clips reckoned"),
    complete=(76, 103316),
    notes=("File numbers of the older release are not padded; both are read.",),
    version=2,
)
