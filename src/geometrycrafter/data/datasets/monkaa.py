"""Monkaa: an animated film as a stereo camera sees it; disparity, depth in units of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import OPENGL, pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import naming, read_pfm, read_picture
from geometrycrafter.data.layouts import first_matches, last_number, matches

FOCAL, BASELINE = 1050.0, 1.0
FARTHEST = {
    "a_rain_of_stones_x2": 300.0,
    "eating_x2": 70.0,
    "family_x2": 70.0,
    "flower_storm_x2": 300.0,
    "funnyworld_x2": 100.0,
    "lonetree_x2": 100.0,
    "top_view_x2": 100.0,
    "treeflight_x2": 300.0,
}
"""Where the sky begins in the scenes that the published protocol takes."""


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "frames_cleanpass/*/left/", "*/frames_cleanpass/*/left/"):
        scene, top = folder.parent.name, folder.parents[2]
        poses = _poses(top / "camera_data" / scene / "camera_data.txt")
        items = tuple(
            {
                "picture": p,
                "disparity": top / "disparity" / scene / "left" / f"{p.stem}.pfm",
                "pose": poses.get(last_number(p)),
                "farthest": FARTHEST.get(scene, np.inf),
            }
            for p in matches(folder, "*.png")
        )
        yield Sequence(scene, items)


def _poses(path: Path) -> dict[int, tuple[float, ...]]:
    """The left camera's matrix of each frame; none where the file is missing."""
    found: dict[int, tuple[float, ...]] = {}
    if not path.is_file():
        return found
    with naming(path):
        index = -1
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == ["Frame"]:
                index = int(words[1])
            elif words[:1] == ["L"]:
                found[index] = tuple(float(x) for x in words[1:])
                if len(found[index]) != 16:
                    raise ValueError(f"frame {index} has no 4x4 pose")
    return found


def read(picture: Path, disparity: Path, pose: tuple[float, ...] | None, farthest: float) -> Frame:
    """One frame."""
    shift = read_pfm(disparity)
    valid = np.isfinite(shift) & (shift >= 1)
    depth = np.where(valid, FOCAL * BASELINE / np.where(valid, shift, 1), 0).astype(np.float32)
    sky = np.isfinite(shift) & (shift >= 0) & ((depth > farthest) | ~valid)
    depth[sky] = 0
    to_world = None if pose is None else np.array(pose).reshape(4, 4) @ OPENGL
    return Frame(read_picture(picture), depth, pinhole(FOCAL, FOCAL, 479.5, 269.5), to_world, sky=sky)


DATASET = DataSet(
    name="monkaa",
    title="Monkaa",
    domain="animated film",
    licence="research only, by its own terms",
    home="lmb.informatik.uni-freiburg.de",
    find=find,
    read=read,
    frame_size="540x960",
    unit="its own",
    evaluation=Selection(frames=110, sequences=tuple(FARTHEST)),
    complete=(24, 8664),
    notes=(
        "The paper has nine scenes and sky masks made by hand; eight scenes with a distance each are public.",
        "Public readers disagree about the direction of its poses; 'data inspect' says whether they fit the depth.",
    ),
)
