"""A user's own RGB-D recordings: folders of pictures and depth, in the encodings that sensors' tools write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.formats import LARGEST, naming, read_exr, read_matrix, read_npy, read_pfm, read_png16
from geometrycrafter.data.options import LONGEST, RecordingOptions
from geometrycrafter.data.transforms import resize_map
from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import natural
from geometrycrafter.settings import Count, value_of
from geometrycrafter.video.reading import open_frames

COLOUR = ("*.color.*", "*color*/*", "rgb/*", "image*/*", "*_rgb.*", "*colour*")
DEPTH = ("*.depth.*", "*depth*/*", "*_depth.*")
POSES = ("*.pose.txt", "pose*/*.txt", "*_pose.txt")
CAMERA = ("*intrinsic*.txt", "*intrinsic*.json", "camera*.txt", "camera*.json")
DEPTH_SUFFIXES = (".png", ".exr", ".npy", ".npz", ".pfm")


class Shot(NamedTuple):
    """The files of one frame."""

    colour: Path
    depth: Path
    pose: Path | None


class Take(NamedTuple):
    """Neighbouring frames of a recording, which become one clip."""

    key: str
    shots: list[Shot]


@dataclass(frozen=True)
class Recording(RecordingOptions):
    """A folder with a colour picture and a depth map for each frame."""

    @property
    def name(self) -> str:
        """The folder's own."""
        return self.folder.resolve().name

    def clips(self, longest: int = LONGEST, frames: int | None = None, stride: int = 1) -> Iterator[tuple[str, Clip]]:
        """Key and clip of each take, as :meth:`takes` cuts them and :meth:`read` reads them.

        Raises:
            InputError: names the file that is missing, damaged or does not fit the others.
        """
        for take in self.takes(longest, frames, stride):
            yield take.key, self.read(take)

    def takes(self, longest: int = LONGEST, frames: int | None = None, stride: int = 1) -> list[Take]:
        """The recording cut into takes that don't overlap, in order.

        Args:
            longest: frames of a take.
            frames: of the recording, at most so many, after the stride; None: all.
            stride: take every n-th frame.

        Raises:
            InputError: names the file that is missing or does not fit the others.
        """
        step, longest = value_of(Count, stride, "stride"), value_of(Count, longest, "longest")
        shots = self.shots()[::step][: value_of(Count | None, frames, "frames")]
        starts = range(0, len(shots), longest)
        return [Take(f"{self.name}-{start:06d}", shots[start : start + longest]) for start in starts]

    def shots(self) -> list[Shot]:
        """The files of each frame, in order of their numbers.

        Raises:
            InputError: where there are none, or not as many of each kind.
        """
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: there is no such folder.")
        colour = self._find(self.colour, COLOUR, "colour", (".png", ".jpg", ".jpeg"))
        depth = self._find(self.depth, DEPTH, "depth", DEPTH_SUFFIXES)
        poses = self._find(self.poses, POSES, "poses", (".txt",))
        if len(colour) != len(depth) or (poses and len(poses) != len(colour)):
            raise InputError(
                f"{self.folder}: {len(colour)} pictures, {len(depth)} depth maps and {len(poses)} poses; "
                "there should be as many of each (poses may be none)."
            )
        known: list[Path | None] = [*poses] or [None] * len(colour)
        return list(map(Shot, colour, depth, known))

    def _find(self, pattern: str, usual: tuple[str, ...], what: str, suffixes: tuple[str, ...]) -> list[Path]:
        for candidate in (pattern,) if pattern else usual:
            try:
                found = [p for p in self.folder.glob(candidate) if p.suffix.lower() in suffixes]
            except (ValueError, NotImplementedError) as error:
                raise InputError(f"--{what} {candidate}: this is no glob below {self.folder} ({error}).") from error
            if what == "colour":
                found = [p for p in found if "depth" not in p.name.lower()]
            if found:
                return sorted(found, key=natural)
        if what == "poses" and not pattern:
            return []
        tried = pattern or ", ".join(usual)
        raise InputError(
            f"{self.folder}: no {what} files match {tried}; rename them, or tell 'data prepare folder' "
            f"where they are with --{what} GLOB."
        )

    def read(self, take: Take) -> Clip:
        """The clip of a take; its depth at the pictures' size, zero where it is unknown or too far.

        Raises:
            InputError: names the file that is damaged or does not fit the others.
        """
        shots = take.shots
        frames = _alike([s.colour for s in shots], _picture)
        depth = _alike([s.depth for s in shots], partial(read_depth, unit=self.unit))
        with np.errstate(invalid="ignore"):
            known = np.isfinite(depth) & (depth > 0)
            if known.any() and not (depth[known] <= self.farthest).any():
                raise InputError(
                    f"{shots[0].depth}: nothing is nearer than {self.farthest:g} m here, the middle is at "
                    f"{np.median(depth[known]):,.0f} m; say with --unit how many metres a unit is, or raise --farthest."
                )
            depth[~known | (depth > self.farthest)] = 0
        poses = [read_pose(s.pose) for s in shots if s.pose is not None]
        clip = Clip(
            frames=frames,
            # A map of another resolution is registered to the picture already.
            depth=resize_map(depth, *frames.shape[1:3]),
            intrinsics=np.broadcast_to(self.camera(), (len(shots), 3, 3)).copy(),
            poses=np.stack(poses) if poses else None,
            fps=self.fps,
            source=f"recording {self.name}",
        )
        return clip.checked()

    @property
    def camera_file(self) -> Path | None:
        """The file of intrinsics; None where there is none."""
        for pattern in CAMERA:
            for path in sorted(self.folder.glob(pattern)):
                return path
        return None

    def camera(self) -> np.ndarray:
        """Intrinsics ``[3, 3]`` of the pictures, as they were given or as a file has them.

        Raises:
            InputError: where there are none.
        """
        if self.intrinsics is not None:
            fx, fy, cx, cy = self.intrinsics
            return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
        file = self.camera_file
        if file is not None:
            return read_camera(file)
        raise InputError(
            f"{self.folder}: no file of intrinsics is there; give --intrinsics fx,fy,cx,cy (pixels of the pictures)."
        )


def read_camera(path: Path) -> np.ndarray:
    """Intrinsics ``[3, 3]``, in pixels, from a text file (3x3, or fx fy cx cy) or JSON (fx, fy, cx, cy, or a matrix).

    Raises:
        InputError: where it holds neither.
    """
    try:
        if path.suffix == ".json":
            stored = json.loads(path.read_text())
            if isinstance(stored, dict) and {"fx", "fy", "cx", "cy"} <= set(stored):
                values = np.array([stored[k] for k in ("fx", "fy", "cx", "cy")], float)
            else:
                found = stored.get("intrinsic_matrix", stored.get("K")) if isinstance(stored, dict) else stored
                values = np.array(found, float)
                if isinstance(stored, dict) and "intrinsic_matrix" in stored and values.size == 9:
                    values = values.reshape(3, 3).T  # Open3D writes columns
        else:
            values = np.loadtxt(path, delimiter="," if "," in path.read_text() else None)
    except (ValueError, OSError, TypeError) as error:
        raise InputError(f"{path}: this is no file of intrinsics ({reason(error)}).") from error
    if values.size == 4:
        fx, fy, cx, cy = values.ravel()
        values = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if values.size in (9, 16):
        side = 3 if values.size == 9 else 4
        k = values.reshape(side, side)[:3, :3]
        if k[0, 0] > 0 and k[1, 1] > 0 and np.isfinite(k).all():
            return k.astype(np.float32)
    raise InputError(f"{path}: the file should hold a 3x3 matrix of intrinsics or fx, fy, cx, cy.")


def _alike(paths: list[Path], read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """Pictures or maps of one size, one after another."""
    arrays: list[np.ndarray] = []
    for path in paths:
        arrays.append(read(path))
        if arrays[-1].shape != arrays[0].shape:
            raise InputError(f"{path}: this is of another size than {paths[0]}; a recording has one.")
    return np.stack(arrays)


def _picture(path: Path) -> np.ndarray:
    picture = next(iter(open_frames(path)))
    return picture if picture.dtype == np.uint8 else (picture * 255).round().astype(np.uint8)


def read_pose(path: Path) -> np.ndarray:
    """A camera-to-world matrix ``[4, 4]``.

    Raises:
        InputError: where it can't be read, or is not finite.
    """
    values = read_matrix(path).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: the pose is not finite; leave such frames out.")
    return values


def read_depth(path: Path, unit: float = 0.0) -> np.ndarray:
    """A depth map in metres, ``[H, W]`` float32; zero or not finite where unknown.

    Args:
        path: PNG of 16 bits, EXR, NPY, NPZ (its first array) or PFM.
        unit: metres in one unit; 0: a thousandth for integers, one for floating point.

    Raises:
        InputError: where it can't be read or is no map.
    """
    kind = path.suffix.lower()
    if kind == ".npz":
        with naming(path), np.load(path, allow_pickle=False) as stored:
            values = stored[stored.files[0]]
    else:
        readers = {".npy": read_npy, ".pfm": read_pfm, ".exr": read_exr}
        values = readers.get(kind, read_png16)(path)
    if values.ndim == 3:
        values = values[..., 0]
    if values.ndim != 2 or not 0 < values.size <= LARGEST or values.dtype.kind not in "uif":
        raise InputError(
            f"{path}: a depth map is numbers on two axes, at most {LARGEST:,}; this is {values.dtype} of shape "
            f"{list(values.shape)}."
        )
    factor = unit or (1e-3 if np.issubdtype(values.dtype, np.integer) else 1.0)
    metres = values.astype(np.float32) * np.float32(factor)
    if values.dtype == np.uint16:
        metres[values == 65535] = 0  # what several sensors write where they saw nothing
    return metres
