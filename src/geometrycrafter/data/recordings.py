"""A user's own RGB-D recordings: folders of pictures and depth, in the encodings that sensors' tools write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.formats import LARGEST, naming, read_exr, read_npy, read_pfm, read_png16
from geometrycrafter.errors import InputError
from geometrycrafter.video.reading import open_frames

COLOUR = ("*.color.*", "*color*/*", "rgb/*", "image*/*", "*_rgb.*", "*colour*")
DEPTH = ("*.depth.*", "*depth*/*", "*_depth.*")
POSES = ("*.pose.txt", "pose*/*.txt", "*_pose.txt")
DEPTH_SUFFIXES = (".png", ".exr", ".npy", ".npz", ".pfm")


@dataclass(frozen=True)
class Recording:
    """A folder with a colour picture and a depth map for each frame.

    Attributes:
        folder: of the recording.
        colour: glob below it, or empty: the usual names are tried.
        depth: the same for depth maps: PNG of 16 bits, EXR, NPY, NPZ (first array) or PFM.
        poses: the same for 4x4 camera-to-world text files; none where nothing matches.
        unit: metres in one unit of the depth maps; 0: a thousandth for integers, one for floating point.
        farthest: depths beyond are unknown, metres.
        intrinsics: fx, fy, cx, cy in pixels of the colour pictures; None: read from a file in the folder.
        fps: frames a second.
    """

    folder: Path
    colour: str = ""
    depth: str = ""
    poses: str = ""
    unit: float = 0.0
    farthest: float = 60.0
    intrinsics: tuple[float, float, float, float] | None = None
    fps: float = 30.0

    def _find(self, pattern: str, usual: tuple[str, ...], what: str, suffixes: tuple[str, ...]) -> list[Path]:
        for candidate in (pattern,) if pattern else usual:
            found = [p for p in self.folder.glob(candidate) if p.suffix.lower() in suffixes]
            if what == "colour":
                found = [p for p in found if "depth" not in p.name.lower()]
            if found:
                return sorted(found, key=lambda p: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", str(p))])
        if what == "poses":
            return []
        tried = pattern or ", ".join(usual)
        raise InputError(f"{self.folder}: no {what} files match {tried}; say where they are with --{what} GLOB.")

    def clips(self, longest: int = 150) -> Iterator[tuple[str, Clip]]:
        """Key and clip of each segment of at most ``longest`` frames, in order, not overlapping.

        Raises:
            InputError: names the file that is missing, damaged or does not fit the others.
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
        for start in range(0, len(colour), longest):
            own = slice(start, start + longest)
            yield f"{self.folder.name}-{start:06d}", self._segment(colour[own], depth[own], poses[own])

    def _segment(self, colour: list[Path], depth: list[Path], poses: list[Path]) -> Clip:
        frames = np.stack([next(iter(open_frames(p))) for p in colour])
        if frames.dtype != np.uint8:
            frames = (frames * 255).round().astype(np.uint8)
        maps = [read_depth(p, self.unit) for p in depth]
        for path, depth_map in zip(depth, maps, strict=True):
            if depth_map.shape != maps[0].shape:
                raise InputError(f"{path}: this depth map is of another size than {depth[0]}.")
        z = np.stack(maps)
        z[(z > self.farthest) | ~np.isfinite(z) | (z < 0)] = 0
        height, width = frames.shape[1:3]
        if z.shape[1:] != (height, width):
            # The sensor's map at another resolution, already registered to the picture: take the nearest value.
            rows = np.arange(height) * z.shape[1] // height
            z = z[:, rows[:, None], np.arange(width) * z.shape[2] // width]
        clip = Clip(
            frames=frames,
            depth=z.astype(np.float32),
            intrinsics=np.broadcast_to(self._camera(), (len(frames), 3, 3)).copy(),
            poses=np.stack([_read_matrix(p, (4, 4)) for p in poses]) if poses else None,
            fps=self.fps,
            source=f"recording {self.folder.name}",
        )
        return clip.checked()

    def _camera(self) -> np.ndarray:
        if self.intrinsics is not None:
            fx, fy, cx, cy = self.intrinsics
            return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
        for pattern in ("*intrinsic*.txt", "*intrinsic*.json", "camera*.txt", "camera*.json"):
            for path in sorted(self.folder.glob(pattern)):
                return read_camera(path)
        raise InputError(
            f"{self.folder}: no file of intrinsics is there; give --intrinsics fx,fy,cx,cy (pixels of the pictures)."
        )


def read_camera(path: Path) -> np.ndarray:
    """3x3 intrinsics from a text file (3x3, or fx fy cx cy) or JSON (fx, fy, cx, cy, or a matrix).

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
        raise InputError(f"{path}: this is no file of intrinsics ({error}).") from error
    if values.size == 4:
        fx, fy, cx, cy = values.ravel()
        values = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if values.size in (9, 16):
        side = 3 if values.size == 9 else 4
        k = values.reshape(side, side)[:3, :3]
        if k[0, 0] > 0 and k[1, 1] > 0 and np.isfinite(k).all():
            return k.astype(np.float32)
    raise InputError(f"{path}: the file should hold a 3x3 matrix of intrinsics or fx, fy, cx, cy.")


def _read_matrix(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        values = np.loadtxt(path).reshape(shape).astype(np.float32)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: this is no {shape[0]}x{shape[1]} matrix ({error}).") from error
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
    if values.ndim != 2 or values.size > LARGEST:
        raise InputError(f"{path}: a depth map has two axes and at most {LARGEST} pixels; this has {values.shape}.")
    factor = unit or (1e-3 if np.issubdtype(values.dtype, np.integer) else 1.0)
    metres = values.astype(np.float32) * np.float32(factor)
    if values.dtype == np.uint16:
        metres[values == 65535] = 0  # what several sensors write where they saw nothing
    return metres
