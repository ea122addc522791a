"""3D Ken Burns: one of the four corner views of each point of a camera's path; relative depth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from geometrycrafter.data.conventions import depth_within, pinhole_of_field
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_exr, read_picture
from geometrycrafter.data.layouts import first_matches

CORNERS = ("tl", "tr", "bl", "br")
"""The first that a folder has is read: they see nearly the same, and the paper counts each capture once."""
SKY = 20000.0
UNIT = 1 / 1000  # a relative one: the authors state none


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    name = f"*-{{{','.join(CORNERS)}}}-image.png"
    folders: dict[Path, dict[str, list[Path]]] = {}
    for path in first_matches(root, f"*/{name}", f"*/*/{name}"):
        folders.setdefault(path.parent, {}).setdefault(path.stem.split("-")[-2], []).append(path)
    for folder, views in folders.items():
        beside = folder.with_name(f"{folder.name}-depth")
        yield Sequence(
            folder.name,
            tuple(
                {
                    "picture": p,
                    "depth": beside / p.name.replace("-image.png", "-depth.exr"),
                    "meta": folder / f"{p.name.split('-')[0]}-meta.json",
                }
                for p in next(views[corner] for corner in CORNERS if corner in views)
            ),
            scene=folder.name.rpartition("-")[0] or folder.name,
        )


def read(picture: Path, depth: Path, meta: Path) -> Frame:
    """One frame."""
    image, raw = read_picture(picture), read_exr(depth)
    with naming(meta):
        field = float(json.loads(meta.read_text())["fltFov"])
        if not 0 < field < 179:
            raise ValueError(f"a field of view of {field} degrees")
    intrinsics = pinhole_of_field(raw.shape, math.tan(math.radians(field) / 2))
    return Frame(image, depth_within(raw, 0, SKY) * UNIT, intrinsics, sky=raw > SKY)


DATASET = DataSet(
    name="ken-burns",
    title="3D Ken Burns",
    domain="indoor and outdoor, walking and flying",
    licence="CC BY-NC-SA 4.0",
    home="github.com/sniklaus/3d-ken-burns",
    find=find,
    read=read,
    frame_size="512x512",
    unit="its own",
    paper="76 K frames, 526 clips",
    complete=(46, 0),
    tally=Tally((76, 526), None, 530, "46 sequences; clips reckoned from the paper's frames"),
    notes=("Depth is relative; 20 units of its own separate neighbouring corners, of which one is read.",),
    version=2,
)
