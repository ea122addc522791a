"""Edges of stored frames that a player doesn't show: PixelCrop of Matroska, the clean aperture of QuickTime and MP4."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from geometrycrafter.video.boxes import inside, top_box
from geometrycrafter.video.matroska import SEGMENT, TRACKS, element

HEADER = 2**22
"""Bytes of a Matroska file's beginning that hold its tracks."""
TRACK, KIND, VIDEO = 0xAE, 0x83, 0xE0
CROPS = {"top": 0x54BB, "left": 0x54CC, "bottom": 0x54AA, "right": 0x54DD}
ENTRY = 78
"""Bytes of a video's sample entry before its boxes."""


class Cropping(NamedTuple):
    """Pixels of each edge that aren't shown."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is left."""
        return height - self.top - self.bottom, width - self.left - self.right

    def of(self, picture: np.ndarray) -> np.ndarray:
        """What is left of a picture ``[H, W, ...]``."""
        height, width = picture.shape[:2]
        return picture[self.top : height - self.bottom, self.left : width - self.right]


def cropping_of(path: os.PathLike[str], container: Any, stream: Any) -> Cropping:
    """Of a video stream; none where nothing sensible is said.

    Args:
        path: of the file.
        container: it, opened.
        stream: its video.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    if "matroska" in container.format.name:
        found = _of_matroska(path, [s.index for s in container.streams.video].index(stream.index))
    elif "mp4" in container.format.name:
        found = _of_aperture(path, stream.id, width, height)
    else:
        return Cropping()
    sensible = min(found) >= 0 and found.left + found.right < width and found.top + found.bottom < height
    return found if sensible else Cropping()


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while (found := element(data[position : position + 12])) is not None:
        identifier, size, head = found
        end = len(data) if size is None else position + head + size
        yield identifier, data[position + head : end]
        position = end


def _of_matroska(path: os.PathLike[str], number: int) -> Cropping:
    """Of the track that is so many videos after the first."""
    with open(path, "rb") as file:
        data = file.read(HEADER)
    segment = next((body for kind, body in _elements(data) if kind == SEGMENT), b"")
    tracks = next((body for kind, body in _elements(segment) if kind == TRACKS), b"")
    entries = [dict(_elements(body)) for kind, body in _elements(tracks) if kind == TRACK]
    videos = [dict(_elements(entry.get(VIDEO, b""))) for entry in entries if entry.get(KIND, b"")[-1:] == b"\1"]
    if number >= len(videos):
        return Cropping()
    return Cropping(*(int.from_bytes(videos[number].get(CROPS[side], b""), "big") for side in Cropping._fields))


def _of_aperture(path: os.PathLike[str], track: int, width: int, height: int) -> Cropping:
    for body in inside(top_box(path, b"moov"), b"trak"):
        head = next(inside(body, b"tkhd"), b"")
        at = 20 if head[:1] == b"\1" else 12
        if int.from_bytes(head[at : at + 4], "big") != track:
            continue
        entries = next(inside(body, b"mdia", b"minf", b"stbl", b"stsd"), b"")[8:]
        clap = next(inside(entries[8 + ENTRY :], b"clap"), b"")
        parts = [int.from_bytes(clap[i : i + 4], "big", signed=i in (16, 24)) for i in range(0, 32, 4)]
        if len(clap) < 32 or not all(parts[1::2]):
            return Cropping()
        across, down, right, below = (n / d for n, d in zip(parts[::2], parts[1::2]))
        left, top = round((width - across) / 2 + right), round((height - down) / 2 + below)
        return Cropping(top, left, height - top - round(down), width - left - round(across))
    return Cropping()
