"""Data sets that judge camera poses alone: TUM's dynamic sequences, and Sintel's final pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.data.conventions import pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.datasets.sintel import DATASET as SINTEL
from geometrycrafter.data.formats import naming, read_picture, read_png16
from geometrycrafter.data.layouts import first_matches
from geometrycrafter.geometry import rigid

NEAR = 0.02
"""Seconds that a pose may be away from its picture."""
UNIT = 5000
"""Of depth, parts of a metre."""
CAMERA = pinhole(535.4, 539.2, 320.1, 247.6)
"""Of TUM's third Freiburg camera, whose pictures are undistorted; the only calibration that the sequences have."""


def find_tum(root: Path) -> Iterator[Sequence]:
    """The dynamic sequences below a folder: pictures with a pose, and the depth map nearest in time to each."""
    pattern = "*freiburg3_{sitting,walking}_*/rgb.txt"
    for listed in first_matches(root, pattern, f"*/{pattern}"):
        folder = listed.parent
        pictures, depths, poses = (_listed(folder / f"{name}.txt") for name in ("rgb", "depth", "groundtruth"))
        times, deep = (np.array([float(r[0]) for r in rows]) for rows in (poses, depths))
        items = []
        for row in pictures:
            t = float(row[0])
            pose = int(np.abs(times - t).argmin())
            if abs(times[pose] - t) < NEAR:
                depth = folder / depths[int(np.abs(deep - t).argmin())][1]
                items.append({"picture": folder / row[1], "depth": depth, "pose": tuple(map(float, poses[pose][1:8]))})
        yield Sequence(folder.name.removeprefix("rgbd_dataset_"), tuple(items))


@lru_cache(maxsize=64)
def _listed(path: Path) -> list[list[str]]:
    """Rows of one of TUM's lists, which begin with a time."""
    with naming(path):
        rows = [line.split() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
        if not rows or any(len(r) < 2 for r in rows):
            raise ValueError("no list of times and what belongs to them")
    return rows


def read_tum(picture: Path, depth: Path, pose: tuple[float, ...]) -> Frame:
    """One frame; the pose is tx ty tz qx qy qz qw, camera-to-world."""
    values = torch.tensor(pose, dtype=torch.float64)
    motion = rigid.motion(rigid.rotation_of_quaternion(values[[6, 3, 4, 5]]), values[:3])
    return Frame(read_picture(picture), read_png16(depth).astype(np.float32) / UNIT, CAMERA, motion.numpy())


def find_sintel(root: Path) -> Iterator[Sequence]:
    """Sintel's sequences, with the pictures of its final pass: motion blur, fog and all."""
    for sequence in SINTEL.find(root):
        items = []
        for item in sequence.items:
            folder, name = item["picture"].parent, item["picture"].name
            items.append(item | {"picture": folder.parents[1] / "final" / folder.name / name})
        yield Sequence(sequence.name, tuple(items), sequence.left_out)


POSE_SETS = {
    "tum-dynamics": DataSet(
        name="tum-dynamics",
        title="TUM-dynamics",
        domain="indoor, people who move",
        licence="CC BY 4.0",
        home="cvg.cit.tum.de/data/datasets/rgbd-dataset",
        find=find_tum,
        read=read_tum,
        frame_size="480x640",
        fps=30.0,
        evaluation=Selection(),
    ),
    "sintel-final": replace(SINTEL, name="sintel-final", find=find_sintel, evaluation=Selection()),
}
"""By name."""
