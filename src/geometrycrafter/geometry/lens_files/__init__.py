"""Cameras from the files of other programs, or from numbers in a row."""

from __future__ import annotations

import os
from pathlib import Path

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import on_disk
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.geometry.lens_files.colmap import lenses_of_binary, lenses_of_text
from geometrycrafter.geometry.lens_files.opencv import lens_of_coefficients, lens_of_text

LARGEST = 1 << 20
"""Bytes of a camera's file; what is larger is something else."""
INLINE = "fx,fy,cx,cy,k1,k2,p1,p2"

__all__ = ["INLINE", "read_lens"]


def read_lens(given: str | os.PathLike[str]) -> Lens:
    """The camera that a file, or a row of numbers, describes.

    Args:
        given: COLMAP's ``cameras.txt`` or ``cameras.bin``, or the folder of one; a calibration of OpenCV as YAML, XML
            or JSON; or ``fx,fy,cx,cy`` with OpenCV's distortion coefficients after it.

    Raises:
        InputError: where it is none of these, is damaged, or holds several cameras.
    """
    text = os.fspath(given)
    row = _row(text)
    if row is not None:
        if len(row) < 4:
            raise InputError(f"camera {text}: give {INLINE}.")
        return lens_of_coefficients((row[0], row[1], row[2], row[3]), row[4:], False, f"camera {text}")
    path = _file(on_disk(text))
    try:
        if path.stat().st_size > LARGEST:
            raise _foreign(path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: this camera file can't be read ({reason(error)}); check the path.") from error
    lenses = _lenses(path, data)
    if not lenses:
        raise _foreign(path)
    if len(lenses) > 1:
        raise InputError(f"{path} holds {len(lenses)} cameras; give a file with the one that took this video.")
    return lenses[0]


def _row(text: str) -> list[float] | None:
    """Numbers between commas; None where it is no such row."""
    try:
        return [float(word) for word in text.split(",")] if "," in text else None
    except ValueError:
        return None


def _file(path: Path) -> Path:
    """The file itself, or the one of COLMAP in a folder."""
    if path.is_dir():
        return next((path / n for n in ("cameras.bin", "cameras.txt") if (path / n).exists()), path / "cameras.txt")
    return path


def _lenses(path: Path, data: bytes) -> list[Lens]:
    name = str(path)
    if path.suffix == ".bin":
        return lenses_of_binary(data, name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _foreign(path) from error
    if "\0" in text:
        raise _foreign(path)
    lenses = lenses_of_text(text, name)
    if lenses:
        return lenses
    lens = lens_of_text(text, name)
    return [] if lens is None else [lens]


def _foreign(path: Path) -> InputError:
    return InputError(
        f"{path} is no camera file; give cameras.txt or cameras.bin of COLMAP, a calibration of OpenCV with "
        f"camera_matrix and distortion_coefficients, or {INLINE}."
    )
