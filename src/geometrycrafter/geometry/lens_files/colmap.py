"""COLMAP's ``cameras.txt`` and ``cameras.bin``. Its pixels have their centres at 0.5, which is 0 here."""

from __future__ import annotations

import struct

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.lens import MODELS, Lens, parameters_of

IDS = (
    "SIMPLE_PINHOLE",
    "PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "OPENCV_FISHEYE",
    "FULL_OPENCV",
    "FOV",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
    "THIN_PRISM_FISHEYE",
    "RAD_TAN_THIN_PRISM_FISHEYE",
)
"""Models by their number in ``cameras.bin``."""


def lenses_of_text(text: str, name: str) -> list[Lens]:
    """The cameras of a ``cameras.txt``; none where it is no such file.

    Raises:
        InputError: where a line is cut short, or its model is not known.
    """
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not rows or any(len(row) < 2 or not row[0].isdigit() or row[1] not in IDS for row in rows):
        return []
    lenses = []
    for row in rows:
        try:
            width, height = map(int, row[2:4])
            parameters = list(map(float, row[4:]))
        except ValueError as error:
            raise InputError(
                f"{name}: the line of camera {row[0]} is damaged or cut short; export it again."
            ) from error
        lenses.append(_lens(row[1], width, height, parameters, name))
    return lenses


def lenses_of_binary(data: bytes, name: str) -> list[Lens]:
    """The cameras of a ``cameras.bin``.

    Raises:
        InputError: where it is no such file, is cut short, or has a model that is not known.
    """
    lenses, at = [], 8
    cut = InputError(f"{name}: this is no whole cameras.bin of COLMAP; export it again.")
    if len(data) < 8:
        raise cut
    (count,) = struct.unpack_from("<Q", data)
    if count * 48 > len(data):  # a camera takes 48 bytes at least
        raise cut
    for _ in range(count):
        if at + 24 > len(data):
            raise cut
        _, number, width, height = struct.unpack_from("<iiQQ", data, at)
        if not 0 <= number < 100:
            raise cut
        model, at = IDS[number] if number < len(IDS) else f"number {number}", at + 24
        if model not in MODELS:
            raise _unknown(model, name)
        size = len(parameters_of(model))
        if at + 8 * size > len(data):
            raise cut
        lenses.append(_lens(model, width, height, list(struct.unpack_from(f"<{size}d", data, at)), name))
        at += 8 * size
    if at != len(data):
        raise cut
    return lenses


def _unknown(model: str, name: str) -> InputError:
    return InputError(f"{name}: lenses of the model {model} are not known; calibrate with one of {', '.join(MODELS)}.")


def _lens(model: str, width: int, height: int, parameters: list[float], name: str) -> Lens:
    if model not in MODELS:
        raise _unknown(model, name)
    centre = parameters_of(model).index("cx")
    moved = [value - 0.5 if i in (centre, centre + 1) else value for i, value in enumerate(parameters)]
    try:
        return Lens(model, tuple(moved), height, width)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
