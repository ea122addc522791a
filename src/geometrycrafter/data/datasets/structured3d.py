"""Structured3D: perspective pictures of furnished rooms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import pinhole_of_field, pose_of
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import read_picture, read_png16, read_table
from geometrycrafter.data.layouts import first_matches, matches

INVALID = ("01155", "01192", "01714", "01816", "01852", "03398")
"""Scenes that the authors' list of errata names."""


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for scene in first_matches(root, "scene_*/", "Structured3D/scene_*/", "*/Structured3D/scene_*/"):
        items = tuple(
            {"picture": p, "depth": p.with_name("depth.png"), "pose": p.with_name("camera_pose.txt")}
            for p in matches(scene, "2D_rendering/*/perspective/full/*/rgb_rawlight.png")
        )
        wrong = scene.name.removeprefix("scene_") in INVALID
        yield Sequence(scene.name, items, "the authors' list of errata names it" if wrong else "")


def read(picture: Path, depth: Path, pose: Path) -> Frame:
    """One frame."""
    millimetres = read_png16(depth)
    values = read_table(pose, 12)[0]
    eye, forward, up, (half_x, half_y) = values[:3], values[3:6], values[6:9], values[9:11]
    right = np.cross(forward, up)
    right, forward = right / np.linalg.norm(right), forward / np.linalg.norm(forward)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)
    intrinsics = pinhole_of_field(millimetres.shape, math.tan(half_x), math.tan(half_y))
    return Frame(
        read_picture(picture), millimetres.astype(np.float32) / 1000, intrinsics, pose_of(rotation, eye / 1000)
    )


DATASET = DataSet(
    name="structured3d",
    title="Structured3D",
    domain="indoor",
    licence="research only, by its own terms",
    home="structured3d-dataset.org",
    find=find,
    read=read,
    frame_size="720x1280",
    video=False,
    paper="71 K images",
    tally=Tally((71, None), None, None, "no listing is public"),
    notes=("Perspective pictures of furnished rooms; panoramas are not read.",),
)
