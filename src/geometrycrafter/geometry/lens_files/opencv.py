"""Calibrations as OpenCV's ``FileStorage`` writes them, YAML, XML or JSON, and what ROS makes of them.

A matrix is ``rows``, ``cols`` and ``data``; lists are taken too. Pixels have their centres at whole numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import yaml

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.lens import Lens

CAMERA = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K")
BENT = ("distortion_coefficients", "distCoeffs", "dist_coeffs", "dist_coeff", "Distortion_Coefficients", "D")
WIDTH = ("image_width", "image_Width", "width")
HEIGHT = ("image_height", "image_Height", "height")
FISHEYE = ("equidistant", "fisheye", "kannala_brandt")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a matrix of OpenCV is a table like any other."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-", lambda loader, suffix, node: loader.construct_mapping(node, deep=True)
)


def lens_of_text(text: str, name: str) -> Lens | None:
    """The camera of a calibration; None where the text is no such file.

    Raises:
        InputError: where it is one, and something in it is missing, damaged or not known.
    """
    table = _table(text, name)
    if table is None:
        return None
    matrix = _first(table, CAMERA)
    if matrix is None:
        return None
    k = _numbers(matrix, name, "camera_matrix")
    if len(k) != 9:
        raise InputError(f"{name}: camera_matrix has {len(k)} numbers; it wants 3x3.")
    fx, skew, cx, below, fy, cy, *last = k
    if skew or below or last != [0, 0, 1]:
        raise InputError(f"{name}: camera_matrix is not fx 0 cx, 0 fy cy, 0 0 1; give a calibration without skew.")
    bent = _first(table, BENT)
    coefficients = [] if bent is None else _numbers(bent, name, "distortion_coefficients")
    said = str(table.get("distortion_model", "")).lower()
    fisheye = said in FISHEYE or str(table.get("fisheye_model", 0)).lower() in ("1", "true")
    size = [_side(_first(table, keys), name, keys[0]) for keys in (HEIGHT, WIDTH)]
    lens = lens_of_coefficients((fx, fy, cx, cy), coefficients, fisheye, name)
    if None in size:
        return lens
    return Lens(lens.model, lens.parameters, size[0], size[1])


def lens_of_coefficients(
    camera: tuple[float, float, float, float], coefficients: list[float], fisheye: bool, name: str
) -> Lens:
    """A lens from OpenCV's coefficients: four, five or eight, in its order (k1, k2, p1, p2, k3, ...).

    Raises:
        InputError: on any other number of them, or values that no camera has.
    """
    bent = list(coefficients)
    while len(bent) > 8 and bent[-1] == 0:
        bent.pop()
    try:
        if fisheye:
            if len(bent) != 4:
                raise InputError(f"a fisheye lens has {len(bent)} distortion coefficients; it wants k1, k2, k3, k4.")
            return Lens("OPENCV_FISHEYE", (*camera, *bent))
        if len(bent) not in (0, 4, 5, 8):
            tilted = len(bent) in (12, 14)
            what = "of a tilted or prism lens; calibrate without" if tilted else "; give 4, 5 or 8 of them"
            raise InputError(f"there are {len(bent)} distortion coefficients{' ' * tilted}{what}.")
        if not bent:
            return Lens("PINHOLE", camera)
        if len(bent) == 4 or not any(bent[4:]):
            return Lens("OPENCV", (*camera, *bent[:4]))
        return Lens("FULL_OPENCV", (*camera, *bent, *[0.0] * (8 - len(bent))))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _table(text: str, name: str) -> dict[str, Any] | None:
    """What a file says, as one table; None where it is in none of the three languages."""
    head = text.lstrip()
    try:
        if head.startswith("{"):
            found = json.loads(head)
        elif head.startswith("<"):
            found = _table_of_xml(head)
        else:
            # "%YAML:1.0" is no directive of YAML.
            found = yaml.load(re.sub(r"\A%YAML:.*\n", "", head), _Loader)
    except (ValueError, ElementTree.ParseError, yaml.YAMLError, RecursionError) as error:
        if any(key in head for key in CAMERA[:-1]):
            raise InputError(f"{name}: this calibration is damaged or cut short; write it again.") from error
        return None
    return {str(k): v for k, v in found.items()} if isinstance(found, Mapping) else None


def _table_of_xml(text: str) -> dict[str, Any] | None:
    if "<!DOCTYPE" in text:
        return None
    root = ElementTree.fromstring(text)
    if root.tag != "opencv_storage":
        return None
    return {one.tag: {part.tag: part.text for part in one} if len(one) else (one.text or "").strip() for one in root}


def _first(table: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((table[key] for key in keys if key in table), None)


def _numbers(value: Any, name: str, key: str) -> list[float]:
    """Of a matrix, row by row.

    Raises:
        InputError: where they are not as many as its sides say, or are no finite numbers.
    """
    wanted = None
    try:
        if isinstance(value, Mapping):
            wanted = int(value["rows"]) * int(value["cols"])
            value = value["data"]
        if isinstance(value, str):
            value = value.split()
        rows = [row if isinstance(row, list) else [row] for row in value]
        numbers = [float(number) for row in rows for number in row]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: {key} is no matrix of numbers; write it again.") from error
    if wanted not in (None, len(numbers)) or not all(map(math.isfinite, numbers)):
        raise InputError(f"{name}: {key} has numbers missing, or some that are not finite; write it again.")
    return numbers


def _side(value: Any, name: str, key: str) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {key} is no whole number; write it again.") from error
