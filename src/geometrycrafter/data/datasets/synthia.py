"""SYNTHIA's video sequences: a town in all seasons, four cameras round a car."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.dataset import (
    OPENGL,
    DataSet,
    Frame,
    Sequence,
    below,
    camera,
    kept,
    listed,
    number,
    split_at_gaps,
    table,
)
from geometrycrafter.data.formats import naming, read_picture, read_png, read_png16

FARTHEST = 64000
"""Centimetres."""
SKY = 1


def find(root: Path) -> Iterator[Sequence]:
    pattern = "SYNTHIA-SEQS-*/RGB/Stereo_Left/Omni_*/"
    for folder in below(root, pattern, f"*/{pattern}"):
        top, side = folder.parents[2], f"Stereo_Left/{folder.name}"
        path = top / "CameraParams" / "intrinsics.txt"
        with naming(path):
            focal, cx, cy = [float(line) for line in path.read_text().split()][:3]
        items = (
            (
                number(p),
                {
                    "picture": p,
                    "depth": top / "Depth" / side / p.name,
                    "labels": top / "GT" / "LABELS" / side / p.name,
                    "pose": top / "CameraParams" / side / f"{p.stem}.txt",
                    "intrinsics": (focal, focal, cx, cy),
                },
            )
            for p in listed(folder, "*.png")
        )
        yield from split_at_gaps(f"{top.name}-{folder.name}", items)


def read(picture: Path, depth: Path, labels: Path, pose: Path, intrinsics: tuple[float, ...]) -> Frame:
    raw = read_png16(depth).astype(np.float32)
    sky = None
    if labels.is_file():
        classes = read_png(labels)  # the class in the middle channel, the instance in another
        sky = (classes if classes.ndim == 2 else classes[..., 1]) == SKY
        raw[sky] = 0
    columns = table(pose).reshape(4, 4).T
    return Frame(read_picture(picture), kept(raw, 0, FARTHEST) / 100, camera(*intrinsics), columns @ OPENGL, sky=sky)


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
    notes=("Public readers disagree about the axes of its poses; 'data inspect' says whether they fit the depth.",),
)
