"""MVS-Synth: a game's streets, 120 sequences of 100 frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import depth_within, of_renderer, pinhole, right_handed
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_exr, read_picture
from geometrycrafter.data.layouts import first_matches, last_number, matches, split_at_gaps

UNIT = 0.1
"""Metres; the authors state none, two readers found it by the size of cars."""
FARTHEST = 1000.0


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "GTAV_*/[0-9]*/", "[0-9]*/", "*/GTAV_*/[0-9]*/"):
        items = (
            (
                last_number(p),
                {
                    "picture": p,
                    "depth": folder / "depths" / f"{p.stem}.exr",
                    "pose": folder / "poses" / f"{p.stem}.json",
                },
            )
            for p in matches(folder, "images/*.png")
        )
        yield from split_at_gaps(folder.name, items)


def read(picture: Path, depth: Path, pose: Path) -> Frame:
    """One frame."""
    raw = read_exr(depth, "Y", "R")
    with naming(pose):
        stored = json.loads(pose.read_text())
        intrinsics = of_renderer(pinhole(*(float(stored[k]) for k in ("f_x", "f_y", "c_x", "c_y"))), raw.shape)
        to_camera = np.array(stored["extrinsic"], np.float64).reshape(4, 4)
        to_world = right_handed(np.linalg.inv(to_camera))  # the game's world is not, its camera is OpenCV's
    to_world[:3, 3] *= UNIT
    metres = depth_within(raw * UNIT, 0, FARTHEST)
    return Frame(read_picture(picture), metres, intrinsics, to_world, sky=np.isposinf(raw))


DATASET = DataSet(
    name="mvs-synth",
    title="MVS-Synth",
    domain="outdoor, city",
    licence="not stated",
    home="phuang17.github.io/DeepMVS/mvs-synth.html",
    find=find,
    read=read,
    frame_size="1080x1920, 720x1280 or 540x960",
    paper="12 K frames, 120 clips",
    tally=Tally((12, 120), 12000, 120, "120 sequences of 100 frames"),
    complete=(120, 12000),
    notes=("Depth beyond 1 km is wild and counts as unknown.",),
    version=2,
)
