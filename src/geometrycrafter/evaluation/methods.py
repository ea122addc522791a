"""What is judged: the project's models, baselines, and predictions that other programs have written."""

from __future__ import annotations

import math
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.formats import naming, read_exr, read_png16
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.files import natural
from geometrycrafter.inference.depthcrafter import load_depthcrafter
from geometrycrafter.inference.estimator import Estimator
from geometrycrafter.inference.loading import load
from geometrycrafter.weights.models import load_prior

Kind = Literal["model", "prior", "moge", "depthcrafter", "constant", "ramp", "predictions"]
FIELD = math.radians(60)
"""Horizontal field of view that the guesses have."""


@dataclass(frozen=True)
class Method:
    """One method, as a few words that another process can act on."""

    name: str
    kind: Kind
    place: str = ""
    """A model's name or folder, a weights file, or a folder of predictions."""
    variant: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of the estimator's call."""

    def __hash__(self) -> int:
        return hash((self.name, self.kind, self.place, self.variant))


@dataclass
class Prediction:
    """What a method says of a clip: points, or depth, or disparity, each ``[T, H, W(, 3)]``, frame by frame."""

    points: Any = None
    depth: Any = None
    disparity: Any = None
    focal: np.ndarray | None = None
    """``[T]`` pixels, where the method knows it better than its points do."""
    seconds: float = 0.0
    """Of computation, loading of weights not counted; zero where it is not known."""
    keep: Any = None
    """Whatever must live as long as the frames are read."""


def predict(method: Method, clip: Clip, name: str, protocol: Protocol, device: str = "cpu") -> Prediction:
    """Run a method on a clip, or read what it said.

    Args:
        method: which.
        clip: frames to look at; of the truth nothing is used but its shape.
        name: of the clip.
        protocol: sizes and the kind of focal length.
        device: of networks.

    Raises:
        InputError: where weights or predictions are missing or do not fit; names the clip.
    """
    started = time.perf_counter()
    if method.kind in ("constant", "ramp"):
        return _guess(clip, method.kind)
    if method.kind == "predictions":
        return _read_predictions(Path(method.place), clip, name)
    if method.kind == "depthcrafter":
        found = _depthcrafter(method.place, clip, protocol, device)
    elif method.kind == "model":
        estimator = _estimator(method.place, method.variant, device)
        started = time.perf_counter()
        scene = estimator(clip.frames, size=protocol.size, focal=protocol.focal, **method.options)
        focal = np.asarray(scene.intrinsics)[:, [0, 1], [0, 1]].prod(-1) ** 0.5
        found = Prediction(points=scene.points, focal=focal, keep=scene)
    else:
        prior = _prior(method.place, method.kind, device)
        started = time.perf_counter()
        found = _spooled(clip, lambda t: _prior_points(prior, clip.frames[t], device))
    found.seconds = found.seconds or time.perf_counter() - started
    return found


@lru_cache(maxsize=2)
def _estimator(place: str, variant: str | None, device: str) -> Estimator:
    return load(place, variant, device=device)


@lru_cache(maxsize=2)
def _prior(place: str, kind: str, device: str) -> Any:
    return _estimator(place, None, device).prior if kind == "prior" else load_prior(Path(place), torch.device(device))


@torch.no_grad()
def _prior_points(prior: Any, frame: np.ndarray, device: str) -> np.ndarray:
    """Points ``[H, W, 3]``; not a number where the prior says that there are none."""
    image = torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1)[None].float() / 255
    points, _ = prior.begin()(image, None)
    return points[0].float().cpu().numpy()


def _spooled(clip: Clip, compute: Callable[[int], np.ndarray]) -> Prediction:
    """Points of a clip computed once and kept on disk, since metrics go over them twice."""
    t, h, w = clip.depth.shape
    folder = tempfile.TemporaryDirectory(prefix="geometrycrafter-eval-")
    points = np.lib.format.open_memmap(Path(folder.name) / "points.npy", "w+", np.float32, (t, h, w, 3))
    started = time.perf_counter()
    for index in range(t):
        points[index] = compute(index)
    return Prediction(points=points, seconds=time.perf_counter() - started, keep=folder)


def _depthcrafter(place: str, clip: Clip, protocol: Protocol, device: str) -> Prediction:
    network = load_depthcrafter(Path(place), torch.device(device))
    t, h, w = clip.depth.shape
    size = protocol.size or (max(64, round(h / 64) * 64), max(64, round(w / 64) * 64))
    frames = torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(0, 3, 1, 2)
    small = torch.cat([F.interpolate(f[None].float() / 255, size, mode="bicubic", antialias=True) for f in frames])
    started = time.perf_counter()
    found = network(small.clamp(0, 1).to(device)).cpu()
    seconds = time.perf_counter() - started

    def read(index: int) -> np.ndarray:
        return F.interpolate(found[index][None, None], (h, w), mode="bilinear")[0, 0].numpy()

    return Prediction(disparity=FrameSequence((t, h, w), read), seconds=seconds)


def _guess(clip: Clip, kind: str) -> Prediction:
    """Points without a look at the picture: a wall, or a floor that rises to the horizon."""
    t, h, w = clip.depth.shape
    focal = w / 2 / math.tan(FIELD / 2)
    y, x = np.mgrid[:h, :w]
    rays = np.stack([(x - (w - 1) / 2) / focal, (y - (h - 1) / 2) / focal, np.ones((h, w))], -1)
    # Disparity falls to a quarter from the lower edge to the upper one.
    depth = np.ones((h, w)) if kind == "constant" else 1 / (0.25 + 0.75 * (y + 0.5) / h)
    points = (rays * depth[..., None]).astype(np.float32)
    return Prediction(points=FrameSequence((t, h, w, 3), lambda _: points), focal=np.full(t, focal))


SHAPES = {"points": 4, "point_map": 4, "depth": 3, "disparity": 3}


def _read_predictions(folder: Path, clip: Clip, name: str) -> Prediction:
    """``NAME.npz`` or ``NAME.npy``, or a folder ``NAME`` of EXR, 16-bit PNG or NPY frames.

    An NPZ holds ``point_map`` or ``points`` ``[T, H, W, 3]``, ``depth`` or ``disparity`` ``[T, H, W]``. What frames are
    is in the name of the folder around them (``NAME/depth``, ``NAME/disparity``, ``NAME/points``), or depth.
    """
    t, h, w = clip.depth.shape
    archive, array, frames = folder / f"{name}.npz", folder / f"{name}.npy", folder / name
    if archive.is_file():
        with naming(archive), zipfile.ZipFile(archive) as file:
            key = next(
                (k for k in ("point_map", "points", "depth", "disparity") if f"{k}.npy" in file.namelist()), None
            )
            if key is None:
                raise ValueError("it holds none of point_map, points, depth and disparity")
            with file.open(f"{key}.npy") as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape = read(member)[0]
        _assert_shape(shape, (t, h, w), SHAPES[key], name, archive)
        with naming(archive), np.load(archive, allow_pickle=False) as stored:
            return _as_prediction(key, stored[key])
    if array.is_file():
        with naming(array):
            mapped = np.load(array, mmap_mode="r", allow_pickle=False)
        _assert_shape(mapped.shape, (t, h, w), mapped.ndim, name, array)
        return _as_prediction("points" if mapped.ndim == 4 else "depth", mapped)
    if frames.is_dir():
        kind = next((k for k in ("points", "depth", "disparity") if (frames / k).is_dir()), None)
        place = frames / kind if kind else frames
        kind = kind or "depth"
        files = sorted((p for p in place.iterdir() if p.suffix in (".exr", ".png", ".npy")), key=natural)
        if len(files) != t:
            raise InputError(f"{name}: {place} holds {len(files)} frames and the clip has {t}.")

        def one(index: int) -> np.ndarray:
            values = _frame(files[index], kind == "points")
            _assert_shape((1, *values.shape), (1, h, w), 4 if kind == "points" else 3, name, files[index])
            return values

        one(0)
        shape = (t, h, w, 3) if kind == "points" else (t, h, w)
        return _as_prediction(kind, FrameSequence(shape, one))
    raise InputError(f"{name}: {folder} holds neither {archive.name}, {array.name} nor a folder {name}.")


def _frame(path: Path, points: bool) -> np.ndarray:
    if path.suffix == ".npy":
        with naming(path):
            return np.load(path, allow_pickle=False).astype(np.float32)
    if path.suffix == ".exr":
        if points:
            return np.stack([read_exr(path, *names) for names in (("X", "R"), ("Y", "G"), ("Z", "B"))], -1)
        return read_exr(path, "Z", "Y", "R")
    values = read_png16(path).astype(np.float32)
    return np.where(values > 0, values, np.nan)


def _assert_shape(shape: tuple[int, ...], clip: tuple[int, int, int], axes: int, name: str, path: Path) -> None:
    wanted = clip if axes == 3 else (*clip, 3)
    if tuple(shape) != wanted:
        raise InputError(f"{name}: {path} has shape {list(shape)} where the clip wants {list(wanted)}.")


def _as_prediction(kind: str, values: Any) -> Prediction:
    return Prediction(**{"points" if kind == "point_map" else kind: values})
