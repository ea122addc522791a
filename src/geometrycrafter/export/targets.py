"""Where exports and figures may be written: never over a scene, what it was made from, or a folder of anything else."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import explained, is_url, on_disk
from geometrycrafter.version import program_version

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene


MARK = "geometrycrafter.json"
"""In a folder that an export made: what it is of."""

LONGEST = 255
"""Bytes of a name that disks take."""


def default_target(scene: Scene, suffix: str) -> Path:
    """A file beside a scene, ``clip.gc`` -> ``clip.mp4``; ``clip.gc.mp4`` where the former is the scene's source.

    A name that would be longer than disks take loses its end.

    Args:
        scene: on disk.
        suffix: of the file.

    Raises:
        InputError: for a scene in memory or at a URL.
    """
    if scene.path is None:
        where = f"{scene.place}: the scene is at a URL" if is_url(scene.place) else "the scene is in memory"
        raise InputError(f"{where}, so the export needs a path; give one.")
    folder = Path(os.path.abspath(scene.path))  # noqa: PTH100 (a link has its own neighbours)
    if not folder.name:
        raise InputError(f"{scene.place}: the scene has no folder beside it to write to; give a path.")
    beside = folder.with_name(_fitting(folder.stem, suffix))
    source = scene.source
    return folder.with_name(_fitting(folder.name, suffix)) if source and source.includes(beside) else beside


def _fitting(stem: str, suffix: str) -> str:
    while len(os.fsencode(stem + suffix)) > LONGEST:
        stem = stem[:-1]
    return stem + suffix


def check_target(path: str | os.PathLike[str], *scenes: Scene, folder: tuple[str, ...] = ()) -> Path:
    """A file or folder that may be written.

    Args:
        path: of it.
        *scenes: that it is made from.
        folder: names, as patterns, of what a folder will hold; none: a file is written.

    Returns:
        the path.

    Raises:
        InputError: where that is a URL, a device, in a folder that is missing, within a scene, what a scene was made
            from, or a folder: in place of a file, or with something in it that no such export made.
    """
    from geometrycrafter.scene.writer import check_apart

    target = on_disk(path, "an export")
    with explained(target):  # a name that is too long, a folder that can't be looked into
        target.exists()
    if not target.name or (target.is_dir() and not folder):
        raise InputError(f"{target}: this is a folder; give the name of a file.")
    if landing(target).is_symlink():
        raise InputError(f"{target}: this is a link to itself; name another file.")
    if folder and target.exists():
        _check_replaced(target, folder)
    elif target.exists() and not target.is_file():
        raise InputError(f"{target}: this is a device or a pipe, and no file; name a file.")
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} is missing; make it first.")
    check_apart(target, Path(os.path.realpath(target)))
    for scene in scenes:
        source = scene.source
        if source is not None and source.includes(target):
            raise InputError(f"{target}: the scene {scene.place} was made from this file; name another.")
        above = () if source is None or not source.on_disk else Path(os.path.realpath(source.path)).parents
        if landing(target) in above:
            raise InputError(f"{target}: what the scene {scene.place} was made from is in this folder; name another.")
    return target


def begin_folder(path: Path, format: str, scene: Scene) -> None:
    """Make the folder of an export, with a file that says what it is: only such folders are ever replaced."""
    path.mkdir()
    about = {
        "format": format,
        "scene": scene.place,
        "frames": len(scene),
        "unit": scene.unit,
        "version": program_version(),
    }
    (path / MARK).write_text(json.dumps(about) + "\n")


def _check_replaced(target: Path, names: tuple[str, ...]) -> None:
    """Refuse to replace what no such export made, or where others have put something since.

    Raises:
        InputError: names what is there.
    """
    if not target.is_dir():
        raise InputError(f"{target}: this is no folder, which the export would be; choose another name.")
    found = sorted(p.name for p in target.iterdir())
    other = next((name for name in found if not any(fnmatchcase(name, known) for known in (MARK, *names))), None)
    if other is None and found and MARK not in found:
        other = found[0]
    if other is not None:
        raise InputError(f"{target}: this folder holds {other}, which no export made; choose another name.")


@contextlib.contextmanager
def library_writing() -> Iterator[None]:
    """Around a library's writes: where one says in its own way that the disk failed, it is said in the system's.

    Raises:
        OSError: for every ``RuntimeError`` of the block.
    """
    try:
        yield
    except RuntimeError as error:
        full = "No space left" in str(error)
        raise OSError(
            errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC) if full else reason(error)
        ) from error


def landing(target: Path) -> Path:
    """Where a file is really written: a link to it stays one, and what it names is made or replaced."""
    return Path(os.path.realpath(target))
