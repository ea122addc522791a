"""Dynamic Replica: people and animals in scanned rooms; half-precision depth in PNG, PyTorch3D cameras."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.conventions import depth_within, from_corner, pinhole, pose_of
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_channel, read_half_png, read_picture
from geometrycrafter.data.layouts import first_matches, split_at_gaps
from geometrycrafter.errors import InputError

TRAIN = "frame_annotations_train.jgz"
LARGEST = 2**31
"""Bytes of an unpacked annotation file."""


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for listing in first_matches(root, f"train/{TRAIN}", TRAIN, f"*/train/{TRAIN}"):
        with naming(listing), gzip.open(listing) as file:
            text = file.read(LARGEST)
            if len(text) == LARGEST:
                raise ValueError("it unpacks to more than 2 GiB")
            rows = json.loads(text)
        own: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["camera_name"] == "left":
                own.setdefault(row["sequence_name"], []).append(row)
        for name, frames in own.items():
            frames.sort(key=lambda r: r["frame_number"])
            yield from split_at_gaps(name, ((int(r["frame_number"]), _item(listing.parent, r)) for r in frames))


def _item(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    view = row["viewpoint"]
    mask = (row.get("mask") or {}).get("path")
    return {
        "picture": folder / row["image"]["path"],
        "depth": folder / row["depth"]["path"],
        "moving": folder / mask if mask else None,
        "view": {k: view[k] for k in ("R", "T", "focal_length", "principal_point", "intrinsics_format")},
    }


def read(picture: Path, depth: Path, moving: Path | None, view: dict[str, Any]) -> Frame:
    """One frame.

    Raises:
        InputError: names the file that is not what it should be.
    """
    image, raw = read_picture(picture), read_half_png(depth)
    height, width = raw.shape
    half = np.array([width, height]) / 2
    if view["intrinsics_format"] == "ndc_isotropic":
        scale = np.full(2, min(width, height) / 2)
    elif view["intrinsics_format"] == "ndc_norm_image_bounds":
        scale = half
    else:
        raise InputError(f"{depth}: its camera is of an unknown kind, {view['intrinsics_format']}.")
    focal = np.array(view["focal_length"]) * scale
    centre = half - np.array(view["principal_point"]) * scale
    # Row vectors, x to the left and y up.
    rotation, shift = np.array(view["R"], np.float64), np.array(view["T"], np.float64)
    rotation[:, :2] *= -1
    shift[:2] *= -1
    dynamic = None
    if moving is not None:
        dynamic = read_channel(moving) > 0
    pose = pose_of(rotation, -rotation @ shift)
    intrinsics = from_corner(pinhole(*focal, *centre))  # PyTorch3D's pictures reach from -1 to 1 at their edges
    return Frame(image, depth_within(raw), intrinsics, pose, dynamic=dynamic)


DATASET = DataSet(
    name="dynamic-replica",
    title="DynamicReplica",
    domain="indoor, people and animals",
    licence="research only, by its own terms",
    home="dynamic-stereo.github.io",
    find=find,
    read=read,
    frame_size="720x1280",
    fps=30.0,
    paper="145 K frames, 1126 clips",
    tally=Tally(
        (145, 1126),
        145200,
        968,
        "484 sequences of 300 frames, left eye",
        "the paper's clips are near those of training, validation and test together (1,128), its frames are training's",
    ),
    complete=(484, 145200),
    notes=(
        "The left eye of the training split, the paper's 145 K frames in 968 clips; its 1126 clips are near the 1128 "
        "of training, validation and test together.",
    ),
    version=2,
)
