"""Virtual KITTI 2: five of KITTI's drives rendered in ten variations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import inverse_pose, pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Sequence, Tally
from geometrycrafter.data.formats import naming, read_picture, read_png16
from geometrycrafter.data.layouts import first_matches, last_number, matches, split_at_gaps

SKY = 65535


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "Scene*/*/frames/rgb/Camera_*/", "*/Scene*/*/frames/rgb/Camera_*/"):
        variant, eye = folder.parents[2], int(folder.name.removeprefix("Camera_"))
        intrinsics, extrinsics = (_rows(variant / f"{name}.txt", eye) for name in ("intrinsic", "extrinsic"))
        items = []
        for p in matches(folder, "rgb_*.jpg"):
            index = last_number(p)
            with naming(variant / "extrinsic.txt"):
                k, motion = intrinsics[index], extrinsics[index]
            depth = variant / "frames" / "depth" / folder.name / f"depth_{index:05d}.png"
            item = {"picture": p, "depth": depth, "intrinsics": tuple(k), "extrinsics": tuple(motion)}
            items.append((index, item))
        yield from split_at_gaps(f"{variant.parent.name}-{variant.name}-{eye}", items, scene=variant.parent.name)


def _rows(path: Path, eye: int) -> dict[int, list[float]]:
    """Values of each frame as one camera has them; the table's first two columns say whose they are."""
    with naming(path):
        lines = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
        return {int(x[0]): [float(v) for v in x[2:]] for x in lines if int(x[1]) == eye}


def read(picture: Path, depth: Path, intrinsics: tuple[float, ...], extrinsics: tuple[float, ...]) -> Frame:
    """One frame."""
    raw = read_png16(depth)
    pose = inverse_pose(np.array(extrinsics).reshape(4, 4))
    sky = raw == SKY
    z = raw * ~sky * np.float32(0.01)
    return Frame(read_picture(picture), z, pinhole(*intrinsics), pose, sky=sky)


DATASET = DataSet(
    name="virtual-kitti",
    title="Virtual KITTI 2",
    domain="outdoor, driving",
    licence="CC BY-NC-SA 3.0",
    home="europe.naverlabs.com/proxy-virtual-worlds-vkitti-2",
    find=find,
    read=read,
    frame_size="375x1242",
    fps=10.0,
    paper="43 K frames, 320 clips",
    tally=Tally((43, 320), 42520, 320, "five drives of 447, 233, 270, 339 and 837 frames, ten variations, two eyes"),
    complete=(100, 42520),
)
