"""Hypersim: photo-realistic rooms; HDR colour, distance to the optical centre in half precision."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from geometrycrafter.data.conventions import OPENGL, camera_and_turn, depth_within, planar_depth, pose_of
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_hdf5
from geometrycrafter.data.layouts import first_matches, matches
from geometrycrafter.errors import InputError

TABLE = "metadata_camera_parameters.csv"
SKEW = 0.3
"""Pixels by which the lower edge of a picture may be shifted against the upper: a pinhole camera has none."""


class Lens(NamedTuple):
    """A row of the authors' table."""

    rays: tuple[float, ...]
    """``[3, 3]``, row by row: from (u, v, 1), -1 to 1 to the right and up, to a direction in OpenGL's axes."""
    shape: tuple[int, int]
    """Height and width of a picture."""


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
        lens = cameras[scene.name]
        skew = camera_of(lens.rays, lens.shape)[0][0, 1]
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
                    "rays": lens.rays,
                }
            )
        reason = f"its lens is so tilted that pixels are no rectangles (more than {SKEW} px of skew)"
        yield Sequence(f"{scene.name}-{name}", tuple(items), reason if abs(skew) > SKEW else "", scene.name)


def _cameras(root: Path) -> dict[str, Lens]:
    """The camera of each scene. The authors' table lies beside their code."""
    tables = first_matches(root, TABLE, f"*/{TABLE}", f"*/*/{TABLE}")
    if not tables:
        raise InputError(f"{root}: {TABLE} is missing; copy it here from the authors' contrib/mikeroberts3000.")
    found: dict[str, Lens] = {}
    with naming(tables[0]), open(tables[0], newline="") as file:
        for row in csv.DictReader(file):
            rays = tuple(float(row[f"M_cam_from_uv_{i}{j}"]) for i in range(3) for j in range(3))
            height, width = (int(float(row[f"settings_output_img_{side}"])) for side in ("height", "width"))
            camera_of(rays, (height, width))  # a row that is none is told here
            found[row["scene_name"]] = Lens(rays, (height, width))
    return found


@cache
def camera_of(rays: tuple[float, ...], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics ``[3, 3]`` of a pinhole camera with these rays, and how it is turned ``[3, 3]`` in OpenCV's axes.

    A tilted lens is a pinhole camera whose picture is not at right angles to where the scene's pose looks: it looks
    elsewhere.
    """
    height, width = shape
    uv = np.array([[2 / width, 0, 1 / width - 1], [0, -2 / height, 1 - 1 / height], [0, 0, 1]])
    return camera_and_turn(np.linalg.inv(OPENGL[:3, :3] @ np.reshape(rays, (3, 3)) @ uv))


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
    colour: Path, depth: Path, entity: Path, detail: Path, camera: str, index: int, rays: tuple[float, ...]
) -> Frame:
    """One frame."""
    distance = read_hdf5(depth, "dataset").astype(np.float32)
    skewed, turned = camera_of(rays, (distance.shape[0], distance.shape[1]))
    intrinsics = skewed * [[1, 0, 1], [1, 1, 1], [1, 1, 1]]
    rotation = read_hdf5(detail / camera / "camera_keyframe_orientations.hdf5", "dataset", index)
    position = read_hdf5(detail / camera / "camera_keyframe_positions.hdf5", "dataset", index)
    to_world = pose_of(rotation.astype(np.float64), position.astype(np.float64) * _metres(detail)) @ OPENGL
    pose = to_world @ pose_of(turned.T, np.zeros(3))
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
    tally=Tally(
        (75, None),
        70439,
        None,
        "74,619 released pictures, 455 of the table's 482 scenes",
        "scenes with more than 0.3 px of skew are left out",
    ),
    notes=(
        "Tilted lenses are pinhole cameras that look elsewhere than their pose; 27 of 482 scenes, whose pixels are no "
        "rectangles, are left out.",
    ),
    version=2,
)
