"""Hypersim: photo-realistic rooms; HDR colour, distance to the optical centre in half precision."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import OPENGL, depth_within, pinhole, planar_depth, pose_of
from geometrycrafter.data.dataset import DataSet, Frame, Sequence
from geometrycrafter.data.formats import naming, read_hdf5
from geometrycrafter.data.layouts import first_matches, matches
from geometrycrafter.errors import InputError

TABLE = "metadata_camera_parameters.csv"


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder.

    Raises:
        InputError: where what belongs together is not there, or not whole.
    """
    cameras = _cameras(root)
    pattern = "ai_*/images/scene_cam_*_geometry_hdf5"
    for folder in first_matches(root, pattern, f"*/{pattern}"):
        scene, name = folder.parents[1], folder.name.removesuffix("_geometry_hdf5").removeprefix("scene_")
        if scene.name not in cameras:
            raise InputError(f"{scene}: {TABLE} does not list this scene; copy the authors' newest one.")
        projection = cameras[scene.name]
        if projection is None:
            continue  # a tilted lens is no pinhole camera
        items = []
        for depth in matches(folder, "frame.*.depth_meters.hdf5"):
            stem = depth.name.removesuffix(".depth_meters.hdf5")
            items.append(
                {
                    "colour": scene / "images" / f"scene_{name}_final_hdf5" / f"{stem}.color.hdf5",
                    "depth": depth,
                    "entity": folder / f"{stem}.render_entity_id.hdf5",
                    "detail": scene / "_detail",
                    "camera": name,
                    "index": int(stem.split(".")[1]),
                    "projection": projection,
                }
            )
        yield Sequence(f"{scene.name}-{name}", tuple(items))


def _cameras(root: Path) -> dict[str, tuple[float, ...] | None]:
    """The projection of each scene, None where the lens is tilted. The authors' table lies beside their code."""
    tables = first_matches(root, TABLE, f"*/{TABLE}", f"*/*/{TABLE}")
    if not tables:
        raise InputError(f"{root}: {TABLE} is missing; copy it here from the authors' contrib/mikeroberts3000.")
    found: dict[str, tuple[float, ...] | None] = {}
    with naming(tables[0]), open(tables[0], newline="") as file:
        for row in csv.DictReader(file):
            p = [[float(row[f"M_proj_{i}{j}"]) for j in range(4)] for i in range(4)]
            straight = max(map(abs, (p[0][1], p[1][0], p[3][0], p[3][1]))) < 1e-6
            found[row["scene_name"]] = (p[0][0], p[0][2], p[1][1], p[1][2]) if straight else None
    return found


@cache
def _metres(detail: Path) -> float:
    """Metres in a unit of the scene's positions."""
    path = detail / "metadata_scene.csv"
    with naming(path), open(path, newline="") as file:
        rows = {
            row["parameter_name"].strip(): row["parameter_value"] for row in csv.DictReader(file, skipinitialspace=True)
        }
        return float(rows["meters_per_asset_unit"])


def read(
    colour: Path, depth: Path, entity: Path, detail: Path, camera: str, index: int, projection: tuple[float, ...]
) -> Frame:
    """One frame."""
    distance = read_hdf5(depth, "dataset").astype(np.float32)
    height, width = distance.shape
    p00, p02, p11, p12 = projection
    intrinsics = pinhole(p00 * width / 2, p11 * height / 2, (1 - p02) * width / 2 - 0.5, (1 + p12) * height / 2 - 0.5)
    rotation = read_hdf5(detail / camera / "camera_keyframe_orientations.hdf5", "dataset", index)
    position = read_hdf5(detail / camera / "camera_keyframe_positions.hdf5", "dataset", index)
    pose = pose_of(rotation.astype(np.float64), position.astype(np.float64) * _metres(detail)) @ OPENGL
    drawn = read_hdf5(entity, "dataset") != -1
    image = tone_mapped(read_hdf5(colour, "dataset").astype(np.float32), drawn)
    return Frame(image, planar_depth(depth_within(distance), intrinsics), intrinsics, pose)


def tone_mapped(colour: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """HDR colour ``[H, W, 3]`` as a picture, by the authors' recipe: the 90th percentile of brightness becomes 0.8."""
    colour = np.where(np.isfinite(colour), colour, 0)
    brightness = colour @ np.array([0.3, 0.59, 0.11], np.float32)
    scale = 1.0
    if drawn.any():
        bright = float(np.percentile(brightness[drawn], 90))
        scale = 0.0 if bright < 1e-4 else 0.8**2.2 / bright
    return (np.clip(np.maximum(scale * colour, 0) ** (1 / 2.2), 0, 1) * 255).round().astype(np.uint8)


DATASET = DataSet(
    name="hypersim",
    title="Hypersim",
    domain="indoor",
    licence="CC BY-SA 3.0",
    home="github.com/apple/ml-hypersim",
    find=find,
    read=read,
    frame_size="768x1024",
    video=False,
    paper="75 K images",
    notes=("Scenes with a shifted or tilted lens are left out.",),
)
