"""MatrixCity: a city from the air and from the street."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.conventions import OPENGL, depth_within, pinhole_of_field
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_exr, read_picture
from geometrycrafter.data.layouts import first_matches, split_at_gaps

SKY = 65504.0
"""Centimetres; where half precision ends, and what marks the sky there."""
FARTHEST = 1e6
"""Centimetres; what single precision has beyond is the sky: no city here is 10 km wide."""
SPLITS = {("aerial", "small_city"): "train", ("aerial", "big_city"): "train", ("street", "big_city"): "train"} | {
    ("street", "small_city"): "train_dense"
}
"""What trains of each view and city: the 24 blocks that give the paper's numbers."""


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    pattern = "*_city/*/train*/*/"
    for folder in first_matches(root, pattern, f"*/{pattern}"):
        listings = [folder / name for name in ("transforms_origin.json", "transforms.json")]
        listing = next((path for path in listings if path.is_file()), None)
        if listing is None:
            continue  # depth
        split, view, city = folder.parent, folder.parents[1], folder.parents[2]
        taken = SPLITS.get((view.name, city.name), split.name)
        reason = "" if split.name == taken else f"{view.name}/{split.name} is sparse; {taken} is what trains"
        name = f"{city.name}-{view.name}-{split.name}-{folder.name}"
        for sequence in split_at_gaps(name, _items(folder, listing), scene=f"{city.name}-{view.name}-{folder.name}"):
            yield replace(sequence, left_out=reason)


def _items(folder: Path, listing: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and item of each frame of a block, in order."""
    split, view, city = folder.parent, folder.parents[1], folder.parents[2]
    with naming(listing):
        stored = json.loads(listing.read_text())
        frames = sorted(stored["frames"], key=lambda f: f["frame_index"])
        tangent = math.tan(float(stored["camera_angle_x"]) / 2)
    depths: dict[int, Path] = {}
    for suffix in ("_depth_float32", "_depth_flaot32", "_depth"):  # half precision ends where the city goes on
        beside = city.with_name(city.name + suffix) / view.name / split.name
        for place in (beside / f"{folder.name}_depth", beside / folder.name):
            for path in place.glob("*.exr"):
                depths.setdefault(int(path.stem), path)
    pictures = {int(p.stem): p for p in folder.glob("*.png")}
    absent = city.with_name(f"{city.name}_depth") / view.name / split.name / f"{folder.name}_depth"
    for frame in frames:
        index = int(frame["frame_index"])
        yield (
            index,
            {
                "picture": pictures.get(index, folder / f"{index:04d}.png"),
                "depth": depths.get(index, absent / f"{index:04d}.exr"),
                "tangent": tangent,
                "matrix": frame["rot_mat"],
            },
        )


def read(picture: Path, depth: Path, tangent: float, matrix: list[list[float]]) -> Frame:
    """One frame."""
    raw = read_exr(depth, "R", "Y")
    pose = np.array(matrix, np.float64)
    pose[:3, :3] *= 100  # stored in hundredths; the translation is in metres
    image = read_picture(picture)
    intrinsics = pinhole_of_field(raw.shape, tangent)
    sky = (raw == SKY) | (raw > FARTHEST)
    return Frame(image, depth_within(np.where(sky, 0, raw), 0) / 100, intrinsics, pose @ OPENGL, sky=sky)


DATASET = DataSet(
    name="matrix-city",
    title="MatrixCity",
    domain="outdoor, city",
    licence="not stated for the data",
    home="city-super.github.io/matrixcity",
    find=find,
    read=read,
    frame_size="1080x1920, 1000x1000",
    paper="452 K frames, 3029 clips",
    complete=(24, 0),
    tally=Tally((452, 3029), None, 3025, "24 blocks; clips reckoned from the paper's frames"),
    notes=(
        "Street frames are faces of a cube seen from one place: neighbours in a clip are no smooth motion.",
        "Single-precision depth is read where it is there: half precision ends at 655 m and has sky beyond.",
    ),
    version=2,
)
