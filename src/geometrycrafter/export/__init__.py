"""Scenes in formats that other programs read. One module a format; each streams frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError
from geometrycrafter.export.mp4 import write_mp4
from geometrycrafter.export.npz import write_npz
from geometrycrafter.export.ply import write_ply
from geometrycrafter.scene import Scene

FORMATS: dict[str, Callable[..., Path]] = {"npz": write_npz, "ply": write_ply, "mp4": write_mp4}


def export(scene: Scene, format: str, path: str | Path | None = None, **options: Any) -> Path:
    """Write a scene in another format; files appear whole or not at all.

    Args:
        scene: to write.
        format: ``npz``, ``ply`` or ``mp4``.
        path: None: beside the scene, with the format's suffix.
        **options: of the format's own writer.

    Returns:
        where it was written.
    """
    if format not in FORMATS:
        raise InputError(f"export format {format!r} is unknown; choose one of {', '.join(FORMATS)}.")
    if path is None:
        if scene.path is None:
            raise InputError("the scene is in memory, so the export needs a path.")
        path = scene.path.with_suffix(f".{format}")
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} is missing; make it first.")
    if target.is_dir():
        raise InputError(f"{target}: this is a folder; give the name of a file.")
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        FORMATS[format](scene, temporary, **options)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{target}: writing failed ({error.strerror or error}); choose another place.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target
