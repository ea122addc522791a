"""ScanNet: rooms scanned by hand; as it is distributed (.sens), or unpacked by the authors' SensReader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import LARGEST, decode_picture, naming, read_matrix, read_picture, read_png16
from geometrycrafter.data.layouts import first_matches, last_number, matches
from geometrycrafter.data.transforms import resize_picture


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    for folder in first_matches(root, "scene*_*/", "scans_test/scene*_*/", "*/scene*_*/"):
        pictures = sorted(matches(folder, "color/*.jpg"), key=last_number)
        packed = folder / f"{folder.name}.sens"
        if pictures:
            items = tuple(
                {
                    "picture": p,
                    "depth": folder / "depth" / f"{p.stem}.png",
                    "pose": folder / "pose" / f"{p.stem}.txt",
                    "intrinsics": folder / "intrinsic" / "intrinsic_depth.txt",
                }
                for p in pictures
            )
            yield Sequence(folder.name, items)
        elif packed.is_file():
            yield Sequence(folder.name, tuple({"packed": packed, "index": i} for i in range(len(_index(packed)[2]))))


def read(
    picture: Path | None = None,
    depth: Path | None = None,
    pose: Path | None = None,
    intrinsics: Path | None = None,
    packed: Path | None = None,
    index: int = 0,
) -> Frame:
    """One frame."""
    if packed is not None:
        return _read_packed(packed, index)
    assert picture is not None and depth is not None and pose is not None and intrinsics is not None
    return _frame(read_picture(picture), read_png16(depth), read_matrix(intrinsics)[:3, :3], read_matrix(pose))


def _frame(picture: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, pose: np.ndarray) -> Frame:
    """The picture is resized to the depth map as in the published protocol: one camera is not moved to the other."""
    known = bool(np.isfinite(pose).all())  # a camera that lost its way has -inf
    image = resize_picture(picture, depth.shape[0], depth.shape[1], "bicubic")
    return Frame(image, depth.astype(np.float32) / 1000, intrinsics, pose if known else None)


@lru_cache(maxsize=4)
def _index(path: Path) -> tuple[np.ndarray, dict[str, int | float], list[tuple[int, int, int]]]:
    """Of a .sens file: depth's intrinsics, sizes, and where each frame lies with the sizes of colour and depth."""
    with naming(path), open(path, "rb") as file:
        version, length = struct.unpack("<IQ", file.read(12))
        if version != 4 or length > 4096:
            raise ValueError("no recording of ScanNet's fourth version")
        file.seek(length, 1)
        matrices = np.frombuffer(file.read(4 * 16 * 4), "<f4").reshape(4, 4, 4)
        colour, depth, *sizes = struct.unpack("<iiIIII", file.read(24))
        shift, count = struct.unpack("<fQ", file.read(12))
        if colour != 2 or depth != 1 or sizes[2] * sizes[3] > LARGEST or not shift > 0:
            raise ValueError("colour is no JPEG, or depth no zlib")
        end = path.stat().st_size
        places = []
        for _ in range(count):
            start = file.tell()
            head = file.read(96)
            if len(head) < 96:
                break  # cut short: the frames before are whole
            first, second = struct.unpack("<QQ", head[80:])
            if start + 96 + first + second > end:
                break
            places.append((start, first, second))
            file.seek(first + second, 1)
        return matrices[2, :3, :3].astype(np.float64), {"height": sizes[3], "width": sizes[2], "shift": shift}, places


def _read_packed(path: Path, index: int) -> Frame:
    intrinsics, about, places = _index(path)
    start, first, second = places[index]
    with naming(path), open(path, "rb") as file:
        file.seek(start)
        pose = np.frombuffer(file.read(64), "<f4").reshape(4, 4).astype(np.float64)
        file.seek(start + 96)
        picture = decode_picture(file.read(first))
        height, width = int(about["height"]), int(about["width"])
        unpacked = zlib.decompressobj().decompress(file.read(second), 2 * height * width)
        depth = np.frombuffer(unpacked, "<u2").reshape(height, width)
        return _frame(picture, depth.astype(np.float32) * (1000 / about["shift"]), intrinsics, pose)


DATASET = DataSet(
    name="scannet",
    title="ScanNet",
    domain="indoor",
    licence="research only, by its own terms",
    home="scan-net.org",
    find=find,
    read=read,
    frame_size="480x640 (depth), 968x1296 (colour)",
    fps=30.0,
    evaluation=Selection(
        frames=90, stride=3, crop=(464, 624), sequences=tuple(f"scene{n:04d}_00" for n in range(707, 807))
    ),
)
