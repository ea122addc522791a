"""SYNTHIA's video sequences: a town in all seasons, four cameras round a car."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import OPENGL, depth_within, from_corner, pinhole, right_handed
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_channel, read_matrix, read_picture, read_png16
from geometrycrafter.data.layouts import first_matches, last_number, matches, split_at_gaps

FARTHEST = 64000
"""Centimetres."""
SKY = 1


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    pattern = "SYNTHIA-SEQS-*/RGB/Stereo_Left/Omni_*/"
    for folder in first_matches(root, pattern, f"*/{pattern}"):
        top, side = folder.parents[2], f"Stereo_Left/{folder.name}"
        path = top / "CameraParams" / "intrinsics.txt"
        with naming(path):
            focal, cx, cy = [float(line) for line in path.read_text().split()][:3]
        items = (
            (
                last_number(p),
                {
                    "picture": p,
                    "depth": top / "Depth" / side / p.name,
                    "labels": top / "GT" / "LABELS" / side / p.name,
                    "pose": top / "CameraParams" / side / f"{p.stem}.txt",
                    "intrinsics": (focal, focal, cx, cy),
                },
            )
            for p in matches(folder, "*.png")
        )
        # The same drive in another season or light.
        yield from split_at_gaps(f"{top.name}-{folder.name}", items, scene=top.name.rpartition("-")[0])


def read(picture: Path, depth: Path, labels: Path, pose: Path, intrinsics: tuple[float, ...]) -> Frame:
    """One frame."""
    raw = read_png16(depth).astype(np.float32)
    sky = None
    if labels.is_file():
        sky = read_channel(labels, 1) == SKY  # the class in the middle channel, the instance in another
        raw[sky] = 0
    to_world = right_handed(read_matrix(pose).T @ OPENGL)  # stored by columns; two axes of the world are exchanged
    metres = depth_within(raw, 0, FARTHEST) / 100
    return Frame(read_picture(picture), metres, from_corner(pinhole(*intrinsics)), to_world, sky=sky)


DATASET = DataSet(
    name="synthia",
    title="Synthia",
    domain="outdoor, driving",
    licence="CC BY-NC-SA 3.0",
    home="synthia-dataset.net",
    find=find,
    read=read,
    frame_size="760x1280",
    fps=5.0,
    paper="178 K frames, 1276 clips",
    tally=Tally((178, 1276), None, None, "no listing is public"),
    notes=("Public readers disagree about the axes of its poses; 'data inspect' says whether they fit the depth.",),
    version=2,
)
