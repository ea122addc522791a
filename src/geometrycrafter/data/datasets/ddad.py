"""DDAD: drives with six cameras and a far-seeing lidar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.conventions import inverse_pose, pinhole, pose_of, rotation_of_quaternion
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import LARGEST, naming, read_picture
from geometrycrafter.data.layouts import first_matches

CAMERA, LIDAR = "CAMERA_01", "LIDAR"
VALIDATION = "1"


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for listing in first_matches(root, "ddad.json", "*/ddad.json", "scene_dataset_*.json"):
        with naming(listing):
            scenes = json.loads(listing.read_text())["scene_splits"][VALIDATION]["filenames"]
        for scene in sorted(scenes):
            path = listing.parent / scene
            with naming(path):
                yield Sequence(path.parent.name, tuple(_items(path)))


def _items(path: Path) -> Iterator[dict[str, Any]]:
    stored = json.loads(path.read_text())
    data = {d["key"]: d for d in stored["data"]}
    for sample in sorted(stored["samples"], key=lambda s: s["id"]["timestamp"]):
        own = {data[k]["id"]["name"]: data[k]["datum"] for k in sample["datum_keys"]}
        image, cloud = own[CAMERA]["image"], own[LIDAR]["point_cloud"]
        yield {
            "picture": path.parent / image["filename"],
            "points": path.parent / cloud["filename"],
            "calibration": path.parent / "calibration" / f"{sample['calibration_key']}.json",
            "camera": image["pose"],
            "lidar": cloud["pose"],
        }


@lru_cache(maxsize=256)
def _intrinsics(path: Path) -> np.ndarray:
    with naming(path):
        stored = json.loads(path.read_text())
        k = stored["intrinsics"][stored["names"].index(CAMERA)]
        return pinhole(k["fx"], k["fy"], k["cx"], k["cy"])


def _pose(stored: dict[str, Any]) -> np.ndarray:
    q, t = stored["rotation"], stored["translation"]
    return pose_of(rotation_of_quaternion(q["qw"], q["qx"], q["qy"], q["qz"]), np.array([t["x"], t["y"], t["z"]]))


def read(picture: Path, points: Path, calibration: Path, camera: dict[str, Any], lidar: dict[str, Any]) -> Frame:
    """One frame."""
    image, intrinsics = read_picture(picture), _intrinsics(calibration)
    with naming(points), np.load(points, allow_pickle=False) as stored:
        cloud = stored["data"][:, :3].astype(np.float64)
        if len(cloud) > LARGEST:
            raise ValueError(f"{len(cloud)} points")
    pose = _pose(camera)
    motion = inverse_pose(pose) @ _pose(lidar)
    seen = cloud @ motion[:3, :3].T + motion[:3, 3]
    seen = seen[seen[:, 2] > 0]
    # As the authors' toolkit: pixels by truncation, the last point that falls on one is the one that stays.
    pixels = seen @ intrinsics.T
    u, v = (np.floor(pixels[:, i] / seen[:, 2]) for i in (0, 1))
    height, width = image.shape[:2]
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    depth = np.zeros((height, width), np.float32)
    depth[v[inside].astype(int), u[inside].astype(int)] = seen[inside, 2]
    return Frame(image, depth, intrinsics, pose)


DATASET = DataSet(
    name="ddad",
    title="DDAD",
    domain="outdoor, driving",
    licence="CC BY-NC-SA 4.0",
    home="github.com/TRI-ML/DDAD",
    find=find,
    read=read,
    frame_size="1216x1936",
    fps=10.0,
    evaluation=Selection(crop=(1152, 1920)),
    complete=(50, 3950),
    notes=("The first camera of the validation split; depth is the lidar's, a few in a hundred pixels.",),
)
