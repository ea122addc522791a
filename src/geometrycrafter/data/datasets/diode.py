"""DIODE: single pictures with a scanner's dense depth, indoors and out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.data.conventions import depth_within, from_corner, pinhole
from geometrycrafter.data.dataset import DataSet, Frame, Selection, Sequence
from geometrycrafter.data.formats import read_npy, read_picture
from geometrycrafter.data.layouts import first_matches
from geometrycrafter.errors import InputError, how_to_install


def find(root: Path) -> Iterator[Sequence]:
    """The sequences below a folder."""
    pattern = "{indoor,outdoor}*/scene_*/scan_*/*.png"
    for p in first_matches(root, f"val/{pattern}", pattern, f"*/val/{pattern}"):
        item = {"picture": p, "depth": p.with_name(f"{p.stem}_depth.npy")}
        yield Sequence(p.stem, (item | {"mask": p.with_name(f"{p.stem}_depth_mask.npy")},))


def read(picture: Path, depth: Path, mask: Path) -> Frame:
    """One frame."""
    z = np.where(read_npy(mask) > 0, read_npy(depth), 0).astype(np.float32)
    return Frame(read_picture(picture), depth_within(z), from_corner(pinhole(886.81, 927.06, 512, 384)))


def without_edges(frame: Frame) -> Frame:
    """Depth at Canny's edges of the disparity is unknown: the scanner mixes there what lies before and behind.

    The paper says Canny and no more; thresholds (100 and 200 of 255, disparity between its 2nd and 98th percentile)
    and the pixel around each edge are ours.

    Raises:
        InputError: where OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"DIODE's filter wants OpenCV; {how_to_install('data')}.") from error
    known = frame.depth > 0
    if not known.any():
        return frame
    disparity = np.where(known, 1 / np.where(known, frame.depth, 1), 0)
    low, high = np.percentile(disparity[known], [2, 98])
    grey = (np.clip((disparity - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    edges = cv2.dilate(cv2.Canny(grey, 100, 200), np.ones((3, 3), np.uint8)) > 0
    return frame._replace(depth=np.where(edges, 0, frame.depth))


DATASET = DataSet(
    name="diode",
    title="DIODE",
    domain="indoor and outdoor",
    licence="MIT",
    home="diode-dataset.org",
    find=find,
    read=read,
    frame_size="768x1024",
    video=False,
    evaluation=Selection(filter=without_edges),
    complete=(771, 771),
    notes=("Whether its depth is planar is nowhere stated; it is taken as such, as other readers do.",),
    version=2,
)
