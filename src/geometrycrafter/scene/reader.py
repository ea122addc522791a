"""Scenes as they are read: arrays that are opened once, and never for writing."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import STREAM, check_named, is_url, on_disk
from geometrycrafter.geometry.cameras import rays_of_intrinsics, unproject
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.scene.arrays import StoredArray
from geometrycrafter.scene.conversions import Conversions
from geometrycrafter.scene.frame_arrays import FrameArray, Normals, Points, RefinedDepth
from geometrycrafter.scene.layout import LAYOUTS, MADE, NEEDED, checked
from geometrycrafter.scene.places import reading, store_of
from geometrycrafter.scene.shots import Span, spans_of
from geometrycrafter.scene.source import SourceRecord, of_length, part_of
from geometrycrafter.scene.writer import FORMAT_VERSION, FrameByFrame, changing, copy_scene, is_scene, put_in_memory
from geometrycrafter.settings import NotNegative, Rate, value_of
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource, open_frames

DEFAULT_RATE = 24.0
REFINEMENTS = ("depth_correction", "intrinsics_refined", "metres")
"""Arrays that correct others; without them these are as the networks predicted them."""


class Scene(Conversions):
    """Point maps of a clip, on disk, at a URL or in memory.

    Each array is looked up once; what another process stores later is seen by who opens the scene again.

    Attributes:
        depth: ``[T, H, W]`` planar depth in the clip's own scale; where the motion has corrected it, so corrected.
        mask: ``[T, H, W]`` bool, where depth is valid.
        intrinsics: ``[T, 3, 3]`` pixels, pixel centres at integers (OpenCV).
        points: ``[T, H, W, 3]`` in each frame's camera axes, derived from the above.
        normals: ``[T, H, W, 3]`` likewise, towards the camera; NaN where they are not known.
        confidence: ``[T, H, W]``, the probability that a point is within 25 % of the truth, one scale for the clip; 0
            where nothing is valid. None where no run has left it.
        sky: ``[T, H, W]`` bool, of what is not valid; None where the model doesn't tell it from the rest.
        rays: ``[T, H, W, 2]`` where the focal length is free, else None.
        poses: ``[T, 4, 4]`` camera-to-world where known, else None.
        frames: ``[T, h, w, 3]`` uint8, a small copy of the frames, or None.
        shots: first frame, and the one after the last, of each.
        times: ``[T]`` seconds since the source's first frame.
        source: where the frames came from; None where the scene doesn't say.
        fps: frames a second.
        path: the scene's folder; None for one in memory or at a URL.
        place: where the scene is, for messages.
    """

    def __init__(
        self, group: zarr.Group, path: Path | None = None, place: str | None = None, as_predicted: bool = False
    ):
        self._group = group
        self._as_predicted = as_predicted
        self._arrays: dict[str, StoredArray | None] = {}
        self.path = path
        self.place = place or (str(path) if path else "the scene")
        value_of(NotNegative | None, group.attrs.get("fps"), f"{self.place}: fps")
        for name in NEEDED:
            if self._stored(name) is None:
                raise InputError(f"{self.place}: the array {name} is missing; the scene is incomplete.")
        for name in LAYOUTS if path is not None else ():  # elsewhere, to look is to wait
            self._stored(name)

    def _stored(self, name: str) -> StoredArray | None:
        """An array, looked up once; None where there is none.

        Raises:
            InputError: where it can't be read, was lost, or isn't what its name says.
        """
        if name not in self._arrays:
            try:
                with reading(self.place):
                    found = self._group.get(name)
            except InputError as error:
                if self.path is None or error.__cause__ is None:
                    raise
                raise self._at_fault(name, f"can't be read ({reason(error.__cause__)})") from error
            stored = StoredArray(found, name, self.place) if isinstance(found, zarr.Array) else None
            self._check(name, stored)
            self._arrays[name] = stored
        return self._arrays[name]

    def _check(self, name: str, stored: StoredArray | None) -> None:
        if stored is None:
            listed = self._group.attrs.get("arrays")
            if isinstance(listed, list) and name in listed:
                raise self._at_fault(name, "is missing")
            return
        if name in LAYOUTS:
            depth = stored.shape if name == "depth" else self._needed("depth").shape
            at_hand = len(depth) == 3 and 0 not in depth
            fault = LAYOUTS[name].fault(stored.shape, stored.dtype, depth) if at_hand else f"the shape is {list(depth)}"
            if fault:
                raise self._at_fault(name, f"doesn't fit ({fault})")

    def _at_fault(self, name: str, what: str) -> InputError:
        remedy = "run it again with --overwrite, or take it from a copy"
        if name not in MADE and self.path is not None:
            remedy = f"remove the folder {self.path / name}, and make it again"
        return InputError(f"{self.place}: the array {name} {what}; {remedy}.")

    def array(self, name: str) -> FrameArray | None:
        """Any array of the scene by its name: ``confidence``, ``moving``, ...; None where there is none."""
        stored = self._stored(name)
        return None if stored is None else FrameArray(stored, self)

    def _needed(self, name: str) -> FrameArray:
        found = self.array(name)
        assert found is not None  # __init__ has looked
        return found

    @property
    def depth(self) -> FrameArray:
        correction = self._refinement("depth_correction")
        stored = self._stored("depth")
        assert stored is not None  # __init__ has looked
        return FrameArray(stored, self) if correction is None else RefinedDepth(stored, correction, self)

    @property
    def mask(self) -> FrameArray:
        return self._needed("mask")

    @property
    def intrinsics(self) -> FrameArray:
        refined = self._refinement("intrinsics_refined")
        return self._needed("intrinsics") if refined is None else FrameArray(refined, self)

    @property
    def refined(self) -> bool:
        """Whether depth or intrinsics are as the camera's motion has corrected them."""
        return any(self._refinement(name) is not None for name in REFINEMENTS)

    @property
    def unit(self) -> str | None:
        """``"m"`` where depth, points and poses are in metres; None where their unit is the clip's own."""
        measured = self._group.attrs.get("unit") == "m" and self._refinement("depth_correction") is None
        return "m" if measured or self._refinement("metres") is not None else None

    @property
    def predicted(self) -> Scene:
        """The same scene with depth and intrinsics as the networks gave them."""
        return Scene(self._group, self.path, self.place, as_predicted=True)

    def _refinement(self, name: str) -> StoredArray | None:
        return None if self._as_predicted else self._stored(name)

    @property
    def rays(self) -> FrameArray | None:
        return self.array("rays")

    @property
    def confidence(self) -> FrameArray | None:
        return self.array("confidence")

    @property
    def sky(self) -> FrameArray | None:
        return self.array("sky")

    @property
    def poses(self) -> FrameArray | None:
        return self.array("poses")

    @property
    def frames(self) -> FrameArray | None:
        return self.array("frames")

    @property
    def fps(self) -> float:
        return float(self._group.attrs.get("fps") or DEFAULT_RATE)  # type: ignore[arg-type]

    @property
    def times(self) -> np.ndarray:
        """``[T]`` float64, seconds since the source's first frame; evenly spaced where none are stored."""
        stored = self._stored("times")
        return np.arange(len(self)) / self.fps if stored is None else stored.read(...).astype(np.float64)

    @property
    def shots(self) -> list[Span]:
        """First frame, and the one after the last, of each shot; scale and poses are each one's own."""
        stored = self._stored("shots")
        if stored is None:
            return [(0, len(self))]
        try:
            return spans_of(stored.read(...).tolist(), len(self))
        except ValueError as error:
            raise self._at_fault("shots", f"doesn't fit ({error})") from error

    @property
    def attributes(self) -> dict[str, Any]:
        """fps, source, model, options, version and whether the run is complete."""
        return dict(self._group.attrs)

    @property
    def source(self) -> SourceRecord | None:
        """Where the frames came from; None where the scene doesn't say."""
        return SourceRecord.of_attributes(self._group.attrs, self.place)

    @property
    def lens(self) -> Lens | None:
        """The camera whose lens was undone to make the pinhole view of the scene; None where there was none to undo.

        ``scene.lens.rays()`` are the directions ``[H, W, 3]`` of the original frames' pixels.
        """
        return None if self.source is None else self.source.reading.camera

    def open_source(self, path: str | os.PathLike[str] | None = None, part: Reading | None = None) -> FrameSource:
        """The frames that the scene was made from, ``[H, W, 3]`` each, at their full size and the scene's number.

        Args:
            path: where they are now; None: where they were.
            part: which of the frames there they are, where the scene doesn't say, or another file holds them: its
                ``start``, ``end`` and ``stride``.

        Raises:
            InputError: where they have moved or changed, are too many, or the scene doesn't say what it was made from.
        """
        record = self.source
        if part is not None and path is not None:
            return of_length(part_of(path, part, record), len(self))
        if record is not None:
            source = record.open(path, len(self))
            return source if path is None else of_length(source, len(self))
        if path is None:
            raise InputError(
                f"{self.place}: the scene doesn't say which frames it was made from; name them with --source PATH."
            )
        return of_length(open_frames(path), len(self))

    @property
    def points(self) -> Points:
        return Points(self)

    @property
    def normals(self) -> Normals:
        return Normals(self)

    def __len__(self) -> int:
        return self.depth.shape[0]

    def __repr__(self) -> str:
        t, h, w = self.depth.shape
        at = f", {self.place}" if self.place != "the scene" else ""
        return f"Scene({t} frames of {w}x{h}, {self.fps:g} fps{at})"

    def _points(self, t: int) -> np.ndarray:
        depth = torch.from_numpy(np.asarray(self.depth[t], np.float32))
        rays = self.rays
        if rays is not None:
            grid = torch.from_numpy(np.asarray(rays[t], np.float32))
        else:
            grid = rays_of_intrinsics(torch.from_numpy(np.asarray(self.intrinsics[t], np.float32)), *depth.shape)
        return unproject(depth, grid).numpy()

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Scene:
        """Copy the scene to a folder, with all its arrays and attributes; it appears whole or not at all.

        Args:
            path: of the folder, on a local disk.
            overwrite: replace a scene that is there. Nothing else is ever replaced.

        Returns:
            the copy.

        Raises:
            InputError: where something is there that may not be replaced, or the disk refuses.
        """
        target = on_disk(path, "a scene")
        copy_scene(self, target, overwrite)
        return open_scene(target)

    def stored_arrays(self) -> Iterator[tuple[str, StoredArray]]:
        """All arrays by name, known or not, as they are stored: ``[T, ...]`` most of them."""
        for name in sorted({*self._listed(), *LAYOUTS}):
            stored = self._stored(name)
            if stored is not None:
                yield name, stored

    def _listed(self) -> list[str]:
        """Names of what the store holds; none where it can't say, as most web servers."""
        if self.path is not None:  # a dot: what a writer has not finished
            return [p.name for p in self.path.iterdir() if p.name[0] != "." and (p / "zarr.json").is_file()]
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
            return [name for name in self._group.array_keys() if name[0] != "."]
        return []

    @classmethod
    def from_depth(cls, depth: Any, mask: Any, intrinsics: Any, frames: Any = None, fps: float | None = None) -> Scene:
        """A scene in memory from any other source of depth.

        Args:
            depth: ``[T, H, W]`` float, planar.
            mask: ``[T, H, W]`` bool.
            intrinsics: ``[3, 3]`` or ``[T, 3, 3]``, pixels.
            frames: ``[T, H, W, 3]`` uint8, or float in [0, 1].
            fps: frames a second; 24 where unknown.

        Raises:
            InputError: where shapes disagree.
        """
        depth, mask = np.asarray(depth, np.float32), np.asarray(mask, bool)
        if depth.ndim != 3 or 0 in depth.shape or mask.shape != depth.shape:
            raise InputError(f"depth {list(depth.shape)} and mask {list(mask.shape)} should both be [T, H, W].")
        intrinsics = np.asarray(intrinsics, np.float32)
        if intrinsics.shape[-2:] != (3, 3) or intrinsics.ndim not in (2, 3):
            raise InputError(f"intrinsics have shape {list(intrinsics.shape)}; give [3, 3] or [T, 3, 3].")
        if intrinsics.ndim == 3 and len(intrinsics) != len(depth):
            raise InputError(f"there are {len(intrinsics)} intrinsics for {len(depth)} frames; give one or one each.")
        rate = value_of(Rate | None, fps, "fps")
        arrays = {"depth": depth, "mask": mask, "intrinsics": np.broadcast_to(intrinsics, (len(depth), 3, 3))}
        if frames is not None:
            arrays["frames"] = _pictures(np.asarray(frames), len(depth))
        group = zarr.group(store=zarr.storage.MemoryStore(), zarr_format=3)
        for name, value in arrays.items():
            put_in_memory(group, name, value)
        group.attrs.update({"fps": rate or DEFAULT_RATE, "version": FORMAT_VERSION, "complete": True})
        return cls(group)

    def set_poses(self, poses: Any) -> None:
        """Keep camera-to-world poses ``[T, 4, 4]``, with the scene where it is on disk.

        Raises:
            InputError: where their shape is another, they are not finite, or the scene can't be written.
        """
        self.set_array("poses", poses)

    def set_array(self, name: str, values: Any) -> None:
        """Keep an array ``[...]`` with the scene; on disk it appears whole or not at all.

        Args:
            name: of the array, such as ``pose_quality``; not ``depth``, ``mask`` or ``intrinsics``.
            values: numbers or bools of any shape; under a name that the scene knows, of that array's.

        Raises:
            InputError: where the name is taken, the values are none or don't fit it, another process writes the scene,
                or it can't be written.
        """
        if name in MADE:
            raise InputError(f"{name} is what the scene was made with; make another one to change it.")
        values = checked(name, values, self._needed("depth").shape)
        if self.path is not None:
            with changing(self.path, f"{name} are stored") as writer:
                writer.put(name, values)
        elif is_url(self.place):
            raise InputError(f"{self.place}: {name} can't be stored there; save the scene to a local disk first.")
        else:
            put_in_memory(self._group, name, values)
        self._arrays.pop(name, None)

    def set_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Keep several arrays ``[...]`` that belong together, or none of them: the last one given appears last.

        Args:
            arrays: values by name, as :meth:`set_array` takes them, or :class:`FrameByFrame`; None: none is to be.

        Raises:
            InputError: as there.
        """
        made = next((name for name in arrays if name in MADE), None)
        if made:
            raise InputError(f"{made} is what the scene was made with; make another one to change it.")
        values = {
            name: x if x is None or isinstance(x, FrameByFrame) else checked(name, x, self._needed("depth").shape)
            for name, x in arrays.items()
        }
        if is_url(self.place):
            raise InputError(f"{self.place}: nothing can be stored there; save the scene to a local disk first.")
        if self.path is not None:
            with changing(self.path, f"{', '.join(arrays)} are stored") as writer:
                writer.put_together(values)
        else:
            for name, value in values.items():
                if name in self._group:
                    del self._group[name]
                if value is not None:
                    whole = np.stack(list(value.frames)) if isinstance(value, FrameByFrame) else value
                    put_in_memory(self._group, name, whole)
        for name in values:
            self._arrays.pop(name, None)


def _pictures(frames: np.ndarray, count: int) -> np.ndarray:
    if frames.ndim != 4 or len(frames) != count or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(f"frames have shape {list(frames.shape)}; give [{count}, H, W, 3].")
    return frames if frames.dtype == np.uint8 else (frames.clip(0, 1) * 255).round().astype(np.uint8)


def open_scene(path: str | os.PathLike[str]) -> Scene:
    """Open a scene folder, or a URL of one that Zarr can read (``s3://...``, ``https://...``). Nothing is written.

    Raises:
        InputError: where there is no scene, or only one whose run was cut short.
    """
    check_named(path)
    place = f"./{STREAM}" if path == Path(STREAM) else os.fspath(path)  # as text it would be taken for a stream
    if re.match(r"[a-z][a-z0-9+.-]+:/[^/]", place) and not Path(place).exists():
        raise InputError(f"{place}: a URL has two slashes after its colon; give it as text, not as a Path.")
    folder = None if is_url(place) else on_disk(place)
    if folder is not None and not (folder / "zarr.json").is_file():
        if folder.is_dir() and is_scene(folder):
            raise _unfinished(place)
        raise InputError(f"{place}: this is no scene (a folder made by 'geometrycrafter run'); check the path.")
    try:
        with reading(place):
            group = zarr.open_group(store_of(place), mode="r", zarr_format=3)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"{place}: there is no scene at this URL; check it.") from error
        if folder is not None and error.__cause__ is not None:
            cause = reason(error.__cause__)
            raise InputError(f"{place}: the scene can't be read ({cause}); zarr.json there is damaged.") from error
        raise
    version = group.attrs.get("version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(f"{place}: the scene is of version {version}, which this program is too old for; update it.")
    if not group.attrs.get("complete", False):
        raise _unfinished(place)
    return Scene(group, folder, place)


def _unfinished(place: str) -> InputError:
    return InputError(f"{place}: the run that writes this scene is not finished; complete it with run --resume.")
