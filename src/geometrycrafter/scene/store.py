"""The scene on disk: a Zarr v3 group, chunked by frame, with a journal of what is finished.

NAME.gc/
  zarr.json                attributes: fps, source, model, options, version, complete
  depth       [T, H, W]    float32, planar, in the clip's own scale
  mask        [T, H, W]    bool
  intrinsics  [T, 3, 3]    float32, pixels; pixel centres are integers
  rays        [T, H, W, 2] float32, x/z and y/z; only where the focal length is free
  poses       [T, 4, 4]    float32, camera-to-world; where known
  frames      [T, h, w, 3] uint8, a small copy for pictures
  journal.jsonl            a line for every finished stretch of frames
  work/                    intermediate results of a run under way
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.cameras import rays_of_intrinsics, unproject

FORMAT_VERSION = 1
MAX_VALUES_A_FRAME = 2**28


class FrameArray:
    """One array of a scene, read frame by frame: index it like a NumPy array."""

    def __init__(self, array: Any, owner: Any = None):
        self._array = array
        self._owner = owner  # a scene in a temporary folder takes it along when it goes
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._array[index])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self._array[...], dtype=dtype)


class Points:
    """Points of a scene, computed from depth and rays when they are asked for: ``[T, H, W, 3]`` float32."""

    def __init__(self, scene: Scene):
        self._scene = scene
        self.shape = (*scene.depth.shape, 3)
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        time, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        if time is Ellipsis:
            time, rest = slice(None), index
        if isinstance(time, int | np.integer):
            return self._scene._points(int(time))[rest]
        frames = np.arange(len(self))[time]
        if frames.dtype == bool or not len(frames):
            return np.zeros((0, *self.shape[1:]), np.float32)
        return np.stack([self._scene._points(int(t)) for t in frames])[(slice(None), *rest) if rest else ...]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[t] for t in range(len(self)))


class Scene:
    """Point maps of a clip, on disk or in memory.

    Attributes:
        depth: ``[T, H, W]`` planar depth in the clip's own scale.
        mask: ``[T, H, W]`` bool, where depth is valid.
        intrinsics: ``[T, 3, 3]`` pixels, pixel centres at integers (OpenCV).
        points: ``[T, H, W, 3]`` in each frame's camera axes, derived from the above.
        rays: ``[T, H, W, 2]`` where the focal length is free, else None.
        poses: ``[T, 4, 4]`` camera-to-world where known, else None.
        frames: ``[T, h, w, 3]`` uint8, a small copy of the frames, or None.
        fps: frames a second.
    """

    def __init__(self, group: Any, path: Path | None = None):
        self._group = group
        self.path = path
        for name in ("depth", "mask", "intrinsics"):
            if name not in group:
                raise InputError(f"{path or 'the scene'}: the array {name} is missing; the scene is incomplete.")
        place = path or "the scene"
        if len(self.depth.shape) != 3 or self.mask.shape != self.depth.shape or len(self.intrinsics) != len(self):
            raise InputError(f"{place}: depth, mask and intrinsics disagree in shape; run it again.")
        if int(np.prod(self.depth.shape[1:])) > MAX_VALUES_A_FRAME:
            raise InputError(f"{place}: frames of {self.depth.shape[1:]} are larger than this program reads.")

    @property
    def depth(self) -> FrameArray:
        return FrameArray(self._group["depth"], self)

    @property
    def mask(self) -> FrameArray:
        return FrameArray(self._group["mask"], self)

    @property
    def intrinsics(self) -> FrameArray:
        return FrameArray(self._group["intrinsics"], self)

    def _optional(self, name: str) -> FrameArray | None:
        return FrameArray(self._group[name], self) if name in self._group else None

    @property
    def rays(self) -> FrameArray | None:
        return self._optional("rays")

    @property
    def poses(self) -> FrameArray | None:
        return self._optional("poses")

    @property
    def frames(self) -> FrameArray | None:
        return self._optional("frames")

    @property
    def fps(self) -> float:
        return float(self._group.attrs.get("fps", 24.0))

    @property
    def attributes(self) -> dict[str, Any]:
        """fps, source, model, options, version and whether the run is complete."""
        return dict(self._group.attrs)

    @property
    def points(self) -> Points:
        return Points(self)

    def __len__(self) -> int:
        return len(self.depth)

    def __repr__(self) -> str:
        t, h, w = self.depth.shape
        return f"Scene({t} frames of {w}x{h}, {self.fps:g} fps{f', {self.path}' if self.path else ''})"

    def _points(self, t: int) -> np.ndarray:
        depth = torch.from_numpy(np.asarray(self.depth[t], np.float32))
        rays = self.rays
        if rays is not None:
            grid = torch.from_numpy(np.asarray(rays[t], np.float32))
        else:
            grid = rays_of_intrinsics(torch.from_numpy(np.asarray(self.intrinsics[t], np.float32)), *depth.shape)
        return unproject(depth, grid).numpy()

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Scene:
        """Copy the scene to a folder; it appears whole or not at all."""
        target = Path(path)
        if target.exists() and not overwrite:
            raise InputError(f"{target}: the folder exists; choose another name or pass overwrite=True.")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            group = zarr.open_group(str(temporary), mode="w", zarr_format=3)
            for name, array in self._group.arrays():
                copy = create_array(group, name, array.shape, array.dtype)
                for t in range(array.shape[0]):
                    copy[t] = array[t]
            group.attrs.update({"fps": self.fps, **self.attributes})
            if overwrite:
                shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise InputError(f"{target}: the scene can't be written there ({error.strerror}).") from error
        return open_scene(target)

    @classmethod
    def from_depth(cls, depth: Any, mask: Any, intrinsics: Any, frames: Any = None, fps: float | None = None) -> Scene:
        """A scene in memory from any other source of depth.

        Args:
            depth: ``[T, H, W]`` float, planar.
            mask: ``[T, H, W]`` bool.
            intrinsics: ``[3, 3]`` or ``[T, 3, 3]``, pixels.
            frames: ``[T, H, W, 3]`` uint8, or float in [0, 1].
            fps: frames a second; 24 where unknown.
        """
        depth, mask = np.asarray(depth, np.float32), np.asarray(mask, bool)
        if depth.ndim != 3 or mask.shape != depth.shape:
            raise InputError(f"depth {list(depth.shape)} and mask {list(mask.shape)} should both be [T, H, W].")
        intrinsics = np.asarray(intrinsics, np.float32)
        if intrinsics.shape[-2:] != (3, 3) or intrinsics.ndim not in (2, 3):
            raise InputError(f"intrinsics have shape {list(intrinsics.shape)}; give [3, 3] or [T, 3, 3].")
        if intrinsics.ndim == 3 and len(intrinsics) != len(depth):
            raise InputError(f"there are {len(intrinsics)} intrinsics for {len(depth)} frames; give one or one each.")
        group = zarr.group(store=zarr.storage.MemoryStore(), zarr_format=3)
        arrays = {"depth": depth, "mask": mask, "intrinsics": np.broadcast_to(intrinsics, (len(depth), 3, 3))}
        if frames is not None:
            frames = np.asarray(frames)
            if frames.dtype != np.uint8:
                frames = (frames.clip(0, 1) * 255).round().astype(np.uint8)
            if frames.shape[0] != len(depth) or frames.shape[-1] != 3 or frames.ndim != 4:
                raise InputError(f"frames have shape {list(frames.shape)}; give [{len(depth)}, H, W, 3].")
            arrays["frames"] = frames
        for name, value in arrays.items():
            create_array(group, name, value.shape, value.dtype)[...] = value
        group.attrs.update({"fps": float(fps or 24.0), "version": FORMAT_VERSION, "complete": True})
        return cls(group)

    def set_poses(self, poses: Any) -> None:
        """Keep camera-to-world poses ``[T, 4, 4]``."""
        poses = np.asarray(poses, np.float32)
        if poses.shape != (len(self), 4, 4):
            raise InputError(f"poses have shape {list(poses.shape)}; give [{len(self)}, 4, 4].")
        create_array(self._group, "poses", poses.shape, poses.dtype, overwrite=True)[...] = poses


def create_array(group: Any, name: str, shape: tuple[int, ...], dtype: Any, overwrite: bool = False) -> Any:
    """An array of a scene, one chunk a frame (small ones in a single chunk)."""
    small = int(np.prod(shape[1:])) <= 64
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=shape if small else (1, *shape[1:]),
        fill_value=np.nan if np.issubdtype(np.dtype(dtype), np.floating) else 0,  # a frame that was lost shows
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
        overwrite=overwrite,
    )


def open_scene(path: str | os.PathLike[str]) -> Scene:
    """Open a scene folder, or a URL of one that Zarr can read (``s3://...``, ``https://...``).

    Raises:
        InputError: where there is no scene, or only one whose run was cut short.
    """
    text = os.fspath(path)
    remote = "://" in text
    if not remote and not (Path(text) / "zarr.json").is_file():
        raise InputError(f"{text}: this is no scene (a folder made by 'geometrycrafter run'); check the path.")
    try:
        group = zarr.open_group(text, mode="r" if remote else "r+", zarr_format=3)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{text}: the scene can't be read ({str(error).splitlines()[0]}).") from error
    if not group.attrs.get("complete", False):
        raise InputError(f"{text}: the run that writes this scene is not finished; complete it with run --resume.")
    return Scene(group, None if remote else Path(text))


class Journal:
    """Lines of JSON, appended and flushed to disk one at a time; a torn last line counts as not written."""

    def __init__(self, path: Path):
        self.path = path
        self.entries: list[dict[str, Any]] = []
        if path.exists():
            whole = 0
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                try:
                    self.entries.append(json.loads(line))
                except ValueError:
                    break
                whole += len(line)
            with open(path, "r+b") as file:
                file.truncate(whole)

    def append(self, entry: dict[str, Any]) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)
