"""Depth as 16-bit grey PNG, a file a frame: one scale for the clip, told in each file and in ``scale.json``.

A value of 0 is no depth. Otherwise, v being the value, depth is ``step * v`` (linear),
``near * (far / near) ** ((v - 1) / 65534)`` (log), or ``v / 1000`` metres (millimetres).
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import Png16Options
from geometrycrafter.export.maps import depth_range, known_pose, valid_depth
from geometrycrafter.export.pictures import named
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import encode_png

LARGEST = 2**16 - 1
HEAD = 33
"""Bytes of a PNG before which no text may stand: its signature and its first chunk."""


def write_png16(scene: Scene, path: Path, options: Png16Options | None = None) -> Path:
    """Write a folder of depth maps; memory holds one frame.

    Args:
        scene: to write.
        path: of the folder.
        options: how depth is scaled.

    Raises:
        InputError: where millimetres are asked and the scene is not in metres, or too far for them.
    """
    options = options or Png16Options()
    scale = _scale(scene, options.scale)
    path.mkdir(exist_ok=True)
    frames = []
    for t in range(len(scene)):
        depth, valid = valid_depth(scene, t)
        picture = encode_png(np.where(valid, _values(depth, valid, scale), 0).astype(np.uint16))
        (path / named(t, "png")).write_bytes(_with_text(picture, "depth", json.dumps(scale)))
        pose = known_pose(scene, t)
        frames.append(
            {
                "file": named(t, "png"),
                "time": float(scene.times[t]),
                "intrinsics": np.asarray(scene.intrinsics[t], np.float64).tolist(),
                "camera_to_world": None if pose is None else pose.tolist(),
            }
        )
    about = {**scale, "frames": frames}
    (path / "scale.json").write_text(json.dumps(about, indent=1) + "\n", encoding="ascii")
    return path


def _scale(scene: Scene, kind: str) -> dict[str, Any]:
    """How values are made from depth, and what undoes it."""
    if kind == "millimetres" and scene.unit != "m":
        raise InputError(
            f"{scene.place}: the scene is not in metres, as --scale millimetres wants; run 'geometrycrafter poses "
            f"{scene.place} --distance ...' first, or choose --scale linear."
        )
    near, far = depth_range(scene)
    about: dict[str, Any] = {"scale": kind, "unit": "metres" if scene.unit == "m" else "the scene's own", "none": 0}
    if kind == "log":
        return {**about, "near": near, "far": far, "depth": "near * (far / near) ** ((value - 1) / 65534)"}
    if kind == "linear":
        return {**about, "step": far / LARGEST, "depth": "step * value"}
    if far * 1000 >= LARGEST + 0.5:
        raise InputError(
            f"{scene.place}: depths up to {far:.4g} m are too far for --scale millimetres, which ends at 65 m; choose "
            "--scale log."
        )
    return {**about, "step": 0.001, "depth": "step * value"}


def _values(depth: np.ndarray, valid: np.ndarray, scale: dict[str, Any]) -> np.ndarray:
    """``[H, W]`` float64 from 1 to 65535 where valid: what has a depth is never written as none."""
    if scale["scale"] == "log":
        near, span = scale["near"], np.log(scale["far"] / scale["near"])
        ratio = np.log(np.where(valid, depth, near).astype(np.float64) / near)
        values = 1 + (LARGEST - 1) * (ratio / span if span else ratio)
    else:
        values = depth.astype(np.float64) / scale["step"]
    return np.asarray(values.round().clip(1, LARGEST))


def _with_text(png: bytes, keyword: str, text: str) -> bytes:
    """A PNG with a text chunk, Latin-1."""
    body = b"tEXt" + keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:HEAD] + chunk + png[HEAD:]
