"""The authors' format: ``point_map`` [T, H, W, 3] float32 and ``mask`` [T, H, W] bool, in an npz archive.

Beside these ``intrinsics`` [T, 3, 3] float32, pixels, ``times`` [T] float64, seconds, and ``fps`` [] float64. Points
where the mask is false are as predicted, as in the authors' files, whose evaluation reads them; or NaN where one asks.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geometrycrafter.export.formats import NpzOptions
from geometrycrafter.scene import Scene


def write_npz(scene: Scene, path: Path, options: NpzOptions | None = None) -> Path:
    """Write point map, mask, intrinsics, times and rate; ``numpy.load`` reads them. Memory holds one frame.

    Raises:
        InputError: where the scene's arrays don't fit.
    """
    kept = (options or NpzOptions()).masked == "keep"
    points = (p if kept else np.where(np.asarray(scene.mask[t], bool)[..., None], p, np.nan) for t, p in _each(scene))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _member(archive, "point_map", scene.points.shape, np.dtype(np.float32), points)
        masks = (np.asarray(scene.mask[t], bool) for t in range(len(scene)))
        _member(archive, "mask", scene.mask.shape, np.dtype(bool), masks)
        _member(archive, "intrinsics", (len(scene), 3, 3), np.dtype(np.float32), iter([scene.intrinsics[:]]))
        _member(archive, "times", (len(scene),), np.dtype(np.float64), iter([scene.times]))
        _member(archive, "fps", (), np.dtype(np.float64), iter([np.asarray(scene.fps)]))
    return path


def _each(scene: Scene) -> Iterator[tuple[int, np.ndarray]]:
    """Frames' points ``[H, W, 3]``, with their numbers."""
    return enumerate(iter(scene.points))


def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype, frames: Iterator[np.ndarray]
) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_2_0(file, header)
        for frame in frames:
            file.write(np.ascontiguousarray(frame, dtype).tobytes())
