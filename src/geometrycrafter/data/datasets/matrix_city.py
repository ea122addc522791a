"""MatrixCity: a city from the air and from the street."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import OPENGL, depth_within, pinhole_of_field
from geometrycrafter.data.dataset import DataSet, Frame, Sequence
from geometrycrafter.data.formats import naming, read_exr, read_picture
from geometrycrafter.data.layouts import first_matches

SKY = 65504.0
"""Centimetres; where half precision ends."""


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    pattern = "*_city/*/train*/*/transforms.json"
    for listing in first_matches(root, pattern, f"*/{pattern}"):
        folder = listing.parent
        split, view, city = folder.parent, folder.parents[1], folder.parents[2]
        with naming(listing):
            stored = json.loads(listing.read_text())
            frames = sorted(stored["frames"], key=lambda f: f["frame_index"])
            tangent = math.tan(float(stored["camera_angle_x"]) / 2)
        depths: dict[int, Path] = {}
        for suffix in ("_depth", "_depth_float32", "_depth_flaot32"):
            beside = city.with_name(city.name + suffix) / view.name / split.name
            for place in (beside / f"{folder.name}_depth", beside / folder.name):
                for path in place.glob("*.exr"):
                    depths.setdefault(int(path.stem), path)
        pictures = {int(p.stem): p for p in folder.glob("*.png")}
        items = []
        for frame in frames:
            index = int(frame["frame_index"])
            missing = folder / f"{index:04d}.png"
            absent = city.with_name(f"{city.name}_depth") / view.name / split.name / f"{folder.name}_depth"
            items.append(
                {
                    "picture": pictures.get(index, missing),
                    "depth": depths.get(index, absent / f"{index:04d}.exr"),
                    "tangent": tangent,
                    "matrix": frame["rot_mat"],
                }
            )
        yield Sequence(f"{city.name}-{view.name}-{split.name}-{folder.name}", tuple(items))


def read(picture: Path, depth: Path, tangent: float, matrix: list[list[float]]) -> Frame:
    """One frame."""
    raw = read_exr(depth, "R", "Y")
    pose = np.array(matrix, np.float64)
    pose[:3, :3] *= 100  # stored in hundredths; the translation is in metres
    image = read_picture(picture)
    intrinsics = pinhole_of_field(raw.shape, tangent)
    return Frame(image, depth_within(raw, 0, SKY) / 100, intrinsics, pose @ OPENGL, sky=raw >= SKY)


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
    notes=("Street frames are faces of a cube seen from one place: neighbours in a clip are no smooth motion.",),
)
