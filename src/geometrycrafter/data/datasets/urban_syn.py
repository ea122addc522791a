"""UrbanSyn: pictures of streets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.conventions import depth_within, from_corner, pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_channel, read_exr, read_picture
from geometrycrafter.data.layouts import first_matches

UNIT, FARTHEST, SKY = 1e5, 200.0, 10


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    pictures = first_matches(root, "rgb/rgb_*.png", "*/rgb/rgb_*.png")
    if not pictures:
        return
    top = pictures[0].parents[1]
    items = []
    for p in pictures:
        stem = p.stem.removeprefix("rgb_")
        depth = top / "depth" / f"depth_{stem}.exr"
        renamed = depth.with_name(f"{depth.name}.1")  # as some downloads arrive
        items.append(
            {
                "picture": p,
                "depth": renamed if not depth.exists() and renamed.exists() else depth,
                "classes": top / "ss" / f"ss_{stem}.png",
                "intrinsics": _intrinsics(top / "camera_metadata.json"),
            }
        )
    yield Sequence("urbansyn", tuple(items))


def _intrinsics(path: Path) -> tuple[float, float, float, float]:
    if not path.is_file():
        return 1730.21, 1730.21, 1024.0, 512.0
    with naming(path):
        stored: dict[str, Any] = json.loads(path.read_text())["parameters"][0]["Camera"]
        focal = float(stored["focalLength_mm"])
        fx = focal * 2048 / float(stored["sensorWidth_mm"])
        return fx, focal * 1024 / float(stored["sensorHeight_mm"]), 1024.0, 512.0


def read(picture: Path, depth: Path, classes: Path, intrinsics: tuple[float, ...]) -> Frame:
    """One frame."""
    z = read_exr(depth, "Y", "R") * np.float32(UNIT)
    sky = read_channel(classes) == SKY
    z[sky] = 0
    return Frame(read_picture(picture), depth_within(z, 0, FARTHEST), from_corner(pinhole(*intrinsics)), sky=sky)


DATASET = DataSet(
    name="urban-syn",
    title="UrbanSyn",
    domain="outdoor, driving",
    licence="CC BY-SA 4.0",
    home="urbansyn.org",
    find=find,
    read=read,
    frame_size="1024x2048",
    video=False,
    paper="7 K images",
    tally=Tally(
        (7, None),
        7539,
        None,
        "7,539 pictures",
        "the paper cuts thousands off: 7 K may be any number up to 7,999",
    ),
    complete=(1, 7539),
    version=2,
)
