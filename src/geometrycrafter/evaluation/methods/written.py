"""Predictions that other programs have written."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.formats import naming, read_exr, read_png16
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames, FrameSequence
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.files import fingerprint, natural

KINDS = {"point_map": 4, "points": 4, "depth": 3, "disparity": 3}
"""Arrays of an NPZ and their number of axes; the first that is there is taken."""
SUFFIXES = (".exr", ".png", ".npy")
"""Of frames."""


class _Place(NamedTuple):
    """Where the predictions of a clip are."""

    files: list[Path]
    """An NPZ or NPY, or the frames."""
    kind: str = ""
    """What frames are; empty for an NPZ or NPY."""


@dataclass(frozen=True)
class Predictions(Method):
    """A folder that has, for each clip, ``NAME.npz`` or ``NAME.npy``, or a folder ``NAME`` of EXR, 16-bit PNG or NPY
    frames.

    An NPZ holds ``point_map`` or ``points`` ``[T, H, W, 3]``, ``depth`` or ``disparity`` ``[T, H, W]``. What frames are
    is in the name of the folder around them (``NAME/depth``, ``NAME/disparity``, ``NAME/points``), or depth.
    """

    folder: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings("folder")

    def content(self, clip: str) -> str | None:
        found = self._find(clip)
        if found is None:
            return None
        words = [found.kind, *(f"{p.name} {fingerprint(p)}" for p in found.files)]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()

    def prepare(self, device: str) -> Predictor:
        return self._predict

    def _find(self, clip: str) -> _Place | None:
        folder = Path(self.folder)
        for file in (folder / f"{clip}.npz", folder / f"{clip}.npy"):
            if file.is_file():
                return _Place([file])
        frames = folder / clip
        if not frames.is_dir():
            return None
        kind = next((k for k in ("points", "depth", "disparity") if (frames / k).is_dir()), None)
        place = frames / kind if kind else frames
        return _Place(sorted((p for p in place.iterdir() if p.suffix in SUFFIXES), key=natural), kind or "depth")

    def _predict(self, clip: Clip, name: str, protocol: Protocol) -> Prediction:
        found, shape = self._find(name), clip.depth.shape
        if found is None:
            raise InputError(f"{self.folder} holds neither {name}.npz, {name}.npy nor a folder {name}.")
        if found.kind:
            return _of_frames(found.files, found.kind, shape)
        return (_of_archive if found.files[0].suffix == ".npz" else _of_array)(found.files[0], shape)


def _of_archive(file: Path, clip: tuple[int, ...]) -> Prediction:
    """The shape is read before the array, which may be large."""
    with naming(file), zipfile.ZipFile(file) as archive:
        key = next((k for k in KINDS if f"{k}.npy" in archive.namelist()), None)
        if key is None:
            raise ValueError(f"it holds none of {', '.join(KINDS)}")
        with archive.open(f"{key}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(member)
    _check(shape, kind, clip, KINDS[key], file)
    with naming(file), np.load(file, allow_pickle=False) as stored:
        return _as_prediction(key, stored[key])


def _of_array(file: Path, clip: tuple[int, ...]) -> Prediction:
    with naming(file):
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
    _check(mapped.shape, mapped.dtype, clip, mapped.ndim, file)
    return _as_prediction("points" if mapped.ndim == 4 else "depth", mapped)


def _of_frames(files: list[Path], kind: str, clip: tuple[int, ...]) -> Prediction:
    t, h, w = clip
    if len(files) != t:
        where = files[0].parent if files else "the folder"
        raise InputError(f"{where} holds {len(files)} frames ({', '.join(SUFFIXES)}) and the clip has {t}.")

    def one(index: int) -> np.ndarray:
        values = _frame(files[index], kind == "points")
        _check((1, *values.shape), values.dtype, (1, h, w), KINDS[kind], files[index])
        return values

    one(0)
    return _as_prediction(kind, FrameSequence((t, h, w, 3) if kind == "points" else (t, h, w), one))


def _frame(path: Path, points: bool) -> np.ndarray:
    if path.suffix == ".npy":
        with naming(path):
            return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix == ".exr":
        if points:
            return np.stack([read_exr(path, *names) for names in (("X", "R"), ("Y", "G"), ("Z", "B"))], -1)
        return read_exr(path, "Z", "Y", "R")
    values = read_png16(path).astype(np.float32)
    return np.where(values > 0, values, np.nan)


def _check(shape: tuple[int, ...], kind: np.dtype[Any], clip: tuple[int, ...], axes: int, path: Path) -> None:
    wanted = clip if axes == 3 else (*clip, 3)
    if tuple(shape) != wanted:
        raise InputError(f"{path} has shape {list(shape)} where the clip wants {list(wanted)}.")
    if kind.kind not in "fiu":
        raise InputError(f"{path} holds {kind} where real numbers are wanted.")


def _as_prediction(kind: str, values: Frames) -> Prediction:
    if kind == "depth":
        return Prediction(depth=values)
    return Prediction(disparity=values) if kind == "disparity" else Prediction(points=values)
