"""Scenes in formats that other programs read. One module a format; each streams frame by frame."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import FORMATS, Format
from geometrycrafter.export.targets import begin_folder, check_target, default_target, landing
from geometrycrafter.files import appearing, explained
from geometrycrafter.settings import read_settings

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene

__all__ = ["FORMATS", "Format", "export", "target_of"]


def export(scene: Scene, format: str, path: str | os.PathLike[str] | None = None, **options: Any) -> Path:
    """Write a scene in another format; the file or folder appears whole or not at all, and replaces one that is there.

    Args:
        scene: to write.
        format: a name in :data:`FORMATS`.
        path: None: beside the scene, with the format's suffix.
        **options: of the format; see its ``options``.

    Returns:
        where it was written.

    Raises:
        InputError: where the format or an option is unknown, or the place is not one to write to.
    """
    target = target_of(scene, format, path, **options)
    chosen = read_settings(FORMATS[format].options, options, f"export {format}")
    with explained(target), appearing(landing(target)) as temporary:
        if FORMATS[format].holds(chosen):
            begin_folder(temporary, format, scene)
        FORMATS[format].write(scene, temporary, chosen, FORMATS[format].suffix_of(target))
    return target


def target_of(scene: Scene, format: str, path: str | os.PathLike[str] | None = None, **options: Any) -> Path:
    """Where an export is written.

    Args:
        scene: to write.
        format: a name in :data:`FORMATS`.
        path: as given; None: beside the scene.
        **options: of the format.

    Raises:
        InputError: where the format or an option is unknown, a scene in memory or at a URL has no path given, or the
            place is a URL, within a scene, what the scene was made from, a folder that no such export made, or no
            kind of file that the format has.
    """
    if format not in FORMATS:
        raise InputError(f"export format {format!r} is unknown; choose one of {', '.join(FORMATS)}.")
    chosen = read_settings(FORMATS[format].options, options, f"export {format}")
    if path is None:
        path = default_target(scene, FORMATS[format].suffix)
    target = check_target(path, scene, folder=FORMATS[format].holds(chosen))
    FORMATS[format].suffix_of(target)
    return target
