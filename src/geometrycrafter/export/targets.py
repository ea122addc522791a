"""Where exports and figures may be written: never over a scene, nor over what it was made from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from geometrycrafter.errors import InputError
from geometrycrafter.files import explained, is_url, on_disk

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene


def default_target(scene: Scene, suffix: str) -> Path:
    """A file beside a scene, ``clip.gc`` -> ``clip.mp4``; ``clip.gc.mp4`` where the former is the scene's source.

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
    beside = folder.with_suffix(suffix)
    source = scene.source
    return folder.with_name(folder.name + suffix) if source and source.includes(beside) else beside


def check_target(path: str | os.PathLike[str], *scenes: Scene) -> Path:
    """A file that may be written.

    Args:
        path: of the file.
        *scenes: that it is made from.

    Returns:
        the path.

    Raises:
        InputError: where that is a URL, a folder, a device, in a folder that is missing, within a scene, or what a
            scene was made from.
    """
    from geometrycrafter.scene.writer import check_apart

    target = on_disk(path, "an export")
    with explained(target):  # a name that is too long, a folder that can't be looked into
        target.exists()
    if target.is_dir() or not target.name:
        raise InputError(f"{target}: this is a folder; give the name of a file.")
    if landing(target).is_symlink():
        raise InputError(f"{target}: this is a link to itself; name another file.")
    if target.exists() and not target.is_file():
        raise InputError(f"{target}: this is a device or a pipe, and no file; name a file.")
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} is missing; make it first.")
    check_apart(target, Path(os.path.realpath(target)))
    for scene in scenes:
        source = scene.source
        if source is not None and source.includes(target):
            raise InputError(f"{target}: the scene {scene.place} was made from this file; name another.")
    return target


def landing(target: Path) -> Path:
    """Where a file is really written: a link to it stays one, and what it names is made or replaced."""
    return Path(os.path.realpath(target))
