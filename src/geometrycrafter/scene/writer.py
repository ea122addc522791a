"""Scenes as they are written: arrays frame by frame or whole, attributes last."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from geometrycrafter.errors import InputError
from geometrycrafter.files import appearing, explained, is_url, locked, settle, sweep_folder, write_json
from geometrycrafter.scene.arrays import StoredArray, create_array, writable
from geometrycrafter.scene.layout import MADE
from geometrycrafter.scene.places import store_of

if TYPE_CHECKING:
    from geometrycrafter.scene.reader import Scene

FORMAT_VERSION = 1
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
UNFINISHED = ("work/identity.json",)
"""What a run keeps in a scene's folder from its first moment on."""


@dataclass(frozen=True)
class FrameByFrame:
    """An array that need not be in memory as a whole.

    Args:
        shape: ``[T, ...]``.
        dtype: of its values.
        frames: T arrays.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    frames: Iterable[np.ndarray]


class SceneWriter:
    """Writes one scene's folder; who makes one holds the folder's lock (see :func:`changing`).

    Args:
        folder: of the scene, new or begun. Until :meth:`finish` it counts as unfinished.
        remedy: of a disk that refuses, for the message.

    Raises:
        InputError: where something else is there.
        WriteError: where it can't be written.
    """

    def __init__(self, folder: Path, remedy: str = "make room, or save the scene elsewhere"):
        self.folder, self._remedy = folder, remedy
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep_folder(folder)
            damaged = stored_attributes(folder) is None and is_scene(folder)  # of a run, which has said nothing there
            if damaged or not (folder / "zarr.json").exists():
                self._write({"version": FORMAT_VERSION, "complete": False})
        if stored_attributes(folder) is None:
            raise InputError(f"{folder}: zarr.json there is not that of a scene; choose another place.")

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> zarr.Array[Any]:
        """An array that is written frame by frame, ``array[t] = ...``; one that was begun goes on.

        Args:
            name: of the array.
            shape: ``[T, ...]``.
            dtype: of its values; NaN, 0 or False stands where a frame has not been written.

        Raises:
            InputError: where one of another shape or type was begun.
            WriteError: where it can't be made.
        """
        place = self._place(name)
        if not _is_array(place):
            with explained(place), appearing(place) as temporary:
                create_array(store_of(temporary, writable=True), None, shape, dtype)
        array = writable(zarr.open_array(store_of(place, writable=True), mode="r+", zarr_format=3))
        if array.shape != tuple(shape) or array.dtype != np.dtype(dtype):
            raise InputError(f"{place}: the array there has another shape or type; write the scene anew.")
        return array

    def put(self, name: str, values: np.ndarray | FrameByFrame) -> None:
        """A whole array ``[...]``, which appears at once; what had its name goes.

        Raises:
            WriteError: where it can't be written; the old one stays.
        """
        place = self._place(name)
        with explained(place, self._remedy), appearing(place) as temporary:
            _fill(temporary, values)

    def put_together(self, arrays: Mapping[str, np.ndarray | FrameByFrame | None]) -> None:
        """Whole arrays ``[...]`` that belong together; None: none is to be.

        All are written before any old one goes, so that a disk that fills up, or a process killed as it writes, costs
        nothing. The last one goes first and appears last: where it is, all are those that it was made with.

        Raises:
            WriteError: where one can't be written; the old ones stay.
        """
        with contextlib.ExitStack() as appear:  # in the opposite order
            for name in reversed(list(arrays)):
                values = arrays[name]
                if values is not None:
                    place = self._place(name)
                    appear.enter_context(explained(place, self._remedy))
                    _fill(appear.enter_context(appearing(place)), values)
            for name in reversed(list(arrays)):
                self.remove(name)

    def remove(self, name: str) -> None:
        """An array that may be there goes, at once."""
        place = self._place(name)
        if place.is_dir():
            with explained(place):
                gone = place.with_name(f".{name}.gone")
                shutil.rmtree(gone, ignore_errors=True)
                place.rename(gone)
                shutil.rmtree(gone)

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Store attributes and mark the scene as complete: the last thing written, once the disk has the rest."""
        with explained(self.folder):
            settle(self.folder, without="work")
            made = {"arrays": [name for name in MADE if (self.folder / name).is_dir()]}  # whose loss is to show
            done = {"version": FORMAT_VERSION, "complete": True}
            self._write((stored_attributes(self.folder) or {}) | dict(attributes) | made | done)

    def _write(self, attributes: dict[str, Any]) -> None:
        # Zarr's own way would rewrite the file in place.
        write_json(
            self.folder / "zarr.json",
            {"attributes": attributes, "zarr_format": 3, "node_type": "group"},
            indent=2,
        )

    def _place(self, name: str) -> Path:
        if NAME.fullmatch(name) is None or name == "work":
            raise InputError(f"{name!r} can't be the name of an array; take letters, digits and underscores.")
        return self.folder / name


def _is_array(place: Path) -> bool:
    """Whether an array was begun there whose description can be read."""
    try:
        zarr.open_array(store_of(place, writable=False), mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


@contextlib.contextmanager
def changing(folder: Path, what: str) -> Iterator[SceneWriter]:
    """A writer of a scene that is there already, with the folder's lock.

    Args:
        folder: of the scene.
        what: is being written, for the message to who comes second.

    Raises:
        InputError: where another process writes there.
        WriteError: where the disk refuses.
    """
    with locked(folder, what):
        yield SceneWriter(folder)


def _fill(folder: Path, values: np.ndarray | FrameByFrame) -> None:
    """Write an array where there is nothing yet."""
    array = create_array(store_of(folder, writable=True), None, values.shape, values.dtype)
    if isinstance(values, FrameByFrame):
        for t, frame in enumerate(values.frames):
            array[t] = frame
    else:
        array[...] = values
    settle(folder)


def put_in_memory(group: zarr.Group, name: str, values: np.ndarray) -> None:
    """A whole array ``[...]`` into a scene in memory."""
    create_array(group.store, name, values.shape, values.dtype, overwrite=True)[...] = values


def is_scene(folder: Path) -> bool:
    """Whether a folder is a scene, finished or begun; whatever else lies in it."""
    return stored_attributes(folder) is not None or any((folder / name).is_file() for name in UNFINISHED)


def stored_attributes(folder: Path) -> dict[str, Any] | None:
    """Attributes of the scene in a folder; None where its ``zarr.json`` is missing or not that of a scene."""
    try:
        found = json.loads((folder / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("zarr_format") != 3 or found.get("node_type") != "group":
        return None
    attributes = found.get("attributes")
    ours = isinstance(attributes, dict) and isinstance(attributes.get("version"), int)
    return attributes if ours else None


def check_apart(place: str | os.PathLike[str], real: Path, frames: str | os.PathLike[str] | None = None) -> None:
    """Refuse a place for a scene that lies in another scene or among the frames that it is made from, or holds them.

    Args:
        place: as it was given, for messages.
        real: the same, through links.
        frames: where the source's frames are, a file, folder, glob or URL; None where they are nowhere.

    Raises:
        InputError: names the place and what it lies in.
    """
    named = os.fspath(place)
    within = next((p for p in real.parents if is_scene(p)), None)
    if within is not None:
        raise InputError(f"{named}: this is within the scene {within.name}; choose a place outside of it.")
    if frames is not None and not is_url(frames):
        source = Path(os.path.realpath(frames))
        if source.is_dir() and source in (real, *real.parents):
            raise InputError(f"{named}: this is within the folder of frames {frames}; choose a place outside of it.")
        if real in source.parents and is_scene(real):  # they would go with it
            raise InputError(f"{named}: the frames {frames} are in this scene; choose another place, or move them.")


def copy_scene(scene: Scene, target: Path, overwrite: bool) -> None:
    """Write a copy of a scene: its attributes and all its arrays, known or not; it appears whole or not at all.

    Args:
        scene: in memory, on disk or at a URL.
        target: the copy's folder.
        overwrite: replace a scene that is there, once the copy is finished.

    Raises:
        InputError: where something else than a scene is there, or one and ``overwrite`` is not given.
        WriteError: where the disk refuses.
    """
    real = Path(os.path.realpath(target))  # a link stays one
    if scene.path is not None and real == Path(os.path.realpath(scene.path)):
        raise InputError(f"{target}: the scene is in this folder already; choose another name.")
    if scene.path is not None and real in Path(os.path.realpath(scene.path)).parents and is_scene(real):
        raise InputError(f"{target}: the scene to save is within this one; choose another name.")
    frames = None
    with contextlib.suppress(InputError):  # a record that can't be read doesn't say where they are
        frames = scene.source.path if scene.source is not None and scene.source.on_disk else None
    check_apart(target, real, frames)
    if real.exists() and not real.is_dir():
        raise InputError(f"{target}: this is a file; a scene is a folder, choose another name.")
    if real.is_dir() and any(real.iterdir()):
        if not is_scene(real):
            raise InputError(f"{target}: the folder holds other files than a scene; choose another name.")
        if not overwrite:
            raise InputError(f"{target}: the folder exists; choose another name or pass overwrite=True.")
    with explained(target):
        real.parent.mkdir(parents=True, exist_ok=True)
    with locked(real, "a scene is saved"), explained(target), appearing(real) as temporary:
        writer = SceneWriter(temporary)
        for name, array in scene.stored_arrays():
            _copy(array, temporary / name)
        writer.finish({"fps": scene.fps, **scene.attributes})


def _copy(array: StoredArray, place: Path) -> None:
    copy = create_array(
        store_of(place, writable=True),
        None,
        array.shape,
        array.dtype,
        dict(array.metadata.attributes),
        array.chunks,
        array.metadata.fill_value,
    )
    step = max(1, array.chunks[0]) if array.shape else 1
    for first in range(0, array.shape[0], step) if array.shape else [None]:
        part: Any = ... if first is None else slice(first, first + step)
        copy[part] = array.read(part)
